//! Why there is no code.

use core::fmt;

use super::assemble_error::AssembleError;
use crate::alloc_util::AllocError;
use crate::ir::IrError;

/// A limit of the code generator that a function exceeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Limit {
    /// Bytes of code and read-only data of one function.
    CodeBytes,
    /// Bytes of the frame of one function.
    FrameBytes,
    /// Bytes of arguments on the stack that a tail call passes: they must fit where the caller of the function
    /// has put the function's own.
    TailCallStackBytes,
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CodeBytes => "bytes of code",
            Self::FrameBytes => "bytes of a frame",
            Self::TailCallStackBytes => "bytes of stack arguments of a tail call",
        })
    }
}

/// Why a function instance has no code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CodegenError {
    /// No memory.
    #[error("no memory to generate code")]
    OutOfMemory,
    /// The function needs `value` of something of which at most `max` is supported.
    #[error("the function needs {value} {limit}, but at most {max} are supported")]
    Limit {
        /// Which limit.
        limit: Limit,
        /// The greatest value that is supported.
        max: u64,
        /// The value that the function needs.
        value: u64,
    },
    /// The function is malformed in a way that the verifier refuses.
    #[error(transparent)]
    Ir(IrError),
    /// A defect of the code generator: the assembler refused an instruction.
    #[error(transparent)]
    Assemble(AssembleError),
}

impl From<AllocError> for CodegenError {
    fn from(_: AllocError) -> Self {
        Self::OutOfMemory
    }
}

impl From<IrError> for CodegenError {
    fn from(error: IrError) -> Self {
        match error {
            IrError::OutOfMemory => Self::OutOfMemory,
            error => Self::Ir(error),
        }
    }
}

impl From<AssembleError> for CodegenError {
    fn from(error: AssembleError) -> Self {
        match error {
            AssembleError::OutOfMemory { .. } => Self::OutOfMemory,
            AssembleError::TooLarge { limit } => {
                let max = limit as u64;
                Self::Limit { limit: Limit::CodeBytes, max, value: max.saturating_add(1) }
            }
            error => Self::Assemble(error),
        }
    }
}
