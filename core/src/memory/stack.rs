//! The stack of the calling thread: where it ends, and where its pointer is.
#![allow(unsafe_code)]

use core::ops::Range;

use spin::Once;

/// Returns the addresses of the calling thread's stack, starting with the lowest writable one; `None` if
/// unknown.
pub type StackBounds = fn() -> Option<Range<usize>>;

static BOUNDS: Once<StackBounds> = Once::new();

/// Sets the function that returns the stack bounds. It is called at each call of bytecode from the host and at each
/// compilation of source, on the thread of the call. Only the first call of `set_stack_bounds` has an effect.
pub fn set_stack_bounds(bounds: StackBounds) {
    BOUNDS.call_once(|| bounds);
}

/// The lowest address of the stack that the stack pointer is in; `None` if it is unknown.
pub(crate) fn stack_start() -> Option<usize> {
    let known = BOUNDS.get().and_then(|bounds| bounds())?;
    known.contains(&stack_pointer()).then_some(known.start)
}

#[cfg(all(target_arch = "x86_64", not(miri)))]
#[inline]
pub(crate) fn stack_pointer() -> usize {
    let here;
    // SAFETY: copies a register.
    unsafe {
        core::arch::asm!("mov {here}, rsp", here = out(reg) here, options(nomem, nostack, preserves_flags));
    }
    here
}

#[cfg(all(target_arch = "aarch64", not(miri)))]
#[inline]
pub(crate) fn stack_pointer() -> usize {
    let here;
    // SAFETY: copies a register.
    unsafe {
        core::arch::asm!("mov {here}, sp", here = out(reg) here, options(nomem, nostack, preserves_flags));
    }
    here
}

/// About: a variable of this function.
#[cfg(not(all(any(target_arch = "x86_64", target_arch = "aarch64"), not(miri))))]
pub(crate) fn stack_pointer() -> usize {
    let here = 0_u8;
    (&raw const here).addr()
}
