//! The number of each error.

use rustix::io::Errno;
use smf_core::cache::CacheError;
use smf_core::extract::ExtractError;
use smf_core::format::FormatError;
use smf_core::link::LinkError;
use smf_core::loader::{BytecodeError, LoadError};
use smf_core::memory::MemoryError;
use smf_core::memory::code_alloc::Reason;
use smf_core::templates::MetadataError;
use smf_core::trap::TrapError;
use smf_core::vm::{CodeError, EngineError};

use super::ApiError;
use crate::tools::ToolError;

/// The numbers of `SmfErrorCode` in `smf.h`. They never change their meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub(in super::super) enum Code {
    Argument = 1,
    UnknownAddress = 2,
    OtherSize = 3,
    OutOfRange = 4,
    NotExecutable = 5,
    WriteAndExecute = 6,
    Value = 7,
    AllocError = 8,
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
    pub(in super::super) fn of_take(error: &ExtractError<'_>) -> Self {
        use ExtractError as E;
        match error {
            E::Format(error) => code_of_format(error),
            E::Missing { .. } | E::Import { .. } | E::NotAFunction { .. } => Self::NotFound,
            _ => Self::Take,
        }
    }

    pub(in super::super) fn of_load(error: &LoadError) -> Self {
        use LoadError as E;
        match error {
            E::Format { error, .. } => code_of_format(error),
            E::Archive { .. } => Code::Format,
            E::Link { error: LinkError::MissingImports { .. }, .. } => Code::Missing,
            E::Link { error: LinkError::Memory(error), .. } => ApiError::Memory(*error).code(),
            E::Link { error: LinkError::OutOfMemory, .. } | E::OutOfMemory => Code::AllocError,
            E::Link { .. } => Code::Link,
            E::Stub { error, .. } => ApiError::Exec(*error).code(),
            E::Bytecode { error, .. } => code_of_bytecode(error),
            E::NameTaken { .. } | E::DuplicateExport { .. } => Code::NameTaken,
            E::Stale { .. } => Code::Handle,
            E::InUse { .. } | E::Needed { .. } | E::DataInUse { .. } => Code::InUse,
            E::NotReloadable { .. } | E::FunctionRemoved { .. } => Code::Reload,
            E::ReplacedCodeLimit { .. } => Code::Ceiling,
            E::Changed { .. } => Code::State,
            _ => Code::System,
        }
    }
}

impl ApiError {
    pub(in super::super) fn code(&self) -> Code {
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
            Self::Call(TrapError::Trap(_) | TrapError::Bytecode(_)) => Code::Trap,
            Self::Call(_) => Code::Argument,
            Self::TooManyLoaders { .. } | Self::TooManyModules => Code::Full,
            Self::LoaderHeld { .. } | Self::LoaderBusy { .. } => Code::InUse,
            Self::File { error, .. } => code_of_memory(error),
            Self::NotInArchive { .. } => Code::File,
            Self::Load { code, .. } => *code,
            Self::Dynlib { .. } => Code::Link,
            Self::Missing { .. } => Code::Missing,
            Self::NoModule { .. } | Self::NoSymbol { .. } => Code::NotFound,
            Self::Unresolved { .. } | Self::NoEntryPoint { .. } => Code::NotFound,
            Self::NoSmf { .. } => Code::Take,
            Self::Take { code, .. } => *code,
            Self::Unfinished => Code::State,
            Self::Cache(error) => code_of_cache(error),
            Self::Format(error) => code_of_format(error),
            Self::CacheHeld { .. } | Self::Prefetching { .. } => Code::InUse,
            Self::TooManyCaches { .. } => Code::Full,
            Self::ExecNotAllowed => Code::Policy,
            Self::Exec(_) | Self::Memory(_) if self.is_policy() => Code::Policy,
            Self::Exec(error) => code_of(error.reason()),
            Self::Memory(error) => code_of_memory(error),
            Self::Tool(ToolError::AllocError { .. }) => Code::AllocError,
            Self::Tool(_) => Code::System,
            Self::NothingToMap | Self::OutsideMapping { .. } => Code::OutOfRange,
            Self::NotMapped { .. } => Code::UnknownAddress,
            Self::MappingSize { .. } => Code::OtherSize,
            Self::NotCallable { .. } | Self::NotCode { .. } => Code::NotExecutable,
            Self::Unmapped { .. } => Code::Unmapped,
            Self::NotA { .. } => Code::Value,
            Self::NoRoom { .. } => Code::AllocError,
            Self::ValuesInUse | Self::BlocksLive => Code::State,
            Self::InUseAtFork { .. } => Code::Forked,
            Self::NoJit { .. } | Self::NoUnit { .. } => Code::Handle,
            Self::TooManyJits { .. } => Code::Full,
            Self::JitBusy { .. } => Code::InUse,
            Self::Metadata { error: MetadataError::Read(error), .. } => code_of_memory(error),
            Self::Metadata { error: MetadataError::Format(error), .. } => code_of_format(error),
            Self::Metadata { .. } => Code::Format,
            Self::Instantiate { outcome: 1, .. } => Code::NotFound,
            Self::Instantiate { outcome: 4, .. } => Code::Update,
            Self::Instantiate { .. } => Code::Instantiate,
        }
    }
}

fn code_of_format(error: &FormatError) -> Code {
    if *error == FormatError::OutOfMemory { Code::AllocError } else { Code::Format }
}

fn code_of_cache(error: &CacheError) -> Code {
    use CacheError as E;
    match error {
        E::File(error) => code_of_memory(error),
        E::Format(error) => code_of_format(error),
        E::NoSuchModule => Code::File,
        E::ForeignSection { .. } => Code::Argument,
        E::OutOfMemory(_) | E::NoCapacity => Code::AllocError,
        E::TooLarge { .. } | E::AllInUse { .. } => Code::Full,
        E::Stale { .. } | E::NotRetained { .. } => Code::Handle,
        _ => Code::System,
    }
}

fn code_of_bytecode(error: &BytecodeError) -> Code {
    match error {
        BytecodeError::Engine(EngineError::Code(CodeError::Exec(error))) => {
            ApiError::Exec(*error).code()
        }
        BytecodeError::Engine(EngineError::Code(CodeError::AllocError)) => Code::AllocError,
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
        E::Changing { .. } | E::Truncated { .. } => Code::File,
        E::RangeOutside { .. } => Code::OutOfRange,
        E::NotReadable { .. } => Code::Access,
        E::OutOfMemory { .. } | E::Prefault { .. } | E::TooManyBytes { .. } => Code::AllocError,
        E::Map { errno, .. } | E::Manage { errno, .. } if *errno == Errno::NOMEM => {
            Code::AllocError
        }
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
        Reason::OutOfMemory => Code::AllocError,
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
