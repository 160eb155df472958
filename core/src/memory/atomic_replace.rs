//! Atomic replacement of a file in the presence of other processes.
//!
//! A writer locks the file (`flock(2)`) before it reads the file and until the new one is in its place, so of two
//! processes that change a file, neither loses the other's change. The new bytes are written to a temporary file in
//! the same directory, synchronized to disk and renamed: a reader, also one after a crash, sees the old or the new
//! file, whole. The name of the temporary file depends only on that of the file, and only the holder of the lock uses
//! it, so the next writer removes one that a crash left.
//!
//! A lock belongs to a file, not to its name. By the time the lock is held, the name may refer to another file;
//! therefore the name is checked again, and the operation restarts if it changed.
//!
//! The new file has the permissions, the owner and the group of the old one. Symbolic links are followed and remain.
//! Other hard links keep the old bytes. Extended attributes are not copied.

use alloc::vec::Vec;
use core::{ffi::CStr, fmt::Write, time::Duration};

use arrayvec::ArrayString;
use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags};
use thiserror::Error;

use super::file::{CopyTo, OpenFile, stamp_of, with_path};
use super::sys::{self, PATH_LIMIT, PathBytes};
use super::types::{Errno, FileRange, MemoryError, Result};
use crate::alloc_util::hash::fnv1a_64;

/// How long to wait for a lock that another process holds.
const LOCK_TIMEOUT: Duration = Duration::from_secs(10);

/// The interval between attempts to lock.
const LOCK_INTERVAL: Duration = Duration::from_millis(1);

/// How often the operation restarts because another process replaced the file.
const MAX_ATTEMPTS: u32 = 64;

/// How many symbolic links are followed, as in the kernel.
const MAX_LINKS: u32 = 40;

/// Why a file was not replaced. The file is unchanged, unless another process replaced it.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the message of each variant describes its fields")]
pub enum ReplaceError {
    /// The old file cannot be found or read.
    #[error(transparent)]
    Read(#[from] MemoryError),
    /// The file has no write permission, or none for this process.
    #[error("the file is read-only")]
    ReadOnly,
    /// A symbolic link cannot be followed.
    #[error("cannot follow the symbolic link: {errno}")]
    Link { errno: Errno },
    /// Other processes held the lock or replaced the file during every attempt.
    #[error("other processes keep the file busy")]
    Busy,
    /// The file cannot be locked.
    #[error("cannot lock the file: {errno}")]
    Lock { errno: Errno },
    /// The temporary file cannot be created.
    #[error("cannot create a temporary file in its directory: {errno}")]
    Create { errno: Errno },
    /// The owner, the group or the permissions cannot be set on the new file.
    #[error("cannot keep the owner and the permissions of the file: {errno}")]
    Ownership { errno: Errno },
    /// The new bytes cannot be written.
    #[error("cannot write the new file: {errno}")]
    Write { errno: Errno },
    /// The new file cannot be synchronized to disk.
    #[error("cannot synchronize the new file to disk: {errno}")]
    Sync { errno: Errno },
    /// The new file cannot be renamed.
    #[error("cannot rename the new file to the old one: {errno}")]
    Rename { errno: Errno },
}

/// Replaces the file at `path`, of at most `limit` bytes, by the result of `change` on its bytes; `None` leaves it
/// unchanged. Returns whether it was replaced. If another process replaces the file first, `change` is called again.
///
/// # Errors
/// [`ReplaceError`], and the errors of `change`.
pub fn replace_file<E: From<ReplaceError>>(
    path: &[u8],
    limit: u64,
    mut change: impl FnMut(&[u8]) -> Result<Option<Vec<u8>>, E>,
) -> Result<bool, E> {
    let path = follow_links(path)?;
    for _ in 0..MAX_ATTEMPTS {
        let Some(locked) = open_locked(&path)? else { continue };
        let old = locked.copy(FileRange::WHOLE, limit, &[], CopyTo::Allocator);
        let old = old.map_err(ReplaceError::Read)?;
        let Some(new) = change(&old)? else { return Ok(false) };
        if write_and_rename(&path, &locked, &new)? {
            return Ok(true);
        }
    }
    Err(ReplaceError::Busy.into())
}

/// The path of the file to which the symbolic links at `path` lead.
fn follow_links(path: &[u8]) -> Result<PathBytes, ReplaceError> {
    let too_long = MemoryError::PathTooLong { len: path.len(), limit: PATH_LIMIT };
    let mut path = PathBytes::try_from(path).map_err(|_| too_long)?;
    for _ in 0..MAX_LINKS {
        let read = |path: &CStr| match sys::read_link(path) {
            Ok(target) => Ok(Ok(target)),
            Err(errno) if errno == rustix::io::Errno::NOENT => Err(MemoryError::Open { errno }),
            Err(errno) => Ok(Err(ReplaceError::Link { errno })),
        };
        let Some(target) = with_path(&path, read)?? else { return Ok(path) };
        if target.starts_with(b"/") {
            path = target;
        } else {
            path.truncate(directory_len(&path));
            path.try_extend_from_slice(&target).map_err(|_| too_long)?;
        }
    }
    Err(ReplaceError::Link { errno: rustix::io::Errno::LOOP.into() })
}

/// The length of the directory of a path, with its trailing slash.
fn directory_len(path: &[u8]) -> usize {
    path.iter().rposition(|&byte| byte == b'/').map_or(0, |at| at + 1)
}

/// Opens and locks the file; `None` if the name refers to another file by then.
fn open_locked(path: &[u8]) -> Result<Option<OpenFile>, ReplaceError> {
    let file = OpenFile::open(path)?;
    let status = sys::status(&file.descriptor);
    let mode = status.map_err(|errno| MemoryError::Inspect { errno })?.mode;
    let any_write = Mode::WUSR | Mode::WGRP | Mode::WOTH;
    let is_writable = with_path(path, |path| Ok(sys::check_writable(path).is_ok()))?;
    if !mode.intersects(any_write) || !is_writable {
        return Err(ReplaceError::ReadOnly);
    }
    let start = sys::monotonic();
    while !sys::try_lock(&file.descriptor).map_err(|errno| ReplaceError::Lock { errno })? {
        let waited = u64::try_from(sys::monotonic().saturating_sub(start)).unwrap_or(u64::MAX);
        if Duration::from_nanos(waited) > LOCK_TIMEOUT {
            return Err(ReplaceError::Busy);
        }
        sys::sleep(LOCK_INTERVAL);
    }
    // The file may have changed between `open` and `flock`.
    Ok(if is_at(path, &file)? { Some(OpenFile::inspect(file.descriptor)?) } else { None })
}

/// Whether the path refers to this file.
fn is_at(path: &[u8], file: &OpenFile) -> Result<bool> {
    let (now, then) = (stamp_of(path)?, file.stamp());
    Ok((now.device, now.inode) == (then.device, then.inode))
}

/// The path of the temporary file beside `path`.
fn temporary_path(path: &[u8]) -> Result<PathBytes, ReplaceError> {
    let (directory, name) = path.split_at_checked(directory_len(path)).unwrap_or((&[], path));
    let mut temporary = PathBytes::new();
    let mut hidden = ArrayString::<32>::new();
    let fits = write!(hidden, ".smf-{:016x}.tmp", fnv1a_64(name)).is_ok()
        && temporary.try_extend_from_slice(directory).is_ok()
        && temporary.try_extend_from_slice(hidden.as_bytes()).is_ok();
    let too_long = MemoryError::PathTooLong { len: path.len(), limit: PATH_LIMIT };
    if fits { Ok(temporary) } else { Err(too_long.into()) }
}

/// Writes the new file and renames it; false if the name of the old one refers to another file by then.
fn write_and_rename(path: &[u8], old: &OpenFile, bytes: &[u8]) -> Result<bool, ReplaceError> {
    let temporary = temporary_path(path)?;
    let replace = |temporary: &CStr, path_text: &CStr| {
        // Left by a crash, if it exists.
        sys::remove(temporary).map_err(|errno| ReplaceError::Create { errno })?;
        let new = sys::create_new(temporary).map_err(|errno| ReplaceError::Create { errno })?;
        write_new(&new, old, bytes)?;
        // A writer that does not lock may have replaced the file.
        if !is_at(path, old)? {
            return Ok(false);
        }
        sys::rename(temporary, path_text).map_err(|errno| ReplaceError::Rename { errno })?;
        Ok(true)
    };
    let renamed = with_path(&temporary, |one| with_path(path, |other| Ok(replace(one, other))))?;
    if !matches!(renamed, Ok(true)) {
        // The first error is the one to report.
        let _ = with_path(&temporary, |temporary| Ok(sys::remove(temporary)));
        return renamed;
    }
    // Makes the rename durable. Some file systems do not support it; the file is replaced in any case.
    let directory = match path.get(..directory_len(path)) {
        Some(directory @ [_, ..]) => directory,
        _ => b".",
    };
    let _ = with_path(directory, |directory| {
        Ok(sys::open(directory, OFlags::RDONLY).and_then(|directory| sys::sync_to_disk(&directory)))
    });
    Ok(true)
}

/// Writes the new file with the ownership of the old one and synchronizes it to disk.
fn write_new(new: &OwnedFd, old: &OpenFile, bytes: &[u8]) -> Result<(), ReplaceError> {
    let inspect = |errno| ReplaceError::Read(MemoryError::Inspect { errno });
    let wanted = sys::status(&old.descriptor).map_err(inspect)?;
    let actual = sys::status(new).map_err(inspect)?;
    if (wanted.owner, wanted.group) != (actual.owner, actual.group) {
        sys::set_owner(new, wanted.owner, wanted.group)
            .map_err(|errno| ReplaceError::Ownership { errno })?;
    }
    // After the change of the owner, which clears some permission bits.
    sys::set_mode(new, wanted.mode).map_err(|errno| ReplaceError::Ownership { errno })?;
    sys::write_all(new, bytes).map_err(|errno| ReplaceError::Write { errno })?;
    sys::sync_to_disk(new).map_err(|errno| ReplaceError::Sync { errno })
}

#[cfg(test)]
#[path = "tests/atomic_replace.rs"]
mod tests;
