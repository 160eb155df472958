//! Arenas: address space for code, mapped twice.
//!
//! One reservation contains both views of a memory file, each between inaccessible addresses:
//!
//! ```text
//! guard | code, readable and executable | tail | the same bytes, readable and writable | tail
//! ```
//!
//! The tails belong to the mappings but lie beyond the end of the file, whose size is sealed, so an access raises
//! SIGBUS without a separate mapping. The reservation is three lines in `/proc/self/maps`.
//!
//! Guarantees:
//!
//! * The executable view is mapped after the file was sealed against new writers, if the kernel can (Linux 5.1) and the
//!   arena is [`ArenaKind::Sealed`]: then `mprotect` refuses to make it writable. The descriptor of the file is closed.
//! * A child process does not inherit the writable view.
//! * Without a file ([`ArenaKind::Changing`]), both views are one: private memory, initially readable and writable, of
//!   which whole pages change to executable and back.
#![allow(unsafe_code)]

use alloc::vec::Vec;
use core::{ops::Range, ptr::NonNull, slice};

use rustix::fd::OwnedFd;
use rustix::io::Errno as Raw;
use rustix::mm::{Advice, MapFlags};

use super::super::lock::Lock;
use super::super::page_count::PageCount;
use super::super::region::Region;
use super::super::sys::{self, Place};
use super::super::types::{Errno, MemoryError, Protection};
use super::alloc_request::{ArenaKind, SLAB_SIZE};
use super::backing::{ArenaError, Candidate, create_file};
use super::error::{ExecError, Result};
use super::span::SpanMap;
use super::trap_fill;
use crate::alloc_util::{TryArc, try_filled};

/// Inaccessible bytes on each side of a view: a multiple of every page size.
const GUARD_SIZE: usize = 64 << 10;

/// The chunk that holds slabs of an arena.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct SlabOwner {
    pub(super) shard: u16,
    pub(super) chunk: u16,
}

/// Which slabs are used, and the owners of used spans.
struct SlabTable {
    map: SpanMap,
    /// By slab; meaningful for the first slab of a used span.
    owners: Vec<SlabOwner>,
    /// Which slabs are free, backed with memory and hold traps.
    warm: Vec<bool>,
}

/// Address space for code.
pub(super) struct Arena {
    region: Region,
    pub(super) kind: ArenaKind,
    /// The addresses at which code runs.
    pub(super) code: Range<usize>,
    /// The offset of the first writable byte in the region.
    writable_start: usize,
    slabs: Lock<SlabTable>,
}

impl Arena {
    /// Maps `size` bytes for code, a positive multiple of [`SLAB_SIZE`].
    pub(super) fn map(
        candidate: Candidate,
        kind: ArenaKind,
        size: usize,
        perf_map: bool,
    ) -> Result<Self, ArenaError> {
        let view = size.saturating_add(GUARD_SIZE);
        let is_changing = kind == ArenaKind::Changing;
        let views = if is_changing { view } else { view.saturating_mul(2) };
        let total = PageCount::covering(views.saturating_add(GUARD_SIZE) as u64)?;
        let map = SpanMap::new(size / SLAB_SIZE)?;
        let warm = try_filled(map.len(), &false)?;
        let owners = try_filled(map.len(), &SlabOwner::default())?;
        let region = Region::map(Place::Anywhere, total, Protection::None)?;
        let start = region.addresses().start.saturating_add(GUARD_SIZE);
        let writable_start = if is_changing { GUARD_SIZE } else { GUARD_SIZE + view };
        // Blocks recover pointers from addresses.
        region.start().as_ptr().expose_provenance();
        let slabs = Lock::new(SlabTable { map, owners, warm });
        let arena = Self { region, kind, code: start..start + size, writable_start, slabs };
        if is_changing {
            // SAFETY: whole pages of a new reservation, which is not used yet.
            unsafe { arena.protect(arena.code.clone(), Protection::ReadWrite) }?;
        } else {
            arena.map_views(candidate, view, perf_map)?;
        }
        Ok(arena)
    }

    fn map_views(
        &self,
        candidate: Candidate,
        view: usize,
        perf_map: bool,
    ) -> Result<(), ArenaError> {
        let size = self.code.len();
        let no_memory = |errno| ExecError::Memory(MemoryError::Map { size, errno });
        let file = create_file(candidate)?;
        sys::resize(&file, size as u64).map_err(|errno| match errno == Raw::FBIG {
            true => ArenaError::Forbidden(errno),
            false => no_memory(errno).into(),
        })?;
        let writable = self.pointer(self.writable_start);
        // SAFETY: whole pages inside the reservation of this arena, which is not used yet.
        unsafe {
            sys::map_file(&file, MapFlags::SHARED, 0, Some(writable), view, Protection::ReadWrite)
        }
        .map_err(no_memory)?;
        // SAFETY: the pages that were just mapped.
        unsafe { sys::advise(writable, view, Advice::LinuxDontFork) }.map_err(no_memory)?;
        let sealed = sys::seal(&file, self.kind == ArenaKind::Open);
        // Kernels before 5.1 seal the size only, and files outside of memory nothing. The file has no name, so no other
        // process can resize it.
        let _ = sealed.or_else(|_| sys::seal(&file, true));
        // If a step is forbidden, the file is mapped as usual and `perf` finds no names.
        if perf_map && self.map_code_as_anonymous(&file, view).is_ok() {
            return Ok(());
        }
        let code = self.pointer(GUARD_SIZE);
        // SAFETY: as above, and disjoint from the other view.
        let mapped = unsafe {
            sys::map_file(&file, MapFlags::SHARED, 0, Some(code), view, Protection::ReadExecute)
        };
        mapped.map(drop).map_err(|errno| match errno.is_policy() {
            true => ArenaError::Forbidden(errno),
            false => no_memory(errno).into(),
        })
    }

    /// Maps the executable view so that `perf` considers it anonymous memory.
    ///
    /// `perf` records executable memory when it is mapped, but not mappings that `mremap` copies. So anonymous executable
    /// memory is mapped first, and a copy of a file mapping replaces it.
    fn map_code_as_anonymous(&self, file: &OwnedFd, view: usize) -> Result<(), Errno> {
        let code = self.pointer(GUARD_SIZE);
        // SAFETY: whole pages of the reservation outside of the other view, which are not used yet.
        unsafe { sys::map_over(code, view, Protection::ReadExecute) }?;
        let page = sys::page_size();
        // SAFETY: replaces no mapping.
        let pattern = unsafe {
            sys::map_file(file, MapFlags::SHARED, 0, None, page, Protection::ReadExecute)
        }?;
        // SAFETY: a whole shared mapping of the start of the file; the destination is as above.
        let copied = unsafe { sys::copy_mapping(pattern, code, view) };
        // SAFETY: mapped above and not used.
        unsafe { sys::unmap(pattern, page) };
        copied
    }

    /// Tests whether the system lets pages of a new arena that is mapped once become executable.
    pub(super) fn check_executable(&self) -> Result<(), ArenaError> {
        let first = self.code.start..self.code.start + sys::page_size();
        for protection in [Protection::ReadExecute, Protection::ReadWrite] {
            // SAFETY: a whole page of a new arena, which is not used yet.
            match unsafe { self.protect(first.clone(), protection) } {
                Err(MemoryError::Protect { errno, .. }) if errno.is_policy() => {
                    return Err(ArenaError::Forbidden(errno));
                }
                result => result?,
            }
        }
        Ok(())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.slabs.lock().map.is_empty()
    }

    /// The owner of the slab at `address`.
    pub(super) fn owner(&self, address: usize) -> Option<SlabOwner> {
        let slab = address.checked_sub(self.code.start)? / SLAB_SIZE;
        let slabs = self.slabs.lock();
        let span = slabs.map.span_containing(slab)?;
        slabs.owners.get(span.units.start).copied().filter(|_| span.is_used)
    }

    /// Bytes of used slabs, and bytes of metadata.
    pub(super) fn usage(&self) -> (usize, usize) {
        let slabs = self.slabs.lock();
        let used = slabs.map.len() - slabs.map.free_units();
        let lists = size_of_val(slabs.owners.as_slice()) + size_of_val(slabs.warm.as_slice());
        (used * SLAB_SIZE, slabs.map.footprint() + lists + size_of::<Self>())
    }

    /// Changes the protection of whole pages at code addresses.
    ///
    /// # Errors
    /// [`MemoryError::Protect`].
    ///
    /// # Safety
    /// Both ends of `range` are page boundaries of the code, and no reference into the pages is alive that needs an access
    /// which `protection` removes.
    pub(super) unsafe fn protect(
        &self,
        range: Range<usize>,
        protection: Protection,
    ) -> Result<(), MemoryError> {
        let offset = range.start.saturating_sub(self.code.start);
        let offsets = GUARD_SIZE + offset..GUARD_SIZE + offset + range.len();
        // SAFETY: references are excluded by the contract of this function; the reservation, mapped inaccessible, lends
        // no slices.
        unsafe { self.region.protect(offsets, protection) }
    }

    /// A pointer to the byte at this offset of the reservation.
    fn pointer(&self, offset: usize) -> NonNull<u8> {
        debug_assert!(offset <= self.region.size().bytes());
        // SAFETY: every caller passes an offset inside the reservation: the start of a view, or a view plus an offset
        // below its size.
        unsafe { self.region.start().add(offset) }
    }
}

/// Adjacent slabs of an arena that one chunk owns.
pub(super) struct SlabRun {
    pub(super) arena: TryArc<Arena>,
    /// The first code address.
    pub(super) address: usize,
    /// The size in bytes.
    pub(super) size: usize,
    /// The distance in bytes from the code addresses up to the writable view.
    pub(super) writable_offset: usize,
    /// The number of bytes, from the first on, that are backed with memory, and hold traps unless they belong to a
    /// block. Blocks lie below.
    pub(super) warm: usize,
}

impl SlabRun {
    /// Takes slabs for `size` bytes out of the arena; `None` if there are no adjacent free ones.
    pub(super) fn take(
        arena: &TryArc<Arena>,
        size: usize,
        owner: SlabOwner,
    ) -> Result<Option<Self>> {
        let count = size.div_ceil(SLAB_SIZE);
        let mut slabs = arena.slabs.lock();
        let Some(free) = slabs.map.free_spans().find(|span| span.len() >= count) else {
            return Ok(None);
        };
        let taken = free.start..free.start + count;
        slabs.map.allocate(free, taken.clone());
        slabs.owners.get_mut(taken.clone()).unwrap_or_default().fill(owner);
        let are_warm = slabs.warm.get_mut(taken.clone()).unwrap_or_default();
        let warm = are_warm.iter().take_while(|is_warm| **is_warm).count();
        are_warm.fill(false);
        drop(slabs);
        Ok(Some(Self {
            arena: arena.clone(),
            address: arena.code.start + taken.start * SLAB_SIZE,
            size,
            writable_offset: arena.writable_start - GUARD_SIZE,
            warm: (warm * SLAB_SIZE).min(size),
        }))
    }

    /// Returns the slabs, which contain no live block, to the arena. Returns the arena, and whether it is empty now.
    pub(super) fn release(self) -> (TryArc<Arena>, bool) {
        let mut slabs = self.arena.slabs.lock();
        let first = self.address.saturating_sub(self.arena.code.start) / SLAB_SIZE;
        slabs.map.free(first);
        let warm = first..first + self.warm / SLAB_SIZE;
        slabs.warm.get_mut(warm).unwrap_or_default().fill(true);
        let is_empty = slabs.map.is_empty();
        drop(slabs);
        (self.arena, is_empty)
    }

    /// Backs the bytes up to offset `end`, rounded up to a page and cut at the size, with memory in both views and
    /// fills them with traps.
    ///
    /// # Errors
    /// [`MemoryError::Prefault`] if there is not enough memory: the writes would raise a signal.
    pub(super) fn warm_up_to(&mut self, end: usize) -> Result<(), MemoryError> {
        let end = end.next_multiple_of(sys::page_size()).min(self.size);
        let Some(len @ 1..) = end.checked_sub(self.warm) else { return Ok(()) };
        let (arena, address) = (&self.arena, self.address + self.warm);
        let offset = address - arena.code.start;
        let writable = arena.pointer(arena.writable_start + offset);
        // SAFETY: inside the writable view: the run and the length are inside the code of the arena.
        if let Err(errno) = unsafe { sys::advise(writable, len, Advice::LinuxPopulateWrite) } {
            // Kernels before 5.14 do not know the advice; the writes below have the same effect.
            if errno != rustix::io::Errno::INVAL {
                return Err(MemoryError::Prefault { address, size: len, errno });
            }
        }
        // SAFETY: mapped, initialised with zeros by the kernel, and writable, because pages of an arena are writable
        // until a block changes them. This run owns the slabs, and bytes from `warm` on belong to no block yet, so
        // there is no other reference, and no code runs there.
        trap_fill::fill(unsafe { slice::from_raw_parts_mut(writable.as_ptr(), len) });
        if arena.kind != ArenaKind::Changing {
            let code = arena.pointer(GUARD_SIZE + offset);
            // SAFETY: the same pages in the executable view. An error only costs time.
            let _ = unsafe { sys::advise(code, len, Advice::LinuxPopulateRead) };
        }
        self.warm = end;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::fault_injection::{Call, inject};
    use super::super::super::testing::maps;
    use super::super::{Backing, CodeMemory, CodeMemoryOptions};
    use rustix::io::Errno;
    use std::string::String;
    use std::vec::Vec;

    /// The permissions of the mapping that contains `address`, and of the next one.
    fn permissions(address: usize) -> Vec<String> {
        let from = maps().into_iter().skip_while(|line| !line.addresses.contains(&address));
        from.take(2).map(|line| line.access).collect()
    }

    #[test]
    #[cfg_attr(miri, ignore = "reads code where it is not written")]
    fn perf_map_arena_has_the_usual_two_views() {
        let options = CodeMemoryOptions { perf_map: true, ..CodeMemoryOptions::default() };
        for refused in [None, Some(Call::MapOver), Some(Call::CopyMapping)] {
            let _fault = refused.map(|call| inject(call, 0, Errno::ACCESS));
            let memory = CodeMemory::new(options).unwrap();
            let mut block = memory.allocate(32).unwrap();
            assert_eq!(memory.backing(), Some(Backing::MemoryFile));
            block.as_mut_slice().fill(0x42);
            let block = block.publish().unwrap();
            // SAFETY: the first byte of a live block is readable.
            assert_eq!(unsafe { block.as_ptr().read() }, 0x42, "{refused:?}");
            // The executable and the writable view, each with its tail.
            assert_eq!(permissions(block.address()), ["r-x", "rw-"], "{refused:?}");
        }
    }
}
