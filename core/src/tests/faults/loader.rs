//! Modules: load, reload, unload.
#![allow(unsafe_code)]

use std::vec::Vec;

use rustix::io::Errno;

use super::fail_each;
use crate::loader::{LoaderOptions, ModuleBytes, ModuleHandle, ModuleLoader, StateMigration};
use crate::memory::fault_injection;
use crate::memory::testing::alone;

const PACKED: &[u8] = include_bytes!("../../../../tests/samples/packed.smf");
const LIBRARY: &[u8] = include_bytes!("../../../../tests/samples/lib.smf");
const APP: &[u8] = include_bytes!("../../../../tests/samples/app.smf");

fn call(loader: &ModuleLoader, module: ModuleHandle, name: &[u8], argument: i64) -> i64 {
    let module = loader.get(module).unwrap();
    // SAFETY: the samples define functions of at most two integers, and the module is held.
    unsafe { crate::trap::call(module.function(name).unwrap(), &[argument, 0]) }.unwrap()
}

#[test]
#[cfg_attr(miri, ignore = "runs machine code")]
fn failed_call_leaves_the_loader_unchanged() {
    let test = "faults::loader::failed_call_leaves_the_loader_unchanged";
    if !alone(test) {
        return;
    }
    let options = LoaderOptions { kept_bytes: 0, reload_unmarked: true, ..Default::default() };
    let loader = ModuleLoader::new(options).unwrap();
    let counter = loader.load(b"packed", ModuleBytes::new(PACKED).unwrap()).unwrap();
    loader.register_provider(b"library", ModuleBytes::new(LIBRARY).unwrap()).unwrap();
    let resolved = loader.resolve(b"answer").unwrap().unwrap().address;
    // SAFETY: no other thread uses the loader.
    let collect = || unsafe { loader.collect_quiescent() };
    let intact = || {
        collect();
        assert_eq!(
            (call(&loader, counter, b"bump", 0), call(&loader, counter, b"answer", 0)),
            (100, 42)
        );
        let again = loader.resolve(b"answer").unwrap().unwrap().address;
        assert_eq!((again, loader.statistics().retired), (resolved, 0));
    };

    let load = || loader.load(b"app", ModuleBytes::new(APP).unwrap());
    let unload = |app| {
        assert_eq!(call(&loader, app, b"direct", 14), 42);
        loader.unload_all(&[app, loader.find(b"library").unwrap()]).unwrap();
    };
    let only_one = || {
        intact();
        assert_eq!(loader.statistics().modules, 1);
    };
    let loads = fail_each("load", load, only_one, unload);

    let reload = || {
        let bytes = ModuleBytes::new(PACKED).unwrap();
        loader.reload(counter, bytes, StateMigration::Copy, &mut |_| {})
    };
    let reloads = fail_each("reload", reload, intact, |_| collect());

    let unloads: Vec<u32> = [Errno::NOMEM, Errno::PERM]
        .map(|errno| {
            let app = load().unwrap();
            let library = loader.find(b"library").unwrap();
            let fault = fault_injection::inject_at(0, errno, false);
            loader.unload_all(&[app, library]).unwrap();
            u32::from(fault.has_happened())
        })
        .into();
    intact();
    std::println!("unload: {unloads:?} points");
    assert!(loads >= 40 && reloads >= 40, "the faults did not reach the calls");
}
