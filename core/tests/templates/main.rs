//! Templates: possible instances, instantiation, updates of notes, and refused input.
#![cfg(target_arch = "x86_64")]
#![allow(unsafe_code, clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

mod behaviours;
mod build;
mod code_cache;
#[cfg(feature = "source")]
mod declared;
mod hostile;
mod ir;
mod linked;
mod processes;
#[cfg(feature = "source")]
mod source;
mod threads;
mod updates;

use smf_core::trap;

/// Calls a function with these arguments.
fn call_at(address: u64, args: &[i64]) -> i64 {
    // SAFETY: the callers own the code and pass arguments of its signature.
    unsafe { trap::call(address, args) }.unwrap()
}
