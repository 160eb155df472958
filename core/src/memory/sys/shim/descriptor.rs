//! Conversions between the descriptors of rustix and those of the standard library.
#![allow(unsafe_code)]

use core::{mem::ManuallyDrop, ops::Deref};
use std::fs::File;
use std::os::fd::{FromRawFd as _, IntoRawFd};

use rustix::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

/// Borrows the descriptor as a file.
pub(super) fn borrowed(file: &OwnedFd) -> impl Deref<Target = File> {
    // SAFETY: open as long as the borrowed file, and not closed by this value.
    ManuallyDrop::new(unsafe { File::from_raw_fd(file.as_raw_fd()) })
}

/// Converts a file to a descriptor.
pub(super) fn owned(file: File) -> OwnedFd {
    // SAFETY: the file was the owner.
    unsafe { OwnedFd::from_raw_fd(file.into_raw_fd()) }
}
