//! Every way to be refused by a loader, as one `Copy` value.

use core::fmt;

use super::{BytecodeError, ModuleHandle};
use crate::alloc_util::AllocError;
use crate::format::FormatError;
use crate::link::{LinkError, ShortName};
use crate::memory::code_alloc::ExecError;

/// Why the loader does not do what it was asked for. Everything is as it was before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the fields are what the sentence of each variant shows")]
pub enum LoadError {
    /// Bytes that are no sound module or archive.
    Format { module: ShortName, error: FormatError },
    /// An archive where one module is wanted.
    Archive { module: ShortName },
    /// A sound module that cannot be placed or linked.
    Link { module: ShortName, error: LinkError },
    /// A module of bytecode that cannot run, or a function of one that cannot be called by address.
    Bytecode { module: ShortName, error: BytecodeError },
    /// No executable memory for the table of entry points.
    Entries { module: ShortName, error: ExecError },
    /// Another module has the name.
    NameTaken { module: ShortName },
    /// Two modules that export the same name, where that is not allowed.
    Clash { symbol: ShortName, module: ShortName, other: ShortName },
    /// A handle of a module that is not loaded any more, or of none at all.
    Stale { handle: ModuleHandle },
    /// A module that somebody holds.
    Pinned { module: ShortName, pins: u32 },
    /// A module that another one imports from.
    Needed { module: ShortName, by: ShortName },
    /// A module whose file does not say that it may be replaced.
    NotReloadable { module: ShortName },
    /// A new version without a function that others call.
    FunctionGone { module: ShortName, symbol: ShortName },
    /// A module whose data another one refers to by address, and a new version that cannot leave it there.
    DataInUse { module: ShortName, symbol: ShortName, by: ShortName },
    /// A module that is not replaced because too many bytes of replaced code are still in memory.
    ReplacedCodeLimit { module: ShortName, bytes: usize, limit: usize },
    /// A module that another thread has replaced or unloaded in the meantime.
    Changed { module: ShortName },
    /// The allocator has no more memory.
    OutOfMemory,
}

impl LoadError {
    /// Whether it is worth another try: another module was replaced meanwhile than the one of this
    /// name.
    #[cold]
    #[inline(never)]
    pub(super) fn is_passing(&self, name: &[u8]) -> bool {
        matches!(self, LoadError::Changed { module } if *module != ShortName::new(name))
    }
}

impl From<AllocError> for LoadError {
    fn from(_: AllocError) -> Self {
        LoadError::OutOfMemory
    }
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use LoadError as E;
        match *self {
            E::Format { module, error } => write!(f, "{module}: {error}"),
            E::Archive { module } => {
                write!(f, "{module}: a library archive, where one module is wanted; name one of it")
            }
            E::Link { module, error } => write!(f, "{module}: {error}"),
            E::Bytecode { module, error } => write!(f, "{module}: {error}"),
            E::Entries { module, error } => write!(f, "{module}: no entry point: {error}"),
            E::NameTaken { module } => write!(f, "a module called {module} is loaded already"),
            E::Clash { symbol, module, other } => {
                write!(f, "both {other} and {module} export `{symbol}`")
            }
            E::Stale { handle } => {
                write!(f, "handle 0x{:x} belongs to no loaded module", handle.to_raw())
            }
            E::Pinned { module, pins: 1 } => write!(f, "{module} is in use"),
            E::Pinned { module, pins } => write!(f, "{module} is in use {pins} times"),
            E::Needed { module, by } => write!(f, "{module} is in use: {by} imports from it"),
            E::NotReloadable { module } => {
                write!(f, "{module} is not marked as reloadable, so nothing may replace it")
            }
            E::FunctionGone { module, symbol } => write!(
                f,
                "{module}: others call `{symbol}`, which the new version does not export as a function"
            ),
            E::DataInUse { module, symbol, by } => write!(
                f,
                "{module} cannot be replaced: {by} refers to its `{symbol}` by address, and the new version cannot leave it there"
            ),
            E::ReplacedCodeLimit { module, bytes, limit } => write!(
                f,
                "{module} cannot be replaced: {bytes} bytes of replaced code are still in memory, and {limit} bytes are the limit; call smf_loader_collect (collect_quiescent in Rust) when no thread is inside code that it entered without the library"
            ),
            E::Changed { module } => {
                write!(
                    f,
                    "{module} was replaced or unloaded by another thread meanwhile; try again"
                )
            }
            E::OutOfMemory => f.write_str("the allocator has no memory left"),
        }
    }
}

impl core::error::Error for LoadError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            LoadError::Format { error, .. } => Some(error),
            LoadError::Link { error, .. } => Some(error),
            LoadError::Bytecode { error, .. } => Some(error),
            LoadError::Entries { error, .. } => Some(error),
            _ => None,
        }
    }
}
