//! Free spans by size class.
//!
//! The lists make an allocation fast and are never trusted: the [`SpanMap`](super::span::SpanMap) decides. So entries may
//! be outdated, duplicated, or dropped when there are too many.

use alloc::vec::Vec;

use super::alloc_request::UnitId;

/// Lengths below this have a size class each: half of the bits of a bitmap.
const EXACT_CLASSES: usize = 64;

/// Each larger power of two has four size classes.
const CLASS_COUNT: usize = 128;

/// The maximum number of entries in all lists: 96 KiB.
const MAX_ENTRIES: usize = 8192;

/// The maximum number of entries in one list, so that no class uses all nodes.
const MAX_LISTED: u32 = 256;

/// How many entries of a class of several lengths are tried before a larger class.
const MAX_PROBES: usize = 8;

/// The end of a list.
const NIL: u16 = u16::MAX;

/// The size class of spans of `len` units. Every span of a later class is longer.
#[inline]
fn size_class(len: usize) -> usize {
    let Some(power @ 6..) = len.checked_ilog2() else { return len };
    let quarter = len >> (power - 2) & 3;
    (EXACT_CLASSES + (power as usize - 6) * 4 + quarter).min(CLASS_COUNT - 1)
}

#[derive(Clone, Copy)]
struct Entry {
    first: UnitId,
    next: u16,
}

/// Lists of free spans, one for each size class, the latest first.
pub(super) struct FreeLists {
    /// Bit i: class i has an entry.
    listed: u128,
    /// First one head for each class, whose `next` is the first entry and whose `unit` counts the entries; then the
    /// entries.
    nodes: Vec<Entry>,
    /// The first unused node.
    unused: u16,
}

impl Default for FreeLists {
    /// Empty lists. Nothing is allocated.
    fn default() -> Self {
        Self { listed: 0, nodes: Vec::new(), unused: NIL }
    }
}

impl FreeLists {
    pub(super) fn clear(&mut self) {
        self.nodes.clear();
        (self.listed, self.unused) = (0, NIL);
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.listed == 0
    }

    /// Bytes allocated for the lists.
    pub(super) fn footprint(&self) -> usize {
        self.nodes.capacity() * size_of::<Entry>()
    }

    /// Adds a free span of `len` units; false if there is no space for the entry.
    #[inline]
    pub(super) fn push(&mut self, len: usize, first: UnitId) -> bool {
        let class = size_class(len);
        let count = self.nodes.get(class).map_or(0, |head| head.first.unit);
        if count >= MAX_LISTED {
            return false;
        }
        let Some(node) = self.unused_node() else { return false };
        let Some(head) = self.nodes.get_mut(class) else { return false };
        head.first.unit = count + 1;
        let next = core::mem::replace(&mut head.next, node);
        if let Some(entry) = self.nodes.get_mut(usize::from(node)) {
            *entry = Entry { first, next };
        }
        self.listed |= 1 << class;
        true
    }

    #[inline]
    fn unused_node(&mut self) -> Option<u16> {
        match self.nodes.get(usize::from(self.unused)) {
            Some(node) => Some(core::mem::replace(&mut self.unused, node.next)),
            None => self.new_node(),
        }
    }

    #[cold]
    fn new_node(&mut self) -> Option<u16> {
        const EMPTY: Entry = Entry { first: UnitId { chunk: 0, unit: 0 }, next: NIL };
        if self.nodes.len() < CLASS_COUNT {
            self.nodes.try_reserve(CLASS_COUNT).ok()?;
            self.nodes.resize(CLASS_COUNT, EMPTY);
        }
        if self.nodes.len() >= CLASS_COUNT + MAX_ENTRIES {
            return None;
        }
        self.nodes.try_reserve(1).ok()?;
        self.nodes.push(EMPTY);
        u16::try_from(self.nodes.len() - 1).ok()
    }

    /// Removes an entry of at least `len` units: from the smallest class, the latest first. `fits` decides whether a span
    /// of the class of `len` is long enough.
    #[inline]
    pub(super) fn pop(&mut self, len: usize, fits: impl Fn(UnitId) -> bool) -> Option<UnitId> {
        let mut class = size_class(len);
        if class >= EXACT_CLASSES {
            if let Some(first) = self.unlink_fitting(class, fits) {
                return Some(first);
            }
            class += 1;
        }
        let listed = self.listed.checked_shr(class as u32).filter(|&listed| listed != 0)?;
        let class = class + listed.trailing_zeros() as usize;
        self.unlink_after(class, class)
    }

    /// Removes the first entry of the first [`MAX_PROBES`] that fits.
    fn unlink_fitting(&mut self, class: usize, fits: impl Fn(UnitId) -> bool) -> Option<UnitId> {
        let mut previous = class;
        for _ in 0..MAX_PROBES {
            let at = usize::from(self.nodes.get(previous)?.next);
            if fits(self.nodes.get(at)?.first) {
                return self.unlink_after(class, previous);
            }
            previous = at;
        }
        None
    }

    /// Removes the entry after node `previous`.
    // Benchmark row: "allocate, write, publish 100 bytes of code".
    #[inline(always)]
    fn unlink_after(&mut self, class: usize, previous: usize) -> Option<UnitId> {
        let removed = self.nodes.get(previous)?.next;
        let node = self.nodes.get_mut(usize::from(removed))?;
        let Entry { first, next } = *node;
        node.next = core::mem::replace(&mut self.unused, removed);
        self.nodes.get_mut(previous)?.next = next;
        let head = self.nodes.get_mut(class)?;
        head.first.unit = head.first.unit.wrapping_sub(1);
        if head.next == NIL {
            self.listed &= !(1 << class);
        }
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
