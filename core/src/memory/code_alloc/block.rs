//! The two states of a block of code, and the one step between them.
//!
//! A [`WritableBlock`] can be written and not run; [`publish`](WritableBlock::publish) consumes it
//! and gives an [`ExecutableBlock`], which can be run and not written. Both give their memory back
//! when they are dropped.
#![allow(unsafe_code)]

use core::num::NonZeroUsize;
use core::ptr::{self, NonNull};
use core::{fmt, slice};

use super::super::types::Protection;
use super::super::{icache, sys};
use super::alloc_request::{Allocation, BlockId};
use super::error::ExecError;
use super::free_lists::Spot;
use super::shared::Shared;
use super::trap;

/// A block of either state: some bytes of an arena, and the duty to give them back.
pub(super) struct Block {
    /// Alive as long as the block, because a lane with live blocks keeps it.
    shared: NonNull<Shared>,
    place: Place,
}

/// Where a block is, and how large: whole words, which a processor moves from one place to another
/// without waiting, as it would have to for parts of one.
pub(super) struct Place {
    /// Where the bytes run.
    pub(super) address: NonZeroUsize,
    pub(super) at: BlockId,
    /// From the lowest bit: 32 of the bytes that were asked for, 16 of the lane, and one: the pages
    /// changed and are executable.
    word: u64,
}

/// The bit of [`Place::word`] for executable pages.
const EXECUTABLE: u64 = 1 << 48;

impl Place {
    /// The bytes that were asked for.
    #[inline]
    pub(super) fn len(&self) -> usize {
        // As it was put in.
        self.word as u32 as usize
    }

    #[inline]
    pub(super) fn lane(&self) -> u16 {
        // As it was put in.
        (self.word >> 32) as u16
    }
}

// SAFETY: a block is the sole owner of its bytes, and what it shares with others is behind locks.
unsafe impl Send for Block {}
// SAFETY: as above; through a shared reference the bytes can only be read.
unsafe impl Sync for Block {}

impl Block {
    /// # Safety
    ///
    /// * The lane has taken the place for this block alone, and counts it as live.
    /// * The bytes are mapped, initialised and writable.
    #[inline]
    pub(super) unsafe fn new(shared: &Shared, found: Allocation, len: u32, lane: u16) -> Self {
        let Allocation { address, at } = found;
        let place = Place { address, at, word: u64::from(len) | u64::from(lane) << 32 };
        Self { shared: NonNull::from_ref(shared), place }
    }

    #[inline]
    fn shared(&self) -> &Shared {
        // SAFETY: it is alive, as the field says, and only ever borrowed shared.
        unsafe { self.shared.as_ref() }
    }

    #[inline]
    pub(super) fn address(&self) -> usize {
        self.place.address.get()
    }

    /// The bytes that were asked for.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.place.len()
    }

    #[inline]
    pub(super) fn spot(&self) -> Spot {
        self.place.at.spot()
    }

    /// Whether its pages are writable or executable by turns.
    #[inline]
    pub(super) fn is_changing(&self) -> bool {
        self.place.at.writable_offset() == 0
    }

    /// Where the first byte is written.
    #[inline]
    fn writable(&self) -> *mut u8 {
        // The arena exposed the addresses of both views.
        ptr::with_exposed_provenance_mut(
            self.address().wrapping_add(self.place.at.writable_offset()),
        )
    }

    /// The first `len` bytes, to be written.
    ///
    /// # Safety
    ///
    /// The bytes belong to the block, which has more than were asked for only if it has whole pages.
    /// No slice of them is alive, and those of changing pages are writable now.
    #[inline]
    pub(super) unsafe fn bytes_mut(&mut self, len: usize) -> &mut [u8] {
        // SAFETY: the bytes are the block's own, mapped and initialised since it was made, and
        // writable, says the caller; fewer than an address space has.
        unsafe { slice::from_raw_parts_mut(self.writable(), len) }
    }

    /// The bytes that were asked for.
    #[inline]
    fn as_slice(&self) -> &[u8] {
        // SAFETY: as above; readable in every state, and written through `&mut self` alone.
        unsafe { slice::from_raw_parts(self.writable(), self.len()) }
    }

    /// Fills the first `len` bytes with traps, those of changing pages after they became writable
    /// again; `false` when that could not be.
    ///
    /// # Safety
    ///
    /// As [`bytes_mut`](Self::bytes_mut), but for the writing.
    pub(super) unsafe fn erase(&mut self, len: usize) -> bool {
        if self.place.word & EXECUTABLE != 0 {
            // SAFETY: no slice is alive, and a block of a changing arena has whole pages.
            if unsafe { self.protect(Protection::ReadWrite) }.is_err() {
                return false;
            }
        }
        // SAFETY: passed on to the caller, and writable now.
        trap::fill(unsafe { self.bytes_mut(len) });
        true
    }

    /// Changes what may be done with the pages at the address of the block. Not executable, they are
    /// none that may be run.
    ///
    /// # Safety
    ///
    /// No slice of the bytes is alive, and the block has whole pages of an arena that is not sealed.
    pub(super) unsafe fn protect(&mut self, protection: Protection) -> Result<(), ExecError> {
        let arena = self.shared().arena(self.place.lane(), self.spot())?;
        let size = self.len().next_multiple_of(sys::page_size());
        let range = self.address()..self.address() + size;
        // SAFETY: passed on to the caller.
        unsafe { arena.protect(range, protection) }?;
        let executable = self.is_changing() && protection == Protection::ReadExecute;
        self.place.word =
            if executable { self.place.word | EXECUTABLE } else { self.place.word & !EXECUTABLE };
        Ok(())
    }

    /// Lets the bytes run.
    #[inline(always)]
    fn publish(self) -> Result<ExecutableBlock, ExecError> {
        // By value on either way, so that the block can stay in registers on the first.
        let shared = self.shared();
        if shared.records(self.place.lane())
            || self.is_changing()
            || shared.is_forked()
            || self.synchronize(self.len()).is_err()
        {
            return self.publish_slowly();
        }
        Ok(ExecutableBlock(self))
    }

    #[inline(never)]
    fn publish_slowly(mut self) -> Result<ExecutableBlock, ExecError> {
        if self.is_changing() {
            // SAFETY: `self` was moved here, so that no slice is alive; a block of a changing arena
            // has whole pages.
            unsafe { self.protect(Protection::ReadExecute) }?;
        }
        self.announce(self.len())?;
        Ok(ExecutableBlock(self))
    }

    /// Makes the first `len` bytes, which belong to the block and are readable at its address, the
    /// ones that every core fetches.
    #[inline(always)]
    fn synchronize(&self, len: usize) -> Result<(), ExecError> {
        let code = ptr::with_exposed_provenance(self.address());
        // SAFETY: the same bytes where they run, readable and not being written.
        Ok(icache::synchronize(unsafe { slice::from_raw_parts(code, len) })?)
    }

    /// As [`synchronize`](Self::synchronize), and makes the block one that may be called by address.
    pub(super) fn announce(&self, len: usize) -> Result<(), ExecError> {
        self.synchronize(len)?;
        self.shared().publish(&self.place)
    }
}

impl Drop for Block {
    #[inline]
    fn drop(&mut self) {
        // In a child process the bytes belong to the parent.
        if self.shared().is_forked() {
            return;
        }
        let len = self.len();
        // Pages that the kernel will not make writable again are not for anybody else either.
        let usable = if self.is_changing() || len > ERASED_UNDER_LOCK {
            // SAFETY: the bytes that were asked for; no slice outlives the block.
            Some(unsafe { self.erase(len) })
        } else {
            None
        };
        let keep = self.shared().give_back(&self.place, || {
            usable.unwrap_or_else(|| {
                // SAFETY: as above, and not changing. The block is borrowed, its bytes are not.
                trap::fill(unsafe { slice::from_raw_parts_mut(self.writable(), len) });
                true
            })
        });
        // The last block of an allocator that nobody else holds ends it here.
        drop(keep);
    }
}

/// How many bytes are filled with traps while the lane is locked: fewer than what it costs to wait
/// for these stores before the lock.
const ERASED_UNDER_LOCK: usize = 1024;

/// Bytes that can be written and not run: code in the making.
///
/// The memory holds trapping instructions at first. Dropping it gives it back.
pub struct WritableBlock(Block);

impl WritableBlock {
    #[inline]
    pub(super) fn new(block: Block) -> Self {
        Self(block)
    }

    /// The address at which the first byte will run, and to which code is to be relocated. It is not
    /// the address at which the bytes are written.
    #[inline]
    pub fn address(&self) -> usize {
        self.0.address()
    }

    /// How many bytes there are, as asked for.
    #[inline]
    #[expect(clippy::len_without_is_empty, reason = "a block has at least one byte")]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The bytes.
    #[inline]
    pub fn as_slice(&self) -> &[u8] {
        self.0.as_slice()
    }

    /// The bytes, to be written.
    #[inline]
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        let len = self.0.len();
        // SAFETY: the bytes that were asked for, borrowed from `&mut self`; the pages of a writable
        // block are writable.
        unsafe { self.0.bytes_mut(len) }
    }

    /// Lets the bytes run, for good. Every thread may call them as soon as this returns.
    ///
    /// # Errors
    ///
    /// The memory is given back. [`ExecError::Memory`] when the kernel refuses its part, which it
    /// has where pages change or caches need maintenance; [`ExecError::Forked`] in a child process.
    #[inline(always)]
    pub fn publish(self) -> Result<ExecutableBlock, ExecError> {
        self.0.publish()
    }
}

/// Bytes that can be run and not written. Dropping it gives them back, filled with trapping
/// instructions before anything else happens to them.
///
/// Whoever runs the code has to keep the block alive meanwhile.
pub struct ExecutableBlock(Block);

impl ExecutableBlock {
    /// The address of the first byte.
    #[inline]
    pub fn address(&self) -> usize {
        self.0.address()
    }

    /// How many bytes there are, as asked for.
    #[inline]
    #[expect(clippy::len_without_is_empty, reason = "a block has at least one byte")]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The bytes.
    #[inline]
    pub fn as_slice(&self) -> &[u8] {
        self.0.as_slice()
    }

    /// Whether this is a child of the process that made the block, as far as the kernel tells.
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn is_forked(&self) -> bool {
        self.0.shared().is_forked()
    }

    /// The first byte, good for reading and calling as long as the block lives.
    #[inline]
    pub fn as_ptr(&self) -> *const u8 {
        ptr::with_exposed_provenance(self.0.address())
    }

    /// Gives the memory back; the same as dropping it.
    #[inline]
    pub fn free(self) {}
}

impl fmt::Debug for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:x} bytes at 0x{:x}", self.len(), self.address())
    }
}

impl fmt::Debug for WritableBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("WritableBlock").field(&self.0).finish()
    }
}

impl fmt::Debug for ExecutableBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ExecutableBlock").field(&self.0).finish()
    }
}
