//! A stretch of addresses for code, and the second one through which it is written.
//!
//! One reservation holds both views of a memory file, each with inaccessible addresses around it:
//!
//! ```text
//! guard | code, readable and executable | tail | the same bytes, readable and writable | tail
//! ```
//!
//! The tails belong to the mappings and lie beyond the end of the file, whose size is sealed, so
//! that touching them is a fault (SIGBUS) without a mapping of their own. The views are three
//! lines in `/proc/self/maps`, whatever the arena holds.
//!
//! Promises:
//!
//! * The executable view is made after the file was sealed against new writers, where the kernel can
//!   (Linux 5.1) and the arena is [`Kind::Sealed`]: `mprotect` itself then refuses to make it
//!   writable. No descriptor of the file is left.
//! * A child process does not have the writable view.
//! * Without a file ([`Kind::Changing`]) both views are one, of private memory that is readable and
//!   writable at first, and whole pages of it change to executable and back.
#![allow(unsafe_code)]

use alloc::vec::Vec;
use core::ops::Range;
use core::ptr::NonNull;
use core::slice;

use hashbrown::HashMap;
use rustix::fd::OwnedFd;

use super::super::lock::Lock;
use super::super::page_count::PageCount;
use super::super::placement;
use super::super::region::Region;
use super::super::sys::{self, InChild};
use super::super::types::{Errno, MemoryError, Placement, Protection};
use super::source::{Source, is_policy};
use super::span::SpanMap;
use super::{error::ExecError, trap};

/// Inaccessible addresses on each side of a view: a whole number of pages of every size.
const GUARD: usize = 64 << 10;

/// What an arena may become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Mapped twice; the executable view can never be written.
    Sealed,
    /// Mapped twice; pages of the executable view may lose that right and become writable.
    Open,
    /// Mapped once; pages are writable or executable by turns.
    Changing,
}

/// Bytes of a slab, the least that is given out: a whole number of pages of every size, and so large
/// that the records of an arena are small. What a chunk does not need of it are addresses alone.
pub(super) const SLAB: usize = 64 << 10;

/// Who has slabs of an arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) lane: u16,
    pub(super) slot: u16,
}

/// Which slabs are given out, and to whom, by the first slab.
pub(super) struct Slabs {
    map: SpanMap,
    owners: HashMap<usize, Owner>,
    /// One bit for each slab: nobody has it, all of it has memory and holds traps.
    warm: Vec<u64>,
}

impl Slabs {
    fn is_warm(&self, slab: usize) -> bool {
        self.warm.get(slab / 64).is_some_and(|word| word >> (slab % 64) & 1 != 0)
    }

    fn set_warm(&mut self, slab: usize, on: bool) {
        if let Some(word) = self.warm.get_mut(slab / 64) {
            *word = *word & !(1 << (slab % 64)) | u64::from(on) << (slab % 64);
        }
    }
}

/// Why an arena could not be had.
pub(super) enum NoArena {
    /// The system does not allow it from this source.
    Refused(Errno),
    Failed(ExecError),
}

impl<E: Into<ExecError>> From<E> for NoArena {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// Memory for code.
pub(super) struct Arena {
    region: Region,
    kind: Kind,
    /// The addresses at which code runs.
    code: Range<usize>,
    /// From the first byte of the region to the first writable one.
    writable: usize,
    slabs: Lock<Slabs>,
}

impl Arena {
    /// Maps `size` bytes for code, whole slabs and at least one.
    pub(super) fn map(
        source: Source,
        kind: Kind,
        placement: Placement,
        size: usize,
        perf_map: bool,
    ) -> Result<Self, NoArena> {
        let view = size.saturating_add(GUARD);
        let views = if kind == Kind::Changing { view } else { view.saturating_mul(2) };
        let total = PageCount::covering(views.saturating_add(GUARD) as u64)?;
        let map = SpanMap::new(size / SLAB).ok_or(ExecError::OutOfMemory)?;
        let region = placement::place(total, placement, Protection::None)?;
        let start = region.addresses().start.saturating_add(GUARD);
        let writable = if kind == Kind::Changing { GUARD } else { GUARD + view };
        // Whoever runs code has its address alone.
        region.start().as_ptr().expose_provenance();
        let mut warm = Vec::new();
        let words = map.len().div_ceil(64);
        warm.try_reserve_exact(words).map_err(|_| ExecError::OutOfMemory)?;
        warm.resize(words, 0);
        let slabs = Lock::new(Slabs { map, owners: HashMap::new(), warm });
        let arena = Self { region, kind, code: start..start + size, writable, slabs };
        match kind {
            Kind::Changing => arena.make_writable()?,
            Kind::Sealed | Kind::Open => arena.map_twice(source, view, perf_map)?,
        }
        Ok(arena)
    }

    fn map_twice(&self, source: Source, view: usize, perf_map: bool) -> Result<(), NoArena> {
        let size = self.code.len();
        let no_memory = |errno| ExecError::Memory(MemoryError::Map { size, errno });
        let file = source.open()?;
        sys::resize(&file, size as u64).map_err(no_memory)?;
        let writable = self.inside(self.writable);
        // SAFETY: whole pages inside the reservation of this arena, which nobody uses yet.
        unsafe { sys::map_file(&file, writable, view, Protection::ReadWrite) }
            .map_err(no_memory)?;
        // SAFETY: the pages that were just mapped.
        unsafe { sys::on_fork(writable, view, InChild::Absent) }.map_err(no_memory)?;
        let sealed = sys::seal(&file, self.kind == Kind::Open);
        // A kernel before 5.1 seals the size alone, and a file that is not of memory nothing; it has
        // no name, so that nobody else can resize it either.
        let _ = sealed.or_else(|_| sys::seal(&file, true));
        // Where a rule forbids a step of it, the file is mapped in its place, and only names are lost.
        if perf_map && self.map_code_unnoticed(&file, view).is_ok() {
            return Ok(());
        }
        // SAFETY: as above, and no page of the other view.
        let code =
            unsafe { sys::map_file(&file, self.inside(GUARD), view, Protection::ReadExecute) };
        code.map_err(|errno| match is_policy(errno) {
            true => NoArena::Refused(errno),
            false => no_memory(errno).into(),
        })
    }

    /// Maps the executable view so that `perf` takes it for anonymous memory.
    ///
    /// `perf` learns of executable memory when it is mapped, but not of a mapping that `mremap`
    /// copies: so the place becomes anonymous and executable first, and then a copy of a mapping
    /// elsewhere.
    fn map_code_unnoticed(&self, file: &OwnedFd, view: usize) -> Result<(), Errno> {
        let code = self.inside(GUARD);
        // SAFETY: whole pages of the reservation that belong to no other view, and that nobody uses.
        unsafe { sys::map_over(code, view, Protection::ReadExecute) }?;
        let page = sys::page_size();
        let pattern = sys::map_file_anywhere(file, 0, page, Protection::ReadExecute)?;
        // SAFETY: a whole mapping of the beginning of the file; the place is as above.
        let copied = unsafe { sys::copy_mapping(pattern, code, view) };
        // SAFETY: just mapped, and nobody has used it.
        unsafe { sys::unmap(pattern, page) };
        copied
    }

    fn make_writable(&self) -> Result<(), MemoryError> {
        // SAFETY: whole pages that nobody uses yet.
        unsafe { self.protect(self.code.clone(), Protection::ReadWrite) }
    }

    /// Finds out whether the system lets pages of an arena that is mapped once become executable. It
    /// must be a new one.
    pub(super) fn may_become_executable(&self) -> Result<(), NoArena> {
        let first = self.code.start..self.code.start + sys::page_size();
        for protection in [Protection::ReadExecute, Protection::ReadWrite] {
            // SAFETY: a whole page that nobody uses yet.
            match unsafe { self.protect(first.clone(), protection) } {
                Err(MemoryError::Protect { errno, .. }) if is_policy(errno) => {
                    return Err(NoArena::Refused(errno));
                }
                result => result?,
            }
        }
        Ok(())
    }

    #[inline]
    pub(super) fn kind(&self) -> Kind {
        self.kind
    }

    /// The addresses at which code runs.
    #[inline]
    pub(super) fn code(&self) -> Range<usize> {
        self.code.clone()
    }

    /// Takes slabs for `bytes` bytes for `owner`. Returns the address of the first byte, and how many
    /// from there on have memory and hold traps.
    pub(super) fn take(
        &self,
        bytes: usize,
        owner: Owner,
    ) -> Result<Option<(usize, usize)>, ExecError> {
        let count = bytes.div_ceil(SLAB);
        let mut slabs = self.slabs.lock();
        let Some(run) = slabs.map.free_runs().find(|run| run.len() >= count) else {
            return Ok(None);
        };
        let taken = run.start..run.start + count;
        slabs.owners.try_reserve(1).map_err(|_| ExecError::OutOfMemory)?;
        slabs.map.take(run, taken.clone());
        slabs.owners.insert(taken.start, owner);
        let warm = taken.clone().take_while(|&slab| slabs.is_warm(slab)).count();
        taken.clone().for_each(|slab| slabs.set_warm(slab, false));
        Ok(Some((self.code.start + taken.start * SLAB, (warm * SLAB).min(bytes))))
    }

    /// Gives back what `take` returned; the first `warm` bytes have memory and hold traps. Returns
    /// whether the arena is empty now.
    pub(super) fn give_back(&self, address: usize, warm: usize) -> bool {
        let mut slabs = self.slabs.lock();
        let first = address.saturating_sub(self.code.start) / SLAB;
        slabs.owners.remove(&first);
        slabs.map.release(first);
        (first..first + warm / SLAB).for_each(|slab| slabs.set_warm(slab, true));
        slabs.map.free() == slabs.map.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        let slabs = self.slabs.lock();
        slabs.map.free() == slabs.map.len()
    }

    /// Who has the slab at `address`.
    pub(super) fn owner(&self, address: usize) -> Option<Owner> {
        let slab = address.checked_sub(self.code.start)? / SLAB;
        let slabs = self.slabs.lock();
        let run = slabs.map.run_around(slab)?;
        slabs.owners.get(&run.units.start).copied()
    }

    /// Bytes given out, and bytes of the records about it.
    pub(super) fn usage(&self) -> (usize, usize) {
        let slabs = self.slabs.lock();
        let taken = slabs.map.len() - slabs.map.free();
        let lists = slabs.owners.allocation_size() + size_of_val(slabs.warm.as_slice());
        (taken * SLAB, slabs.map.footprint() + lists + size_of::<Self>())
    }

    /// Gives the bytes at the addresses `range` memory at once, in both views, and fills them with
    /// traps.
    ///
    /// # Errors
    ///
    /// [`MemoryError::Prefault`] when there is not enough memory: the writes would end in a signal.
    ///
    /// # Safety
    ///
    /// Nobody reads, writes or runs the bytes, and they are writable.
    pub(super) unsafe fn warm(&self, range: Range<usize>) -> Result<(), MemoryError> {
        let (address, size) = (range.start, range.len());
        let Some(writable) = self.writable(&range) else { return Ok(()) };
        // SAFETY: inside the writable view, whole because `writable` checked it.
        if let Err(errno) = unsafe { sys::populate(writable, size) } {
            // A kernel before 5.14 does not know the advice, and the writes below do its work.
            if errno != rustix::io::Errno::INVAL {
                return Err(MemoryError::Prefault { address, size, errno });
            }
        }
        // SAFETY: passed on to the caller.
        trap::fill(unsafe { self.bytes_mut(range) });
        if self.kind != Kind::Changing {
            let code = self.inside(address - self.code.start + GUARD);
            // SAFETY: the same pages in the other view. Should it fail, only time is lost.
            let _ = unsafe { sys::populate_for_reading(code, size) };
        }
        Ok(())
    }

    /// The bytes at the addresses `range`, to be written; none when they are not all here.
    ///
    /// # Safety
    ///
    /// The bytes are the caller's alone for as long as the slice lives, nobody runs them, and they
    /// are writable.
    #[inline]
    #[expect(clippy::mut_from_ref, reason = "the arena owns addresses; who owns bytes, it is told")]
    pub(super) unsafe fn bytes_mut(&self, range: Range<usize>) -> &mut [u8] {
        let Some(start) = self.writable(&range) else { return &mut [] };
        // SAFETY: the range is mapped and, says the caller, writable and not referred to. The kernel
        // initialised it with zeros, and it is shorter than an address space.
        unsafe { slice::from_raw_parts_mut(start.as_ptr(), range.len()) }
    }

    /// How far the writable view is above the addresses of code, modulo the size of addresses.
    #[inline]
    pub(super) fn writable_offset(&self) -> usize {
        self.writable - GUARD
    }

    /// Where the bytes at the code addresses `range` are written, if they all lie in this arena.
    #[inline]
    pub(super) fn writable(&self, range: &Range<usize>) -> Option<NonNull<u8>> {
        let offset = range.start.checked_sub(self.code.start)?;
        (range.start <= range.end && range.end <= self.code.end)
            .then(|| self.inside(self.writable + offset))
    }

    /// Changes what may be done with whole pages at the addresses of code.
    ///
    /// # Errors
    ///
    /// [`MemoryError::Protect`] when the kernel refuses.
    ///
    /// # Safety
    ///
    /// Both ends are page boundaries of the code, and no reference into the pages is alive that
    /// `protection` does not allow.
    pub(super) unsafe fn protect(
        &self,
        range: Range<usize>,
        protection: Protection,
    ) -> Result<(), MemoryError> {
        let offset = range.start.saturating_sub(self.code.start);
        let inside = GUARD + offset..GUARD + offset + range.len();
        // SAFETY: passed on to the caller; the reservation is the arena's own.
        unsafe { self.region.protect(inside, protection) }
    }

    /// The byte at this offset of the reservation, which must have it.
    #[inline]
    fn inside(&self, offset: usize) -> NonNull<u8> {
        debug_assert!(offset <= self.region.size().bytes());
        // SAFETY: every caller stays inside the reservation: the offsets of the views by the layout
        // above, those in a view by comparison with its size.
        unsafe { self.region.start().add(offset) }
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

    /// The rights of the mapping that has `address`, and of the next one.
    fn rights(address: usize) -> Vec<String> {
        let from = maps().into_iter().skip_while(|line| !line.addresses.contains(&address));
        from.take(2).map(|line| line.access).collect()
    }

    #[test]
    #[cfg_attr(miri, ignore = "reads code where it is not written")]
    fn code_that_perf_takes_for_anonymous_is_mapped_as_ever() {
        let options = CodeMemoryOptions { perf_map: true, ..CodeMemoryOptions::default() };
        for refused in [None, Some(Call::MapOver), Some(Call::CopyMapping)] {
            let _fault = refused.map(|call| inject(call, 0, Errno::ACCESS));
            let memory = CodeMemory::new(options);
            let mut block = memory.allocate(32).unwrap();
            assert_eq!(memory.backing(), Some(Backing::MemoryFile));
            block.as_mut_slice().fill(0x42);
            let block = block.publish().unwrap();
            // SAFETY: the first byte of a live block, which is readable.
            assert_eq!(unsafe { block.as_ptr().read() }, 0x42, "{refused:?}");
            // Code, and the same bytes to be written, each with their tail.
            assert_eq!(rights(block.address()), ["r-x", "rw-"], "{refused:?}");
        }
    }
}
