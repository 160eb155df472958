//! Every way to be refused by a cache, as one `Copy` value.
//!
//! The path is not part of the value: whoever gave the path has it and puts it in front.

use core::fmt;

use super::Handle;
use crate::format::FormatError;
use crate::memory::MemoryError;

/// Why the cache does not give a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the fields are what the sentence of each variant shows")]
pub enum CacheError {
    /// The file could not be read.
    File(MemoryError),
    /// The file is not the archive that it was taken for, or not a sound one.
    Format(FormatError),
    /// The archive has no module of this name.
    NoSuchModule,
    /// A cache that may hold no file or no byte.
    NoCapacity,
    /// A single file, with what came and is to come out of its compressed sections, larger than the
    /// whole cache. Both in bytes.
    TooLarge { size: u64, capacity: u64 },
    /// A compressed section that is none of the module whose section it is to be.
    ForeignSection { index: u32 },
    /// Every file is in use, so none can make room.
    AllInUse { files: u32, bytes: u64 },
    /// A handle of a file that has been thrown out or replaced, or of none at all.
    Stale { handle: Handle },
    /// A handle given back more often than it was retained.
    NotRetained { handle: Handle },
}

impl fmt::Display for CacheError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use CacheError as E;
        match *self {
            E::File(error) => error.fmt(f),
            E::Format(error) => error.fmt(f),
            E::NoSuchModule => f.write_str("the archive has no module of this name"),
            E::NoCapacity => f.write_str("a cache needs room for at least one file and one byte"),
            E::TooLarge { size, capacity } => {
                write!(
                    f,
                    "the file takes {size} bytes, and the whole cache has room for {capacity}"
                )
            }
            E::ForeignSection { index } => {
                write!(f, "section {index} is not one of this module's compressed sections")
            }
            E::AllInUse { files, bytes } => write!(
                f,
                "no room in the cache: all {files} files ({bytes} bytes) in it are in use"
            ),
            E::Stale { handle } => {
                write!(f, "handle 0x{:x} belongs to no file in the cache", handle.to_raw())
            }
            E::NotRetained { handle } => {
                write!(f, "handle 0x{:x} was given back once too often", handle.to_raw())
            }
        }
    }
}

impl core::error::Error for CacheError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            CacheError::File(error) => Some(error),
            CacheError::Format(error) => Some(error),
            _ => None,
        }
    }
}

impl From<MemoryError> for CacheError {
    fn from(error: MemoryError) -> Self {
        CacheError::File(error)
    }
}

impl From<FormatError> for CacheError {
    fn from(error: FormatError) -> Self {
        CacheError::Format(error)
    }
}
