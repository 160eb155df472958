//! Templates that become code: what may be made, what is made, what modules are told, and everything that
//! must be refused.
#![cfg(target_arch = "x86_64")]
#![allow(unsafe_code, clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

mod behaviours;
mod build;
mod code_cache;
mod hostile;
mod ir;
mod linked;
mod processes;
mod threads;
mod updates;

use smf_core::trap;

/// Calls an address that the caller knows to be that of a function of these arguments.
fn call_at(address: u64, args: &[i64]) -> i64 {
    // SAFETY: the tests keep the code that they call, and know what it takes.
    unsafe { trap::call(address, args) }.unwrap()
}
