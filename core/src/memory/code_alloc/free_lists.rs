//! Where a free run of a given length was last seen.
//!
//! Hints make finding a place quick and are never trusted: the run map has the last word on every
//! one. So they may be out of date, doubled, or dropped when there are too many, and nothing is
//! lost but time.

use alloc::vec::Vec;

/// A place in one of the chunks of a lane.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Spot {
    /// The chunk, by its slot in the lane.
    pub(super) slot: u16,
    /// The first unit.
    pub(super) unit: u32,
}

/// Lengths below this have a list each: as many as a word has bits.
const EXACT: usize = 64;

/// Above, each power of two has four lists.
const LISTS: usize = 128;

/// The list of runs of `len` units. Every run of a later list is longer.
#[inline(always)]
fn list_of(len: usize) -> usize {
    let Some(power @ 6..) = len.checked_ilog2() else { return len };
    let quarter = len >> (power - 2) & 3;
    (EXACT + (power as usize - 6) * 4 + quarter).min(LISTS - 1)
}

/// How many hints are kept of all lists: at most 96 KiB, where there are so many free runs.
const HINTS: usize = 8192;

/// How many runs of a list of several lengths are looked at before a longer one is taken.
const PATIENCE: usize = 8;

/// No further hint.
const NONE: u16 = u16::MAX;

#[derive(Clone, Copy)]
struct Hint {
    spot: Spot,
    next: u16,
}

/// Last seen free runs, by length, the latest first.
pub(super) struct FreeLists {
    /// Bit i: list i has a hint.
    exact: u64,
    /// Bit i: list [`EXACT`] + i has a hint.
    long: u64,
    /// First one for each list, whose `next` is the first hint of it and whose `unit` counts them;
    /// then the hints.
    nodes: Vec<Hint>,
    /// The first of the nodes that were taken out of a list.
    spare: u16,
    /// How many hints a list may have, so that none leaves others without room.
    limit: u16,
}

impl FreeLists {
    /// None, and no memory either.
    pub(super) const fn new(limit: u16) -> Self {
        Self { exact: 0, long: 0, nodes: Vec::new(), spare: NONE, limit }
    }

    pub(super) fn clear(&mut self) {
        self.nodes.clear();
        (self.exact, self.long, self.spare) = (0, 0, NONE);
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.exact | self.long == 0
    }

    /// The bytes that they take.
    pub(super) fn footprint(&self) -> usize {
        self.nodes.capacity() * size_of::<Hint>()
    }

    /// Remembers a free run of `len` units; `false` when there is no room.
    #[inline]
    pub(super) fn push(&mut self, len: usize, spot: Spot) -> bool {
        let list = list_of(len);
        let count = self.nodes.get(list).map_or(0, |head| head.spot.unit);
        if count >= u32::from(self.limit) {
            return false;
        }
        let Some(node) = self.spare_node() else { return false };
        let Some(head) = self.nodes.get_mut(list) else { return false };
        head.spot.unit = count + 1;
        let next = core::mem::replace(&mut head.next, node);
        if let Some(place) = self.nodes.get_mut(usize::from(node)) {
            *place = Hint { spot, next };
        }
        *self.filled(list) |= 1 << (list % EXACT);
        true
    }

    /// A node that is in no list.
    #[inline]
    fn spare_node(&mut self) -> Option<u16> {
        match self.nodes.get(usize::from(self.spare)) {
            Some(node) => Some(core::mem::replace(&mut self.spare, node.next)),
            None => self.new_node(),
        }
    }

    #[cold]
    fn new_node(&mut self) -> Option<u16> {
        const EMPTY: Hint = Hint { spot: Spot { slot: 0, unit: 0 }, next: NONE };
        if self.nodes.len() < LISTS {
            self.nodes.try_reserve(LISTS).ok()?;
            self.nodes.resize(LISTS, EMPTY);
        }
        if self.nodes.len() >= LISTS + HINTS {
            return None;
        }
        self.nodes.try_reserve(1).ok()?;
        self.nodes.push(EMPTY);
        u16::try_from(self.nodes.len() - 1).ok()
    }

    /// Takes out a hint for a run of at least `len` units: one of the shortest, the latest first.
    /// `fits` tells whether a run of about that length is long enough.
    #[inline]
    pub(super) fn pop(&mut self, len: usize, fits: impl Fn(Spot) -> bool) -> Option<Spot> {
        let own = list_of(len);
        if own >= EXACT {
            if let Some(spot) = self.unlink_fitting(own, fits) {
                return Some(spot);
            }
            return self.unlink_longer(self.long >> (own - EXACT) >> 1 << (own - EXACT) << 1);
        }
        let exact = self.exact >> own << own;
        if exact == 0 {
            return self.unlink_longer(self.long);
        }
        self.unlink_first(exact.trailing_zeros() as usize)
    }

    /// The first hint of the first of these lists of several lengths.
    fn unlink_longer(&mut self, lists: u64) -> Option<Spot> {
        if lists == 0 { None } else { self.unlink_first(EXACT + lists.trailing_zeros() as usize) }
    }

    /// The word in which a list has its bit.
    #[inline(always)]
    fn filled(&mut self, list: usize) -> &mut u64 {
        if list < EXACT { &mut self.exact } else { &mut self.long }
    }

    #[inline(always)]
    fn unlink_first(&mut self, list: usize) -> Option<Spot> {
        self.unlink_behind(list, list)
    }

    /// Looks through the beginning of a list.
    fn unlink_fitting(&mut self, list: usize, fits: impl Fn(Spot) -> bool) -> Option<Spot> {
        let mut before = list;
        for _ in 0..PATIENCE {
            let at = usize::from(self.nodes.get(before)?.next);
            if fits(self.nodes.get(at)?.spot) {
                return self.unlink_behind(list, before);
            }
            before = at;
        }
        None
    }

    /// Takes the hint behind node `before` out of its list.
    #[inline(always)]
    fn unlink_behind(&mut self, list: usize, before: usize) -> Option<Spot> {
        let taken = self.nodes.get(before)?.next;
        let node = self.nodes.get_mut(usize::from(taken))?;
        let Hint { spot, next } = *node;
        node.next = core::mem::replace(&mut self.spare, taken);
        self.nodes.get_mut(before)?.next = next;
        let head = self.nodes.get_mut(list)?;
        head.spot.unit = head.spot.unit.wrapping_sub(1);
        if head.next == NONE {
            *self.filled(list) &= !(1 << (list % EXACT));
        }
        Some(spot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spot(unit: u32) -> Spot {
        Spot { slot: 3, unit }
    }

    #[test]
    #[cfg_attr(miri, ignore = "takes minutes in the interpreter")]
    fn lists_are_in_the_order_of_lengths() {
        let mut last = 0;
        for len in 1..1_000_000 {
            let list = list_of(len);
            assert!(list == last || list == last + 1, "{len}");
            assert!(len >= EXACT || list == len);
            last = list;
        }
        assert!(last < LISTS - 1);
        assert_eq!(list_of(usize::MAX), LISTS - 1);
    }

    #[test]
    fn gives_a_short_run_that_is_long_enough_and_of_those_the_latest() {
        let mut hints = FreeLists::new(9);
        for (len, unit) in [(5, 1), (9, 2), (5, 3), (79, 4), (66, 5), (100, 6), (9000, 7)] {
            assert!(hints.push(len, spot(unit)));
        }
        let any = |_| true;
        assert_eq!(hints.pop(4, any), Some(spot(3)));
        assert_eq!(hints.pop(5, any), Some(spot(1)));
        assert_eq!(hints.pop(5, any), Some(spot(2)));
        assert_eq!(hints.pop(70, |s| s.unit == 4), Some(spot(4)));
        assert_eq!(hints.pop(70, |_| false), Some(spot(6)), "one that is longer for sure");
        assert_eq!(hints.pop(10, any), Some(spot(5)));
        assert_eq!(hints.pop(20_000_000, |_| false), None, "kept, because it did not fit");
        assert_eq!(hints.pop(1, any), Some(spot(7)));
        assert_eq!(hints.pop(1, any), None);
        assert!(hints.is_empty());
    }

    #[test]
    #[cfg_attr(miri, ignore = "takes minutes in the interpreter")]
    fn every_hint_comes_back_once_and_too_many_are_dropped() {
        let mut hints = FreeLists::new(100);
        for round in 0..3 {
            let kept = (0..30_000u32).filter(|&u| hints.push(1 + u as usize % 80, spot(u))).count();
            // Lists 1 to 63, and two that several lengths share.
            assert_eq!(kept, 100 * (63 + 2));
            let mut seen = std::collections::BTreeSet::new();
            let pop = |hints: &mut FreeLists, len| hints.pop(len, |_| true);
            while let Some(spot) = pop(&mut hints, 1 + seen.len() % 40).or(pop(&mut hints, 1)) {
                assert!(seen.insert(spot.unit), "round {round}: {spot:?} twice");
            }
            assert!(hints.is_empty());
            hints.clear();
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "takes minutes in the interpreter")]
    fn all_lists_together_have_a_limit_too() {
        let mut hints = FreeLists::new(u16::MAX);
        let kept = (0..30_000u32).filter(|&u| hints.push(1 + u as usize % 80, spot(u))).count();
        assert_eq!(kept, HINTS);
    }
}
