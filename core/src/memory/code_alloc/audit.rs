//! What happened to executable memory, and how much of it there is.

use alloc::vec::Vec;

use super::super::sys;
use super::error::{ExecError, Reason};

/// What an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// A block was given out.
    Allocate,
    /// The code of a block may run from now on.
    Publish,
    /// A block was given back.
    Free,
    /// Something was refused, for this reason.
    Refuse(Reason),
}

/// One thing that happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// Nanoseconds of `CLOCK_MONOTONIC_COARSE`, which advances every 1 to 10 ms.
    pub time: u64,
    /// The size that was asked for, in bytes; 4 GiB - 1 stands for that and more.
    pub size: u64,
    /// The block, or the address that was refused; 0 when there is none.
    pub address: usize,
    /// What happened.
    pub action: Action,
    /// Counts the events of one lane from 0, and orders those of one time; lanes are about as many
    /// as cores.
    pub sequence: u64,
    /// The lane that noted it.
    pub lane: u16,
}

/// How many events a lane keeps.
pub(super) const KEPT: usize = 256;

/// An event as it is kept; its number and lane follow from its place.
#[derive(Clone, Copy)]
struct Record {
    time: u64,
    address: usize,
    size: u32,
    action: Action,
}

/// The last events of one lane.
pub(super) struct Ring {
    lane: u16,
    records: Vec<Record>,
    /// The number of the next event.
    next: u64,
    /// The number of the first one that nobody drained.
    first: u64,
}

impl Ring {
    pub(super) const fn new(lane: u16) -> Self {
        Self { lane, records: Vec::new(), next: 0, first: 0 }
    }

    /// The bytes that the kept events take.
    pub(super) fn footprint(&self) -> usize {
        self.records.capacity() * size_of::<Record>()
    }

    /// Keeps an event, and forgets the one that is [`KEPT`] older. `size` beyond 4 GiB is cut there.
    #[inline]
    pub(super) fn note(&mut self, action: Action, address: usize, size: u64) {
        let size = u32::try_from(size).unwrap_or(u32::MAX);
        let record = Record { time: sys::coarse_time(), address, size, action };
        // Below KEPT, which fits.
        let place = self.next as usize % KEPT;
        self.next += 1;
        match self.records.get_mut(place) {
            Some(kept) => *kept = record,
            None => self.note_first(place, record),
        }
    }

    pub(super) fn refuse(&mut self, error: ExecError, address: usize, size: u64) {
        self.note(Action::Refuse(error.reason()), address, size);
    }

    /// The ring gets all of its memory with the first event.
    #[cold]
    fn note_first(&mut self, place: usize, record: Record) {
        if self.records.try_reserve_exact(KEPT.saturating_sub(self.records.len())).is_ok() {
            self.records.resize(place + 1, record);
        } else {
            // Counted and not kept, and those before it neither.
            self.first = self.next;
        }
    }

    /// Hands out what is kept and was not drained, the earliest first. Returns how many were lost.
    pub(super) fn read(&self, mut each: impl FnMut(&Event)) -> u64 {
        let kept = self.next.saturating_sub(KEPT as u64).max(self.first);
        for sequence in kept..self.next {
            if let Some(&Record { time, address, size, action }) =
                self.records.get(sequence as usize % KEPT)
            {
                let (size, lane) = (u64::from(size), self.lane);
                each(&Event { time, size, address, action, sequence, lane });
            }
        }
        kept - self.first
    }

    pub(super) fn drain(&mut self, each: impl FnMut(&Event)) -> u64 {
        let lost = self.read(each);
        self.first = self.next;
        lost
    }
}

/// How much executable memory there is, and how much there was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Statistics {
    /// Bytes of all live blocks, as they were asked for.
    pub live_bytes: u64,
    /// Live blocks.
    pub live_blocks: u64,
    /// The most bytes that were live at once. Exact when one thread at a time allocated between two
    /// looks at the statistics; otherwise the sum of what each lane had at most, which is not less.
    pub peak_bytes: u64,
    /// The same for blocks.
    pub peak_blocks: u64,
    /// Arenas, each of them a reservation of addresses.
    pub arenas: usize,
    /// Bytes of code addresses in all arenas. They have memory behind them where blocks are or were.
    pub reserved_bytes: u64,
    /// Bytes that lanes, large blocks and pages hold of the arenas: live ones, freed ones that wait
    /// for reuse, and room that was never used.
    pub held_bytes: u64,
    /// Bytes that have memory behind them and belong to no live block: freed ones, ends of blocks up
    /// to their alignment, and pages made ready in advance.
    pub wasted_bytes: u64,
    /// Bytes of the records about all this.
    pub record_bytes: u64,
    /// Blocks given out so far.
    pub allocations: u64,
    /// Blocks published so far, if that is [recorded](super::CodeMemoryOptions::audit).
    pub publications: u64,
    /// Blocks given back so far.
    pub frees: u64,
    /// Requests refused so far.
    pub refusals: u64,
}

/// What one lane counts for itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ledger {
    live_bytes: u64,
    /// What the lane may have live before it asks the ceiling.
    leave_bytes: u64,
    leave_blocks: u64,
    peak_bytes: u64,
    peak_blocks: u64,
    allocations: u64,
    pub(super) publications: u64,
    frees: u64,
    pub(super) refusals: u64,
}

impl Ledger {
    pub(super) const fn new() -> Self {
        Self {
            live_bytes: 0,
            leave_bytes: 0,
            leave_blocks: 0,
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

    /// Whether a block of `bytes` bytes is within what the ceiling has left to this lane.
    #[inline]
    pub(super) fn has_leave(&self, bytes: u64) -> bool {
        bytes <= self.leave_bytes - self.live_bytes && self.live_blocks() < self.leave_blocks
    }

    /// Adds to what the lane may have.
    pub(super) fn grant(&mut self, bytes: u64, blocks: u64) {
        self.leave_bytes += bytes;
        self.leave_blocks += blocks;
    }

    /// Takes away what the lane does not need for its live blocks.
    pub(super) fn withdraw(&mut self) -> (u64, u64) {
        let unused = (self.leave_bytes - self.live_bytes, self.leave_blocks - self.live_blocks());
        self.leave_bytes -= unused.0;
        self.leave_blocks -= unused.1;
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

    /// Adds up, and lets the peak begin anew from here.
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
    fn the_ring_keeps_the_last_events_and_says_how_many_it_lost() {
        let mut ring = Ring::new(5);
        for count in [0, 1, 255, 256, 257, 1000] {
            for size in 0..count {
                ring.note(Action::Free, 8, size);
            }
            let mut read = Vec::new();
            let lost = ring.read(|event| read.push(event.size));
            assert_eq!(lost, count.saturating_sub(256));
            assert!(read.iter().copied().eq(count.saturating_sub(256)..count), "{read:?}");
            let mut drained = Vec::new();
            assert_eq!(ring.drain(|event| drained.push(event.size)), lost);
            assert_eq!(read, drained);
            assert_eq!(ring.drain(|event| drained.push(event.size)), 0);
            assert_eq!(read, drained, "nothing comes twice");
        }
        ring.refuse(ExecError::Empty, 7, 0);
        ring.read(|event| {
            assert_eq!((event.action, event.lane), (Action::Refuse(Reason::Size), 5));
            assert!(event.time > 0);
        });
    }

    #[test]
    fn a_peak_begins_anew_when_it_was_reported() {
        let mut ledger = Ledger::new();
        ledger.allocate(10);
        ledger.allocate(20);
        ledger.free(20);
        let mut first = Statistics::default();
        ledger.report(&mut first);
        assert_eq!((first.live_bytes, first.peak_bytes, first.peak_blocks), (10, 30, 2));
        let mut second = Statistics::default();
        ledger.report(&mut second);
        assert_eq!((second.peak_bytes, second.peak_blocks, second.allocations), (10, 1, 2));
    }
}
