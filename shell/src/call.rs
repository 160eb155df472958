//! Calls into machine code that catch traps: those of [`smf_core::trap`], with the chain of each thread in a
//! thread-local variable.
#![allow(unsafe_code)]

#[cfg(not(target_arch = "x86_64"))]
use std::ptr;

use smf_core::loader::epoch::Epochs;
use smf_core::trap::{self, CallArg, ReturnRegisters, TrapChain, TrapError};

#[cfg(target_arch = "x86_64")]
use crate::call_record;

/// The epochs that each call by address pins, into code of any [`Loader`](crate::loader::Loader): a version that is
/// replaced meanwhile is not freed before the call returns. On x86-64, calls from C are counted by their thread instead.
pub static CALL_EPOCHS: Epochs = new_epochs();

#[cfg(target_arch = "x86_64")]
const fn new_epochs() -> Epochs {
    Epochs::with_others(call_record::have_left)
}

#[cfg(not(target_arch = "x86_64"))]
const fn new_epochs() -> Epochs {
    Epochs::new()
}

/// The address of the chain of this thread.
#[cfg(not(target_arch = "x86_64"))]
fn chain() -> *const TrapChain {
    std::thread_local! {
        static CHAIN: TrapChain = const { TrapChain::new() };
    }
    CHAIN.with(ptr::from_ref)
}

/// The address of the chain of this thread.
#[cfg(target_arch = "x86_64")]
#[inline]
fn chain() -> *const TrapChain {
    // SAFETY: a field of a thread-local variable.
    unsafe { &raw const (*call_record::current()).chain }
}

/// A number of this thread that no other live thread has.
#[cfg(all(feature = "c-api", feature = "exec"))]
#[inline]
pub(crate) fn thread_number() -> usize {
    chain().addr()
}

/// Installs the chain lookup of this crate in the core. Required before code that may trap is called.
pub fn install_chain_lookup() {
    // SAFETY: a thread-local variable without a destructor.
    unsafe { trap::set_chain_lookup(chain) };
}

/// As [`trap::call_catching`], with [`CALL_EPOCHS`] pinned.
///
/// # Errors
/// As [`trap::call_catching`].
///
/// # Safety
/// As [`trap::call_catching`].
pub unsafe fn call(address: u64, args: &[i64]) -> Result<i64, TrapError> {
    install_chain_lookup();
    let _pinned = CALL_EPOCHS.pin();
    // SAFETY: the caller's contract.
    unsafe { call_pinned(address, args) }
}

/// As [`call`], after [`install_chain_lookup`] and while [`CALL_EPOCHS`] are pinned.
///
/// Inlined for the benchmark rows "call a module's function from Rust" and "from C".
///
/// # Errors
/// As [`call`].
///
/// # Safety
/// As [`call`].
#[inline(always)]
pub unsafe fn call_pinned(address: u64, args: &[i64]) -> Result<i64, TrapError> {
    // SAFETY: a thread-local variable, which lives as long as the thread.
    let chain = unsafe { &*chain() };
    // SAFETY: the caller's contract.
    unsafe { trap::call_catching_on(chain, address, args) }
}

/// As [`trap::call_values`], with [`CALL_EPOCHS`] pinned.
///
/// # Errors
/// As [`trap::call_values`].
///
/// # Safety
/// As [`trap::call_values`].
pub unsafe fn call_values(address: u64, args: &[CallArg]) -> Result<ReturnRegisters, TrapError> {
    install_chain_lookup();
    let _pinned = CALL_EPOCHS.pin();
    // SAFETY: the caller's contract.
    unsafe { trap::call_values(address, args) }
}
