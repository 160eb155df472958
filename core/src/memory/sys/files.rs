//! System calls on files.

use core::ffi::CStr;

use arrayvec::ArrayVec;
use rustix::fd::OwnedFd;
#[cfg(not(miri))]
use rustix::fs;
use rustix::fs::{
    Access, AtFlags, FileType, FlockOperation, Gid, MemfdFlags, Mode, OFlags, SealFlags,
    StatxAttributes, StatxFlags, Uid,
};
use rustix::io::{self, retry_on_intr};

use super::super::file_limit;
use super::super::types::{Errno, FileKind, FileStamp, FileVersion, Nanoseconds};
#[cfg(miri)]
use super::shim::fs;

/// The length of the longest path that `open(2)` accepts, without its NUL: `PATH_MAX` of `linux/limits.h`
/// less one.
pub(crate) const PATH_LIMIT: usize = 4095;

/// A path without its NUL.
pub(crate) type PathBytes = ArrayVec<u8, PATH_LIMIT>;

/// The result of `stat(2)`.
pub(crate) struct FileStatus {
    pub(crate) kind: FileKind,
    /// The file has a name.
    pub(crate) is_linked: bool,
    /// Meaningful for regular files only.
    pub(crate) version: FileVersion,
    /// Permissions, with the set-user-ID, set-group-ID and sticky bits.
    pub(crate) mode: Mode,
    pub(crate) owner: Uid,
    pub(crate) group: Gid,
}

/// `open(2)`, following symbolic links.
///
/// Nonblocking, so that a named pipe without a writer does not block the caller. A terminal does not become
/// the controlling one. Child processes do not inherit the descriptor.
pub(crate) fn open(path: &CStr, access: OFlags) -> Result<OwnedFd, Errno> {
    fault_point!(Open);
    let flags = access | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    Ok(retry_on_intr(|| fs::open(path, flags, Mode::empty()))?)
}

/// `open(2)` of a new file that only its owner can access. It fails if the file exists.
pub(crate) fn create_new(path: &CStr) -> Result<OwnedFd, Errno> {
    fault_point!(Create);
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    Ok(retry_on_intr(|| fs::open(path, flags, Mode::RUSR | Mode::WUSR))?)
}

/// `open(2)` with `O_TMPFILE` (Linux 3.11): a file without a name in `directory`.
pub(crate) fn temporary_file(directory: &CStr) -> Result<OwnedFd, Errno> {
    fault_point!(TemporaryFile);
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::EXCL | OFlags::CLOEXEC;
    Ok(retry_on_intr(|| fs::open(directory, flags, Mode::RUSR | Mode::WUSR))?)
}

/// `memfd_create(2)`. Child processes do not inherit the descriptor. The name only appears in the list of
/// mappings.
pub(crate) fn memory_file(name: &CStr, flags: MemfdFlags) -> Result<OwnedFd, Errno> {
    fault_point!(MemoryFile);
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING | flags;
    Ok(fs::memfd_create(name, flags)?)
}

/// `fstat(2)`.
pub(crate) fn status(file: &OwnedFd) -> Result<FileStatus, Errno> {
    fault_point!(Status);
    status_of(&fs::fstat(file)?)
}

/// `stat(2)`, following symbolic links.
pub(crate) fn status_at(path: &CStr) -> Result<FileStatus, Errno> {
    fault_point!(Status);
    status_of(&fs::stat(path)?)
}

fn status_of(status: &fs::Stat) -> Result<FileStatus, Errno> {
    let kind = match FileType::from_raw_mode(status.st_mode) {
        FileType::RegularFile => FileKind::Regular,
        FileType::Directory => FileKind::Directory,
        FileType::Fifo => FileKind::Fifo,
        FileType::CharacterDevice => FileKind::CharacterDevice,
        FileType::BlockDevice => FileKind::BlockDevice,
        _ => FileKind::Other,
    };
    let size = u64::try_from(status.st_size).map_err(|_| io::Errno::OVERFLOW)?;
    let time = |seconds: Nanoseconds, rest: u32| {
        seconds.saturating_mul(1_000_000_000).saturating_add(rest.into())
    };
    let modified = time(status.st_mtime, status.st_mtime_nsec as u32);
    let changed = time(status.st_ctime, status.st_ctime_nsec as u32);
    let (device, inode) = (status.st_dev, status.st_ino);
    Ok(FileStatus {
        kind,
        is_linked: status.st_nlink != 0,
        version: FileVersion { stamp: FileStamp { size, modified, device, inode }, changed },
        mode: Mode::from_raw_mode(status.st_mode),
        owner: Uid::from_raw(status.st_uid),
        group: Gid::from_raw(status.st_gid),
    })
}

/// One `pread(2)` at offset `at`; returns the number of bytes read, 0 at the end of the file.
pub(crate) fn read_at(file: &OwnedFd, at: u64, bytes: &mut [u8]) -> Result<usize, Errno> {
    fault_point!(Read);
    Ok(retry_on_intr(|| io::pread(file, &mut *bytes, at))?)
}

/// `fstatfs(2)`: the type of the file system (`f_type`).
pub(crate) fn file_system(file: &OwnedFd) -> Result<u64, Errno> {
    fault_point!(FileSystem);
    let found = if cfg!(miri) { Err(io::Errno::NOSYS) } else { rustix::fs::fstatfs(file) };
    Ok(u64::try_from(found?.f_type).map_err(|_| io::Errno::OVERFLOW)?)
}

/// `statx(2)`: whether fs-verity protects the file. False if the kernel does not say so.
pub(crate) fn has_verity(file: &OwnedFd) -> bool {
    let (flags, mask) = (AtFlags::EMPTY_PATH, StatxFlags::empty());
    let found = rustix::fs::statx(file, c"", flags, mask);
    found.is_ok_and(|found| found.stx_attributes.contains(StatxAttributes::VERITY))
}

/// `fcntl(2)` with `F_GET_SEALS`: whether the file can neither be written nor shrink.
pub(crate) fn is_sealed(file: &OwnedFd) -> bool {
    let needed = SealFlags::WRITE | SealFlags::SHRINK;
    rustix::fs::fcntl_get_seals(file).is_ok_and(|seals| seals.contains(needed))
}

/// `sendfile(2)`: copies at most `len` bytes at offset `at` of one file behind those of another, inside the kernel;
/// returns their number, 0 at the end of the file.
pub(crate) fn send(from: &OwnedFd, at: u64, len: usize, to: &OwnedFd) -> Result<usize, Errno> {
    fault_point!(Send);
    let mut at = at;
    Ok(retry_on_intr(|| rustix::fs::sendfile(to, from, Some(&mut at), len))?)
}

/// `write(2)` until all bytes are written.
pub(crate) fn write_all(file: &OwnedFd, bytes: &[u8]) -> Result<(), Errno> {
    let mut rest = bytes;
    while !rest.is_empty() {
        fault_point!(Write);
        let count = retry_on_intr(|| io::write(file, rest))?;
        rest = rest.get(count..).filter(|_| count != 0).ok_or(io::Errno::NOSPC)?;
    }
    Ok(())
}

/// `posix_fadvise(2)` with `POSIX_FADV_WILLNEED`: the kernel starts to read the file and returns.
pub(crate) fn read_ahead(file: &OwnedFd) -> Result<(), Errno> {
    fault_point!(ReadAhead);
    Ok(fs::fadvise(file, 0, None, fs::Advice::WillNeed)?)
}

/// `lseek(2)` with `SEEK_DATA`, which returns after a write in progress: ext4, btrfs, f2fs and tmpfs take the
/// inode lock that a write holds from its first byte to its last. XFS takes that lock for reads anyway.
pub(crate) fn wait_for_writes(file: &OwnedFd) {
    // The offset, or an error of a file system without the call, has no use here.
    let _ = fs::seek(file, fs::SeekFrom::Data(0));
}

/// `ftruncate(2)`: sets the size of a file in bytes, without allocating memory for them.
pub(crate) fn resize(file: &OwnedFd, size: u64) -> Result<(), Errno> {
    fault_point!(Resize);
    if !file_limit::allows(size) {
        return Err(io::Errno::FBIG.into());
    }
    Ok(retry_on_intr(|| fs::ftruncate(file, size))?)
}

/// `fcntl(2)` with `F_ADD_SEALS`: the size cannot change any more, and unless `allow_writers` is set, no
/// later mapping can be or become writable (`F_SEAL_FUTURE_WRITE`, Linux 5.1).
pub(crate) fn seal(file: &OwnedFd, allow_writers: bool) -> Result<(), Errno> {
    fault_point!(Seal);
    let size = SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
    let seals = if allow_writers { size } else { size | SealFlags::FUTURE_WRITE };
    Ok(fs::fcntl_add_seals(file, seals)?)
}

/// `flock(2)`, exclusive and nonblocking; false if another open file description holds the lock.
pub(crate) fn try_lock(file: &OwnedFd) -> Result<bool, Errno> {
    fault_point!(LockFile);
    match retry_on_intr(|| fs::flock(file, FlockOperation::NonBlockingLockExclusive)) {
        Ok(()) => Ok(true),
        Err(io::Errno::WOULDBLOCK) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

/// `access(2)`: whether this process may write to a file. `ETXTBSY` counts as success: a running program can
/// be replaced.
pub(crate) fn check_writable(path: &CStr) -> Result<(), Errno> {
    fault_point!(Access);
    match fs::access(path, Access::WRITE_OK) {
        Err(io::Errno::TXTBSY) | Ok(()) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// `readlink(2)`; `None` for a file that is not a symbolic link.
pub(crate) fn read_link(path: &CStr) -> Result<Option<PathBytes>, Errno> {
    fault_point!(ReadLink);
    let mut buffer = [0; PATH_LIMIT + 1];
    let read = fs::readlinkat_raw(fs::CWD, path, &mut buffer);
    match read.map(|len| buffer.get(..len).and_then(|target| PathBytes::try_from(target).ok())) {
        Ok(Some(target)) => Ok(Some(target)),
        Ok(None) => Err(io::Errno::NAMETOOLONG.into()),
        Err(io::Errno::INVAL) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

/// `fchown(2)`.
pub(crate) fn set_owner(file: &OwnedFd, owner: Uid, group: Gid) -> Result<(), Errno> {
    fault_point!(SetOwner);
    Ok(fs::fchown(file, Some(owner), Some(group))?)
}

/// `fchmod(2)`.
pub(crate) fn set_mode(file: &OwnedFd, mode: Mode) -> Result<(), Errno> {
    fault_point!(SetMode);
    Ok(fs::fchmod(file, mode)?)
}

/// `fsync(2)` of a file or a directory.
pub(crate) fn sync_to_disk(file: &OwnedFd) -> Result<(), Errno> {
    fault_point!(SyncToDisk);
    Ok(retry_on_intr(|| fs::fsync(file))?)
}

/// `rename(2)`, which replaces `to` atomically.
pub(crate) fn rename(from: &CStr, to: &CStr) -> Result<(), Errno> {
    fault_point!(Rename);
    Ok(fs::rename(from, to)?)
}

/// `unlink(2)`. It succeeds if there is no such file.
pub(crate) fn remove(path: &CStr) -> Result<(), Errno> {
    fault_point!(Remove);
    match fs::unlink(path) {
        Err(io::Errno::NOENT) | Ok(()) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}
