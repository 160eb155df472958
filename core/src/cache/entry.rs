//! Entries of a cache: files, and links to files.

use core::ops::Range;

use spin::Once;

use super::decompressed::Decompressed;
use super::handle::Handle;
use crate::memory::{FileBytes, FileStamp, OwnedBytes};

/// What an entry is looked up by: a path, or a path and the name of a module in the archive there.
#[derive(Clone, Copy)]
pub(super) struct Key<'k> {
    pub(super) path: &'k [u8],
    pub(super) module: Option<&'k [u8]>,
}

impl Key<'_> {
    /// Whether `entry` is cached under this key.
    #[inline]
    pub(super) fn is_of(&self, entry: &Entry) -> bool {
        match entry {
            Entry::File(file) => self.module.is_none() && file.path() == self.path,
            Entry::Link(link) => {
                link.key.as_slice() == self.path
                    && link.range.is_some() == self.module.is_some()
                    && link.key.tail() == self.module.unwrap_or(&[])
            }
            Entry::Vacant => false,
        }
    }
}

/// The content of a slot.
pub(super) enum Entry {
    Vacant,
    File(CachedFile),
    Link(Link),
}

impl Entry {
    #[inline]
    pub(super) fn file(&self) -> Option<&CachedFile> {
        match self {
            Entry::File(file) => Some(file),
            _ => None,
        }
    }

    pub(super) fn link(&self) -> Option<&Link> {
        match self {
            Entry::Link(link) => Some(link),
            _ => None,
        }
    }
}

/// A cached file.
pub(super) struct CachedFile {
    /// The bytes of the file. The tail is the path.
    bytes: FileBytes,
    parts: Parts,
    pub(super) decompressed: Decompressed,
}

impl CachedFile {
    /// `bytes` has the path as its tail.
    pub(super) fn new(bytes: FileBytes) -> Self {
        Self { bytes, parts: Parts::default(), decompressed: Decompressed::default() }
    }

    #[inline]
    pub(super) fn path(&self) -> &[u8] {
        self.bytes.tail()
    }

    #[inline]
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn parts(&self) -> &Parts {
        &self.parts
    }

    /// The size in bytes that counts towards the capacity. Changes under the lock of the inventory only.
    pub(super) fn size(&self) -> u64 {
        self.bytes.len() as u64 + self.decompressed.size()
    }

    /// The stamp of the file when it was read; `None` for bytes that come from no file.
    pub(super) fn stamp(&self) -> Option<FileStamp> {
        Some(self.bytes.stamp()).filter(|stamp| stamp.size != NO_FILE.size)
    }
}

/// The stamp of bytes that come from no file. No file has this size.
pub(super) const NO_FILE: FileStamp =
    FileStamp { size: u64::MAX, modified: 0, device: 0, inode: 0 };

/// Another path of a cached file, or a module of a cached archive.
pub(super) struct Link {
    /// The path, and as its tail the name of the module.
    key: OwnedBytes,
    target: Handle,
    range: Option<Range<usize>>,
    parts: Parts,
}

impl Link {
    pub(super) fn new(key: OwnedBytes, target: Handle, range: Option<Range<usize>>) -> Self {
        Self { key, target, range, parts: Parts::default() }
    }

    /// The handle of the file.
    pub(super) fn target(&self) -> Handle {
        self.target
    }

    /// Where in the file the module lies; `None` for another path of the file.
    pub(super) fn range(&self) -> Option<&Range<usize>> {
        self.range.as_ref()
    }

    pub(super) fn parts(&self) -> &Parts {
        &self.parts
    }
}

/// Where the parts of a module lie that have been looked up before.
#[derive(Default)]
pub(super) struct Parts {
    pub(super) note: Once<Option<Part>>,
    pub(super) templates: Once<Option<Part>>,
}

/// Where a part lies in the bytes of its module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    start: u32,
    len: u32,
    /// Whether these bytes are compressed.
    pub(super) is_compressed: bool,
}

impl Part {
    /// `None` for a part beyond 4 GiB.
    pub(super) fn new(range: &Range<usize>, is_compressed: bool) -> Option<Self> {
        let (start, len) = (u32::try_from(range.start).ok()?, u32::try_from(range.len()).ok()?);
        Some(Self { start, len, is_compressed })
    }

    pub(super) fn range(self) -> Range<usize> {
        self.start as usize..self.start as usize + self.len as usize
    }
}
