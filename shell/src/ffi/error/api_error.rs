//! The error type of the exports, and the error number of each error.

use std::fmt;

use rustix::io::Errno;
use smf_core::Printable;
use smf_core::alloc_util::AllocError;
use smf_core::cache::CacheError;
use smf_core::extract::ExtractError;
use smf_core::format::FormatError;
use smf_core::link::{LinkError, Name};
use smf_core::loader::{BytecodeError, LoadError};
use smf_core::memory::code_alloc::ExecError;
use smf_core::memory::{self, MemoryError};
use smf_core::plural;
use smf_core::templates::MetadataError;
use smf_core::trap::TrapError;
use smf_core::vm::{CodeError, EngineError};
use thiserror::Error;

use super::argument::ArgumentError;
use super::code::Code;
use crate::fallible_buf::try_format;
use crate::host_symbols::ProcessSymbolsError;
use crate::jit::InCall;
use crate::loader::LoadFileError;
use crate::tools::ToolError;

/// Why an export returned its failure value.
#[derive(Debug, Error, PartialEq, Eq)]
#[cfg_attr(not(feature = "jit"), expect(dead_code, reason = "templates need the feature"))]
pub(in super::super) enum ApiError {
    #[error(transparent)]
    Argument(#[from] ArgumentError),
    /// A handle that does not name an open object of this kind.
    #[error("0x{handle:x} is not an open {object}")]
    NotOpen { object: &'static str, handle: u64 },
    /// A handle that is not `what`.
    #[error("0x{handle:x} is not {what}")]
    Handle { what: &'static str, handle: u64 },
    /// The object was in use by a thread when this process was forked, or is a prefetch of the parent.
    #[error(
        "0x{handle:x} was in use by a thread when this process was forked, and cannot be used here"
    )]
    InUseAtFork { handle: u64 },

    /// The executable-memory allocator failed.
    #[error(fmt = fmt_exec)]
    Exec(#[from] ExecError),
    /// A file or memory operation failed.
    #[error(fmt = fmt_memory)]
    Memory(#[from] MemoryError),
    /// A call target outside of all callable code.
    #[error("0x{address:x} is neither in executable memory of this library nor in a loaded module")]
    NotCallable { address: usize },
    /// A range, in bytes, that is not executable code of one block.
    #[error("0x{size:x} bytes at 0x{address:x} are not executable code of one block")]
    NotCode { address: usize, size: usize },
    #[error("no memory is mapped at 0x{address:x}")]
    Unmapped { address: usize },
    /// A system call failed.
    #[error("{call} failed: {}", memory::Errno::from(*errno))]
    System { call: &'static str, errno: Errno },
    /// Something that must happen earlier, later or not at all.
    #[error("{0}")]
    State(&'static str),

    /// A value of another kind than `kind`.
    #[error("the value is not {kind}")]
    NotA { kind: &'static str },
    #[error("out of memory for {bytes} bytes")]
    NoMemory { bytes: usize },

    #[error("mapping a file with EXEC requires smf_mmap_allow_exec")]
    ExecNotAllowed,
    #[error("the file has no bytes in the requested range")]
    NothingToMap,
    #[error("0x{address:x} is not the address of a live mapping of this library")]
    NotMapped { address: usize },
    /// `smf_mmap_unmap` with a size, in bytes, other than that of the mapping.
    #[error("the mapping at 0x{address:x} has 0x{len:x} bytes, not 0x{size:x}")]
    MappingSize { address: usize, size: u64, len: usize },
    /// A range, in bytes, beyond its mapping.
    #[error("0x{length:x} bytes at offset 0x{offset:x} exceed the mapping of 0x{size:x} bytes")]
    OutsideMapping { offset: usize, length: u64, size: usize },

    #[error(fmt = fmt_cache)]
    Cache(#[from] CacheError),
    #[error(transparent)]
    Format(#[from] FormatError),

    /// `limit` objects of this kind are open.
    #[error("{limit} {object}s are open, which is the limit")]
    TooManyOpen { object: &'static str, limit: usize },
    #[error("no module handles are left")]
    TooManyModules,
    /// An object that cannot be closed because of what it owns.
    #[error("{what} are held ({holds} not yet released)")]
    Held { what: &'static str, holds: u64 },
    #[error("prefetches of the cache are in use ({prefetches} not yet freed)")]
    Prefetching { prefetches: u32 },
    /// An object that cannot be closed because of threads.
    #[error("{what} is in use by {uses} call{} in progress", plural::s(*uses))]
    Busy { what: &'static str, uses: u32 },
    #[error("{unit} is not being compiled on this thread")]
    NotCompiling { unit: u64 },

    /// A module file that cannot be read.
    #[error("{path}: {error}")]
    File { path: Name, error: MemoryError },
    #[error("{archive}: no module called {module} in this archive")]
    NotInArchive { archive: Name, module: Name },
    /// Unresolved imports; the first of them by name.
    #[error(fmt = fmt_missing)]
    Missing { count: usize, symbol: Name, module: Name },
    #[error("no module called {module} is loaded")]
    NoModule { module: Name },
    #[error("{module} has no symbol `{symbol}` of the requested kind")]
    NoSymbol { symbol: Name, module: Name },
    #[error("`{symbol}` is not defined")]
    Unresolved { symbol: Name },
    #[error("{module} has no entry point")]
    NoEntryPoint { module: Name },
    /// A call that trapped or could not be made.
    #[error(fmt = fmt_call)]
    Call(TrapError),

    #[error("{module} is not a bytecode module")]
    NotBytecode { module: Name },
    #[error("there is no section {index}: the module has {count} section{}", plural::s(*count))]
    NoSection { index: u64, count: i64 },
    #[error("{module} was loaded by the system's loader; nothing can be extracted from it")]
    NotSmf { module: Name },
    /// A module whose note or templates cannot be read.
    #[error("{module}: {error}")]
    Metadata { module: Name, error: MetadataError },
    #[error(transparent)]
    Tool(#[from] ToolError),
    #[error(transparent)]
    OutOfMemory(#[from] AllocError),
    /// An error that is formatted where it occurs, because it borrows names or owns memory.
    #[error("{text}")]
    Other { code: Code, text: String },
}

/// Appended to errors of mprotect(2) that a policy explains.
const POLICY_HINT: &str = "a policy such as PR_SET_MDWE forbids making writable memory executable";

fn fmt_exec(error: &ExecError, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match error {
        ExecError::Memory(error) => fmt_memory(error, f),
        error => write!(f, "{error}"),
    }
}

fn fmt_memory(error: &MemoryError, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    if is_policy(error) { write!(f, "{error}; {POLICY_HINT}") } else { write!(f, "{error}") }
}

/// Handles of C differ from those of the core, which its messages print.
fn fmt_cache(error: &CacheError, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match error {
        CacheError::Stale { .. } => f.write_str("the file was evicted, replaced, or never cached"),
        CacheError::NotRetained { .. } => f.write_str("the file is not held"),
        error => write!(f, "{error}"),
    }
}

fn fmt_missing(
    count: &usize,
    symbol: &Name,
    module: &Name,
    f: &mut fmt::Formatter<'_>,
) -> fmt::Result {
    match count {
        1 => write!(f, "unresolved import `{symbol}` (imported by {module})"),
        _ => write!(f, "{count} unresolved imports, first `{symbol}` (imported by {module})"),
    }
}

fn fmt_call(error: &TrapError, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(f, "{}", InCall { called: &[], error: *error })
}

/// Whether the kernel refused to change a protection because of a security policy.
fn is_policy(error: &MemoryError) -> bool {
    matches!(error, MemoryError::Protect { errno, .. }
        if [Errno::ACCESS, Errno::PERM].iter().any(|policy| *errno == *policy))
}

impl From<ProcessSymbolsError> for ApiError {
    fn from(error: ProcessSymbolsError) -> Self {
        match error {
            ProcessSymbolsError::NoLoader => Self::other(Code::State, &error),
            ProcessSymbolsError::OutOfMemory(error) => error.into(),
        }
    }
}

impl From<LoadError> for ApiError {
    fn from(error: LoadError) -> Self {
        let code = Code::of_load(&error);
        match error {
            // Handles of C differ from those of the core, which its messages print.
            LoadError::Stale { .. } => {
                Self::other(code, &"the module was unloaded, or was never loaded")
            }
            _ => Self::other(code, &error),
        }
    }
}

impl From<LoadFileError> for ApiError {
    fn from(error: LoadFileError) -> Self {
        match error {
            LoadFileError::Load(error) => error.into(),
            LoadFileError::SharedObject { module, error } => {
                Self::other(Code::Link, &format_args!("{}: {error}", Printable(module.as_bytes())))
            }
            // Errors of reading a path, which the exports do themselves.
            other => Self::other(Code::Link, &other),
        }
    }
}

impl ApiError {
    pub(in super::super) fn other(code: Code, error: &dyn fmt::Display) -> Self {
        let text = try_format(format_args!("{error}"));
        text.map_or_else(Self::from, |text| Self::Other { code, text })
    }

    /// A symbol that a module lacks.
    pub(in super::super) fn no_symbol(symbol: &[u8], module: &[u8]) -> Self {
        Name::in_error(symbol, |symbol| {
            Name::in_error(module, |module| Self::NoSymbol { symbol, module })
        })
    }

    /// The number of this error in `smf.h`.
    pub(in super::super) fn code(&self) -> Code {
        match self {
            Self::Argument(_) => Code::Argument,
            Self::NotOpen { .. } | Self::Handle { .. } | Self::NotCompiling { .. } => Code::Handle,
            Self::InUseAtFork { .. } => Code::Forked,
            Self::Exec(error) => of_exec(error),
            Self::Memory(error) | Self::File { error, .. } => of_memory(error),
            Self::NotCallable { .. } | Self::NotCode { .. } => Code::NotExecutable,
            Self::Unmapped { .. } => Code::Unmapped,
            Self::System { errno, .. } => of_system(*errno),
            Self::State(_) => Code::State,
            Self::NotA { .. } => Code::Value,
            Self::NoMemory { .. } | Self::OutOfMemory(_) => Code::NoMemory,
            Self::ExecNotAllowed => Code::Policy,
            Self::NothingToMap | Self::OutsideMapping { .. } => Code::OutOfRange,
            Self::NotMapped { .. } => Code::UnknownAddress,
            Self::MappingSize { .. } => Code::OtherSize,
            Self::Cache(error) => of_cache(error),
            Self::Format(error) => of_format(error),
            Self::TooManyOpen { .. } | Self::TooManyModules => Code::Full,
            Self::Held { .. } | Self::Prefetching { .. } | Self::Busy { .. } => Code::InUse,
            Self::Other { code, .. } => *code,
            Self::Missing { .. } => Code::Missing,
            Self::NotInArchive { .. } | Self::NoModule { .. } | Self::NoSymbol { .. } => {
                Code::NotFound
            }
            Self::NoSection { .. } | Self::NotBytecode { .. } => Code::NotFound,
            Self::Unresolved { .. } | Self::NoEntryPoint { .. } => Code::NotFound,
            Self::Call(TrapError::Trap(_) | TrapError::Bytecode(_)) => Code::Trap,
            Self::Call(TrapError::OutOfMemory) => Code::NoMemory,
            Self::Call(_) => Code::Argument,
            Self::NotSmf { .. } => Code::Take,
            Self::Metadata { error, .. } => of_metadata(error),
            Self::Tool(ToolError::OutOfMemory { .. }) => Code::NoMemory,
            Self::Tool(_) => Code::System,
        }
    }
}

impl From<ExtractError<'_>> for ApiError {
    fn from(error: ExtractError<'_>) -> Self {
        Self::other(Code::of_extract(&error), &error)
    }
}

fn of_format(error: &FormatError) -> Code {
    if *error == FormatError::OutOfMemory { Code::NoMemory } else { Code::Format }
}

fn of_metadata(error: &MetadataError) -> Code {
    match error {
        MetadataError::Read(error) => of_memory(error),
        MetadataError::Format(error) => of_format(error),
        MetadataError::Cache(error) => of_cache(error),
        _ => Code::Format,
    }
}

fn of_cache(error: &CacheError) -> Code {
    use CacheError as E;
    match error {
        E::File(error) => of_memory(error),
        E::Format(error) => of_format(error),
        E::NoSuchModule => Code::File,
        E::ForeignSection { .. } => Code::Argument,
        E::OutOfMemory(_) | E::NoCapacity => Code::NoMemory,
        E::TooLarge { .. } | E::AllInUse { .. } => Code::Full,
        E::Stale { .. } | E::NotRetained { .. } => Code::Handle,
        _ => Code::System,
    }
}

impl Code {
    /// The number of an error of extracting a function or a template.
    pub(in super::super) fn of_extract(error: &ExtractError<'_>) -> Self {
        use ExtractError as E;
        match error {
            E::Format(error) => of_format(error),
            E::Missing { .. } | E::Import { .. } | E::NotAFunction { .. } => Self::NotFound,
            _ => Self::Take,
        }
    }

    /// The number of an error of loading a module.
    fn of_load(error: &LoadError) -> Self {
        use LoadError as E;
        match error {
            E::Format { error, .. } => of_format(error),
            E::Archive { .. } => Code::Format,
            E::Link {
                error: LinkError::MissingImports { .. } | LinkError::MissingTls { .. },
                ..
            } => Code::Missing,
            E::Link { error: LinkError::Memory(error), .. } => of_memory(error),
            E::Link { error: LinkError::OutOfMemory(_), .. } | E::OutOfMemory(_) => Code::NoMemory,
            E::Link { .. } | E::Constructors { .. } | E::Library { .. } | E::ImportTypes { .. } => {
                Code::Link
            }
            E::Stub { error, .. } => of_exec(error),
            E::Bytecode { error, .. } => of_bytecode(error),
            E::NameTaken { .. } | E::DuplicateExport { .. } => Code::NameTaken,
            E::Stale { .. } => Code::Handle,
            E::InUse { .. } | E::Needed { .. } | E::NeededByReplaced { .. } => Code::InUse,
            E::DataInUse { .. } | E::ConstructedDataInUse { .. } => Code::InUse,
            E::ThreadDestructors { .. } => Code::InUse,
            E::NotReloadable { .. } | E::FunctionRemoved { .. } | E::SignatureChanged { .. } => {
                Code::Reload
            }
            E::ReplacedCodeLimit { .. } => Code::Ceiling,
            E::Changed { .. } => Code::State,
            _ => Code::System,
        }
    }
}

fn of_bytecode(error: &BytecodeError) -> Code {
    match error {
        BytecodeError::Engine(EngineError::Code(CodeError::Exec(error))) => of_exec(error),
        BytecodeError::Engine(EngineError::Code(CodeError::OutOfMemory)) => Code::NoMemory,
        _ => Code::Link,
    }
}

fn of_memory(error: &MemoryError) -> Code {
    use MemoryError as E;
    match error {
        error if is_policy(error) => Code::Policy,
        E::Open { errno } if is_denied(errno) => Code::Access,
        E::PathNul { .. } | E::PathTooLong { .. } | E::Open { .. } | E::Inspect { .. } => {
            Code::File
        }
        E::NotRegular { .. } | E::FileTooLarge { .. } | E::Read { .. } => Code::File,
        E::Changing { .. } | E::Truncated { .. } => Code::File,
        E::RangeOutside { .. } => Code::OutOfRange,
        E::NotReadable { .. } => Code::Access,
        E::OutOfMemory { .. } | E::Prefault { .. } | E::TooManyBytes { .. } => Code::NoMemory,
        E::Map { errno, .. } | E::Manage { errno, .. } if *errno == Errno::NOMEM => Code::NoMemory,
        _ => Code::System,
    }
}

fn of_system(errno: Errno) -> Code {
    match errno {
        Errno::NOMEM => Code::NoMemory,
        Errno::ACCESS | Errno::PERM => Code::Access,
        Errno::NOENT => Code::File,
        _ => Code::System,
    }
}

fn is_denied(errno: &memory::Errno) -> bool {
    [Errno::ACCESS, Errno::PERM, Errno::ROFS, Errno::TXTBSY].iter().any(|denied| *errno == *denied)
}

fn of_exec(error: &ExecError) -> Code {
    match error {
        ExecError::Memory(error) if is_policy(error) => Code::Policy,
        ExecError::Empty | ExecError::TooLarge { .. } | ExecError::Alignment { .. } => {
            Code::Argument
        }
        ExecError::CeilingBytes { .. } | ExecError::CeilingBlocks { .. } => Code::Ceiling,
        ExecError::OutOfMemory | ExecError::Memory(_) => Code::NoMemory,
        ExecError::Policy { .. } => Code::Policy,
        ExecError::Forked => Code::Forked,
        ExecError::Unknown { .. } | ExecError::Inside { .. } => Code::UnknownAddress,
        ExecError::OtherSize { .. } => Code::OtherSize,
        ExecError::Outside { .. } => Code::OutOfRange,
        ExecError::WriteAndExecute => Code::WriteAndExecute,
        ExecError::NotExecutable { .. } => Code::NotExecutable,
        _ => Code::System,
    }
}
