//! Mappings whose address is given to foreign code, which Rust's aliasing rules do not bind.
//!
//! No reference to their bytes is ever created. [`FfiMapping::read_some`] raises no signal, whatever happens to the file:
//! it copies from private memory, or calls the kernel.
//!
//! | constructor | memory | `read_some` | access through the address |
//! |---|---|---|---|
//! | [`copy`](FfiMapping::copy) | private pages, filled once | copies | safe |
//! | [`zeroed`](FfiMapping::zeroed) | private pages | copies | safe |
//! | [`share`](FfiMapping::share) | the pages of the file | `pread(2)` | SIGBUS after truncation of the file |
//! | [`share_zeroed`](FfiMapping::share_zeroed) | a memory file of sealed size | `pread(2)` | safe |
//!
//! `pread(2)` sees every store through a shared mapping, and mappings see every write, because both use the page cache
//! (`mmap(2)`). `process_vm_readv(2)` on the process itself, the other call that reports a lost page as an error, is
//! slower, missing from some kernels and forbidden in some containers. The cost of `pread` is one descriptor for each
//! shared mapping. A child that has closed it cannot read.

use core::ops::Range;

use rustix::fs::OFlags;
use rustix::mm::MapFlags;

use super::creator_file::CreatorFile;
use super::file::OpenFile;
use super::memory_file;
use super::page_count::PageCount;
use super::pages::{Segment, WritablePages};
use super::placement::Placement;
use super::region::Region;
use super::sys;
use super::types::{Advice, FileRange, MemoryError, Protection, Result};

/// A mapping that foreign code accesses by address. Dropping it unmaps the pages.
#[derive(Debug)]
pub struct FfiMapping {
    region: Region,
    source: Source,
    /// The length in bytes; the last page may have more.
    len: usize,
    protection: Protection,
}

#[derive(Debug)]
enum Source {
    /// A copy of a file.
    Copy,
    /// Private anonymous memory.
    Zeroed,
    /// The pages of `file` from `offset`.
    Shared { file: CreatorFile, offset: u64 },
}

impl FfiMapping {
    /// Copies a range of the file at `path`, of at most `limit` bytes, as
    /// [`FileBytes::read_range`](super::FileBytes::read_range). Later changes of the file do not affect it.
    ///
    /// # Errors
    /// As `FileBytes::read_range`; [`MemoryError::Protect`], [`MemoryError::Synchronize`].
    pub fn copy(path: &[u8], range: FileRange, limit: u64, protection: Protection) -> Result<Self> {
        let file = OpenFile::open(path)?;
        let (pages, len) = file.copy_to_pages(range, limit)?;
        Ok(Self { region: publish(pages, protection)?, source: Source::Copy, len, protection })
    }

    /// Maps `len` zero bytes, private to this process.
    ///
    /// # Errors
    /// [`MemoryError::TooManyBytes`], [`MemoryError::Map`], [`MemoryError::Protect`].
    pub fn zeroed(len: u64, protection: Protection) -> Result<Self> {
        let pages = WritablePages::allocate(PageCount::covering(len)?, Placement::Anywhere)?;
        let len = usize::try_from(len).map_err(|_| MemoryError::TooManyBytes { bytes: len })?;
        Ok(Self { region: publish(pages, protection)?, source: Source::Zeroed, len, protection })
    }

    /// Maps a range of the file at `path`, whose offset is a multiple of the page size. Stores to the pages go to the
    /// file.
    ///
    /// # Errors
    /// Those of `FileBytes::read_range` about opening and the range; [`MemoryError::Map`];
    /// [`MemoryError::SharedCode`].
    pub fn share(path: &[u8], range: FileRange, protection: Protection) -> Result<Self> {
        let file = match protection {
            Protection::ReadExecute => return Err(MemoryError::SharedCode),
            Protection::ReadWrite => OpenFile::open_with(path, OFlags::RDWR),
            _ => OpenFile::open(path),
        }?;
        let length = range.length_in(file.stamp().size)?;
        Self::shared(file, range.offset, length, protection)
    }

    /// Maps `len` zero bytes that child processes share.
    ///
    /// # Errors
    /// [`MemoryError::TooManyBytes`], [`MemoryError::Map`], [`MemoryError::SharedCode`].
    pub fn share_zeroed(len: u64, protection: Protection) -> Result<Self> {
        if protection == Protection::ReadExecute {
            return Err(MemoryError::SharedCode);
        }
        // Before the file is created: a size that the process could not map is an error.
        let size = PageCount::covering(len)?.bytes();
        let no_memory = |errno| MemoryError::Map { size, errno };
        let file = memory_file::create(c"smf-shared", size as u64).map_err(no_memory)?;
        // Seals the size.
        sys::seal(&file, true).map_err(no_memory)?;
        Self::shared(OpenFile::inspect(file)?, 0, len, protection)
    }

    fn shared(file: OpenFile, offset: u64, length: u64, protection: Protection) -> Result<Self> {
        let size = if length == 0 { PageCount::ZERO } else { PageCount::covering(length)? };
        let mut region =
            Region::map_file(&file.descriptor, MapFlags::SHARED, offset, size, protection)?;
        region.expose();
        let len = usize::try_from(length);
        let len = len.map_err(|_| MemoryError::TooManyBytes { bytes: length })?;
        let file = CreatorFile::new(file);
        Ok(Self { region, source: Source::Shared { file, offset }, len, protection })
    }

    /// The address of the first byte, a multiple of the page size. Meaningless if the mapping is empty.
    pub fn address(&self) -> usize {
        self.region.addresses().start
    }

    /// The length in bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the length is 0.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether no other process has the pages: a copy of a file, or zeroed private memory.
    pub fn is_private(&self) -> bool {
        !matches!(self.source, Source::Shared { .. })
    }

    /// The protection of the pages.
    pub fn protection(&self) -> Protection {
        self.protection
    }

    /// Fills the first bytes of `into`, at least one unless that is empty, with those from `offset`; returns their number.
    /// Concurrent writes, through the address or to the file, may or may not be observed.
    ///
    /// # Errors
    /// [`MemoryError::RangeOutside`] for a range that is not in the mapping; [`MemoryError::NotReadable`];
    /// [`MemoryError::Truncated`] if the file ends at or before `offset`, and [`MemoryError::Read`] if its file system fails,
    /// or in a child process that has closed the descriptor.
    pub fn read_some(&self, offset: usize, into: &mut [u8]) -> Result<usize> {
        self.check(offset, into.len())?;
        let not_readable = MemoryError::NotReadable { address: self.address() };
        if self.protection == Protection::None {
            return Err(not_readable);
        }
        let Source::Shared { file, offset: first } = &self.source else {
            let is_copied = self.region.copy_out(offset, into);
            return if is_copied { Ok(into.len()) } else { Err(not_readable) };
        };
        let at = first.saturating_add(offset as u64);
        if !file.is_open() {
            return Err(MemoryError::Read { at, errno: rustix::io::Errno::BADF.into() });
        }
        let count = sys::read_at(&file.descriptor, at, into);
        let count = count.map_err(|errno| MemoryError::Read { at, errno })?;
        if count == 0 && !into.is_empty() {
            return Err(MemoryError::Truncated { at });
        }
        Ok(count)
    }

    fn check(&self, offset: usize, length: usize) -> Result<()> {
        match offset.checked_add(length) {
            Some(end) if end <= self.len => Ok(()),
            _ => Err(self.outside(offset, length)),
        }
    }

    fn check_range(&self, range: &Range<usize>) -> Result<()> {
        match range.start <= range.end {
            true => self.check(range.start, range.len()),
            false => Err(self.outside(range.start, 0)),
        }
    }

    fn outside(&self, offset: usize, length: usize) -> MemoryError {
        let (offset, length) = (offset as u64, length as u64);
        MemoryError::RangeOutside { offset, length, size: self.len as u64 }
    }

    /// Writes changes in a range of shared pages to the file; with `wait`, it returns after they are on the storage
    /// device. Private memory has none. The range starts with a page.
    ///
    /// # Errors
    /// [`MemoryError::RangeOutside`], [`MemoryError::Manage`].
    pub fn sync(&self, range: Range<usize>, wait: bool) -> Result<()> {
        self.check_range(&range)?;
        match &self.source {
            Source::Shared { .. } => self.region.sync(&range, wait),
            _ => Ok(()),
        }
    }

    /// Locks a range in memory (`mlock(2)`, counted against `RLIMIT_MEMLOCK`) or unlocks it. The range starts with a
    /// page.
    ///
    /// # Errors
    /// [`MemoryError::RangeOutside`], [`MemoryError::Manage`]; no page is locked.
    pub fn lock(&self, range: Range<usize>, locked: bool) -> Result<()> {
        self.check_range(&range)?;
        self.region.lock(&range, locked)
    }

    /// Advises the kernel about the access pattern of a range. The range starts with a page.
    ///
    /// # Errors
    /// [`MemoryError::RangeOutside`], [`MemoryError::Manage`].
    pub fn advise(&self, range: Range<usize>, advice: Advice) -> Result<()> {
        self.check_range(&range)?;
        self.region.advise(&range, advice)
    }

    /// Advises the kernel that a range is not needed now. Pages of [`zeroed`](Self::zeroed) memory are freed and read
    /// as zeros afterwards; all other bytes stay unchanged. The range starts with a page.
    ///
    /// # Errors
    /// [`MemoryError::RangeOutside`], [`MemoryError::Manage`].
    pub fn discard(&self, range: Range<usize>) -> Result<()> {
        self.check_range(&range)?;
        match &self.source {
            Source::Copy => self.region.mark_cold(&range),
            Source::Zeroed | Source::Shared { .. } => self.region.discard(&range),
        }
    }
}

/// Publishes all pages with one protection.
fn publish(pages: WritablePages, protection: Protection) -> Result<Region> {
    let size = pages.size();
    let all = Segment { offset: PageCount::ZERO, size, protection };
    Ok(pages.publish(&[all])?.into_region())
}

#[cfg(test)]
#[path = "tests/ffi_mapping.rs"]
mod tests;
