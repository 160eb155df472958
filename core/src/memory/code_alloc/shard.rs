//! The blocks of one lane: a part of the allocator that threads on one core have to themselves.
//!
//! A lane cuts blocks out of chunks, which it gets from the arenas and gives back when they are
//! empty. What is free in a chunk is said by its run map; hints and the frontier, the free end of
//! the latest chunk, only lead there.
//!
//! A freed block is not free at once. It waits, filled with traps, until there are some of them;
//! then all cores are brought in step, once for all. So no core can hold an instruction of what was
//! there before, which the architectures ask for, and once for 2,048 blocks it costs next to nothing. After that a small block is ready for the next one of its size. Ready blocks join what
//! is free, and free neighbours each other, when there are many of them or no other room is left.
use alloc::vec::Vec;

use super::super::{icache, sys};
use super::alloc_request::{AllocRequest, Allocation, BlockId, BlockInfo, Chunk};
use super::arena::{Arena, Owner};
use super::arenas::Arenas;
use super::audit::{Ledger, Ring};
use super::error::ExecError;
use super::free_lists::{FreeLists, Spot};
use super::magazine::{Magazine, SMALL};
use super::span::SpanMap;
use crate::alloc_util::TryArc;

/// Bytes of a chunk: large enough that what is lost at its end does not count, small enough that a
/// lane which needs little does not hold much.
pub(super) const CHUNK: usize = 256 << 10;

/// Bytes of the first chunk of a lane, whose records are small as well.
const FIRST_CHUNK: usize = 64 << 10;

/// How many freed blocks wait at most, and how many bytes.
const WAITING: (usize, usize) = (2048, 512 << 10);

/// How many make it worth bringing the cores in step before new memory is taken.
const WORTH_A_BARRIER: usize = 64;

/// How many free runs of about one length the hints know.
const HINTED: u16 = 256;

/// How many free runs may be unknown to the hints before all chunks are looked through.
const UNKNOWN: usize = 256;

/// The shortest run that a block fits into.
const SHORTEST: usize = 2;

/// For what cannot happen: a place that was just found is not there.
const NOWHERE: ExecError = ExecError::OutOfMemory;

/// One lane.
pub(super) struct Shard {
    number: u16,
    chunks: Vec<Option<Chunk>>,
    /// Slots of `chunks` that are not in use.
    vacant: Vec<u16>,
    hints: FreeLists,
    /// Blocks that any other of their size may have at once. The maps know them as taken.
    ready: Magazine,
    /// The beginning of the free end of the latest chunk.
    frontier: Option<Spot>,
    /// Free runs that no hint leads to, at most.
    unknown: usize,
    /// How many chunks are to come before all are looked through again, and how many that were the
    /// last time: twice as many each time that nothing was found.
    until_search: (u32, u32),
    waiting: Vec<BlockId>,
    waiting_bytes: usize,
    /// Bytes of all chunks.
    bytes: u64,
    pub(super) ledger: Ledger,
    pub(super) events: Ring,
}

impl Shard {
    pub(super) const fn new(number: u16) -> Self {
        Self {
            number,
            chunks: Vec::new(),
            vacant: Vec::new(),
            hints: FreeLists::new(HINTED),
            ready: Magazine::new(),
            frontier: None,
            unknown: 0,
            until_search: (0, 1),
            waiting: Vec::new(),
            waiting_bytes: 0,
            bytes: 0,
            ledger: Ledger::new(),
            events: Ring::new(number),
        }
    }

    /// Takes a place for a block if one is at hand.
    #[inline(always)]
    pub(super) fn take_quickly(&mut self, need: &AllocRequest) -> Option<Allocation> {
        if !need.shares() {
            return None;
        }
        if let Some(found) = self.take_ready(need) {
            return Some(found);
        }
        self.take_known(need)
    }

    /// A block of the same size that was freed.
    #[inline(always)]
    fn take_ready(&mut self, need: &AllocRequest) -> Option<Allocation> {
        let spot = self.ready.pop(need.units)?;
        let found = self.chunks.get(usize::from(spot.slot))?.as_ref()?.found(spot, need.units)?;
        let address = found.address.get();
        if address & (need.alignment - 1) == 0 && need.allows(address) {
            return Some(found);
        }
        self.release(spot, None);
        None
    }

    /// A place in a free run that the hints know, or at the frontier, that has memory.
    #[inline]
    fn take_known(&mut self, need: &AllocRequest) -> Option<Allocation> {
        if !self.hints.is_empty()
            && let Some(found) = self.take_hinted(need)
        {
            return Some(found);
        }
        self.take_at(self.frontier?, need, false).unwrap_or(None)
    }

    fn take_hinted(&mut self, need: &AllocRequest) -> Option<Allocation> {
        loop {
            let chunks = &self.chunks;
            let fits = |spot: Spot| {
                let chunk = chunks.get(usize::from(spot.slot)).and_then(Option::as_ref);
                chunk.is_some_and(|chunk| chunk.fit(spot.unit as usize, need).is_some())
            };
            let spot = self.hints.pop(need.units, fits)?;
            if let Ok(Some(found)) = self.take_at(spot, need, true) {
                return Some(found);
            }
            let chunk = self.chunks.get(usize::from(spot.slot)).and_then(Option::as_ref);
            let run = chunk.and_then(|chunk| chunk.map.run_at(spot.unit as usize));
            if run.is_some_and(|run| !run.taken) {
                // Too short once it is aligned. Otherwise the hint was out of date.
                self.unknown += 1;
            }
        }
    }

    /// Takes a place for a block in the chunks that there are.
    pub(super) fn take_here(
        &mut self,
        need: &AllocRequest,
        arenas: &Arenas,
    ) -> Result<Option<Allocation>, ExecError> {
        if let Some(found) = self.take_quickly(need) {
            return Ok(Some(found));
        }
        if !need.shares() {
            return Ok(None);
        }
        if self.waiting.len() >= WORTH_A_BARRIER {
            self.end_waiting(arenas);
            if let Some(found) = self.take_quickly(need) {
                return Ok(Some(found));
            }
        }
        if let Some(frontier) = self.frontier
            && let Some(found) = self.take_at(frontier, need, true)?
        {
            return Ok(Some(found));
        }
        self.empty_ready(arenas);
        let all = self.unknown >= UNKNOWN && self.until_search.0 == 0;
        let found = self.take_searched(need, all)?;
        self.until_search = match (self.until_search, found.is_some()) {
            (_, true) if all => (0, 1),
            ((0, last), false) if all => (last, last.saturating_mul(2)),
            (unchanged, _) => unchanged,
        };
        Ok(found)
    }

    /// Takes a place for a block, in a new chunk if need be.
    pub(super) fn take(
        &mut self,
        need: &AllocRequest,
        arenas: &Arenas,
    ) -> Result<Allocation, ExecError> {
        if let Some(found) = self.take_here(need, arenas)? {
            return Ok(found);
        }
        if !need.shares() {
            return self.take_chunk(need, arenas);
        }
        self.until_search.0 = self.until_search.0.saturating_sub(1);
        let bytes = if self.chunks.is_empty() { FIRST_CHUNK } else { CHUNK };
        match self.new_chunk(bytes, need, arenas) {
            Ok(slot) => self.take_at(Spot { slot, unit: 0 }, need, true)?.ok_or(NOWHERE),
            Err(error) => {
                // No memory but what is waiting or forgotten.
                self.end_waiting(arenas);
                self.empty_ready(arenas);
                self.take_searched(need, true)?.ok_or(error)
            }
        }
    }

    /// A place that the hints know; `all` to look through every chunk.
    fn take_searched(
        &mut self,
        need: &AllocRequest,
        all: bool,
    ) -> Result<Option<Allocation>, ExecError> {
        if all {
            self.renew_hints();
        }
        let known = self.take_known(need);
        if known.is_some() || !all {
            return Ok(known);
        }
        let chunks = (0..).zip(self.chunks.iter_mut().map(Option::as_mut));
        let found = chunks.filter_map(|(slot, chunk)| {
            let unit = chunk.filter(|chunk| !chunk.own)?.search(need)?;
            Some(Spot { slot, unit: unit as u32 })
        });
        let spot = { found }.next();
        spot.map_or(Ok(None), |spot| self.take_at(spot, need, true))
    }

    /// Looks through every chunk and writes the hints anew.
    fn renew_hints(&mut self) {
        self.hints.clear();
        self.unknown = 0;
        for (slot, chunk) in (0..).zip(&mut self.chunks) {
            let Some(chunk) = chunk.as_mut().filter(|chunk| !chunk.own) else { continue };
            chunk.longest = 0;
            for run in chunk.map.free_runs().filter(|run| run.len() >= SHORTEST) {
                let spot = Spot { slot, unit: run.start as u32 };
                chunk.longest = chunk.longest.max(run.len());
                if Some(spot) != self.frontier && !self.hints.push(run.len(), spot) {
                    self.unknown += 1;
                }
            }
        }
    }

    /// A chunk for one block.
    fn take_chunk(
        &mut self,
        need: &AllocRequest,
        arenas: &Arenas,
    ) -> Result<Allocation, ExecError> {
        // What waits may be as large as what is wanted.
        if self.waiting_bytes >= need.capacity {
            self.end_waiting(arenas);
        }
        let page = sys::page_size();
        let capacity = need.capacity.next_multiple_of(page);
        // Half pages, so that a block of a single page has a unit for its flag.
        let shift = page.ilog2() - 1;
        let need = AllocRequest::new(capacity, need.alignment, shift, need.kind, need.placement);
        let slot = self.new_chunk(capacity, &need, arenas)?;
        if let Some(chunk) = self.chunk_mut(slot) {
            chunk.own = true;
        }
        let taken = self.take_at(Spot { slot, unit: 0 }, &need, true);
        if !matches!(taken, Ok(Some(_))) {
            self.remove_chunk(slot, arenas);
        }
        taken?.ok_or(NOWHERE)
    }

    fn new_chunk(
        &mut self,
        bytes: usize,
        need: &AllocRequest,
        arenas: &Arenas,
    ) -> Result<u16, ExecError> {
        let map = SpanMap::new(bytes >> need.shift).ok_or(ExecError::OutOfMemory)?;
        let slot = self.vacant_slot()?;
        let owner = Owner { lane: self.number, slot };
        let (arena, address, warm) = arenas.take(bytes, owner, need.kind, need.placement)?;
        let longest = map.len();
        let shift = need.shift;
        let writable_offset = arena.writable_offset();
        let (own, cursor) = (false, 0);
        let chunk = Chunk {
            arena,
            address,
            bytes,
            shift,
            writable_offset,
            map,
            longest,
            cursor,
            warm,
            own,
        };
        self.vacant.pop();
        self.bytes += bytes as u64;
        if let Some(place) = self.chunks.get_mut(usize::from(slot)) {
            *place = Some(chunk);
        }
        if need.shares()
            && let Some(frontier) = self.frontier.replace(Spot { slot, unit: 0 })
            && let Some(chunk) = self.chunk_mut(frontier.slot)
            && let Some(run) = chunk.map.run_at(frontier.unit as usize)
        {
            self.hint(run.units.len(), frontier);
        }
        Ok(slot)
    }

    /// The slot that the next chunk gets, on top of `vacant`. It stays there until it is filled.
    fn vacant_slot(&mut self) -> Result<u16, ExecError> {
        if let Some(&slot) = self.vacant.last() {
            return Ok(slot);
        }
        let no_room = |_| ExecError::OutOfMemory;
        let slot = u16::try_from(self.chunks.len()).map_err(|_| ExecError::OutOfMemory)?;
        self.chunks.try_reserve(1).map_err(no_room)?;
        self.vacant.try_reserve(self.chunks.len() + 1).map_err(no_room)?;
        self.chunks.push(None);
        self.vacant.push(slot);
        Ok(slot)
    }

    /// Takes a place in the free run that begins at `spot`, if there is such a run with room; `warm`
    /// to have memory for it if there is none yet.
    #[inline]
    fn take_at(
        &mut self,
        spot: Spot,
        need: &AllocRequest,
        warm: bool,
    ) -> Result<Option<Allocation>, ExecError> {
        let Some(chunk) = self.chunk_mut(spot.slot) else { return Ok(None) };
        let Some((run, units)) = chunk.fit(spot.unit as usize, need) else { return Ok(None) };
        let end = units.end << chunk.shift;
        if end > chunk.warm {
            if !warm {
                return Ok(None);
            }
            chunk.warm_up_to(end)?;
        }
        let taken = Spot { unit: units.start as u32, ..spot };
        // What has a chunk of its own is ready for nobody else.
        let found = chunk.found(taken, if chunk.own { SMALL } else { units.len() });
        let before = units.start - run.start;
        let Some(left) = chunk.map.take(run, units) else { return Ok(None) };
        chunk.cursor = left.start;
        let behind = Spot { unit: left.start as u32, ..spot };
        if self.frontier == Some(spot) {
            self.frontier = (!left.is_empty()).then_some(behind);
        } else if !left.is_empty() {
            self.hint(left.len(), behind);
        }
        if before > 0 {
            self.hint(before, spot);
        }
        Ok(found)
    }

    /// Remembers a free run.
    #[inline]
    fn hint(&mut self, len: usize, spot: Spot) {
        if len >= SHORTEST && !self.hints.push(len, spot) {
            self.unknown += 1;
        }
    }

    #[inline]
    fn chunk_mut(&mut self, slot: u16) -> Option<&mut Chunk> {
        self.chunks.get_mut(usize::from(slot)).and_then(Option::as_mut)
    }

    /// The block at `spot` may run from now on, or not any more.
    #[inline]
    pub(super) fn set_published(&mut self, spot: Spot, published: bool) {
        if let Some(chunk) = self.chunk_mut(spot.slot) {
            chunk.map.set_flag(spot.unit as usize, published);
        }
    }

    /// The arena of the block at `spot`.
    pub(super) fn arena(&self, spot: Spot) -> Option<TryArc<Arena>> {
        let chunk = self.chunks.get(usize::from(spot.slot)).and_then(Option::as_ref);
        chunk.map(|chunk| chunk.arena.clone())
    }

    /// What is at `address`, if it is in the chunk of this slot.
    pub(super) fn around(&self, slot: u16, address: usize) -> Option<BlockInfo> {
        let chunk = self.chunks.get(usize::from(slot))?.as_ref()?;
        let unit = address.checked_sub(chunk.address)? >> chunk.shift;
        let run = chunk.map.run_around(unit)?;
        let published = run.taken && chunk.map.flag(run.units.start);
        Some(BlockInfo { range: chunk.range(&run.units), taken: run.taken, published })
    }

    /// Bytes of the chunks that belong to no live block.
    pub(super) fn spare(&self) -> u64 {
        self.bytes.saturating_sub(self.ledger.live_bytes())
    }

    /// Takes back a block of `len` bytes, which hold traps and may not be called any more. Returns
    /// whether that was the occasion to do something about others.
    #[inline]
    pub(super) fn give_back(&mut self, at: BlockId, len: usize, arenas: &Arenas) -> bool {
        let full = self.waiting.len() >= self.waiting.capacity() || self.waiting_bytes >= WAITING.1;
        if full {
            self.make_room(arenas);
        }
        // If the kernel does not bring the cores in step and there is no memory for more that wait,
        // the block is not used again.
        if self.waiting.len() < self.waiting.capacity() {
            self.waiting.push(at);
            self.waiting_bytes += len;
        }
        full
    }

    /// Lets more blocks wait, or none of them any longer.
    #[cold]
    fn make_room(&mut self, arenas: &Arenas) {
        let (len, capacity) = (self.waiting.len(), self.waiting.capacity());
        let more = capacity.clamp(64, WAITING.0);
        let few = capacity < WAITING.0 && self.waiting_bytes < WAITING.1;
        if few && self.waiting.try_reserve_exact(more).is_ok() {
            return;
        }
        self.end_waiting(arenas);
        if self.waiting.len() == len {
            // The kernel would not; more wait for the next time.
            let _ = self.waiting.try_reserve_exact(more);
        }
    }

    /// Brings all cores in step and makes ready or free what waits for it; if the kernel will not,
    /// it waits on.
    #[cold]
    #[inline(never)]
    fn end_waiting(&mut self, arenas: &Arenas) {
        if self.waiting.is_empty() || icache::empty_pipelines().is_err() {
            return;
        }
        self.waiting_bytes = 0;
        let mut waiting = core::mem::take(&mut self.waiting);
        for at in waiting.drain(..) {
            let units = at.few_units();
            if units == 0 || !self.ready.push(units, at.spot()) {
                self.release(at.spot(), Some(arenas));
            }
        }
        self.waiting = waiting;
    }

    /// Frees what is ready.
    fn empty_ready(&mut self, arenas: &Arenas) {
        while let Some(spot) = self.ready.pop_any() {
            self.release(spot, Some(arenas));
        }
    }

    /// Frees a block that no core can hold any more. A chunk that is empty then goes back to
    /// `arenas`, if they are at hand.
    fn release(&mut self, spot: Spot, arenas: Option<&Arenas>) {
        let frontier = self.frontier;
        let Some(chunk) = self.chunk_mut(spot.slot) else { return };
        let Some(run) = chunk.map.release(spot.unit as usize) else { return };
        let start = Spot { unit: run.start as u32, ..spot };
        let empty = chunk.is_empty();
        chunk.longest = chunk.longest.max(run.len());
        if chunk.own {
            // Without arenas there are only blocks that shared a chunk.
            arenas.into_iter().for_each(|arenas| self.remove_chunk(spot.slot, arenas));
            return;
        }
        let is_frontier = match frontier {
            Some(at) => at.slot == spot.slot && run.contains(&(at.unit as usize)),
            None => empty,
        };
        match arenas {
            _ if is_frontier => self.frontier = Some(start),
            // The frontier is room enough to keep.
            Some(arenas) if empty => self.remove_chunk(spot.slot, arenas),
            _ => self.hint(run.len(), start),
        }
    }

    fn remove_chunk(&mut self, slot: u16, arenas: &Arenas) {
        let chunk = self.chunks.get_mut(usize::from(slot)).and_then(Option::take);
        if let Some(chunk) = chunk {
            // `vacant_slot` made room for every slot.
            self.vacant.push(slot);
            self.bytes -= chunk.bytes as u64;
            arenas.give_back(chunk.arena, chunk.address, chunk.warm);
        }
    }

    /// Gives back every chunk that holds no live block.
    pub(super) fn trim(&mut self, arenas: &Arenas) {
        self.end_waiting(arenas);
        self.empty_ready(arenas);
        for slot in 0..self.chunks.len() as u16 {
            if self.chunk_mut(slot).is_some_and(|chunk| chunk.is_empty()) {
                self.frontier = self.frontier.filter(|frontier| frontier.slot != slot);
                self.remove_chunk(slot, arenas);
            }
        }
    }

    /// Bytes with memory behind them, and bytes of the records.
    pub(super) fn usage(&self) -> (usize, usize) {
        let chunks = self.chunks.iter().flatten();
        let warm = chunks.clone().map(|chunk| chunk.warm).sum();
        let maps: usize = chunks.map(|chunk| chunk.map.footprint()).sum();
        let lists = self.chunks.capacity() * size_of::<Option<Chunk>>()
            + self.vacant.capacity() * size_of::<u16>()
            + self.waiting.capacity() * size_of::<BlockId>();
        (
            warm,
            maps + lists
                + self.hints.footprint()
                + self.ready.footprint()
                + self.events.footprint(),
        )
    }
}
