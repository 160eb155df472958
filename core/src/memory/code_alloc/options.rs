//! Options of the allocator and requests for blocks.

/// Limits, placement and diagnostics of a [`CodeMemory`](super::CodeMemory).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CodeMemoryOptions {
    /// The maximum total size of live blocks in bytes, as requested.
    pub ceiling_bytes: u64,
    /// The maximum number of live blocks.
    pub ceiling_blocks: u64,
    /// Bytes of code in an arena, from 1 MiB to 1 GiB. Only addresses are reserved; memory backs them when blocks need
    /// it. If less address space is free, arenas are smaller.
    pub arena_bytes: usize,
    /// Whether `perf report` resolves functions in this memory by `/tmp/perf-PID.map`, which it reads only for memory
    /// that it considers anonymous. Costs additional system calls for each arena.
    pub perf_map: bool,
    /// The number of events that the audit log retains, for
    /// [`CodeMemory::drain_events`](super::CodeMemory::drain_events). With 0 nothing is recorded; else each allocation,
    /// publication, release and refusal takes a lock.
    pub audit_events: usize,
}

impl Default for CodeMemoryOptions {
    /// Arenas of 128 MiB, no ceilings, no `perf` map and no audit log.
    fn default() -> Self {
        Self {
            ceiling_bytes: u64::MAX,
            ceiling_blocks: u64::MAX,
            arena_bytes: 128 << 20,
            perf_map: false,
            audit_events: 0,
        }
    }
}

/// A request for a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    pub(super) size: usize,
    pub(super) alignment: usize,
}

impl Request {
    /// A block of `size` bytes, 1 to 1 GiB, at a multiple of 8.
    pub const fn new(size: usize) -> Self {
        Self { size, alignment: 8 }
    }

    /// Aligns the block to `alignment`, a power of two up to the page size; from 16 on, its size is rounded up to a
    /// multiple of 16.
    ///
    /// Code that reads 16-byte constants from its own block needs 16 (on x86-64, an unaligned legacy SSE operand
    /// faults), and so does code with aligned loop heads. Other code runs at any multiple of 8, which wastes less
    /// memory for small functions.
    pub const fn aligned_to(self, alignment: usize) -> Self {
        Self { alignment, ..self }
    }
}
