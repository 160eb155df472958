//! Doubly linked lists of slots, linked by index.

use super::slot::{NIL, Place, Slot};

/// A list of slots, from the most recently to the least recently used. A slot is in one list at a time.
#[derive(Debug)]
pub(super) struct List {
    place: Place,
    /// The first slot; [`NIL`] if the list is empty.
    pub(super) newest: u32,
    /// The last slot; [`NIL`] if the list is empty.
    pub(super) oldest: u32,
    pub(super) len: u32,
}

impl List {
    /// An empty list of the slots at `place`.
    pub(super) const fn new(place: Place) -> Self {
        Self { place, newest: NIL, oldest: NIL, len: 0 }
    }

    /// Inserts slot `at`, which is in no list, before all others.
    pub(super) fn push_front(&mut self, slots: &mut [Slot], at: u32) {
        self.link_front(slots, at);
        if let Some(slot) = slots.get_mut(at as usize) {
            slot.place = self.place;
            self.len += 1;
        }
    }

    /// Removes slot `at` if it is in this list.
    pub(super) fn remove(&mut self, slots: &mut [Slot], at: u32) {
        let Some(slot) = slots.get_mut(at as usize).filter(|slot| slot.place == self.place) else {
            return;
        };
        slot.place = Place::Unlisted;
        self.len -= 1;
        self.unlink(slots, at);
    }

    /// Moves slot `at` to the front if it is in this list.
    #[inline]
    pub(super) fn move_to_front(&mut self, slots: &mut [Slot], at: u32) {
        let is_here = slots.get(at as usize).is_some_and(|slot| slot.place == self.place);
        if is_here && self.newest != at {
            self.unlink(slots, at);
            self.link_front(slots, at);
        }
    }

    fn link_front(&mut self, slots: &mut [Slot], at: u32) {
        let Some(slot) = slots.get_mut(at as usize) else { return };
        (slot.newer, slot.older) = (NIL, self.newest);
        match slots.get_mut(self.newest as usize) {
            Some(newest) => newest.newer = at,
            None => self.oldest = at,
        }
        self.newest = at;
    }

    fn unlink(&mut self, slots: &mut [Slot], at: u32) {
        let Some(slot) = slots.get(at as usize) else { return };
        let (newer, older) = (slot.newer, slot.older);
        match slots.get_mut(newer as usize) {
            Some(slot) => slot.older = older,
            None => self.newest = older,
        }
        match slots.get_mut(older as usize) {
            Some(slot) => slot.newer = newer,
            None => self.oldest = newer,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn check(slots: &[Slot], list: &List, expected: &[u32]) {
        let walk = |from: u32, next: fn(&Slot) -> u32| {
            let step = move |at: &u32| Some(next(&slots[*at as usize])).filter(|at| *at != NIL);
            core::iter::successors(Some(from).filter(|at| *at != NIL), step)
        };
        let forward: Vec<u32> = walk(list.newest, |slot| slot.older).collect();
        let mut backward: Vec<u32> = walk(list.oldest, |slot| slot.newer).collect();
        backward.reverse();
        assert_eq!(
            (&forward[..], &backward[..], list.len as usize),
            (expected, expected, expected.len())
        );
    }

    #[test]
    fn list_of_slots_orders_as_a_vector_does() {
        let mut slots: Vec<Slot> = (0..8).map(|at| Slot::new(at).unwrap()).collect();
        let mut list = List::new(Place::Used);
        let mut model: Vec<u32> = Vec::new();
        let mut seed = 1u32;
        for _ in 0..if cfg!(miri) { 100 } else { 5000 } {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let at = (seed >> 13) % 8;
            match (model.contains(&at), seed >> 30) {
                (false, _) => {
                    list.push_front(&mut slots, at);
                    model.insert(0, at);
                }
                (true, 0..=1) => {
                    list.move_to_front(&mut slots, at);
                    model.retain(|other| *other != at);
                    model.insert(0, at);
                }
                (true, _) => {
                    list.remove(&mut slots, at);
                    // A slot that is not in the list stays out of it.
                    list.remove(&mut slots, at);
                    list.move_to_front(&mut slots, at);
                    model.retain(|other| *other != at);
                }
            }
            check(&slots, &list, &model);
        }
    }
}
