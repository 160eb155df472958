//! Why a call into machine code has no result.

use core::fmt;

use thiserror::Error;

use super::bytecode;
use crate::trap_code::TrapCode;

/// The maximum number of integer arguments of [`call`](super::call) and [`call_catching`](super::call_catching).
pub const MAX_ARGS: usize = 8;

/// A trap of compiled code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trap {
    /// The [code](crate::ir::TrapCode): 1 for a division by zero, 2 for an overflow, 3 for the end of the stack; others are
    /// those of the front end or the template.
    pub code: u32,
    /// The line of the instruction, where its function has source locations; otherwise the offset of the instruction, in
    /// bytes from the start of the function or the template's body.
    pub at: u32,
    /// The address of the function that trapped: the function that was called, or one that it called.
    /// [`JitInstantiator::instance_at`](crate::templates::JitInstantiator::instance_at) returns the instance
    /// there.
    pub function: u64,
    /// What a comparison that traps compared, if these were 64-bit integers; 0 otherwise.
    pub operands: [u64; 2],
}

impl fmt::Display for Trap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { code, at, .. } = *self;
        write!(f, "{}, at {at}", TrapCode(code))
    }
}

/// The result of a call into machine code.
pub(super) type Result<T, E = TrapError> = core::result::Result<T, E>;

/// Why a call into machine code has no result.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum TrapError {
    /// Compiled code trapped.
    #[error("{0}")]
    Trap(Trap),
    /// Bytecode stopped.
    #[error("{0}")]
    Bytecode(bytecode::Trap),
    /// More arguments than [`MAX_ARGS`]. Nothing was called.
    #[error("{given} arguments given, and a call passes at most {MAX_ARGS}")]
    TooManyArguments {
        /// The number of arguments.
        given: usize,
    },
    /// A floating-point argument on a machine without code generation. Nothing was called.
    #[error("calls on this machine pass integer arguments only")]
    FloatArgument,
    /// The allocator has no memory left. Nothing was called.
    #[error("the allocator has no memory left")]
    OutOfMemory,
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn trap_message_names_the_code_and_the_place() {
        let message = |code| {
            TrapError::Trap(Trap { code, at: 84, function: 0, operands: [0; 2] }).to_string()
        };
        assert_eq!(message(1), "division by zero, at 84");
        assert_eq!(message(2), "integer overflow, at 84");
        assert_eq!(message(3), "the stack is exhausted, at 84");
        assert_eq!(message(16), "trap 16, at 84");
    }
}
