//! Which parts of a stretch of memory are taken: numbers alone, no memory behind them.
//!
//! The stretch is cut into equal units, 8 bytes in one map and a page in another. Runs of units,
//! each free or taken, cover it without a gap. Two bits a unit say it all:
//!
//! * `start`: a run begins here;
//! * `mark`: where a run begins, that it is taken; one unit further, the flag of a taken run.
//!
//! Two free runs are never neighbours: [`SpanMap::release`] joins them at once. A third, coarse bit
//! for each 64 units says whether any run starts there, so that the ends of a run are found in a few
//! steps however long it is.
//!
//! Every position comes from outside and is an allegation: one that is no start of a run changes
//! nothing and finds nothing.

use alloc::vec::Vec;
use core::ops::Range;

/// Units in a word of the map.
const WORD: usize = 64;

#[derive(Clone, Copy, Debug, Default)]
struct Word {
    start: u64,
    mark: u64,
}

/// Neighbouring units that belong together, as positions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) units: Range<usize>,
    pub(super) taken: bool,
}

/// The runs of one stretch.
#[derive(Debug)]
pub(super) struct SpanMap {
    words: Vec<Word>,
    /// Bit i: some run starts in word i.
    summary: Vec<u64>,
    len: usize,
    free: usize,
}

fn bit(unit: usize) -> u64 {
    1 << (unit % WORD)
}

impl SpanMap {
    /// One free run of `len` units, at least one; or `None` when the allocator has no room.
    pub(super) fn new(len: usize) -> Option<Self> {
        let words = zeroed(len.div_ceil(WORD))?;
        let summary = zeroed(len.div_ceil(WORD * WORD))?;
        let mut map = Self { words, summary, len, free: len };
        map.set_start(0);
        Some(map)
    }

    /// How many units are free.
    #[inline]
    pub(super) fn free(&self) -> usize {
        self.free
    }

    /// How many units there are.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The bytes that the map itself takes.
    pub(super) fn footprint(&self) -> usize {
        size_of_val(self.words.as_slice()) + size_of_val(self.summary.as_slice())
    }

    /// The run that begins at `unit`, if one does.
    #[inline]
    pub(super) fn run_at(&self, unit: usize) -> Option<Span> {
        let word = self.words.get(unit / WORD)?;
        if word.start & bit(unit) == 0 {
            return None;
        }
        Some(Span { units: unit..self.next_start(unit), taken: word.mark & bit(unit) != 0 })
    }

    /// The run that `unit` belongs to, if there is such a unit.
    pub(super) fn run_around(&self, unit: usize) -> Option<Span> {
        if unit < self.len { self.run_at(self.last_start(unit)) } else { None }
    }

    /// The first run behind `after`, or the first of all.
    #[inline(never)]
    fn run_after(&self, after: Option<&Span>) -> Option<Span> {
        self.run_at(after.map_or(0, |run| run.units.end))
    }

    /// Every free run, first to last.
    pub(super) fn free_runs(&self) -> impl Iterator<Item = Range<usize>> {
        core::iter::successors(self.run_after(None), |run| self.run_after(Some(run)))
            .filter(|run| !run.taken)
            .map(|run| run.units)
    }

    /// Takes `units` out of the free run `from`. What is left of it, in front and behind, stays free.
    /// Returns what is left behind, or `None` when nothing was taken because `from` is no free run or
    /// `units` do not lie in it.
    #[inline]
    pub(super) fn take(&mut self, from: Range<usize>, units: Range<usize>) -> Option<Range<usize>> {
        let word = *self.words.get(from.start / WORD)?;
        let free = word.start & !word.mark & bit(from.start) != 0;
        if !free || units.is_empty() || units.start < from.start || units.end > from.end {
            return None;
        }
        debug_assert_eq!(self.run_at(from.start).map(|run| run.units), Some(from.clone()));
        if units.start != from.start {
            self.set_start(units.start);
        }
        self.change(units.start, |word| word.mark |= bit(units.start));
        if units.end != from.end {
            self.set_start(units.end);
        }
        self.free -= units.len();
        Some(units.end..from.end)
    }

    /// Frees the taken run that begins at `start` and joins it with free neighbours. Returns the
    /// free run that it has become part of, or `None` when no taken run begins there.
    pub(super) fn release(&mut self, start: usize) -> Option<Range<usize>> {
        let run = self.run_at(start).filter(|run| run.taken)?.units;
        self.free += run.len();
        self.set_flag(start, false);
        self.change(start, |word| word.mark &= !bit(start));
        let mut joined = run.clone();
        if let Some(next) = self.run_at(run.end).filter(|next| !next.taken) {
            self.clear_start(run.end);
            joined.end = next.units.end;
        }
        let before = start.checked_sub(1).map(|unit| self.last_start(unit));
        if let Some(before) = before.filter(|&unit| !self.is_taken_start(unit)) {
            self.clear_start(start);
            joined.start = before;
        }
        Some(joined)
    }

    /// The flag of the taken run that begins at `start`; a run of one unit has none.
    #[inline]
    pub(super) fn flag(&self, start: usize) -> bool {
        let unit = start + 1;
        self.words
            .get(unit / WORD)
            .is_some_and(|word| word.start & bit(unit) == 0 && word.mark & bit(unit) != 0)
    }

    /// Sets or clears the flag of the taken run that begins at `start`, if it has two units.
    #[inline]
    pub(super) fn set_flag(&mut self, start: usize, on: bool) {
        let unit = start + 1;
        if !self.is_taken_start(start) || unit >= self.len {
            return;
        }
        self.change(unit, |word| {
            // Where the next run begins, the mark is not ours.
            let flag = bit(unit) & !word.start;
            word.mark = if on { word.mark | flag } else { word.mark & !flag };
        });
    }

    #[inline]
    fn is_taken_start(&self, unit: usize) -> bool {
        let word = self.words.get(unit / WORD);
        word.is_some_and(|word| word.start & word.mark & bit(unit) != 0)
    }

    #[inline]
    fn change(&mut self, unit: usize, change: impl FnOnce(&mut Word)) {
        if let Some(word) = self.words.get_mut(unit / WORD) {
            change(word);
        }
    }

    #[inline]
    fn set_start(&mut self, unit: usize) {
        self.change(unit, |word| word.start |= bit(unit));
        if let Some(coarse) = self.summary.get_mut(unit / WORD / WORD) {
            *coarse |= bit(unit / WORD);
        }
    }

    #[inline]
    fn clear_start(&mut self, unit: usize) {
        let Some(word) = self.words.get_mut(unit / WORD) else { return };
        word.start &= !bit(unit);
        if word.start == 0
            && let Some(coarse) = self.summary.get_mut(unit / WORD / WORD)
        {
            *coarse &= !bit(unit / WORD);
        }
    }

    /// The first start behind `unit`, or the end of the stretch.
    #[inline]
    fn next_start(&self, unit: usize) -> usize {
        let here = self.words.get(unit / WORD).map_or(0, |word| word.start);
        // Shifted in two steps, because 64 at once is too far for a shift.
        let behind = here >> (unit % WORD) >> 1;
        if behind != 0 {
            return unit + 1 + behind.trailing_zeros() as usize;
        }
        self.next_start_beyond(unit / WORD)
    }

    /// The first start in a word behind this one, or the end of the stretch.
    fn next_start_beyond(&self, word: usize) -> usize {
        let mut coarse = word / WORD;
        let mut bits = self.summary.get(coarse).map_or(0, |bits| bits & (!0 << (word % WORD) << 1));
        while bits == 0 {
            coarse += 1;
            match self.summary.get(coarse) {
                Some(&next) => bits = next,
                None => return self.len,
            }
        }
        let word = coarse * WORD + bits.trailing_zeros() as usize;
        let starts = self.words.get(word).map_or(0, |word| word.start);
        word * WORD + starts.trailing_zeros() as usize
    }

    /// The last start at or in front of `unit`.
    #[inline]
    fn last_start(&self, unit: usize) -> usize {
        let here = self.words.get(unit / WORD).map_or(0, |word| word.start);
        let before = here << (WORD - 1 - unit % WORD);
        if before != 0 {
            return unit - before.leading_zeros() as usize;
        }
        self.last_start_before(unit / WORD)
    }

    /// The last start in a word in front of this one; unit 0 always is one.
    fn last_start_before(&self, word: usize) -> usize {
        let mut coarse = word / WORD;
        let below = bit(word) - 1;
        let mut bits = self.summary.get(coarse).map_or(0, |bits| bits & below);
        while bits == 0 && coarse > 0 {
            coarse -= 1;
            bits = self.summary.get(coarse).copied().unwrap_or(0);
        }
        let Some(top) = bits.checked_ilog2() else { return 0 };
        let word = coarse * WORD + top as usize;
        let starts = self.words.get(word).map_or(0, |word| word.start);
        word * WORD + starts.checked_ilog2().map_or(0, |top| top as usize)
    }
}

/// `len` zeros, or `None` when the allocator has no room for them.
fn zeroed<T: Clone + Default>(len: usize) -> Option<Vec<T>> {
    let mut zeros = Vec::new();
    zeros.try_reserve_exact(len).ok()?;
    zeros.resize(len, T::default());
    Some(zeros)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// The same promises without bits: where each run begins, its end, and whether it is taken.
    struct Naive {
        runs: BTreeMap<usize, (usize, bool, bool)>,
    }

    impl Naive {
        fn release(&mut self, start: usize) -> Option<Range<usize>> {
            let &(end, taken, _) = self.runs.get(&start)?;
            if !taken {
                return None;
            }
            let mut joined = start..end;
            self.runs.remove(&start);
            if let Some(&(end, false, _)) = self.runs.get(&joined.end) {
                self.runs.remove(&joined.end);
                joined.end = end;
            }
            if let Some((&before, &(end, false, _))) = self.runs.range(..start).next_back() {
                assert_eq!(end, start);
                joined.start = before;
            }
            self.runs.insert(joined.start, (joined.end, false, false));
            Some(joined)
        }

        fn take(&mut self, free: usize, units: Range<usize>) -> Option<Range<usize>> {
            let &(end, taken, _) = self.runs.get(&free)?;
            if taken || units.is_empty() || units.start < free || units.end > end {
                return None;
            }
            self.runs.remove(&free);
            if free < units.start {
                self.runs.insert(free, (units.start, false, false));
            }
            self.runs.insert(units.start, (units.end, true, false));
            if units.end < end {
                self.runs.insert(units.end, (end, false, false));
            }
            Some(units.end..end)
        }
    }

    /// Numbers that look random and are the same in every run (Knuth's MMIX constants).
    fn numbers(mut state: u64) -> impl FnMut(usize) -> usize {
        move |below| {
            state =
                state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(0x5851_f42d_4c95_7f2d);
            (state >> 33) as usize % below.max(1)
        }
    }

    fn agree(map: &SpanMap, naive: &Naive, len: usize) {
        let mut free = 0;
        for unit in 0..len + 130 {
            let expected =
                naive.runs.get(&unit).map(|&(end, taken, _)| Span { units: unit..end, taken });
            assert_eq!(map.run_at(unit), expected, "run at {unit}");
            let around = naive.runs.range(..=unit).next_back().filter(|(_, run)| unit < run.0);
            let around = around.map(|(&start, &(end, taken, _))| Span { units: start..end, taken });
            assert_eq!(map.run_around(unit), around, "run around {unit}");
            if let Some(&(end, true, flag)) = naive.runs.get(&unit) {
                assert_eq!(map.flag(unit), flag && end - unit > 1, "flag of {unit}");
            }
        }
        for (&start, &(end, taken, _)) in &naive.runs {
            free += if taken { 0 } else { end - start };
        }
        assert_eq!(map.free(), free);
        let free_runs = naive.runs.iter().filter(|(_, run)| !run.1);
        assert!(map.free_runs().eq(free_runs.map(|(&start, &(end, ..))| start..end)));
    }

    /// Random takes, frees and flags, true ones and false ones, beside the naive map.
    fn against_the_naive_map(len: usize, seed: u64, steps: usize, largest: usize) {
        let mut random = numbers(seed);
        let mut map = SpanMap::new(len).unwrap();
        let mut naive = Naive { runs: BTreeMap::from([(0, (len, false, false))]) };
        for step in 0..steps {
            let at = random(len + 3);
            let near = naive.runs.range(..=at).next_back().map_or(0, |(&start, _)| start);
            match random(8) {
                0 => assert_eq!(map.release(at), naive.release(at)),
                1 | 2 => assert_eq!(map.release(near), naive.release(near)),
                3 => {
                    let on = random(2) == 0;
                    map.set_flag(near, on);
                    if let Some((_, true, flag)) = naive.runs.get_mut(&near) {
                        *flag = on;
                    }
                }
                _ => {
                    let start = near + if random(3) == 0 { random(4) } else { 0 };
                    let units = start..start + random(largest);
                    let from = map.run_at(near).map_or(0..0, |run| run.units);
                    assert_eq!(map.take(from, units.clone()), naive.take(near, units));
                }
            }
            if step % 16 == 0 || step + 1 == steps {
                agree(&map, &naive, len);
            }
        }
        while let Some((&start, _)) = naive.runs.iter().find(|(_, run)| run.1) {
            assert_eq!(map.release(start), naive.release(start));
        }
        agree(&map, &naive, len);
        assert_eq!(map.run_at(0), Some(Span { units: 0..len, taken: false }), "all joined again");
    }

    #[test]
    #[cfg_attr(miri, ignore = "takes minutes in the interpreter")]
    fn does_what_the_naive_map_does() {
        let steps = 4000;
        for len in [1, 2, 63, 64, 65, 128, 300, 1000] {
            against_the_naive_map(len, len as u64, steps, 20);
        }
        against_the_naive_map(64, 7, steps, 2);
        against_the_naive_map(20_000, 8, steps / 10, 9000);
    }

    #[test]
    fn a_run_as_long_as_the_map_is_found_from_both_ends() {
        let len = 300_000;
        let mut map = SpanMap::new(len).unwrap();
        assert_eq!(map.take(0..len, 0..len), Some(len..len));
        assert_eq!(map.run_around(len - 1), Some(Span { units: 0..len, taken: true }));
        assert_eq!(map.release(1), None);
        assert_eq!(map.release(0), Some(0..len));
        assert_eq!(map.release(0), None, "twice");
    }
}
