//! A value that is either read by many, who each hold a pin, or changed by one, while there is none.
//!
//! Neither ever waits: who cannot have the value is told so. A pin and the count of hits are one
//! addition to one word, so counting costs nothing.
//!
//! The word: bits 0 to 29 the pins, bit 31 the one who changes, bits 32 to 63 the hits. Bits 30 and
//! 63 are never reached in earnest; from there on pins are refused until somebody has taken the hits
//! away or pins have been dropped, so that no part runs into the next: a refused pin is in the word
//! for a moment only, and to get from bit 30 to bit 31 would take a thousand million threads.
#![allow(unsafe_code)]

use core::cell::UnsafeCell;
use core::ops::{Deref, DerefMut};
use core::sync::atomic::{AtomicU64, Ordering};

const PIN: u64 = 1;
const HIT: u64 = 1 << 32;
const CHANGING: u64 = 1 << 31;
/// What makes a further pin impossible.
const REFUSED: u64 = 1 << 30 | CHANGING | 1 << 63;
/// Everything but the hits.
const USERS: u64 = HIT - 1;

/// The value and its pins.
pub(super) struct PinCell<T> {
    word: AtomicU64,
    value: UnsafeCell<T>,
}

// SAFETY: pins on several threads read the value at once (`T: Sync`), and whoever changes it may
// take it to another thread (`T: Send`). The word keeps the two apart.
unsafe impl<T: Send + Sync> Sync for PinCell<T> {}

impl<T> PinCell<T> {
    pub(super) const fn new(value: T) -> Self {
        Self { word: AtomicU64::new(0), value: UnsafeCell::new(value) }
    }

    /// The value to read, unless somebody is changing it. Counts as a hit if `is_hit`.
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

    /// The value to change, unless somebody reads or changes it.
    pub(super) fn change(&self) -> Option<Change<'_, T>> {
        let mut word = self.word.load(Ordering::Relaxed);
        while word & USERS == 0 {
            let change = (word, word | CHANGING);
            let (success, failure) = (Ordering::Acquire, Ordering::Relaxed);
            match self.word.compare_exchange_weak(change.0, change.1, success, failure) {
                Ok(_) => return Some(Change { cell: self }),
                Err(found) => word = found,
            }
        }
        None
    }

    /// The hits since they were last taken.
    pub(super) fn hits(&self) -> u64 {
        self.word.load(Ordering::Relaxed) >> 32
    }

    /// The hits since they were last taken; there are none afterwards.
    pub(super) fn take_hits(&self) -> u64 {
        self.word.fetch_and(USERS, Ordering::Relaxed) >> 32
    }

    /// Whether somebody holds a pin.
    pub(super) fn is_pinned(&self) -> bool {
        self.word.load(Ordering::Relaxed) & USERS != 0
    }

    /// The value to read without a pin.
    ///
    /// # Safety
    ///
    /// Nobody [`change`](Self::change)s the value as long as the reference is alive.
    #[inline]
    pub(super) unsafe fn get_unpinned(&self) -> &T {
        // SAFETY: `change` is the only way to a mutable reference, and nobody uses it meanwhile.
        unsafe { &*self.value.get() }
    }
}

/// The right to read a value; nobody changes it meanwhile.
pub(super) struct Pin<'c, T> {
    cell: &'c PinCell<T>,
}

impl<T> Pin<'_, T> {
    /// Gives the pin back as if it had never been a hit. It was taken as one.
    #[inline]
    pub(super) fn cancel(self) {
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

/// The right to change a value; nobody else has it meanwhile.
pub(super) struct Change<'c, T> {
    cell: &'c PinCell<T>,
}

impl<T> Deref for Change<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: `CHANGING` is set, so nobody else has a reference.
        unsafe { &*self.cell.value.get() }
    }
}

impl<T> DerefMut for Change<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: `CHANGING` is set, so nobody else has a reference, and `&mut self` makes this the
        // only one.
        unsafe { &mut *self.cell.value.get() }
    }
}

impl<T> Drop for Change<'_, T> {
    fn drop(&mut self) {
        self.cell.word.fetch_and(!CHANGING, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn readers_and_the_one_who_changes_exclude_each_other() {
        let cell = PinCell::new(1);
        let (one, two) = (cell.pin(true).unwrap(), cell.pin(false).unwrap());
        assert!((*one, *two) == (1, 1) && cell.change().is_none() && cell.is_pinned());
        drop((one, two));
        let mut change = cell.change().unwrap();
        *change = 2;
        assert!(cell.pin(true).is_none() && cell.change().is_none());
        drop(change);
        assert_eq!((*cell.pin(true).unwrap(), cell.hits()), (2, 2), "a refused pin is no hit");
        cell.pin(true).unwrap().cancel();
        assert_eq!((cell.take_hits(), cell.hits(), cell.is_pinned()), (2, 0, false));
    }

    #[test]
    fn full_counts_refuse_instead_of_running_over() {
        let cell = PinCell::new(());
        for full in [1 << 30, 1 << 63] {
            cell.word.store(full, Ordering::Relaxed);
            assert!(cell.pin(true).is_none());
            assert_eq!(cell.word.load(Ordering::Relaxed), full);
        }
        assert_eq!(cell.take_hits(), 1 << 31);
        assert!(cell.pin(true).is_some());
    }

    #[test]
    fn no_reader_sees_half_a_change() {
        let cell = PinCell::new([0u64; 8]);
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    for _ in 0..20_000 {
                        if let Some(pin) = cell.pin(true) {
                            assert!(pin.iter().all(|word| *word == pin[0]));
                        }
                    }
                });
            }
            for value in 0..20_000 {
                if let Some(mut change) = cell.change() {
                    change.iter_mut().for_each(|word| *word = value);
                }
            }
        });
        assert!(!cell.is_pinned());
    }
}
