//! Free spans by size class.
//!
//! The lists make an allocation fast and are never trusted: the [`SpanMap`](super::span::SpanMap) decides. So entries
//! may be outdated, duplicated, or dropped when there are too many.

use super::alloc_request::UnitId;
use super::unit_lists::UnitLists;

/// Lengths below this have a size class each: half of the bits of a bitmap.
const EXACT_CLASSES: usize = 64;

/// Each larger power of two has four size classes.
const CLASS_COUNT: usize = 128;

/// The maximum number of entries in all lists: 64 KiB.
const MAX_ENTRIES: usize = 8192;

/// The maximum number of entries in one list, so that no class uses all nodes.
const MAX_LISTED: usize = 256;

/// How many entries of a class of several lengths are tried before a larger class.
const MAX_PROBES: usize = 8;

/// The size class of spans of `len` units. Every span of a later class is longer.
fn size_class(len: usize) -> usize {
    let Some(power @ 6..) = len.checked_ilog2() else { return len };
    let quarter = len >> (power - 2) & 3;
    (EXACT_CLASSES + (power as usize - 6) * 4 + quarter).min(CLASS_COUNT - 1)
}

/// Lists of free spans, one for each size class, the latest first.
#[derive(Default)]
pub(super) struct FreeLists {
    /// Bit i: class i has an entry.
    listed: u128,
    /// The number of entries.
    len: usize,
    lists: UnitLists<CLASS_COUNT, MAX_LISTED>,
}

impl FreeLists {
    pub(super) fn clear(&mut self) {
        self.lists.clear();
        (self.listed, self.len) = (0, 0);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.listed == 0
    }

    /// Bytes allocated for the lists.
    pub(super) fn footprint(&self) -> usize {
        self.lists.footprint()
    }

    /// Adds a free span of `len` units; false if there is no space for the entry.
    pub(super) fn push(&mut self, len: usize, first: UnitId) -> bool {
        let class = size_class(len);
        let is_added = self.len < MAX_ENTRIES && self.lists.push(class, first);
        if is_added {
            self.listed |= 1 << class;
            self.len += 1;
        }
        is_added
    }

    /// Removes an entry of at least `len` units: from the smallest class, the latest first. `fits` decides whether a
    /// span of the class of `len` is long enough.
    pub(super) fn pop(&mut self, len: usize, fits: impl Fn(UnitId) -> bool) -> Option<UnitId> {
        let mut class = size_class(len);
        if class >= EXACT_CLASSES {
            if let Some(first) = self.pop_fitting(class, fits) {
                return Some(first);
            }
            class += 1;
        }
        let listed = self.listed.checked_shr(class as u32).filter(|&listed| listed != 0)?;
        let class = class + listed.trailing_zeros() as usize;
        self.remove(class, 0)
    }

    /// Removes the first entry of the first [`MAX_PROBES`] that fits.
    fn pop_fitting(&mut self, class: usize, fits: impl Fn(UnitId) -> bool) -> Option<UnitId> {
        let mut latest = self.lists.list_mut(class)?.iter().rev().take(MAX_PROBES);
        let age = latest.position(|&first| fits(first))?;
        self.remove(class, age)
    }

    /// Removes the entry that `age` later ones follow.
    fn remove(&mut self, class: usize, age: usize) -> Option<UnitId> {
        let list = self.lists.list_mut(class)?;
        let first = list.remove(list.len().checked_sub(age + 1)?);
        if list.is_empty() {
            self.listed &= !(1 << class);
        }
        self.len -= 1;
        Some(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(unit: u32) -> UnitId {
        UnitId { chunk: 3, unit }
    }

    #[test]
    #[cfg_attr(miri, ignore = "takes minutes in the interpreter")]
    fn size_classes_are_ordered_by_length() {
        let mut last = 0;
        for len in 1..1_000_000 {
            let class = size_class(len);
            assert!(class == last || class == last + 1, "{len}");
            assert!(len >= EXACT_CLASSES || class == len);
            last = class;
        }
        assert!(last < CLASS_COUNT - 1);
        assert_eq!(size_class(usize::MAX), CLASS_COUNT - 1);
    }

    #[test]
    fn pop_returns_the_latest_span_of_the_smallest_fitting_class() {
        let mut lists = FreeLists::default();
        for (len, at) in [(5, 1), (9, 2), (5, 3), (79, 4), (66, 5), (100, 6), (9000, 7)] {
            assert!(lists.push(len, unit(at)));
        }
        let any = |_| true;
        assert_eq!(lists.pop(4, any), Some(unit(3)));
        assert_eq!(lists.pop(5, any), Some(unit(1)));
        assert_eq!(lists.pop(5, any), Some(unit(2)));
        assert_eq!(lists.pop(70, |first| first.unit == 4), Some(unit(4)));
        assert_eq!(lists.pop(70, |_| false), Some(unit(6)), "a later class is longer");
        assert_eq!(lists.pop(10, any), Some(unit(5)));
        assert_eq!(lists.pop(20_000_000, |_| false), None, "stays, because it did not fit");
        assert_eq!(lists.pop(1, any), Some(unit(7)));
        assert_eq!(lists.pop(1, any), None);
        assert!(lists.is_empty());
    }

    #[test]
    #[cfg_attr(miri, ignore = "takes minutes in the interpreter")]
    fn each_entry_is_popped_once_and_entries_beyond_the_limit_are_dropped() {
        let mut lists = FreeLists::default();
        for round in 0..3 {
            let pushed =
                (0..30_000u32).filter(|&at| lists.push(50 + at as usize % 30, unit(at))).count();
            // Lengths 50 to 63, and one class of several lengths.
            assert_eq!(pushed, 256 * (14 + 1));
            let mut seen = std::collections::BTreeSet::new();
            let pop = |lists: &mut FreeLists, len| lists.pop(len, |_| true);
            while let Some(first) = pop(&mut lists, 1 + seen.len() % 40).or(pop(&mut lists, 1)) {
                assert!(seen.insert(first.unit), "round {round}: {first:?} twice");
            }
            assert!(lists.is_empty());
            lists.clear();
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "takes minutes in the interpreter")]
    fn all_lists_together_have_a_limit() {
        let mut lists = FreeLists::default();
        let pushed = (0..30_000u32).filter(|&at| lists.push(1 + at as usize % 80, unit(at)));
        assert_eq!(pushed.count(), MAX_ENTRIES);
    }
}
