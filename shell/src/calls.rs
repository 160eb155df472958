//! Calls into machine code, whose traps come back as errors: those of the core's [`landing`], with a
//! variable of the thread in the place of its table.
#![allow(unsafe_code)]

use std::ptr;

use smf_core::link::LinkError;
use smf_core::link::landing::{self, Returned, ThreadHead, Word};

std::thread_local! {
    static HEAD: ThreadHead = const { ThreadHead::new() };
}

#[inline]
fn keep_heads() {
    // SAFETY: a variable of the thread, which nothing drops before the thread is gone.
    unsafe { landing::set_thread_heads(|| HEAD.with(ptr::from_ref)) };
}

/// As [`landing::call_landing`].
///
/// # Errors
/// [`LinkError::Trap`], [`LinkError::Stopped`], and [`LinkError::TooManyArguments`].
///
/// # Safety
/// As there.
#[inline]
pub unsafe fn call(address: u64, args: &[i64]) -> Result<i64, LinkError> {
    keep_heads();
    // SAFETY: passed on to the caller.
    unsafe { landing::call_landing(address, args) }
}

/// As [`landing::call_values`].
///
/// # Errors
/// As there.
///
/// # Safety
/// As there.
pub unsafe fn call_values(address: u64, args: &[Word]) -> Result<Returned, LinkError> {
    keep_heads();
    // SAFETY: passed on to the caller.
    unsafe { landing::call_values(address, args) }
}
