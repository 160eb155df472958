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
        self.link(slots, at, slot);
        slot.list.store(self.place as u8, Relaxed);
        self.len += 1;
    }

    /// Takes out a slot, if it is in this list.
    #[inline(always)]
    pub(super) fn unlink<S: Storage>(&mut self, slots: &Slots<'_, S>, slot: &Slot) {
        if !self.place.is_of(slot) {
            return;
        }
        self.skip(slots, slot);
        slot.list.store(Place::Nowhere as u8, Relaxed);
        self.len -= 1;
    }

    /// Lets the list begin with `slot`.
    #[inline(always)]
    fn link<S: Storage>(&mut self, slots: &Slots<'_, S>, at: u32, slot: &Slot) {
        slot.before.store(NOWHERE, Relaxed);
        slot.behind.store(self.first, Relaxed);
        match slots.neighbour(self.first) {
            Some(first) => first.before.store(at, Relaxed),
            None => self.last = at,
        }
        self.first = at;
    }

    /// Lets the list lead past `slot`.
    #[inline(always)]
    fn skip<S: Storage>(&mut self, slots: &Slots<'_, S>, slot: &Slot) {
        let (before, behind) = (slot.before.load(Relaxed), slot.behind.load(Relaxed));
        match slots.neighbour(before) {
            Some(neighbour) => neighbour.behind.store(behind, Relaxed),
            None => self.first = behind,
        }
        match slots.neighbour(behind) {
            Some(neighbour) => neighbour.before.store(before, Relaxed),
            None => self.last = before,
        }
    }

    /// Moves `slot`, the one at `at`, to the front, if it is in this list.
    #[inline(always)]
    pub(super) fn renew<S: Storage>(&mut self, slots: &Slots<'_, S>, at: u32, slot: &Slot) {
        if self.place.is_of(slot) {
            self.renew_known(slots, at, slot);
        }
    }

    /// As [`renew`](Self::renew), of a slot that is in this list. A reader may ask meanwhile in which list it
    /// is, so that stays.
    #[inline(always)]
    pub(super) fn renew_known<S: Storage>(&mut self, slots: &Slots<'_, S>, at: u32, slot: &Slot) {
        let first = self.first;
        if first == at {
            return;
        }
        // What every hit does, hence without a question for each link when all lead to the first slots.
        let (before, behind) = (slot.before.load(Relaxed), slot.behind.load(Relaxed));
        let neighbours = [before, behind, first].map(|link| slots.first(link));
        let [Some(one_before), Some(one_behind), Some(old_first)] = neighbours else {
            self.skip(slots, slot);
            return self.link(slots, at, slot);
        };
        one_before.behind.store(behind, Relaxed);
        one_behind.before.store(before, Relaxed);
        old_first.before.store(at, Relaxed);
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
