//! Why a body cannot be encoded, in words.

use core::fmt;

/// Why a body cannot be encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BuildError {
    /// More than 64 type parameters.
    Parameters,
    /// More than 65,534 locals, or a parameter after a local that is none.
    Locals,
    /// A label that was used and never bound; its number from 0.
    Unbound(usize),
    /// A label that was bound twice; its number from 0.
    Bound(usize),
    /// A branch on a number that does not fit in 16 bits.
    BranchNumber(i32),
    /// A name that is empty, longer than 1,023 bytes, or has a NUL.
    Name,
    /// More callees, types, names, or arguments of a call or a type than the format has room for.
    TooLarge,
    /// No memory.
    OutOfMemory,
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Parameters => f.write_str("a template has at most 64 type parameters"),
            Self::Locals => f.write_str(
                "a body has at most 65,534 locals, and its parameters come before the others",
            ),
            Self::Unbound(label) => write!(f, "label {label} is used and stands nowhere"),
            Self::Bound(label) => write!(f, "label {label} stands in two places"),
            Self::BranchNumber(number) => {
                write!(f, "a branch compares with numbers of 16 bits, and {number} has more")
            }
            Self::Name => {
                f.write_str("a name is empty, longer than 1,023 bytes, or has a NUL in it")
            }
            Self::TooLarge => {
                f.write_str("the body has more of something than its format can count")
            }
            Self::OutOfMemory => f.write_str("no memory to build the body"),
        }
    }
}

impl core::error::Error for BuildError {}
