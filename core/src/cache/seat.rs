//! Seats: where a reader writes down which slots he uses, and nobody else writes.
//!
//! A pin in the word of a slot is an atomic operation on a line that all readers of the slot share;
//! with two threads it costs as much as fetching that line from the other core each time. A reader with
//! a seat writes the number of the slot in a place of his own instead (a hazard pointer: Michael,
//! "Hazard Pointers: Safe Memory Reclamation for Lock-Free Objects", IEEE TPDS 15, 2004), and whoever
//! wants to change a slot looks at all seats.
//!
//! For this to be safe, of two threads at least one must see the other: the reader writes his place and
//! then looks whether the slot is closed; the other closes the slot and then looks at the places. Either
//! may have its store still under way while it looks, so between the two stands a barrier, see
//! [`Fence`]. If the reader finds the slot open after that, then whoever closes it later finds the
//! place. Everything that the reader knew of the slot before (that it has the right entry, that its
//! generation is that of a handle) may have changed until then, so it is asked again behind the barrier.
#![allow(unsafe_code)]

use core::cell::Cell;
use core::ops::Deref;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use core::sync::atomic::{AtomicU32, AtomicU64, compiler_fence, fence};

use super::entry::Entry;
use super::pin::{Cancel, Pin};
use super::storage::Slot;

/// How many readers have a seat.
pub(super) const SEATS: usize = 32;
/// How many slots each of them can hold at a time without going to their words.
const PLACES: usize = 8;

/// The places of one reader, in cache lines (two, as some processors fetch them in pairs) of their own.
#[derive(Debug)]
#[repr(align(128))]
struct Seat {
    /// The number of a slot and one, or 0.
    places: [AtomicU32; PLACES],
    /// Added to by the reader alone, and kept when he leaves.
    hits: AtomicU64,
}

impl Seat {
    const fn new() -> Self {
        Self { places: [const { AtomicU32::new(0) }; PLACES], hits: AtomicU64::new(0) }
    }
}

/// The seats of a cache, and how often anything was hit from them.
#[derive(Debug)]
pub struct Seats([Seat; SEATS]);

impl Seats {
    pub(super) const fn new() -> Self {
        Self([const { Seat::new() }; SEATS])
    }

    /// The hits of all who sit or sat here.
    pub(super) fn hits(&self) -> u64 {
        self.0.iter().map(|seat| seat.hits.load(Relaxed)).sum()
    }

    /// Whether a slot is written down in one of the seats of which `taken` has the bit.
    pub(super) fn hold(&self, mut taken: u32, slot: u32) -> bool {
        while let Some(seat) = self.0.get(taken.trailing_zeros() as usize) {
            taken &= taken - 1;
            // Whose place shows something else has read all that he read through this slot.
            if seat.places.iter().any(|place| place.load(Acquire) == slot.wrapping_add(1)) {
                return true;
            }
        }
        false
    }
}

/// What keeps the reader's look at the slot behind his store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fence {
    /// Nothing that costs time: whoever closes slots has all threads execute a barrier
    /// (`membarrier(2)`).
    Theirs,
    /// A barrier of his own, 5 ns, where the kernel has no such call.
    Own,
}

/// A reader and his seat.
#[derive(Debug)]
pub(super) struct Sitter<'c> {
    seat: Option<&'c Seat>,
    /// The places that are free, a bit for each. None without a seat.
    free: Cell<u32>,
    fence: Fence,
}

impl<'c> Sitter<'c> {
    /// Sits down on the seat of this number, if there is one. It must be nobody else's.
    pub(super) fn new(seats: &'c Seats, number: Option<u32>, fence: Fence) -> Self {
        let seat = number.and_then(|number| seats.0.get(number as usize));
        let free = if seat.is_some() { (1 << PLACES) - 1 } else { 0 };
        Self { seat, free: Cell::new(free), fence }
    }

    #[cfg(test)]
    pub(super) fn fence(&self) -> Fence {
        self.fence
    }

    /// A pin on the entry of a slot: in the seat, or in the slot when there is no place left. `None`
    /// when the slot is closed.
    #[inline(always)]
    pub(super) fn pin(&self, at: u32, slot: &'c Slot, is_hit: bool) -> Option<SeatPin<'_>> {
        match self.sit(at, slot, is_hit) {
            Ok(pin) => pin,
            Err(NoPlace) => slot.cell.pin(is_hit).map(SeatPin::from),
        }
    }

    /// A pin in the seat, or `None` when the slot is closed.
    #[inline(always)]
    pub(super) fn sit(
        &self,
        at: u32,
        slot: &'c Slot,
        is_hit: bool,
    ) -> Result<Option<SeatPin<'_>>, NoPlace> {
        let free = self.free.get();
        let index = free.trailing_zeros();
        let seat = self.seat.ok_or(NoPlace)?;
        let place = seat.places.get(index as usize).ok_or(NoPlace)?;
        // Released, so that who reads this instead of what stood here before knows that as finished.
        place.store(at.wrapping_add(1), Release);
        match self.fence {
            Fence::Theirs => compiler_fence(SeqCst),
            Fence::Own => fence(SeqCst),
        }
        if slot.cell.is_closed() {
            place.store(0, Release);
            return Ok(None);
        }
        self.free.set(free & free.wrapping_sub(1));
        if is_hit {
            seat.hits.store(seat.hits.load(Relaxed).wrapping_add(1), Relaxed);
        }
        Ok(Some(SeatPin(Way::Seat { seat, place, free: &self.free, bit: 1 << index, slot })))
    }

    /// Gives up what is still written down: pins that were forgotten.
    pub(super) fn clear(&self) {
        if let Some(seat) = self.seat {
            seat.places.iter().for_each(|place| place.store(0, Release));
        }
    }
}

/// A pin of a reader.
pub(super) struct SeatPin<'r>(Way<'r>);

enum Way<'r> {
    Seat { seat: &'r Seat, place: &'r AtomicU32, free: &'r Cell<u32>, bit: u32, slot: &'r Slot },
    Slot(Pin<'r, Entry>),
}

/// There is no seat, or no place left in it.
pub(super) struct NoPlace;

impl<'r> From<Pin<'r, Entry>> for SeatPin<'r> {
    fn from(pin: Pin<'r, Entry>) -> Self {
        Self(Way::Slot(pin))
    }
}

impl Deref for SeatPin<'_> {
    type Target = Entry;

    #[inline(always)]
    fn deref(&self) -> &Entry {
        match &self.0 {
            // SAFETY: the slot was open after the place had been written, so `Ledger::claim`, the
            // only one who closes it, finds the place as long as this pin lives, and leaves the
            // entry alone.
            Way::Seat { slot, .. } => unsafe { slot.cell.get_unpinned() },
            Way::Slot(pin) => pin,
        }
    }
}

impl Cancel for SeatPin<'_> {
    #[inline]
    fn cancel(self) {
        match &self.0 {
            Way::Seat { seat, .. } => {
                seat.hits.store(seat.hits.load(Relaxed).wrapping_sub(1), Relaxed);
            }
            Way::Slot(pin) => pin.uncount(),
        }
    }
}

impl Drop for SeatPin<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        if let Way::Seat { place, free, bit, .. } = self.0 {
            // Everything that was read has been read before the slot is closed.
            place.store(0, Release);
            free.set(free.get() | bit);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::{barrier_in_all_threads, can_barrier_all_threads};
    use core::sync::atomic::AtomicBool;
    use std::thread;
    use std::time::{Duration, Instant};

    fn open_slot() -> Slot {
        let slot = Slot::new();
        // SAFETY: nobody else knows the slot yet.
        drop(unsafe { slot.cell.reclaim() });
        slot
    }

    #[test]
    fn places_are_taken_given_back_and_found() {
        let (seats, slots) = (Seats::new(), [const { Slot::new() }; 10].map(|_| open_slot()));
        let sitter = Sitter::new(&seats, Some(3), Fence::Own);
        let pin = |at: u32| sitter.pin(at, &slots[at as usize], true).unwrap();
        let mut pins: std::vec::Vec<_> = (0..10).map(pin).collect();
        for (at, slot) in (0..10).zip(&slots) {
            let in_seat = at < PLACES as u32;
            assert_eq!((seats.hold(1 << 3, at), slot.cell.close().is_none()), (in_seat, !in_seat));
            assert!(!seats.hold(!(1 << 3), at), "in another seat");
        }
        assert_eq!((seats.hits(), slots[8].cell.hits()), (PLACES as u64, 1));
        pins.remove(4).cancel();
        assert!(!seats.hold(u32::MAX, 4) && seats.hits() == PLACES as u64 - 1);
        let again = pin(9);
        assert!(seats.hold(u32::MAX, 9), "in the place that was given back");
        drop((pins, again));
        assert!((0..10).all(|at| !seats.hold(u32::MAX, at)));
        core::mem::forget(pin(7));
        sitter.clear();
        assert!(!seats.hold(u32::MAX, 7));
        let standing = Sitter::new(&seats, None, Fence::Theirs);
        let pin = standing.pin(0, &slots[0], false).unwrap();
        assert!(!seats.hold(u32::MAX, 0) && slots[0].cell.close().is_none());
        drop(pin);
        slots[0].cell.close().unwrap().leave();
        assert!(sitter.pin(0, &slots[0], true).is_none() && !seats.hold(u32::MAX, 0));
    }

    /// Two numbers are changed together while the slot is closed and nobody holds it. Without the
    /// barrier a reader soon sees one of each.
    #[test]
    fn of_reader_and_changer_at_least_one_sees_the_other() {
        for fence_of_reader in [Fence::Theirs, Fence::Own] {
            if fence_of_reader == Fence::Theirs && !can_barrier_all_threads() {
                continue;
            }
            let (seats, slot) = (Seats::new(), open_slot());
            let numbers = [const { AtomicU64::new(0) }; 2];
            let (done, mixed) = (AtomicBool::new(false), AtomicBool::new(false));
            let pins = AtomicU64::new(0);
            thread::scope(|scope| {
                scope.spawn(|| {
                    let sitter = Sitter::new(&seats, Some(0), fence_of_reader);
                    while !done.load(Relaxed) {
                        let Some(pin) = sitter.pin(5, &slot, true) else { continue };
                        let first = numbers[0].load(Relaxed);
                        (0..100).for_each(|_| core::hint::black_box(()));
                        mixed.fetch_or(numbers[1].load(Relaxed) != first, Relaxed);
                        drop(pin);
                        pins.fetch_add(1, Relaxed);
                    }
                });
                // Each has to run while the other does, which on a busy machine takes a while; where a
                // barrier takes milliseconds, fewer rounds have to do.
                let begin = Instant::now();
                let is_soon = || begin.elapsed() < Duration::from_secs(2);
                let few = |value: u64| value < 100_000 || pins.load(Relaxed) < 100_000;
                let goes_on = |value: &u64| few(*value) && is_soon();
                for value in (0..).take_while(|value| goes_on(value) && !mixed.load(Relaxed)) {
                    let Some(closed) = slot.cell.close() else { continue };
                    fence(SeqCst);
                    let is_seen = fence_of_reader == Fence::Own || barrier_in_all_threads();
                    if is_seen && !seats.hold(1, 5) {
                        numbers.iter().for_each(|number| number.store(value, Relaxed));
                    }
                    drop(closed);
                }
                done.store(true, Relaxed);
            });
            assert!(!mixed.into_inner(), "{fence_of_reader:?}");
        }
    }
}
