//! The blocks of one lane: a part of the allocator that threads on one core have to themselves.
//!
//! A lane cuts blocks out of chunks, which it gets from the arenas and gives back when they are
//! empty. What is free in a chunk is said by its run map; hints and the frontier, the free end of
//! the latest chunk, only lead there.
//!
//! A freed block is not free at once. It waits, filled with traps, until there are some of them;
//! then all cores are brought in step, once for all, and the blocks join what is free. So no core
//! can hold an instruction of what was there before, which the architectures ask for, and at 0.4 us
//! for 512 blocks it costs next to nothing.
#![allow(unsafe_code)]

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Range;
use core::ptr::NonNull;

use super::super::placement::{self, Placement};
use super::super::{icache, sys};
use super::arena::{Arena, Kind, Owner};
use super::arenas::Arenas;
use super::audit::{Ledger, Ring};
use super::error::ExecError;
use super::hints::{Hints, Spot};
use super::runs::{Run, RunMap};

/// Bytes of a chunk: large enough that what is lost at its end does not count, small enough that a
/// lane which needs little does not hold much.
pub(super) const CHUNK: usize = 256 << 10;

/// Blocks above this size have a chunk of their own.
const LARGEST_SHARED: usize = CHUNK / 8;

/// The fewest and the most bytes that get memory at once. A new lane begins with little, so that the
/// first function of a process does not pay for others.
const WARM: Range<usize> = 16 << 10..128 << 10;

/// How many freed blocks wait at most, and how many bytes.
const WAITING: (usize, usize) = (512, 256 << 10);

/// How many make it worth bringing the cores in step before new memory is taken.
const WORTH_A_BARRIER: usize = 64;

/// How many free runs may be unknown to the hints before all chunks are looked through.
const UNKNOWN: usize = 256;

/// A stretch of an arena that blocks are cut from.
struct Chunk {
    arena: Arc<Arena>,
    /// The first address.
    address: usize,
    bytes: usize,
    /// The logarithm of the bytes in a unit.
    shift: u32,
    map: RunMap,
    /// No free run is longer.
    longest: usize,
    /// Bytes from the first on that have memory and hold traps or code.
    warm: usize,
    /// For one block alone.
    own: bool,
}

impl Chunk {
    fn range(&self, units: &Range<usize>) -> Range<usize> {
        self.address + (units.start << self.shift)..self.address + (units.end << self.shift)
    }

    /// Where `need` fits into the free run that begins at `unit`.
    #[inline]
    fn fit(&self, unit: usize, need: &Need) -> Option<Range<usize>> {
        let run = self.map.run_at(unit).filter(|run| !run.taken)?.units;
        let address = self.address + (run.start << self.shift);
        let skipped = (address.next_multiple_of(need.alignment) - address) >> self.shift;
        let start = run.start + skipped;
        let end = start.checked_add(need.units)?;
        (end <= run.end).then_some(start..end)
    }

    /// The first free run that has room for `need`; what there is no room in is noted.
    fn search(&mut self, need: &Need) -> Option<usize> {
        if self.longest < need.units {
            return None;
        }
        let found = self.map.free_runs().find(|run| self.fit(run.start, need).is_some());
        if found.is_none() && need.alignment >> self.shift <= 1 {
            self.longest = self.map.free_runs().map(|run| run.len()).max().unwrap_or(0);
        }
        found.map(|run| run.start)
    }

    fn is_empty(&self) -> bool {
        self.map.free() == self.map.len()
    }
}

/// What a block needs of its place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Need {
    /// Bytes, a multiple of the unit.
    pub(super) capacity: usize,
    /// `capacity` in units.
    pub(super) units: usize,
    /// A power of two, at most a page.
    pub(super) alignment: usize,
    /// The logarithm of the bytes in a unit.
    pub(super) shift: u32,
    pub(super) kind: Kind,
    pub(super) placement: Placement,
}

/// A place that was found and taken.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    pub(super) spot: Spot,
    pub(super) address: usize,
    /// Where it is written; the same bytes as at `address`.
    pub(super) writable: NonNull<u8>,
}

/// What is known of the block or the gap around an address.
pub(super) struct Around {
    pub(super) range: Range<usize>,
    pub(super) taken: bool,
    pub(super) published: bool,
}

/// One lane.
pub(super) struct Lane {
    number: u16,
    chunks: Vec<Option<Chunk>>,
    /// Slots of `chunks` that are not in use.
    vacant: Vec<u16>,
    hints: Hints,
    /// The beginning of the free end of the latest chunk.
    frontier: Option<Spot>,
    /// Free runs that no hint leads to, at most.
    unknown: usize,
    waiting: Vec<Spot>,
    waiting_bytes: usize,
    pub(super) ledger: Ledger,
    pub(super) events: Ring,
    /// What this lane may still give out before it asks the ceiling.
    pub(super) bytes_left: u64,
    pub(super) blocks_left: u64,
}

impl Lane {
    pub(super) const fn new(number: u16) -> Self {
        Self {
            number,
            chunks: Vec::new(),
            vacant: Vec::new(),
            hints: Hints::new(),
            frontier: None,
            unknown: 0,
            waiting: Vec::new(),
            waiting_bytes: 0,
            ledger: Ledger {
                live_bytes: 0,
                live_blocks: 0,
                peak_bytes: 0,
                peak_blocks: 0,
                allocations: 0,
                publications: 0,
                frees: 0,
                refusals: 0,
            },
            events: Ring::new(number),
            bytes_left: 0,
            blocks_left: 0,
        }
    }

    /// Takes a place for a block. Its bytes hold traps.
    #[inline]
    pub(super) fn take(&mut self, need: &Need, arenas: &Arenas) -> Result<Found, ExecError> {
        if need.placement == Placement::Anywhere
            && need.capacity <= LARGEST_SHARED
            && let Some(spot) = self.known(need)
        {
            return self.take_at(spot, need);
        }
        self.take_elsewhere(need, arenas)
    }

    /// A free run with room for `need`, by hints or at the frontier.
    #[inline]
    fn known(&mut self, need: &Need) -> Option<Spot> {
        let chunks = &self.chunks;
        let fits = |spot: Spot| fits(chunks, spot, need);
        while let Some(spot) = self.hints.pop(need.units, fits) {
            if fits(spot) {
                return Some(spot);
            }
            self.unknown += 1;
        }
        self.frontier.filter(|&spot| fits(spot))
    }

    #[cold]
    fn take_elsewhere(&mut self, need: &Need, arenas: &Arenas) -> Result<Found, ExecError> {
        if need.capacity > LARGEST_SHARED {
            let spot = self.own_chunk(need, arenas)?;
            return self.take_at(spot, need);
        }
        if self.waiting.len() >= WORTH_A_BARRIER {
            self.end_waiting(arenas);
        }
        if let Some(spot) = self.searched(need, self.unknown >= UNKNOWN) {
            return self.take_at(spot, need);
        }
        let spot = match self.new_chunk(CHUNK, need, arenas) {
            Ok(slot) => Spot { slot, unit: 0 },
            Err(error) => {
                // No memory but what is waiting or forgotten.
                self.end_waiting(arenas);
                self.searched(need, true).ok_or(error)?
            }
        };
        self.take_at(spot, need)
    }

    /// A free run with room for `need` where it is wanted; `all` to look through every chunk.
    fn searched(&mut self, need: &Need, all: bool) -> Option<Spot> {
        if need.placement == Placement::Anywhere {
            if all {
                self.renew_hints();
            }
            return self.known(need).or_else(|| if all { self.search(need) } else { None });
        }
        self.search(need)
    }

    fn search(&mut self, need: &Need) -> Option<Spot> {
        let window = placement::window(need.placement);
        for (slot, chunk) in (0..).zip(&mut self.chunks) {
            let Some(chunk) = chunk else { continue };
            let inside = window.start <= chunk.address && chunk.address + chunk.bytes <= window.end;
            if inside && chunk.arena.kind() == need.kind
                && let Some(unit) = chunk.search(need)
            {
                return Some(Spot { slot, unit: unit as u32 });
            }
        }
        None
    }

    /// Looks through every chunk and writes the hints anew.
    fn renew_hints(&mut self) {
        self.hints.clear();
        self.unknown = 0;
        for (slot, chunk) in (0..).zip(&mut self.chunks) {
            let Some(chunk) = chunk.as_mut().filter(|chunk| !chunk.own) else { continue };
            chunk.longest = 0;
            for run in chunk.map.free_runs() {
                let spot = Spot { slot, unit: run.start as u32 };
                chunk.longest = chunk.longest.max(run.len());
                if Some(spot) != self.frontier && !self.hints.push(run.len(), spot) {
                    self.unknown += 1;
                }
            }
        }
    }

    fn own_chunk(&mut self, need: &Need, arenas: &Arenas) -> Result<Spot, ExecError> {
        // What waits may be as large as what is wanted.
        if self.waiting_bytes >= need.capacity {
            self.end_waiting(arenas);
        }
        let page = sys::page_size();
        let bytes = need.capacity.next_multiple_of(page);
        // Half pages, so that a block of a single page has a unit for its flag.
        let need = Need { shift: page.ilog2() - 1, ..*need };
        let slot = self.new_chunk(bytes, &need, arenas)?;
        if let Some(chunk) = self.chunk_mut(slot) {
            chunk.own = true;
        }
        Ok(Spot { slot, unit: 0 })
    }

    fn new_chunk(&mut self, bytes: usize, need: &Need, arenas: &Arenas) -> Result<u16, ExecError> {
        let map = RunMap::new(bytes >> need.shift).ok_or(ExecError::NoRoomForRecords)?;
        let slot = self.vacant_slot()?;
        let owner = Owner { lane: self.number, slot };
        let (arena, address) = arenas.take(bytes, owner, need.kind, need.placement)?;
        let longest = map.len();
        let shift = need.shift;
        let chunk =
            Chunk { arena, address, bytes, shift, map, longest, warm: 0, own: false };
        self.vacant.pop();
        if let Some(place) = self.chunks.get_mut(usize::from(slot)) {
            *place = Some(chunk);
        }
        if need.placement == Placement::Anywhere && bytes == CHUNK {
            self.hint(self.frontier);
            self.frontier = Some(Spot { slot, unit: 0 });
        } else {
            self.unknown += 1;
        }
        Ok(slot)
    }

    /// The slot that the next chunk gets, on top of `vacant`. It stays there until it is filled.
    fn vacant_slot(&mut self) -> Result<u16, ExecError> {
        if let Some(&slot) = self.vacant.last() {
            return Ok(slot);
        }
        let no_room = |_| ExecError::NoRoomForRecords;
        let slot = u16::try_from(self.chunks.len()).map_err(|_| ExecError::NoRoomForRecords)?;
        self.chunks.try_reserve(1).map_err(no_room)?;
        self.vacant.try_reserve(self.chunks.len() + 1).map_err(no_room)?;
        self.waiting.try_reserve(WAITING.0.saturating_sub(self.waiting.len())).map_err(no_room)?;
        self.hints.reserve();
        self.chunks.push(None);
        self.vacant.push(slot);
        Ok(slot)
    }

    /// Takes the place that `known` or `searched` found.
    #[inline]
    fn take_at(&mut self, spot: Spot, need: &Need) -> Result<Found, ExecError> {
        let nowhere = ExecError::NoRoomForRecords;
        let chunk = self.chunk_mut(spot.slot).ok_or(nowhere)?;
        let need = &Need { units: need.capacity.div_ceil(1 << chunk.shift), ..*need };
        let start = spot.unit as usize;
        let units = chunk.fit(start, need).ok_or(nowhere)?;
        let range = chunk.range(&units);
        if range.end - chunk.address > chunk.warm {
            chunk.warm_up_to(range.end - chunk.address)?;
        }
        let writable = chunk.arena.writable(&range).ok_or(nowhere)?;
        let left = chunk.map.take(start, units.clone()).ok_or(nowhere)?;
        if self.frontier == Some(spot) {
            self.frontier =
                (!left.is_empty()).then_some(Spot { unit: left.start as u32, ..spot });
        } else if !left.is_empty() {
            self.hint(Some(Spot { unit: left.start as u32, ..spot }));
        }
        if units.start != start {
            self.hint(Some(spot));
        }
        let spot = Spot { unit: units.start as u32, ..spot };
        Ok(Found { spot, address: range.start, writable })
    }

    /// Remembers a free run.
    #[inline]
    fn hint(&mut self, spot: Option<Spot>) {
        let Some(spot) = spot else { return };
        let chunk = self.chunks.get(usize::from(spot.slot)).and_then(Option::as_ref);
        let run = chunk.and_then(|chunk| chunk.map.run_at(spot.unit as usize));
        if let Some(Run { units, taken: false }) = run
            && !self.hints.push(units.len(), spot)
        {
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
    pub(super) fn arena(&self, spot: Spot) -> Option<Arc<Arena>> {
        let chunk = self.chunks.get(usize::from(spot.slot)).and_then(Option::as_ref);
        chunk.map(|chunk| Arc::clone(&chunk.arena))
    }

    /// What is at `address`, if it is in the chunk of this slot.
    pub(super) fn around(&self, slot: u16, address: usize) -> Option<Around> {
        let chunk = self.chunks.get(usize::from(slot))?.as_ref()?;
        let unit = address.checked_sub(chunk.address)? >> chunk.shift;
        let run = chunk.map.run_around(unit)?;
        let published = run.taken && chunk.map.flag(run.units.start);
        Some(Around { range: chunk.range(&run.units), taken: run.taken, published })
    }

    /// Takes back the block of `capacity` bytes at `spot`, whose bytes hold traps.
    #[inline]
    pub(super) fn give_back(&mut self, spot: Spot, capacity: usize, arenas: &Arenas) {
        self.set_published(spot, false);
        if self.waiting.len() >= WAITING.0 || self.waiting_bytes >= WAITING.1 {
            self.end_waiting(arenas);
        }
        // `vacant_slot` made room for as many as may wait. If the kernel would not bring the cores
        // in step and there is no room for more either, the block is not used again.
        if self.waiting.len() < self.waiting.capacity() || self.waiting.try_reserve(1).is_ok() {
            self.waiting.push(spot);
            self.waiting_bytes += capacity;
        }
    }

    /// Brings all cores in step and frees what waits for it; if the kernel will not, it waits on.
    fn end_waiting(&mut self, arenas: &Arenas) {
        if self.waiting.is_empty() || icache::empty_pipelines().is_err() {
            return;
        }
        self.waiting_bytes = 0;
        let mut waiting = core::mem::take(&mut self.waiting);
        for spot in waiting.drain(..) {
            self.release(spot, arenas);
        }
        self.waiting = waiting;
    }

    #[inline]
    fn release(&mut self, spot: Spot, arenas: &Arenas) {
        let frontier = self.frontier;
        let Some(chunk) = self.chunk_mut(spot.slot) else { return };
        let Some(run) = chunk.map.release(spot.unit as usize) else { return };
        if chunk.own {
            return self.remove_chunk(spot.slot, arenas);
        }
        chunk.longest = chunk.longest.max(run.len());
        let start = Spot { unit: run.start as u32, ..spot };
        let empty = chunk.is_empty();
        let is_frontier = match frontier {
            Some(at) => at.slot == spot.slot && run.contains(&(at.unit as usize)),
            None => empty,
        };
        if is_frontier {
            self.frontier = Some(start);
        } else if empty {
            // The frontier is room enough to keep.
            self.remove_chunk(spot.slot, arenas);
        } else if !self.hints.push(run.len(), start) {
            self.unknown += 1;
        }
    }

    fn remove_chunk(&mut self, slot: u16, arenas: &Arenas) {
        let chunk = self.chunks.get_mut(usize::from(slot)).and_then(Option::take);
        if let Some(chunk) = chunk {
            // `vacant_slot` made room for every slot.
            self.vacant.push(slot);
            arenas.give_back(chunk.arena, chunk.address);
        }
    }

    /// Gives back every chunk that holds no live block.
    pub(super) fn trim(&mut self, arenas: &Arenas) {
        self.end_waiting(arenas);
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
            + self.waiting.capacity() * size_of::<Spot>();
        (warm, maps + lists + self.hints.footprint() + self.events.footprint())
    }
}

impl Chunk {
    /// Gives memory to the bytes up to `end` and some more.
    #[cold]
    fn warm_up_to(&mut self, end: usize) -> Result<(), ExecError> {
        let step = self.warm.clamp(WARM.start, WARM.end);
        let target = end.max(self.warm + step).next_multiple_of(sys::page_size()).min(self.bytes);
        let target = if self.own { self.bytes } else { target };
        let cold = self.address + self.warm..self.address + target;
        // SAFETY: the bytes belong to this chunk, and none of them was part of a block since it was
        // made. Pages of an arena are writable when they are given out.
        unsafe { self.arena.warm(cold) }?;
        self.warm = target;
        Ok(())
    }
}

#[inline]
fn fits(chunks: &[Option<Chunk>], spot: Spot, need: &Need) -> bool {
    let chunk = chunks.get(usize::from(spot.slot)).and_then(Option::as_ref);
    chunk.is_some_and(|chunk| chunk.fit(spot.unit as usize, need).is_some())
}
