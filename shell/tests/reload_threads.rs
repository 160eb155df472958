//! Calls by a stable address from threads that hold nothing, while the main thread replaces the module.
//! shell/tests/c/reload_threads.c covers the calls of the C API.
#![cfg(target_arch = "x86_64")]
#![allow(unsafe_code, clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

#[allow(dead_code, reason = "other tests build more kinds of modules")]
#[path = "../../core/tests/loader/build.rs"]
mod build;
#[path = "../../tests/src/scale.rs"]
mod scale;
#[path = "../../tests/src/set_at_end.rs"]
mod set_at_end;

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use smf_core::loader::{LoaderOptions, StateMigration};
use smf_loader::call::call;
use smf_loader::loader::Loader;

use build::{Does, Spec};
use scale::scale;
use set_at_end::SetAtEnd;

/// 10,000 reloads in the exhaustive mode, else 500. Without pinning the epochs in `call`, it ends by SIGSEGV.
#[test]
fn calls_by_stable_address_survive_reloads() {
    let loader = Loader::new(LoaderOptions::default()).unwrap();
    let version = |value| Spec::new().reloadable().function("f", Does::ReturnsLate(value)).bytes();
    let versions = [version(1), version(2)];
    let modules = loader.modules();
    let module = modules.load(b"m", versions[0].clone()).unwrap();
    let address = modules.resolve(b"f").unwrap().unwrap().address;
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let _end = SetAtEnd(&done);
        for _ in 0..8 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    // SAFETY: the stub of a function without parameters; the module is not unloaded.
                    let value = unsafe { call(address, &[]) }.unwrap();
                    assert!(value == 1 || value == 2, "{value}");
                }
            });
        }
        for next in versions.iter().cycle().skip(1).take(scale(10_000, 500)) {
            modules.reload(module, next.clone(), StateMigration::Copy, &mut |_| {}).unwrap();
            // SAFETY: every call into the module goes through `call`, which counts it.
            unsafe { modules.collect_quiescent() };
        }
    });
    // SAFETY: as above.
    unsafe { modules.collect_quiescent() };
    assert_eq!(modules.statistics().retired, 0);
}
