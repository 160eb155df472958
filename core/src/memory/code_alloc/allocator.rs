//! The allocator behind all handles and blocks: shards, arenas and ceilings.
//!
//! Locks are taken in this order: page table, budget, shards (ascending), list of arenas, slabs of one arena.

use core::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use core::{array, ops::Range};

use arrayvec::ArrayVec;

use super::super::lock::{Lock, LockGuard, ProcessId};
use super::super::sys;
use super::alloc_request::{AllocRequest, Allocation, ArenaKind, BlockRecord, MAX_BLOCK_SIZE};
use super::arenas::Arenas;
use super::audit::{Action, AuditLog, DrainedEvents};
use super::error::{ExecError, Result};
use super::options::{CodeMemoryOptions, Request};
use super::shard::{KeepAlive, Shard};
use super::statistics::Statistics;

/// Shards for blocks of bytes. If there are more cores, they share them.
const CORE_SHARDS: u16 = 16;

/// The shard of pages for code.
pub(super) const CODE_PAGES: u16 = CORE_SHARDS;

/// The shard of pages for data.
pub(super) const DATA_PAGES: u16 = CORE_SHARDS + 1;

const SHARD_COUNT: u16 = CORE_SHARDS + 2;

/// The spare bytes from which on another core's shard is used before a shard grows.
const MIN_SPARE_BYTES: u64 = 1 << 20;

/// A shard in cache lines of its own: two, because processors prefetch pairs.
#[repr(align(128))]
struct PaddedShard {
    lock: Lock<Shard>,
    /// Roughly the spare bytes of the shard.
    spare_bytes: AtomicU64,
}

/// The part of the ceilings that is not in the quota of a shard.
struct Budget {
    bytes: u64,
    blocks: u64,
}

pub(super) struct Allocator {
    shards: [PaddedShard; SHARD_COUNT as usize],
    /// The shard that each core uses: its own, or one with spare memory.
    preferred: [AtomicU16; CORE_SHARDS as usize],
    pub(super) arenas: Arenas,
    budget: Lock<Budget>,
    ceiling_bytes: u64,
    ceiling_blocks: u64,
    peak_bytes: AtomicU64,
    peak_blocks: AtomicU64,
    process: ProcessId,
    audit: AuditLog,
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
        Self {
            shards: array::from_fn(|number| {
                // Below SHARD_COUNT.
                let lock = Lock::new(Shard::new(number as u16));
                PaddedShard { lock, spare_bytes: AtomicU64::new(0) }
            }),
            preferred: array::from_fn(|core| AtomicU16::new(core as u16)),
            arenas: Arenas::new(arena_bytes, perf_map, process),
            budget: Lock::new(Budget { bytes: ceiling_bytes, blocks: ceiling_blocks }),
            ceiling_bytes,
            ceiling_blocks,
            peak_bytes: AtomicU64::new(0),
            peak_blocks: AtomicU64::new(0),
            process,
            audit: AuditLog::new(audit_events),
        }
    }

    /// Records an event in the audit log.
    #[inline]
    pub(super) fn audit(&self, action: Action, address: usize, size: u64) {
        self.audit.record(self.process, action, address, size);
    }

    /// Removes the events of the audit log.
    pub(super) fn drain_events(&self) -> Result<DrainedEvents> {
        self.audit.drain(self.process).ok_or(ExecError::Forked)
    }

    /// The shard for the calling thread.
    #[inline]
    pub(super) fn current_shard(&self) -> u16 {
        let preferred = self.preferred.get(usize::from(Self::core_shard()));
        preferred.map_or(0, |shard| shard.load(Ordering::Relaxed))
    }

    /// The own shard of the current core.
    #[inline]
    fn core_shard() -> u16 {
        // Below CORE_SHARDS.
        (sys::core_number() % usize::from(CORE_SHARDS)) as u16
    }

    /// Makes the current core prefer this shard.
    fn prefer(&self, shard: u16) {
        if let Some(preferred) = self.preferred.get(usize::from(Self::core_shard())) {
            preferred.store(shard, Ordering::Relaxed);
        }
    }

    /// The own shard of the core instead of `number`, if that belongs to another core and is in use.
    fn uncontended(&self, number: u16) -> u16 {
        let own = Self::core_shard();
        let is_locked = |shard: &PaddedShard| shard.lock.is_locked();
        if number >= CORE_SHARDS
            || number == own
            || !self.shards.get(usize::from(number)).is_some_and(is_locked)
        {
            return number;
        }
        self.prefer(own);
        own
    }

    /// The other shard with the most spare memory, if that is at least [`MIN_SPARE_BYTES`].
    fn with_spare_memory(&self, number: u16) -> Option<u16> {
        let spare = |shard: &PaddedShard| shard.spare_bytes.load(Ordering::Relaxed);
        let others = (0..CORE_SHARDS).zip(&self.shards).filter(|&(other, _)| other != number);
        let (other, shard) = others.max_by_key(|(_, shard)| spare(shard))?;
        (number < CORE_SHARDS && spare(shard) >= MIN_SPARE_BYTES).then_some(other)
    }

    /// Locks a shard.
    ///
    /// # Errors
    /// [`ExecError::Forked`] in a child process, where the memory is not mapped and a thread of the parent may have held
    /// the lock.
    #[inline]
    pub(super) fn lock(&self, number: u16) -> Result<LockGuard<'_, Shard>> {
        // No other number exists.
        let shard = self.shards.get(usize::from(number)).ok_or(ExecError::Forked)?;
        let guard = self.wait(&shard.lock)?;
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

    /// Allocates in shard `number` or in another one, whose number it returns. A shard without live blocks gets its
    /// reference from `keep_alive`.
    // Benchmark row: "allocate, write, publish 100 bytes of code".
    #[inline(always)]
    pub(super) fn allocate(
        &self,
        number: u16,
        kind: ArenaKind,
        request: Request,
        keep_alive: &dyn Fn() -> KeepAlive,
    ) -> Result<(Allocation, u16)> {
        match self.allocate_fast(number, kind, request) {
            Some(allocation) => Ok((allocation, number)),
            None => self
                .allocate_slow(number, kind, request, keep_alive)
                .inspect_err(|error| self.refuse(number, *error, 0, request.size as u64)),
        }
    }

    /// Allocates without waiting and without a system call; `None`, without a change, if that is not possible.
    fn allocate_fast(&self, number: u16, kind: ArenaKind, request: Request) -> Option<Allocation> {
        if kind != ArenaKind::Sealed || !self.arenas.is_mapped_twice() {
            return None;
        }
        let resolved = Self::resolve_in_bytes(request)?;
        let mut shard = self.shards.get(usize::from(number))?.lock.try_lock()?;
        if self.arenas.is_forked()
            || !shard.counters.has_quota(request.size as u64)
            || shard.keep_alive.is_none()
        {
            return None;
        }
        let allocation = shard.allocate_fast(&resolved)?;
        shard.counters.allocate(request.size as u64);
        Some(allocation)
    }

    #[cold]
    fn allocate_slow(
        &self,
        number: u16,
        kind: ArenaKind,
        request: Request,
        keep_alive: &dyn Fn() -> KeepAlive,
    ) -> Result<(Allocation, u16)> {
        let resolved = self.resolve(kind, request)?;
        let number = self.uncontended(number);
        let in_chunks = |shard: &mut Shard| shard.allocate_in_chunks(&resolved, &self.arenas);
        let allocate_in = |number, allocate: &dyn Fn(&mut Shard) -> _| {
            self.allocate_in(number, request.size, allocate, keep_alive)
        };
        if let Some(allocation) = allocate_in(number, &in_chunks)? {
            return Ok((allocation, number));
        }
        // A thread that moves between cores should use the memory that it freed on the others.
        if resolved.is_shared()
            && let Some(other) = self.with_spare_memory(number)
            && let Some(allocation) = allocate_in(other, &in_chunks)?
        {
            self.prefer(other);
            return Ok((allocation, other));
        }
        let growing = |shard: &mut Shard| shard.allocate(&resolved, &self.arenas).map(Some);
        let allocation = allocate_in(number, &growing)?;
        Ok((allocation.ok_or(ExecError::OutOfMemory)?, number))
    }

    /// Locks a shard, calls `allocate`, and counts the block.
    fn allocate_in(
        &self,
        number: u16,
        len: usize,
        allocate: &dyn Fn(&mut Shard) -> Result<Option<Allocation>>,
        keep_alive: &dyn Fn() -> KeepAlive,
    ) -> Result<Option<Allocation>> {
        let mut shard = self.lock(number)?;
        if !shard.counters.has_quota(len as u64) {
            drop(shard);
            shard = self.lock_with_quota(number, len)?;
        }
        let result = allocate(&mut shard);
        if let Ok(Some(_)) = &result {
            shard.counters.allocate(len as u64);
            shard.keep_alive.get_or_insert_with(keep_alive);
        }
        if let Some(PaddedShard { spare_bytes, .. }) = self.shards.get(usize::from(number)) {
            spare_bytes.store(shard.spare_bytes(), Ordering::Relaxed);
        }
        result
    }

    /// Checks a request and resolves it to the units of this system's arenas.
    fn resolve(&self, kind: ArenaKind, request: Request) -> Result<AllocRequest> {
        let Request { size, alignment } = request;
        let page = sys::page_size();
        if size == 0 {
            return Err(ExecError::Empty);
        }
        if size > MAX_BLOCK_SIZE {
            return Err(ExecError::TooLarge { size: size as u64, limit: MAX_BLOCK_SIZE });
        }
        let kind = self.arenas.kind(kind)?;
        match Self::resolve_in_bytes(request) {
            None => Err(ExecError::Alignment { alignment, limit: page }),
            Some(resolved) if kind == ArenaKind::Sealed => Ok(resolved),
            Some(_) => {
                let capacity = size.next_multiple_of(page);
                Ok(AllocRequest::new(capacity, page, page.ilog2() - 1, kind))
            }
        }
    }

    /// Resolves a valid request to units of 8 bytes, for arenas in which blocks share pages.
    #[inline]
    fn resolve_in_bytes(request: Request) -> Option<AllocRequest> {
        let Request { size, alignment } = request;
        let is_valid = (1..=MAX_BLOCK_SIZE).contains(&size)
            && alignment.is_power_of_two()
            && alignment <= sys::page_size();
        // At least two units, the length of the shortest span that is listed.
        let granule = alignment.clamp(8, 16) - 1;
        let capacity = ((size.wrapping_add(granule)) & !granule).max(16);
        is_valid.then(|| AllocRequest::new(capacity, alignment, 3, ArenaKind::Sealed))
    }

    /// Locks a shard and extends its quota to a block of `len` bytes.
    fn lock_with_quota(&self, number: u16, len: usize) -> Result<LockGuard<'_, Shard>> {
        let size = len as u64;
        let mut budget = self.wait(&self.budget)?;
        if budget.bytes < size || budget.blocks == 0 {
            // Unused quotas of other shards are available.
            for shard in 0..SHARD_COUNT {
                let (bytes, blocks) = self.lock(shard)?.counters.withdraw();
                budget.bytes += bytes;
                budget.blocks += blocks;
            }
        }
        if budget.blocks == 0 {
            return Err(ExecError::CeilingBlocks { limit: self.ceiling_blocks });
        }
        let Some(bytes) = budget.bytes.checked_sub(size) else {
            return Err(ExecError::CeilingBytes { size: len, limit: self.ceiling_bytes });
        };
        // A part of the budget in advance, so that a shard does not come back for each block.
        let share = u64::from(4 * CORE_SHARDS);
        let (more_bytes, more_blocks) = (bytes / share, (budget.blocks - 1) / share);
        let mut shard = self.lock(number)?;
        shard.counters.grant(size + more_bytes, 1 + more_blocks);
        budget.bytes = bytes - more_bytes;
        budget.blocks -= 1 + more_blocks;
        Ok(shard)
    }

    /// Frees a block of this process. `erase` fills it with traps; if it returns false, the block is leaked.
    ///
    /// The caller drops the result, which may own the allocator, after its last access to the allocator.
    #[inline]
    pub(super) fn free(
        &self,
        block: &BlockRecord,
        erase: impl FnOnce() -> bool,
    ) -> Option<KeepAlive> {
        let PaddedShard { lock, spare_bytes } = self.shards.get(usize::from(block.shard()))?;
        let mut shard = self.wait(lock).ok()?;
        // Under the lock: the processor drains these stores at the next atomic operation instead of at this lock.
        self.audit(Action::Free, block.address.get(), block.len() as u64);
        if erase() && shard.quarantine(block.id, block.len(), &self.arenas) {
            spare_bytes.store(shard.spare_bytes(), Ordering::Relaxed);
        }
        shard.counters.free(block.len() as u64);
        if shard.counters.live_blocks() == 0 { shard.keep_alive.take() } else { None }
    }

    /// Counts and records a refused request.
    pub(super) fn refuse(&self, number: u16, error: ExecError, address: usize, size: u64) {
        self.audit(Action::Refuse(error), address, size);
        if let Ok(mut shard) = self.lock(number) {
            shard.counters.refusals += 1;
        }
    }

    /// The addresses of the block that contains `address`: a live one, or a freed one in the quarantine or the magazine.
    pub(super) fn block_range(&self, address: usize) -> Result<Option<Range<usize>>> {
        // Fails in a child process, before the list of arenas is locked.
        drop(self.lock(CODE_PAGES)?);
        let Some(owner) = self.arenas.owner(address)? else { return Ok(None) };
        // If the chunk changed its owner since, its shard does not contain the address.
        let range = self.lock(owner.shard)?.block_range(owner.chunk, address);
        Ok(range.filter(|range| range.contains(&address)))
    }

    pub(super) fn statistics(&self) -> Statistics {
        let mut sum = Statistics { record_bytes: size_of::<Self>() as u64, ..Default::default() };
        let mut warm = 0;
        for number in 0..SHARD_COUNT {
            let Ok(mut shard) = self.lock(number) else { return Statistics::default() };
            shard.counters.report(&mut sum);
            let (bytes, metadata) = shard.usage();
            warm += bytes as u64;
            sum.record_bytes += metadata as u64;
        }
        if self.arenas.report(&mut sum).is_err() {
            return Statistics::default();
        }
        sum.wasted_bytes = warm.saturating_sub(sum.live_bytes);
        let peak = |peak: &AtomicU64, now| peak.fetch_max(now, Ordering::Relaxed).max(now);
        sum.peak_bytes = peak(&self.peak_bytes, sum.peak_bytes);
        sum.peak_blocks = peak(&self.peak_blocks, sum.peak_blocks);
        sum
    }

    /// Returns memory without live blocks to the system. The caller holds the lock of the page table.
    pub(super) fn trim(&self) -> Result<()> {
        // All shards at once, because the fork detector goes with the last arena.
        let mut shards = ArrayVec::<LockGuard<'_, Shard>, { SHARD_COUNT as usize }>::new();
        for number in 0..SHARD_COUNT {
            shards.push(self.lock(number)?);
        }
        shards.iter_mut().for_each(|shard| shard.trim(&self.arenas));
        self.arenas.trim()
    }
}
