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
    /// More than 255 arguments of a call; their number.
    #[error("a call passes at most 255 arguments, and {0} are given")]
    Arguments(usize),
    /// More entries in a table, or arguments of a type, than the format can count.
    #[error("more than {limit} {what}")]
    TooLarge {
        /// What the entries are.
        what: &'static str,
        /// The largest permitted number.
        limit: u32,
    },
    /// The allocator failed.
    #[error("out of memory")]
    OutOfMemory,
}

impl From<AllocError> for BuildError {
    fn from(_: AllocError) -> Self {
        Self::OutOfMemory
    }
}

/// The number of entries in 8 bits.
pub(super) fn count_8(number: usize, what: &'static str) -> Result<u8, BuildError> {
    u8::try_from(number).map_err(|_| BuildError::TooLarge { what, limit: u8::MAX.into() })
}

/// The number of entries in 16 bits.
pub(super) fn count_16(number: usize, what: &'static str) -> Result<u16, BuildError> {
    u16::try_from(number).map_err(|_| BuildError::TooLarge { what, limit: u16::MAX.into() })
}

/// The number of entries in 32 bits.
pub(super) fn count_32(number: usize, what: &'static str) -> Result<u32, BuildError> {
    u32::try_from(number).map_err(|_| BuildError::TooLarge { what, limit: u32::MAX })
}
