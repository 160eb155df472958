//! Why a function cannot be encoded.

use crate::alloc_util::AllocError;

/// Why a function cannot be encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// More than 64 type parameters.
    #[error("a template has at most 64 type parameters")]
    Parameters,
    /// More than 65,535 locals, or a parameter after a local that is not a parameter.
    #[error("a function has at most 65,535 locals, and its parameters come before the others")]
    Locals,
    /// A label that was used and never bound; its number from 0.
    #[error("label {0} is used and never bound")]
    Unbound(usize),
    /// A label that was bound twice; its number from 0.
    #[error("label {0} is bound twice")]
    Bound(usize),
    /// A branch or trap that compares with a number of more than 16 bits.
    #[error("a branch or trap compares with a number of 16 bits, and {0} has more")]
    BranchNumber(i32),
    /// A name that is empty, longer than 1,023 bytes, or contains a NUL.
    #[error("a name is empty, longer than 1,023 bytes, or contains a NUL")]
    Name,
    /// More entries in a table, or arguments of a call or a type, than the format can count.
    #[error("a table of the function has more entries than the format can count")]
    TooLarge,
    /// The allocator failed.
    #[error("out of memory")]
    OutOfMemory,
}

impl From<AllocError> for BuildError {
    fn from(_: AllocError) -> Self {
        Self::OutOfMemory
    }
}
