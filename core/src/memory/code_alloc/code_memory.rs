//! The handle of the allocator.

use alloc::alloc::handle_alloc_error;
use core::alloc::Layout;
use core::fmt;

use super::super::lock::{Lock, LockGuard};
use super::super::types::{MemoryError, Placement};
use super::alloc_request::ArenaKind;
use super::allocator::Allocator;
use super::audit::{Event, Statistics};
use super::backing::Backing;
use super::block::{Block, WritableBlock};
use super::error::ExecError;
use super::options::{CodeMemoryOptions, Request};
use super::page_table::PageTable;
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
    pages: Lock<PageTable>,
}

impl CodeMemory {
    /// Creates an empty allocator. The first block maps the first arena.
    ///
    /// # Errors
    /// [`ExecError::OutOfMemory`].
    pub fn new(options: CodeMemoryOptions) -> Result<Self, ExecError> {
        let (allocator, pages) = (Allocator::new(options), Lock::new(PageTable::new()));
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
    /// * [`ExecError::Memory`], [`ExecError::OutOfMemory`]: no memory, or none that satisfies the placement.
    /// * [`ExecError::Forked`]: in a child process.
    // Benchmark row: "allocate, write, publish 100 bytes of code".
    #[inline(always)]
    pub fn allocate_with(&self, request: Request) -> Result<WritableBlock, ExecError> {
        let block = match request.placement {
            Placement::PreferNear(address) => self.allocate_near(address, request)?,
            _ => {
                self.allocate_block(self.allocator().current_shard(), ArenaKind::Sealed, request)?
            }
        };
        Ok(WritableBlock::new(block))
    }

    /// Allocates near `address` if addresses are free there. A failed search is not repeated for the same address.
    #[cold]
    fn allocate_near(&self, address: usize, request: Request) -> Result<Block, ExecError> {
        let arenas = &self.allocator().arenas;
        let shard = self.allocator().current_shard();
        if !arenas.is_crowded(address) {
            let near = request.placed(Placement::Near(address));
            match self.allocate_block(shard, ArenaKind::Sealed, near) {
                Err(ExecError::Memory(MemoryError::NoFreeRange { .. })) => {
                    arenas.set_crowded(address);
                }
                result => return result,
            }
        }
        self.allocate_block(shard, ArenaKind::Sealed, request.placed(Placement::Anywhere))
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
        let (allocation, shard) = allocator.allocate(shard, kind, request, &keep_alive)?;
        // The size is at most MAX_BLOCK_SIZE, which fits.
        Ok(Block::new(allocator, allocation, request.size as u32, shard))
    }

    #[inline]
    pub(super) fn allocator(&self) -> &Allocator {
        &self.inner.allocator
    }

    /// Locks the table of page blocks.
    ///
    /// # Errors
    /// [`ExecError::Forked`] if its holder is a thread of the parent process.
    pub(super) fn pages(&self) -> Result<LockGuard<'_, PageTable>, ExecError> {
        self.allocator().wait(&self.inner.pages)
    }

    /// Returns `address` if executable code is there: in a live block of executable pages, or in a published block of an
    /// [audited](CodeMemoryOptions::audit) allocator.
    ///
    /// # Errors
    /// [`ExecError::Unknown`] if no block contains the address, [`ExecError::NotExecutable`] if its code is not published,
    /// was freed recently or is not executable now; [`ExecError::Forked`] in a child process.
    pub fn entry_point(&self, address: usize) -> Result<usize, ExecError> {
        match self.allocator().block_info(address)? {
            None => Err(ExecError::Unknown { address }),
            Some(info) if info.is_published => Ok(address),
            Some(_) => Err(ExecError::NotExecutable { address }),
        }
    }

    /// The backing of code on this system; `None` before the first allocation.
    pub fn backing(&self) -> Option<Backing> {
        self.allocator().arenas.backing()
    }

    /// The current statistics; zeros in a child process. It locks every shard.
    pub fn statistics(&self) -> Statistics {
        self.allocator().statistics()
    }

    /// Passes the retained events, 256 of each shard, to `each`: shard by shard, the earliest first. Returns the number of
    /// events that were lost before they were drained.
    pub fn read_events(&self, each: impl FnMut(&Event)) -> u64 {
        self.allocator().events(false, each)
    }

    /// As [`read_events`](Self::read_events); no event is passed again.
    pub fn drain_events(&self, each: impl FnMut(&Event)) -> u64 {
        self.allocator().events(true, each)
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
