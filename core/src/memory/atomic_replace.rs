//! A file replaced as a whole, while other processes may want the same.
//!
//! Who replaces a file has it locked (`flock(2)`) from before it is read until the new one is in its
//! place, so that of two processes that change a file one after the other, neither loses what the other
//! did. The new bytes are written to a file beside the old one, brought to the disk, and renamed: whoever
//! looks at any moment, and whoever looks after a crash at any moment, sees the old file or the new one,
//! whole. The name beside it is the same each time, and nobody but the holder of the lock uses it: what a
//! crash has left there is removed by the next one that comes.
//!
//! A lock is of a file, not of its name: the name may lead to another file by the time that the lock is
//! had. It is therefore looked up again, and everything begun anew when it does.
//!
//! Permissions, owner and group of the old file are those of the new one. Symbolic links are followed, and
//! stay. Other hard links of the file keep the old bytes. Extended attributes are not carried over.

use alloc::vec::Vec;
use core::ffi::CStr;
use core::fmt::{self, Write};
use core::time::Duration;

use arrayvec::ArrayString;
use rustix::fd::OwnedFd;
use rustix::fs::Mode;

use super::file::{CopyTo, OpenFile, stamp_of, with_path};
use super::sys::{self, PATH_LIMIT, writing};
use super::types::{Errno, FileRange, MemoryError};
use crate::alloc_util::hash::fnv1a_64;
use writing::PathBytes;

/// How long another process may hold the file.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long a look at a lock that another process holds is put off.
const NAP: Duration = Duration::from_millis(1);

/// How often a file that others replace meanwhile is tried again.
const ATTEMPTS: u32 = 64;

/// How many symbolic links may lead to the file, as in the kernel.
const LINKS: u32 = 40;

/// Why a file was not replaced. It is then what it was, unless another process has replaced it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the fields are what the sentence of each variant shows")]
pub enum ReplaceError {
    /// The old file cannot be found or read.
    Read(MemoryError),
    /// Nobody may write to the file, or this process may not.
    ReadOnly,
    /// A symbolic link that cannot be followed.
    Link { errno: Errno },
    /// Other processes held the lock all the time, or replaced the file each time.
    Busy,
    /// The file cannot be locked.
    Lock { errno: Errno },
    /// The new file cannot be made beside the old one.
    Create { errno: Errno },
    /// The new file cannot be given to the owner and the group of the old one, with its permissions.
    Rights { errno: Errno },
    /// The new bytes cannot be written.
    Write { errno: Errno },
    /// The new bytes cannot be brought to the disk.
    Sync { errno: Errno },
    /// The new file cannot take the place of the old one.
    Rename { errno: Errno },
}

impl fmt::Display for ReplaceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use ReplaceError as E;
        match *self {
            E::Read(error) => error.fmt(f),
            E::ReadOnly => f.write_str("the file is read-only"),
            E::Link { errno } => write!(f, "cannot follow the symbolic link: {errno}"),
            E::Busy => f.write_str("other processes keep the file busy"),
            E::Lock { errno } => write!(f, "cannot lock the file: {errno}"),
            E::Create { errno } => write!(f, "cannot create a file beside it: {errno}"),
            E::Rights { errno } => {
                write!(f, "cannot keep the owner and the permissions of the file: {errno}")
            }
            E::Write { errno } => write!(f, "cannot write the new file: {errno}"),
            E::Sync { errno } => write!(f, "cannot bring the new file to the disk: {errno}"),
            E::Rename { errno } => write!(f, "cannot put the new file in its place: {errno}"),
        }
    }
}

impl core::error::Error for ReplaceError {}

impl From<MemoryError> for ReplaceError {
    fn from(error: MemoryError) -> Self {
        ReplaceError::Read(error)
    }
}

/// Replaces the file at `path` by what `change` makes of its bytes; leaves it alone when that is `None`.
/// Returns whether it was replaced. `change` is asked again when another process was faster.
///
/// # Errors
/// [`ReplaceError`], and those of `change`.
pub fn replace_file<E: From<ReplaceError>>(
    path: &[u8],
    limit: u64,
    mut change: impl FnMut(&[u8]) -> Result<Option<Vec<u8>>, E>,
) -> Result<bool, E> {
    let path = follow(path)?;
    for _ in 0..ATTEMPTS {
        let Some(held) = hold(&path)? else { continue };
        let old = held.copy(FileRange::WHOLE, limit, &[], CopyTo::Allocator);
        let old = old.map_err(ReplaceError::Read)?;
        let Some(new) = change(&old)? else { return Ok(false) };
        if put(&path, &held, &new)? {
            return Ok(true);
        }
    }
    Err(ReplaceError::Busy.into())
}

/// The path of the file that `path` leads to, which is no symbolic link itself.
fn follow(path: &[u8]) -> Result<PathBytes, ReplaceError> {
    let too_long = MemoryError::PathTooLong { len: path.len(), limit: PATH_LIMIT };
    let mut path = PathBytes::try_from(path).map_err(|_| too_long)?;
    for _ in 0..LINKS {
        let read = |path: &CStr| match writing::read_link(path) {
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

/// How many bytes of a path are its directory, with the slash behind it.
fn directory_len(path: &[u8]) -> usize {
    path.iter().rposition(|&byte| byte == b'/').map_or(0, |at| at + 1)
}

/// The file, locked; `None` when the name has another one by now.
fn hold(path: &[u8]) -> Result<Option<OpenFile>, ReplaceError> {
    let file = OpenFile::open(path)?;
    let rights = writing::rights(file.descriptor());
    let rights = rights.map_err(|errno| MemoryError::Inspect { errno })?;
    let anybody = Mode::WUSR | Mode::WGRP | Mode::WOTH;
    let may_write = with_path(path, |path| Ok(writing::may_write(path).is_ok()))?;
    if !rights.mode.intersects(anybody) || !may_write {
        return Err(ReplaceError::ReadOnly);
    }
    let begin = sys::monotonic();
    while !writing::try_lock(file.descriptor()).map_err(|errno| ReplaceError::Lock { errno })? {
        let waited = u64::try_from(sys::monotonic().saturating_sub(begin)).unwrap_or(u64::MAX);
        if Duration::from_nanos(waited) > PATIENCE {
            return Err(ReplaceError::Busy);
        }
        writing::sleep(NAP);
    }
    // What was there when it was opened may have been changed before it was locked.
    Ok(if is_at(path, &file)? { Some(file.looked_at_again()?) } else { None })
}

/// Whether the name leads to this file.
fn is_at(path: &[u8], file: &OpenFile) -> Result<bool, MemoryError> {
    let (now, then) = (stamp_of(path)?, file.stamp());
    Ok((now.device, now.inode) == (then.device, then.inode))
}

/// Puts the new bytes in the place of the file; false when its name has another one by now.
fn put(path: &[u8], old: &OpenFile, bytes: &[u8]) -> Result<bool, ReplaceError> {
    let directory = path.get(..directory_len(path)).unwrap_or(&[]);
    let mut beside = PathBytes::new();
    let name = path.get(directory.len()..).unwrap_or(&[]);
    let mut hidden = ArrayString::<32>::new();
    let fits = write!(hidden, ".smf-{:016x}.tmp", fnv1a_64(name)).is_ok()
        && beside.try_extend_from_slice(directory).is_ok()
        && beside.try_extend_from_slice(hidden.as_bytes()).is_ok();
    if !fits {
        return Err(MemoryError::PathTooLong { len: path.len(), limit: PATH_LIMIT }.into());
    }
    let put = with_two_paths(&beside, path, |beside, path_text| {
        // Only a crash leaves one.
        writing::remove(beside).map_err(|errno| ReplaceError::Create { errno })?;
        let new = writing::create_new(beside).map_err(|errno| ReplaceError::Create { errno })?;
        fill(&new, old, bytes)?;
        // Who does not lock may have replaced the file in the meantime.
        if !is_at(path, old)? {
            return Ok(false);
        }
        writing::rename(beside, path_text).map_err(|errno| ReplaceError::Rename { errno })?;
        Ok(true)
    });
    if !matches!(put, Ok(true)) {
        // The first error is the one to tell.
        let _ = with_path(&beside, |beside| Ok(writing::remove(beside)));
        return put;
    }
    // The new file is there; that its name survives a loss of power cannot be seen to everywhere.
    let directory = if directory.is_empty() { b".".as_slice() } else { directory };
    let _ = with_path(directory, |directory| {
        Ok(sys::open(directory).and_then(|directory| writing::sync_to_disk(&directory)))
    });
    Ok(true)
}

fn with_two_paths<T>(
    one: &[u8],
    other: &[u8],
    call: impl FnOnce(&CStr, &CStr) -> Result<T, ReplaceError>,
) -> Result<T, ReplaceError> {
    with_path(one, |one| with_path(other, |other| Ok(call(one, other))))?
}

/// Writes the new file, with the rights of the old one, and sees that it is on the disk.
fn fill(new: &OwnedFd, old: &OpenFile, bytes: &[u8]) -> Result<(), ReplaceError> {
    let inspect = |errno| ReplaceError::Read(MemoryError::Inspect { errno });
    let (wanted, given) = (
        writing::rights(old.descriptor()).map_err(inspect)?,
        writing::rights(new).map_err(inspect)?,
    );
    if (wanted.owner, wanted.group) != (given.owner, given.group) {
        writing::set_owner(new, &wanted).map_err(|errno| ReplaceError::Rights { errno })?;
    }
    // Behind the change of the owner, which takes away some of them.
    writing::set_mode(new, &wanted).map_err(|errno| ReplaceError::Rights { errno })?;
    let mut rest = bytes;
    while !rest.is_empty() {
        let count = writing::write(new, rest).map_err(|errno| ReplaceError::Write { errno })?;
        let no_room = ReplaceError::Write { errno: rustix::io::Errno::NOSPC.into() };
        rest = rest.get(count..).filter(|_| count != 0).ok_or(no_room)?;
    }
    writing::sync_to_disk(new).map_err(|errno| ReplaceError::Sync { errno })
}

#[cfg(test)]
#[path = "atomic_replace/tests.rs"]
mod tests;
