//! Calls into machine code, whose traps come back as errors: those of the core's [`landing`], with a
//! variable of the thread in the place of its table.
#![allow(unsafe_code)]

#[cfg(not(target_arch = "x86_64"))]
use std::ptr;

use smf_core::link::LinkError;
use smf_core::loader::epoch::Epochs;
use smf_core::trap::{self, Failed, Returned, TrapChain, Word};

/// Pinned around each call by address, in whichever [`Loader`](crate::loader::Loader) the code is: a version
/// that is replaced meanwhile is not freed before the call has returned.
pub static CALL_EPOCHS: Epochs = Epochs::new();

/// Where the head of this thread is.
#[cfg(not(target_arch = "x86_64"))]
fn head() -> *const TrapChain {
    std::thread_local! {
        static HEAD: TrapChain = const { TrapChain::new() };
    }
    HEAD.with(ptr::from_ref)
}

// The head of each thread: bytes that it has from its begin, all of them 0.
#[cfg(target_arch = "x86_64")]
core::arch::global_asm!(
    ".pushsection .tbss.smf_thread_head, \"awT\", @nobits",
    ".globl smf_thread_head",
    ".hidden smf_thread_head",
    ".type smf_thread_head, @object",
    ".size smf_thread_head, {size}",
    ".balign {align}",
    "smf_thread_head:",
    ".zero {size}",
    ".popsection",
    size = const size_of::<TrapChain>(),
    align = const align_of::<TrapChain>(),
);

/// Where the head of this thread is: at a distance from the thread's pointer that is known once the library
/// is loaded. What the compiler makes of a `thread_local!` in a shared library asks the dynamic linker at
/// every call instead (U. Drepper, ELF Handling For Thread-Local Storage, 4.3 and 4.4.6: the initial exec
/// model).
#[cfg(target_arch = "x86_64")]
#[inline]
fn head() -> *const TrapChain {
    let head;
    // SAFETY: reads a word of the table of offsets and the first word of the thread's own block, which is
    // its address.
    unsafe {
        core::arch::asm!(
            "mov {head}, [rip + smf_thread_head@GOTTPOFF]",
            "add {head}, fs:[0]",
            head = out(reg) head,
            options(pure, readonly, nostack),
        );
    }
    head
}

/// Has the core find the heads of threads here. Whoever lets code be called that may trap does this first.
pub fn keep_heads() {
    // SAFETY: a variable of the thread, which nothing drops before the thread is gone.
    unsafe { trap::set_thread_heads(head) };
}

/// As [`trap::call_catching`].
///
/// # Errors
/// [`LinkError::Trap`], [`LinkError::Stopped`], and [`LinkError::TooManyArguments`].
///
/// # Safety
/// As there.
pub unsafe fn call(address: u64, args: &[i64]) -> Result<i64, LinkError> {
    keep_heads();
    let _pinned = CALL_EPOCHS.pin();
    // SAFETY: passed on to the caller.
    unsafe { call_with_heads(address, args) }.map_err(LinkError::from)
}

/// The same after [`keep_heads`], while [`CALL_EPOCHS`] are pinned.
///
/// # Errors
/// What becomes those of [`call`], before another call.
///
/// # Safety
/// As [`call`].
#[inline(always)]
pub unsafe fn call_with_heads<'t>(address: u64, args: &[i64]) -> Result<i64, Failed<'t>> {
    // SAFETY: a variable of the thread, which it has as long as it runs.
    let head = unsafe { &*head() };
    // SAFETY: passed on to the caller.
    unsafe { trap::call_landing_at(head, address, args) }
}

/// As [`trap::call_values`].
///
/// # Errors
/// As there.
///
/// # Safety
/// As there.
pub unsafe fn call_values(address: u64, args: &[Word]) -> Result<Returned, LinkError> {
    keep_heads();
    let _pinned = CALL_EPOCHS.pin();
    // SAFETY: passed on to the caller.
    unsafe { trap::call_values(address, args) }
}
