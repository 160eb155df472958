//! Events and statistics of executable memory.

use alloc::vec::Vec;

use super::super::sys;
use super::error::{ExecError, Reason};

/// The kind of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// A block was allocated.
    Allocate,
    /// A block was published.
    Publish,
    /// A block was freed.
    Free,
    /// A request was refused for this reason.
    Refuse(Reason),
}

/// A recorded event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// Nanoseconds of `CLOCK_MONOTONIC_COARSE`, which advances every 1 to 10 ms.
    pub time: u64,
    /// The requested size in bytes; larger sizes are recorded as 4 GiB - 1.
    pub size: u64,
    /// The address of the block, or the refused address; 0 if there is none.
    pub address: usize,
    /// The kind.
    pub action: Action,
    /// The number of the event in its shard, from 0. It orders events of equal time.
    pub sequence: u64,
    /// The shard that recorded it. Each core has one.
    pub shard: u16,
}

/// How many events a shard retains.
pub(super) const MAX_EVENTS: usize = 256;

/// A retained event, without its number and shard.
#[derive(Clone, Copy)]
struct Record {
    time: u64,
    address: usize,
    size: u32,
    action: Action,
}

/// The last events of one shard.
pub(super) struct EventRing {
    shard: u16,
    records: Vec<Record>,
    /// The number of the next event.
    next: u64,
    /// The number of the first event that was not drained.
    first: u64,
}

impl EventRing {
    pub(super) const fn new(shard: u16) -> Self {
        Self { shard, records: Vec::new(), next: 0, first: 0 }
    }

    /// Bytes allocated for the events.
    pub(super) fn footprint(&self) -> usize {
        self.records.capacity() * size_of::<Record>()
    }

    /// Records an event and drops the one that is [`MAX_EVENTS`] older.
    #[inline]
    pub(super) fn record(&mut self, action: Action, address: usize, size: u64) {
        let size = u32::try_from(size).unwrap_or(u32::MAX);
        let record = Record { time: sys::coarse_time(), address, size, action };
        // Below MAX_EVENTS, which fits.
        let index = self.next as usize % MAX_EVENTS;
        self.next += 1;
        match self.records.get_mut(index) {
            Some(slot) => *slot = record,
            None => self.grow(index, record),
        }
    }

    pub(super) fn refuse(&mut self, error: ExecError, address: usize, size: u64) {
        self.record(Action::Refuse(error.reason()), address, size);
    }

    /// Allocates the ring with the first event.
    #[cold]
    fn grow(&mut self, index: usize, record: Record) {
        if self.records.try_reserve_exact(MAX_EVENTS.saturating_sub(self.records.len())).is_ok() {
            self.records.resize(index + 1, record);
        } else {
            // Without memory, this event and all before it are lost.
            self.first = self.next;
        }
    }

    /// Passes all retained events that were not drained to `each`, the earliest first. Returns the number of lost events.
    pub(super) fn read(&self, mut each: impl FnMut(&Event)) -> u64 {
        let retained = self.next.saturating_sub(MAX_EVENTS as u64).max(self.first);
        for sequence in retained..self.next {
            if let Some(&Record { time, address, size, action }) =
                self.records.get(sequence as usize % MAX_EVENTS)
            {
                let (size, shard) = (u64::from(size), self.shard);
                each(&Event { time, size, address, action, sequence, shard });
            }
        }
        retained - self.first
    }

    /// As [`read`](Self::read); the events are not passed again.
    pub(super) fn drain(&mut self, each: impl FnMut(&Event)) -> u64 {
        let lost = self.read(each);
        self.first = self.next;
        lost
    }
}

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
    /// Blocks published so far, if that is [recorded](super::CodeMemoryOptions::audit).
    pub publications: u64,
    /// Blocks freed so far.
    pub frees: u64,
    /// Requests refused so far.
    pub refusals: u64,
}

/// The counters of one shard.
#[derive(Clone, Copy, Debug)]
pub(super) struct ShardCounters {
    live_bytes: u64,
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
    pub(super) const fn new() -> Self {
        Self {
            live_bytes: 0,
            quota_bytes: 0,
            quota_blocks: 0,
            peak_bytes: 0,
            peak_blocks: 0,
            allocations: 0,
            publications: 0,
            frees: 0,
            refusals: 0,
        }
    }

    #[inline]
    pub(super) fn live_bytes(&self) -> u64 {
        self.live_bytes
    }

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
    fn event_ring_retains_the_last_events_and_counts_lost_ones() {
        let mut ring = EventRing::new(5);
        for count in [0, 1, 255, 256, 257, 1000] {
            for size in 0..count {
                ring.record(Action::Free, 8, size);
            }
            let mut read = Vec::new();
            let lost = ring.read(|event| read.push(event.size));
            assert_eq!(lost, count.saturating_sub(256));
            assert!(read.iter().copied().eq(count.saturating_sub(256)..count), "{read:?}");
            let mut drained = Vec::new();
            assert_eq!(ring.drain(|event| drained.push(event.size)), lost);
            assert_eq!(read, drained);
            assert_eq!(ring.drain(|event| drained.push(event.size)), 0);
            assert_eq!(read, drained, "no event is passed twice");
        }
        ring.refuse(ExecError::Empty, 7, 0);
        ring.read(|event| {
            assert_eq!((event.action, event.shard), (Action::Refuse(Reason::Size), 5));
            assert!(event.time > 0);
        });
    }

    #[test]
    fn peak_restarts_after_a_report() {
        let mut counters = ShardCounters::new();
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
