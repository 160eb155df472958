//! Detection of a forked child by one load.
//!
//! The kernel zeroes a page of the parent in the child: `madvise(2)`, `MADV_WIPEONFORK`. Kernels before 4.14 do not
//! support it; there a child that writes to its parent's blocks faults, because the writable views are not mapped.
#![allow(unsafe_code)]

use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicPtr, AtomicU8, Ordering};

use rustix::mm::Advice;

use super::super::page_count::PageCount;
use super::super::sys::{self, Place};
use super::super::types::{MemoryError, Protection, Result};

/// A byte that is 1 in the process that set it and 0 in its children. Initially absent.
pub(super) struct ForkDetector {
    page: AtomicPtr<AtomicU8>,
}

impl ForkDetector {
    pub(super) const fn new() -> Self {
        Self { page: AtomicPtr::new(ptr::null_mut()) }
    }

    /// Whether the byte was set by a parent process. The caller prevents a concurrent [`clear`](Self::clear).
    #[inline]
    pub(super) fn is_wiped(&self) -> bool {
        let Some(page) = NonNull::new(self.page.load(Ordering::Acquire)) else { return false };
        // SAFETY: `set` stored the address of a byte that is mapped until `clear`, which does not run concurrently by
        // the contract of this function; it is written in `set` only, before its address is stored.
        let byte = unsafe { page.as_ref() };
        byte.load(Ordering::Relaxed) == 0
    }

    /// Sets the byte for this process if it is absent. The caller prevents concurrent calls.
    pub(super) fn set(&self) -> Result<()> {
        if !self.page.load(Ordering::Acquire).is_null() {
            return Ok(());
        }
        let size = PageCount::one().bytes();
        let page = sys::map(Place::Anywhere, size, Protection::ReadWrite)
            .map_err(|errno| MemoryError::Map { size, errno })?;
        // SAFETY: the first byte of a new mapping without references.
        unsafe { page.cast::<AtomicU8>().write(AtomicU8::new(1)) };
        // Kernels before 4.14 refuse the advice; there the byte stays 1 in children.
        // SAFETY: the whole mapping.
        let _ = unsafe { sys::advise(page, size, Advice::LinuxWipeOnFork) };
        self.page.store(page.cast().as_ptr(), Ordering::Release);
        Ok(())
    }

    /// Unmaps the byte. The caller prevents all concurrent calls.
    pub(super) fn clear(&self) {
        if let Some(page) = NonNull::new(self.page.swap(ptr::null_mut(), Ordering::AcqRel)) {
            // SAFETY: mapped by `set` with this size; no other thread uses it, by the contract of this function.
            unsafe { sys::unmap(page.cast(), PageCount::one().bytes()) };
        }
    }
}

impl Drop for ForkDetector {
    fn drop(&mut self) {
        self.clear();
    }
}
