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

/// The seats of a cache, and how often anything was hit from them.
#[derive(Debug)]
pub struct Seats([Seat; SEATS]);

impl Seats {
    pub(super) const fn new() -> Self {
        const EMPTY: Seat =
            Seat { places: [const { AtomicU32::new(0) }; PLACES], hits: AtomicU64::new(0) };
        Self([EMPTY; SEATS])
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
