//! The error of compilation.

use crate::alloc_util::AllocError;
use crate::bytecode::translate::TranslateError;
use crate::codegen::CodegenError;
use crate::memory::code_alloc::ExecError;

/// The reason why a function has no compiled code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CodeError {
    /// The program has no such function.
    #[error("the program has no function {index}")]
    NoFunction {
        /// The requested index.
        index: u32,
    },
    /// The host passes at most eight arguments.
    #[error("function {index} takes {params} arguments, and a host passes 8 at most")]
    Parameters {
        /// The index of the function.
        index: u32,
        /// The number of parameters.
        params: u16,
    },
    /// The function works on objects, or calls one that does: it is interpreted.
    #[error("function {index} works on objects, and is only interpreted")]
    Objects {
        /// The index of the function.
        index: u32,
    },
    /// The function was not translated to IR.
    #[error("function {index} cannot be compiled: {error}")]
    Translate {
        /// The index of the function.
        index: u32,
        /// Why it was not.
        error: TranslateError,
    },
    /// No code was generated.
    #[error("function {index} cannot be compiled: {error}")]
    Codegen {
        /// The index of the function.
        index: u32,
        /// Why not.
        error: CodegenError,
    },
    /// The stubs around the functions were not assembled.
    #[error("the stubs of the functions cannot be assembled: {0}")]
    Stubs(CodegenError),
    /// There is no memory for code.
    #[error(transparent)]
    Exec(#[from] ExecError),
    /// There is no memory for tables.
    #[error("no memory for the tables of compiled functions")]
    OutOfMemory,
    /// The engine only interprets.
    #[error(
        "the engine interprets bytecode alone, so that its functions have neither machine code nor addresses"
    )]
    Interpreted,
    /// There is no compiler for this machine.
    #[error(
        "there is no compiler of bytecode for this machine, so that its functions have neither machine code nor addresses"
    )]
    NoCompiler,
}

impl CodeError {
    /// The error of a function that is not translated.
    pub(super) fn of_translation(index: u32, error: TranslateError) -> Self {
        match error {
            TranslateError::OutOfMemory => Self::OutOfMemory,
            error => Self::Translate { index, error },
        }
    }

    /// The error of a function without code.
    pub(super) fn of_codegen(index: u32, error: CodegenError) -> Self {
        match error {
            CodegenError::OutOfMemory => Self::OutOfMemory,
            error => Self::Codegen { index, error },
        }
    }

    /// Whether the function is interpreted however often its compilation is tried: it works on objects, or exceeds a limit
    /// of the compiler.
    pub fn is_permanent(&self) -> bool {
        matches!(self, Self::Objects { .. } | Self::Translate { .. } | Self::Codegen { .. })
    }
}

impl From<AllocError> for CodeError {
    fn from(_: AllocError) -> Self {
        CodeError::OutOfMemory
    }
}

impl From<CodegenError> for CodeError {
    fn from(error: CodegenError) -> Self {
        match error {
            CodegenError::OutOfMemory => Self::OutOfMemory,
            error => Self::Stubs(error),
        }
    }
}
