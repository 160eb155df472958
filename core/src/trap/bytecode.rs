//! The limits of a running bytecode program and the traps that end it.
//!
//! The interpreter and compiled code share these limits, so a program stops at the same instruction in both.

use thiserror::Error;

use crate::alloc_util::AllocError;

/// The maximum depth of an operand stack, in values. A function that needs more cannot be called.
pub const MAX_STACK_DEPTH: u32 = 10_000;

/// The maximum number of nested activations.
pub const MAX_DEPTH: u32 = 1_000;

/// The maximum bytes of stack that the uncharged activations of one call take together.
#[cfg(feature = "kernel")]
pub(crate) const SMALL_ACTIVATIONS: u64 = MAX_DEPTH as u64 * FREE;

/// The fixed stack cost of an activation, in bytes.
const ACTIVATION: u64 = 128;

/// Activations that cost at most this many bytes are not charged to the budget: [`MAX_DEPTH`] bounds them.
const FREE: u64 = 1024;

/// The default stack budget of one call, in bytes.
pub const DEFAULT_BUDGET: u64 = 1 << 20;

/// The maximum bytes of stack of one activation of a function with `locals` locals and an operand stack of at most
/// `max_stack_depth` values, arguments and return address included.
pub const fn activation_cost(locals: u16, max_stack_depth: u32) -> u64 {
    8 * (locals as u64 + max_stack_depth as u64) + ACTIVATION
}

/// The budget that such an activation is charged, in bytes: its [cost](activation_cost), or 0 for a small one.
pub const fn activation_charge(locals: u16, max_stack_depth: u32) -> u64 {
    let cost = activation_cost(locals, max_stack_depth);
    if cost > FREE { cost } else { 0 }
}

/// Why a bytecode program stopped.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cause {
    /// DIV or MOD by zero.
    #[error("division by zero")]
    DivisionByZero,
    /// More than [`MAX_DEPTH`] activations.
    #[error("more than {MAX_DEPTH} calls inside each other")]
    CallDepth,
    /// An operand stack deeper than [`MAX_STACK_DEPTH`], activations that exceed the budget, or too little native
    /// stack left on the thread.
    #[error("more values than the stack may hold, or than the thread has stack for")]
    StackLimit,
    /// The host interrupted the program.
    #[error("interrupted")]
    Interrupted,
    /// A host function reported this error code, which is not 0.
    #[error("the host function reports error {0}")]
    Host(u32),
    /// The interpreter could not allocate memory.
    #[error("no memory to interpret it")]
    OutOfMemory,
}

impl From<AllocError> for Cause {
    fn from(_: AllocError) -> Self {
        Cause::OutOfMemory
    }
}

/// A bytecode program that stopped before it returned.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("{cause}, in function {function} at offset 0x{at:x}")]
pub struct Trap {
    /// Why the program stopped.
    pub cause: Cause,
    /// The index of the function. A trap that prevents a call is reported in the callee, at offset 0.
    pub function: u32,
    /// The offset of the instruction, in bytes from the start of the function's code.
    pub at: u32,
}
