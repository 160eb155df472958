//! Small blocks that were freed and that any other of their size may have at once.

use alloc::vec::Vec;

use super::free_lists::Spot;

/// Blocks of fewer units than this are kept.
pub(super) const SMALL: usize = 64;

/// How many of one size are kept.
const KEPT: usize = 2048;

/// Blocks by their number of units.
pub(super) struct Magazine {
    /// [`SMALL`] lists, the latest block last; none before the first block.
    lists: Vec<Vec<Spot>>,
}

impl Magazine {
    /// None, and no memory either.
    pub(super) const fn new() -> Self {
        Self { lists: Vec::new() }
    }

    /// Keeps a block of `units` units; `false` when there is no room for it.
    #[inline]
    pub(super) fn push(&mut self, units: usize, spot: Spot) -> bool {
        match self.lists.get_mut(units) {
            Some(list) if list.len() < list.capacity() => {
                list.push(spot);
                true
            }
            _ => self.push_with_more_room(units, spot),
        }
    }

    #[cold]
    fn push_with_more_room(&mut self, units: usize, spot: Spot) -> bool {
        if self.lists.is_empty() && self.lists.try_reserve_exact(SMALL).is_ok() {
            self.lists.resize_with(SMALL, Vec::new);
        }
        let Some(list) = self.lists.get_mut(units) else { return false };
        let more = list.len().clamp(16, KEPT);
        if list.len() >= KEPT || list.try_reserve_exact(more).is_err() {
            return false;
        }
        list.push(spot);
        true
    }

    /// Takes the latest block of `units` units.
    #[inline(always)]
    pub(super) fn pop(&mut self, units: usize) -> Option<Spot> {
        self.lists.get_mut(units)?.pop()
    }

    /// Takes any block.
    pub(super) fn pop_any(&mut self) -> Option<Spot> {
        self.lists.iter_mut().find_map(Vec::pop)
    }

    /// The bytes that the lists take.
    pub(super) fn footprint(&self) -> usize {
        let spots: usize = self.lists.iter().map(Vec::capacity).sum();
        self.lists.capacity() * size_of::<Vec<Spot>>() + spots * size_of::<Spot>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_back_each_block_once_and_only_to_its_size() {
        let mut ready = Magazine::new();
        assert_eq!((ready.pop(2), ready.pop_any()), (None, None));
        let spot = |unit| Spot { slot: 1, unit };
        for unit in 0..500 {
            assert!(ready.push(unit as usize % SMALL, spot(unit)));
        }
        assert_eq!(ready.pop(7), Some(spot(7 * 64 + 7)), "the latest first");
        let mut units: Vec<_> = core::iter::from_fn(|| ready.pop(9)).map(|s| s.unit % 64).collect();
        units.dedup();
        assert_eq!(units, [9]);
        let rest = core::iter::from_fn(|| ready.pop_any()).count();
        assert_eq!(rest, 500 - 1 - 8);
    }

    #[test]
    fn too_many_and_too_long_ones_are_refused() {
        let mut ready = Magazine::new();
        let spot = Spot { slot: 0, unit: 0 };
        assert!(!ready.push(SMALL, spot) && !ready.push(usize::MAX, spot));
        assert_eq!((0..5000).filter(|_| ready.push(3, spot)).count(), KEPT);
        assert!(ready.push(4, spot));
    }
}
