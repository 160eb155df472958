//! Reading files whole or in part. Paths are passed as system calls take them: bytes with one NUL, at the end.

use alloc::vec::Vec;
use core::{ffi::CStr, fmt, ops::Deref};

use arrayvec::ArrayVec;
use rustix::{fd::OwnedFd, fs::OFlags};

use super::super::pages::WritablePages;
use super::super::sys::{self, PATH_LIMIT};
use super::super::types::{
    Errno, FileKind, FileRange, FileStamp, FileVersion, MemoryError, Nanoseconds, Result,
};
use super::owned::{Buffer, CopyTo};

/// How many times a file that keeps changing is copied before the read fails.
pub(super) const MAX_ATTEMPTS: u32 = 8;

/// The time in nanoseconds after a modification during which a write may still be under way.
const SETTLE_TIME: Nanoseconds = 100_000_000;

/// The size in bytes from which on a single write may take longer than [`SETTLE_TIME`].
pub(in super::super) const LARGE: u64 = 16 << 20;

/// Whether the last change was so long ago that a write can no longer be under way.
pub(in super::super) fn is_settled(version: &FileVersion) -> bool {
    let last = version.stamp.modified.max(version.changed);
    last.saturating_add(SETTLE_TIME) < sys::wall_clock()
}

/// A private copy of the bytes of a file.
///
/// No other process has access to the copy, so nothing can change it or make an access to it fault.
pub struct FileBytes {
    /// The bytes of the file, with a tail that the caller of [`OpenFile::copy`] chose.
    memory: Buffer,
    /// Where the tail starts.
    len: usize,
    stamp: FileStamp,
}

impl FileBytes {
    /// The largest file that is read by default, in bytes: 4 GiB.
    pub const DEFAULT_LIMIT: u64 = 4 << 30;

    /// Reads the file at `path`, if it has at most `limit` bytes.
    ///
    /// The path is bytes as the kernel takes them, relative to the working directory unless it starts with a
    /// slash. Symbolic links are followed.
    ///
    /// Takes five system calls (open, fstat, pread, fstat, close) for a file of up to 2 GiB that does not
    /// change, and two more for a file that was modified within the last 100 ms. If another process
    /// writes to the file meanwhile, the bytes are those before or after the write, or there is an error.
    /// A file that the kernel reports as empty (in `/proc`) reads as empty; a file that ends before its
    /// reported size (in `/sys`) is read to its end.
    ///
    /// ```
    /// use smf_core::memory::FileBytes;
    ///
    /// let bytes = FileBytes::read(b"Cargo.toml", FileBytes::DEFAULT_LIMIT)?;
    /// assert_eq!(bytes.stamp().size, bytes.len() as u64);
    /// # Ok::<(), smf_core::memory::MemoryError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// * [`MemoryError::PathNul`], [`MemoryError::PathTooLong`] (more than 4095 bytes): no file can
    ///   have such a path.
    /// * [`MemoryError::Open`]: the file does not exist, access is denied, too many files are open, or the
    ///   path names a socket.
    /// * [`MemoryError::NotRegular`]: a directory, a named pipe or a device. The call does not block on any
    ///   of them.
    /// * [`MemoryError::FileTooLarge`]: more than `limit` bytes; [`MemoryError::OutOfMemory`]: the
    ///   allocation was refused.
    /// * [`MemoryError::Changing`]: the file was modified during every attempt.
    /// * [`MemoryError::Inspect`], [`MemoryError::Read`]: the file system failed.
    pub fn read(path: &[u8], limit: u64) -> Result<Self> {
        Self::read_range(path, FileRange::WHOLE, limit)
    }

    /// As [`read`](Self::read), for a part of the file; `limit` applies to the part.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read), and [`MemoryError::RangeOutside`].
    pub fn read_range(path: &[u8], range: FileRange, limit: u64) -> Result<Self> {
        OpenFile::open(path)?.copy(range, limit, &[], CopyTo::Allocator)
    }

    /// The stamp of the file when it was read.
    pub fn stamp(&self) -> FileStamp {
        self.stamp
    }

    /// No bytes, and no tail, with a stamp of the caller's choice.
    pub(crate) fn empty(stamp: FileStamp) -> Self {
        Self { memory: Buffer::Allocated(Vec::new()), len: 0, stamp }
    }

    /// A copy of `bytes` that belong to no file, with `tail` behind them and a stamp of the caller's choice.
    ///
    /// # Errors
    ///
    /// [`MemoryError`] if there is no memory for them.
    pub(crate) fn copy_of(bytes: &[u8], tail: &[u8], stamp: FileStamp, to: CopyTo) -> Result<Self> {
        let mut memory = Buffer::new(bytes.len() as u64, tail.len(), to)?;
        memory.append(bytes);
        Ok(Self::new(memory, tail, stamp))
    }

    /// The bytes of `memory`, with `tail`, which must fit into its capacity, behind them.
    fn new(mut memory: Buffer, tail: &[u8], stamp: FileStamp) -> Self {
        let len = memory.as_slice().len();
        memory.append(tail);
        Self { memory, len, stamp }
    }

    /// The tail behind the bytes.
    pub(crate) fn tail(&self) -> &[u8] {
        self.memory.as_slice().get(self.len..).unwrap_or(&[])
    }
}

impl AsRef<[u8]> for FileBytes {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl Deref for FileBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.memory.as_slice().get(..self.len).unwrap_or(&[])
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
    pub(crate) descriptor: OwnedFd,
    version: FileVersion,
}

impl OpenFile {
    /// Opens the file at `path` for reading. The errors are those of [`FileBytes::read`].
    pub(crate) fn open(path: &[u8]) -> Result<Self> {
        Self::open_with(path, OFlags::RDONLY)
    }

    /// Opens the file at `path` with this access.
    pub(crate) fn open_with(path: &[u8], access: OFlags) -> Result<Self> {
        let open =
            |path: &CStr| sys::open(path, access).map_err(|errno| MemoryError::Open { errno });
        Self::inspect(with_path(path, open)?)
    }

    /// An open file with its current version.
    pub(crate) fn inspect(descriptor: OwnedFd) -> Result<Self> {
        let version = regular(sys::status(&descriptor))?;
        Ok(Self { descriptor, version })
    }

    /// A copy of the file, with the version of the original.
    pub(in super::super) fn copied_to(&self, descriptor: OwnedFd) -> Self {
        Self { descriptor, version: self.version }
    }

    /// The stamp of the file when it was opened.
    pub(crate) fn stamp(&self) -> FileStamp {
        self.version.stamp
    }

    /// Whether no write was under way when the file was opened.
    pub(crate) fn is_settled(&self) -> bool {
        is_settled(&self.version)
    }

    /// Whether the file has not changed since it was opened.
    pub(crate) fn is_unchanged(&self) -> Result<bool> {
        Ok(regular(sys::status(&self.descriptor))? == self.version)
    }

    /// Copies a part of the file as [`FileBytes::read_range`] does, with `tail` behind it.
    pub(crate) fn copy(
        &self,
        range: FileRange,
        limit: u64,
        tail: &[u8],
        to: CopyTo,
    ) -> Result<FileBytes> {
        let (buffer, stamp) = self.copy_to_buffer(range, limit, tail.len(), to)?;
        Ok(FileBytes::new(buffer, tail, stamp))
    }

    /// Copies a part of the file to the start of writable pages; returns them and the number of bytes.
    pub(crate) fn copy_to_pages(
        &self,
        range: FileRange,
        limit: u64,
    ) -> Result<(WritablePages, usize)> {
        match self.copy_to_buffer(range, limit, 0, CopyTo::Pages)? {
            (Buffer::Pages { pages, len }, _) => Ok((pages, len)),
            // `CopyTo::Pages` never gives another buffer.
            (_, stamp) => Err(MemoryError::OutOfMemory { size: stamp.size }),
        }
    }

    /// Copies a part of the file to a buffer with capacity for a tail; returns it and the stamp of the file.
    fn copy_to_buffer(
        &self,
        range: FileRange,
        limit: u64,
        tail: usize,
        to: CopyTo,
    ) -> Result<(Buffer, FileStamp)> {
        let mut before = self.version;
        for _ in 0..MAX_ATTEMPTS {
            let size = range.length_in(before.stamp.size)?;
            if size > limit {
                return Err(MemoryError::FileTooLarge { size, limit });
            }
            let mut buffer = Buffer::new(size, tail, to)?;
            let settled = is_settled(&before);
            if !settled || size >= LARGE {
                sys::wait_for_writes(&self.descriptor);
            }
            buffer.fill(&self.descriptor, range.offset, size)?;
            let equal = settled || self.equals(buffer.as_slice(), range.offset)?;
            let after = regular(sys::status(&self.descriptor))?;
            if equal && after == before {
                return Ok((buffer, after.stamp));
            }
            before = after;
        }
        Err(MemoryError::Changing { attempts: MAX_ATTEMPTS })
    }

    /// Whether the file holds `bytes` at `offset`. Never inlined, because of its buffer on the stack.
    #[inline(never)]
    pub(super) fn equals(&self, bytes: &[u8], offset: u64) -> Result<bool> {
        let mut block = [0; 4096];
        let mut rest = bytes;
        while !rest.is_empty() {
            let at = offset.saturating_add((bytes.len() - rest.len()) as u64);
            let wanted = rest.len().min(block.len());
            let part = block.get_mut(..wanted).unwrap_or(&mut []);
            let count = sys::read_at(&self.descriptor, at, part)
                .map_err(|errno| MemoryError::Read { at, errno })?;
            let same = rest.split_at_checked(count).filter(|(head, _)| part.starts_with(head));
            match same {
                Some((_, tail)) if count != 0 => rest = tail,
                _ => return Ok(false),
            }
        }
        Ok(true)
    }
}

/// Calls `call` with `path` and a NUL behind it.
///
/// Never inlined: the buffer for the longest path would enlarge the stack frame of every caller.
#[inline(never)]
pub(crate) fn with_path<T>(path: &[u8], call: impl FnOnce(&CStr) -> Result<T>) -> Result<T> {
    let too_long = MemoryError::PathTooLong { len: path.len(), limit: PATH_LIMIT };
    let mut buffer = ArrayVec::<u8, { PATH_LIMIT + 1 }>::new();
    buffer.try_extend_from_slice(path).map_err(|_| too_long)?;
    buffer.try_push(0).map_err(|_| too_long)?;
    match CStr::from_bytes_until_nul(&buffer) {
        Ok(path_to_nul) if path_to_nul.count_bytes() == path.len() => call(path_to_nul),
        Ok(path_to_nul) => Err(MemoryError::PathNul { at: path_to_nul.count_bytes() }),
        // The buffer ends with a NUL.
        Err(_) => Err(too_long),
    }
}

/// The current stamp of the regular file at `path`. One system call; the file is not opened.
///
/// # Errors
///
/// As [`FileBytes::read`].
pub fn stamp_of(path: &[u8]) -> Result<FileStamp> {
    // To open the file would fail with the same error numbers.
    with_path(path, |path| {
        let status = sys::status_at(path).map_err(|errno| MemoryError::Open { errno })?;
        Ok(regular(Ok(status))?.stamp)
    })
}

/// Asks the kernel to read the file at `path` into the page cache, and does not wait for it.
///
/// # Errors
///
/// Those of [`FileBytes::read`] that concern opening. A file system without read-ahead is no error.
pub fn read_ahead(path: &[u8]) -> Result<()> {
    let file = OpenFile::open(path)?;
    let _ = sys::read_ahead(&file.descriptor);
    Ok(())
}

fn regular(status: Result<sys::FileStatus, Errno>) -> Result<FileVersion> {
    let status = status.map_err(|errno| MemoryError::Inspect { errno })?;
    match status.kind {
        FileKind::Regular => Ok(status.version),
        kind => Err(MemoryError::NotRegular { kind }),
    }
}
