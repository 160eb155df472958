//! The traps of compiled source.

use core::fmt;

/// The trap of an index outside of an array. It states both operands of the comparison, of which one is the length:
/// `[length, index]`, and `length <= index`, for an index that counts from the start only; otherwise `[index + length, length]`,
/// where the sum wraps.
pub const TRAP_BOUNDS: u32 = 16;

/// The trap of a failed `assert`.
pub const TRAP_ASSERT: u32 = 17;

/// The trap of a negative exponent of an integer power.
pub const TRAP_EXPONENT: u32 = 18;

/// Why compiled source trapped, for traps that are not of the IR itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrapCause {
    /// An index outside of an array.
    Index {
        /// The index; a negative one counts from the end.
        index: i128,
        /// The number of elements.
        length: u64,
    },
    /// A failed `assert`.
    Assertion,
    /// A negative exponent of an integer power.
    Exponent,
}

impl TrapCause {
    /// The cause of a trap by its code and the operands that it states; `None` for other codes.
    pub fn of(code: u32, [left, right]: [u64; 2]) -> Option<Self> {
        match code {
            TRAP_BOUNDS if left <= right => Some(Self::Index { index: right.into(), length: left }),
            TRAP_BOUNDS => {
                let index = left.wrapping_sub(right).cast_signed().into();
                Some(Self::Index { index, length: right })
            }
            TRAP_ASSERT => Some(Self::Assertion),
            TRAP_EXPONENT => Some(Self::Exponent),
            _ => None,
        }
    }
}

impl fmt::Display for TrapCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Index { index, length } => {
                write!(f, "index {index} out of range for length {length}")
            }
            Self::Assertion => f.write_str("assertion failed"),
            Self::Exponent => f.write_str("negative exponent"),
        }
    }
}
