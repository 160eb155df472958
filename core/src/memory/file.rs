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
//! same either way.
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

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::ffi::CStr;
use core::fmt;
use core::ops::Deref;

use arrayvec::ArrayVec;
use rustix::fd::OwnedFd;

use super::sys::{self, PATH_LIMIT};
use super::{Errno, FileKind, MemoryError, PageCount, Placement, WritablePages};

/// A time, or a distance between two, in nanoseconds. Times of files count from 1970, as far as
/// 2262; others from an arbitrary moment.
pub type Nanoseconds = i64;

/// How often a file that changes is copied before it is given up.
const ATTEMPTS: u32 = 8;

/// How long after its last modification a file may still be in somebody's hands.
const SETTLING: Nanoseconds = 100_000_000;

/// The size in bytes from which on a single write may take that long.
const LARGE: u64 = 16 << 20;

/// What tells one state of one file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileStamp {
    /// In bytes.
    pub size: u64,
    /// When the bytes were last modified.
    pub modified: Nanoseconds,
    /// The file system.
    pub device: u64,
    /// The file in it. Two paths with one device and one inode are one file.
    pub inode: u64,
}

impl FileStamp {
    fn is_settled(&self) -> bool {
        self.modified.saturating_add(SETTLING) < sys::wall_clock()
    }
}

/// A part of a file, in bytes. Any offset will do, and the end may be left to the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileRange {
    /// Where it begins.
    pub offset: u64,
    /// How long it is; `None` reaches to the end of the file.
    pub length: Option<u64>,
}

impl FileRange {
    /// The whole file.
    pub const WHOLE: Self = Self { offset: 0, length: None };

    /// How many bytes it has in a file of `size`.
    pub(super) fn length_in(self, size: u64) -> Result<u64, MemoryError> {
        let rest = size.checked_sub(self.offset);
        let length = self.length.or(rest).unwrap_or(0);
        let outside = MemoryError::RangeOutside { offset: self.offset, length, size };
        if rest.is_some_and(|rest| length <= rest) { Ok(length) } else { Err(outside) }
    }
}

/// Where a copy of a file goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    bytes: OwnedBytes,
    /// How many of them are the file's; the rest is the tail that the caller put behind.
    len: usize,
    stamp: FileStamp,
}

/// Memory of this process alone, filled once.
pub(crate) enum OwnedBytes {
    Allocated(Box<[u8]>),
    /// Filled up to the end of the last page with zeroes.
    Pages(WritablePages),
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
    /// * [`MemoryError::FileTooLarge`]: more than `limit` bytes; [`MemoryError::NoRoomForFile`]:
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
        file.copy(range, limit, [&[], &[]], CopyTo::Allocator)
    }

    /// What the file was when it was read.
    #[inline]
    pub fn stamp(&self) -> FileStamp {
        self.stamp
    }

    /// What was put behind the bytes of the file, and with pages zeroes after that.
    #[inline(always)]
    pub(crate) fn tail(&self) -> &[u8] {
        self.bytes.as_slice().get(self.len..).unwrap_or(&[])
    }
}

impl Deref for FileBytes {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        self.bytes.as_slice().get(..self.len).unwrap_or(&[])
    }
}

impl fmt::Debug for FileBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileBytes").field("len", &self.len).field("stamp", &self.stamp).finish()
    }
}

impl OwnedBytes {
    /// A copy of both parts; with pages, zeroes stand behind it.
    pub(crate) fn of(parts: [&[u8]; 2], to: CopyTo) -> Result<Self, MemoryError> {
        let len = parts.iter().map(|part| part.len()).sum();
        let mut buffer = Buffer::with_room(0, len, to)?;
        parts.iter().for_each(|part| buffer.append(part));
        Ok(buffer.finish())
    }

    #[inline(always)]
    pub(crate) fn as_slice(&self) -> &[u8] {
        match self {
            OwnedBytes::Allocated(bytes) => bytes,
            OwnedBytes::Pages(pages) => pages.as_slice(),
        }
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

    pub(super) fn descriptor(&self) -> &OwnedFd {
        &self.file
    }

    pub(super) fn into_descriptor(self) -> OwnedFd {
        self.file
    }

    /// Copies a part of the file as [`FileBytes::read_range`] says, with both parts of
    /// `tail` behind it.
    pub(crate) fn copy(
        &self,
        range: FileRange,
        limit: u64,
        tail: [&[u8]; 2],
        to: CopyTo,
    ) -> Result<FileBytes, MemoryError> {
        let tail_len = tail.iter().map(|part| part.len()).sum();
        let (mut buffer, stamp) = self.copy_to_buffer(range, limit, tail_len, to)?;
        let len = buffer.as_slice().len();
        tail.iter().for_each(|part| buffer.append(part));
        Ok(FileBytes { bytes: buffer.finish(), len, stamp })
    }

    /// As [`copy`](Self::copy), to the beginning of pages that can still be written; how many bytes
    /// there are as well.
    pub(super) fn copy_to_pages(
        &self,
        range: FileRange,
        limit: u64,
    ) -> Result<(WritablePages, usize), MemoryError> {
        match self.copy_to_buffer(range, limit, 0, CopyTo::Pages)? {
            (Buffer::Pages { pages, len }, _) => Ok((pages, len)),
            // Pages were asked for.
            (Buffer::Allocated(_), stamp) => Err(MemoryError::NoRoomForFile { size: stamp.size }),
        }
    }

    /// A copy with room for a tail behind it, and what the file was.
    fn copy_to_buffer(
        &self,
        range: FileRange,
        limit: u64,
        tail: usize,
        to: CopyTo,
    ) -> Result<(Buffer, FileStamp), MemoryError> {
        let mut before = self.stamp;
        for _ in 0..ATTEMPTS {
            let size = range.length_in(before.size)?;
            if size > limit {
                return Err(MemoryError::FileTooLarge { size, limit });
            }
            let mut buffer = Buffer::with_room(size, tail, to)?;
            let settled = before.is_settled();
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

    /// Whether the file holds `bytes` at `offset`.
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

/// Hands on `path` with a NUL behind it.
fn with_path<T>(
    path: &[u8],
    call: impl FnOnce(&CStr) -> Result<T, MemoryError>,
) -> Result<T, MemoryError> {
    let too_long = MemoryError::PathTooLong { len: path.len(), limit: PATH_LIMIT };
    let mut terminated = ArrayVec::<u8, { PATH_LIMIT + 1 }>::new();
    terminated.try_extend_from_slice(path).map_err(|_| too_long)?;
    terminated.try_push(0).map_err(|_| too_long)?;
    let first_nul = CStr::from_bytes_until_nul(&terminated);
    match first_nul {
        Ok(whole) if whole.count_bytes() == path.len() => call(whole),
        Ok(part) => Err(MemoryError::PathNul { at: part.count_bytes() }),
        Err(_) => Err(too_long),
    }
}

/// Memory that is being filled.
enum Buffer {
    Allocated(Vec<u8>),
    Pages { pages: WritablePages, len: usize },
}

impl Buffer {
    /// Room for `size` bytes of a file and a tail.
    fn with_room(size: u64, tail: usize, to: CopyTo) -> Result<Self, MemoryError> {
        let no_room = MemoryError::NoRoomForFile { size };
        let room = size.checked_add(tail as u64).ok_or(no_room)?;
        match to {
            CopyTo::Allocator => {
                let mut bytes = Vec::new();
                let room = usize::try_from(room).map_err(|_| no_room)?;
                bytes.try_reserve_exact(room).map_err(|_| no_room)?;
                Ok(Buffer::Allocated(bytes))
            }
            CopyTo::Pages => {
                let size = PageCount::covering(room)?;
                let mut pages = WritablePages::allocate(size, Placement::Anywhere)?;
                pages.prefault(size.bytes())?;
                Ok(Buffer::Pages { pages, len: 0 })
            }
        }
    }

    /// Reads the `size` bytes of `file` at `offset`, or as many as there are.
    fn fill(&mut self, file: &OwnedFd, offset: u64, size: u64) -> Result<(), MemoryError> {
        let size = usize::try_from(size).map_err(|_| MemoryError::NoRoomForFile { size })?;
        while let Some(missing @ 1..) = size.checked_sub(self.as_slice().len()) {
            let at = offset.saturating_add(self.as_slice().len() as u64);
            let count = self.read(file, at, missing);
            if count.map_err(|errno| MemoryError::Read { at, errno })? == 0 {
                break;
            }
        }
        Ok(())
    }

    fn read(&mut self, file: &OwnedFd, at: u64, missing: usize) -> Result<usize, Errno> {
        match self {
            Buffer::Allocated(bytes) => sys::read(file, at, bytes, missing),
            Buffer::Pages { pages, len } => {
                let room = pages.as_mut_slice().get_mut(*len..).unwrap_or(&mut []);
                let limit = missing.min(room.len());
                let count = sys::read_at(file, at, room.get_mut(..limit).unwrap_or(&mut []))?;
                *len += count;
                Ok(count)
            }
        }
    }

    fn as_slice(&self) -> &[u8] {
        match self {
            Buffer::Allocated(bytes) => bytes,
            Buffer::Pages { pages, len } => pages.as_slice().get(..*len).unwrap_or(&[]),
        }
    }

    /// Puts `tail` behind the bytes; there is room for it.
    fn append(&mut self, tail: &[u8]) {
        match self {
            Buffer::Allocated(bytes) => bytes.extend_from_slice(tail),
            Buffer::Pages { pages, len } => {
                let room = pages.as_mut_slice().get_mut(*len..);
                if let Some(room) = room.and_then(|room| room.get_mut(..tail.len())) {
                    room.copy_from_slice(tail);
                    *len += tail.len();
                }
            }
        }
    }

    fn finish(self) -> OwnedBytes {
        match self {
            Buffer::Allocated(bytes) => OwnedBytes::Allocated(bytes.into_boxed_slice()),
            Buffer::Pages { pages, .. } => OwnedBytes::Pages(pages),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::faults::{self, Call};
    use super::*;
    use rustix::fs::{CWD, FileType, Mode};
    use rustix::io::Errno;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::os::unix::net::UnixListener;
    use std::path::{Path, PathBuf};
    use std::string::ToString;
    use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
    use std::{env, format, fs, process, thread, vec};

    /// A directory of its own for one test, removed at its end.
    struct Directory(PathBuf);

    impl Directory {
        fn new() -> Self {
            static COUNT: AtomicU32 = AtomicU32::new(0);
            let count = COUNT.fetch_add(1, Ordering::Relaxed);
            let path = env::temp_dir().join(format!("smf-mapping-{}-{count}", process::id()));
            fs::create_dir(&path).unwrap();
            Self(path)
        }

        fn file(&self, bytes: &[u8]) -> PathBuf {
            let path = self.0.join("file");
            fs::write(&path, bytes).unwrap();
            path
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn read(path: &Path) -> Result<FileBytes, MemoryError> {
        FileBytes::read(path.as_os_str().as_bytes(), FileBytes::DEFAULT_LIMIT)
    }

    fn error(path: &Path) -> MemoryError {
        read(path).map(|bytes| bytes.len()).unwrap_err()
    }

    fn pattern(len: usize) -> vec::Vec<u8> {
        (0..len).map(|i| (i % 251) as u8).collect()
    }

    /// Sets the time of modification to long ago.
    fn settle(path: &Path) {
        let file = fs::OpenOptions::new().write(true).open(path).unwrap();
        file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    }

    #[test]
    fn a_part_at_any_offset_is_read_with_its_tail() {
        let directory = Directory::new();
        let file = directory.file(&pattern(10_000));
        let open = OpenFile::open(file.as_os_str().as_bytes()).unwrap();
        for to in [CopyTo::Allocator, CopyTo::Pages] {
            for (offset, length) in [(0, 10_000), (1, 9_999), (4095, 4098), (10_000, 0), (5, 0)] {
                let range = FileRange { offset, length: Some(length) };
                let part = open.copy(range, 10_000, [b"ta", b"il"], to).unwrap();
                let expected = &pattern(10_000)[offset as usize..][..length as usize];
                assert!(
                    *part == *expected && part.bytes.as_slice()[part.len..].starts_with(b"tail")
                );
                assert_eq!(part.stamp().size, 10_000);
            }
            let rest = FileRange { offset: 9_000, length: None };
            assert_eq!(open.copy(rest, 1000, [b"", b""], to).unwrap().len(), 1000);
            let too_large = MemoryError::FileTooLarge { size: 1000, limit: 999 };
            assert_eq!(open.copy(rest, 999, [b"", b""], to).unwrap_err(), too_large);
        }
        for (offset, length) in [(10_001, None), (10_001, Some(0)), (1, Some(10_000))] {
            let range = FileRange { offset, length };
            let error = FileBytes::read_range(file.as_os_str().as_bytes(), range, 1 << 20);
            let length = length.unwrap_or(0);
            let outside = MemoryError::RangeOutside { offset, length, size: 10_000 };
            assert_eq!(error.unwrap_err(), outside);
        }
        let huge = FileRange { offset: u64::MAX, length: Some(u64::MAX) };
        assert!(FileBytes::read_range(file.as_os_str().as_bytes(), huge, u64::MAX).is_err());
    }

    #[test]
    fn a_second_look_finds_what_changed() {
        let directory = Directory::new();
        let file = directory.file(&pattern(10_000));
        let open = OpenFile::open(file.as_os_str().as_bytes()).unwrap();
        assert!(!open.stamp().is_settled(), "it was written just now");
        assert_eq!(open.is_still(&pattern(10_000), 0), Ok(true));
        assert_eq!(open.is_still(&pattern(10_000)[5..], 5), Ok(true));
        assert_eq!(open.is_still(&pattern(10_001), 0), Ok(false));
        let mut other = pattern(10_000);
        other[9_999] ^= 1;
        assert_eq!(open.is_still(&other, 0), Ok(false));
        settle(&file);
        assert!(OpenFile::open(file.as_os_str().as_bytes()).unwrap().stamp().is_settled());
    }

    #[test]
    fn a_file_overwritten_in_place_is_never_a_mixture() {
        let directory = Directory::new();
        const LEN: usize = 40_000;
        let file = directory.file(&[1; LEN]);
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                use std::os::unix::fs::FileExt;
                let other = fs::OpenOptions::new().write(true).open(&file).unwrap();
                for value in (1..=9).cycle().take_while(|_| !done.load(Ordering::Relaxed)) {
                    other.write_all_at(&[value; LEN], 0).unwrap();
                    // Else there is never a moment without a write going on.
                    thread::sleep(std::time::Duration::from_micros(300));
                }
            });
            let seen: vec::Vec<_> = (0..2000).map(|_| read(&file)).collect();
            done.store(true, Ordering::Relaxed);
            let whole: vec::Vec<_> = seen.iter().filter_map(|read| read.as_ref().ok()).collect();
            assert!(!whole.is_empty(), "the retries never succeeded");
            for bytes in whole {
                assert!(bytes.iter().all(|byte| *byte == bytes[0]), "a mixture");
            }
        });
    }

    #[test]
    fn reads_what_is_there() {
        let directory = Directory::new();
        for len in [0, 1, 4095, 4096, 4097, 65_536, 3_000_001] {
            let expected = pattern(len);
            let file = directory.file(&expected);
            assert!(*read(&file).unwrap() == *expected, "{len} bytes");
        }
        let link = directory.0.join("link");
        symlink("file", &link).unwrap();
        assert_eq!(read(&link).unwrap().len(), 3_000_001);
    }

    #[test]
    fn the_copy_does_not_change_with_the_file() {
        let directory = Directory::new();
        let file = directory.file(&pattern(20_000));
        let bytes = read(&file).unwrap();
        fs::write(&file, [0; 100]).unwrap();
        assert!(*bytes == *pattern(20_000));
    }

    #[test]
    fn what_is_no_regular_file_is_refused_and_never_waited_for() {
        let directory = Directory::new();
        let fifo = directory.0.join("fifo");
        rustix::fs::mknodat(
            CWD,
            fifo.as_os_str().as_bytes(),
            FileType::Fifo,
            Mode::RUSR | Mode::WUSR,
            0,
        )
        .unwrap();
        for (path, kind, text) in [
            (directory.0.as_path(), FileKind::Directory, "not a regular file but a directory"),
            (&fifo, FileKind::Fifo, "not a regular file but a named pipe"),
            (
                Path::new("/dev/zero"),
                FileKind::CharacterDevice,
                "not a regular file but a character device",
            ),
        ] {
            assert_eq!(error(path), MemoryError::NotRegular { kind });
            assert_eq!(error(path).to_string(), text);
        }
        let socket = directory.0.join("socket");
        let _listener = UnixListener::bind(&socket).unwrap();
        assert_eq!(error(&socket), MemoryError::Open { errno: Errno::NXIO.into() });
    }

    #[test]
    fn a_path_that_leads_nowhere_says_why() {
        let directory = Directory::new();
        let (one, two) = (directory.0.join("one"), directory.0.join("two"));
        symlink(&one, &two).unwrap();
        symlink(&two, &one).unwrap();
        let long_name = directory.0.join("n".repeat(256));
        for (path, errno, text) in [
            (directory.0.join("missing"), Errno::NOENT, "no such file or directory"),
            (PathBuf::new(), Errno::NOENT, "no such file or directory"),
            (
                directory.file(b"x").join("y"),
                Errno::NOTDIR,
                "a part of the path is not a directory",
            ),
            (one, Errno::LOOP, "too many symbolic links on the path"),
            (long_name, Errno::NAMETOOLONG, "the path, or a name in it, is too long"),
        ] {
            assert_eq!(error(&path), MemoryError::Open { errno: errno.into() });
            assert_eq!(error(&path).to_string(), format!("cannot open the file: {text}"));
        }
    }

    #[test]
    fn paths_that_no_file_can_have_never_reach_the_kernel() {
        let _fault = faults::inject(Call::Open, 0, Errno::IO);
        let read = |path: &[u8]| FileBytes::read(path, 1).map(|bytes| bytes.len()).unwrap_err();
        assert_eq!(read(b"a\0b"), MemoryError::PathNul { at: 1 });
        assert_eq!(read(b"\0"), MemoryError::PathNul { at: 0 });
        assert_eq!(read(b"ab\0"), MemoryError::PathNul { at: 2 });
        for len in [4096, 5000] {
            let path = vec![b'a'; len];
            assert_eq!(read(&path), MemoryError::PathTooLong { len, limit: 4095 });
        }
        let longest = vec![b'/'; 4095];
        assert_eq!(read(&longest), MemoryError::Open { errno: Errno::IO.into() });
    }

    #[test]
    fn the_longest_path_is_read() {
        let directory = Directory::new();
        let file = directory.file(b"far");
        let name = file.as_os_str().as_bytes();
        let mut path = vec![b'/'; 4095 - name.len()];
        path.extend_from_slice(name);
        assert_eq!(&*FileBytes::read(&path, 3).unwrap(), b"far");
    }

    #[test]
    fn permission_is_the_kernels_word() {
        let directory = Directory::new();
        let file = directory.file(b"secret");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o000)).unwrap();
        let denied = MemoryError::Open { errno: Errno::ACCESS.into() };
        // The superuser may read it all the same.
        let expected = fs::read(&file).map_err(|_| denied);
        assert_eq!(read(&file).map(|bytes| bytes.to_vec()), expected);
        assert_eq!(denied.to_string(), "cannot open the file: permission denied");
    }

    #[test]
    fn the_limit_is_the_largest_size_that_is_read() {
        let directory = Directory::new();
        let file = directory.file(&pattern(1000));
        let path = file.as_os_str().as_bytes();
        assert_eq!(FileBytes::read(path, 1000).unwrap().len(), 1000);
        let error = FileBytes::read(path, 999).map(|_| ()).unwrap_err();
        assert_eq!(error, MemoryError::FileTooLarge { size: 1000, limit: 999 });
        let sparse = fs::File::create(&file).unwrap();
        sparse.set_len(FileBytes::DEFAULT_LIMIT + 1).unwrap();
        assert!(matches!(read(&file), Err(MemoryError::FileTooLarge { .. })));
    }

    #[test]
    fn a_size_that_is_no_longer_true_is_an_upper_bound() {
        let directory = Directory::new();
        let file = directory.file(&pattern(5000));
        let open = OpenFile::open(file.as_os_str().as_bytes()).unwrap();
        for to in [CopyTo::Allocator, CopyTo::Pages] {
            let read = |size| {
                let mut buffer = Buffer::with_room(size, 0, to).unwrap();
                buffer.fill(&open.file, 0, size).unwrap();
                buffer.as_slice().to_vec()
            };
            assert!(read(4096) == pattern(4096), "grown");
            assert!(read(9000) == pattern(5000), "shrunk");
            assert!(read(0).is_empty());
            assert!(Buffer::with_room(u64::MAX, 0, to).is_err());
        }
        let size = 1 << 63;
        let refused = Buffer::with_room(size, 0, CopyTo::Allocator).map(|_| ()).unwrap_err();
        assert_eq!(refused, MemoryError::NoRoomForFile { size });
    }

    #[test]
    fn a_file_that_another_thread_truncates_is_read_without_a_fault() {
        let directory = Directory::new();
        let file = directory.file(&[0xff; 300_000]);
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                let other = fs::OpenOptions::new().write(true).open(&file).unwrap();
                while !done.load(Ordering::Relaxed) {
                    other.set_len(0).unwrap();
                    other.set_len(300_000).unwrap();
                }
            });
            for _ in 0..500 {
                match read(&file) {
                    // Touches every page.
                    Ok(bytes) => assert!(bytes.iter().all(|&byte| byte == 0 || byte == 0xff)),
                    Err(error) => assert_eq!(error, MemoryError::Changing { attempts: ATTEMPTS }),
                }
            }
            done.store(true, Ordering::Relaxed);
        });
    }

    #[test]
    fn every_call_that_fails_is_named() {
        let directory = Directory::new();
        let file = directory.file(&pattern(1000));
        let errno = Errno::IO.into();
        for (call, expected, text) in [
            (Call::Open, MemoryError::Open { errno }, "cannot open the file: input/output error"),
            (
                Call::Status,
                MemoryError::Inspect { errno },
                "cannot tell the size of the file: input/output error",
            ),
            (
                Call::Read,
                MemoryError::Read { at: 0, errno },
                "cannot read the file at offset 0x0: input/output error",
            ),
        ] {
            let _fault = faults::inject(call, 0, Errno::IO);
            assert_eq!(error(&file), expected);
            assert_eq!(expected.to_string(), text);
        }
        settle(&file);
        let _fault = faults::inject(Call::Read, 1, Errno::IO);
        assert!(read(&file).is_ok(), "one read gets it all");
        drop(_fault);
        let _fault = faults::inject(Call::Read, 1, Errno::IO);
        let file = OpenFile::open(file.as_os_str().as_bytes()).unwrap();
        let mut buffer = Buffer::with_room(1001, 0, CopyTo::Allocator).unwrap();
        let shrunk = buffer.fill(&file.file, 0, 1001);
        assert_eq!(shrunk, Err(MemoryError::Read { at: 1000, errno }));
    }
}
