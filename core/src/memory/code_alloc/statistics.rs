//! Statistics of executable memory.

use core::ops::Range;

/// The amounts of executable memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Statistics {
    /// Bytes of all live blocks, as requested.
    pub live_bytes: u64,
    /// Live blocks.
    pub live_blocks: u64,
    /// The peak of [`live_bytes`](Self::live_bytes).
    pub peak_bytes: u64,
    /// The peak of [`live_blocks`](Self::live_blocks).
    pub peak_blocks: u64,
    /// Arenas. Each is one reservation of address space.
    pub arenas: usize,
    /// Bytes of code addresses in all arenas. Memory backs those that blocks use or used.
    pub reserved_bytes: u64,
    /// Bytes of the arenas that blocks and pages hold: live ones, freed ones, and ones that were never
    /// used.
    pub held_bytes: u64,
    /// Bytes that are backed with memory and belong to no live block: freed ones, padding of blocks, and memory backed
    /// in advance.
    pub wasted_bytes: u64,
    /// Bytes of metadata.
    pub record_bytes: u64,
    /// Blocks allocated so far.
    pub allocations: u64,
    /// Blocks published so far, only [pages](super::CodeMemory::allocate_pages).
    pub publications: u64,
    /// Blocks freed so far.
    pub frees: u64,
    /// Requests refused so far.
    pub refusals: u64,
}

/// The use of one arena.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ArenaUse {
    /// The addresses of its code. Memory backs those that blocks use or used.
    pub code: Range<usize>,
    /// Bytes that shards, large blocks and pages hold, as [`Statistics::held_bytes`].
    pub held_bytes: u64,
}

impl Statistics {
    pub(super) fn count_allocation(&mut self, bytes: u64) {
        self.live_bytes += bytes;
        self.live_blocks += 1;
        self.allocations += 1;
        self.peak_bytes = self.peak_bytes.max(self.live_bytes);
        self.peak_blocks = self.peak_blocks.max(self.live_blocks);
    }

    pub(super) fn count_free(&mut self, bytes: u64) {
        self.live_bytes -= bytes;
        self.live_blocks -= 1;
        self.frees += 1;
    }
}
