//! Chunks: parts of an arena from which blocks are cut.

use core::{num::NonZeroUsize, ops::Range};

use super::super::sys;
use super::alloc_request::{AllocRequest, Allocation, BlockId, SMALL_UNITS, UnitId};
use super::arena::SlabRun;
use super::error::Result;
use super::span::SpanMap;

/// The maximum number of bytes that are backed with memory at once. A chunk starts with one page and doubles, so that
/// the first function of a process does not pay for later ones.
const MAX_WARM_STEP: usize = 128 << 10;

/// A part of an arena from which blocks are cut.
pub(super) struct Chunk {
    pub(super) slabs: SlabRun,
    /// log2 of the bytes of a unit.
    pub(super) unit_shift: u32,
    pub(super) map: SpanMap,
    /// Whether the chunk holds a single large block.
    pub(super) is_dedicated: bool,
}

/// The result of an allocation at a free span.
pub(super) struct Placed {
    pub(super) allocation: Allocation,
    /// Free units before the block.
    pub(super) before: usize,
    /// The free units after the block.
    pub(super) after: Range<usize>,
}

impl Chunk {
    /// The addresses of a range of units.
    pub(super) fn addresses(&self, units: &Range<usize>) -> Range<usize> {
        let start = self.slabs.address;
        start + (units.start << self.unit_shift)..start + (units.end << self.unit_shift)
    }

    /// The free span at `unit`, and the units of it that satisfy `request`.
    #[inline]
    pub(super) fn fit(
        &self,
        unit: usize,
        request: &AllocRequest,
    ) -> Option<(Range<usize>, Range<usize>)> {
        let span = self.map.span_at(unit).filter(|span| !span.is_used)?.units;
        let address = self.slabs.address + (span.start << self.unit_shift);
        let aligned = (address + (request.alignment - 1)) & !(request.alignment - 1);
        let start = span.start + ((aligned - address) >> self.unit_shift);
        let end = start + request.units;
        (end <= span.end).then_some((span, start..end))
    }

    /// The allocation of a used span of `units` units that starts at `first`.
    ///
    /// The caller holds the only claim to the span: it just allocated the span, or took it from a magazine.
    // Benchmark row: "allocate, write, publish 100 bytes of code".
    #[inline(always)]
    pub(super) fn allocation(&self, first: UnitId, units: usize) -> Option<Allocation> {
        let offset = (first.unit as usize) << self.unit_shift;
        let address = NonZeroUsize::new(self.slabs.address + offset)?;
        let id = BlockId::new(first, units, self.slabs.writable_offset);
        Some(Allocation { address, id })
    }

    /// Allocates in the free span at `first`, if it satisfies `request`. Unless `warm_up` is set, only memory that is
    /// backed already is allocated.
    // Benchmark row: "allocate, write, publish 100 bytes of code".
    #[inline(always)]
    pub(super) fn allocate(
        &mut self,
        first: UnitId,
        request: &AllocRequest,
        warm_up: bool,
    ) -> Result<Option<Placed>> {
        let Some((span, units)) = self.fit(first.unit as usize, request) else { return Ok(None) };
        let end = units.end << self.unit_shift;
        if end > self.slabs.warm {
            if !warm_up {
                return Ok(None);
            }
            self.warm_up_to(end)?;
        }
        // The block of a dedicated chunk never enters a magazine.
        let count = if self.is_dedicated { SMALL_UNITS } else { units.len() };
        let allocation = self.allocation(UnitId { unit: units.start as u32, ..first }, count);
        let before = units.start - span.start;
        let Some(after) = self.map.allocate(span, units) else { return Ok(None) };
        Ok(allocation.map(|allocation| Placed { allocation, before, after }))
    }

    /// The start of the first free span that satisfies `request`.
    pub(super) fn scan(&self, request: &AllocRequest) -> Option<usize> {
        let mut free = self.map.free_spans().map(|span| span.start);
        free.find(|&start| self.fit(start, request).is_some())
    }

    /// Backs the bytes up to offset `end`, and some more, with memory.
    #[cold]
    fn warm_up_to(&mut self, end: usize) -> Result<()> {
        let warm = self.slabs.warm;
        let step = warm.clamp(sys::page_size(), MAX_WARM_STEP);
        let target = if self.is_dedicated { self.slabs.size } else { end.max(warm + step) };
        Ok(self.slabs.warm_up_to(target)?)
    }
}
