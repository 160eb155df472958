//! What identifies a file, a version of it and a part of it.

use core::fmt;

use super::error::MemoryError;

/// A time or a duration in nanoseconds. Times of files count from 1970 up to 2262; other times count from
/// an arbitrary moment.
pub type Nanoseconds = i64;

/// The type of a file.
///
/// # References
/// `inode(7)`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// A regular file: the only kind that is read.
    Regular,
    /// A directory.
    Directory,
    /// A named pipe.
    Fifo,
    /// A character device, for example a terminal or `/dev/zero`.
    CharacterDevice,
    /// A block device.
    BlockDevice,
    /// A socket, or a type that this crate does not know.
    Other,
}

impl fmt::Display for FileKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FileKind::Regular => "a regular file",
            FileKind::Directory => "a directory",
            FileKind::Fifo => "a named pipe",
            FileKind::CharacterDevice => "a character device",
            FileKind::BlockDevice => "a block device",
            FileKind::Other => "a special file",
        })
    }
}

/// Identifies one version of one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileStamp {
    /// The size in bytes.
    pub size: u64,
    /// The time of the last modification (`st_mtim`).
    pub modified: Nanoseconds,
    /// The device of the file system (`st_dev`).
    pub device: u64,
    /// The inode number (`st_ino`). Two paths with the same device and inode name the same file.
    pub inode: u64,
}

/// A range of bytes of a file. The offset needs no alignment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileRange {
    /// The offset of the first byte.
    pub offset: u64,
    /// The length in bytes; `None` extends to the end of the file.
    pub length: Option<u64>,
}

impl FileRange {
    /// The whole file.
    pub const WHOLE: Self = Self { offset: 0, length: None };

    /// The length in bytes within a file of `size` bytes.
    pub(in crate::memory) fn length_in(self, size: u64) -> Result<u64, MemoryError> {
        let rest = size.checked_sub(self.offset);
        let length = self.length.or(rest).unwrap_or(0);
        let error = MemoryError::RangeOutside { offset: self.offset, length, size };
        if rest.is_some_and(|rest| length <= rest) { Ok(length) } else { Err(error) }
    }
}

/// The access to the pages of a mapped file. Executable is not among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileAccess {
    /// Read-only.
    Read,
    /// Readable and writable; writes are private to this process (`MAP_PRIVATE`).
    WritePrivate,
    /// Readable and writable; writes go to the file (`MAP_SHARED`).
    WriteShared,
}
