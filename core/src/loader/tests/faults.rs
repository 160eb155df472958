//! Every system call failing in turn while modules are loaded, replaced and unloaded.
#![allow(unsafe_code)]

use std::fs;
use std::vec::Vec;

use rustix::io::Errno;

use super::{LoadError, ModuleBytes, ModuleHandle, ModuleLoader, OldData};
use crate::memory::faults;
use crate::memory::testing::{alone, maps};

const PACKED: &[u8] = include_bytes!("../../../../tests/samples/packed.smf");
const LIBRARY: &[u8] = include_bytes!("../../../../tests/samples/lib.smf");
const APP: &[u8] = include_bytes!("../../../../tests/samples/app.smf");

/// What failing calls must not change.
#[derive(Debug, PartialEq, Eq)]
struct Footprint {
    files: usize,
    maps: usize,
}

fn footprint() -> Footprint {
    Footprint { files: fs::read_dir("/proc/self/fd").unwrap().count(), maps: maps().len() }
}

fn call(loader: &ModuleLoader, module: ModuleHandle, name: &[u8], argument: i64) -> i64 {
    let module = loader.get(module).unwrap();
    // SAFETY: the samples define functions of at most two integers, and the module is held.
    unsafe { crate::link::call(module.function(name).unwrap(), &[argument, 0]) }.unwrap()
}

/// Fails the first, the second, ... call of `act`, once and for good, until all have passed. Whatever
/// fails, `check` must hold afterwards, and `act` succeed when it is tried again, which `undo` makes
/// undone. Returns how many calls failed.
fn fail_each<T>(act: impl Fn() -> Result<T, LoadError>, check: impl Fn(), undo: impl Fn(T)) -> u32 {
    let mut count = 0;
    // What is made once and for good is made before it is counted.
    undo(act().unwrap());
    let before = footprint();
    for errno in [Errno::NOMEM, Errno::PERM] {
        for once in [true, false] {
            for passes in 0.. {
                let fault = faults::inject_at(passes, errno, once);
                let result = act();
                let happened = fault.has_happened();
                drop(fault);
                count += u32::from(happened);
                match result {
                    // Where less memory or time is all that is lost, a failure is none.
                    Ok(value) => undo(value),
                    Err(error) => {
                        assert!(happened, "{error}");
                        check();
                        undo(act().unwrap());
                    }
                }
                check();
                assert_eq!(footprint(), before, "call {passes}, {errno:?}");
                if !happened {
                    break;
                }
            }
        }
    }
    count
}

#[test]
fn whatever_call_fails_everything_is_as_it_was_and_works_afterwards() {
    let test = "loader::faults::whatever_call_fails_everything_is_as_it_was_and_works_afterwards";
    if !alone(test) {
        return;
    }
    let options =
        super::LoaderOptions { kept_bytes: 0, reload_unmarked: true, ..Default::default() };
    let loader = ModuleLoader::new(options);
    let counter = loader.load(b"packed", ModuleBytes::new(PACKED)).unwrap();
    loader.provide(b"library", ModuleBytes::new(LIBRARY)).unwrap();
    let resolved = loader.resolve(b"answer").unwrap().unwrap().address;
    let intact = || {
        assert_eq!(
            (call(&loader, counter, b"bump", 0), call(&loader, counter, b"answer", 0)),
            (100, 42)
        );
        let again = loader.resolve(b"answer").unwrap().unwrap().address;
        assert_eq!((again, loader.statistics().retired), (resolved, 0));
    };

    let load = || loader.load(b"app", ModuleBytes::new(APP));
    let unload = |app| {
        assert_eq!(call(&loader, app, b"direct", 14), 42);
        loader.unload_all(&[app, loader.find(b"library").unwrap()]).unwrap();
    };
    let only_one = || {
        intact();
        assert_eq!(loader.statistics().modules, 1);
    };
    let loads = fail_each(load, only_one, unload);

    let reload = || {
        let bytes = ModuleBytes::new(PACKED);
        loader.reload(counter, bytes, OldData::Move, &mut |_| {})
    };
    let reloads = fail_each(reload, intact, |_| {});

    let unloads: Vec<u32> = [Errno::NOMEM, Errno::PERM]
        .map(|errno| {
            let app = load().unwrap();
            let library = loader.find(b"library").unwrap();
            let fault = faults::inject_at(0, errno, false);
            loader.unload_all(&[app, library]).unwrap();
            u32::from(fault.has_happened())
        })
        .into();
    intact();
    std::eprintln!("calls that failed: load {loads}, reload {reloads}, unload {unloads:?}");
    assert!(loads >= 8 && reloads >= 8, "the faults did not reach the calls");
}
