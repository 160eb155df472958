//! Entries of a cache: files, and links to files.

use core::ops::Range;

use spin::Once;

use super::decompressed::Decompressed;
use super::handle::Handle;
use crate::memory::{FileBytes, FileStamp};

/// What an entry is looked up by: a path, or a path and the name of a module in the archive there.
#[derive(Clone, Copy)]
pub(super) struct Key<'k> {
    pub(super) path: &'k [u8],
    pub(super) module: Option<&'k [u8]>,
}

/// The content of a slot.
pub(super) struct Entry {
    /// The bytes of a file, or the name of a module. The tail is the path.
    pub(super) bytes: FileBytes,
    /// `None` for a file.
    pub(super) link: Option<Link>,
    pub(super) handle: Handle,
    /// Where the parts of the module lie that have been looked up before.
    pub(super) note: Once<Option<Part>>,
    pub(super) templates: Once<Option<Part>>,
    pub(super) decompressed: Decompressed,
}

/// Another path of a cached file, or a module of a cached archive.
pub(super) struct Link {
    /// The handle of the file.
    pub(super) target: Handle,
    /// Where in the file the module lies; `None` for another path of the file.
    pub(super) range: Option<Range<usize>>,
}

impl Entry {
    /// The content of a vacant slot: a file without bytes.
    pub(super) fn vacant(handle: Handle) -> Self {
        Self {
            bytes: FileBytes::empty(NO_FILE),
            handle,
            link: None,
            note: Once::new(),
            templates: Once::new(),
            decompressed: Decompressed::default(),
        }
    }

    /// Fills a vacant slot with a file, or with `link` a link.
    pub(super) fn fill(&mut self, bytes: FileBytes, link: Option<Link>) {
        (self.bytes, self.link) = (bytes, link);
        (self.note, self.templates) = (Once::new(), Once::new());
    }

    /// Drops the content and starts a new generation.
    pub(super) fn clear(&mut self) {
        self.bytes = FileBytes::empty(NO_FILE);
        self.decompressed = Decompressed::default();
        self.handle.generation = self.handle.generation.wrapping_add(1).max(1);
    }

    /// Whether this is the entry of `key`.
    pub(super) fn has_key(&self, key: &Key<'_>) -> bool {
        self.bytes.tail() == key.path && self.module() == key.module
    }

    /// The name of the module to which this is a link.
    fn module(&self) -> Option<&[u8]> {
        self.link.as_ref()?.range.as_ref().map(|_| &*self.bytes)
    }

    pub(super) fn is_file(&self) -> bool {
        self.link.is_none()
    }

    /// The size in bytes of a file that counts towards the capacity. Changes under the lock of the inventory only.
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
