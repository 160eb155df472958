//! Why an export failed, kept for each thread until the next one fails.
//!
//! Nothing in this file is unsafe but that the names it exports can be in a program once only.
#![allow(unsafe_code)]

use std::cell::Cell;
use std::ffi::{CStr, c_char};
use std::fmt::{self, Write};

use rustix::io::Errno;
use smf_core::cache::CacheError;
use smf_core::format::FormatError;
use smf_core::format::take::TakeError;
use smf_core::instantiate::MetadataError;
use smf_core::link::{LinkError, MAX_ARGS, ShortName};
use smf_core::loader::{BytecodeError, LoadError};
use smf_core::memory::MemoryError;
use smf_core::memory::exec::{ExecError, Reason};
use smf_core::owned::NoMemory;
use smf_core::tier::{CodeError, EngineError};

use crate::jit::InCall;
use crate::loader;
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
    Load(LoadError),
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
    Call(LinkError),
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

impl From<NoMemory> for ApiError {
    fn from(_: NoMemory) -> Self {
        Self::Load(LoadError::OutOfMemory)
    }
}

impl From<LoadError> for ApiError {
    fn from(error: LoadError) -> Self {
        Self::Load(error)
    }
}

impl From<loader::LoadError> for ApiError {
    fn from(error: loader::LoadError) -> Self {
        match error {
            loader::LoadError::Refused { error, .. } => Self::Load(error),
            loader::LoadError::SharedObject { module, error } => {
                let module = ShortName::new(module.as_bytes());
                Self::Dynlib { module, reason: Phrase::of(&error) }
            }
            // Those come of paths, which are read here.
            other => Self::Dynlib { module: ShortName::new(b""), reason: Phrase::of(&other) },
        }
    }
}

impl From<TakeError<'_>> for ApiError {
    fn from(error: TakeError<'_>) -> Self {
        match error {
            TakeError::Format(error) => Self::Format(error),
            error => Self::Take { code: Code::of_take(&error), reason: Phrase::of(&error) },
        }
    }
}

impl From<ToolError> for ApiError {
    fn from(error: ToolError) -> Self {
        Self::Tool(error)
    }
}

/// The numbers of `SmfErrorCode` in `smf.h`. They never change their meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub(super) enum Code {
    Argument = 1,
    UnknownAddress = 2,
    OtherSize = 3,
    OutOfRange = 4,
    NotExecutable = 5,
    WriteAndExecute = 6,
    Value = 7,
    NoMemory = 8,
    Ceiling = 9,
    Policy = 10,
    Forked = 11,
    Unmapped = 12,
    State = 13,
    System = 14,
    File = 15,
    Access = 16,
    Handle = 17,
    InUse = 18,
    Full = 19,
    Format = 20,
    Link = 21,
    Missing = 22,
    NameTaken = 23,
    Reload = 24,
    NotFound = 25,
    Take = 26,
    Instantiate = 27,
    Update = 28,
    Trap = 29,
}

impl Code {
    pub(super) fn of_take(error: &TakeError<'_>) -> Self {
        use TakeError as E;
        match error {
            E::Format(_) => Self::Format,
            E::Missing { .. } | E::Import { .. } | E::NotAFunction { .. } => Self::NotFound,
            _ => Self::Take,
        }
    }
}

impl ApiError {
    pub(super) fn code(&self) -> Code {
        match self {
            Self::Null { .. } | Self::Negative { .. } | Self::Zero { .. } => Code::Argument,
            Self::TooLarge { .. } | Self::Unknown { .. } | Self::Hooks { .. } => Code::Argument,
            Self::Misaligned { .. } | Self::Flags { .. } => Code::Argument,
            Self::TooManyFiles { .. } | Self::SmallStruct { .. } => Code::Argument,
            Self::NoCache { .. } | Self::ForeignFile { .. } | Self::NoPrefetch { .. } => {
                Code::Handle
            }
            Self::NoLoader { .. } | Self::ForeignModule { .. } | Self::NoHold { .. } => {
                Code::Handle
            }
            Self::TooManyArguments { .. } | Self::Unaligned { .. } => Code::Argument,
            Self::Call(LinkError::Trap(_) | LinkError::Stopped(_)) => Code::Trap,
            Self::Call(_) => Code::Argument,
            Self::TooManyLoaders { .. } | Self::TooManyModules => Code::Full,
            Self::LoaderHeld { .. } | Self::LoaderBusy { .. } => Code::InUse,
            Self::File { error, .. } => code_of_memory(error),
            Self::NotInArchive { .. } => Code::File,
            Self::Load(error) => code_of_load(error),
            Self::Dynlib { .. } => Code::Link,
            Self::Missing { .. } => Code::Missing,
            Self::NoModule { .. } | Self::NoSymbol { .. } => Code::NotFound,
            Self::Unresolved { .. } | Self::NoEntryPoint { .. } => Code::NotFound,
            Self::NoSmf { .. } => Code::Take,
            Self::Take { code, .. } => *code,
            Self::Unfinished => Code::State,
            Self::Cache(error) => code_of_cache(error),
            Self::Format(_) => Code::Format,
            Self::CacheHeld { .. } | Self::Prefetching { .. } => Code::InUse,
            Self::TooManyCaches { .. } => Code::Full,
            Self::ExecNotAllowed => Code::Policy,
            Self::Exec(_) | Self::Memory(_) if self.is_policy() => Code::Policy,
            Self::Exec(error) => code_of(error.reason()),
            Self::Memory(error) => code_of_memory(error),
            Self::Tool(_) => Code::System,
            Self::NothingToMap | Self::OutsideMapping { .. } => Code::OutOfRange,
            Self::NotMapped { .. } => Code::UnknownAddress,
            Self::MappingSize { .. } => Code::OtherSize,
            Self::NotCallable { .. } | Self::NotCode { .. } => Code::NotExecutable,
            Self::Unmapped { .. } => Code::Unmapped,
            Self::NotA { .. } => Code::Value,
            Self::NoRoom { .. } => Code::NoMemory,
            Self::ValuesInUse | Self::BlocksLive => Code::State,
            Self::NoJit { .. } | Self::NoUnit { .. } => Code::Handle,
            Self::TooManyJits { .. } => Code::Full,
            Self::JitBusy { .. } => Code::InUse,
            Self::Metadata { error: MetadataError::Read(error), .. } => code_of_memory(error),
            Self::Metadata { .. } => Code::Format,
            Self::Instantiate { outcome: 1, .. } => Code::NotFound,
            Self::Instantiate { outcome: 4, .. } => Code::Update,
            Self::Instantiate { .. } => Code::Instantiate,
        }
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

fn code_of_cache(error: &CacheError) -> Code {
    use CacheError as E;
    match error {
        E::File(error) => code_of_memory(error),
        E::Format(_) => Code::Format,
        E::NoSuchModule => Code::File,
        E::ForeignSection { .. } => Code::Argument,
        E::NoCapacity => Code::NoMemory,
        E::TooLarge { .. } | E::AllInUse { .. } => Code::Full,
        E::Stale { .. } | E::NotRetained { .. } => Code::Handle,
        _ => Code::System,
    }
}

fn code_of_load(error: &LoadError) -> Code {
    use LoadError as E;
    match error {
        E::Format { .. } | E::Archive { .. } => Code::Format,
        E::Link { error: LinkError::MissingImports { .. }, .. } => Code::Missing,
        E::Link { error: LinkError::Memory(error), .. } => ApiError::Memory(*error).code(),
        E::Link { error: LinkError::OutOfMemory, .. } | E::OutOfMemory => Code::NoMemory,
        E::Link { .. } => Code::Link,
        E::Entries { error, .. } => ApiError::Exec(*error).code(),
        E::Bytecode { error, .. } => code_of_bytecode(error),
        E::NameTaken { .. } | E::Clash { .. } => Code::NameTaken,
        E::Stale { .. } => Code::Handle,
        E::Pinned { .. } | E::Needed { .. } | E::DataInUse { .. } => Code::InUse,
        E::NotReloadable { .. } | E::FunctionGone { .. } => Code::Reload,
        E::Changed { .. } => Code::State,
        _ => Code::System,
    }
}

fn code_of_bytecode(error: &BytecodeError) -> Code {
    match error {
        BytecodeError::Engine(EngineError::Code(CodeError::Exec(error))) => {
            ApiError::Exec(*error).code()
        }
        BytecodeError::Engine(EngineError::Code(CodeError::NoMemory)) => Code::NoMemory,
        _ => Code::Link,
    }
}

fn code_of_memory(error: &MemoryError) -> Code {
    use MemoryError as E;
    match error {
        E::Open { errno } if is_denied(errno) => Code::Access,
        E::PathNul { .. } | E::PathTooLong { .. } | E::Open { .. } | E::Inspect { .. } => {
            Code::File
        }
        E::NotRegular { .. } | E::FileTooLarge { .. } | E::Read { .. } => Code::File,
        E::Changing { .. } | E::CutOff { .. } => Code::File,
        E::RangeOutside { .. } => Code::OutOfRange,
        E::NotReadable { .. } => Code::Access,
        E::NoRoomForFile { .. } | E::Prefault { .. } | E::TooManyBytes { .. } => Code::NoMemory,
        E::Map { errno, .. } | E::Manage { errno, .. } if *errno == Errno::NOMEM => Code::NoMemory,
        _ => Code::System,
    }
}

fn is_denied(errno: &smf_core::memory::Errno) -> bool {
    [Errno::ACCESS, Errno::PERM, Errno::ROFS, Errno::TXTBSY].iter().any(|denied| *errno == *denied)
}

fn code_of(reason: Reason) -> Code {
    match reason {
        Reason::Size | Reason::Alignment => Code::Argument,
        Reason::Ceiling => Code::Ceiling,
        Reason::NoMemory => Code::NoMemory,
        Reason::Policy => Code::Policy,
        Reason::Forked => Code::Forked,
        Reason::Unknown | Reason::Inside => Code::UnknownAddress,
        Reason::OtherSize => Code::OtherSize,
        Reason::Outside => Code::OutOfRange,
        Reason::WriteAndExecute => Code::WriteAndExecute,
        Reason::NotExecutable => Code::NotExecutable,
        _ => Code::System,
    }
}

/// What to add when the kernel may not do it.
const RULE: &str = "a rule such as PR_SET_MDWE keeps memory that was writable from running";

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Null { what } => write!(f, "{what} is null"),
            Self::Negative { what, value } => write!(f, "{what} is negative ({value})"),
            Self::Zero { what } => write!(f, "{what} is 0"),
            Self::TooLarge { what, value } => {
                write!(f, "{what} is more than an address space has ({value})")
            }
            Self::Unknown { what, value } => write!(f, "{value} is no {what}"),
            Self::Memory(error) if self.is_policy() => write!(f, "{error}; {RULE}"),
            Self::Exec(error) if self.is_policy() => {
                write!(f, "{error}; {RULE}")
            }
            Self::Exec(error) => error.fmt(f),
            Self::Memory(error) => error.fmt(f),
            Self::NotCallable { address } => write!(
                f,
                "0x{address:x} lies neither in executable memory of this library nor in a loaded module"
            ),
            Self::NotCode { address, size } => write!(
                f,
                "0x{size:x} bytes at 0x{address:x} are not all code of one block that may run"
            ),
            Self::Unmapped { address } => write!(f, "there is no memory at 0x{address:x}"),
            Self::NotA { kind } => write!(f, "the value is not {kind}"),
            Self::NoRoom { bytes } => write!(f, "out of memory for a value of {bytes} bytes"),
            Self::Misaligned { what, value } => {
                write!(f, "{what} (0x{value:x}) is no multiple of the page size")
            }
            Self::Unaligned { what, value } => {
                write!(f, "{what} begins at 0x{value:x}, where no such value can be")
            }
            Self::Flags { what } => write!(f, "a mapping is refused with {what}"),
            Self::ExecNotAllowed => f.write_str(
                "a file may not be mapped with EXEC unless smf_mmap_allow_exec was called",
            ),
            Self::NothingToMap => f.write_str("the file has no byte there that could be mapped"),
            Self::NotMapped { address } => {
                write!(f, "0x{address:x} is not the address of a live mapping of this library")
            }
            Self::MappingSize { address, size, len } => {
                write!(f, "the mapping at 0x{address:x} has 0x{len:x} bytes, not 0x{size:x}")
            }
            Self::OutsideMapping { offset, length, size } => write!(
                f,
                "0x{length:x} bytes at 0x{offset:x} do not lie inside the 0x{size:x} bytes of the mapping"
            ),
            Self::NoCache { cache } => write!(f, "0x{cache:x} is no open cache"),
            Self::ForeignFile { file } => write!(f, "0x{file:x} is no file of this cache"),
            Self::NoPrefetch { prefetch } => {
                write!(f, "0x{prefetch:x} is no prefetch, or one that was freed")
            }
            Self::Unfinished => f.write_str("the prefetch has not finished yet"),
            Self::Cache(CacheError::Stale { .. }) => {
                f.write_str("the file was thrown out of the cache or replaced, or never was in it")
            }
            Self::Cache(CacheError::NotRetained { .. }) => {
                f.write_str("the file is not held: it was released as often as it was got")
            }
            Self::Cache(error) => error.fmt(f),
            Self::Format(error) => error.fmt(f),
            Self::CacheHeld { holds } => {
                write!(f, "files of the cache are held ({holds} not yet released)")
            }
            Self::Prefetching { prefetches } => {
                write!(f, "{prefetches} prefetches of the cache have not been freed")
            }
            Self::TooManyCaches { limit } => {
                write!(f, "{limit} caches are open, and there can be no more")
            }
            Self::TooManyFiles { files, limit } => {
                write!(f, "a cache of {files} files is more than the {limit} that one may have")
            }
            Self::SmallStruct { what, size } => {
                write!(f, "the size {size} is less than {what} ever had")
            }
            Self::NoJit { jit } => write!(f, "0x{jit:x} is no open instantiator"),
            Self::TooManyJits { limit } => {
                write!(f, "{limit} instantiators are open, and there can be no more")
            }
            Self::JitBusy { uses } => {
                write!(f, "the instantiator is in use by {uses} other functions")
            }
            Self::NoUnit { unit } => {
                write!(f, "{unit} is not what a compiler is at in this thread")
            }
            Self::Metadata { module, error } => write!(f, "{module}: {error}"),
            Self::Instantiate { reason, .. } => reason.fmt(f),
            Self::NoLoader { loader } => write!(f, "0x{loader:x} is no open loader"),
            Self::ForeignModule { module } => {
                write!(f, "0x{module:x} is no module of this loader")
            }
            Self::NoHold { hold } => {
                write!(f, "0x{hold:x} is nothing that is held, or not any more")
            }
            Self::NoSmf { module } => {
                write!(f, "{module} belongs to the system's loader, and nothing is taken out of it")
            }
            Self::Take { reason, .. } => reason.fmt(f),
            Self::TooManyLoaders { limit } => {
                write!(f, "{limit} loaders are open, and there can be no more")
            }
            Self::TooManyModules => f.write_str("there are no numbers left for modules"),
            Self::LoaderHeld { holds } => {
                write!(f, "modules of the loader are held ({holds} not yet released)")
            }
            Self::LoaderBusy { uses } => {
                write!(f, "the loader is in use by {uses} functions that have not come back")
            }
            Self::File { path, error } => write!(f, "{path}: {error}"),
            Self::NotInArchive { archive, module } => {
                write!(f, "{archive}: no module called {module} in this archive")
            }
            // Those of the core have numbers of their own.
            Self::Load(LoadError::Stale { .. }) => {
                f.write_str("the module was unloaded, or never was loaded")
            }
            Self::Load(error) => error.fmt(f),
            Self::Dynlib { module, reason } => write!(f, "{module}: {reason}"),
            Self::Missing { count: 1, symbol, module } => {
                write!(f, "nobody provides the import `{symbol}` (wanted by {module})")
            }
            Self::Missing { count, symbol, module } => {
                write!(f, "nobody provides {count} imports, first `{symbol}` (wanted by {module})")
            }
            Self::NoModule { module } => write!(f, "no module called {module} is loaded"),
            Self::NoSymbol { symbol, module } => {
                write!(f, "{module} has no `{symbol}` of the kind that is wanted")
            }
            Self::Unresolved { symbol } => write!(f, "nobody defines `{symbol}`"),
            Self::NoEntryPoint { module } => {
                write!(f, "{module} does not say where running it begins")
            }
            Self::TooManyArguments { count } => {
                write!(f, "{count} arguments are more than the {MAX_ARGS} that can be passed")
            }
            Self::Call(error) => InCall { called: &[], error }.fmt(f),
            Self::ValuesInUse => f.write_str(
                "the functions for values were installed before, or values have been made",
            ),
            Self::BlocksLive => {
                f.write_str("there are live blocks of executable memory, or open loaders")
            }
            Self::Hooks { what } => write!(f, "the table of functions for values {what}"),
            Self::Tool(error) => error.fmt(f),
        }
    }
}

/// What `smf_last_error` returns.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct SmfError {
    /// One of the numbers of `SmfErrorCode`; 0 when there was no failure.
    pub code: i32,
    /// One sentence, NUL-terminated; empty when there was no failure. Good until this thread calls
    /// `smf_last_error` again.
    pub text: *const c_char,
}

/// Bytes of a sentence, with the NUL.
const TEXT: usize = 256;

thread_local! {
    static LAST: Cell<Option<ApiError>> = const { Cell::new(None) };
    static SENTENCE: Cell<[u8; TEXT]> = const { Cell::new([0; TEXT]) };
}

/// The result, or `failure` and the reason kept.
#[inline]
pub(super) fn or<T>(failure: T, result: Result<T, ApiError>) -> T {
    result.unwrap_or_else(|error| {
        keep(error);
        failure
    })
}

#[cold]
pub(super) fn keep(error: ApiError) {
    LAST.set(Some(error));
}

/// Why an export last failed in this thread. One that succeeds leaves it as it is, but for
/// `rt_call_function_*`, which clear it when the function they have called returned 0.
#[unsafe(no_mangle)]
pub extern "C" fn smf_last_error() -> SmfError {
    let Some(error) = LAST.get() else { return SmfError { code: 0, text: c"".as_ptr() } };
    let mut sentence = Sentence::<TEXT>::new();
    // A sentence that is too long is cut.
    let _ = write!(sentence, "{error}");
    SENTENCE.set(sentence.bytes);
    let text = SENTENCE.with(|kept| kept.as_ptr().cast::<c_char>());
    SmfError { code: error.code() as i32, text }
}

/// Forgets it.
#[unsafe(no_mangle)]
pub extern "C" fn smf_clear_error() {
    LAST.set(None);
}

/// Text of a fixed size, with a NUL behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sentence<const SIZE: usize> {
    bytes: [u8; SIZE],
    len: usize,
}

impl<const SIZE: usize> Sentence<SIZE> {
    fn new() -> Self {
        Self { bytes: [0; SIZE], len: 0 }
    }
}

/// What others say in words, cut where it is too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Phrase<const SIZE: usize = 112>(Sentence<SIZE>);

impl<const SIZE: usize> Phrase<SIZE> {
    pub(super) fn of(what: &dyn fmt::Display) -> Self {
        let mut phrase = Sentence::new();
        // What does not fit is cut.
        let _ = write!(phrase, "{what}");
        Self(phrase)
    }
}

impl<const SIZE: usize> fmt::Display for Phrase<SIZE> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.bytes.get(..self.0.len).unwrap_or_default();
        f.write_str(str::from_utf8(text).unwrap_or_default())
    }
}

impl<const SIZE: usize> Write for Sentence<SIZE> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // The last byte stays 0.
        let room = self.bytes.get_mut(self.len..SIZE - 1).unwrap_or_default();
        let end = text.floor_char_boundary(room.len());
        for (place, byte) in room.iter_mut().zip(text.as_bytes().iter().take(end)) {
            *place = *byte;
        }
        self.len += end;
        if end == text.len() { Ok(()) } else { Err(fmt::Error) }
    }
}

/// The version of the library, as in `SMF_VERSION` of the header it was built with.
const VERSION: &CStr =
    match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
        Ok(version) => version,
        Err(_) => c"",
    };

/// The version of the library, for example `0.1.0`; never freed.
#[unsafe(no_mangle)]
pub extern "C" fn smf_version() -> *const c_char {
    VERSION.as_ptr()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn last() -> (i32, String) {
        let SmfError { code, text } = smf_last_error();
        let mut bytes = Vec::new();
        // The text is this thread's own.
        SENTENCE.with(|kept| bytes.extend(kept.get()));
        let end = bytes.iter().position(|&byte| byte == 0).unwrap();
        assert!(!text.is_null() && end < TEXT);
        (code, String::from_utf8_lossy(&bytes[..end]).into_owned())
    }

    #[test]
    fn each_thread_has_its_own() {
        keep(ApiError::Zero { what: "the size" });
        assert_eq!(last(), (1, "the size is 0".to_owned()));
        std::thread::spawn(|| assert_eq!(smf_last_error().code, 0)).join().unwrap();
        keep(ApiError::Unmapped { address: 0xabc });
        assert_eq!(last(), (12, "there is no memory at 0xabc".to_owned()));
        smf_clear_error();
        assert_eq!(smf_last_error().code, 0);
    }

    #[test]
    fn a_long_sentence_is_cut_between_characters() {
        let mut sentence = Sentence::<TEXT>::new();
        assert!(sentence.write_str(&"x".repeat(TEXT - 2)).is_ok());
        assert!(sentence.write_str("ä").is_err());
        assert_eq!((sentence.len, sentence.bytes[TEXT - 2], sentence.bytes[TEXT - 1]), (254, 0, 0));
    }

    #[test]
    fn failures_are_kept_and_successes_are_not() {
        smf_clear_error();
        assert_eq!((or(-1, Ok(5)), smf_last_error().code), (5, 0));
        assert_eq!((or(-1, Err(ApiError::ValuesInUse)), smf_last_error().code), (-1, 13));
        assert_eq!((or(-1, Ok(5)), smf_last_error().code), (5, 13));
    }
}
