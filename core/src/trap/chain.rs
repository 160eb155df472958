//! The chain of catching calls of a thread.

use core::{cell::Cell, mem::MaybeUninit, ptr};

use super::error::TrapError;

/// The saved state of one catching call, on its stack: the previous frame of the chain, then the callee-saved
/// registers.
#[derive(Debug)]
pub(super) struct CatchFrame;

/// The active catching calls of one thread.
#[derive(Debug)]
#[repr(C)]
pub struct TrapChain {
    /// The frame of the innermost call; null if there is none.
    pub(super) innermost: Cell<*mut CatchFrame>,
    /// Written by a trap, before it returns to the innermost call, which reads it.
    pub(super) error: Cell<MaybeUninit<TrapError>>,
}

impl TrapChain {
    /// The chain of a thread without a catching call. All zero bytes are such a chain too.
    pub const fn new() -> Self {
        Self { innermost: Cell::new(ptr::null_mut()), error: Cell::new(MaybeUninit::uninit()) }
    }
}

impl Default for TrapChain {
    fn default() -> Self {
        Self::new()
    }
}

/// The return registers after [`call_values`](super::call_values). The type of the function selects one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReturnRegisters {
    /// The integer register. Bits above the width of the result are undefined.
    pub integer: u64,
    /// The bits of the floating-point register; an `f32` is the lower half.
    pub float: u64,
}
