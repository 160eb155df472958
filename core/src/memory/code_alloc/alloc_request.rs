//! Resolved requests, and the identity of allocated blocks.

use core::num::NonZeroUsize;

/// Bytes of a slab, the unit in which arenas are divided among chunks: a multiple of every page size, and large enough
/// that the metadata of an arena is small. Unused bytes of a slab are addresses only.
pub(super) const SLAB_SIZE: usize = 64 << 10;

/// The size of the largest block, so that 32-bit displacements reach within a block.
pub(super) const MAX_BLOCK_SIZE: usize = 1 << 30;

/// Blocks of fewer units than this have a size class of their own in the magazine of a shard.
pub(super) const SMALL_UNITS: usize = 64;

/// Larger blocks have a chunk of their own.
const MAX_SHARED_SIZE: usize = 32 << 10;

/// How the pages of an arena are mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ArenaKind {
    /// Mapped twice; the executable view can never become writable.
    Sealed,
    /// Mapped twice; pages of the executable view can become writable instead.
    Open,
    /// Mapped once; pages are either writable or executable.
    Changing,
}

/// A unit of a chunk of a shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct UnitId {
    /// The index of the chunk in the shard.
    pub(super) chunk: u16,
    pub(super) unit: u32,
}

/// A request, resolved to units.
#[derive(Clone, Copy, Debug)]
pub(super) struct AllocRequest {
    /// Bytes, a multiple of the unit.
    pub(super) capacity: usize,
    /// `capacity` in units.
    pub(super) units: usize,
    /// A power of two, at most a page.
    pub(super) alignment: usize,
    /// log2 of the bytes of a unit.
    pub(super) unit_shift: u32,
    pub(super) kind: ArenaKind,
}

impl AllocRequest {
    pub(super) fn new(capacity: usize, alignment: usize, unit_shift: u32, kind: ArenaKind) -> Self {
        Self { capacity, units: capacity >> unit_shift, alignment, unit_shift, kind }
    }

    /// Whether the block shares a chunk with others.
    pub(super) fn is_shared(&self) -> bool {
        self.capacity <= MAX_SHARED_SIZE
    }
}

/// An allocated span of a chunk, not owned by a block yet. Two words, so that it is passed in registers.
#[derive(Debug)]
pub(super) struct Allocation {
    pub(super) address: NonZeroUsize,
    pub(super) id: BlockId,
}

/// The location of a block's metadata, and the distance to its writable view, in one word.
#[derive(Clone, Copy, Debug)]
pub(super) struct BlockId(u64);

impl BlockId {
    /// From the lowest bit: 16 bits of the chunk; 16 of the writable offset in slabs; 8 of the number of units, or 0
    /// from [`SMALL_UNITS`] on; 24 of the first unit.
    #[inline]
    pub(super) fn new(first: UnitId, units: usize, writable_offset: usize) -> Self {
        // At most MAX_BLOCK_SIZE and a guard, which is less than 2^16 slabs.
        let slabs = (writable_offset / SLAB_SIZE) as u64;
        let units = if units < SMALL_UNITS { units as u64 } else { 0 };
        // A chunk has at most as many units as MAX_BLOCK_SIZE has half pages: 2^19.
        Self(u64::from(first.chunk) | slabs << 16 | units << 32 | u64::from(first.unit) << 40)
    }

    pub(super) fn first_unit(self) -> UnitId {
        // The casts extract the fields.
        UnitId { chunk: self.0 as u16, unit: (self.0 >> 40) as u32 }
    }

    /// The number of units, or 0 from [`SMALL_UNITS`] on.
    pub(super) fn small_units(self) -> usize {
        (self.0 >> 32 & 0xff) as usize
    }

    /// The distance in bytes from the executable view up to the writable view; 0 for pages that are mapped once.
    pub(super) fn writable_offset(self) -> usize {
        (self.0 >> 16 & 0xffff) as usize * SLAB_SIZE
    }
}
