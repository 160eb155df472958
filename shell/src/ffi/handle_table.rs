//! What C has opened, caches and loaders: tables of seats, each known by its number and how often it was
//! taken.
//!
//! A number that is nothing open is an error and is never followed. Whoever uses what is open notes that
//! in its seat first, on a cache line of his own where there are enough of them, and takes no lock;
//! whoever closes it turns others away and waits until all who were there have left. What takes long
//! does not make him wait: it takes a lease, and while there is one, nothing is closed.
//!
//! The order is what makes this safe, so it is that of SeqCst: one who enters adds himself and then looks
//! whether the seat is open; one who closes marks the seat and then counts. Of two who do both at once,
//! at least one sees the other.
//!
//! A child of `fork` has none of the threads that were in a seat, and the locks that they held stay locked there. So
//! a seat that a thread was in is put aside in the child: its number is an error. A seat that was empty is as good
//! as in the parent.
#![allow(unsafe_code)]

use std::cell::{Cell, UnsafeCell};
use std::ops::Deref;
use std::sync::atomic::Ordering::{Relaxed, Release, SeqCst};
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize};
use std::thread;
use std::time::Duration;

use smf_core::alloc_util::{AllocError, TryArc};

use super::error::ApiError;

/// What can be open at once, of each kind.
pub(super) const SEATS: usize = 64;
/// Places in a seat where its users are counted.
const LANES: usize = 16;

/// Below this bit of a part's number is its slot, above it the seat.
pub(super) const SLOT_BITS: u32 = 24;

/// What is known by a number of its own inside of what is open. The upper two bits of the number's lower
/// half, which nothing that is open has.
#[derive(Clone, Copy)]
#[repr(u32)]
pub(super) enum Part {
    /// A module of a loader.
    Module = 1,
    /// A file of a cache.
    File = 2,
    /// A module that is held.
    Hold = 3,
}

/// How many are at it, on a cache line (two, as processors fetch pairs) of its own.
#[repr(align(128))]
struct Lane(AtomicU64);

struct HandleSlot<T> {
    /// How often it was taken, and below that one of the phases.
    state: AtomicU64,
    /// There is one while the phase is `OPEN` or `CLOSING`.
    value: UnsafeCell<Option<TryArc<T>>>,
    leases: AtomicU32,
    lanes: [Lane; LANES],
}

const VACANT: u64 = 0;
/// Taken, and the value is being put in.
const OPENING: u64 = 1;
const OPEN: u64 = 2;
const CLOSING: u64 = 3;
/// In use when the process was forked. The value stays, as the thread that forked may be in it.
const FORKED: u64 = 4;
const PHASE_BITS: u32 = 3;
const PHASES: u64 = (1 << PHASE_BITS) - 1;

// SAFETY: the value itself is for any thread. It is put in and taken out by the one thread that has set
// the phases `OPENING` and `CLOSING`, the latter once all users have left; others read it only after
// they have added themselves and found the phase `OPEN`.
unsafe impl<T: Send + Sync> Sync for HandleSlot<T> {}

/// The seats of one kind. All zeros while nothing was opened, so that they take no room in the file of
/// the library, and none in memory before they are used; what is not zero stands in [`HandleTable`].
pub(super) struct Table<T> {
    seats: [HandleSlot<T>; SEATS],
    /// No seat from this one on was ever taken.
    used: AtomicUsize,
}

impl<T> Table<T> {
    /// One in which nothing is open.
    pub(super) const fn new() -> Self {
        Self { seats: [const { HandleSlot::new() }; SEATS], used: AtomicUsize::new(0) }
    }
}

/// Everything of one kind that is open.
pub(super) struct HandleTable<T: 'static> {
    table: &'static Table<T>,
    /// Added to the lower half of the numbers, to tell them from those of other tables.
    mark: u32,
    /// The error of a number that is nothing open.
    none: fn(u64) -> ApiError,
}

/// The number of something open as C has it, taken apart.
#[derive(Clone, Copy)]
pub(super) struct Handle {
    place: usize,
    generation: u32,
}

impl Handle {
    fn to_raw(self, mark: u32) -> u64 {
        u64::from(self.generation) << 32 | u64::from(mark) | (self.place as u64 + 1)
    }

    fn state(self, phase: u64) -> u64 {
        u64::from(self.generation) << PHASE_BITS | phase
    }

    /// Turns the generations of a part's slot around, so that a number from an earlier taker of the same
    /// seat is none of this one. Different for each generation of the seat.
    fn mask(self) -> u32 {
        self.generation.wrapping_mul(0x9e37_79b1)
    }

    fn head(self, part: Part) -> u32 {
        // Seats have numbers of 6 bits.
        (part as u32) << (30 - SLOT_BITS) | self.place as u32
    }

    /// The number of a part as C has it; `None` for a slot that has no place in it.
    #[inline]
    pub(super) fn of_part(self, part: Part, slot: u32, generation: u32) -> Option<u64> {
        let low = self.head(part) << SLOT_BITS | slot;
        let high = generation ^ self.mask();
        (slot >> SLOT_BITS == 0).then_some(u64::from(high) << 32 | u64::from(low))
    }

    /// The slot and the generation of the part that C means by a number; `None` when the number cannot
    /// come from here.
    #[inline]
    pub(super) fn part(self, part: Part, number: u64) -> Option<(u32, u32)> {
        let (low, high) = (number as u32, (number >> 32) as u32);
        let slot = low & ((1 << SLOT_BITS) - 1);
        (low >> SLOT_BITS == self.head(part)).then_some((slot, high ^ self.mask()))
    }
}

impl<T> HandleSlot<T> {
    const fn new() -> Self {
        Self {
            state: AtomicU64::new(VACANT),
            value: UnsafeCell::new(None),
            leases: AtomicU32::new(0),
            lanes: [const { Lane(AtomicU64::new(0)) }; LANES],
        }
    }

    /// What is open.
    ///
    /// # Safety
    /// The caller is counted in a lane or by a lease, and the seat was found open after that.
    #[inline]
    unsafe fn value(&self) -> &TryArc<T> {
        // SAFETY: it was put in before the seat was open, and is taken out only when nobody is counted
        // any more.
        let value = unsafe { &*self.value.get() };
        match value {
            Some(value) => value,
            // An open seat has one.
            None => std::process::abort(),
        }
    }

    /// Waits until nobody is at it. Those who come now see that it is closing, and leave again.
    fn drain(&self) {
        let mut pause = Duration::from_micros(1);
        for lane in &self.lanes {
            for round in 0u32.. {
                if lane.0.load(SeqCst) == 0 {
                    break;
                }
                if round < 100 {
                    thread::yield_now();
                } else {
                    // Somebody reads a file.
                    thread::sleep(pause);
                    pause = (pause * 2).min(Duration::from_millis(1));
                }
            }
        }
    }
}

/// The lane of this thread, the same for everything.
fn lane() -> usize {
    match LANE.get() {
        usize::MAX => choose_lane(),
        lane => lane,
    }
}

thread_local! {
    static LANE: Cell<usize> = const { Cell::new(usize::MAX) };
}

#[cold]
#[inline(never)]
fn choose_lane() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let lane = NEXT.fetch_add(1, Relaxed) % LANES;
    LANE.set(lane);
    lane
}

/// Something that is not closed as long as this lives. For moments: who closes it waits.
pub(super) struct Entered<T: 'static> {
    seat: &'static HandleSlot<T>,
    number: Handle,
    lane: &'static AtomicU64,
}

impl<T> Drop for Entered<T> {
    #[inline]
    fn drop(&mut self) {
        self.lane.fetch_sub(1, Release);
    }
}

impl<T> Deref for Entered<T> {
    type Target = TryArc<T>;

    #[inline]
    fn deref(&self) -> &TryArc<T> {
        // SAFETY: this user is counted, and has found the seat open after that.
        unsafe { self.seat.value() }
    }
}

impl<T> Entered<T> {
    #[inline]
    pub(super) fn number(&self) -> Handle {
        self.number
    }

    /// Keeps it open for as long as it may take.
    #[inline]
    pub(super) fn lease(&self) -> Lease<T> {
        self.seat.leases.fetch_add(1, SeqCst);
        Lease { seat: self.seat, number: self.number }
    }
}

/// Something that cannot be closed as long as this lives.
pub(super) struct Lease<T: 'static> {
    seat: &'static HandleSlot<T>,
    number: Handle,
}

impl<T> Drop for Lease<T> {
    #[inline]
    fn drop(&mut self) {
        self.seat.leases.fetch_sub(1, SeqCst);
    }
}

impl<T> Deref for Lease<T> {
    type Target = TryArc<T>;

    #[inline]
    fn deref(&self) -> &TryArc<T> {
        // SAFETY: the lease was taken by a user who was counted, and is counted itself.
        unsafe { self.seat.value() }
    }
}

impl<T> Lease<T> {
    #[inline]
    pub(super) fn number(&self) -> Handle {
        self.number
    }
}

impl<T: Send + Sync> HandleTable<T> {
    /// The view of a table, the only one there is.
    pub(super) const fn new(
        table: &'static Table<T>,
        mark: u32,
        none: fn(u64) -> ApiError,
    ) -> Self {
        Self { table, mark, none }
    }

    fn seat(&'static self, number: u64) -> Result<(&'static HandleSlot<T>, Handle), ApiError> {
        // The lower half counts from 1 behind the mark.
        let place = (number as u32).checked_sub(self.mark).and_then(|low| low.checked_sub(1));
        let place = place.and_then(|place| usize::try_from(place).ok());
        let generation = (number >> 32) as u32;
        let seat = place.and_then(|place| Some((self.table.seats.get(place)?, place)));
        let (seat, place) = seat.ok_or_else(|| (self.none)(number))?;
        Ok((seat, Handle { place, generation }))
    }

    /// Begins to use what is open.
    ///
    /// # Errors
    /// That of a number which is nothing open.
    #[inline]
    pub(super) fn enter(&'static self, raw: u64) -> Result<Entered<T>, ApiError> {
        let (seat, number) = self.seat(raw)?;
        let state = seat.state.load(SeqCst);
        if state != number.state(OPEN) && state != number.state(CLOSING) {
            // No thread is counted in a seat that never was open, so that a child need not look there.
            return Err(self.refused(raw, state == number.state(FORKED)));
        }
        // There is one for each number below LANES.
        let Some(Lane(lane)) = seat.lanes.get(lane()) else { return Err((self.none)(raw)) };
        loop {
            lane.fetch_add(1, SeqCst);
            let entered = Entered { seat, number, lane };
            let state = seat.state.load(SeqCst);
            if state == number.state(OPEN) {
                return Ok(entered);
            }
            drop(entered);
            if state != number.state(CLOSING) {
                return Err((self.none)(raw));
            }
            // It may turn out that it cannot be closed.
            thread::yield_now();
        }
    }

    #[cold]
    fn refused(&self, raw: u64, is_forked: bool) -> ApiError {
        if is_forked { ApiError::InUseAtFork { number: raw } } else { (self.none)(raw) }
    }

    /// Puts aside every seat that a thread was in when the process was forked. In a child, whose only thread calls
    /// this.
    pub(super) fn begin_child(&'static self) {
        for seat in self.table.seats.iter().take(self.table.used.load(Relaxed)) {
            let state = seat.state.load(Relaxed);
            let in_lanes = seat.lanes.iter().any(|lane| lane.0.load(Relaxed) != 0);
            match state & PHASES {
                // Threads that found it closed, and were about to leave again.
                VACANT => seat.lanes.iter().for_each(|lane| lane.0.store(0, Relaxed)),
                OPEN if !in_lanes && seat.leases.load(Relaxed) == 0 => {}
                _ => seat.state.store(state & !PHASES | FORKED, Relaxed),
            }
        }
    }

    /// Gives something a seat and a number; `None` when all seats are taken.
    pub(super) fn open(&'static self, value: T) -> Result<Option<u64>, AllocError> {
        let shared = TryArc::new(value)?;
        for (place, seat) in self.table.seats.iter().enumerate() {
            let vacant = seat.state.load(Relaxed);
            let generation = ((vacant >> PHASE_BITS) as u32).wrapping_add(1);
            let number = Handle { place, generation };
            let is_vacant = vacant & PHASES == VACANT;
            let opening = number.state(OPENING);
            if !is_vacant || seat.state.compare_exchange(vacant, opening, SeqCst, Relaxed).is_err()
            {
                continue;
            }
            self.table.used.fetch_max(place + 1, Relaxed);
            // SAFETY: the seat was vacant and is this thread's; nobody looks at it before it is open.
            unsafe { *seat.value.get() = Some(shared) };
            seat.state.store(number.state(OPEN), SeqCst);
            return Ok(Some(number.to_raw(self.mark)));
        }
        Ok(None)
    }

    /// Closes something, unless `refuse` knows why not: it is told how many leases there are, of which
    /// there may be none. Waits for those who are at it in other threads.
    ///
    /// # Errors
    /// That of a number which is nothing open, and what `refuse` says.
    pub(super) fn close(
        &'static self,
        raw: u64,
        refuse: impl FnOnce(&T, u32) -> Option<ApiError>,
    ) -> Result<(), ApiError> {
        let (seat, number) = self.seat(raw)?;
        let (open, closing) = (number.state(OPEN), number.state(CLOSING));
        while let Err(found) = seat.state.compare_exchange(open, closing, SeqCst, SeqCst) {
            if found != closing {
                return Err(self.refused(raw, found == number.state(FORKED)));
            }
            // Another thread closes it, or finds that it cannot.
            thread::yield_now();
        }
        seat.drain();
        let leases = seat.leases.load(SeqCst);
        // SAFETY: the seat was open, and only the one who has set `CLOSING` takes the value out: this
        // thread.
        let refusal = refuse(unsafe { seat.value() }, leases);
        if let Some(error) = refusal {
            seat.state.store(open, SeqCst);
            return Err(error);
        }
        if leases != 0 {
            // Who has one counts on it.
            std::process::abort();
        }
        // SAFETY: nobody is counted as a user, others are turned away, and there is no lease.
        let removed = unsafe { (*seat.value.get()).take() };
        seat.state.store(number.state(VACANT), SeqCst);
        drop(removed);
        Ok(())
    }
}
