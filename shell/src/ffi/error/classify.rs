//! The error number of each error.

use rustix::io::Errno;
use smf_core::cache::CacheError;
use smf_core::extract::ExtractError;
use smf_core::format::FormatError;
use smf_core::link::LinkError;
use smf_core::loader::{BytecodeError, LoadError};
use smf_core::memory::MemoryError;
use smf_core::memory::code_alloc::ExecError;
use smf_core::templates::MetadataError;
use smf_core::trap::TrapError;
use smf_core::vm::{CodeError, EngineError};

use super::api_error::{ApiError, is_policy};
use super::code::Code;
use super::truncate::Truncated;
use crate::tools::ToolError;

impl ApiError {
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
            Self::State(_) => Code::State,
            Self::NotA { .. } => Code::Value,
            Self::NoMemory { .. } => Code::NoMemory,
            Self::ExecNotAllowed => Code::Policy,
            Self::NothingToMap | Self::OutsideMapping { .. } => Code::OutOfRange,
            Self::NotMapped { .. } => Code::UnknownAddress,
            Self::MappingSize { .. } => Code::OtherSize,
            Self::Cache(error) => of_cache(error),
            Self::Format(error) => of_format(error),
            Self::TooManyOpen { .. } | Self::TooManyModules => Code::Full,
            Self::Held { .. } | Self::Prefetching { .. } | Self::Busy { .. } => Code::InUse,
            Self::NotInArchive { .. } => Code::File,
            Self::Load { code, .. } | Self::Extract { code, .. } => *code,
            Self::SharedObject { .. } => Code::Link,
            Self::Missing { .. } => Code::Missing,
            Self::NoModule { .. } | Self::NoSymbol { .. } => Code::NotFound,
            Self::Unresolved { .. } | Self::NoEntryPoint { .. } => Code::NotFound,
            Self::Call(TrapError::Trap(_) | TrapError::Bytecode(_)) => Code::Trap,
            Self::Call(_) => Code::Argument,
            Self::NotSmf { .. } => Code::Take,
            Self::Metadata { error, .. } => of_metadata(error),
            Self::Instantiate { outcome: 1, .. } => Code::NotFound,
            Self::Instantiate { outcome: 4, .. } => Code::Update,
            Self::Instantiate { .. } => Code::Instantiate,
            Self::Tool(ToolError::OutOfMemory { .. }) => Code::NoMemory,
            Self::Tool(_) => Code::System,
        }
    }
}

impl From<ExtractError<'_>> for ApiError {
    fn from(error: ExtractError<'_>) -> Self {
        match error {
            ExtractError::Format(error) => Self::Format(error),
            error => {
                Self::Extract { code: Code::of_extract(&error), reason: Truncated::new(&error) }
            }
        }
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
}

fn of_format(error: &FormatError) -> Code {
    if *error == FormatError::OutOfMemory { Code::NoMemory } else { Code::Format }
}

fn of_metadata(error: &MetadataError) -> Code {
    match error {
        MetadataError::Read(error) => of_memory(error),
        MetadataError::Format(error) => of_format(error),
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
    /// The number of an error of loading a module.
    pub(super) fn of_load(error: &LoadError) -> Self {
        use LoadError as E;
        match error {
            E::Format { error, .. } => of_format(error),
            E::Archive { .. } => Code::Format,
            E::Link { error: LinkError::MissingImports { .. }, .. } => Code::Missing,
            E::Link { error: LinkError::Memory(error), .. } => of_memory(error),
            E::Link { error: LinkError::OutOfMemory(_), .. } | E::OutOfMemory => Code::NoMemory,
            E::Link { .. } => Code::Link,
            E::Stub { error, .. } => of_exec(error),
            E::Bytecode { error, .. } => of_bytecode(error),
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

fn is_denied(errno: &smf_core::memory::Errno) -> bool {
    [Errno::ACCESS, Errno::PERM, Errno::ROFS, Errno::TXTBSY].iter().any(|denied| *errno == *denied)
}

fn of_exec(error: &ExecError) -> Code {
    if let ExecError::Memory(error) = error
        && is_policy(error)
    {
        return Code::Policy;
    }
    match error {
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
