//! The blocks of executable memory of C, by address: one allocator for the process.
//!
//! The allocator validates addresses under a lock of its own, and alone decides what may happen to a block. This
//! table adds what the allocator does not record: the registration of callable code and the names registered with
//! debuggers. A second lock around both makes a change to a block and its registration one step.
//!
//! When the last block is freed, the memory returns to the system. Mapping it again is slow, so that this is
//! rate-limited ([`TrimLimiter`]).
//!
//! A child of `fork` inherits the code of its parent. It may call that code, but not change or free it; its own
//! blocks come from an allocator of its own.
#![allow(unsafe_code)]

use std::fmt::{self, Write};
use std::mem;
use std::ops::Range;
use std::time::{Duration, Instant};

use smf_core::alloc_util::{AllocError, TryArc};
use smf_core::memory::code_alloc::{
    CodeMemory, CodeMemoryOptions, Event, ExecError, PageUse, Statistics,
};
use smf_core::memory::{self, PageCount};

use super::error::ApiError;
use crate::address_map::AddressMap;
use crate::code_map::CodeRange;
use crate::fork::{self, ProcessLock};
use crate::tools::Announced;

/// A live block.
struct Block {
    /// In bytes, as requested.
    size: u64,
    /// In bytes, a multiple of the page size.
    capacity: usize,
    /// Registered while the code is executable.
    code: Option<CodeRange>,
    /// Names registered with debuggers, by the address of the named code.
    names: AddressMap<Announced>,
}

pub(super) struct Blocks {
    pub(super) memory: CodeMemory,
    options: CodeMemoryOptions,
    live: AddressMap<Block>,
    /// Blocks of the parent processes.
    inherited: Vec<AddressMap<Block>>,
    /// Cloned into each [`SharedAllocator`], to detect them.
    shared: TryArc<()>,
    limiter: TrimLimiter,
    /// The [generation](fork::generation) of the process that owns the allocator.
    generation: u32,
}

/// The allocator, shared with a loader or an instantiator.
pub(super) struct SharedAllocator {
    pub(super) memory: CodeMemory,
    _shared: TryArc<()>,
}

pub(super) static BLOCKS: ProcessLock<Option<Blocks>> = ProcessLock::new(None);

/// Calls `act` with the table, which the first call creates.
///
/// # Errors
/// Those of `act`; no memory for the table.
pub(super) fn with<T>(act: impl FnOnce(&mut Blocks) -> Result<T, ApiError>) -> Result<T, ApiError> {
    let table = &mut *BLOCKS.lock();
    let blocks = match table {
        Some(blocks) => blocks,
        None => table.insert(Blocks::new()?),
    };
    act(blocks)
}

/// As [`Blocks::trim_if_unused`].
pub(super) fn trim_if_unused() {
    if let Some(blocks) = BLOCKS.lock().as_mut() {
        blocks.trim_if_unused();
    }
}

/// The statistics of the allocator.
pub(super) fn statistics() -> Statistics {
    BLOCKS.lock().as_ref().map_or_else(Statistics::default, |blocks| blocks.memory.statistics())
}

/// Appends a line for each arena and each live block, those inherited from a parent process last.
pub(super) fn describe(text: &mut String) -> fmt::Result {
    let table = BLOCKS.lock();
    let Some(blocks) = table.as_ref() else { return Ok(()) };
    let mut result = Ok(());
    // In a child process, the arenas belong to the parent.
    let _ = blocks.memory.for_each_arena(|arena| {
        let (code, held) = (&arena.code, arena.held_bytes);
        let (start, end, reserved) = (code.start, code.end, code.len());
        let line = writeln!(
            text,
            "  arena 0x{start:x}-0x{end:x}: {reserved} bytes reserved, {held} bytes held"
        );
        result = result.and(line);
    });
    result?;
    let inherited = blocks.inherited.iter().map(|blocks| (blocks, ", inherited"));
    for (blocks, origin) in [(&blocks.live, "")].into_iter().chain(inherited) {
        for (address, Block { size, capacity, code, .. }) in blocks.iter() {
            let is = if code.is_some() { "executable" } else { "not executable" };
            let end = address.saturating_add(*capacity);
            writeln!(
                text,
                "  block 0x{address:x}-0x{end:x}: {size} bytes requested, {is}{origin}"
            )?;
        }
    }
    Ok(())
}

impl Blocks {
    fn new() -> Result<Self, ApiError> {
        // Profilers can be enabled at any time, so arenas are always mapped in a way that they support.
        let options = CodeMemoryOptions { perf_map: true, ..CodeMemoryOptions::default() };
        Ok(Self {
            memory: CodeMemory::new(options)?,
            options,
            live: AddressMap::new(),
            inherited: Vec::new(),
            shared: TryArc::new(())?,
            limiter: TrimLimiter::new(),
            generation: fork::generation(),
        })
    }

    /// Shares the allocator of this process, which is not replaced while the result lives.
    pub(super) fn share(&mut self) -> Result<SharedAllocator, ApiError> {
        self.replace_inherited()?;
        Ok(SharedAllocator { memory: self.memory.clone(), _shared: self.shared.clone() })
    }

    /// Creates an allocator for this process if the current one belongs to its parent.
    fn replace_inherited(&mut self) -> Result<(), ApiError> {
        if self.generation == fork::generation() { Ok(()) } else { self.replace_allocator() }
    }

    /// Creates an allocator with other ceilings, unless blocks are live or the allocator is shared.
    pub(super) fn limit(&mut self, bytes: u64, blocks: u64) -> Result<(), ApiError> {
        self.replace_inherited()?;
        if !self.live.is_empty() || self.shared.get_mut().is_none() {
            return Err(ApiError::State(
                "blocks of executable memory are live, or loaders are open",
            ));
        }
        (self.options.ceiling_bytes, self.options.ceiling_blocks) = (bytes, blocks);
        self.memory = CodeMemory::new(self.options)?;
        Ok(())
    }

    /// Sets the number of events that the audit log retains, and returns the previous one.
    pub(super) fn set_audit_events(&mut self, events: usize) -> Result<usize, ApiError> {
        self.replace_inherited()?;
        let previous = self.memory.set_audit_events(events)?;
        self.options.audit_events = events;
        Ok(previous)
    }

    /// Removes the earliest `count` events of this process from the audit log, calls `each` with them, and returns the
    /// number of events before them that were lost.
    pub(super) fn drain_events(
        &mut self,
        count: usize,
        each: impl FnMut(&Event),
    ) -> Result<u64, ApiError> {
        self.replace_inherited()?;
        Ok(self.memory.drain_first_events(count, each)?)
    }

    /// Creates an allocator for this child process. That of the parent is leaked, because its code may be running.
    fn replace_allocator(&mut self) -> Result<(), ApiError> {
        let (memory, shared) = (CodeMemory::new(self.options)?, TryArc::new(())?);
        self.inherited.try_reserve(1).map_err(|_| AllocError)?;
        self.inherited.push(mem::replace(&mut self.live, AddressMap::new()));
        mem::forget(mem::replace(&mut self.memory, memory));
        self.shared = shared;
        self.generation = fork::generation();
        Ok(())
    }

    pub(super) fn allocate(&mut self, size: u64, usage: PageUse) -> Result<usize, ApiError> {
        self.replace_inherited()?;
        let address = match self.memory.allocate_pages(size, usage) {
            // A child for which no fork handler ran.
            Err(ExecError::Forked) => {
                self.replace_allocator()?;
                self.memory.allocate_pages(size, usage)?
            }
            result => result?,
        };
        let capacity = PageCount::covering(size).map_or(0, PageCount::bytes);
        let block = Block { size, capacity, code: None, names: AddressMap::new() };
        if let Err(no_memory) = self.live.insert(address, block) {
            self.memory.free_pages(address, size)?;
            return Err(no_memory.into());
        }
        Ok(address)
    }

    pub(super) fn free(&mut self, address: usize, size: u64) -> Result<(), ApiError> {
        self.change(address, |memory| memory.free_pages(address, size))?;
        self.live.remove(address);
        self.trim_if_unused();
        Ok(())
    }

    /// Returns memory without live blocks to the system.
    pub(super) fn trim(&mut self) -> Result<(), ApiError> {
        self.replace_inherited()?;
        Ok(self.memory.trim()?)
    }

    /// Returns memory to the system when no block is live, subject to the rate limit.
    pub(super) fn trim_if_unused(&mut self) {
        if self.live.is_empty() && self.limiter.allows(Instant::now()) {
            // Freeing has succeeded whether or not trimming does.
            let _ = self.memory.trim();
        }
    }

    /// Changes the block at `address`, and then updates its registration.
    pub(super) fn change<T>(
        &mut self,
        address: usize,
        act: impl FnOnce(&CodeMemory) -> Result<T, ExecError>,
    ) -> Result<T, ApiError> {
        if self.inherited.iter().any(|blocks| blocks.get(address).is_some()) {
            return Err(ExecError::Forked.into());
        }
        let result = act(&self.memory);
        // In a child the allocator of the parent refuses everything, and its code stays callable.
        let forked = matches!(result, Err(ExecError::Forked));
        if let Some(block) = self.live.get_mut(address).filter(|_| !forked) {
            let is_executable = self.memory.entry_point(address).is_ok();
            if is_executable != block.code.is_some() {
                let range = address..address.saturating_add(block.capacity);
                block.code = is_executable.then(|| CodeRange::enter(range)).transpose()?;
            }
        }
        Ok(result?)
    }

    /// `address`, if it is in executable code.
    ///
    /// # Errors
    /// [`ExecError::NotExecutable`], [`ExecError::Unknown`].
    pub(super) fn entry_point(&self, address: usize) -> Result<usize, ApiError> {
        match self.containing(address) {
            Some((_, block)) if block.code.is_some() => Ok(address),
            Some(_) => Err(ExecError::NotExecutable { address }.into()),
            None => Err(ExecError::Unknown { address }.into()),
        }
    }

    /// The block that contains `address`, with its start.
    fn containing(&self, address: usize) -> Option<(usize, &Block)> {
        [&self.live].into_iter().chain(&self.inherited).find_map(|blocks| {
            let (start, block) = blocks.at_or_before(address)?;
            (address - start < block.capacity).then_some((start, block))
        })
    }

    /// Whether a range is executable code of one block.
    pub(super) fn is_code(&self, range: &Range<usize>) -> bool {
        self.containing_range(range).is_ok_and(|block| block.code.is_some())
    }

    /// Synchronizes the instruction caches with a range inside one block.
    pub(super) fn synchronize(&self, range: &Range<usize>) -> Result<(), ApiError> {
        if self.containing_range(range)?.code.is_none() {
            // The step that makes the block executable also synchronizes it.
            return Ok(());
        }
        let start = std::ptr::with_exposed_provenance(range.start);
        // SAFETY: the range is in one block of initialised memory that is executable, hence readable. It is neither
        // freed nor made writable while this thread has the lock, which outlives the slice.
        let code = unsafe { std::slice::from_raw_parts(start, range.len()) };
        Ok(memory::synchronize(code)?)
    }

    /// The block that contains a range.
    fn containing_range(&self, range: &Range<usize>) -> Result<&Block, ApiError> {
        let (start, block) =
            self.containing(range.start).ok_or(ExecError::Unknown { address: range.start })?;
        let offset = range.start - start;
        if range.len() > block.capacity - offset {
            let (offset, capacity) = (offset as u64, block.capacity);
            return Err(ExecError::Outside { offset, len: range.len(), capacity }.into());
        }
        Ok(block)
    }

    /// Stores the registration of a name until its block is freed.
    ///
    /// # Errors
    /// No memory; the registration is dropped.
    pub(super) fn add_name(&mut self, address: usize, name: Announced) -> Result<(), ApiError> {
        match self.live.at_or_before_mut(address) {
            Some((_, block)) => Ok(block.names.insert(address, name)?),
            None => Ok(()),
        }
    }
}

/// Limits how often memory is trimmed: once per [`INTERVAL`](Self::INTERVAL), with bursts of
/// [`BURST`](Self::BURST).
struct TrimLimiter {
    /// When the next trim would be due at the steady rate.
    earliest: Instant,
}

impl TrimLimiter {
    const INTERVAL: Duration = Duration::from_millis(1);
    const BURST: u32 = 32;

    fn new() -> Self {
        Self { earliest: Instant::now() }
    }

    fn allows(&mut self, now: Instant) -> bool {
        let allowed = self.earliest.saturating_duration_since(now) < Self::INTERVAL * Self::BURST;
        if allowed {
            self.earliest = self.earliest.max(now) + Self::INTERVAL;
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::super::exec::smf_exec_trim;
    use super::*;
    use crate::fork::tests::in_child;

    #[test]
    fn trim_is_rate_limited_after_a_burst() {
        let start = Instant::now();
        let mut limiter = TrimLimiter { earliest: start };
        assert!((0..TrimLimiter::BURST).all(|_| limiter.allows(start)));
        assert!(!limiter.allows(start) && !limiter.allows(start));
        // Then once per millisecond passed.
        let later = start + TrimLimiter::INTERVAL * 5;
        assert_eq!((0..100).filter(|_| limiter.allows(later)).count(), 5);
        let quiet = start + Duration::from_secs(100);
        assert_eq!((0..100).filter(|_| limiter.allows(quiet)).count(), 32);
    }

    #[test]
    #[cfg_attr(miri, ignore = "forks")]
    fn child_trims_memory_of_its_own_before_it_has_any() {
        let size = 4096;
        let block = with(|blocks| blocks.allocate(size, PageUse::Data)).unwrap();
        assert!(in_child(|| smf_exec_trim()));
        with(|blocks| blocks.free(block, size)).unwrap();
    }
}
