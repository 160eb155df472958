//! Many modules: name resolution, references, replacement by new versions, threads.
#![cfg(target_arch = "x86_64")]
#![allow(unsafe_code, clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

#[path = "../../../tests/src/alone.rs"]
mod alone;
mod build;
mod bytecode;
mod loading;
mod observers;
mod reloading;
#[path = "../../../tests/src/scale.rs"]
mod scale;
#[path = "../../../tests/src/set_at_end.rs"]
mod set_at_end;
mod shared_data;
mod sink;
mod threads;

use smf_core::loader::{ModuleHandle, ModuleLoader};
use smf_core::trap;

/// Calls an address, which must be that of a function with these arguments.
fn call_at(address: u64, args: &[i64]) -> i64 {
    // SAFETY: the tests hold the modules whose functions they call, and pass the declared arguments.
    unsafe { trap::call(address, args) }.unwrap()
}

/// Calls a function of a module by its name in that version.
fn call(loader: &ModuleLoader, module: ModuleHandle, name: &str, args: &[i64]) -> i64 {
    let module = loader.get(module).unwrap();
    call_at(module.function(name.as_bytes()).unwrap(), args)
}

/// Frees replaced versions. The tests hold the modules whose functions they call, so that no thread is inside code
/// without being counted.
fn collect(loader: &ModuleLoader) {
    // SAFETY: as above.
    unsafe { loader.collect_quiescent() };
}

/// The address of a name as the loader resolves it.
fn address(loader: &ModuleLoader, name: &str) -> Option<u64> {
    loader.resolve(name.as_bytes()).unwrap().map(|resolved| resolved.address)
}
