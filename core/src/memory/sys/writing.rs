//! The system calls that change files: what replacing one takes.
//!
//! Sources: the manual page of section 2 that each function names.

use core::ffi::CStr;
use core::time::Duration;

use arrayvec::ArrayVec;
use rustix::fd::OwnedFd;
use rustix::fs::{Access, FlockOperation, Gid, Mode, OFlags, Uid};
use rustix::io::{self, retry_on_intr};

#[cfg(test)]
use super::super::fault_injection::{self, Call};
use super::super::types::Errno;
use super::{PATH_LIMIT, fs, thread};

/// A path without its NUL.
pub(crate) type PathBytes = ArrayVec<u8, PATH_LIMIT>;

/// What `fstat(2)` says of who may do what with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rights {
    /// Permissions, with the bits for set-user-ID, set-group-ID and sticky.
    pub(crate) mode: Mode,
    pub(crate) owner: Uid,
    pub(crate) group: Gid,
}

/// `fstat(2)`.
pub(crate) fn rights(file: &OwnedFd) -> Result<Rights, Errno> {
    #[cfg(test)]
    fault_injection::check(Call::Status)?;
    let status = fs::fstat(file)?;
    Ok(Rights {
        mode: Mode::from_raw_mode(status.st_mode),
        owner: Uid::from_raw(status.st_uid),
        group: Gid::from_raw(status.st_gid),
    })
}

/// `flock(2)` for this process alone; false when another one has it.
pub(crate) fn try_lock(file: &OwnedFd) -> Result<bool, Errno> {
    #[cfg(test)]
    fault_injection::check(Call::LockFile)?;
    match retry_on_intr(|| fs::flock(file, FlockOperation::NonBlockingLockExclusive)) {
        Ok(()) => Ok(true),
        Err(io::Errno::WOULDBLOCK) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

/// `nanosleep(2)`; a signal ends it early.
pub(crate) fn sleep(time: Duration) {
    let time = rustix::time::Timespec {
        tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(time.subsec_nanos()),
    };
    // Who waits looks again in any case.
    let _ = thread::nanosleep(&time);
}

/// `access(2)`: whether this process may write to a file. That it is running as a program does not
/// matter to who replaces it.
pub(crate) fn may_write(path: &CStr) -> Result<(), Errno> {
    #[cfg(test)]
    fault_injection::check(Call::Access)?;
    match fs::access(path, Access::WRITE_OK) {
        Err(io::Errno::TXTBSY) | Ok(()) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// `readlink(2)`; `None` for what is no symbolic link.
pub(crate) fn read_link(path: &CStr) -> Result<Option<PathBytes>, Errno> {
    #[cfg(test)]
    fault_injection::check(Call::ReadLink)?;
    let mut buffer = [0; PATH_LIMIT + 1];
    let read = fs::readlinkat_raw(fs::CWD, path, &mut buffer);
    match read.map(|len| buffer.get(..len).and_then(|target| PathBytes::try_from(target).ok())) {
        Ok(Some(target)) => Ok(Some(target)),
        Ok(None) => Err(io::Errno::NAMETOOLONG.into()),
        Err(io::Errno::INVAL) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

/// `open(2)` of a file that must not be there yet, for its owner alone.
pub(crate) fn create_new(path: &CStr) -> Result<OwnedFd, Errno> {
    #[cfg(test)]
    fault_injection::check(Call::Create)?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    Ok(retry_on_intr(|| fs::open(path, flags, Mode::RUSR | Mode::WUSR))?)
}

/// `fchown(2)`.
pub(crate) fn set_owner(file: &OwnedFd, rights: &Rights) -> Result<(), Errno> {
    #[cfg(test)]
    fault_injection::check(Call::SetOwner)?;
    Ok(fs::fchown(file, Some(rights.owner), Some(rights.group))?)
}

/// `fchmod(2)`.
pub(crate) fn set_mode(file: &OwnedFd, rights: &Rights) -> Result<(), Errno> {
    #[cfg(test)]
    fault_injection::check(Call::SetMode)?;
    Ok(fs::fchmod(file, rights.mode)?)
}

/// One `write(2)`; returns how many bytes were taken.
pub(crate) fn write(file: &OwnedFd, bytes: &[u8]) -> Result<usize, Errno> {
    #[cfg(test)]
    fault_injection::check(Call::Write)?;
    Ok(retry_on_intr(|| io::write(file, bytes))?)
}

/// `fsync(2)`, of a file or of a directory.
pub(crate) fn sync_to_disk(file: &OwnedFd) -> Result<(), Errno> {
    #[cfg(test)]
    fault_injection::check(Call::SyncToDisk)?;
    Ok(retry_on_intr(|| fs::fsync(file))?)
}

/// `rename(2)`: `to` is the old file at one moment and the new one at the next.
pub(crate) fn rename(from: &CStr, to: &CStr) -> Result<(), Errno> {
    #[cfg(test)]
    fault_injection::check(Call::Rename)?;
    Ok(fs::rename(from, to)?)
}

/// `unlink(2)`; that there is nothing is none of its errors.
pub(crate) fn remove(path: &CStr) -> Result<(), Errno> {
    #[cfg(test)]
    fault_injection::check(Call::Remove)?;
    match fs::unlink(path) {
        Err(io::Errno::NOENT) | Ok(()) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}
