//! Options and errors of compilation.

use std::path::Path;

use smf_core::AllocError;
use smf_core::codegen::CodegenError;
use smf_core::format::Arch;
use smf_core::format::write::WriteError;
use smf_core::ir::IrError;
use thiserror::Error;

/// How a module is compiled.
#[derive(Clone, Copy, Debug)]
pub struct CompileOptions<'d> {
    /// The machine.
    pub arch: Arch,
    /// The optimisation level, 0 to 3.
    pub level: u8,
    /// The directory from which debuggers find source files with relative names; the module has line tables if it is given.
    pub debug_directory: Option<&'d Path>,
}

/// Why a program has no module.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CompileError {
    /// A machine without code generator.
    #[error("there is no code generator for {0}")]
    Arch(Arch),
    /// A function beyond a limit of the code generator.
    #[error("function `{function}`: {error}")]
    Codegen {
        /// The name of the function.
        function: String,
        /// The limit.
        error: CodegenError,
    },
    /// A function whose IR is invalid: an error of the front end.
    #[error("function `{function}`: {error}")]
    Ir {
        /// The name of the function.
        function: String,
        /// What is wrong.
        error: IrError,
    },
    /// A callee that code of a module cannot have.
    #[error("function `{function}` calls an instance of the template `{template}`")]
    Template {
        /// The name of the function.
        function: String,
        /// The name of the template.
        template: String,
    },
    /// Code whose parts are too far from each other.
    #[error("function `{function}`: a call does not reach its target")]
    OutOfReach {
        /// The name of the function.
        function: String,
    },
    /// A function whose symbol readers would refuse.
    #[error(
        "function `{function}...`: its name with its types is longer than the 16,383 bytes of a symbol"
    )]
    SymbolName {
        /// The beginning of the symbol.
        function: String,
    },
    /// More than the format has numbers for.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The allocator has no memory left.
    #[error(transparent)]
    OutOfMemory(#[from] AllocError),
}

pub(super) type Result<T, E = CompileError> = std::result::Result<T, E>;
