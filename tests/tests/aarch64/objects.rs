//! Modules that contain whole objects, which the loader links.

use std::fs;
use std::process::Command;

use smf_core::format::{Layout, Smf};
use smf_tests::compile::{scratch, succeed};
use smf_tests::scale::scale;
use smf_tests::wrap::wrap;

use crate::run::{C_WAYS, calls, programs};
use crate::tools::{File, Loader, TOOLS};

/// Several objects joined into one by the GNU linker.
fn joined(objects: &[Vec<u8>]) -> Vec<u8> {
    let directory = scratch();
    let mut command = Command::new(format!("{TOOLS}ld"));
    let out = directory.path().join("joined.o");
    command.arg("-r").arg("-o").arg(&out);
    for (number, object) in objects.iter().enumerate() {
        let path = directory.path().join(format!("{number}.o"));
        fs::write(&path, object).unwrap();
        command.arg(path);
    }
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    succeed(&command, &output);
    fs::read(out).unwrap()
}

#[test]
fn objects_in_c_compute_the_expected_results() {
    let Some(loader) = Loader::get() else { return };
    for way in &C_WAYS[..scale(5, 2)] {
        let Some(objects) = programs(way) else { return };
        let module = wrap(&joined(&objects), Layout::Native, 0, &[]);
        let smf = Smf::parse(&module).unwrap();
        assert_eq!(smf.object().unwrap().unwrap().layout(), Layout::ElfAarch64);
        let file = File::new(&module);
        for (function, arguments, expected) in calls() {
            let found = loader.call(&file.path(), function, &arguments, &["--host-symbols"]);
            assert_eq!(found, expected, "{way:?} {function} {arguments:?}");
        }
    }
}
