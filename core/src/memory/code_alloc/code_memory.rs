//! The handle of the allocator.

use alloc::alloc::handle_alloc_error;
use core::{alloc::Layout, fmt};

use hashbrown::HashMap;

use super::super::lock::{Lock, LockGuard};
use super::alloc_request::ArenaKind;
use super::allocator::{Allocator, BYTES};
use super::audit::{Action, DrainedEvents, Event};
use super::backing::Backing;
use super::block::{Block, WritableBlock};
use super::error::ExecError;
use super::options::{CodeMemoryOptions, Request};
use super::page_table::PageBlock;
use super::statistics::{ArenaUse, Statistics};
use crate::alloc_util::TryArc;

/// An allocator of executable memory for any number of threads. Clones are handles to the same allocator.
///
/// Its memory is returned to the system when all handles and blocks are dropped, or by [`trim`](Self::trim).
#[derive(Clone)]
pub struct CodeMemory {
    inner: TryArc<Inner>,
}

struct Inner {
    allocator: Allocator,
    /// Blocks of whole pages, by address.
    pages: Lock<HashMap<usize, PageBlock>>,
}

impl CodeMemory {
    /// Creates an empty allocator. The first block maps the first arena.
    ///
    /// # Errors
    /// [`ExecError::OutOfMemory`].
    pub fn new(options: CodeMemoryOptions) -> Result<Self, ExecError> {
        let (allocator, pages) = (Allocator::new(options), Lock::default());
        Ok(Self { inner: TryArc::new(Inner { allocator, pages })? })
    }

    /// Allocates `size` bytes at a multiple of 8, filled with trapping instructions.
    ///
    /// # Errors
    /// As [`allocate_with`](Self::allocate_with).
    // Benchmark row: "allocate, write, publish 100 bytes of code".
    #[inline(always)]
    pub fn allocate(&self, size: usize) -> Result<WritableBlock, ExecError> {
        self.allocate_with(Request::new(size))
    }

    /// Allocates a block, filled with trapping instructions.
    ///
    /// # Errors
    /// * [`ExecError::Empty`], [`ExecError::TooLarge`], [`ExecError::Alignment`]: an invalid request.
    /// * [`ExecError::CeilingBytes`], [`ExecError::CeilingBlocks`]: the block would exceed a ceiling.
    /// * [`ExecError::Policy`]: the system forbids executable memory.
    /// * [`ExecError::Memory`], [`ExecError::OutOfMemory`]: no memory.
    /// * [`ExecError::Forked`]: in a child process.
    // Benchmark row: "allocate, write, publish 100 bytes of code".
    #[inline(always)]
    pub fn allocate_with(&self, request: Request) -> Result<WritableBlock, ExecError> {
        self.allocate_block(BYTES, ArenaKind::Sealed, request).map(WritableBlock)
    }

    // Benchmark row: "allocate, write, publish 100 bytes of code".
    #[inline(always)]
    pub(super) fn allocate_block(
        &self,
        shard: u16,
        kind: ArenaKind,
        request: Request,
    ) -> Result<Block, ExecError> {
        let allocator = self.allocator();
        let keep_alive = || self.inner.clone().into_any();
        let allocation = allocator.allocate(shard, kind, request, &keep_alive)?;
        // The size is at most MAX_BLOCK_SIZE, which fits.
        let block = Block::new(allocator, allocation, request.size as u32, shard);
        allocator.audit.record(Action::Allocate, block.address(), request.size as u64);
        Ok(block)
    }

    pub(super) fn allocator(&self) -> &Allocator {
        &self.inner.allocator
    }

    /// Locks the table of page blocks.
    ///
    /// # Errors
    /// [`ExecError::Forked`] if its holder is a thread of the parent process.
    pub(super) fn pages(&self) -> Result<LockGuard<'_, HashMap<usize, PageBlock>>, ExecError> {
        self.allocator().wait(&self.inner.pages)
    }

    /// The backing of code on this system; `None` before the first allocation.
    pub fn backing(&self) -> Option<Backing> {
        self.allocator().arenas.backing()
    }

    /// The current statistics; zeros in a child process. It locks the shards.
    pub fn statistics(&self) -> Statistics {
        self.allocator().statistics()
    }

    /// Removes the events from the [audit log](CodeMemoryOptions::audit_events).
    ///
    /// # Errors
    /// [`ExecError::Forked`] in a child process, if a thread of the parent was recording.
    pub fn drain_events(&self) -> Result<DrainedEvents, ExecError> {
        self.allocator().audit.drain()
    }

    /// As [`drain_events`](Self::drain_events), for the earliest `count` events: calls `each` with them, and returns the
    /// number of events before them that were lost. Allocates nothing. The log is locked meanwhile: `each` must not use
    /// this memory.
    ///
    /// # Errors
    /// As [`drain_events`](Self::drain_events).
    pub fn drain_first_events(
        &self,
        count: usize,
        mut each: impl FnMut(&Event),
    ) -> Result<u64, ExecError> {
        self.allocator().audit.drain_first(count, &mut each)
    }

    /// Changes the number of events that the [audit log](CodeMemoryOptions::audit_events) retains, and returns the
    /// previous one. Events that exceed it are lost.
    ///
    /// # Errors
    /// As [`drain_events`](Self::drain_events).
    pub fn set_audit_events(&self, events: usize) -> Result<usize, ExecError> {
        self.allocator().audit.set_capacity(events)
    }

    /// Calls `each` with the use of each arena. The arenas are locked meanwhile: `each` must not use this memory.
    ///
    /// # Errors
    /// [`ExecError::Forked`] in a child process.
    pub fn for_each_arena(&self, mut each: impl FnMut(&ArenaUse)) -> Result<(), ExecError> {
        self.allocator().arenas.for_each(&mut each)
    }

    /// Unmaps every arena without live blocks.
    ///
    /// # Errors
    /// [`ExecError::Forked`] in a child process.
    pub fn trim(&self) -> Result<(), ExecError> {
        let _pages = self.pages()?;
        self.allocator().trim()
    }
}

impl Default for CodeMemory {
    /// An allocator with default options. Aborts the process if there is no memory for its metadata.
    fn default() -> Self {
        let memory = Self::new(CodeMemoryOptions::default());
        memory.unwrap_or_else(|_| handle_alloc_error(Layout::new::<Inner>()))
    }
}

impl fmt::Debug for CodeMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CodeMemory").field(&self.statistics()).finish()
    }
}
