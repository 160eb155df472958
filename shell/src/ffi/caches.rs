//! The caches that C has opened: a table of seats, each known by its number and how often it was taken.
//!
//! A number that is no open cache is an error and is never followed. Whoever uses a cache notes that in
//! its seat first, on a cache line of his own where there are enough of them, and takes no lock; whoever
//! closes one turns others away and waits until all who were there have left.
//!
//! The order is what makes this safe, so it is that of SeqCst: one who enters adds himself and then looks
//! whether the seat is open; one who closes marks the seat and then counts. Of two who do both at once,
//! at least one sees the other.
#![allow(unsafe_code)]

use std::cell::{Cell, UnsafeCell};
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, Release, SeqCst};
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize};
use std::thread;
use std::time::Duration;

use smf_core::cache::{CacheError, FileCache, Handle};

use super::error::ApiError;

/// Caches that can be open at once.
const SEATS: usize = 64;
/// Places in a seat where its users are counted.
const LANES: usize = 16;

/// Below this bit of a file's number is its slot, above it the seat of its cache.
const SLOT_BITS: u32 = 24;
/// The bit that the numbers of files have, and those of caches and prefetches have not.
const FILE: u32 = 1 << 31;
/// The most files that a cache of C may have: with as many links, slots have numbers of 24 bits.
pub(super) const MOST_FILES: u32 = 1 << (SLOT_BITS - 2);

/// How many are at it, on a cache line (two, as processors fetch pairs) of its own.
#[repr(align(128))]
struct Lane(AtomicU64);

struct Seat {
    /// How often it was taken, and below that one of the phases.
    state: AtomicU64,
    /// There is one while the phase is `OPEN` or `CLOSING`.
    cache: UnsafeCell<Option<Arc<FileCache>>>,
    prefetches: AtomicU32,
    lanes: [Lane; LANES],
}

const VACANT: u64 = 0;
/// Taken, and the cache is being put in.
const OPENING: u64 = 1;
const OPEN: u64 = 2;
const CLOSING: u64 = 3;
const PHASE_BITS: u32 = 2;

// SAFETY: the cache itself is for any thread. It is put in and taken out by the one thread that has set
// the phases `OPENING` and `CLOSING`, the latter once all users have left; others read it only after
// they have added themselves and found the phase `OPEN`.
unsafe impl Sync for Seat {}

static TABLE: [Seat; SEATS] = [const { Seat::new() }; SEATS];

/// The number of a cache as C has it, taken apart.
#[derive(Clone, Copy)]
struct Number {
    place: usize,
    generation: u32,
}

impl Number {
    fn of(cache: u64) -> Option<(&'static Seat, Self)> {
        // The lower half counts from 1.
        let place = ((cache & u64::from(u32::MAX)) as usize).checked_sub(1)?;
        let generation = (cache >> 32) as u32;
        Some((TABLE.get(place)?, Self { place, generation }))
    }

    fn to_raw(self) -> u64 {
        u64::from(self.generation) << 32 | (self.place as u64 + 1)
    }

    fn state(self, phase: u64) -> u64 {
        u64::from(self.generation) << PHASE_BITS | phase
    }

    /// Turns the generations of a file's slot around, so that a number from an earlier cache in the
    /// same seat is none in this one. Different for each generation of the seat.
    fn mask(self) -> u32 {
        self.generation.wrapping_mul(0x9e37_79b1)
    }
}

impl Seat {
    const fn new() -> Self {
        Self {
            state: AtomicU64::new(VACANT),
            cache: UnsafeCell::new(None),
            prefetches: AtomicU32::new(0),
            lanes: [const { Lane(AtomicU64::new(0)) }; LANES],
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

/// The lane of this thread, the same for all caches.
fn lane() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static MINE: Cell<usize> = const { Cell::new(usize::MAX) };
    }
    match MINE.get() {
        usize::MAX => {
            let mine = NEXT.fetch_add(1, Relaxed) % LANES;
            MINE.set(mine);
            mine
        }
        mine => mine,
    }
}

/// A cache that is not closed as long as this lives.
pub(super) struct Entered {
    seat: &'static Seat,
    number: Number,
    lane: &'static AtomicU64,
}

impl Drop for Entered {
    #[inline]
    fn drop(&mut self) {
        self.lane.fetch_sub(1, Release);
    }
}

impl Deref for Entered {
    type Target = FileCache;

    #[inline]
    fn deref(&self) -> &FileCache {
        self.shared()
    }
}

/// Begins to use a cache.
///
/// # Errors
/// [`ApiError::NoCache`].
#[inline]
pub(super) fn enter(cache: u64) -> Result<Entered, ApiError> {
    let (seat, number) = Number::of(cache).ok_or(ApiError::NoCache { cache })?;
    // There is one for each number below LANES.
    let Some(Lane(lane)) = seat.lanes.get(lane()) else { return Err(ApiError::NoCache { cache }) };
    loop {
        lane.fetch_add(1, SeqCst);
        let entered = Entered { seat, number, lane };
        let state = seat.state.load(SeqCst);
        if state == number.state(OPEN) {
            return Ok(entered);
        }
        drop(entered);
        if state != number.state(CLOSING) {
            return Err(ApiError::NoCache { cache });
        }
        // It may turn out that it cannot be closed.
        thread::yield_now();
    }
}

impl Entered {
    #[inline]
    fn shared(&self) -> &Arc<FileCache> {
        // SAFETY: this user is counted, and has found the seat open after that: the cache was put in
        // before, and is taken out only when no user is counted any more.
        let cache = unsafe { &*self.seat.cache.get() };
        match cache {
            Some(cache) => cache,
            // An open seat has one.
            None => std::process::abort(),
        }
    }

    /// The number of a file as C has it.
    ///
    /// # Errors
    /// [`CacheError::NoCapacity`] for a slot beyond what [`MOST_FILES`] explains.
    #[inline]
    pub(super) fn number_of(&self, handle: Handle) -> Result<u64, ApiError> {
        let raw = handle.to_raw();
        let (slot, generation) = (raw as u32, (raw >> 32) as u32);
        if slot >> SLOT_BITS != 0 {
            return Err(CacheError::NoCapacity.into());
        }
        let low = FILE | (self.number.place as u32) << SLOT_BITS | slot;
        Ok(u64::from(generation ^ self.number.mask()) << 32 | u64::from(low))
    }

    /// The file that C means by a number. Whether there is one is for the cache to find out.
    ///
    /// # Errors
    /// [`ApiError::ForeignFile`] when the number cannot come from this cache.
    #[inline]
    pub(super) fn handle_of(&self, file: u64) -> Result<Handle, ApiError> {
        let (low, high) = (file as u32, (file >> 32) as u32);
        if low >> SLOT_BITS != (FILE >> SLOT_BITS | self.number.place as u32) {
            return Err(ApiError::ForeignFile { file });
        }
        let slot = low & ((1 << SLOT_BITS) - 1);
        let generation = high ^ self.number.mask();
        Ok(Handle::from_raw(u64::from(generation) << 32 | u64::from(slot)))
    }

    /// The cache for a prefetch, which keeps it from being closed.
    pub(super) fn lease(&self) -> Lease {
        self.seat.prefetches.fetch_add(1, SeqCst);
        Lease { cache: Arc::clone(self.shared()), seat: self.seat }
    }
}

/// A cache that cannot be closed as long as this lives.
pub(super) struct Lease {
    pub(super) cache: Arc<FileCache>,
    seat: &'static Seat,
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.seat.prefetches.fetch_sub(1, SeqCst);
    }
}

/// Gives a cache a seat and a number.
///
/// # Errors
/// [`ApiError::TooManyCaches`].
pub(super) fn open(cache: FileCache) -> Result<u64, ApiError> {
    let shared = Arc::new(cache);
    for (place, seat) in TABLE.iter().enumerate() {
        let vacant = seat.state.load(Relaxed);
        let generation = ((vacant >> PHASE_BITS) as u32).wrapping_add(1);
        let number = Number { place, generation };
        let is_vacant = vacant & ((1 << PHASE_BITS) - 1) == VACANT;
        let opening = number.state(OPENING);
        if !is_vacant || seat.state.compare_exchange(vacant, opening, SeqCst, Relaxed).is_err() {
            continue;
        }
        // SAFETY: the seat was vacant and is this thread's; nobody looks at it before it is open.
        unsafe { *seat.cache.get() = Some(shared) };
        seat.state.store(number.state(OPEN), SeqCst);
        return Ok(number.to_raw());
    }
    Err(ApiError::TooManyCaches { limit: SEATS })
}

/// Closes a cache, which must not be in use; waits for those who are at it in other threads.
///
/// # Errors
/// [`ApiError::NoCache`], [`ApiError::CacheHeld`], [`ApiError::Prefetching`].
pub(super) fn close(cache: u64) -> Result<(), ApiError> {
    let none = ApiError::NoCache { cache };
    let (seat, number) = Number::of(cache).ok_or(none)?;
    let (open, closing) = (number.state(OPEN), number.state(CLOSING));
    while let Err(found) = seat.state.compare_exchange(open, closing, SeqCst, SeqCst) {
        if found != closing {
            return Err(none);
        }
        // Another thread closes it, or finds that it cannot.
        thread::yield_now();
    }
    seat.drain();
    // SAFETY: nobody is counted as a user, others are turned away, and only the one who has set
    // `CLOSING` changes the cache: this thread.
    let place = unsafe { &mut *seat.cache.get() };
    let holds = place.as_ref().map_or(0, |cache| cache.retained());
    let prefetches = seat.prefetches.load(SeqCst);
    if holds != 0 || prefetches != 0 {
        seat.state.store(open, SeqCst);
        return Err(match holds {
            0 => ApiError::Prefetching { prefetches },
            _ => ApiError::CacheHeld { holds },
        });
    }
    let removed = place.take();
    seat.state.store(number.state(VACANT), SeqCst);
    drop(removed);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use smf_core::cache::{Capacity, Options};

    fn new() -> u64 {
        let capacity = Capacity { files: 4, bytes: 1 << 20 };
        open(FileCache::new(capacity, Options::default()).unwrap()).unwrap()
    }

    #[test]
    fn a_number_is_good_until_its_cache_is_closed() {
        let first = new();
        assert!(enter(first).is_ok() && close(first).is_ok());
        for _ in 0..100 {
            let next = new();
            assert!(next != first && enter(next).is_ok());
            assert!(enter(first).is_err() && close(first).is_err());
            close(next).unwrap();
        }
        for none in [0, 1, u64::MAX, 1 << 32, SEATS as u64 + 1, 1 << 63 | 1, first + (1 << 32)] {
            assert!(enter(none).is_err() && close(none).is_err(), "{none:#x}");
        }
    }

    #[test]
    fn a_file_is_told_from_those_of_every_other_cache() {
        let (one, two) = (new(), new());
        for raw in [0, 1, 1 << 32 | 5, u64::from(u32::MAX) << 32 | 0xff_ffff] {
            let handle = Handle::from_raw(raw);
            let (in_one, in_two) = (enter(one).unwrap(), enter(two).unwrap());
            let file = in_one.number_of(handle).unwrap();
            assert_eq!(in_one.handle_of(file), Ok(handle));
            assert_eq!(in_two.handle_of(file), Err(ApiError::ForeignFile { file }));
            assert!(enter(file).is_err() && in_one.handle_of(one).is_err());
        }
        let outside = enter(one).unwrap().number_of(Handle::from_raw(1 << SLOT_BITS));
        assert!(outside.is_err());
        let handle = Handle::from_raw(1 << 32);
        let file = enter(one).unwrap().number_of(handle).unwrap();
        close(one).unwrap();
        let again = new();
        // Whether or not it has the same seat.
        assert_ne!(enter(again).unwrap().handle_of(file), Ok(handle));
        close(again).unwrap();
        close(two).unwrap();
    }

    #[test]
    fn a_cache_is_closed_under_the_feet_of_nobody() {
        for _ in 0..50 {
            let cache = new();
            thread::scope(|scope| {
                for _ in 0..3 {
                    scope.spawn(|| {
                        let mut uses = 0;
                        while let Ok(entered) = enter(cache) {
                            assert_eq!(entered.statistics().files, 0);
                            uses += 1;
                        }
                        assert!(uses < 10_000_000);
                    });
                }
                scope.spawn(|| {
                    // In use by a prefetch: refused, and open as before.
                    let lease = enter(cache).unwrap().lease();
                    let prefetching = ApiError::Prefetching { prefetches: 1 };
                    assert_eq!(close(cache), Err(prefetching));
                    drop(lease);
                    assert_eq!(close(cache), Ok(()));
                });
            });
        }
    }
}
