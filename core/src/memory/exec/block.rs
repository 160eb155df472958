//! The two states of a block of code, and the one step between them.
//!
//! A [`WritableBlock`] can be written and not run; [`publish`](WritableBlock::publish) consumes it
//! and gives an [`ExecutableBlock`], which can be run and not written. Both give their memory back
//! when they are dropped.
#![allow(unsafe_code)]

use core::ptr::{self, NonNull};
use core::{fmt, slice};

use super::super::icache;
use super::super::pages::Protection;
use super::audit::Action;
use super::error::ExecError;
use super::hints::Spot;
use super::shared::Shared;
use super::trap;

/// A block of either state: some bytes of an arena, and the duty to give them back.
pub(super) struct Block {
    /// Alive as long as the block, because a lane with live blocks keeps it.
    shared: NonNull<Shared>,
    /// Where the bytes are written.
    writable: NonNull<u8>,
    /// Where they run.
    address: usize,
    /// The bytes that were asked for.
    len: u32,
    /// The bytes from `address` on that belong to the block.
    capacity: u32,
    spot: Spot,
    lane: u16,
    /// Its pages are writable or executable by turns, and are now...
    changing: bool,
    /// ... executable.
    executable: bool,
}

// SAFETY: a block is the sole owner of its bytes, and what it shares with others is behind locks.
unsafe impl Send for Block {}
// SAFETY: as above; through a shared reference the bytes can only be read.
unsafe impl Sync for Block {}

/// The place of a new block.
pub(super) struct Place {
    pub(super) shared: NonNull<Shared>,
    pub(super) writable: NonNull<u8>,
    pub(super) address: usize,
    pub(super) len: u32,
    pub(super) capacity: u32,
    pub(super) spot: Spot,
    pub(super) lane: u16,
    pub(super) changing: bool,
}

impl Block {
    /// # Safety
    ///
    /// * The lane has taken the place for this block alone, and counts it as live.
    /// * The bytes are mapped, initialised and writable.
    #[inline]
    pub(super) unsafe fn new(place: Place) -> Self {
        let Place { shared, writable, address, len, capacity, spot, lane, changing } = place;
        let executable = false;
        Self { shared, writable, address, len, capacity, spot, lane, changing, executable }
    }

    #[inline]
    fn shared(&self) -> &Shared {
        // SAFETY: it is alive, as the field says, and only ever borrowed shared.
        unsafe { self.shared.as_ref() }
    }

    #[inline]
    pub(super) fn address(&self) -> usize {
        self.address
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        self.len as usize
    }

    #[inline]
    pub(super) fn capacity(&self) -> usize {
        self.capacity as usize
    }

    #[inline]
    pub(super) fn spot(&self) -> Spot {
        self.spot
    }

    #[inline]
    pub(super) fn is_changing(&self) -> bool {
        self.changing
    }

    /// Everything that belongs to the block, to be written.
    ///
    /// # Safety
    ///
    /// No slice of the bytes is alive, and those of changing pages are writable now.
    #[inline]
    pub(super) unsafe fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: the bytes are the block's own, mapped and initialised since it was made, and
        // writable, says the caller; fewer than an address space has.
        unsafe { slice::from_raw_parts_mut(self.writable.as_ptr(), self.capacity()) }
    }

    /// The bytes that were asked for.
    #[inline]
    fn as_slice(&self) -> &[u8] {
        // SAFETY: as above; readable in every state, and written through `&mut self` alone.
        unsafe { slice::from_raw_parts(self.writable.as_ptr(), self.len()) }
    }

    /// Changes what may be done with the pages at the address of the block. Not executable, they are
    /// none that may be run.
    ///
    /// # Safety
    ///
    /// No slice of the bytes is alive, and the block has whole pages of an arena that is not sealed.
    pub(super) unsafe fn protect(&mut self, protection: Protection) -> Result<(), ExecError> {
        let arena = self.shared().arena(self.lane, self.spot)?;
        let range = self.address..self.address + self.capacity();
        // SAFETY: passed on to the caller.
        unsafe { arena.protect(range, protection) }?;
        self.executable = protection == Protection::ReadExecute;
        Ok(())
    }

    /// Lets the bytes run.
    #[inline]
    fn publish(mut self) -> Result<ExecutableBlock, ExecError> {
        if self.changing {
            // SAFETY: `self` was moved here, so that no slice is alive; a block of a changing arena
            // has whole pages.
            unsafe { self.protect(Protection::ReadExecute) }?;
        }
        self.announce()?;
        Ok(ExecutableBlock(self))
    }

    /// Makes the bytes, which are readable at their address, the ones that every core fetches, and
    /// the block one that may be called.
    #[inline]
    pub(super) fn announce(&self) -> Result<(), ExecError> {
        let code = ptr::with_exposed_provenance(self.address);
        // SAFETY: the same bytes where they run, readable and not being written.
        icache::synchronize(unsafe { slice::from_raw_parts(code, self.capacity()) })?;
        let mut lane = self.shared().lock(self.lane)?;
        lane.set_published(self.spot, true);
        lane.ledger.publications += 1;
        lane.events.note(Action::Publish, self.address, u64::from(self.len));
        Ok(())
    }
}

impl Block {
    /// Fills the bytes with traps. `false` when they can not be written any more.
    #[inline]
    fn erase(&mut self) -> bool {
        if self.changing && self.executable {
            // SAFETY: no slice outlives the block, which is being dropped, and a block of a changing
            // arena has whole pages.
            if unsafe { self.protect(Protection::ReadWrite) }.is_err() {
                return false;
            }
        }
        // SAFETY: as above, and writable now.
        trap::fill(unsafe { self.bytes_mut() });
        true
    }
}

impl Drop for Block {
    #[inline]
    fn drop(&mut self) {
        // In a child process the bytes belong to the parent; and pages that the kernel will not make
        // writable again are not for anybody else either.
        if !self.shared().is_forked() && self.erase() {
            let (spot, len, capacity) = (self.spot, self.len(), self.capacity());
            let keep = self.shared().give_back(self.lane, spot, self.address, len, capacity);
            // The last block of an allocator that nobody else holds ends it here.
            drop(keep);
        }
    }
}

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
        self.0.address
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
        // SAFETY: borrowed from `&mut self`; a writable block's pages are writable.
        let bytes = unsafe { self.0.bytes_mut() };
        bytes.get_mut(..len).unwrap_or(&mut [])
    }

    /// Lets the bytes run, for good. Every thread may call them as soon as this returns.
    ///
    /// # Errors
    ///
    /// The memory is given back. [`ExecError::Memory`] when the kernel refuses its part, which it
    /// has where pages change or caches need maintenance; [`ExecError::Forked`] in a child process.
    #[inline]
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
        self.0.address
    }

    /// How many bytes there are, as asked for.
    #[inline]
    #[expect(clippy::len_without_is_empty, reason = "a block has at least one byte")]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The first byte, good for reading and calling as long as the block lives.
    #[inline]
    pub fn as_ptr(&self) -> *const u8 {
        ptr::with_exposed_provenance(self.0.address)
    }

    /// Gives the memory back; the same as dropping it.
    #[inline]
    pub fn free(self) {}
}

impl fmt::Debug for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:x} bytes at 0x{:x}", self.len, self.address)
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
