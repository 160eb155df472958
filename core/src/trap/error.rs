//! Why a call into machine code has no result.

use core::fmt;

use thiserror::Error;

use super::bytecode;

/// The maximum number of integer arguments of [`call`](super::call) and [`call_catching`](super::call_catching).
pub const MAX_ARGS: usize = 8;

/// The code of an integer division by zero.
const DIVISION_BY_ZERO: u32 = 1;

/// A trap of compiled code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trap {
    /// 1 for a division by zero; other codes are defined by the template.
    pub code: u32,
    /// The offset of the trapping instruction, in bytes from the start of the template's body.
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
        match code {
            DIVISION_BY_ZERO => f.write_str("division by zero")?,
            _ => write!(f, "trap {code}")?,
        }
        write!(f, ", at 0x{at:x} of the template's body")
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
    fn trap_message_names_the_code_and_the_offset() {
        let message = |code| {
            TrapError::Trap(Trap { code, at: 0x54, function: 0, operands: [0; 2] }).to_string()
        };
        assert_eq!(message(1), "division by zero, at 0x54 of the template's body");
        assert_eq!(message(16), "trap 16, at 0x54 of the template's body");
    }
}
