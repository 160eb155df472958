//! One mapping and its end: what owns the addresses that pages are made of.
//!
//! A region says where memory is and unmaps it when it is dropped. What may be done with the bytes
//! is the business of the types around it, which alone know how the pages are protected.
#![allow(unsafe_code)]

use core::ops::Range;
use core::ptr::NonNull;

use rustix::fd::OwnedFd;

use super::page_count::PageCount;
use super::sys::{self, Place};
use super::types::{FileAccess, MemoryError, Protection};

/// Private memory of our own, unmapped when dropped. It has no bytes at all when its size is zero.
#[derive(Debug)]
pub(super) struct Region {
    /// The first byte of one mapping of `size`, or dangling when `size` is zero.
    start: NonNull<u8>,
    size: PageCount,
}

// SAFETY: a region is nothing but the sole ownership of some addresses. The kernel's calls on them
// may come from any thread, and through a shared reference only numbers can be had.
unsafe impl Send for Region {}
// SAFETY: as above.
unsafe impl Sync for Region {}

impl Region {
    /// Maps zero-filled memory.
    pub(super) fn map(
        place: Place,
        size: PageCount,
        protection: Protection,
    ) -> Result<Self, MemoryError> {
        let start = match size.bytes() {
            0 => Ok(NonNull::dangling()),
            bytes => sys::map(place, bytes, protection),
        };
        let start = start.map_err(|errno| MemoryError::Map { size: size.bytes(), errno })?;
        Ok(Self { start, size })
    }

    /// The first byte, with the right to everything in the region.
    #[inline]
    pub(super) fn start(&self) -> NonNull<u8> {
        self.start
    }

    #[inline]
    pub(super) fn size(&self) -> PageCount {
        self.size
    }

    /// The addresses of the bytes. They never wrap: the kernel maps nothing at the very top.
    #[inline]
    pub(super) fn addresses(&self) -> Range<usize> {
        let start = self.start.addr().get();
        start..start.saturating_add(self.size.bytes())
    }

    /// Gives the first `len` bytes memory, all when there are fewer, in one call and before they
    /// are written. A kernel that cannot (before 5.14) leaves it to the page faults.
    ///
    /// The pages must be writable.
    pub(super) fn populate(&self, len: usize) -> Result<(), MemoryError> {
        let size = len.min(self.size.bytes());
        if size == 0 {
            return Ok(());
        }
        // SAFETY: the range begins with the mapping and is cut at its end.
        match unsafe { sys::populate(self.start, size) } {
            // Later faults would meet the same want of memory, and end the process.
            Err(errno) if errno == rustix::io::Errno::NOMEM => {
                Err(MemoryError::Prefault { address: self.start.addr().get(), size, errno })
            }
            // Whatever else is wrong, only time is lost.
            _ => Ok(()),
        }
    }

    /// Changes what may be done with the bytes at `range`, which counts from the first byte and is
    /// cut at the end.
    ///
    /// # Safety
    ///
    /// * Both ends of `range` are multiples of the page size.
    /// * No reference into the range is alive.
    pub(super) unsafe fn protect(
        &self,
        range: Range<usize>,
        protection: Protection,
    ) -> Result<(), MemoryError> {
        let end = range.end.min(self.size.bytes());
        let Some(size @ 1..) = end.checked_sub(range.start) else { return Ok(()) };
        // SAFETY: the offset is inside the mapping, because the range is not empty.
        let start = unsafe { self.start.add(range.start) };
        // SAFETY: whole pages by this function's own contract, inside the mapping, not referred to.
        unsafe { sys::protect(start, size, protection) }.map_err(|errno| MemoryError::Protect {
            address: start.addr().get(),
            size,
            protection,
            errno,
        })
    }

    /// Maps pages of a file from `offset`, a multiple of the page size.
    pub(super) fn map_file(
        file: &OwnedFd,
        offset: u64,
        size: PageCount,
        access: FileAccess,
    ) -> Result<Self, MemoryError> {
        let start = match size.bytes() {
            0 => Ok(NonNull::dangling()),
            bytes => sys::map_file_range(file, offset, bytes, access),
        };
        let start = start.map_err(|errno| MemoryError::Map { size: size.bytes(), errno })?;
        Ok(Self { start, size })
    }

    /// Maps pages of a file from `offset`, a multiple of the page size, shared with whoever else has
    /// the file. No page may be executable: others could write to it.
    pub(super) fn map_shared(
        file: &OwnedFd,
        offset: u64,
        size: PageCount,
        protection: Protection,
    ) -> Result<Self, MemoryError> {
        let start = match size.bytes() {
            0 => Ok(NonNull::dangling()),
            bytes => sys::map_file_anywhere(file, offset, bytes, protection),
        };
        let start = start.map_err(|errno| MemoryError::Map { size: size.bytes(), errno })?;
        Ok(Self { start, size })
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        if self.size != PageCount::ZERO {
            // SAFETY: mapped by `map` with this size and owned by nobody else; borrows of the bytes
            // cannot outlive the types that lend them, and those own the region.
            unsafe { sys::unmap(self.start, self.size.bytes()) };
        }
    }
}
