//! References to cached files.

use core::fmt;
use core::ops::{Deref, Range};

use super::entry::Entry;
use super::error::CacheError;
use super::file_cache::FileCache;
use super::handle::Handle;
use crate::alloc_util::TryArc;
use crate::format::{FormatError, Smf};
use crate::memory::FileStamp;

/// The bytes of a cached file, or of a module in a cached archive.
///
/// They neither move nor change until the reference is dropped. The file is not evicted meanwhile; if it is
/// replaced or evicted on request, its memory is freed when the last reference has been dropped.
pub struct CacheRef<'c> {
    pub(super) file: TryArc<Entry>,
    /// The link through which the file was found.
    pub(super) link: Option<TryArc<Entry>>,
    pub(super) cache: &'c FileCache,
}

impl CacheRef<'_> {
    /// The handle with which [`FileCache::get_by_handle`] finds the same bytes as long as they are in the cache.
    pub fn handle(&self) -> Handle {
        self.found().handle
    }

    /// The stamp of the file when it was read; for a module, that of the archive. `None` for bytes that come
    /// from no file.
    pub fn stamp(&self) -> Option<FileStamp> {
        self.file.stamp()
    }

    /// Parses the bytes as a module.
    ///
    /// # Errors
    /// As [`Smf::parse`].
    pub fn smf(&self) -> Result<Smf<'_>, FormatError> {
        Smf::parse(self)
    }

    /// The entry that was requested: a link, or the file.
    pub(super) fn found(&self) -> &Entry {
        self.link.as_ref().unwrap_or(&self.file)
    }

    /// Where the bytes lie in the file, unless they are the whole file.
    pub(super) fn range(&self) -> Option<&Range<usize>> {
        self.link.as_ref()?.link.as_ref()?.range.as_ref()
    }
}

impl Deref for CacheRef<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self.range() {
            Some(range) => self.file.bytes.get(range.clone()).unwrap_or(&[]),
            None => &self.file.bytes,
        }
    }
}

/// The bytes of a whole cached file, as [`CacheRef`], without a borrow of the cache: for owners of bytes such as modules.
/// They may outlive the cache.
pub struct CachedBytes(TryArc<Entry>);

impl CachedBytes {
    /// As [`FileCache::get`].
    ///
    /// # Errors
    /// As [`FileCache::get`].
    pub fn get(cache: &FileCache, path: &[u8]) -> Result<Self, CacheError> {
        // A link to a whole file only saves time: its file stays without it.
        Ok(Self(cache.get(path)?.file))
    }
}

impl AsRef<[u8]> for CachedBytes {
    fn as_ref(&self) -> &[u8] {
        &self.0.bytes
    }
}

impl fmt::Debug for CachedBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CachedBytes").field("len", &self.as_ref().len()).finish()
    }
}

impl fmt::Debug for CacheRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheRef")
            .field("handle", &self.handle())
            .field("len", &self.len())
            .finish()
    }
}
