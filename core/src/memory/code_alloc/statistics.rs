//! Statistics of executable memory.

/// The amounts of executable memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Statistics {
    /// Bytes of all live blocks, as requested.
    pub live_bytes: u64,
    /// Live blocks.
    pub live_blocks: u64,
    /// The peak of [`live_bytes`](Self::live_bytes). Exact if one thread at a time allocated between two reads of the
    /// statistics; otherwise the sum of the peaks of the shards, which is an upper bound.
    pub peak_bytes: u64,
    /// The peak of [`live_blocks`](Self::live_blocks), with the same restriction.
    pub peak_blocks: u64,
    /// Arenas. Each is one reservation of address space.
    pub arenas: usize,
    /// Bytes of code addresses in all arenas. Memory backs those that blocks use or used.
    pub reserved_bytes: u64,
    /// Bytes of the arenas that shards, large blocks and pages hold: live ones, freed ones, and ones that were never
    /// used.
    pub held_bytes: u64,
    /// Bytes that are backed with memory and belong to no live block: freed ones, padding of blocks, and memory backed in
    /// advance.
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

/// The counters of one shard.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ShardCounters {
    pub(super) live_bytes: u64,
    /// The live bytes and blocks that the shard may have before it claims more of the ceiling.
    quota_bytes: u64,
    quota_blocks: u64,
    peak_bytes: u64,
    peak_blocks: u64,
    allocations: u64,
    pub(super) publications: u64,
    frees: u64,
    pub(super) refusals: u64,
}

impl ShardCounters {
    #[inline]
    pub(super) fn live_blocks(&self) -> u64 {
        self.allocations - self.frees
    }

    /// Whether a block of `bytes` bytes is within the quota.
    #[inline]
    pub(super) fn has_quota(&self, bytes: u64) -> bool {
        bytes <= self.quota_bytes - self.live_bytes && self.live_blocks() < self.quota_blocks
    }

    /// Increases the quota.
    pub(super) fn grant(&mut self, bytes: u64, blocks: u64) {
        self.quota_bytes += bytes;
        self.quota_blocks += blocks;
    }

    /// Removes the unused quota and returns it, in bytes and blocks.
    pub(super) fn withdraw(&mut self) -> (u64, u64) {
        let unused = (self.quota_bytes - self.live_bytes, self.quota_blocks - self.live_blocks());
        self.quota_bytes -= unused.0;
        self.quota_blocks -= unused.1;
        unused
    }

    #[inline]
    pub(super) fn allocate(&mut self, bytes: u64) {
        self.live_bytes += bytes;
        self.allocations += 1;
        self.peak_bytes = self.peak_bytes.max(self.live_bytes);
        self.peak_blocks = self.peak_blocks.max(self.live_blocks());
    }

    #[inline]
    pub(super) fn free(&mut self, bytes: u64) {
        self.live_bytes -= bytes;
        self.frees += 1;
    }

    /// Adds the counters to `sum` and restarts the peak.
    pub(super) fn report(&mut self, sum: &mut Statistics) {
        sum.live_bytes += self.live_bytes;
        sum.live_blocks += self.live_blocks();
        sum.peak_bytes += self.peak_bytes;
        sum.peak_blocks += self.peak_blocks;
        sum.allocations += self.allocations;
        sum.publications += self.publications;
        sum.frees += self.frees;
        sum.refusals += self.refusals;
        (self.peak_bytes, self.peak_blocks) = (self.live_bytes, self.live_blocks());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peak_restarts_after_a_report() {
        let mut counters = ShardCounters::default();
        counters.allocate(10);
        counters.allocate(20);
        counters.free(20);
        let mut first = Statistics::default();
        counters.report(&mut first);
        assert_eq!((first.live_bytes, first.peak_bytes, first.peak_blocks), (10, 30, 2));
        let mut second = Statistics::default();
        counters.report(&mut second);
        assert_eq!((second.peak_bytes, second.peak_blocks, second.allocations), (10, 1, 2));
    }
}
