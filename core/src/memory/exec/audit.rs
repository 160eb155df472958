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
    /// What of it there is, in bytes: the size that was asked for.
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

/// The last events of one lane.
pub(super) struct Ring {
    lane: u16,
    events: Vec<Event>,
    /// The number of the next event.
    next: u64,
    /// The number of the first one that nobody drained.
    first: u64,
}

impl Ring {
    pub(super) const fn new(lane: u16) -> Self {
        Self { lane, events: Vec::new(), next: 0, first: 0 }
    }

    /// The bytes that the kept events take.
    pub(super) fn footprint(&self) -> usize {
        self.events.capacity() * size_of::<Event>()
    }

    #[inline]
    pub(super) fn note(&mut self, action: Action, address: usize, size: u64) {
        let sequence = self.next;
        let event =
            Event { time: sys::coarse_time(), size, address, action, sequence, lane: self.lane };
        self.next += 1;
        // Below KEPT, which fits.
        match self.events.get_mut(sequence as usize % KEPT) {
            Some(place) => *place = event,
            None => self.note_first(event),
        }
    }

    pub(super) fn refuse(&mut self, error: ExecError, address: usize, size: u64) {
        self.note(Action::Refuse(error.reason()), address, size);
    }

    /// The ring grows to its size with the first events, all at once.
    #[cold]
    fn note_first(&mut self, event: Event) {
        // Without room for them events are counted and not kept.
        let missing = KEPT.saturating_sub(self.events.len());
        if self.events.try_reserve_exact(missing).is_ok() {
            self.events.resize(event.sequence as usize % KEPT + 1, event);
        }
    }

    /// Hands out what is kept and was not drained, the earliest first. Returns how many were lost.
    pub(super) fn read(&self, mut each: impl FnMut(&Event)) -> u64 {
        let kept = self.next.saturating_sub(KEPT as u64).max(self.first);
        let mut found = 0;
        for sequence in kept..self.next {
            let event = self.events.get(sequence as usize % KEPT);
            if let Some(event) = event.filter(|event| event.sequence == sequence) {
                each(event);
                found += 1;
            }
        }
        self.next - self.first - found
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
    /// Blocks published so far.
    pub publications: u64,
    /// Blocks given back so far.
    pub frees: u64,
    /// Requests refused so far.
    pub refusals: u64,
}

/// What one lane, or the pages, count for themselves.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ledger {
    pub(super) live_bytes: u64,
    pub(super) live_blocks: u64,
    pub(super) peak_bytes: u64,
    pub(super) peak_blocks: u64,
    pub(super) allocations: u64,
    pub(super) publications: u64,
    pub(super) frees: u64,
    pub(super) refusals: u64,
}

impl Ledger {
    #[inline]
    pub(super) fn allocate(&mut self, bytes: usize) {
        self.live_bytes += bytes as u64;
        self.live_blocks += 1;
        self.peak_bytes = self.peak_bytes.max(self.live_bytes);
        self.peak_blocks = self.peak_blocks.max(self.live_blocks);
        self.allocations += 1;
    }

    #[inline]
    pub(super) fn free(&mut self, bytes: usize) {
        self.live_bytes = self.live_bytes.saturating_sub(bytes as u64);
        self.live_blocks = self.live_blocks.saturating_sub(1);
        self.frees += 1;
    }

    /// Adds up, and lets the peak begin anew from here.
    pub(super) fn report(&mut self, sum: &mut Statistics) {
        sum.live_bytes += self.live_bytes;
        sum.live_blocks += self.live_blocks;
        sum.peak_bytes += self.peak_bytes;
        sum.peak_blocks += self.peak_blocks;
        sum.allocations += self.allocations;
        sum.publications += self.publications;
        sum.frees += self.frees;
        sum.refusals += self.refusals;
        (self.peak_bytes, self.peak_blocks) = (self.live_bytes, self.live_blocks);
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
        let mut ledger = Ledger::default();
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
