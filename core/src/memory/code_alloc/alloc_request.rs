//! What blocks are cut from, and what is said of a place in it.
#![allow(unsafe_code)]

use core::num::NonZeroUsize;
use core::ops::Range;

use super::super::sys;
use super::super::types::Placement;
use super::arena::{Arena, Kind, SLAB};
use super::error::ExecError;
use super::free_lists::Spot;
use super::magazine::SMALL;
use super::span::SpanMap;
use crate::alloc_util::TryArc;

/// Blocks above this size have a chunk of their own.
const LARGEST_SHARED: usize = 32 << 10;

/// The most bytes that get memory at once. A chunk begins with one page and doubles what it has, so
/// that the first function of a process does not pay for others.
const MOST_WARMED: usize = 128 << 10;

/// A stretch of an arena that blocks are cut from.
pub(super) struct Chunk {
    pub(super) arena: TryArc<Arena>,
    /// The first address.
    pub(super) address: usize,
    pub(super) bytes: usize,
    /// The logarithm of the bytes in a unit.
    pub(super) shift: u32,
    /// How far above it is written.
    pub(super) writable_offset: usize,
    pub(super) map: SpanMap,
    /// No free run is longer, but for some that were found to begin at the wrong address.
    pub(super) longest: usize,
    /// Where the last free run that was used went on: the first place to look for another.
    pub(super) cursor: usize,
    /// Bytes from the first on that have memory and hold traps or code.
    pub(super) warm: usize,
    /// For one block alone.
    pub(super) own: bool,
}

impl Chunk {
    pub(super) fn range(&self, units: &Range<usize>) -> Range<usize> {
        self.address + (units.start << self.shift)..self.address + (units.end << self.shift)
    }

    /// The free run that begins at `unit`, and where `need` fits into it.
    #[inline]
    pub(super) fn fit(
        &self,
        unit: usize,
        need: &AllocRequest,
    ) -> Option<(Range<usize>, Range<usize>)> {
        let run = self.map.run_at(unit).filter(|run| !run.taken)?.units;
        let address = self.address + (run.start << self.shift);
        let aligned = (address + (need.alignment - 1)) & !(need.alignment - 1);
        let start = run.start + ((aligned - address) >> self.shift);
        let end = start + need.units;
        (end <= run.end && need.allows(aligned)).then_some((run, start..end))
    }

    #[inline(always)]
    pub(super) fn found(&self, spot: Spot, units: usize) -> Option<Allocation> {
        let address = NonZeroUsize::new(self.address + ((spot.unit as usize) << self.shift))?;
        Some(Allocation { address, at: BlockId::new(spot, units, self.writable_offset) })
    }

    /// The first free run that has room for `need`; what there is no room in is noted.
    pub(super) fn search(&mut self, need: &AllocRequest) -> Option<usize> {
        if self.longest < need.units {
            return None;
        }
        if self.fit(self.cursor, need).is_some() {
            return Some(self.cursor);
        }
        let found = self.map.free_runs().find(|run| self.fit(run.start, need).is_some());
        if found.is_none() {
            // What is long enough begins at the wrong address; hints may still lead there.
            let longest = self.map.free_runs().map(|run| run.len()).max().unwrap_or(0);
            self.longest = longest.min(need.units - 1);
        }
        found.map(|run| run.start)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.map.free() == self.map.len()
    }

    /// Gives memory to the bytes up to `end` and some more.
    #[cold]
    pub(super) fn warm_up_to(&mut self, end: usize) -> Result<(), ExecError> {
        let step = self.warm.clamp(sys::page_size(), MOST_WARMED);
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

/// What a block needs of its place.
#[derive(Clone, Copy, Debug)]
pub(super) struct AllocRequest {
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
    /// The lowest and the highest address that `placement` allows for the first byte.
    lowest: usize,
    highest: usize,
}

impl AllocRequest {
    #[inline]
    pub(super) fn new(
        capacity: usize,
        alignment: usize,
        shift: u32,
        kind: Kind,
        placement: Placement,
    ) -> Self {
        let window = placement.window();
        let (lowest, highest) = (window.start, window.end.saturating_sub(capacity));
        let units = capacity >> shift;
        Self { capacity, units, alignment, shift, kind, placement, lowest, highest }
    }

    /// Whether the block may begin at `address`.
    #[inline]
    pub(super) fn allows(&self, address: usize) -> bool {
        self.lowest <= address && address <= self.highest
    }

    /// Whether it shares a chunk with others.
    #[inline]
    pub(super) fn shares(&self) -> bool {
        self.capacity <= LARGEST_SHARED
    }
}

/// A place that was found and taken: two words, so that it travels in registers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Allocation {
    pub(super) address: NonZeroUsize,
    pub(super) at: BlockId,
}

/// Where the records of a place are, and where its bytes are written, in one word.
#[derive(Clone, Copy, Debug)]
pub(super) struct BlockId(u64);

impl BlockId {
    /// From the lowest bit: 16 of the slot; 16 of the writable offset in slabs; 8 of the number of
    /// units, or 0 for [`SMALL`] and more; 24 of the first unit.
    #[inline]
    pub(super) fn new(spot: Spot, units: usize, writable_offset: usize) -> Self {
        // At most LARGEST and a guard, which is less than 2^16 slabs.
        let slabs = (writable_offset / SLAB) as u64;
        let units = if units < SMALL { units as u64 } else { 0 };
        // A chunk has 2^15 units, or as many as LARGEST has half pages: 2^19.
        Self(u64::from(spot.slot) | slabs << 16 | units << 32 | u64::from(spot.unit) << 40)
    }

    #[inline]
    pub(super) fn spot(self) -> Spot {
        // The parts as they were put together.
        Spot { slot: self.0 as u16, unit: (self.0 >> 40) as u32 }
    }

    /// The number of units, or 0 when there are many.
    #[inline]
    pub(super) fn few_units(self) -> usize {
        (self.0 >> 32 & 0xff) as usize
    }

    /// How far above its address a byte is written.
    #[inline]
    pub(super) fn writable_offset(self) -> usize {
        (self.0 >> 16 & 0xffff) as usize * SLAB
    }
}

/// What is known of the block or the gap around an address.
pub(super) struct BlockInfo {
    pub(super) range: Range<usize>,
    pub(super) taken: bool,
    pub(super) published: bool,
}
