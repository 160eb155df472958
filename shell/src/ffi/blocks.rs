//! The blocks of executable memory that C holds by their addresses: one allocator for the process.
//!
//! The allocator itself looks every address up, under a lock of its own, and is the only one to decide
//! what may happen to it. Here is kept what it does not know: which code may be called, in a form that
//! a call can ask for in a nanosecond, and the names that debuggers were told. A second lock around
//! both makes a change to a block and what is said of it one step.
//!
//! When the last block is freed, the memory goes back to the system, so that a process that is done
//! with generated code looks as it did before. Mapping it anew takes 50 us, so that it is kept when
//! that would happen more often than once a millisecond for long.
//!
//! A child of `fork` has the code of its parent, may call it and can neither change nor free it; what
//! it allocates comes from an allocator of its own.
#![allow(unsafe_code)]

use std::ops::Range;
use std::sync::MutexGuard;
use std::time::{Duration, Instant};

use smf_core::alloc_util::{TryArc, try_push};
use smf_core::memory::code_alloc::{CodeMemory, CodeMemoryOptions, ExecError, PageUse, Statistics};
use smf_core::memory::{self, PageCount, Protection};

use super::by_address::ByAddress;
use super::error::ApiError;
use crate::code_map::CodeRange;
use crate::fork::{self, ProcessLock};
use crate::tools::Announced;

/// What is known of a block beside what the allocator knows.
struct Block {
    /// Bytes it may hold.
    capacity: usize,
    /// Held while its code may be called.
    code: Option<CodeRange>,
    /// What debuggers were told, by the address that was named.
    names: ByAddress<Announced>,
}

pub(super) struct Blocks {
    memory: CodeMemory,
    options: CodeMemoryOptions,
    live: ByAddress<Block>,
    /// Those of the parent process.
    inherited: Vec<ByAddress<Block>>,
    /// Shared with everybody whom the allocator was lent to.
    lent: TryArc<()>,
    pace: Pace,
    /// The [generation](fork::generation) of the process that has the allocator.
    generation: u32,
}

/// The allocator, for others who make code in it.
pub(super) struct Lent {
    pub(super) memory: CodeMemory,
    _shared: TryArc<()>,
}

pub(super) static BLOCKS: ProcessLock<Option<Blocks>> = ProcessLock::new(None);

/// Tools may be switched on at any time, and what is mapped by then must have been mapped for them.
fn options() -> CodeMemoryOptions {
    CodeMemoryOptions { perf_map: true, ..CodeMemoryOptions::default() }
}

/// All blocks, for as long as the guard lives.
#[inline(never)]
fn lock() -> MutexGuard<'static, Option<Blocks>> {
    BLOCKS.lock()
}

/// Does something with all blocks.
///
/// # Errors
/// What `act` says, and no memory for the first of them.
pub(super) fn with<T>(act: impl FnOnce(&mut Blocks) -> Result<T, ApiError>) -> Result<T, ApiError> {
    let place = &mut *lock();
    let blocks = match place {
        Some(blocks) => blocks,
        None => place.insert(Blocks::new(options())?),
    };
    act(blocks)
}

/// As [`Blocks::give_back`].
pub(super) fn give_back() {
    if let Some(blocks) = lock().as_mut() {
        blocks.give_back();
    }
}

/// What the allocator counts.
pub(super) fn statistics() -> Statistics {
    lock().as_ref().map_or_else(Statistics::default, |blocks| blocks.memory.statistics())
}

impl Blocks {
    fn new(options: CodeMemoryOptions) -> Result<Self, ApiError> {
        let (live, inherited) = (ByAddress::new(), Vec::new());
        let (memory, lent) = (CodeMemory::new(options)?, TryArc::new(())?);
        let generation = fork::generation();
        Ok(Self { memory, options, live, inherited, lent, pace: Pace::new(), generation })
    }

    /// Lends the allocator of this process, until the end of the loan it is not replaced.
    pub(super) fn lend(&mut self) -> Result<Lent, ApiError> {
        self.leave_parent()?;
        Ok(Lent { memory: self.memory.clone(), _shared: self.lent.clone() })
    }

    /// In a child, has an allocator of its own from now on.
    fn leave_parent(&mut self) -> Result<(), ApiError> {
        if self.generation == fork::generation() { Ok(()) } else { self.begin_anew() }
    }

    /// Takes another allocator, with these ceilings, unless blocks are live or it is lent.
    pub(super) fn limit(&mut self, bytes: u64, blocks: u64) -> Result<(), ApiError> {
        self.leave_parent()?;
        if !self.live.is_empty() || self.lent.get_mut().is_none() {
            return Err(ApiError::BlocksLive);
        }
        (self.options.ceiling_bytes, self.options.ceiling_blocks) = (bytes, blocks);
        self.memory = CodeMemory::new(self.options)?;
        Ok(())
    }

    /// Takes an allocator for this process, a child. The one of its parent is kept for ever, because
    /// its code may run.
    fn begin_anew(&mut self) -> Result<(), ApiError> {
        let (memory, lent) = (CodeMemory::new(self.options)?, TryArc::new(())?);
        try_push(&mut self.inherited, ByAddress::new())?;
        if let Some(inherited) = self.inherited.last_mut() {
            std::mem::swap(inherited, &mut self.live);
        }
        std::mem::forget(std::mem::replace(&mut self.memory, memory));
        self.lent = lent;
        self.generation = fork::generation();
        Ok(())
    }

    pub(super) fn allocate(&mut self, size: u64, usage: PageUse) -> Result<usize, ApiError> {
        self.leave_parent()?;
        let address = match self.memory.allocate_pages(size, usage) {
            // A child that no handler has told.
            Err(ExecError::Forked) => {
                self.begin_anew()?;
                self.memory.allocate_pages(size, usage)?
            }
            result => result?,
        };
        let capacity = PageCount::covering(size).map_or(0, PageCount::bytes);
        let block = Block { capacity, code: None, names: ByAddress::new() };
        if let Err(none) = self.live.insert(address, block) {
            self.memory.free_pages(address, size)?;
            return Err(none.into());
        }
        Ok(address)
    }

    pub(super) fn free(&mut self, address: usize, size: u64) -> Result<(), ApiError> {
        self.change(address, |memory| memory.free_pages(address, size))?;
        self.live.remove(address);
        self.give_back();
        Ok(())
    }

    /// Gives memory back when there are no blocks, and not too often.
    pub(super) fn give_back(&mut self) {
        if self.live.is_empty() && self.pace.allows(Instant::now()) {
            // What was freed is free whatever becomes of the rest.
            let _ = self.memory.trim();
        }
    }

    /// Gives back memory that holds no live block.
    pub(super) fn trim(&mut self) -> Result<(), ApiError> {
        Ok(self.memory.trim()?)
    }

    pub(super) fn write(
        &mut self,
        address: usize,
        offset: u64,
        bytes: &[u8],
    ) -> Result<usize, ApiError> {
        self.change(address, |memory| memory.write_pages(address, offset, bytes))
    }

    pub(super) fn protect(
        &mut self,
        address: usize,
        size: u64,
        protection: Protection,
    ) -> Result<(), ApiError> {
        self.change(address, |memory| memory.protect_pages(address, size, protection))
    }

    /// Changes the block at `address`, and then what is said of it by what has become of it.
    fn change<T>(
        &mut self,
        address: usize,
        act: impl FnOnce(&CodeMemory) -> Result<T, ExecError>,
    ) -> Result<T, ApiError> {
        if self.inherited.iter().any(|blocks| blocks.get(address).is_some()) {
            return Err(ExecError::Forked.into());
        }
        let result = act(&self.memory);
        // In a child the allocator of the parent answers nothing, and code may run as before.
        let forked = matches!(result, Err(ExecError::Forked));
        if let Some(block) = self.live.get_mut(address).filter(|_| !forked) {
            let runs = self.memory.entry_point(address).is_ok();
            if runs != block.code.is_some() {
                let range = address..address.saturating_add(block.capacity);
                let code = runs.then(|| CodeRange::enter(range)).transpose();
                block.code = code.map_err(|_| ApiError::NoRoom { bytes: size_of::<usize>() })?;
            }
        }
        Ok(result?)
    }

    /// Whether code that may run is at `address`.
    ///
    /// # Errors
    /// Why it may not.
    pub(super) fn entry_point(&self, address: usize) -> Result<usize, ApiError> {
        match self.around(address) {
            Some((_, block)) if block.code.is_some() => Ok(address),
            Some(_) => Err(ExecError::NotExecutable { address }.into()),
            None => Err(ExecError::Unknown { address }.into()),
        }
    }

    /// The block that has the byte at `address`.
    fn around(&self, address: usize) -> Option<(usize, &Block)> {
        [&self.live].into_iter().chain(&self.inherited).find_map(|blocks| {
            let (start, block) = blocks.before(address)?;
            (address - start < block.capacity).then_some((start, block))
        })
    }

    /// Whether all of a range is code of one block that may run.
    pub(super) fn is_code(&self, range: &Range<usize>) -> bool {
        self.within_one(range).is_ok_and(|block| block.code.is_some())
    }

    /// Brings the instruction caches in step with a range inside one block.
    pub(super) fn synchronize(&self, range: &Range<usize>) -> Result<(), ApiError> {
        if self.within_one(range)?.code.is_none() {
            // Whatever lets it run will do so.
            return Ok(());
        }
        let start = std::ptr::with_exposed_provenance(range.start);
        // SAFETY: the range lies in one block of mapped, initialised memory, which may run and so can
        // be read. It cannot be freed, nor be written other than by a caller who made it writable,
        // before the lock is given back, for which the slice does not live.
        let code = unsafe { std::slice::from_raw_parts(start, range.len()) };
        Ok(memory::synchronize(code)?)
    }

    /// The block that has all of a range.
    fn within_one(&self, range: &Range<usize>) -> Result<&Block, ApiError> {
        let (start, block) =
            self.around(range.start).ok_or(ExecError::Unknown { address: range.start })?;
        let offset = range.start - start;
        if range.len() > block.capacity - offset {
            let (offset, capacity) = (offset as u64, block.capacity);
            return Err(ExecError::Outside { offset, len: range.len(), capacity }.into());
        }
        Ok(block)
    }

    /// Keeps what debuggers were told of the code at `address` for as long as its block lives.
    ///
    /// # Errors
    /// No memory; it is taken back.
    pub(super) fn keep_name(&mut self, address: usize, name: Announced) -> Result<(), ApiError> {
        match self.live.before_mut(address) {
            Some((_, block)) => Ok(block.names.insert(address, name)?),
            None => Ok(()),
        }
    }
}

/// How often memory may be given back: once a millisecond, and after a quiet time 32 times at once.
struct Pace {
    /// When all that happened so far will have been allowed at the steady pace.
    paid: Instant,
}

impl Pace {
    const STEP: Duration = Duration::from_millis(1);
    const AT_ONCE: u32 = 32;

    fn new() -> Self {
        Self { paid: Instant::now() }
    }

    fn allows(&mut self, now: Instant) -> bool {
        let allowed = self.paid.saturating_duration_since(now) < Self::STEP * Self::AT_ONCE;
        if allowed {
            self.paid = self.paid.max(now) + Self::STEP;
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_given_back_at_once_but_not_for_ever() {
        let begin = Instant::now();
        let mut pace = Pace { paid: begin };
        assert!((0..Pace::AT_ONCE).all(|_| pace.allows(begin)));
        assert!(!pace.allows(begin) && !pace.allows(begin));
        // Later as many times as milliseconds have passed.
        let later = begin + Pace::STEP * 5;
        assert_eq!((0..100).filter(|_| pace.allows(later)).count(), 5);
        let quiet = begin + Duration::from_secs(100);
        assert_eq!((0..100).filter(|_| pace.allows(quiet)).count(), 32);
    }
}
