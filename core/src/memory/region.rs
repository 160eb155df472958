//! Mappings of the process and their owner.
//!
//! A [`Region`] owns the addresses of one mapping and unmaps them when it is dropped. It lends slices only while
//! all of its pages are private, readable, writable and not [exposed](Region::expose); afterwards, bytes are
//! copied out or reached through the address.
#![allow(unsafe_code)]

use core::{mem::ManuallyDrop, ops::Range, ptr::NonNull, slice};

use rustix::fd::OwnedFd;
use rustix::io::Errno as Raw;
use rustix::mm::{Advice as MmAdvice, MapFlags};

use super::memory_file;
use super::page_count::PageCount;
use super::sys::{self, Place};
use super::types::{Advice, Errno, MemoryError, Protection, Result};

/// One mapping, unmapped when dropped. A region of size zero has no mapping.
#[derive(Debug)]
pub(super) struct Region {
    /// The first byte of one mapping of `size`, or dangling if `size` is zero.
    start: NonNull<u8>,
    size: PageCount,
    access: Access,
}

/// The access to the bytes that safe code has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Access {
    /// Private pages, all readable and writable, whose address only this value provides: slices are valid.
    Exclusive,
    /// Private pages, all readable, which other code may write through their address: bytes can be copied out.
    Readable,
    /// Pages with different protections, pages of a file, or inaccessible pages: none.
    Opaque,
}

// SAFETY: a region is the sole owner of its addresses. System calls on them may come from any thread, and a
// shared reference gives read access only, or addresses.
unsafe impl Send for Region {}
// SAFETY: as above.
unsafe impl Sync for Region {}

impl Region {
    /// Maps zero-filled private memory.
    pub(super) fn map(place: Place, size: PageCount, protection: Protection) -> Result<Self> {
        let access = match protection {
            Protection::ReadWrite => Access::Exclusive,
            _ => Access::Opaque,
        };
        Self::new(size, access, |bytes| sys::map(place, bytes, protection))
    }

    /// Maps pages of a file from `offset`, a multiple of the page size. If they are shared with other processes, which could
    /// write to them, `protection` is not executable; private pages are not writable.
    pub(super) fn map_file(
        file: &OwnedFd,
        sharing: MapFlags,
        offset: u64,
        size: PageCount,
        protection: Protection,
    ) -> Result<Self> {
        // SAFETY: replaces no mapping.
        let map = |bytes| unsafe { sys::map_file(file, sharing, offset, None, bytes, protection) };
        Self::new(size, Access::Opaque, map)
    }

    fn new(
        size: PageCount,
        access: Access,
        map: impl FnOnce(usize) -> Result<NonNull<u8>, Errno>,
    ) -> Result<Self> {
        let start = match size.bytes() {
            0 => Ok(NonNull::dangling()),
            bytes => map(bytes),
        };
        let start = start.map_err(|errno| MemoryError::Map { size: size.bytes(), errno })?;
        Ok(Self { start, size, access })
    }

    /// Unmaps the pages before the first multiple of `alignment`, a power of two, and those behind `size` from there
    /// on. A region that does not contain `size` from there on is returned as it is.
    pub(super) fn trim(self, alignment: usize, size: PageCount) -> Self {
        let (address, whole) = (self.start.addr().get(), self.size.bytes());
        let aligned = address.checked_next_multiple_of(alignment.max(sys::page_size()));
        let Some(before) = aligned.and_then(|aligned| aligned.checked_sub(address)) else {
            return self;
        };
        let Some(behind) =
            whole.checked_sub(before).and_then(|left| left.checked_sub(size.bytes()))
        else {
            return self;
        };
        let region = ManuallyDrop::new(self);
        // SAFETY: the offset is at most the size of the mapping.
        let start = unsafe { region.start.add(before) };
        if before != 0 {
            // SAFETY: whole pages of this mapping, which the result does not own. `self` is consumed, so that no
            // borrow of them is left.
            unsafe { sys::unmap(region.start, before) };
        }
        if behind != 0 {
            // SAFETY: the offset is at most the size of the mapping.
            let end = unsafe { start.add(size.bytes()) };
            // SAFETY: as for the pages before the start.
            unsafe { sys::unmap(end, behind) };
        }
        Self { start, size, access: region.access }
    }

    /// The first byte, with provenance for the whole region.
    pub(super) fn start(&self) -> NonNull<u8> {
        self.start
    }

    pub(super) fn size(&self) -> PageCount {
        self.size
    }

    /// The addresses of the bytes. They do not wrap: the kernel maps nothing at the end of the address space.
    pub(super) fn addresses(&self) -> Range<usize> {
        let start = self.start.addr().get();
        start..start.saturating_add(self.size.bytes())
    }

    /// Every byte, while the region lends slices; otherwise none.
    #[inline]
    pub(super) fn as_slice(&self) -> &[u8] {
        if self.access != Access::Exclusive {
            return &[];
        }
        // SAFETY: the pages are readable and initialised (the kernel zeroed them), their size is at most
        // isize::MAX, and they are written through `&mut self` only.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.size.bytes()) }
    }

    /// Every byte, while the region lends slices; otherwise none.
    #[inline]
    pub(super) fn as_mut_slice(&mut self) -> &mut [u8] {
        if self.access != Access::Exclusive {
            return &mut [];
        }
        // SAFETY: as in `as_slice`; the pages are writable, and `&mut self` makes the slice the only access.
        unsafe { slice::from_raw_parts_mut(self.start.as_ptr(), self.size.bytes()) }
    }

    /// Copies bytes from `offset` to `into`, if the pages are private and readable and contain them all.
    pub(super) fn copy_out(&self, offset: usize, into: &mut [u8]) -> bool {
        let end = offset.checked_add(into.len());
        if self.access == Access::Opaque || end.is_none_or(|end| end > self.size.bytes()) {
            return false;
        }
        // SAFETY: the offset is inside the mapping.
        let from = unsafe { self.start.add(offset) };
        // SAFETY: that many bytes are mapped, readable and not backed by a file, so none can be lost. `into` is
        // borrowed mutably and so is other memory.
        unsafe { from.as_ptr().copy_to_nonoverlapping(into.as_mut_ptr(), into.len()) };
        true
    }

    /// Ends the lending of slices: the address is about to be given to code outside of this crate.
    pub(super) fn expose(&mut self) {
        self.start.as_ptr().expose_provenance();
        if self.access == Access::Exclusive {
            self.access = Access::Readable;
        }
    }

    /// Backs the pages of the offsets `range`, which is cut at the end of the region, with memory before they are
    /// written. Kernels before 5.14 cannot; there the page faults do it.
    ///
    /// The pages are writable.
    pub(super) fn populate(&self, range: Range<usize>) -> Result<()> {
        let end = range.end.min(self.size.bytes());
        let before = range.start % sys::page_size();
        let Some(size @ 1..) = end.checked_sub(range.start - before) else { return Ok(()) };
        // SAFETY: the offset is inside the mapping, because the range is not empty.
        let start = unsafe { self.start.add(range.start - before) };
        // SAFETY: whole pages inside the mapping; the kernel rounds the end up to at most the end of the mapping.
        match unsafe { sys::advise(start, size, MmAdvice::LinuxPopulateWrite) } {
            // A later page fault would fail as well, and end the process.
            Err(errno) if errno == Raw::NOMEM => {
                Err(MemoryError::Prefault { address: start.addr().get(), size, errno })
            }
            // Any other error only costs time.
            _ => Ok(()),
        }
    }

    /// Changes the protection of the bytes at the offsets `range`, which is cut at the end of the region.
    /// Afterwards the region lends slices only if all of its pages are readable and writable.
    pub(super) fn set_protection(
        &mut self,
        range: Range<usize>,
        protection: Protection,
    ) -> Result<()> {
        let is_whole = range.start == 0 && range.end >= self.size.bytes();
        self.access = Access::Opaque;
        // SAFETY: `&mut self` ends all borrows of the bytes, and none can be made that `protection` forbids:
        // slices need `Access::Exclusive`.
        unsafe { self.protect(range, protection) }?;
        if is_whole {
            self.access = match protection {
                Protection::None => Access::Opaque,
                Protection::ReadWrite => Access::Exclusive,
                Protection::Read | Protection::ReadExecute => Access::Readable,
            };
        }
        Ok(())
    }

    /// As [`set_protection`](Self::set_protection) with [`Protection::ReadExecute`], of readable pages. Where the system
    /// forbids that, because the pages were writable, they are replaced by pages of a memory file with the same bytes.
    pub(super) fn make_executable(&mut self, range: Range<usize>) -> Result<()> {
        let refused = match self.set_protection(range.clone(), Protection::ReadExecute) {
            Err(MemoryError::Protect { errno, address, size, protection }) if errno.is_policy() => {
                MemoryError::Protect { errno, address, size, protection }
            }
            result => return result,
        };
        let end = range.end.min(self.size.bytes());
        let Some(size @ 1..) = end.checked_sub(range.start) else { return Ok(()) };
        // SAFETY: the offset is inside the mapping, because the range is not empty.
        let start = unsafe { self.start.add(range.start) };
        // SAFETY: readable pages of this mapping, whose protection has not changed. `&mut self` excludes writes meanwhile.
        let bytes = unsafe { slice::from_raw_parts(start.as_ptr(), size) };
        let Ok(file) = memory_file::with_copy(bytes) else { return Err(refused) };
        let executable = Protection::ReadExecute;
        // SAFETY: whole pages of this mapping. `bytes` is not used any more, and the region lends no slices.
        let mapped =
            unsafe { sys::map_file(&file, MapFlags::PRIVATE, 0, Some(start), size, executable) };
        mapped.map(drop).map_err(|_| refused)
    }

    /// Changes the protection of the bytes at the offsets `range`, which is cut at the end of the region.
    ///
    /// # Safety
    /// * No reference into the range is alive that needs an access which `protection` removes.
    /// * The region does not lend slices.
    pub(super) unsafe fn protect(&self, range: Range<usize>, protection: Protection) -> Result<()> {
        let end = range.end.min(self.size.bytes());
        let Some(size @ 1..) = end.checked_sub(range.start) else { return Ok(()) };
        // SAFETY: the offset is inside the mapping, because the range is not empty.
        let start = unsafe { self.start.add(range.start) };
        // SAFETY: inside the mapping, of whole pages. The kernel refuses an unaligned start and rounds the end
        // up to at most the end of the mapping. References: the contract of this function.
        unsafe { sys::protect(start, size, protection) }.map_err(|errno| MemoryError::Protect {
            address: start.addr().get(),
            size,
            protection,
            errno,
        })
    }

    /// `madvise(2)` with advice that changes no byte, on offsets that start with a page.
    pub(super) fn advise(&self, range: &Range<usize>, advice: Advice) -> Result<()> {
        // SAFETY: pages of this mapping; no `Advice` changes a byte.
        self.manage(range, |start, len| unsafe { sys::advise(start, len, advice.into()) })
    }

    /// `mlock(2)` or `munlock(2)` on offsets that start with a page.
    pub(super) fn lock(&self, range: &Range<usize>, locked: bool) -> Result<()> {
        self.manage(range, |start, len| {
            // SAFETY: pages of this mapping.
            let result = unsafe { sys::lock(start, len, locked) };
            if locked && result.is_err() {
                // Pages before the first failure may be locked.
                // SAFETY: as above.
                let _ = unsafe { sys::lock(start, len, false) };
            }
            result
        })
    }

    /// `msync(2)` on offsets that start with a page.
    pub(super) fn sync(&self, range: &Range<usize>, wait: bool) -> Result<()> {
        // SAFETY: pages of this mapping.
        self.manage(range, |start, len| unsafe { sys::sync(start, len, wait) })
    }

    /// `madvise(2)` with `MADV_DONTNEED` on offsets that start with a page: private anonymous pages read as zeros
    /// afterwards, pages of a file as the file. Refused while the region lends slices.
    pub(super) fn discard(&self, range: &Range<usize>) -> Result<()> {
        self.manage(range, |start, len| {
            if self.access == Access::Exclusive {
                return Err(Raw::BUSY.into());
            }
            // SAFETY: pages of this mapping, to which no reference exists.
            unsafe { sys::advise(start, len, MmAdvice::LinuxDontNeed) }
        })
    }

    /// `madvise(2)` with `MADV_COLD` (Linux 5.4) on offsets that start with a page: the kernel reclaims the pages
    /// first. No byte changes.
    pub(super) fn mark_cold(&self, range: &Range<usize>) -> Result<()> {
        self.manage(range, |start, len| {
            // SAFETY: pages of this mapping.
            // Older kernels do not know the advice, which is optional.
            let _ = unsafe { sys::advise(start, len, MmAdvice::LinuxCold) };
            Ok(())
        })
    }

    /// Calls `call` with the first byte and the length of a range of offsets.
    fn manage(
        &self,
        range: &Range<usize>,
        call: impl FnOnce(NonNull<u8>, usize) -> Result<(), Errno>,
    ) -> Result<()> {
        let (address, size) = (self.addresses().start.saturating_add(range.start), range.len());
        let error = |errno| MemoryError::Manage { address, size, errno };
        if range.start > range.end || range.end > self.size.bytes() {
            return Err(error(Raw::INVAL.into()));
        }
        if self.size == PageCount::ZERO {
            return Ok(());
        }
        // SAFETY: the offset is inside the mapping.
        let start = unsafe { self.start.add(range.start) };
        call(start, size).map_err(error)
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        if self.size != PageCount::ZERO {
            // SAFETY: mapped with this size by a constructor and not owned by any other value. Borrows of the
            // bytes do not outlive the types that lend them, which own the region.
            unsafe { sys::unmap(self.start, self.size.bytes()) };
        }
    }
}
