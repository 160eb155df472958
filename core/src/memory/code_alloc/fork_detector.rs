//! How a forked child finds out that it is one, for the price of a load.
//!
//! A page that the kernel wipes in the child: madvise(2), `MADV_WIPEONFORK`. Kernels before 4.14 do
//! not know it; there the child finds out by a fault, because the writable views are not mapped.
#![allow(unsafe_code)]

use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicPtr, AtomicU8, Ordering};

use super::super::page_count::PageCount;
use super::super::sys::{self, InChild, Place};
use super::super::types::{MemoryError, Protection};

/// A byte that is 1 in the process that set it and 0 in its children. Absent at first.
pub(super) struct ForkDetector {
    page: AtomicPtr<AtomicU8>,
}

impl ForkDetector {
    pub(super) const fn new() -> Self {
        Self { page: AtomicPtr::new(ptr::null_mut()) }
    }

    /// Whether it was set in a parent process. The caller keeps others from clearing it.
    #[inline]
    pub(super) fn is_wiped(&self) -> bool {
        let Some(page) = NonNull::new(self.page.load(Ordering::Acquire)) else { return false };
        // SAFETY: `set` stored the address of a byte that is mapped until `clear`, which the caller
        // keeps away; it is written nowhere but in `set`, before the address was stored.
        let byte = unsafe { page.as_ref() };
        byte.load(Ordering::Relaxed) == 0
    }

    /// Sets it for this process if it is absent. The caller keeps others from doing so at once.
    pub(super) fn set(&self) -> Result<(), MemoryError> {
        if !self.page.load(Ordering::Acquire).is_null() {
            return Ok(());
        }
        let size = PageCount::one().bytes();
        let page = sys::map(Place::Anywhere, size, Protection::ReadWrite)
            .map_err(|errno| MemoryError::Map { size, errno })?;
        // SAFETY: the first byte of a new mapping that nobody else knows.
        unsafe { page.cast::<AtomicU8>().write(AtomicU8::new(1)) };
        // An old kernel has no such advice; there the mark says nothing.
        // SAFETY: the whole mapping.
        let _ = unsafe { sys::on_fork(page, size, InChild::Zero) };
        self.page.store(page.cast().as_ptr(), Ordering::Release);
        Ok(())
    }

    /// Makes it absent again. The caller keeps everybody else away.
    pub(super) fn clear(&self) {
        if let Some(page) = NonNull::new(self.page.swap(ptr::null_mut(), Ordering::AcqRel)) {
            // SAFETY: mapped by `set` with this size; by the promise of the caller nobody reads it.
            unsafe { sys::unmap(page.cast(), PageCount::one().bytes()) };
        }
    }
}

impl Drop for ForkDetector {
    fn drop(&mut self) {
        self.clear();
    }
}
