//! The limit of the native stack for a call.
//!
//! What activations of bytecode may take together is limited by their number and a budget. That is more
//! than a small thread has. So each call also has an end of the stack: compiled functions compare it with
//! what they need ([`abi`](crate::bytecode::translate::abi)), and the interpreter does where it is entered; a call
//! that would pass it stops with [`Cause::StackLimit`](crate::trap::bytecode::Cause::StackLimit).
//!
//! **Where the stack ends** only the host knows ([`set_stack_bounds`](crate::vm::set_stack_bounds)). When it does not, or the stack
//! pointer is outside the bounds, as in a coroutine or a signal handler with a stack of its own, the call
//! takes no more than the limits of activations allow together: 2 MiB, with the budget that a call usually
//! has, suffice then.

use crate::memory::{stack_pointer, stack_start};
use crate::trap::bytecode::SMALL_ACTIVATIONS;

/// Bytes of stack that a function of the host is left at least, where the end of the stack is known.
pub const HOST_STACK: usize = 16 << 10;

/// Bytes of stack that the interpreter takes at most, however many activations it has, before it calls
/// compiled code or a function of the host.
pub(super) const INTERPRETER_STACK: usize = 16 << 10;

/// Bytes of stack that compiling a function takes at most, with what an observer does. Where less is left,
/// the function is interpreted on.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
pub(super) const COMPILER_STACK: usize = 64 << 10;

/// The lowest address that the stack pointer of an activation may have in a call that begins here, when its
/// large activations may take `budget` bytes together.
pub(super) fn stack_end(budget: u64) -> usize {
    if cfg!(miri) {
        return 0;
    }
    match stack_start() {
        Some(start) => start.saturating_add(HOST_STACK),
        None => {
            let most = SMALL_ACTIVATIONS.saturating_add(budget);
            stack_pointer().saturating_sub(usize::try_from(most).unwrap_or(usize::MAX))
        }
    }
}

/// Whether so many bytes of stack are left above `end`.
pub(super) fn is_left(bytes: usize, end: usize) -> bool {
    end == 0 || stack_pointer().checked_sub(bytes).is_some_and(|lowest| lowest >= end)
}

/// Whether enough stack is left to compile, which calls nothing of the program.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
pub(super) fn is_left_to_compile(end: usize) -> bool {
    is_left(COMPILER_STACK, end.saturating_sub(HOST_STACK))
}
