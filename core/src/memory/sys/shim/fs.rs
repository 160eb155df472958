//! `rustix::fs` on the files of the standard library.

use core::ffi::CStr;
use std::fs::{self, File, Metadata, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::{ffi::OsStr, format, os::unix::ffi::OsStrExt, vec, vec::Vec};

use rustix::fd::{BorrowedFd, OwnedFd};
use rustix::fs::{Access, Gid, MemfdFlags, Mode, OFlags, SealFlags, Uid};
pub(crate) use rustix::fs::{Advice, CWD, SeekFrom, flock, fsync};
use rustix::io::{Errno, Result};

use super::descriptor::{borrowed, owned};

/// The fields of `struct stat` that `sys` reads.
pub(crate) struct Stat {
    pub(crate) st_mode: u32,
    pub(crate) st_nlink: u64,
    pub(crate) st_size: i64,
    pub(crate) st_mtime: i64,
    pub(crate) st_mtime_nsec: i64,
    pub(crate) st_ctime: i64,
    pub(crate) st_ctime_nsec: i64,
    pub(crate) st_dev: u64,
    pub(crate) st_ino: u64,
    pub(crate) st_uid: u32,
    pub(crate) st_gid: u32,
}

impl From<Metadata> for Stat {
    fn from(of: Metadata) -> Self {
        Self {
            st_mode: of.mode(),
            st_nlink: of.nlink(),
            st_size: of.size().cast_signed(),
            st_mtime: of.mtime(),
            st_mtime_nsec: of.mtime_nsec(),
            st_ctime: of.ctime(),
            st_ctime_nsec: of.ctime_nsec(),
            st_dev: of.dev(),
            st_ino: of.ino(),
            st_uid: of.uid(),
            st_gid: of.gid(),
        }
    }
}

/// A mapped file.
pub(super) struct Bytes(File);

impl Bytes {
    pub(super) fn of(file: &OwnedFd) -> Result<Self> {
        borrowed(file).try_clone().map(Self).map_err(number)
    }

    /// Whether both are the same file.
    #[cfg(test)]
    pub(super) fn is(&self, other: &Self) -> bool {
        let [one, other] = [self, other].map(|file| file.0.metadata().map(|of| of.ino()).ok());
        one.is_some() && one == other
    }

    /// Reads `len` bytes; zeros beyond the end.
    pub(super) fn read(&self, offset: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        let (mut done, mut rest) = (offset, bytes.as_mut_slice());
        while let Ok(count @ 1..) = self.0.read_at(rest, done) {
            rest = rest.split_at_mut(count).1;
            done += count as u64;
        }
        bytes
    }

    /// Writes what lies before the end of the file.
    pub(super) fn write(&self, offset: u64, bytes: &[u8]) {
        let size = self.0.metadata().map_or(0, |metadata| metadata.len());
        let rest = usize::try_from(size.saturating_sub(offset)).unwrap_or(usize::MAX);
        let written = self.0.write_all_at(bytes.get(..rest).unwrap_or(bytes), offset);
        assert!(written.is_ok(), "{written:?}");
    }
}

fn number(error: std::io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::IO, Errno::from_raw_os_error)
}

fn path(path: &CStr) -> &Path {
    Path::new(OsStr::from_bytes(path.to_bytes()))
}

/// Creates an unnamed file with these bytes.
fn nameless(directory: &Path, bytes: &[u8]) -> Result<OwnedFd> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number_of_file = NEXT.fetch_add(1, Ordering::Relaxed);
    let name = format!("smf-nameless-{}-{number_of_file}", std::process::id());
    let name = PathBuf::from(directory).join(name);
    let file = OpenOptions::new().read(true).write(true).create_new(true).open(&name);
    let file = file.map_err(number)?;
    fs::remove_file(&name).map_err(number)?;
    file.write_all_at(bytes, 0).map_err(number)?;
    Ok(owned(file))
}

pub(crate) fn open(name: &CStr, flags: OFlags, _mode: Mode) -> Result<OwnedFd> {
    if name == c"/proc/self/maps" {
        return nameless(&std::env::temp_dir(), super::mappings::list().as_bytes());
    }
    if flags.contains(OFlags::TMPFILE) {
        return nameless(path(name), &[]);
    }
    let mut options = OpenOptions::new();
    options.read(!flags.contains(OFlags::WRONLY));
    options.write(flags.intersects(OFlags::WRONLY | OFlags::RDWR));
    options.create_new(flags.contains(OFlags::CREATE));
    options.open(path(name)).map(owned).map_err(number)
}

pub(crate) fn memfd_create(_name: &CStr, _flags: MemfdFlags) -> Result<OwnedFd> {
    nameless(&std::env::temp_dir(), &[])
}

pub(crate) fn fcntl_add_seals(_file: &OwnedFd, _seals: SealFlags) -> Result<()> {
    Ok(())
}

pub(crate) fn ftruncate(file: &OwnedFd, size: u64) -> Result<()> {
    borrowed(file).set_len(size).map_err(number)
}

pub(crate) fn fstat(file: &OwnedFd) -> Result<Stat> {
    borrowed(file).metadata().map(Stat::from).map_err(number)
}

pub(crate) fn stat(name: &CStr) -> Result<Stat> {
    fs::metadata(path(name)).map(Stat::from).map_err(number)
}

pub(crate) fn access(name: &CStr, _wanted: Access) -> Result<()> {
    stat(name).map(drop)
}

pub(crate) fn readlinkat_raw(
    _directory: BorrowedFd<'_>,
    name: &CStr,
    buffer: &mut [u8],
) -> Result<usize> {
    let target = fs::read_link(path(name)).map_err(number)?;
    let target = target.as_os_str().as_bytes();
    let destination = buffer.get_mut(..target.len()).ok_or(Errno::NAMETOOLONG)?;
    destination.copy_from_slice(target);
    Ok(target.len())
}

pub(crate) fn fchown(_file: &OwnedFd, _: Option<Uid>, _: Option<Gid>) -> Result<()> {
    Ok(())
}

pub(crate) fn fchmod(_file: &OwnedFd, _mode: Mode) -> Result<()> {
    Ok(())
}

pub(crate) fn rename(from: &CStr, to: &CStr) -> Result<()> {
    fs::rename(path(from), path(to)).map_err(number)
}

pub(crate) fn unlink(name: &CStr) -> Result<()> {
    fs::remove_file(path(name)).map_err(number)
}

pub(crate) fn fadvise(
    _file: &OwnedFd,
    _offset: u64,
    _len: Option<core::num::NonZeroU64>,
    _advice: Advice,
) -> Result<()> {
    Ok(())
}

/// Fails, as on file systems without `SEEK_DATA`.
pub(crate) fn seek(_file: &OwnedFd, _from: SeekFrom) -> Result<u64> {
    Err(Errno::INVAL)
}
