//! Why a running program stops, and the limits that stop it. The interpreter and compiled code agree
//! on every one of them, so that the same program stops at the same place in both.

use core::fmt;

use crate::alloc_util::AllocError;

/// The most values that a vector may hold. A function whose vector may hold more cannot be entered.
pub const MAX_VECTOR: u32 = 10_000;

/// How many activations there may be at once.
pub const MAX_DEPTH: u32 = 1_000;

/// The bytes that all activations of a call that are not charged take at most together.
#[cfg(feature = "kernel")]
pub(crate) const SMALL_ACTIVATIONS: u64 = MAX_DEPTH as u64 * FREE;

/// What an activation costs beside its values, in bytes.
const ACTIVATION: u64 = 128;

/// Activations that cost more bytes than this are charged to the budget. The others are bounded by
/// [`MAX_DEPTH`].
const FREE: u64 = 1024;

/// The bytes that all activations of a call together may be charged, if nothing else is asked.
pub const DEFAULT_BUDGET: u64 = 1 << 20;

/// The most bytes of stack that an activation of a function with `locals` locals and a vector of at most
/// `max_stack_depth` values takes, with the arguments that it got there and its return address.
pub const fn activation_cost(locals: u16, max_stack_depth: u32) -> u64 {
    8 * (locals as u64 + max_stack_depth as u64) + ACTIVATION
}

/// What such an activation is charged, in bytes: its [cost](activation_cost), or 0 for a small one.
pub const fn activation_charge(locals: u16, max_stack_depth: u32) -> u64 {
    let cost = activation_cost(locals, max_stack_depth);
    if cost > FREE { cost } else { 0 }
}

/// Why a program stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cause {
    /// DIV or MOD by zero.
    DivisionByZero,
    /// More than [`MAX_DEPTH`] activations.
    CallDepth,
    /// A function whose vector may hold more than [`MAX_VECTOR`] values, activations that exceed the
    /// budget together, or a thread without as much native stack as is needed.
    StackLimit,
    /// The host has asked for it.
    Interrupted,
    /// A host function has reported this error, which is not 0.
    Host(u32),
    /// No memory to interpret it.
    OutOfMemory,
}

impl From<AllocError> for Cause {
    fn from(_: AllocError) -> Self {
        Cause::OutOfMemory
    }
}

/// A program that stopped before it returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trap {
    /// Why.
    pub cause: Cause,
    /// In which function. What keeps a function from being entered happens in it, at offset 0.
    pub function: u32,
    /// At which instruction, in bytes from the begin of the function's code.
    pub at: u32,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cause::DivisionByZero => f.write_str("division by zero"),
            Cause::CallDepth => write!(f, "more than {MAX_DEPTH} calls inside each other"),
            Cause::StackLimit => {
                f.write_str("more values than the stack may hold, or than the thread has stack for")
            }
            Cause::Interrupted => f.write_str("interrupted"),
            Cause::OutOfMemory => f.write_str("no memory to interpret it"),
            Cause::Host(code) => write!(f, "the host function reports error {code}"),
        }
    }
}

impl fmt::Display for Trap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, in function {} at offset 0x{:x}", self.cause, self.function, self.at)
    }
}

impl core::error::Error for Trap {}
