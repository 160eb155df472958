//! Every request for memory refused in turn: what is promised there, and how much.
//!
//! The first, second, ... request of a scenario is refused, each in a process of its own. It ends with a
//! typed error, after which the same operation succeeds; or does without. `alloc` itself has requests that
//! cannot be refused, and ends the process: there is none of those.

use std::cell::Cell;
use std::fmt::Display;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio, exit};
use std::{env, fs};

use smf_core::cache::{Capacity, FileCache, Options};
use smf_core::format::Smf;
use smf_core::instantiate::{JitConfig, JitInstantiator, JitResult};
use smf_core::link::{Image, NoImports, host_arch};
use smf_core::loader::{LoaderOptions, ModuleBytes, ModuleLoader, OldData};
use smf_core::memory::FileBytes;
use smf_core::memory::exec::{CodeMemory, CodeMemoryOptions};
use smf_tests::allocator::{Watched, refusing};
use smf_tests::{sample, tiny};

#[global_allocator]
static ALLOCATOR: Watched = Watched;

/// Set to the number of a scenario and that of the request that is refused.
const REFUSED: &str = "SMF_TEST_REFUSES";

/// How a process ends: nothing was left to be refused; there was an error, and none afterwards; it did
/// without.
const DONE: i32 = 20;
const ERROR: i32 = 21;
const WITHOUT: i32 = 22;

fn judge<T, E: Display>(granted: usize, act: impl Fn() -> Result<T, E>, undo: impl Fn(T)) -> i32 {
    let (result, was_refused) = refusing(granted, &act);
    let end = match result {
        Ok(value) => {
            undo(value);
            if was_refused { WITHOUT } else { DONE }
        }
        Err(error) => {
            assert!(was_refused && !error.to_string().is_empty(), "{error}");
            ERROR
        }
    };
    undo(act().unwrap_or_else(|error| panic!("not again: {error}")));
    end
}

/// Makes the one instance that there is; what it is not the first time, it is the second.
fn instantiate(jit: &JitInstantiator) -> Result<(), JitResult> {
    let made = jit.try_jit_instantiate(b"same$i64");
    if made.is_success() { Ok(()) } else { Err(made) }
}

/// Its name, and what runs it with so many requests granted.
type Scenario = (&'static str, fn(usize) -> i32);

const SCENARIOS: [Scenario; 12] = [
    ("read a file", |granted| {
        let path = sample("packed.smf").path();
        let path = path.to_str().unwrap().as_bytes();
        judge(granted, || FileBytes::read(path, 1 << 20), drop)
    }),
    ("place and link", |granted| {
        let file = sample("packed.smf").bytes;
        let smf = Smf::parse(&file).unwrap();
        judge(granted, || Image::place(&smf)?.link(&NoImports), drop)
    }),
    ("cache get", |granted| {
        let path = sample("packed.smf").path();
        let path = path.to_str().unwrap().as_bytes();
        let cache = FileCache::new(Capacity { files: 8, bytes: 1 << 20 }, Options::default());
        let cache = cache.unwrap();
        judge(granted, || cache.get(path).map(drop), |()| assert!(cache.evict(path)))
    }),
    ("load two modules", |granted| {
        let [app, lib] = ["app.smf", "lib.smf"].map(|name| sample(name).bytes.leak());
        let loader = ModuleLoader::default();
        loader.provide(b"lib", ModuleBytes::new(&*lib)).unwrap();
        let load = || loader.load(b"app", ModuleBytes::try_new(&*app)?);
        judge(granted, load, |app| {
            loader.unload_all(&[app, loader.find(b"lib").unwrap()]).unwrap();
        })
    }),
    ("provide an archive", |granted| {
        let bytes: &'static [u8] = sample("library.lsm").bytes.leak();
        let loader = ModuleLoader::default();
        let provide = || loader.provide(b"archive", ModuleBytes::try_new(bytes)?);
        judge(granted, provide, drop)
    }),
    ("resolve through a stub", |granted| {
        let bytes: &'static [u8] = sample("packed.smf").bytes.leak();
        let options = LoaderOptions { reload_unmarked: true, ..LoaderOptions::default() };
        let loader = ModuleLoader::new(options);
        loader.load(b"packed", ModuleBytes::new(bytes)).unwrap();
        let resolve = || loader.resolve(b"answer").map(|found| assert!(found.is_some()));
        judge(granted, resolve, drop)
    }),
    ("unload", |granted| {
        let bytes: &'static [u8] = sample("packed.smf").bytes.leak();
        let loader = ModuleLoader::default();
        let load = || loader.load(b"packed", ModuleBytes::new(bytes)).unwrap();
        let module = Cell::new(load());
        judge(granted, || loader.unload(module.get()), |()| module.set(load()))
    }),
    ("reload", |granted| {
        let bytes: &'static [u8] = sample("packed.smf").bytes.leak();
        let options = LoaderOptions { reload_unmarked: true, ..LoaderOptions::default() };
        let loader = ModuleLoader::new(options);
        let module = loader.load(b"packed", ModuleBytes::new(bytes)).unwrap();
        let reload =
            || loader.reload(module, ModuleBytes::try_new(bytes)?, OldData::Move, &mut |_| {});
        judge(granted, reload, drop)
    }),
    ("read what templates may become", |granted| {
        let module = tiny::module(host_arch(), 0).unwrap();
        let jit = JitInstantiator::new(JitConfig::default());
        judge(granted, || jit.load_smf_bytes(b"tiny", &module), drop)
    }),
    ("instantiate", |granted| {
        let jit = JitInstantiator::new(JitConfig::default());
        jit.load_smf_bytes(b"tiny", &tiny::module(host_arch(), 0).unwrap()).unwrap();
        judge(granted, || instantiate(&jit), drop)
    }),
    ("instantiate and tell the file", |granted| {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tiny.smf");
        fs::write(&path, tiny::module(host_arch(), 0).unwrap()).unwrap();
        let jit = JitInstantiator::new(JitConfig::default());
        jit.load_smf_metadata(path.as_os_str().as_bytes()).unwrap();
        let made = judge(granted, || instantiate(&jit), drop);
        // Also when the instance was there and the file could not be told.
        jit.update().unwrap();
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 1);
        let file = fs::read(&path).unwrap();
        Smf::parse(&file).unwrap().verify().unwrap();
        made
    }),
    ("allocate and publish code", |granted| {
        judge(
            granted,
            || CodeMemory::try_new(CodeMemoryOptions::default())?.allocate(100)?.publish(),
            drop,
        )
    }),
];

/// Runs a scenario with one refusal in a process of its own; how it ends, `None` when the process does not
/// come to its end.
fn apart(scenario: usize, granted: usize) -> Option<i32> {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", TEST, "--nocapture", "--test-threads=1"]);
    command.env(REFUSED, format!("{scenario} {granted}"));
    let output = command.stdin(Stdio::null()).output().unwrap();
    let code = output.status.code();
    let said = String::from_utf8_lossy(&output.stderr);
    // Refused memory that `alloc` cannot do without is SIGABRT; a crash would be another signal.
    let is_clean =
        matches!(code, Some(DONE | ERROR | WITHOUT)) || output.status.signal() == Some(6);
    assert!(is_clean, "{}: {said}", output.status);
    code
}

const TEST: &str = "memory_that_is_refused_is_an_error";

#[test]
fn memory_that_is_refused_is_an_error() {
    if let Ok(refused) = env::var(REFUSED) {
        let (scenario, granted) = refused.split_once(' ').unwrap();
        let (_, run) = SCENARIOS[scenario.parse::<usize>().unwrap()];
        exit(run(granted.parse().unwrap()));
    }
    let mut points = 0;
    for (number, (name, _)) in SCENARIOS.iter().enumerate() {
        let (mut errors, mut without, mut ends) = (0, 0, Vec::new());
        for granted in 0.. {
            match apart(number, granted) {
                Some(DONE) => break,
                Some(ERROR) => errors += 1,
                Some(_) => without += 1,
                None => ends.push(granted),
            }
            points += 1;
        }
        let all = errors + without + ends.len();
        println!(
            "{name}: {all} requests, {errors} errors, {without} done without, the process ended at {ends:?}"
        );
        assert!(all > 0 && ends.is_empty(), "{name}");
    }
    println!("{points} refusals");
}
