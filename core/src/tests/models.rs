//! Steps of threads that take no lock, in every order that the processor and the compiler may make of
//! them (`RUSTFLAGS="--cfg loom"`).
//!
//! The cells of the cache and the tables of code are made in constants, which loom's atomics cannot be:
//! what stands here are their steps, with the orderings that the file named at each has. Who changes one
//! changes the other. [`Eras`](crate::loader) and [`TryArc`](crate::alloc_util::TryArc) are modelled where
//! they are written, as they are.
#![allow(unsafe_code)]

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use loom::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, fence};
use loom::thread;

const PIN: u64 = 1;
const CLOSED: u64 = 1 << 31;

/// A value, the word that guards it, and a place in which a reader writes down that he has it.
struct Cell {
    word: AtomicU64,
    place: AtomicU32,
    value: UnsafeCell<u32>,
}

// SAFETY: loom itself fails the model when two accesses to the value are not ordered.
unsafe impl Sync for Cell {}

impl Cell {
    fn new() -> Arc<Self> {
        let (word, place) = (AtomicU64::new(0), AtomicU32::new(0));
        Arc::new(Self { word, place, value: UnsafeCell::new(0) })
    }

    fn read(&self) {
        self.value.with(|value| {
            // SAFETY: as above.
            assert!(unsafe { *value } <= 2);
        });
    }

    /// `PinCell::pin`, and the drop of the pin.
    fn read_with_pin(&self) {
        if self.word.fetch_add(PIN, Acquire) & CLOSED != 0 {
            self.word.fetch_sub(PIN, Relaxed);
            return;
        }
        self.read();
        self.word.fetch_sub(PIN, Release);
    }

    /// `Sitter::sit` with a fence of its own, and the drop of the pin in the seat.
    fn read_with_seat(&self) {
        self.place.store(1, Release);
        fence(SeqCst);
        if self.word.load(Acquire) & CLOSED == 0 {
            self.read();
        }
        self.place.store(0, Release);
    }

    /// `PinCell::close`, the look at the seats as in `Ledger::claim`, and the drop of `Closed`. What has
    /// all threads execute a barrier does no less than the fence.
    fn change(&self) {
        if self.word.compare_exchange(0, CLOSED, Acquire, Relaxed).is_err() {
            return;
        }
        fence(SeqCst);
        if self.place.load(Acquire) != 1 {
            self.value.with_mut(|value| {
                // SAFETY: as above.
                unsafe { *value += 1 };
            });
        }
        self.word.fetch_sub(CLOSED, Release);
    }
}

/// `cache::pin`, `cache::seat`.
#[test]
fn nobody_changes_a_file_that_somebody_reads() {
    for read in [Cell::read_with_pin, Cell::read_with_seat] {
        loom::model(move || {
            let cell = Cell::new();
            let other = cell.clone();
            let reader = thread::spawn(move || (0..2).for_each(|_| read(&other)));
            (0..2).for_each(|_| cell.change());
            reader.join().unwrap();
        });
    }
}

/// Both kinds of readers at once.
#[test]
fn a_pin_and_a_seat_each_keep_the_file() {
    loom::model(|| {
        let cell = Cell::new();
        let readers = [Cell::read_with_pin, Cell::read_with_seat].map(|read| {
            let cell = cell.clone();
            thread::spawn(move || read(&cell))
        });
        cell.change();
        readers.into_iter().for_each(|reader| reader.join().unwrap());
    });
}

/// Things that are made once, and a word that says which of them is the present one.
struct Made {
    present: AtomicUsize,
    things: [UnsafeCell<u32>; 3],
}

// SAFETY: loom itself fails the model when two accesses to a thing are not ordered.
unsafe impl Sync for Made {}

/// `loader::entries` (the root of a table), `tier::native` (the entry of a function), and
/// `instantiate::made` (the present table): whoever finds a thing finds it finished.
#[test]
fn what_is_found_was_finished() {
    loom::model(|| {
        let things = [0, 0, 0].map(UnsafeCell::new);
        let made = Arc::new(Made { present: AtomicUsize::new(0), things });
        let readers = [(); 2].map(|()| {
            let made = made.clone();
            thread::spawn(move || {
                let present = made.present.load(Acquire);
                made.things[present].with(|thing| {
                    // SAFETY: as above.
                    assert_eq!(unsafe { *thing } as usize, present);
                });
            })
        });
        for next in 1..3 {
            made.things[next].with_mut(|thing| {
                // SAFETY: as above.
                unsafe { *thing = next as u32 };
            });
            made.present.store(next, Release);
        }
        readers.into_iter().for_each(|reader| reader.join().unwrap());
    });
}
