//! Lists of units by class, for example freed blocks by size.

use alloc::vec::Vec;

use super::alloc_request::UnitId;
use crate::alloc_util::try_push;

/// `CLASSES` lists of at most `LIMIT` units, a power of two, the latest unit last; none before the first unit.
#[derive(Default)]
pub(super) struct UnitLists<const CLASSES: usize, const LIMIT: usize>(Vec<Vec<UnitId>>);

impl<const CLASSES: usize, const LIMIT: usize> UnitLists<CLASSES, LIMIT> {
    /// Adds a unit; false if there is no space for it.
    #[inline]
    pub(super) fn push(&mut self, class: usize, first: UnitId) -> bool {
        match self.0.get_mut(class) {
            Some(list) if list.len() < list.capacity() => {
                list.push(first);
                true
            }
            _ => self.grow_and_push(class, first),
        }
    }

    #[cold]
    fn grow_and_push(&mut self, class: usize, first: UnitId) -> bool {
        if self.0.is_empty() && self.0.try_reserve_exact(CLASSES).is_ok() {
            self.0.resize_with(CLASSES, Vec::new);
        }
        let Some(list) = self.0.get_mut(class) else { return false };
        list.len() < LIMIT && try_push(list, first).is_ok()
    }

    /// Removes the latest unit of a class.
    // Benchmark row: "allocate, write, publish 100 bytes of code".
    #[inline(always)]
    pub(super) fn pop(&mut self, class: usize) -> Option<UnitId> {
        self.0.get_mut(class)?.pop()
    }

    /// Removes any unit.
    pub(super) fn pop_any(&mut self) -> Option<UnitId> {
        self.0.iter_mut().find_map(Vec::pop)
    }

    pub(super) fn list_mut(&mut self, class: usize) -> Option<&mut Vec<UnitId>> {
        self.0.get_mut(class)
    }

    pub(super) fn clear(&mut self) {
        self.0.iter_mut().for_each(Vec::clear);
    }

    /// Bytes allocated for the lists.
    pub(super) fn footprint(&self) -> usize {
        let entries: usize = self.0.iter().map(Vec::capacity).sum();
        self.0.capacity() * size_of::<Vec<UnitId>>() + entries * size_of::<UnitId>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLASSES: usize = 64;
    const LIMIT: usize = 2048;

    type Magazine = UnitLists<CLASSES, LIMIT>;

    #[test]
    fn each_block_is_popped_once_and_for_its_size_only() {
        let mut magazine = Magazine::default();
        assert_eq!((magazine.pop(2), magazine.pop_any()), (None, None));
        let first = |unit| UnitId { chunk: 1, unit };
        for unit in 0..500 {
            assert!(magazine.push(unit as usize % CLASSES, first(unit)));
        }
        assert_eq!(magazine.pop(7), Some(first(7 * 64 + 7)), "the latest first");
        let popped = core::iter::from_fn(|| magazine.pop(9));
        let mut sizes: Vec<_> = popped.map(|first| first.unit % 64).collect();
        sizes.dedup();
        assert_eq!(sizes, [9]);
        let rest = core::iter::from_fn(|| magazine.pop_any()).count();
        assert_eq!(rest, 500 - 1 - 8);
    }

    #[test]
    fn blocks_beyond_the_limits_are_refused() {
        let mut magazine = Magazine::default();
        let first = UnitId { chunk: 0, unit: 0 };
        assert!(!magazine.push(CLASSES, first) && !magazine.push(usize::MAX, first));
        assert_eq!((0..5000).filter(|_| magazine.push(3, first)).count(), LIMIT);
        assert!(magazine.push(4, first));
    }
}
