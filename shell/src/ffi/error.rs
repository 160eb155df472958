//! Why an export failed: everything that can be wrong (here), its [number](code), its [sentence](words),
//! and what each thread [keeps](last) of it until the next one fails.

mod code;
mod display;
mod last;
mod truncate;

use rustix::io::Errno;
use smf_core::alloc_util::AllocError;
use smf_core::cache::CacheError;
use smf_core::extract::ExtractError;
use smf_core::format::FormatError;
use smf_core::link::ShortName;
use smf_core::loader::LoadError;
use smf_core::memory::MemoryError;
use smf_core::memory::code_alloc::ExecError;
use smf_core::templates::MetadataError;
use smf_core::trap::TrapError;

pub(super) use code::Code;
pub use last::{SmfError, smf_clear_error, smf_last_error, smf_version};
pub(super) use last::{keep, or};
pub(super) use truncate::Phrase;

use crate::loader::LoadFileError;
use crate::tools::ToolError;

/// Why an export gave its failure value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "tagged", expect(dead_code, reason = "values are only read then"))]
pub(super) enum ApiError {
    /// A null pointer or address.
    Null { what: &'static str },
    /// A number below 0.
    Negative { what: &'static str, value: i64 },
    /// A size of 0.
    Zero { what: &'static str },
    /// More than an address space has.
    TooLarge { what: &'static str, value: i64 },
    /// A number that means nothing.
    Unknown { what: &'static str, value: i64 },
    /// The allocator of executable memory refused.
    Exec(ExecError),
    /// The kernel did not say how memory is protected.
    Memory(MemoryError),
    /// A function that lies in no executable memory of ours and in no loaded module.
    NotCallable { address: usize },
    /// A range that is not all code of one block.
    NotCode { address: usize, size: usize },
    /// An address without memory.
    Unmapped { address: usize },
    /// A value that is not of this kind.
    NotA { kind: &'static str },
    /// No memory for a value.
    NoRoom { bytes: usize },
    /// A number that is no multiple of the page size.
    Misaligned { what: &'static str, value: u64 },
    /// An address at which no such value can be.
    Unaligned { what: &'static str, value: usize },
    /// Flags of a mapping that cannot be meant, or not together.
    Flags { what: &'static str },
    /// A file that was to be mapped to run, which was not switched on.
    ExecNotAllowed,
    /// A part of a file without a byte.
    NothingToMap,
    /// An address that no live mapping has, or at which none begins.
    NotMapped { address: usize },
    /// A mapping of another size.
    MappingSize { address: usize, size: u64, len: usize },
    /// A range that does not lie in its mapping.
    OutsideMapping { offset: usize, length: u64, size: usize },
    /// A number that is no open cache.
    NoCache { cache: u64 },
    /// A number that is no file of this cache.
    ForeignFile { file: u64 },
    /// A number that is no prefetch, or one that was freed.
    NoPrefetch { prefetch: u64 },
    /// A prefetch that goes on.
    Unfinished,
    /// The cache does not give a file, or does not take one back.
    Cache(CacheError),
    /// A module that is not sound.
    Format(FormatError),
    /// A cache with files that were not released.
    CacheHeld { holds: u64 },
    /// A cache with prefetches that were not freed.
    Prefetching { prefetches: u32 },
    /// As many caches as there can be are open.
    TooManyCaches { limit: usize },
    /// More files than a cache may have.
    TooManyFiles { files: i64, limit: u32 },
    /// A structure that is smaller than its first version was.
    SmallStruct { what: &'static str, size: i64 },
    /// A number that is no open loader.
    NoLoader { loader: u64 },
    /// A number that is no module of this loader.
    ForeignModule { module: u64 },
    /// A number of nothing that is held.
    NoHold { hold: u64 },
    /// A module of the system's loader, where one of ours is wanted.
    NoSmf { module: ShortName },
    /// A function or a template that cannot be taken out of its module.
    Take { code: Code, reason: Phrase },
    /// As many loaders as there can be are open.
    TooManyLoaders { limit: usize },
    /// More modules, or holds, than there are numbers for.
    TooManyModules,
    /// A loader with modules that were not released.
    LoaderHeld { holds: u64 },
    /// A loader that is in use by other functions.
    LoaderBusy { uses: u32 },
    /// A module whose file cannot be read.
    File { path: ShortName, error: MemoryError },
    /// An archive without a module of the name.
    NotInArchive { archive: ShortName, module: ShortName },
    /// The loader refuses.
    Load { code: Code, reason: Phrase<256> },
    /// The system's loader refuses a dynlib.
    Dynlib { module: ShortName, reason: Phrase },
    /// Imports that nobody provides.
    Missing { count: usize, symbol: ShortName, module: ShortName },
    /// No module of the name.
    NoModule { module: ShortName },
    /// A module without a function, or without any symbol, of the name.
    NoSymbol { symbol: ShortName, module: ShortName },
    /// A name that means nothing.
    Unresolved { symbol: ShortName },
    /// A module without a place where running begins.
    NoEntryPoint { module: ShortName },
    /// A call with more arguments than can be passed.
    TooManyArguments { count: i64 },
    /// A call that was ended by a trap, or that cannot be made.
    Call(TrapError),
    /// The set of values in use cannot be changed any more.
    ValuesInUse,
    /// Blocks are live, and what is wanted must come before them.
    BlocksLive,
    /// A table of functions that is not whole.
    Hooks { what: &'static str },
    /// A number that is no open instantiator.
    NoJit { jit: u64 },
    /// As many instantiators as there can be are open.
    TooManyJits { limit: usize },
    /// An instantiator that is in use by other functions.
    JitBusy { uses: u32 },
    /// A number that is not what a compiler of this thread is at.
    NoUnit { unit: u64 },
    /// A module whose note or templates cannot be read.
    Metadata { module: ShortName, error: MetadataError },
    /// What `smf_jit_instantiate` returns that is not 0.
    Instantiate { outcome: i32, reason: Phrase<160> },
    /// A number of what a thread was using when this process was forked, or of a prefetch of the parent.
    InUseAtFork { number: u64 },
    /// A tool could not be told, or not be switched on.
    Tool(ToolError),
}

impl From<ExecError> for ApiError {
    fn from(error: ExecError) -> Self {
        Self::Exec(error)
    }
}

impl From<MemoryError> for ApiError {
    fn from(error: MemoryError) -> Self {
        Self::Memory(error)
    }
}

impl From<CacheError> for ApiError {
    fn from(error: CacheError) -> Self {
        Self::Cache(error)
    }
}

impl From<FormatError> for ApiError {
    fn from(error: FormatError) -> Self {
        Self::Format(error)
    }
}

impl From<AllocError> for ApiError {
    fn from(_: AllocError) -> Self {
        LoadError::OutOfMemory.into()
    }
}

impl From<LoadError> for ApiError {
    fn from(error: LoadError) -> Self {
        let reason = match error {
            // Handles of the core are not those of the C API.
            LoadError::Stale { .. } => Phrase::of(&"the module was unloaded, or never was loaded"),
            _ => Phrase::of(&error),
        };
        Self::Load { code: Code::of_load(&error), reason }
    }
}

impl From<LoadFileError> for ApiError {
    fn from(error: LoadFileError) -> Self {
        match error {
            LoadFileError::Load(error) => error.into(),
            LoadFileError::SharedObject { module, error } => {
                let module = ShortName::new(module.as_bytes());
                Self::Dynlib { module, reason: Phrase::of(&error) }
            }
            // Those come of paths, which are read here.
            other => Self::Dynlib { module: ShortName::new(b""), reason: Phrase::of(&other) },
        }
    }
}

impl From<ExtractError<'_>> for ApiError {
    fn from(error: ExtractError<'_>) -> Self {
        match error {
            ExtractError::Format(error) => Self::Format(error),
            error => Self::Take { code: Code::of_take(&error), reason: Phrase::of(&error) },
        }
    }
}

impl From<ToolError> for ApiError {
    fn from(error: ToolError) -> Self {
        Self::Tool(error)
    }
}

impl ApiError {
    /// The error of a module of the system's loader.
    #[cold]
    pub(super) fn no_smf(module: &[u8]) -> Self {
        Self::NoSmf { module: ShortName::new(module) }
    }

    /// Whether the kernel refused to change pages because of a rule.
    fn is_policy(&self) -> bool {
        let (Self::Exec(ExecError::Memory(error)) | Self::Memory(error)) = self else {
            return false;
        };
        let MemoryError::Protect { errno, .. } = error else { return false };
        [Errno::ACCESS, Errno::PERM].iter().any(|rule| *errno == *rule)
    }
}
