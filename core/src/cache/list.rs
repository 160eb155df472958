//! Lists of slots, linked through the slots themselves.
//!
//! Links are changed by whoever has the lock of the cache, and read by nobody else; they are atomic
//! only because slots are shared. A slot is in one list at a time and knows in which.

use core::sync::atomic::Ordering::Relaxed;

use super::storage::{NOWHERE, Slot, Slots, Storage};

/// Which list a slot is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Place {
    /// In none.
    Nowhere = 0,
    /// Its entry can be found, and thrown out.
    Used = 1,
    /// Its entry can no longer be found, but is still in use.
    Detached = 2,
    /// It has no entry.
    Free = 3,
}

impl Place {
    #[inline]
    pub(super) fn is_of(self, slot: &Slot) -> bool {
        slot.list.load(Relaxed) == self as u8
    }
}

/// A list, from the most recently used to the least recently used.
#[derive(Debug)]
pub(super) struct List {
    place: Place,
    first: u32,
    last: u32,
    len: u32,
}

impl List {
    pub(super) const fn new(place: Place) -> Self {
        Self { place, first: NOWHERE, last: NOWHERE, len: 0 }
    }

    pub(super) fn first(&self) -> u32 {
        self.first
    }

    pub(super) fn last(&self) -> u32 {
        self.last
    }

    pub(super) fn len(&self) -> u32 {
        self.len
    }

    /// Puts `slot`, the one at `at`, which is in no list, in front of all others.
    #[inline(always)]
    pub(super) fn push<S: Storage>(&mut self, slots: &Slots<'_, S>, at: u32, slot: &Slot) {
        slot.before.store(NOWHERE, Relaxed);
        slot.behind.store(self.first, Relaxed);
        slot.list.store(self.place as u8, Relaxed);
        match slots.neighbour(self.first) {
            Some(first) => first.before.store(at, Relaxed),
            None => self.last = at,
        }
        self.first = at;
        self.len += 1;
    }

    /// Takes out a slot, if it is in this list.
    #[inline(always)]
    pub(super) fn unlink<S: Storage>(&mut self, slots: &Slots<'_, S>, slot: &Slot) {
        if !self.place.is_of(slot) {
            return;
        }
        let (before, behind) = (slot.before.load(Relaxed), slot.behind.load(Relaxed));
        match slots.neighbour(before) {
            Some(neighbour) => neighbour.behind.store(behind, Relaxed),
            None => self.first = behind,
        }
        match slots.neighbour(behind) {
            Some(neighbour) => neighbour.before.store(before, Relaxed),
            None => self.last = before,
        }
        slot.list.store(Place::Nowhere as u8, Relaxed);
        self.len -= 1;
    }

    /// Moves `slot`, the one at `at`, to the front, if it is in this list.
    #[inline(always)]
    pub(super) fn renew<S: Storage>(&mut self, slots: &Slots<'_, S>, at: u32, slot: &Slot) {
        if self.place.is_of(slot) {
            self.renew_known(slots, at, slot);
        }
    }

    /// As [`renew`](Self::renew), of a slot that is in this list. What every hit does, hence not the two
    /// above.
    #[inline(always)]
    pub(super) fn renew_known<S: Storage>(&mut self, slots: &Slots<'_, S>, at: u32, slot: &Slot) {
        let first = self.first;
        if first == at {
            return;
        }
        let (before, behind) = (slot.before.load(Relaxed), slot.behind.load(Relaxed));
        // It is not the first, so there is one before it.
        if let Some(neighbour) = slots.get(before) {
            neighbour.behind.store(behind, Relaxed);
        }
        // That a link leads nowhere is found out here, because it hardly ever does.
        match slots.neighbour(behind) {
            Some(neighbour) => neighbour.before.store(before, Relaxed),
            None => self.last = before,
        }
        if let Some(first) = slots.get(first) {
            first.before.store(at, Relaxed);
        }
        slot.before.store(NOWHERE, Relaxed);
        slot.behind.store(first, Relaxed);
        self.first = at;
    }
}

#[cfg(test)]
mod tests {
    use super::super::storage::FixedStorage;
    use super::*;
    use std::vec::Vec;

    fn check<S: Storage>(storage: &S, list: &List, expected: &[u32]) {
        let walk = |from, next: fn(&Slot) -> u32| {
            let step = move |at: &u32| storage.slot(*at).map(next).filter(|at| *at != NOWHERE);
            core::iter::successors(Some(from).filter(|at| *at != NOWHERE), step)
        };
        let forward: Vec<u32> = walk(list.first, |slot| slot.behind.load(Relaxed)).collect();
        let mut backward: Vec<u32> = walk(list.last, |slot| slot.before.load(Relaxed)).collect();
        backward.reverse();
        assert_eq!(
            (&forward[..], &backward[..], list.len as usize),
            (expected, expected, expected.len())
        );
    }

    #[test]
    fn links_as_a_vector_would_order() {
        let storage = FixedStorage::<8, 2>::new();
        let slots = Slots::of(&storage);
        let mut list = List::new(Place::Used);
        let mut model: Vec<u32> = Vec::new();
        let mut seed = 1u32;
        for _ in 0..if cfg!(miri) { 100 } else { 5000 } {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let at = (seed >> 13) % 8;
            let slot = storage.slot(at).unwrap();
            match (model.contains(&at), seed >> 30) {
                (false, _) => {
                    list.push(&slots, at, slot);
                    model.insert(0, at);
                }
                (true, 0..=1) => {
                    list.renew(&slots, at, slot);
                    model.retain(|other| *other != at);
                    model.insert(0, at);
                }
                (true, _) => {
                    list.unlink(&slots, slot);
                    // What is not in the list is not put there.
                    list.unlink(&slots, slot);
                    list.renew(&slots, at, slot);
                    model.retain(|other| *other != at);
                }
            }
            check(&storage, &list, &model);
        }
    }
}
