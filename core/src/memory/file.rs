//! Files, as bytes that stay what they are.
//!
//! A file is copied into memory of our own. To map it would be cheaper for a large one, but the
//! kernel raises SIGBUS in whoever touches a page of a mapping that another process has truncated
//! away, and shows what that process overwrites; a copy does neither.
//!
//! The copy lies in the allocator's memory, which is warm, unless pages of its own are asked for.
//! Measured (median of 2,000: open, fstat, get memory, read, look at every line, give back), for
//! 4 KiB, 64 KiB and 1 MiB: 3.5, 4.7 and 32 us so; 9.7, 33 and 454 us with an anonymous mapping for
//! each file, of which the kernel has to zero every page. The first file of 1 MiB costs about the
//! same either way. Whoever reads many small files in a row puts them into `Blocks`, which many share.
//!
//! # A file that changes while it is copied
//!
//! The kernel copies page by page, so a copy could be part old and part new. Therefore the stamp of
//! the file (size, time of modification, inode) is asked before and after, 0.2 us, and a copy during
//! which it changed is thrown away and tried again, a few times. The stamp changes when a write
//! begins. So for a file that was modified within the last 100 ms, or is large, where a write may have
//! begun before the first question and be going on, a call between them waits for its end.
//!
//! On kernels before 6.13 two stamps are the same within one tick of the clock, 1 to 10 ms.
//! Therefore such a young file is also read twice, and both must be the same. What no reader can see
//! is a program that stores through a shared mapping of its own: it changes the stamp at its first
//! store into a page, and not at those that follow.

mod block;
mod buffer;
mod owned;
mod path;

use core::fmt;
use core::ops::Deref;

use rustix::fd::OwnedFd;

pub(crate) use self::block::{BLOCK, Blocks, LARGEST};
use self::buffer::Buffer;
pub(crate) use self::owned::OwnedBytes;
pub(super) use self::path::with_path;
use super::page_count::PageCount;
use super::pages::WritablePages;
use super::sys;
use super::types::{Errno, FileKind, FileRange, FileStamp, MemoryError, Nanoseconds, Placement};

/// How often a file that changes is copied before it is given up.
const ATTEMPTS: u32 = 8;

/// How long after its last modification a file may still be in somebody's hands.
const SETTLING: Nanoseconds = 100_000_000;

/// The size in bytes from which on a single write may take that long.
const LARGE: u64 = 16 << 20;

/// Whether the last write to the file is at least [`SETTLING`] ago.
fn is_settled(stamp: &FileStamp) -> bool {
    stamp.modified.saturating_add(SETTLING) < sys::wall_clock()
}

/// Where a copy of a file goes.
// Of 32 bits, so that what it stands in has no gap, beside which its parts would be moved one by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum CopyTo {
    /// The allocator's memory.
    Allocator,
    /// Pages of its own, without the allocator.
    Pages,
}

/// The bytes of a file as they were when it was read.
///
/// Nobody else has access to them, so no process can change them or make touching them a fault.
pub struct FileBytes {
    /// Behind those of the file stands what the caller has put there.
    bytes: OwnedBytes,
    stamp: FileStamp,
}

impl FileBytes {
    /// The size up to which a file is read unless the caller says otherwise: 4 GiB.
    pub const DEFAULT_LIMIT: u64 = 4 << 30;

    /// Reads the file at `path`, which is bytes as the kernel takes them, relative to the working
    /// directory unless it begins with a slash. Symbolic links are followed.
    ///
    /// Five system calls (open, fstat, pread, fstat, close) for a file of up to 2 GiB that holds
    /// still; one more for one that was modified within the last 100 ms. The head of this room tells
    /// what happens when another process writes to it meanwhile: the bytes are from before, or from
    /// after, or there is an error. Files whose size the kernel gives as 0 (those in `/proc`) read as
    /// empty, and those that end before their size (in `/sys`) as far as they go.
    ///
    /// # Errors
    ///
    /// * [`MemoryError::PathNul`], [`MemoryError::PathTooLong`] (more than 4095 bytes): no file can
    ///   have such a path.
    /// * [`MemoryError::Open`]: not there, not allowed, too many open files, a socket ...
    /// * [`MemoryError::NotRegular`]: a directory, a named pipe, a device. None of them is waited
    ///   for.
    /// * [`MemoryError::FileTooLarge`]: more than `limit` bytes; [`MemoryError::OutOfMemory`]:
    ///   more than the allocator has.
    /// * [`MemoryError::Changing`]: written to again and again while it was read.
    /// * [`MemoryError::Inspect`], [`MemoryError::Read`]: the file system failed.
    pub fn read(path: &[u8], limit: u64) -> Result<Self, MemoryError> {
        Self::read_range(path, FileRange::WHOLE, limit)
    }

    /// As [`read`](Self::read), a part of the file; `limit` is for the part.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read), and [`MemoryError::RangeOutside`].
    pub fn read_range(path: &[u8], range: FileRange, limit: u64) -> Result<Self, MemoryError> {
        let file = OpenFile::open(path)?;
        file.copy(range, limit, &[], CopyTo::Allocator)
    }

    /// What the file was when it was read.
    #[inline]
    pub fn stamp(&self) -> FileStamp {
        self.stamp
    }

    /// `bytes` that are of no file, with `tail` behind them and a stamp that the caller made up.
    ///
    /// # Errors
    ///
    /// [`MemoryError`] when there is no memory for them.
    pub(crate) fn of(
        bytes: &[u8],
        tail: &[u8],
        stamp: FileStamp,
        to: CopyTo,
    ) -> Result<Self, MemoryError> {
        Ok(Self { bytes: OwnedBytes::of(bytes, tail, to)?, stamp })
    }

    /// What was put behind the bytes.
    #[cfg_attr(feature = "full", inline(always))]
    pub(crate) fn tail(&self) -> &[u8] {
        self.bytes.tail()
    }
}

impl AsRef<[u8]> for FileBytes {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl Deref for FileBytes {
    type Target = [u8];

    #[cfg_attr(feature = "full", inline(always))]
    fn deref(&self) -> &[u8] {
        self.bytes.as_slice()
    }
}

impl fmt::Debug for FileBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileBytes").field("len", &self.len()).field("stamp", &self.stamp).finish()
    }
}

/// An open regular file.
#[derive(Debug)]
pub(crate) struct OpenFile {
    file: OwnedFd,
    stamp: FileStamp,
}

impl OpenFile {
    /// Opens the file at `path` for reading; its errors are those of [`FileBytes::read`].
    pub(crate) fn open(path: &[u8]) -> Result<Self, MemoryError> {
        let file =
            with_path(path, |path| sys::open(path).map_err(|errno| MemoryError::Open { errno }))?;
        Self::inspect(file)
    }

    /// As [`open`](Self::open), for writing besides.
    pub(super) fn open_writable(path: &[u8]) -> Result<Self, MemoryError> {
        let file = with_path(path, |path| {
            sys::open_writable(path).map_err(|errno| MemoryError::Open { errno })
        })?;
        Self::inspect(file)
    }

    fn inspect(file: OwnedFd) -> Result<Self, MemoryError> {
        let stamp = regular(sys::status(&file))?;
        Ok(Self { file, stamp })
    }

    /// What the file was when it was opened.
    pub(crate) fn stamp(&self) -> FileStamp {
        self.stamp
    }

    /// The same file with what it is now.
    pub(super) fn looked_at_again(self) -> Result<Self, MemoryError> {
        Self::inspect(self.file)
    }

    pub(super) fn descriptor(&self) -> &OwnedFd {
        &self.file
    }

    pub(super) fn into_descriptor(self) -> OwnedFd {
        self.file
    }

    /// Copies a part of the file as [`FileBytes::read_range`] says, with `tail` behind it.
    #[inline(never)]
    pub(crate) fn copy(
        &self,
        range: FileRange,
        limit: u64,
        tail: &[u8],
        to: CopyTo,
    ) -> Result<FileBytes, MemoryError> {
        let room = |size| Buffer::with_room(size, tail.len(), to);
        let (buffer, stamp) = self.copy_to_buffer(range, limit, room)?;
        Ok(FileBytes { bytes: buffer.finish_with(tail)?, stamp })
    }

    /// As [`copy`](Self::copy), of the whole file and into `blocks`, or where there is no room in them into
    /// the allocator's memory.
    pub(crate) fn copy_to_blocks(
        &self,
        limit: u64,
        tail: &[u8],
        blocks: &mut Blocks,
    ) -> Result<FileBytes, MemoryError> {
        let room = |size: u64| {
            let whole = usize::try_from(size).ok().and_then(|size| size.checked_add(tail.len()));
            match whole.and_then(|whole| blocks.room(whole)) {
                Some(room) => Ok(Buffer::Shared(room)),
                None => Buffer::with_room(size, tail.len(), CopyTo::Allocator),
            }
        };
        let (buffer, stamp) = self.copy_to_buffer(FileRange::WHOLE, limit, room)?;
        Ok(FileBytes { bytes: buffer.finish_with(tail)?, stamp })
    }

    /// As [`copy`](Self::copy), to the beginning of pages that can still be written; how many bytes
    /// there are as well.
    pub(super) fn copy_to_pages(
        &self,
        range: FileRange,
        limit: u64,
    ) -> Result<(WritablePages, usize), MemoryError> {
        match self.copy_to_buffer(range, limit, |size| Buffer::with_room(size, 0, CopyTo::Pages))? {
            (Buffer::Pages { pages, len }, _) => Ok((pages, len)),
            // Pages were asked for.
            (_, stamp) => Err(MemoryError::OutOfMemory { size: stamp.size }),
        }
    }

    /// A copy in what `room` gives for so many bytes, and what the file was.
    fn copy_to_buffer(
        &self,
        range: FileRange,
        limit: u64,
        mut room: impl FnMut(u64) -> Result<Buffer, MemoryError>,
    ) -> Result<(Buffer, FileStamp), MemoryError> {
        let mut before = self.stamp;
        for _ in 0..ATTEMPTS {
            let size = range.length_in(before.size)?;
            if size > limit {
                return Err(MemoryError::FileTooLarge { size, limit });
            }
            let mut buffer = room(size)?;
            let settled = is_settled(&before);
            if !settled || before.size >= LARGE {
                sys::wait_for_writes(&self.file);
            }
            buffer.fill(&self.file, range.offset, size)?;
            let same = settled || self.is_still(buffer.as_slice(), range.offset)?;
            let after = regular(sys::status(&self.file))?;
            if same && after == before {
                return Ok((buffer, after));
            }
            before = after;
        }
        Err(MemoryError::Changing { attempts: ATTEMPTS })
    }

    /// Whether the file holds `bytes` at `offset`. On a stack of its own, as [`with_path`].
    #[inline(never)]
    fn is_still(&self, bytes: &[u8], offset: u64) -> Result<bool, MemoryError> {
        let mut block = [0; 4096];
        let mut rest = bytes;
        while !rest.is_empty() {
            let at = offset.saturating_add((bytes.len() - rest.len()) as u64);
            let wanted = rest.len().min(block.len());
            let room = block.get_mut(..wanted).unwrap_or(&mut []);
            let count = sys::read_at(&self.file, at, room)
                .map_err(|errno| MemoryError::Read { at, errno })?;
            let same = rest.split_at_checked(count).filter(|(head, _)| room.starts_with(head));
            match same {
                Some((_, tail)) if count != 0 => rest = tail,
                _ => return Ok(false),
            }
        }
        Ok(true)
    }
}

/// The state of the regular file at `path` now. One system call; the file is not opened.
///
/// # Errors
///
/// As [`FileBytes::read`].
pub fn stamp_of(path: &[u8]) -> Result<FileStamp, MemoryError> {
    // The file is not opened, but this is what opening it would say.
    with_path(path, |path| {
        let status = sys::status_at(path).map_err(|errno| MemoryError::Open { errno })?;
        regular(Ok(status))
    })
}

/// Asks the kernel to begin reading the file at `path` into its cache, and does not wait for it.
///
/// # Errors
///
/// Those of [`FileBytes::read`] about opening. That the kernel takes no advice is none.
pub fn read_ahead(path: &[u8]) -> Result<(), MemoryError> {
    let file = OpenFile::open(path)?;
    // A file system without read-ahead reads when it is asked to.
    let _ = sys::read_ahead(&file.file);
    Ok(())
}

fn regular(status: Result<sys::FileStatus, Errno>) -> Result<FileStamp, MemoryError> {
    let status = status.map_err(|errno| MemoryError::Inspect { errno })?;
    match status.kind {
        FileKind::Regular => Ok(status.stamp),
        kind => Err(MemoryError::NotRegular { kind }),
    }
}

#[cfg(test)]
mod tests;
