//! Processes that make instances of one module at once.

use std::env;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::process::Command;

use smf_core::format::Smf;
use smf_core::instantiate::JitConfig;

use crate::build::{Directory, Spec, instantiator};

const ROWS: usize = 24;
const MODULE: &str = "SMF_TEST_MODULE";
const FIRST: &str = "SMF_TEST_FIRST";

/// What the test runs several times, each in a process of its own.
#[test]
fn one_of_several_processes() {
    let (Some(path), Ok(first)) = (env::var_os(MODULE), env::var(FIRST)) else { return };
    let (jit, _) = instantiator(JitConfig::default());
    let path = path.into_vec();
    jit.load_smf_metadata(&path).unwrap();
    let first: usize = first.parse().unwrap();
    for number in (first..ROWS).step_by(3) {
        let result = jit.try_jit_instantiate(format!("f{number}$i64").as_bytes());
        assert!(result.is_success(), "{result}");
    }
}

#[test]
fn processes_lose_no_rows_of_each_other() {
    let directory = Directory::new("processes");
    let module = (0..ROWS).fold(Spec::new(), |module, number| {
        module.both(&format!("f{number}"), format!("ret {number}"))
    });
    directory.file("a.smf", &module.file());
    let path = directory.0.join("a.smf");
    let children: Vec<_> = (0..3)
        .map(|first| {
            let mut child = Command::new(env::current_exe().unwrap());
            child.args(["--exact", "processes::one_of_several_processes", "--test-threads=1"]);
            child.env(MODULE, &path).env(FIRST, first.to_string()).spawn().unwrap()
        })
        .collect();
    let ended: Vec<_> = children.into_iter().map(|mut child| child.wait().unwrap()).collect();
    assert!(ended.iter().all(|status| status.success()), "{ended:?}");
    let file = fs::read(&path).unwrap();
    let note = Smf::parse(&file).unwrap().note().unwrap().unwrap();
    assert_eq!((note.possible().count(), note.instantiations().count()), (0, ROWS));
    assert_eq!(fs::read_dir(&directory.0).unwrap().count(), 1);
}
