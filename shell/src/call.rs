//! Calls into machine code that catch traps: those of [`smf_core::trap`], with the chain of each thread in a
//! thread-local variable.
#![allow(unsafe_code)]

#[cfg(not(target_arch = "x86_64"))]
use std::ptr;

use smf_core::loader::epoch::Epochs;
use smf_core::trap::{self, CallArg, ReturnRegisters, TrapChain, TrapError};

/// The epochs that each call by address pins, into code of any [`Loader`](crate::loader::Loader): a version that is replaced
/// meanwhile is not freed before the call returns.
pub static CALL_EPOCHS: Epochs = Epochs::new();

/// The address of the chain of this thread.
#[cfg(not(target_arch = "x86_64"))]
fn chain() -> *const TrapChain {
    std::thread_local! {
        static CHAIN: TrapChain = const { TrapChain::new() };
    }
    CHAIN.with(ptr::from_ref)
}

// The chain of each thread, initially zero.
#[cfg(target_arch = "x86_64")]
core::arch::global_asm!(
    ".pushsection .tbss.smf_trap_chain, \"awT\", @nobits",
    ".globl smf_trap_chain",
    ".hidden smf_trap_chain",
    ".type smf_trap_chain, @object",
    ".size smf_trap_chain, {size}",
    ".balign {align}",
    "smf_trap_chain:",
    ".zero {size}",
    ".popsection",
    size = const size_of::<TrapChain>(),
    align = const align_of::<TrapChain>(),
);

/// The address of the chain of this thread, by the initial exec model: its offset from the thread pointer is fixed when
/// the library is loaded. A `thread_local!` in a shared library calls the dynamic linker on every access instead (U.
/// Drepper, ELF Handling For Thread-Local Storage, 4.3 and 4.4.6).
#[cfg(target_arch = "x86_64")]
#[inline]
fn chain() -> *const TrapChain {
    let chain;
    // SAFETY: reads a GOT entry and the first word of the thread control block, which is its own address.
    unsafe {
        core::arch::asm!(
            "mov {chain}, [rip + smf_trap_chain@GOTTPOFF]",
            "add {chain}, fs:[0]",
            chain = out(reg) chain,
            options(pure, readonly, nostack),
        );
    }
    chain
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
