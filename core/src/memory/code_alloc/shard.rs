//! Shards: the parts of the allocator for blocks of bytes, pages of code and pages of data.
//!
//! A shard cuts blocks out of chunks, which it takes from the arenas and returns when they are empty. The span map of a
//! chunk decides which units are free; the free lists and the bump span, the free end of the latest chunk, only refer
//! to free spans.
//!
//! A freed block is not reusable at once. Filled with traps, it enters the quarantine. When the quarantine is full, one
//! system call serializes the instruction streams of all cores, as the architectures require before memory holds other
//! code. Then small blocks enter the magazine, from which a block of the same size takes them, and others are freed in
//! their span map. The magazine is flushed to the span maps when it is full or no other memory is free.

use alloc::vec::Vec;
use core::ops::Range;

use super::super::{icache, sys};
use super::alloc_request::{AllocRequest, Allocation, BlockId, SMALL_UNITS, UnitId};
use super::arena::{Arena, SlabOwner};
use super::arenas::{Arenas, CHUNK_SIZE};
use super::chunk::{Chunk, Placed};
use super::error::{ExecError, Result};
use super::free_lists::FreeLists;
use super::span::SpanMap;
use super::unit_lists::UnitLists;
use crate::alloc_util::{TryArc, try_push, try_reserve};

/// Bytes of the first chunk of a shard, whose metadata is small as well.
const FIRST_CHUNK_SIZE: usize = 64 << 10;

/// The maximum number of blocks in the quarantine.
const MAX_QUARANTINED_BLOCKS: usize = 2048;

/// The maximum number of blocks of one size in the magazine.
const MAX_REUSABLE: usize = 2048;

/// The quarantine is flushed above this number of bytes.
const MAX_QUARANTINED_BYTES: usize = 512 << 10;

/// From this number of blocks on, the quarantine is flushed before new memory is used.
const MIN_FLUSH: usize = 64;

/// From this number of free spans that may be missing from the free lists on, all chunks are scanned.
const MAX_UNLISTED: usize = 256;

/// The length in units of the shortest span in which a block fits, because no block is shorter.
const MIN_SPAN: usize = 2;

/// For states that cannot occur: a span that was just found is not free.
const INCONSISTENT: ExecError = ExecError::OutOfMemory;

/// Keeps the allocator alive while it has live blocks.
pub(super) type KeepAlive = TryArc<dyn Send + Sync>;

/// Limits how often all chunks are scanned: each scan that finds nothing doubles the number of new chunks before the
/// next.
#[derive(Default)]
struct ScanBackoff {
    remaining: u32,
    interval: u32,
}

/// The chunks and the freed blocks of one shard.
#[derive(Default)]
pub(super) struct Shard {
    number: u16,
    chunks: Vec<Option<Chunk>>,
    /// Unused indices of `chunks`.
    vacant: Vec<u16>,
    free_lists: FreeLists,
    /// Blocks for immediate reuse. The span maps consider them used.
    magazine: UnitLists<SMALL_UNITS, MAX_REUSABLE>,
    /// The start of the free end of the latest chunk.
    bump: Option<UnitId>,
    /// An upper bound on the number of free spans that are not in the free lists.
    unlisted: usize,
    scan_backoff: ScanBackoff,
    /// Freed blocks that cores may still hold in their pipelines.
    quarantine: Vec<BlockId>,
    quarantined_bytes: usize,
}

impl Shard {
    pub(super) fn new(number: u16) -> Self {
        Self { number, ..Self::default() }
    }

    /// Allocates from the magazine, a free list or the bump span, without a system call.
    // Benchmark row: "allocate, write, publish 100 bytes of code".
    #[inline(always)]
    pub(super) fn allocate_fast(&mut self, request: &AllocRequest) -> Option<Allocation> {
        if !request.is_shared() {
            return None;
        }
        self.allocate_from_magazine(request).or_else(|| self.allocate_listed(request))
    }

    // Benchmark row: "allocate, write, publish 100 bytes of code".
    #[inline(always)]
    fn allocate_from_magazine(&mut self, request: &AllocRequest) -> Option<Allocation> {
        let first = self.magazine.pop(request.units)?;
        let chunk = self.chunks.get(usize::from(first.chunk))?.as_ref()?;
        let allocation = chunk.allocation(first, request.units)?;
        let address = allocation.address.get();
        if address & (request.alignment - 1) == 0 {
            return Some(allocation);
        }
        self.free_span(first, None);
        None
    }

    /// Allocates from a free list or the bump span, only memory that is backed already.
    fn allocate_listed(&mut self, request: &AllocRequest) -> Option<Allocation> {
        if !self.free_lists.is_empty()
            && let Some(allocation) = self.allocate_from_free_lists(request)
        {
            return Some(allocation);
        }
        self.allocate_at(self.bump?, request, false).unwrap_or(None)
    }

    fn allocate_from_free_lists(&mut self, request: &AllocRequest) -> Option<Allocation> {
        loop {
            let chunks = &self.chunks;
            let fits = |first: UnitId| {
                let chunk = chunks.get(usize::from(first.chunk)).and_then(Option::as_ref);
                chunk.is_some_and(|chunk| chunk.fit(first.unit as usize, request).is_some())
            };
            let first = self.free_lists.pop(request.units, fits)?;
            if let Ok(Some(allocation)) = self.allocate_at(first, request, true) {
                return Some(allocation);
            }
            let chunk = self.chunk(first.chunk);
            let span = chunk.and_then(|chunk| chunk.map.span_at(first.unit as usize));
            if span.is_some_and(|span| !span.is_used) {
                // Too short for the alignment. Otherwise the entry was outdated.
                self.unlisted += 1;
            }
        }
    }

    /// Allocates in the existing chunks.
    fn allocate_in_chunks(
        &mut self,
        request: &AllocRequest,
        arenas: &Arenas,
    ) -> Result<Option<Allocation>> {
        if let Some(allocation) = self.allocate_fast(request) {
            return Ok(Some(allocation));
        }
        if !request.is_shared() {
            return Ok(None);
        }
        if self.quarantine.len() >= MIN_FLUSH {
            self.flush_quarantine(arenas);
            if let Some(allocation) = self.allocate_fast(request) {
                return Ok(Some(allocation));
            }
        }
        if let Some(bump) = self.bump
            && let Some(allocation) = self.allocate_at(bump, request, true)?
        {
            return Ok(Some(allocation));
        }
        self.flush_magazine(arenas);
        let scan = self.unlisted >= MAX_UNLISTED && self.scan_backoff.remaining == 0;
        if !scan {
            return Ok(self.allocate_listed(request));
        }
        let allocation = self.allocate_scanning(request)?;
        let interval = self.scan_backoff.interval.max(1);
        self.scan_backoff = match allocation {
            Some(_) => ScanBackoff::default(),
            None => ScanBackoff { remaining: interval, interval: interval.saturating_mul(2) },
        };
        Ok(allocation)
    }

    /// Allocates in an existing or a new chunk.
    pub(super) fn allocate(
        &mut self,
        request: &AllocRequest,
        arenas: &Arenas,
    ) -> Result<Allocation> {
        if let Some(allocation) = self.allocate_in_chunks(request, arenas)? {
            return Ok(allocation);
        }
        if !request.is_shared() {
            return self.allocate_dedicated(request, arenas);
        }
        self.scan_backoff.remaining = self.scan_backoff.remaining.saturating_sub(1);
        let bytes = if self.chunks.is_empty() { FIRST_CHUNK_SIZE } else { CHUNK_SIZE };
        match self.add_chunk(bytes, request, false, arenas) {
            Ok(chunk) => {
                self.allocate_at(UnitId { chunk, unit: 0 }, request, true)?.ok_or(INCONSISTENT)
            }
            Err(error) => {
                // Only quarantined and unlisted memory is left.
                self.flush_quarantine(arenas);
                self.flush_magazine(arenas);
                self.allocate_scanning(request)?.ok_or(error)
            }
        }
    }

    /// Rebuilds the free lists and allocates from them, or from the first chunk in which the block fits.
    fn allocate_scanning(&mut self, request: &AllocRequest) -> Result<Option<Allocation>> {
        self.rebuild_free_lists();
        if let Some(allocation) = self.allocate_listed(request) {
            return Ok(Some(allocation));
        }
        let found = (0..).zip(&self.chunks).find_map(|(number, chunk)| {
            let unit = chunk.as_ref().filter(|chunk| !chunk.is_dedicated)?.scan(request)?;
            Some(UnitId { chunk: number, unit: unit as u32 })
        });
        found.map_or(Ok(None), |first| self.allocate_at(first, request, true))
    }

    /// Scans all chunks and lists their free spans.
    fn rebuild_free_lists(&mut self) {
        self.free_lists.clear();
        self.unlisted = 0;
        for (number, chunk) in (0..).zip(&self.chunks) {
            let Some(chunk) = chunk.as_ref().filter(|chunk| !chunk.is_dedicated) else { continue };
            for span in chunk.map.free_spans().filter(|span| span.len() >= MIN_SPAN) {
                let first = UnitId { chunk: number, unit: span.start as u32 };
                if Some(first) != self.bump && !self.free_lists.push(span.len(), first) {
                    self.unlisted += 1;
                }
            }
        }
    }

    /// Allocates a chunk for a single large block.
    fn allocate_dedicated(
        &mut self,
        request: &AllocRequest,
        arenas: &Arenas,
    ) -> Result<Allocation> {
        // The quarantine may contain enough memory.
        if self.quarantined_bytes >= request.capacity {
            self.flush_quarantine(arenas);
        }
        let page = sys::page_size();
        let capacity = request.capacity.next_multiple_of(page);
        let request =
            AllocRequest::new(capacity, request.alignment, page.ilog2() - 1, request.kind);
        let chunk = self.add_chunk(capacity, &request, true, arenas)?;
        let allocated = self.allocate_at(UnitId { chunk, unit: 0 }, &request, true);
        if !matches!(allocated, Ok(Some(_))) {
            self.remove_chunk(chunk, arenas);
        }
        allocated?.ok_or(INCONSISTENT)
    }

    /// Adds a chunk of `bytes` bytes. If it is not dedicated, it becomes the bump span.
    fn add_chunk(
        &mut self,
        bytes: usize,
        request: &AllocRequest,
        is_dedicated: bool,
        arenas: &Arenas,
    ) -> Result<u16> {
        let map = SpanMap::new(bytes >> request.unit_shift)?;
        let number = self.vacant_number()?;
        let owner = SlabOwner { shard: self.number, chunk: number };
        let slabs = arenas.take(bytes, owner, request.kind)?;
        let chunk = Chunk { slabs, unit_shift: request.unit_shift, map, is_dedicated };
        self.vacant.pop();
        if let Some(slot) = self.chunks.get_mut(usize::from(number)) {
            *slot = Some(chunk);
        }
        if !is_dedicated
            && let Some(old) = self.bump.replace(UnitId { chunk: number, unit: 0 })
            && let Some(chunk) = self.chunk(old.chunk)
            && let Some(span) = chunk.map.span_at(old.unit as usize)
        {
            self.list_span(span.units.len(), old);
        }
        Ok(number)
    }

    /// The number of the next chunk: the last of `vacant`, where it stays until the chunk exists.
    fn vacant_number(&mut self) -> Result<u16> {
        if let Some(&number) = self.vacant.last() {
            return Ok(number);
        }
        let number = u16::try_from(self.chunks.len()).map_err(|_| ExecError::OutOfMemory)?;
        try_reserve(&mut self.chunks, 1)?;
        try_reserve(&mut self.vacant, self.chunks.len() + 1)?;
        self.chunks.push(None);
        self.vacant.push(number);
        Ok(number)
    }

    /// Allocates in the free span at `first`, if it satisfies `request`, and lists the rest of the span. Unless
    /// `warm_up` is set, only memory that is backed already is allocated.
    #[inline]
    fn allocate_at(
        &mut self,
        first: UnitId,
        request: &AllocRequest,
        warm_up: bool,
    ) -> Result<Option<Allocation>> {
        let Some(chunk) = self.chunk_mut(first.chunk) else { return Ok(None) };
        let Some(placed) = chunk.allocate(first, request, warm_up)? else { return Ok(None) };
        let Placed { allocation, before, after } = placed;
        let rest = UnitId { unit: after.start as u32, ..first };
        if self.bump == Some(first) {
            self.bump = (!after.is_empty()).then_some(rest);
        } else if !after.is_empty() {
            self.list_span(after.len(), rest);
        }
        if before > 0 {
            self.list_span(before, first);
        }
        Ok(Some(allocation))
    }

    /// Adds a free span to the free lists.
    fn list_span(&mut self, len: usize, first: UnitId) {
        if len >= MIN_SPAN && !self.free_lists.push(len, first) {
            self.unlisted += 1;
        }
    }

    fn chunk(&self, number: u16) -> Option<&Chunk> {
        self.chunks.get(usize::from(number)).and_then(Option::as_ref)
    }

    fn chunk_mut(&mut self, number: u16) -> Option<&mut Chunk> {
        self.chunks.get_mut(usize::from(number)).and_then(Option::as_mut)
    }

    /// The arena of the block at `first`.
    pub(super) fn arena(&self, first: UnitId) -> Option<TryArc<Arena>> {
        self.chunk(first.chunk).map(|chunk| chunk.slabs.arena.clone())
    }

    /// The used span that contains `address`, if chunk `number` does.
    pub(super) fn block_range(&self, number: u16, address: usize) -> Option<Range<usize>> {
        let chunk = self.chunk(number)?;
        let unit = address.checked_sub(chunk.slabs.address)? >> chunk.unit_shift;
        let span = chunk.map.span_containing(unit).filter(|span| span.is_used)?;
        Some(chunk.addresses(&span.units))
    }

    /// Puts a freed block of `len` bytes, which holds traps, into the quarantine.
    #[inline]
    pub(super) fn quarantine(&mut self, id: BlockId, len: usize, arenas: &Arenas) {
        if self.quarantine.len() >= MAX_QUARANTINED_BLOCKS
            || self.quarantined_bytes >= MAX_QUARANTINED_BYTES
        {
            self.flush_quarantine(arenas);
        }
        // If there is no memory for a longer quarantine, the block is leaked.
        if try_push(&mut self.quarantine, id).is_ok() {
            self.quarantined_bytes += len;
        }
    }

    /// Serializes all cores, and moves the quarantined blocks to the magazine or the span maps. If the kernel fails,
    /// they stay in the quarantine.
    #[cold]
    fn flush_quarantine(&mut self, arenas: &Arenas) {
        if self.quarantine.is_empty() || icache::serialize_cores().is_err() {
            return;
        }
        self.quarantined_bytes = 0;
        let mut quarantine = core::mem::take(&mut self.quarantine);
        for id in quarantine.drain(..) {
            let units = id.small_units();
            if units == 0 || !self.magazine.push(units, id.first_unit()) {
                self.free_span(id.first_unit(), Some(arenas));
            }
        }
        self.quarantine = quarantine;
    }

    /// Frees the blocks of the magazine in their span maps.
    fn flush_magazine(&mut self, arenas: &Arenas) {
        while let Some(first) = self.magazine.pop_any() {
            self.free_span(first, Some(arenas));
        }
    }

    /// Frees the span of a block that left the quarantine. If its chunk becomes empty, it is returned to `arenas`, if
    /// present.
    fn free_span(&mut self, first: UnitId, arenas: Option<&Arenas>) {
        let bump = self.bump;
        let Some(chunk) = self.chunk_mut(first.chunk) else { return };
        let Some(span) = chunk.map.free(first.unit as usize) else { return };
        let start = UnitId { unit: span.start as u32, ..first };
        let is_empty = chunk.map.is_empty();
        if chunk.is_dedicated {
            // Blocks of the magazine, which are freed without arenas, share their chunks.
            arenas.into_iter().for_each(|arenas| self.remove_chunk(first.chunk, arenas));
            return;
        }
        let extends_bump = match bump {
            Some(at) => at.chunk == first.chunk && span.contains(&(at.unit as usize)),
            None => is_empty,
        };
        match arenas {
            _ if extends_bump => self.bump = Some(start),
            Some(arenas) if is_empty => self.remove_chunk(first.chunk, arenas),
            _ => self.list_span(span.len(), start),
        }
    }

    fn remove_chunk(&mut self, number: u16, arenas: &Arenas) {
        let chunk = self.chunks.get_mut(usize::from(number)).and_then(Option::take);
        if let Some(chunk) = chunk {
            // `vacant_number` reserved capacity for every chunk.
            self.vacant.push(number);
            arenas.release(chunk.slabs);
        }
    }

    /// Returns every chunk without live blocks to the arenas.
    pub(super) fn trim(&mut self, arenas: &Arenas) {
        self.flush_quarantine(arenas);
        self.flush_magazine(arenas);
        for number in 0..self.chunks.len() as u16 {
            if self.chunk(number).is_some_and(|chunk| chunk.map.is_empty()) {
                self.bump = self.bump.filter(|bump| bump.chunk != number);
                self.remove_chunk(number, arenas);
            }
        }
    }

    /// Bytes that are backed with memory, and bytes of metadata.
    pub(super) fn usage(&self) -> (usize, usize) {
        let chunks = self.chunks.iter().flatten();
        let warm = chunks.clone().map(|chunk| chunk.slabs.warm).sum();
        let maps: usize = chunks.map(|chunk| chunk.map.footprint()).sum();
        let metadata = maps
            + self.chunks.capacity() * size_of::<Option<Chunk>>()
            + self.vacant.capacity() * size_of::<u16>()
            + self.quarantine.capacity() * size_of::<BlockId>()
            + self.free_lists.footprint()
            + self.magazine.footprint();
        (warm, metadata)
    }
}
