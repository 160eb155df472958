//! Processes that instantiate templates of one module concurrently.

use std::env;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::process::Command;

use smf_core::format::ext::cached_code;
use smf_core::format::note::{Instantiation, Possible};
use smf_core::format::{Library, Smf};
use smf_core::memory::code_alloc::CodeMemory;
use smf_core::templates::{
    CachePolicy, Callback, CompileRequest, CpuFeatures, Environment, JitConfig, JitInstantiator,
};

use crate::build::{Directory, Spec, compile};
use crate::updates::archive;

const ROWS: usize = 24;
const MODULE: &str = "SMF_TEST_MODULE";
const ARCHIVED: &str = "SMF_TEST_ARCHIVED";
const FIRST: &str = "SMF_TEST_FIRST";

/// The child process of the tests below.
#[test]
fn child_process() {
    let (Some(path), Ok(first)) = (env::var_os(MODULE), env::var(FIRST)) else { return };
    let compiler =
        Callback::new(|request: &CompileRequest<'_>, environment: &mut dyn Environment| {
            compile(std::str::from_utf8(request.body).unwrap(), environment)
        });
    let keep = CachePolicy { compiler: 1, features: CpuFeatures::NONE };
    let jit = JitInstantiator::new(
        JitConfig { keep_code: true, ..JitConfig::default() },
        CodeMemory::default(),
    )
    .unwrap()
    .with_compiler(compiler.with_cache_policy(keep))
    .unwrap();
    let path = path.into_vec();
    match env::var(ARCHIVED) {
        Ok(name) => jit.load_archived_metadata(&path, &name).unwrap(),
        Err(_) => jit.load_smf_metadata(&path).unwrap(),
    }
    let first: usize = first.parse().unwrap();
    for number in (first..ROWS).step_by(3) {
        let result = jit.try_jit_instantiate(format!("f{number}$i64").as_bytes());
        assert!(result.is_ok(), "{result:?}");
    }
}

/// The shared module.
fn module() -> Vec<u8> {
    let all = (0..ROWS).fold(Spec::new(), |module, number| {
        module.both(&format!("f{number}"), format!("ret {number}"))
    });
    all.file()
}

/// Starts three processes that compile all instances of the module in a file or in an archive.
fn make_all(path: &Path, archived: Option<&str>) {
    let children: Vec<_> = (0..3)
        .map(|first| {
            let mut child = Command::new(env::current_exe().unwrap());
            child.args(["--exact", "processes::child_process", "--test-threads=1"]);
            child.envs(archived.map(|name| (ARCHIVED, name)));
            child.env(MODULE, path).env(FIRST, first.to_string()).spawn().unwrap()
        })
        .collect();
    let ended: Vec<_> = children.into_iter().map(|mut child| child.wait().unwrap()).collect();
    assert!(ended.iter().all(|status| status.success()), "{ended:?}");
}

/// Checks that all rows have moved to `instantiations` and the code of all instances is cached.
fn check(module: &[u8]) {
    let smf = Smf::parse(module).unwrap();
    smf.verify().unwrap();
    let note = smf.note().unwrap().unwrap();
    assert_eq!(
        (note.entries::<Possible>().count(), note.entries::<Instantiation>().count()),
        (0, ROWS)
    );
    assert_eq!(cached_code::records(cached_code::payload_of(&smf).unwrap()).count(), ROWS);
}

#[test]
fn concurrent_processes_lose_no_rows() {
    let directory = Directory::new("processes");
    directory.file("a.smf", &module());
    let path = directory.0.join("a.smf");
    make_all(&path, None);
    check(&fs::read(&path).unwrap());
    assert_eq!(fs::read_dir(&directory.0).unwrap().count(), 1);
}

#[test]
fn concurrent_processes_lose_no_rows_in_an_archive() {
    let directory = Directory::new("processes-archive");
    directory.file("a.lsm", &archive(&[("x", b"first"), ("m", &module()), ("y", b"last")]));
    let path = directory.0.join("a.lsm");
    make_all(&path, Some("m"));
    let file = fs::read(&path).unwrap();
    let library = Library::parse(&file).unwrap();
    library.verify().unwrap();
    check(library.find("m").unwrap().unwrap().data);
    assert_eq!(library.find("y").unwrap().unwrap().data, b"last");
    assert_eq!(fs::read_dir(&directory.0).unwrap().count(), 1);
}
