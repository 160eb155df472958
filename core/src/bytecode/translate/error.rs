//! The error of the translation.

use crate::alloc_util::AllocError;
use crate::ir::{BuildError, IrError};

/// Why a verified function cannot be translated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TranslateError {
    /// The function has more of something than the IR can express.
    #[error("{value} {name}, and the limit is {limit}")]
    Limit {
        /// The name of the limit.
        name: &'static str,
        /// The largest permitted number.
        limit: u64,
        /// The number that was needed, or the first one that was refused.
        value: u64,
    },
    /// No loop of the function starts at this offset.
    #[error("no loop starts at offset 0x{at:x}")]
    NoLoop {
        /// In bytes from the start of the code.
        at: u32,
    },
    /// The IR is refused.
    #[error(transparent)]
    Ir(IrError),
    /// No memory.
    #[error("no memory to translate the function")]
    OutOfMemory,
}

impl From<AllocError> for TranslateError {
    fn from(_: AllocError) -> Self {
        Self::OutOfMemory
    }
}

impl From<IrError> for TranslateError {
    fn from(error: IrError) -> Self {
        match error {
            IrError::OutOfMemory => Self::OutOfMemory,
            error => Self::Ir(error),
        }
    }
}

impl From<BuildError> for TranslateError {
    fn from(error: BuildError) -> Self {
        let limit = |name, limit: u64| Self::Limit { name, limit, value: limit + 1 };
        match error {
            BuildError::OutOfMemory => Self::OutOfMemory,
            BuildError::Locals => limit("locals of an IR function", u16::MAX.into()),
            BuildError::TooLarge { what, limit: most } => limit(what, most.into()),
            _ => limit("bytes of an IR function", u32::MAX.into()),
        }
    }
}
