//! A magazine of small freed blocks, by size, for immediate reuse.

use alloc::vec::Vec;

use super::alloc_request::{SMALL_UNITS, UnitId};
use crate::alloc_util::try_push;

/// The maximum number of blocks of one size.
const MAX_BLOCKS: usize = 2048;

/// Freed blocks of fewer than [`SMALL_UNITS`] units.
#[derive(Default)]
pub(super) struct Magazine {
    /// [`SMALL_UNITS`] lists, the latest block last; none before the first block.
    lists: Vec<Vec<UnitId>>,
}

impl Magazine {
    /// Adds a block of `units` units; false if there is no space for it.
    #[inline]
    pub(super) fn push(&mut self, units: usize, first: UnitId) -> bool {
        match self.lists.get_mut(units) {
            Some(list) if list.len() < list.capacity() => {
                list.push(first);
                true
            }
            _ => self.grow_and_push(units, first),
        }
    }

    #[cold]
    fn grow_and_push(&mut self, units: usize, first: UnitId) -> bool {
        if self.lists.is_empty() && self.lists.try_reserve_exact(SMALL_UNITS).is_ok() {
            self.lists.resize_with(SMALL_UNITS, Vec::new);
        }
        let Some(list) = self.lists.get_mut(units) else { return false };
        list.len() < MAX_BLOCKS && try_push(list, first).is_ok()
    }

    /// Removes the latest block of `units` units.
    // Benchmark row: "allocate, write, publish 100 bytes of code".
    #[inline(always)]
    pub(super) fn pop(&mut self, units: usize) -> Option<UnitId> {
        self.lists.get_mut(units)?.pop()
    }

    /// Removes any block.
    pub(super) fn pop_any(&mut self) -> Option<UnitId> {
        self.lists.iter_mut().find_map(Vec::pop)
    }

    /// Bytes allocated for the lists.
    pub(super) fn footprint(&self) -> usize {
        let entries: usize = self.lists.iter().map(Vec::capacity).sum();
        self.lists.capacity() * size_of::<Vec<UnitId>>() + entries * size_of::<UnitId>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_block_is_popped_once_and_for_its_size_only() {
        let mut magazine = Magazine::default();
        assert_eq!((magazine.pop(2), magazine.pop_any()), (None, None));
        let first = |unit| UnitId { chunk: 1, unit };
        for unit in 0..500 {
            assert!(magazine.push(unit as usize % SMALL_UNITS, first(unit)));
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
        assert!(!magazine.push(SMALL_UNITS, first) && !magazine.push(usize::MAX, first));
        assert_eq!((0..5000).filter(|_| magazine.push(3, first)).count(), MAX_BLOCKS);
        assert!(magazine.push(4, first));
    }
}
