//! The allocator behind all handles and blocks: shards, arenas and ceilings.
//!
//! Locks are taken in this order: page table, shards, list of arenas, slabs of one arena.

use core::ops::Range;

use super::super::lock::{Lock, LockGuard, ProcessId};
use super::super::sys;
use super::alloc_request::{AllocRequest, Allocation, ArenaKind, MAX_BLOCK_SIZE};
use super::arenas::Arenas;
use super::audit::{Action, AuditLog};
use super::error::{ExecError, Result};
use super::options::{CodeMemoryOptions, Request};
use super::shard::{KeepAlive, Shard};
use super::statistics::Statistics;

/// The shard of blocks of bytes.
pub(super) const BYTES: u16 = 0;

/// The shard of pages for code.
pub(super) const CODE_PAGES: u16 = 1;

/// The shard of pages for data.
pub(super) const DATA_PAGES: u16 = 2;

/// The shards, by number, and the counters of all their blocks; the other fields of the statistics are 0.
pub(super) struct Shards {
    shards: [Shard; 3],
    pub(super) counters: Statistics,
    /// Keeps the allocator alive while there are live blocks.
    keep_alive: Option<KeepAlive>,
}

pub(super) struct Allocator {
    shards: Lock<Shards>,
    pub(super) arenas: Arenas,
    ceiling_bytes: u64,
    ceiling_blocks: u64,
    process: ProcessId,
    pub(super) audit: AuditLog,
}

impl Shards {
    pub(super) fn get(&mut self, number: u16) -> &mut Shard {
        let [bytes, code_pages, data_pages] = &mut self.shards;
        match number {
            CODE_PAGES => code_pages,
            DATA_PAGES => data_pages,
            _ => bytes,
        }
    }
}

impl Allocator {
    pub(super) fn new(options: CodeMemoryOptions) -> Self {
        let CodeMemoryOptions {
            ceiling_bytes,
            ceiling_blocks,
            arena_bytes,
            perf_map,
            audit_events,
        } = options;
        let process = ProcessId::current();
        let shards = [BYTES, CODE_PAGES, DATA_PAGES].map(Shard::new);
        let shards = Shards { shards, counters: Statistics::default(), keep_alive: None };
        Self {
            shards: Lock::new(shards),
            arenas: Arenas::new(arena_bytes, perf_map, process),
            ceiling_bytes,
            ceiling_blocks,
            process,
            audit: AuditLog::new(audit_events, process),
        }
    }

    /// Locks the shards.
    ///
    /// # Errors
    /// [`ExecError::Forked`] in a child process, where the memory is not mapped and a thread of the parent may have held
    /// the lock.
    #[inline]
    pub(super) fn lock(&self) -> Result<LockGuard<'_, Shards>> {
        let guard = self.wait(&self.shards)?;
        if self.arenas.is_forked() { Err(ExecError::Forked) } else { Ok(guard) }
    }

    /// Takes a lock.
    ///
    /// # Errors
    /// [`ExecError::Forked`] if its holder is a thread of the parent process.
    #[inline]
    pub(super) fn wait<'a, T>(&self, lock: &'a Lock<T>) -> Result<LockGuard<'a, T>> {
        self.process.lock(lock).ok_or(ExecError::Forked)
    }

    /// Allocates in shard `number`. An allocator without live blocks gets the reference to itself from `keep_alive`.
    // Benchmark row: "allocate, write, publish 100 bytes of code".
    #[inline(always)]
    pub(super) fn allocate(
        &self,
        number: u16,
        kind: ArenaKind,
        request: Request,
        keep_alive: &dyn Fn() -> KeepAlive,
    ) -> Result<Allocation> {
        match self.allocate_fast(number, kind, request) {
            Some(allocation) => Ok(allocation),
            None => self.allocate_slow(number, kind, request, keep_alive),
        }
    }

    /// Allocates memory that is at hand, in an allocator with live blocks. Returns the result in registers: one with an
    /// error is returned in memory, where the caller would read the words of an allocation faster than they are stored.
    // Benchmark rows: "allocate, write, publish 100 bytes of code", "free and allocate 100 bytes of code again".
    #[inline(never)]
    fn allocate_fast(&self, number: u16, kind: ArenaKind, request: Request) -> Option<Allocation> {
        let resolved = self.resolve(kind, request).ok()?;
        let mut shards = self.lock().ok()?;
        self.check_ceilings(&shards.counters, request.size).ok()?;
        shards.keep_alive.as_ref()?;
        let allocation = shards.get(number).allocate_fast(&resolved)?;
        shards.counters.count_allocation(request.size as u64);
        Some(allocation)
    }

    #[cold]
    fn allocate_slow(
        &self,
        number: u16,
        kind: ArenaKind,
        request: Request,
        keep_alive: &dyn Fn() -> KeepAlive,
    ) -> Result<Allocation> {
        let allocate = || {
            let resolved = self.resolve(kind, request)?;
            let mut shards = self.lock()?;
            self.check_ceilings(&shards.counters, request.size)?;
            let allocation = shards.get(number).allocate(&resolved, &self.arenas)?;
            shards.counters.count_allocation(request.size as u64);
            shards.keep_alive.get_or_insert_with(keep_alive);
            Ok(allocation)
        };
        allocate().inspect_err(|error| self.refuse(*error, 0, request.size as u64))
    }

    /// Checks that a block of `size` bytes is within the ceilings.
    #[inline]
    fn check_ceilings(&self, counters: &Statistics, size: usize) -> Result<()> {
        if counters.live_blocks >= self.ceiling_blocks {
            return Err(ExecError::CeilingBlocks { limit: self.ceiling_blocks });
        }
        let rest = self.ceiling_bytes.checked_sub(counters.live_bytes);
        if rest.is_none_or(|rest| rest < size as u64) {
            return Err(ExecError::CeilingBytes { size, limit: self.ceiling_bytes });
        }
        Ok(())
    }

    /// Checks a request and resolves it to the units of this system's arenas.
    #[inline]
    fn resolve(&self, kind: ArenaKind, request: Request) -> Result<AllocRequest> {
        let Request { size, alignment } = request;
        let page = sys::page_size();
        if size == 0 {
            return Err(ExecError::Empty);
        }
        if size > MAX_BLOCK_SIZE {
            return Err(ExecError::TooLarge { size: size as u64, limit: MAX_BLOCK_SIZE });
        }
        if !alignment.is_power_of_two() || alignment > page {
            return Err(ExecError::Alignment { alignment, limit: page });
        }
        let kind = self.arenas.kind(kind)?;
        if kind != ArenaKind::Sealed {
            let capacity = size.next_multiple_of(page);
            return Ok(AllocRequest::new(capacity, page, page.ilog2() - 1, kind));
        }
        // Blocks share pages. At least two units of 8 bytes, the length of the shortest span that is listed. A mask takes no
        // division, on which the lock would wait.
        let mask = alignment.clamp(8, 16) - 1;
        let capacity = ((size + mask) & !mask).max(16);
        Ok(AllocRequest::new(capacity, alignment, 3, kind))
    }

    /// Frees a block of `len` bytes of this process in its shard. `erase` fills it with traps; if it returns false, the
    /// block is leaked.
    ///
    /// The caller drops the result, which may own the allocator, after its last access to the allocator.
    #[inline]
    pub(super) fn free(
        &self,
        number: u16,
        block: &Allocation,
        len: usize,
        erase: impl FnOnce() -> bool,
    ) -> Option<KeepAlive> {
        let mut shards = self.wait(&self.shards).ok()?;
        // Under the lock: the processor drains these stores at the next atomic operation instead of at this lock.
        self.audit.record(Action::Free, block.address.get(), len as u64);
        if erase() {
            shards.get(number).quarantine(block.id, len, &self.arenas);
        }
        shards.counters.count_free(len as u64);
        if shards.counters.live_blocks == 0 { shards.keep_alive.take() } else { None }
    }

    /// Counts and records a refused request.
    #[cold]
    pub(super) fn refuse(&self, error: ExecError, address: usize, size: u64) {
        self.audit.record(Action::Refuse(error), address, size);
        if let Ok(mut shards) = self.lock() {
            shards.counters.refusals += 1;
        }
    }

    /// The addresses of the block that contains `address`: a live one, or a freed one in the quarantine or the
    /// magazine.
    pub(super) fn block_range(&self, address: usize) -> Result<Option<Range<usize>>> {
        let mut shards = self.lock()?;
        let Some(owner) = self.arenas.owner(address)? else { return Ok(None) };
        Ok(shards.get(owner.shard).block_range(owner.chunk, address))
    }

    pub(super) fn statistics(&self) -> Statistics {
        let Ok(shards) = self.lock() else { return Statistics::default() };
        let mut sum = Statistics { record_bytes: size_of::<Self>() as u64, ..shards.counters };
        let mut warm = 0;
        for shard in &shards.shards {
            let (bytes, metadata) = shard.usage();
            warm += bytes as u64;
            sum.record_bytes += metadata as u64;
        }
        if self.arenas.report(&mut sum).is_err() {
            return Statistics::default();
        }
        sum.wasted_bytes = warm.saturating_sub(sum.live_bytes);
        sum
    }

    /// Returns memory without live blocks to the system. The caller holds the lock of the page table.
    pub(super) fn trim(&self) -> Result<()> {
        let mut shards = self.lock()?;
        shards.shards.iter_mut().for_each(|shard| shard.trim(&self.arenas));
        self.arenas.trim()
    }
}
