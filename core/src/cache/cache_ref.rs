//! References to cached files.

use core::fmt;
use core::ops::{Deref, Range};

use super::entry::Entry;
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
    /// An [`Entry::File`].
    pub(super) file: TryArc<Entry>,
    /// The [`Entry::Link`] through which the file was found.
    pub(super) link: Option<TryArc<Entry>>,
    pub(super) handle: Handle,
    pub(super) cache: &'c FileCache,
}

impl CacheRef<'_> {
    /// The handle with which [`FileCache::get_by_handle`] finds the same bytes as long as they are in the cache.
    #[inline]
    pub fn handle(&self) -> Handle {
        self.handle
    }

    /// The stamp of the file when it was read; for a module, that of the archive. `None` for bytes that come
    /// from no file.
    pub fn stamp(&self) -> Option<FileStamp> {
        self.file.file()?.stamp()
    }

    /// Parses the bytes as a module.
    ///
    /// # Errors
    /// As [`Smf::parse`].
    pub fn smf(&self) -> Result<Smf<'_>, FormatError> {
        Smf::parse(self)
    }

    /// The handle of the file, whatever led there.
    pub(super) fn file_handle(&self) -> Handle {
        let link = self.link.as_ref().and_then(|link| link.link());
        link.map_or(self.handle, |link| link.target())
    }

    /// Where the bytes lie in the file, unless they are the whole file.
    pub(super) fn range(&self) -> Option<&Range<usize>> {
        self.link.as_ref()?.link()?.range()
    }
}

impl Deref for CacheRef<'_> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        let bytes = self.file.file().map_or(&[][..], |file| file.bytes());
        match self.range() {
            Some(range) => bytes.get(range.clone()).unwrap_or(&[]),
            None => bytes,
        }
    }
}

impl fmt::Debug for CacheRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheRef").field("handle", &self.handle).field("len", &self.len()).finish()
    }
}
