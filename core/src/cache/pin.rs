//! A value that is either read by many, who each hold a pin, or changed by one, while there is none.
//!
//! Neither ever waits: who cannot have the value is told so. A pin and the count of hits are one
//! addition to one word, so counting costs nothing. A pin may also be written in a [seat](super::seat),
//! which this word does not show: hence only `Ledger::claim` closes a cell, which looks there.
//!
//! A cell is closed while its value is changed, and as long as there is none.
//!
//! The word: bits 0 to 29 the pins, bit 31 whether it is closed, bits 32 to 63 the hits. Bits 30 and
//! 63 are never reached in earnest; from there on pins are refused until somebody has taken the hits
//! away or pins have been dropped, so that no part runs into the next: a refused pin is in the word
//! for a moment only, and to get from bit 30 to bit 31 would take a thousand million threads.
#![allow(unsafe_code)]

use core::cell::UnsafeCell;
use core::ops::{Deref, DerefMut};
use core::sync::atomic::{AtomicU64, Ordering};

const PIN: u64 = 1;
const HIT: u64 = 1 << 32;
const CLOSED: u64 = 1 << 31;
/// What makes a further pin impossible.
const REFUSED: u64 = 1 << 30 | CLOSED | 1 << 63;
/// From so many hits on, pins are refused.
const FULL: u64 = 1 << 31;
/// Everything but the hits.
const USERS: u64 = HIT - 1;

/// The value and its pins.
#[repr(C)]
pub(super) struct PinCell<T> {
    value: UnsafeCell<T>,
    word: AtomicU64,
}

// SAFETY: pins on several threads read the value at once (`T: Sync`), and whoever changes it may
// take it to another thread (`T: Send`). The word keeps the two apart.
unsafe impl<T: Send + Sync> Sync for PinCell<T> {}

impl<T> PinCell<T> {
    /// Closed.
    pub(super) const fn new(value: T) -> Self {
        Self { word: AtomicU64::new(CLOSED), value: UnsafeCell::new(value) }
    }

    /// The value to read, unless the cell is closed. Counts as a hit if `is_hit`.
    #[inline]
    pub(super) fn pin(&self, is_hit: bool) -> Option<Pin<'_, T>> {
        let added = if is_hit { PIN + HIT } else { PIN };
        // What the last one who changed the value wrote is visible from here on.
        let before = self.word.fetch_add(added, Ordering::Acquire);
        if before & REFUSED != 0 {
            self.word.fetch_sub(added, Ordering::Relaxed);
            return None;
        }
        Some(Pin { cell: self })
    }

    /// Closes the cell, unless it is closed or somebody holds a pin. Pins in seats are for the caller
    /// to look for, before he changes the value and after this.
    pub(super) fn close(&self) -> Option<Closed<'_, T>> {
        let mut word = self.word.load(Ordering::Relaxed);
        while word & USERS == 0 {
            let (success, failure) = (Ordering::Acquire, Ordering::Relaxed);
            match self.word.compare_exchange_weak(word, word | CLOSED, success, failure) {
                Ok(_) => return Some(Closed { cell: self }),
                Err(found) => word = found,
            }
        }
        None
    }

    /// As [`close`](Self::close), for whoever is alone with the cell: 5 ns less.
    ///
    /// # Safety
    ///
    /// Until the cell is open again nobody else calls anything of it.
    pub(super) unsafe fn close_alone(&self) -> Option<Closed<'_, T>> {
        let word = self.word.load(Ordering::Relaxed);
        (word & USERS == 0).then(|| {
            self.word.store(word | CLOSED, Ordering::Relaxed);
            Closed { cell: self }
        })
    }

    /// The right to change the value, of a cell that was left closed or is new.
    ///
    /// # Safety
    ///
    /// Nobody else has it, and nobody [reads](Self::get_unpinned) the value.
    pub(super) unsafe fn reclaim(&self) -> Closed<'_, T> {
        Closed { cell: self }
    }

    /// Whether the cell is closed. If not, what the last one who changed the value wrote is visible
    /// from here on.
    #[inline(always)]
    pub(super) fn is_closed(&self) -> bool {
        self.word.load(Ordering::Acquire) & CLOSED != 0
    }

    /// The hits there were, less those that were taken.
    pub(super) fn hits(&self) -> u64 {
        self.word.load(Ordering::Relaxed) >> 32
    }

    /// Takes hits away where there is hardly room for more; how many. Others may be adding hits, and
    /// taking back those that were none, so that only a number that is surely there can be taken.
    pub(super) fn relieve(&self) -> u64 {
        if self.hits() < FULL {
            return 0;
        }
        self.word.fetch_sub(FULL / 2 * HIT, Ordering::Relaxed);
        FULL / 2
    }

    /// The value to read without a pin in the word.
    ///
    /// # Safety
    ///
    /// Nobody has a [`Closed`] of this cell as long as the reference is alive.
    #[inline(always)]
    pub(super) unsafe fn get_unpinned(&self) -> &T {
        // SAFETY: `Closed` is the only way to a mutable reference.
        unsafe { &*self.value.get() }
    }
}

/// The right to read a value; nobody changes it meanwhile.
pub(super) struct Pin<'c, T> {
    cell: &'c PinCell<T>,
}

/// A pin that was taken as a hit.
pub(super) trait Cancel {
    /// Gives it back as if it had never been one.
    fn cancel(self);
}

impl<T> Cancel for Pin<'_, T> {
    #[inline]
    fn cancel(self) {
        self.uncount();
    }
}

impl<T> Pin<'_, T> {
    /// Takes back that it was a hit.
    #[inline]
    pub(super) fn uncount(&self) {
        self.cell.word.fetch_sub(HIT, Ordering::Relaxed);
    }
}

impl<T> Deref for Pin<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: as long as this pin is in the word, nobody gets the value to change it.
        unsafe { &*self.cell.value.get() }
    }
}

impl<T> Drop for Pin<'_, T> {
    #[inline]
    fn drop(&mut self) {
        // Everything that was read has been read before somebody else changes it.
        self.cell.word.fetch_sub(PIN, Ordering::Release);
    }
}

/// The right to change a value, while its cell is closed. The cell opens when this is dropped.
pub(super) struct Closed<'c, T> {
    cell: &'c PinCell<T>,
}

impl<'c, T> Closed<'c, T> {
    /// Opens the cell, and pins it: not as a hit.
    pub(super) fn into_pin(self) -> Pin<'c, T> {
        let cell = self.cell;
        core::mem::forget(self);
        cell.word.fetch_sub(CLOSED - PIN, Ordering::Release);
        Pin { cell }
    }

    /// Opens the cell, for whoever is alone with it.
    ///
    /// # Safety
    ///
    /// As for [`PinCell::close_alone`].
    pub(super) unsafe fn open_alone(self) -> &'c T {
        let cell = self.cell;
        core::mem::forget(self);
        cell.word.store(cell.word.load(Ordering::Relaxed) & !CLOSED, Ordering::Relaxed);
        // SAFETY: what could close the cell again is borrowed by the caller, as long as he says.
        unsafe { &*cell.value.get() }
    }

    /// Leaves the cell closed, to be [reclaimed](PinCell::reclaim).
    pub(super) fn leave(self) {
        core::mem::forget(self);
    }
}

impl<T> Deref for Closed<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: the cell is closed, so nobody else has a reference that is not shared.
        unsafe { &*self.cell.value.get() }
    }
}

impl<T> DerefMut for Closed<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the cell is closed, so nobody else has a reference, and `&mut self` makes this the
        // only one.
        unsafe { &mut *self.cell.value.get() }
    }
}

impl<T> Drop for Closed<'_, T> {
    fn drop(&mut self) {
        self.cell.word.fetch_sub(CLOSED, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    impl<T> PinCell<T> {
        fn is_pinned(&self) -> bool {
            self.word.load(Ordering::Relaxed) & USERS != 0
        }
    }

    fn open<T>(value: T) -> PinCell<T> {
        let cell = PinCell::new(value);
        // SAFETY: nobody else knows the cell yet.
        drop(unsafe { cell.reclaim() });
        cell
    }

    #[test]
    fn readers_and_the_one_who_changes_exclude_each_other() {
        let cell = open(1);
        let (one, two) = (cell.pin(true).unwrap(), cell.pin(false).unwrap());
        assert!((*one, *two) == (1, 1) && cell.close().is_none() && cell.is_pinned());
        drop((one, two));
        let mut closed = cell.close().unwrap();
        *closed = 2;
        assert!(cell.pin(true).is_none() && cell.close().is_none() && cell.is_closed());
        drop(closed);
        assert_eq!((*cell.pin(true).unwrap(), cell.hits()), (2, 2), "a refused pin is no hit");
        cell.pin(true).unwrap().cancel();
        assert_eq!((cell.relieve(), cell.hits(), cell.is_pinned()), (0, 2, false));
        let pin = cell.close().unwrap().into_pin();
        assert!(*pin == 2 && cell.hits() == 2 && cell.close().is_none() && !cell.is_closed());
        drop(pin);
        // SAFETY: there is no other thread.
        let mut closed = unsafe { cell.close_alone() }.unwrap();
        *closed = 3;
        // SAFETY: as above.
        let again = unsafe { cell.close_alone() };
        assert!(again.is_none() && cell.pin(false).is_none());
        // SAFETY: as above.
        assert_eq!(unsafe { closed.open_alone() }, &3);
        assert_eq!(*cell.pin(false).unwrap(), 3);
        cell.close().unwrap().leave();
        assert!(cell.pin(false).is_none() && cell.close().is_none());
    }

    #[test]
    fn full_counts_refuse_instead_of_running_over() {
        let cell = open(());
        for full in [1 << 30, 1 << 63] {
            cell.word.store(full, Ordering::Relaxed);
            assert!(cell.pin(true).is_none());
            assert_eq!(cell.word.load(Ordering::Relaxed), full);
        }
        assert_eq!((cell.relieve(), cell.hits(), cell.relieve()), (FULL / 2, FULL / 2, 0));
        assert!(cell.pin(true).is_some());
    }

    #[test]
    fn no_reader_sees_half_a_change() {
        let cell = open([0u64; 8]);
        let rounds = if cfg!(miri) { 200 } else { 20_000 };
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    for _ in 0..rounds {
                        if let Some(pin) = cell.pin(true) {
                            assert!(pin.iter().all(|word| *word == pin[0]));
                        }
                    }
                });
            }
            for value in 0..rounds {
                if let Some(mut change) = cell.close() {
                    change.iter_mut().for_each(|word| *word = value);
                }
            }
        });
        assert!(!cell.is_pinned());
    }
}
