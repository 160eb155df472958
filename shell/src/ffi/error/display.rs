//! The sentence of each error.

use std::fmt;

use smf_core::cache::CacheError;
use smf_core::trap::MAX_ARGS;

use super::ApiError;
use crate::jit::InCall;

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
            Self::InUseAtFork { number } => write!(
                f,
                "0x{number:x} was in use by a thread when this process was forked, and cannot be used here"
            ),
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
            Self::Load { reason, .. } => reason.fmt(f),
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
