//! Why a loader refuses an operation.

use thiserror::Error;

use super::handle::ModuleHandle;
use crate::alloc_util::AllocError;
use crate::bytecode::verify::VerifyError;
use crate::format::FormatError;
use crate::link::{LibraryError, LinkError, Name};
use crate::memory::code_alloc::ExecError;
use crate::vm::EngineError;

/// Why a bytecode program cannot be called.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum BytecodeError {
    /// The verifier refuses it.
    #[error(transparent)]
    Verify(#[from] VerifyError),
    /// The engine cannot run it.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// smf-core was built without the feature `bytecode`.
    #[error(
        "bytecode cannot be loaded, because this loader is built without the feature `bytecode` of smf-core"
    )]
    NotBuilt,
}

impl From<AllocError> for BytecodeError {
    fn from(error: AllocError) -> Self {
        Self::Engine(EngineError::Code(error.into()))
    }
}

/// The result of an operation of a loader.
pub(super) type Result<T, E = LoadError> = core::result::Result<T, E>;

/// Why a loader refuses an operation. Every module is then as it was before.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the message of each variant names its fields")]
pub enum LoadError {
    /// Malformed bytes.
    #[error("{module}: {error}")]
    Format { module: Name, error: FormatError },
    /// An archive instead of a module.
    #[error("{module}: this is an archive: name one of its modules")]
    Archive { module: Name },
    /// A well-formed module that cannot be mapped or linked.
    #[error("{module}: {error}")]
    Link { module: Name, error: LinkError },
    /// A module with constructors, destructors, exit handlers or indirect functions, which the options refuse.
    #[error(
        "{module} has constructors, destructors, exit handlers or indirect functions, which the options refuse"
    )]
    Constructors { module: Name },
    /// A module whose code threads still have to run when they end.
    #[error(
        "{module} cannot be unloaded: threads still have to run destructors of its thread-local variables when they end"
    )]
    ThreadDestructors { module: Name },
    /// A shared library that the host adds and that cannot be opened.
    #[error("cannot open the library {library}: {error}")]
    Library { library: Name, error: LibraryError },
    /// A bytecode module that cannot run, or a bytecode function that cannot be called by address.
    #[error("{module}: {error}")]
    Bytecode { module: Name, error: BytecodeError },
    /// A name that a module does not export.
    #[error("{module} does not export `{symbol}`")]
    NoExport { module: Name, symbol: Name },
    /// No executable memory for a stub.
    #[error("{module}: cannot allocate a stub: {error}")]
    Stub { module: Name, error: ExecError },
    /// Another module has the name.
    #[error("a module called {module} is loaded already")]
    NameTaken { module: Name },
    /// A second export of a name, which the options refuse.
    #[error("both {other} and {module} export `{symbol}`")]
    DuplicateExport { symbol: Name, module: Name, other: Name },
    /// The handle of an unloaded module, or a number that is not a handle.
    #[error("handle 0x{:x} belongs to no loaded module", handle.to_raw())]
    Stale { handle: ModuleHandle },
    /// A module that is held.
    #[error("{module} is held {pins} time{}", if *pins == 1 { "" } else { "s" })]
    InUse { module: Name, pins: u32 },
    /// A module that another one imports from.
    #[error("{module} is in use: {by} imports from it")]
    Needed { module: Name, by: Name },
    /// A module that only replaced versions of another one import from, which are still in memory.
    #[error(
        "{module} is in use: a replaced version of {by} imports from it, which is still in memory; call smf_loader_collect (collect_quiescent in Rust) when no thread is inside code that it entered without the library"
    )]
    NeededByReplaced { module: Name, by: Name },
    /// A module that is not marked as reloadable.
    #[error("{module} is not marked as reloadable, so it cannot be replaced")]
    NotReloadable { module: Name },
    /// A new version without a function that is called from outside.
    #[error(
        "{module}: `{symbol}` is called from outside, and the new version does not export it as a function"
    )]
    FunctionRemoved { module: Name, symbol: Name },
    /// A new version whose function that is called from outside has other types, or types with other fields or variants.
    #[error(
        "{module}: `{symbol}` is called from outside, and has other parameters or another result in the new version, or these name a struct or enum that has changed"
    )]
    SignatureChanged { module: Name, symbol: Name },
    /// An `extern fn` whose types are not those of the function that another module defines.
    #[error("{module}: `extern fn {symbol}` has other types than the function in {other}")]
    ImportTypes { symbol: Name, module: Name, other: Name },
    /// A new version that cannot use a datum at the address that another module refers to.
    #[error(
        "{module} cannot be replaced: {by} refers to its `{symbol}` by address, and the new version cannot use it there"
    )]
    DataInUse { module: Name, symbol: Name, by: Name },
    /// Imported data of a module with constructors or destructors, in a reload that keeps the data of other modules alone.
    #[error(
        "{module}, or its new version, has constructors or destructors: SMF_DATA_KEEP_CONSTRUCTED (CopyConstructed, --keep-constructed) is needed, as {by} refers to its `{symbol}` by address"
    )]
    ConstructedDataInUse { module: Name, symbol: Name, by: Name },
    /// The limit of replaced code that is still in memory.
    #[error(
        "{module} cannot be replaced: {bytes} bytes of replaced code are still in memory, and {limit} bytes are the limit; call smf_loader_collect (collect_quiescent in Rust) when no thread is inside code that it entered without the library"
    )]
    ReplacedCodeLimit { module: Name, bytes: usize, limit: usize },
    /// A module that another thread replaced or unloaded during the operation.
    #[error("{module} was replaced or unloaded by another thread meanwhile; try again")]
    Changed { module: Name },
    /// The allocator has no memory left.
    #[error("the allocator has no memory left")]
    OutOfMemory(#[from] AllocError),
}

impl LoadError {
    /// The error of a module that cannot be linked.
    pub(super) fn link(module: &Name, error: LinkError) -> Self {
        let module = module.clone();
        match error {
            LinkError::Format(error) => LoadError::Format { module, error },
            error => LoadError::Link { module, error },
        }
    }

    /// Whether imports are the reason why a module cannot be linked.
    pub(super) fn has_missing_imports(&self) -> bool {
        matches!(self, LoadError::Link { error: LinkError::MissingImports { .. }, .. })
    }

    /// Whether an operation on the module `name` should be retried: another module changed meanwhile.
    pub(super) fn is_transient(&self, name: &[u8]) -> bool {
        matches!(self, LoadError::Changed { module } if module.as_bytes() != name)
    }
}
