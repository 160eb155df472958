//! The trap codes that operations of the [IR](crate::ir) have, and what they mean in a message.

use core::fmt;

/// The trap code of an integer division by zero.
pub const DIVISION_BY_ZERO: u32 = 1;

/// The trap code of an operation that checks for overflow.
pub const OVERFLOW: u32 = 2;

/// The trap code of a stack that is too short for a frame.
pub const STACK_LIMIT: u32 = 3;

/// A trap code in a message: what happened, or `trap` and the number of a code that a front end or a template defines.
///
/// ```
/// use smf_core::ir::{OVERFLOW, TrapCode};
///
/// assert_eq!(TrapCode(OVERFLOW).to_string(), "integer overflow");
/// assert_eq!(TrapCode(100).to_string(), "trap 100");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrapCode(pub u32);

impl fmt::Display for TrapCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            DIVISION_BY_ZERO => f.write_str("division by zero"),
            OVERFLOW => f.write_str("integer overflow"),
            STACK_LIMIT => f.write_str("the stack is exhausted"),
            code => write!(f, "trap {code}"),
        }
    }
}
