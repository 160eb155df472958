//! The interface of back ends.

use alloc::boxed::Box;
use alloc::vec::Vec;

use thiserror::Error;

use super::unit::Unit;
use crate::alloc_util::{AllocError, TryArc};
use crate::codegen::CodegenError;
use crate::codegen::registry::CodeRegistry;
use crate::link::Name;
use crate::memory::code_alloc::{CodeMemory, ExecError};

/// The effort of a compilation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// No optimisation: the shortest compilation.
    None = 0,
    /// Optimisation within straight-line code.
    Local = 1,
    /// All optimisations.
    #[default]
    Speed = 2,
    /// All optimisations; a back end may prefer small code.
    SpeedAndSize = 3,
}

impl Level {
    /// The level with this number; `None` above 3.
    pub fn from_number(number: i64) -> Option<Self> {
        match number {
            0 => Some(Self::None),
            1 => Some(Self::Local),
            2 => Some(Self::Speed),
            3 => Some(Self::SpeedAndSize),
            _ => None,
        }
    }
}

/// A compiled unit.
pub struct CompiledUnit {
    /// The addresses of the functions, in the order of the unit.
    pub addresses: Vec<u64>,
    /// Bytes of code and of its data.
    pub bytes: usize,
    /// Owns the code: it is executable until this is dropped.
    pub code: Box<dyn Send + Sync>,
}

/// A registry that several owners of code share.
pub type SharedRegistry = TryArc<Box<dyn CodeRegistry>>;

/// Why a back end cannot compile a unit.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum BackendError {
    /// The function exceeds a limit of the code generator.
    #[error("function `{function}`: {error}")]
    Codegen {
        /// The name of the function.
        function: Name,
        /// The limit.
        error: CodegenError,
    },
    /// A symbol that neither the manager nor the host has.
    #[error("function `{function}` calls `{symbol}`, which is undefined")]
    Undefined {
        /// The name of the function.
        function: Name,
        /// The name of the callee.
        symbol: Name,
    },
    /// A callee whose kind a unit cannot have: an instance of a template.
    #[error("function `{function}` calls an instance of the template `{template}`")]
    Template {
        /// The name of the function.
        function: Name,
        /// The name of the template.
        template: Name,
    },
    /// Code that cannot be placed.
    #[error("the code cannot be placed: {0}")]
    Memory(ExecError),
    /// A call or an address that does not reach its target.
    #[error("function `{function}`: the target at {target:#x} is out of reach")]
    OutOfReach {
        /// The name of the function.
        function: Name,
        /// The address of the target.
        target: u64,
    },
    /// This machine has no code generator.
    #[error("there is no code generator for this machine")]
    Machine,
    /// A unit whose code is larger than its relocations can state.
    #[error("the code of the unit is too large")]
    UnitSize,
    /// The back end made code that cannot be placed as it is.
    #[error("a defect of the back end: {0}")]
    Defect(&'static str),
    /// The allocator has no memory left.
    #[error(transparent)]
    OutOfMemory(#[from] AllocError),
    /// Any other reason.
    #[error("{0}")]
    Other(Name),
}

impl From<ExecError> for BackendError {
    fn from(error: ExecError) -> Self {
        Self::Memory(error)
    }
}

/// Compiles units. Threads call it concurrently.
///
/// Code follows the C calling convention of the machine. A trap calls [`trap_hook`](crate::trap::trap_hook) with its
/// code, the line of its source location, or else its offset in the function, and the address of the function.
pub trait Backend: Send + Sync {
    /// The name, as it is asked for: `native`, `cranelift`, `llvm`.
    fn name(&self) -> &'static str;

    /// The registry of the code of this back end, for the stubs of the manager.
    fn registry(&self) -> Option<SharedRegistry> {
        None
    }

    /// The memory of the code of this back end, for the stubs of the manager. `None` before the first compilation, and for
    /// one without code memory; stubs then have memory of their own.
    fn code_memory(&self) -> Option<CodeMemory> {
        None
    }

    /// Compiles and places a unit. `symbol` returns the address of a callee of the host by name.
    ///
    /// # Errors
    /// [`BackendError`].
    fn compile(
        &self,
        unit: &Unit,
        level: Level,
        symbol: &mut dyn FnMut(&[u8]) -> Option<u64>,
    ) -> Result<CompiledUnit, BackendError>;
}
