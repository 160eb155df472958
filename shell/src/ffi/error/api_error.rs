//! The error type of the exports.

use std::fmt;

use rustix::io::Errno;
use smf_core::alloc_util::AllocError;
use smf_core::cache::CacheError;
use smf_core::format::FormatError;
use smf_core::link::ShortName;
use smf_core::loader::LoadError;
use smf_core::memory::MemoryError;
use smf_core::memory::code_alloc::ExecError;
use smf_core::templates::MetadataError;
use smf_core::trap::TrapError;
use thiserror::Error;

use super::argument::ArgumentError;
use super::code::Code;
use super::truncate::Truncated;
use crate::jit::InCall;
use crate::loader::LoadFileError;
use crate::tools::ToolError;

/// Why an export returned its failure value.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
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
    /// `rt_munmap` with a size, in bytes, other than that of the mapping.
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
    #[error("{prefetches} prefetches of the cache have not been freed")]
    Prefetching { prefetches: u32 },
    /// An object that cannot be closed because of threads.
    #[error("{what} is in use by {uses} functions that have not returned")]
    Busy { what: &'static str, uses: u32 },
    #[error("{unit} is not being compiled on this thread")]
    NotCompiling { unit: u64 },

    /// A module file that cannot be read.
    #[error("{path}: {error}")]
    File { path: ShortName, error: MemoryError },
    #[error("{archive}: no module called {module} in this archive")]
    NotInArchive { archive: ShortName, module: ShortName },
    #[error("{reason}")]
    Load { code: Code, reason: Truncated<256> },
    /// The system's loader refused a shared object.
    #[error("{module}: {reason}")]
    SharedObject { module: ShortName, reason: Truncated },
    /// Unresolved imports; the first of them by name.
    #[error(fmt = fmt_missing)]
    Missing { count: usize, symbol: ShortName, module: ShortName },
    #[error("no module called {module} is loaded")]
    NoModule { module: ShortName },
    #[error("{module} has no symbol `{symbol}` of the requested kind")]
    NoSymbol { symbol: ShortName, module: ShortName },
    #[error("`{symbol}` is not defined")]
    Unresolved { symbol: ShortName },
    #[error("{module} has no entry point")]
    NoEntryPoint { module: ShortName },
    /// A call that trapped or could not be made.
    #[error(fmt = fmt_call)]
    Call(TrapError),

    #[error("{module} was loaded by the system's loader; nothing can be extracted from it")]
    NotSmf { module: ShortName },
    #[error("{reason}")]
    Extract { code: Code, reason: Truncated },
    /// A module whose note or templates cannot be read.
    #[error("{module}: {error}")]
    Metadata { module: ShortName, error: MetadataError },
    /// A nonzero result of `smf_jit_instantiate`.
    #[error("{reason}")]
    Instantiate { outcome: i32, reason: Truncated<160> },
    #[error(transparent)]
    Tool(#[from] ToolError),
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
    symbol: &ShortName,
    module: &ShortName,
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
pub(super) fn is_policy(error: &MemoryError) -> bool {
    matches!(error, MemoryError::Protect { errno, .. }
        if [Errno::ACCESS, Errno::PERM].iter().any(|policy| *errno == *policy))
}

impl From<AllocError> for ApiError {
    fn from(_: AllocError) -> Self {
        LoadError::OutOfMemory.into()
    }
}

impl From<LoadError> for ApiError {
    fn from(error: LoadError) -> Self {
        let reason = match error {
            // Handles of C differ from those of the core, which its messages print.
            LoadError::Stale { .. } => {
                Truncated::new(&"the module was unloaded, or was never loaded")
            }
            _ => Truncated::new(&error),
        };
        Self::Load { code: Code::of_load(&error), reason }
    }
}

impl From<LoadFileError> for ApiError {
    fn from(error: LoadFileError) -> Self {
        match error {
            LoadFileError::Load(error) => error.into(),
            LoadFileError::SharedObject { module, error } => Self::SharedObject {
                module: ShortName::new(module.as_bytes()),
                reason: Truncated::new(&error),
            },
            // Errors of reading a path, which the exports do themselves.
            other => {
                Self::SharedObject { module: ShortName::new(b""), reason: Truncated::new(&other) }
            }
        }
    }
}
