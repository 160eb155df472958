//! Blocks of code in two states, and the step between them.
//!
//! A [`WritableBlock`] is written and cannot run; [`publish`](WritableBlock::publish) consumes it into an
//! [`ExecutableBlock`], which runs and cannot be written. Dropping either frees its memory.
//!
//! Invariants of a [`Block`], which only this file turns into pointers:
//!
//! * An [`Allocation`] exists once for each used span, so a block is the only owner of its bytes, which are mapped and
//!   initialised.
//! * A block outside of sealed arenas has whole pages.
//! * An allocator with live blocks holds a reference to the owner of the allocator.
#![allow(unsafe_code)]

use core::ptr::{self, NonNull};
use core::{fmt, slice};

use super::super::types::Protection;
use super::super::{icache, sys};
use super::alloc_request::Allocation;
use super::allocator::{Allocator, CODE_PAGES};
use super::audit::Action;
use super::error::{ExecError, Result};
use super::trap_fill;

/// Up to this size, freed blocks are filled with traps while the shards are locked, which is cheaper than to wait for the
/// stores before the lock.
const MAX_ERASED_UNDER_LOCK: usize = 1024;

/// A block in either state: the only owner of some bytes of an arena.
pub(super) struct Block {
    /// Alive as long as the block: see the invariants.
    allocator: NonNull<Allocator>,
    allocation: Allocation,
    /// From the lowest bit: 32 bits of the requested size; 16 of the shard; [`READ_ONLY`]. One word, so that moving a
    /// block does not stall store forwarding.
    word: u64,
}

/// The bit of a block whose pages are mapped once and not writable now.
const READ_ONLY: u64 = 1 << 48;

// SAFETY: a block is the only owner of its bytes, and the allocator is shared behind locks.
unsafe impl Send for Block {}
// SAFETY: as above; a shared reference only reads the bytes.
unsafe impl Sync for Block {}

impl Block {
    /// The block of `len` bytes of an allocation that shard `shard` of `allocator` made and counts as live.
    pub(super) fn new(allocator: &Allocator, allocation: Allocation, len: u32, shard: u16) -> Self {
        let word = u64::from(len) | u64::from(shard) << 32;
        Self { allocator: NonNull::from_ref(allocator), allocation, word }
    }

    fn allocator(&self) -> &Allocator {
        // SAFETY: alive as long as the block, and never borrowed mutably.
        unsafe { self.allocator.as_ref() }
    }

    /// Whether this is a child process.
    fn is_forked(&self) -> bool {
        self.allocator().arenas.is_forked()
    }

    pub(super) fn address(&self) -> usize {
        self.allocation.address.get()
    }

    /// The requested size in bytes.
    pub(super) fn len(&self) -> usize {
        // The cast extracts the field.
        self.word as u32 as usize
    }

    pub(super) fn shard(&self) -> u16 {
        // The cast extracts the field.
        (self.word >> 32) as u16
    }

    /// Whether the pages are mapped once and not writable now.
    fn is_read_only(&self) -> bool {
        self.word & READ_ONLY != 0
    }

    /// Whether its pages are mapped once, and are either writable or executable.
    pub(super) fn is_changing(&self) -> bool {
        self.allocation.id.writable_offset() == 0
    }

    /// Whether the block has whole pages, of which other blocks have no part.
    fn has_whole_pages(&self) -> bool {
        self.is_changing() || self.shard() >= CODE_PAGES
    }

    /// The size in bytes with the rest of the last page, if the block has whole pages.
    pub(super) fn capacity(&self) -> usize {
        if self.has_whole_pages() {
            self.len().next_multiple_of(sys::page_size())
        } else {
            self.len()
        }
    }

    /// The first byte of the writable view.
    #[inline]
    fn writable(&self) -> *mut u8 {
        // The arena exposed the provenance of both views.
        ptr::with_exposed_provenance_mut(
            self.address().wrapping_add(self.allocation.id.writable_offset()),
        )
    }

    /// The requested bytes.
    #[inline]
    fn as_slice(&self) -> &[u8] {
        // SAFETY: the block owns the bytes; they are mapped, initialised, readable through the writable view, and
        // written through `&mut self` only.
        unsafe { slice::from_raw_parts(self.writable(), self.len()) }
    }

    /// The first `len` bytes, at most [`capacity`](Self::capacity); none while they are not writable.
    #[inline]
    fn bytes_mut(&mut self, len: usize) -> &mut [u8] {
        if self.is_read_only() {
            return &mut [];
        }
        // SAFETY: the block owns the bytes; they are mapped, initialised and writable, and `&mut self` makes the slice
        // the only access.
        unsafe { slice::from_raw_parts_mut(self.writable(), len) }
    }

    /// All bytes with the rest of the last page; none while they are not writable.
    pub(super) fn capacity_mut(&mut self) -> &mut [u8] {
        self.bytes_mut(self.capacity())
    }

    /// Makes all bytes writable and fills them with traps; false if the protection cannot be changed.
    pub(super) fn erase(&mut self) -> bool {
        if self.is_read_only() && self.protect(Protection::ReadWrite).is_err() {
            return false;
        }
        trap_fill::fill(self.capacity_mut());
        true
    }

    /// Changes the protection of the pages at the code address. It has no effect on a block without whole pages.
    pub(super) fn protect(&mut self, protection: Protection) -> Result<()> {
        if !self.has_whole_pages() {
            return Ok(());
        }
        let first = self.allocation.id.first_unit();
        let arena = self.allocator().lock()?.get(self.shard()).arena(first);
        let arena = arena.ok_or(ExecError::OutOfMemory)?;
        let range = self.address()..self.address() + self.capacity();
        // SAFETY: whole pages of this block; `&mut self` ends all borrows of them, and `bytes_mut` lends none that are
        // not writable.
        unsafe { arena.protect(range, protection) }?;
        let is_writable = protection == Protection::ReadWrite || !self.is_changing();
        self.word = if is_writable { self.word & !READ_ONLY } else { self.word | READ_ONLY };
        Ok(())
    }

    /// Makes the bytes executable.
    // Benchmark row: "allocate, write, publish 100 bytes of code".
    #[inline(always)]
    fn publish(self) -> Result<ExecutableBlock> {
        // By value on both paths, so that the block can stay in registers on the first.
        if self.is_changing() || self.is_forked() || self.synchronize(self.len()).is_err() {
            return self.publish_slow();
        }
        self.allocator().audit.record(Action::Publish, self.address(), self.len() as u64);
        Ok(ExecutableBlock(self))
    }

    #[cold]
    fn publish_slow(mut self) -> Result<ExecutableBlock> {
        if self.is_changing() {
            self.protect(Protection::ReadExecute)?;
        }
        self.synchronize(self.len())?;
        if self.is_forked() {
            return Err(ExecError::Forked);
        }
        self.allocator().audit.record(Action::Publish, self.address(), self.len() as u64);
        Ok(ExecutableBlock(self))
    }

    /// Makes all bytes visible to instruction fetch and counts the block as published.
    pub(super) fn record_executable(&self) -> Result<()> {
        self.synchronize(self.capacity())?;
        self.allocator().lock()?.counters.publications += 1;
        self.allocator().audit.record(Action::Publish, self.address(), self.len() as u64);
        Ok(())
    }

    /// Makes the first `len` bytes, which are readable at the code address, visible to instruction fetch.
    // Benchmark row: "allocate, write, publish 100 bytes of code".
    #[inline(always)]
    fn synchronize(&self, len: usize) -> Result<()> {
        let code = ptr::with_exposed_provenance(self.address());
        // SAFETY: bytes of this block in the executable view, readable and not being written.
        Ok(icache::synchronize(unsafe { slice::from_raw_parts(code, len) })?)
    }
}

impl Drop for Block {
    #[inline]
    fn drop(&mut self) {
        // In a child process, the bytes belong to the parent.
        if self.is_forked() {
            return;
        }
        let len = self.len();
        let is_early = len > MAX_ERASED_UNDER_LOCK || self.is_read_only();
        let erased = is_early.then(|| self.erase());
        let writable = self.writable();
        let keep_alive = self.allocator().free(self.shard(), &self.allocation, len, || {
            erased.unwrap_or_else(|| {
                // SAFETY: as in `bytes_mut`: the pages are not read-only. The block is borrowed, its bytes are not.
                trap_fill::fill(unsafe { slice::from_raw_parts_mut(writable, len) });
                true
            })
        });
        // Frees the allocator with its last block, if no handle is left.
        drop(keep_alive);
    }
}

/// A block that is writable and not executable.
///
/// It initially holds trapping instructions. Dropping it frees the memory.
#[derive(Debug)]
pub struct WritableBlock(pub(super) Block);

impl WritableBlock {
    /// The address at which the first byte will run, to which code is relocated. The bytes are written at another
    /// address.
    pub fn address(&self) -> usize {
        self.0.address()
    }

    /// The requested size in bytes.
    #[expect(clippy::len_without_is_empty, reason = "a block has at least one byte")]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        self.0.as_slice()
    }

    /// The bytes.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        let len = self.0.len();
        self.0.bytes_mut(len)
    }

    /// Makes the bytes executable. When this returns, every thread can call them.
    ///
    /// # Errors
    /// The block is freed. [`ExecError::Memory`] if a system call fails where pages change or caches need maintenance;
    /// [`ExecError::Forked`] in a child process.
    // Benchmark row: "allocate, write, publish 100 bytes of code".
    #[inline(always)]
    pub fn publish(self) -> Result<ExecutableBlock> {
        self.0.publish()
    }
}

/// A block that is executable and not writable. Dropping it fills it with trapping instructions and frees the memory.
///
/// A caller that runs the code keeps the block alive meanwhile.
#[derive(Debug)]
pub struct ExecutableBlock(Block);

impl ExecutableBlock {
    /// The address of the first byte.
    pub fn address(&self) -> usize {
        self.0.address()
    }

    /// The requested size in bytes.
    #[expect(clippy::len_without_is_empty, reason = "a block has at least one byte")]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        self.0.as_slice()
    }

    /// Whether this is a child of the process that allocated the block, as far as the kernel reports it.
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    pub(crate) fn is_forked(&self) -> bool {
        self.0.is_forked()
    }

    /// A pointer to the first byte, valid for reads and calls while the block lives.
    pub fn as_ptr(&self) -> *const u8 {
        ptr::with_exposed_provenance(self.0.address())
    }

    /// Frees the memory, as dropping does.
    pub fn free(self) {}
}

impl fmt::Debug for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:x} bytes at 0x{:x}", self.len(), self.address())
    }
}
