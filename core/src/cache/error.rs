//! Errors of the cache.
//!
//! The path is not part of an error; the caller has it.

use thiserror::Error;

use super::handle::Handle;
use crate::alloc_util::AllocError;
use crate::format::FormatError;
use crate::memory::MemoryError;

/// An operation on a cache failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CacheError {
    /// The file could not be read, or there is no memory for it.
    #[error(transparent)]
    File(#[from] MemoryError),
    /// There is no memory for an entry of the cache or for a decompressed section.
    #[error(transparent)]
    OutOfMemory(#[from] AllocError),
    /// The file is not a valid archive or module.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// The archive has no module of this name.
    #[error("the archive has no module of this name")]
    NoSuchModule,
    /// A cache for no file or no byte was requested.
    #[error("the capacity of a cache must be at least one file and one byte")]
    NoCapacity,
    /// A single file, with the decompressed bytes of its sections, is larger than the whole cache.
    #[error("the file needs {size} bytes, more than the {capacity} bytes of the whole cache")]
    TooLarge {
        /// The size of the file and its decompressed sections in bytes.
        size: u64,
        /// The capacity of the cache in bytes.
        capacity: u64,
    },
    /// A compressed section of another module.
    #[error("section {index} is not a compressed section of this module")]
    ForeignSection {
        /// The index of the section.
        index: u32,
    },
    /// The cache is full, and every file in it is in use.
    #[error("the cache is full: all {files} files ({bytes} bytes) in it are in use")]
    AllInUse {
        /// The number of files in the cache.
        files: u32,
        /// Their size in bytes.
        bytes: u64,
    },
    /// The entry of the handle was evicted or replaced, or the number is no handle.
    #[error("handle 0x{:x} refers to no file in the cache", .handle.to_raw())]
    Stale {
        /// The handle.
        handle: Handle,
    },
    /// The handle was released more often than it was retained.
    #[error("handle 0x{:x} was released more often than it was retained", .handle.to_raw())]
    NotRetained {
        /// The handle.
        handle: Handle,
    },
}

impl CacheError {
    /// Whether a file could be read but not be cached, because the cache is too small for it or all other files are in
    /// use.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::TooLarge { .. } | Self::AllInUse { .. })
    }
}
