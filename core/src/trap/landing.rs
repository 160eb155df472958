//! What the entry code of all machines refers to: the error of a call that trapped, and the end of unwinding.
#![allow(unsafe_code)]

use super::chain::TrapChain;
use super::error::TrapError;

/// The error of a call that trapped, for the host's [landing](TrapChain::set_landing) too.
///
/// # Safety
/// The last call with this chain trapped.
// Out of line, so that a call that returns holds its result in registers: the same benchmark rows.
#[cold]
#[inline(never)]
pub unsafe fn take_error(chain: &TrapChain) -> TrapError {
    // SAFETY: a trap writes the error before it resumes the call.
    unsafe { chain.error.get().assume_init() }
}

/// The personality routine of the frames below. The unwinder calls it when a panic, an exception, `pthread_exit` or
/// `pthread_cancel` is about to unwind through one. The chain of the thread would refer to the frame afterwards, so
/// the process is aborted.
#[inline(never)]
#[expect(
    clippy::panic,
    reason = "a function that cannot unwind: this prints a message and aborts the process"
)]
pub extern "C" fn refuse_unwinding() -> i32 {
    panic!("unwinding reached a call into machine code, which it may not leave");
}
