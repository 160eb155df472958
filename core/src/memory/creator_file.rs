//! Files that a mapping retains, in a process and in its children.
//!
//! A child of `fork(2)` inherits descriptors, and may close them without regard to their owners: daemons close all. A file
//! that the child opens then gets the same number. Therefore the process that opened a file alone closes it here.
#![allow(unsafe_code)]

use core::mem::ManuallyDrop;
use core::ops::Deref;

use super::file::OpenFile;
use super::lock::ProcessId;
use super::sys;

/// An open file, which the process that opened it closes.
#[derive(Debug)]
pub(super) struct CreatorFile {
    file: ManuallyDrop<OpenFile>,
    process: ProcessId,
}

impl CreatorFile {
    /// A file that this process has opened.
    pub(super) fn new(file: OpenFile) -> Self {
        Self { file: ManuallyDrop::new(file), process: ProcessId::current() }
    }

    /// Whether the descriptor is still that of the file: always in the process that opened it.
    pub(super) fn is_open(&self) -> bool {
        let is_same = |status: sys::FileStatus| {
            let (now, then) = (status.version.stamp, self.stamp());
            (now.device, now.inode) == (then.device, then.inode)
        };
        self.process.is_current() || sys::status(&self.descriptor).is_ok_and(is_same)
    }

    /// The process that opened the file.
    pub(super) fn process(&self) -> ProcessId {
        self.process
    }
}

impl Deref for CreatorFile {
    type Target = OpenFile;

    fn deref(&self) -> &OpenFile {
        &self.file
    }
}

impl Drop for CreatorFile {
    fn drop(&mut self) {
        if self.process.is_current() {
            // SAFETY: the file is not used from here on.
            unsafe { ManuallyDrop::drop(&mut self.file) };
        }
    }
}
