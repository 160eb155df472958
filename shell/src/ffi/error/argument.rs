//! Arguments that are invalid whatever the state of the library.

use smf_core::plural;
use thiserror::Error;

/// An argument that no call accepts. `SMF_ERROR_ARGUMENT`.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub(in super::super) enum ArgumentError {
    /// A null pointer or address.
    #[error("{what} is null")]
    Null { what: &'static str },
    /// A list of a length below 0.
    #[error("the length of {what} is negative ({value})")]
    NegativeLength { what: &'static str, value: i64 },
    /// An empty text.
    #[error("{what} is empty")]
    Empty { what: &'static str },
    /// A number below 0.
    #[error("{what} is negative ({value})")]
    Negative { what: &'static str, value: i64 },
    /// A size of 0.
    #[error("{what} is 0")]
    Zero { what: &'static str },
    /// A size or count beyond the address space.
    #[error("{what} exceeds the address space ({value})")]
    TooLarge { what: &'static str, value: i64 },
    /// A number without a meaning.
    #[error("{value} is not a valid {what}")]
    Unknown { what: &'static str, value: i64 },
    /// A number in bytes that is not a multiple of the page size.
    #[error("{what} (0x{value:x}) is not a multiple of the page size")]
    NotPageAligned { what: &'static str, value: u64 },
    /// A pointer that is not aligned for its type.
    #[error("{what} is at the misaligned address 0x{value:x}")]
    Misaligned { what: &'static str, value: usize },
    /// Invalid flags of a mapping.
    #[error("invalid mapping flags: {what}")]
    MappingFlags { what: &'static str },
    /// A cache of more files than `limit`.
    #[error("a cache of {files} files exceeds the limit of {limit}")]
    TooManyFiles { files: i64, limit: u32 },
    /// A structure whose size, in bytes, is below that of its first version.
    #[error("struct size {size} is smaller than the oldest version of {what}")]
    SmallStruct { what: &'static str, size: i64 },
    /// A call with more arguments than [`MAX_ARGS`](smf_core::trap::MAX_ARGS).
    #[error("{count} arguments exceed the limit of {max}", max = smf_core::trap::MAX_ARGS)]
    TooManyArguments { count: i64 },
    /// A call of a function of bytecode with another number of arguments than it has parameters.
    #[error("the function takes {expected} argument{}, and {given} {} given", plural::s(*expected), plural::is(*given))]
    ArgumentCount { given: usize, expected: usize },
    /// A table of functions for values with a null function.
    #[cfg(not(feature = "tagged"))]
    #[error("SmfValueHooks contains a null function")]
    NullHook,
}

impl ArgumentError {
    /// A number that is not a valid `what`.
    pub(in super::super) fn unknown(what: &'static str, value: impl Into<i64>) -> Self {
        Self::Unknown { what, value: value.into() }
    }
}
