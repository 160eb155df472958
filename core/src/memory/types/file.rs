//! What identifies a file, a version of it and a part of it.
//!
//! This file contains no unsafe operation. [`Unchanged::promised`] is unsafe to call because files are mapped by it.
#![allow(unsafe_code)]

use super::error::{MemoryError, Result};

/// A time or a duration in nanoseconds. Times of files count from 1970 up to 2262; other times count from
/// an arbitrary moment.
pub type Nanoseconds = i64;

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

/// Distinguishes versions of a file that programs gave the same stamp: `touch`, `rsync` and `tar` set the time of the
/// last modification; no program can set that of the last change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileVersion {
    pub(crate) stamp: FileStamp,
    /// The time of the last change of the bytes or attributes (`st_ctim`).
    pub(crate) changed: Nanoseconds,
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
    pub(crate) fn length_in(self, size: u64) -> Result<u64> {
        let rest = size.checked_sub(self.offset);
        let length = self.length.or(rest).unwrap_or(0);
        let error = MemoryError::RangeOutside { offset: self.offset, length, size };
        if rest.is_some_and(|rest| length <= rest) { Ok(length) } else { Err(error) }
    }
}

/// How the bytes of a module's file get into memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum FilePolicy {
    /// Maps a file that cannot change, or whose changes the host delays until its pages are copied; copies others.
    #[default]
    Auto,
    /// Copies every file.
    Copy,
    /// Maps every file, by the caller's promise.
    Map(Unchanged),
}

/// The caller's promise that mapped files do not change.
///
/// ```compile_fail,E0423
/// use smf_core::memory::{FilePolicy, Unchanged};
///
/// let policy = FilePolicy::Map(Unchanged(()));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unchanged(());

impl Unchanged {
    /// Makes the promise, for every file that is opened under a policy with this value.
    ///
    /// # Safety
    /// No process writes to a file or truncates it as long as it is mapped, which it is while a module from it is loaded:
    /// otherwise code changes while it runs, or an access raises SIGBUS.
    pub const unsafe fn promised() -> Self {
        Self(())
    }
}
