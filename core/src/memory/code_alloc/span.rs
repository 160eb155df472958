//! A map of used and free spans of units: numbers only, without memory behind them.
//!
//! The units, 8 bytes in one map and half a page in another, are covered by spans without gaps. Each span is used or
//! free. Two bits for each unit describe them:
//!
//! * `starts`: a span starts at the unit;
//! * `used`: at the start of a span, that it is used.
//!
//! No two free spans are adjacent: [`SpanMap::free`] coalesces them. A summary bit for each 64 units records whether
//! any span starts among them, so that the ends of a span are found in few steps, however long it is.
//!
//! Every position is untrusted: one that is not the start of a span changes nothing and finds nothing.

use alloc::vec::Vec;
use core::ops::Range;

use crate::alloc_util::{AllocError, try_filled};

/// Units in a word of the map.
const WORD: usize = 64;

#[derive(Clone, Copy, Debug, Default)]
struct Word {
    starts: u64,
    used: u64,
}

/// Adjacent units that are used or free together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) units: Range<usize>,
    pub(super) is_used: bool,
}

/// The spans of a range of units.
#[derive(Debug)]
pub(super) struct SpanMap {
    words: Vec<Word>,
    /// Bit i: a span starts in word i.
    summary: Vec<u64>,
    len: usize,
    free_units: usize,
}

fn bit(unit: usize) -> u64 {
    1 << (unit % WORD)
}

impl SpanMap {
    /// One free span of `len` units, at least one.
    pub(super) fn new(len: usize) -> Result<Self, AllocError> {
        let words = try_filled(len.div_ceil(WORD), &Word::default())?;
        let summary = try_filled(len.div_ceil(WORD * WORD), &0)?;
        let mut map = Self { words, summary, len, free_units: len };
        map.set_start(0);
        Ok(map)
    }

    /// Whether all units are free.
    pub(super) fn is_empty(&self) -> bool {
        self.free_units == self.len
    }

    /// The number of free units.
    pub(super) fn free_units(&self) -> usize {
        self.free_units
    }

    /// The number of units.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Bytes allocated for the map.
    pub(super) fn footprint(&self) -> usize {
        size_of_val(self.words.as_slice()) + size_of_val(self.summary.as_slice())
    }

    /// The span that starts at `unit`, if one does.
    #[inline]
    pub(super) fn span_at(&self, unit: usize) -> Option<Span> {
        let word = self.words.get(unit / WORD)?;
        if word.starts & bit(unit) == 0 {
            return None;
        }
        Some(Span { units: unit..self.next_start(unit), is_used: word.used & bit(unit) != 0 })
    }

    /// The span that contains `unit`, if there is such a unit.
    pub(super) fn span_containing(&self, unit: usize) -> Option<Span> {
        if unit < self.len { self.span_at(self.last_start(unit)) } else { None }
    }

    /// All free spans, in order.
    pub(super) fn free_spans(&self) -> impl Iterator<Item = Range<usize>> {
        core::iter::successors(self.span_at(0), |span| self.span_at(span.units.end))
            .filter(|span| !span.is_used)
            .map(|span| span.units)
    }

    /// Allocates `units` of the free span `from`, whose other units stay free. Returns the free units after them, or
    /// `None`, without a change, if `from` is not a free span or does not contain `units`.
    #[inline]
    pub(super) fn allocate(
        &mut self,
        from: Range<usize>,
        units: Range<usize>,
    ) -> Option<Range<usize>> {
        let word = *self.words.get(from.start / WORD)?;
        let free = word.starts & !word.used & bit(from.start) != 0;
        if !free || units.is_empty() || units.start < from.start || units.end > from.end {
            return None;
        }
        debug_assert_eq!(self.span_at(from.start).map(|span| span.units), Some(from.clone()));
        if units.start != from.start {
            self.set_start(units.start);
        }
        self.change(units.start, |word| word.used |= bit(units.start));
        if units.end != from.end {
            self.set_start(units.end);
        }
        self.free_units -= units.len();
        Some(units.end..from.end)
    }

    /// Frees the used span that starts at `start` and coalesces it with adjacent free spans. Returns the resulting free
    /// span, or `None` if no used span starts there.
    pub(super) fn free(&mut self, start: usize) -> Option<Range<usize>> {
        let span = self.span_at(start).filter(|span| span.is_used)?.units;
        self.free_units += span.len();
        self.change(start, |word| word.used &= !bit(start));
        let mut merged = span.clone();
        if let Some(next) = self.span_at(span.end).filter(|next| !next.is_used) {
            self.clear_start(span.end);
            merged.end = next.units.end;
        }
        let before = start.checked_sub(1).map(|unit| self.last_start(unit));
        if let Some(before) = before.filter(|&unit| !self.is_used_start(unit)) {
            self.clear_start(start);
            merged.start = before;
        }
        Some(merged)
    }

    fn is_used_start(&self, unit: usize) -> bool {
        let word = self.words.get(unit / WORD);
        word.is_some_and(|word| word.starts & word.used & bit(unit) != 0)
    }

    fn change(&mut self, unit: usize, change: impl FnOnce(&mut Word)) {
        if let Some(word) = self.words.get_mut(unit / WORD) {
            change(word);
        }
    }

    fn set_start(&mut self, unit: usize) {
        self.change(unit, |word| word.starts |= bit(unit));
        if let Some(summary) = self.summary.get_mut(unit / WORD / WORD) {
            *summary |= bit(unit / WORD);
        }
    }

    fn clear_start(&mut self, unit: usize) {
        let Some(word) = self.words.get_mut(unit / WORD) else { return };
        word.starts &= !bit(unit);
        if word.starts == 0
            && let Some(summary) = self.summary.get_mut(unit / WORD / WORD)
        {
            *summary &= !bit(unit / WORD);
        }
    }

    /// The first start after `unit`, or the end of the map.
    fn next_start(&self, unit: usize) -> usize {
        let here = self.words.get(unit / WORD).map_or(0, |word| word.starts);
        // Two shifts, because a shift by 64 overflows.
        let after = here >> (unit % WORD) >> 1;
        if after != 0 {
            return unit + 1 + after.trailing_zeros() as usize;
        }
        self.next_start_after_word(unit / WORD)
    }

    /// The first start in a word after this one, or the end of the map.
    fn next_start_after_word(&self, word: usize) -> usize {
        let mut at = word / WORD;
        let mut bits = self.summary.get(at).map_or(0, |bits| bits & (!0 << (word % WORD) << 1));
        while bits == 0 {
            at += 1;
            match self.summary.get(at) {
                Some(&next) => bits = next,
                None => return self.len,
            }
        }
        let word = at * WORD + bits.trailing_zeros() as usize;
        let starts = self.words.get(word).map_or(0, |word| word.starts);
        word * WORD + starts.trailing_zeros() as usize
    }

    /// The last start at or before `unit`.
    fn last_start(&self, unit: usize) -> usize {
        let here = self.words.get(unit / WORD).map_or(0, |word| word.starts);
        let before = here << (WORD - 1 - unit % WORD);
        if before != 0 {
            return unit - before.leading_zeros() as usize;
        }
        self.last_start_before_word(unit / WORD)
    }

    /// The last start in a word before this one; unit 0 is always a start.
    fn last_start_before_word(&self, word: usize) -> usize {
        let mut at = word / WORD;
        let below = bit(word) - 1;
        let mut bits = self.summary.get(at).map_or(0, |bits| bits & below);
        while bits == 0 && at > 0 {
            at -= 1;
            bits = self.summary.get(at).copied().unwrap_or(0);
        }
        let Some(top) = bits.checked_ilog2() else { return 0 };
        let word = at * WORD + top as usize;
        let starts = self.words.get(word).map_or(0, |word| word.starts);
        word * WORD + starts.checked_ilog2().map_or(0, |top| top as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// A model without bits: the start of each span, its end, and whether it is used.
    struct Naive {
        spans: BTreeMap<usize, (usize, bool)>,
    }

    impl Naive {
        fn free(&mut self, start: usize) -> Option<Range<usize>> {
            let &(end, is_used) = self.spans.get(&start)?;
            if !is_used {
                return None;
            }
            let mut merged = start..end;
            self.spans.remove(&start);
            if let Some(&(end, false)) = self.spans.get(&merged.end) {
                self.spans.remove(&merged.end);
                merged.end = end;
            }
            if let Some((&before, &(end, false))) = self.spans.range(..start).next_back() {
                assert_eq!(end, start);
                merged.start = before;
            }
            self.spans.insert(merged.start, (merged.end, false));
            Some(merged)
        }

        fn allocate(&mut self, free: usize, units: Range<usize>) -> Option<Range<usize>> {
            let &(end, is_used) = self.spans.get(&free)?;
            if is_used || units.is_empty() || units.start < free || units.end > end {
                return None;
            }
            self.spans.remove(&free);
            if free < units.start {
                self.spans.insert(free, (units.start, false));
            }
            self.spans.insert(units.start, (units.end, true));
            if units.end < end {
                self.spans.insert(units.end, (end, false));
            }
            Some(units.end..end)
        }
    }

    /// Deterministic pseudorandom numbers (the MMIX constants of Knuth).
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
                naive.spans.get(&unit).map(|&(end, is_used)| Span { units: unit..end, is_used });
            assert_eq!(map.span_at(unit), expected, "span at {unit}");
            let around = naive.spans.range(..=unit).next_back().filter(|(_, span)| unit < span.0);
            let around =
                around.map(|(&start, &(end, is_used))| Span { units: start..end, is_used });
            assert_eq!(map.span_containing(unit), around, "span around {unit}");
        }
        for (&start, &(end, is_used)) in &naive.spans {
            free += if is_used { 0 } else { end - start };
        }
        assert_eq!(map.free_units(), free);
        let free_spans = naive.spans.iter().filter(|(_, span)| !span.1);
        assert!(map.free_spans().eq(free_spans.map(|(&start, &(end, ..))| start..end)));
    }

    /// Random operations, valid and invalid ones, compared with the model.
    fn compare_with_the_model(len: usize, seed: u64, steps: usize, largest: usize) {
        let mut random = numbers(seed);
        let mut map = SpanMap::new(len).unwrap();
        let mut naive = Naive { spans: BTreeMap::from([(0, (len, false))]) };
        for step in 0..steps {
            let at = random(len + 3);
            let near = naive.spans.range(..=at).next_back().map_or(0, |(&start, _)| start);
            match random(7) {
                0 => assert_eq!(map.free(at), naive.free(at)),
                1 | 2 => assert_eq!(map.free(near), naive.free(near)),
                _ => {
                    let start = near + if random(3) == 0 { random(4) } else { 0 };
                    let units = start..start + random(largest);
                    let from = map.span_at(near).map_or(0..0, |span| span.units);
                    assert_eq!(map.allocate(from, units.clone()), naive.allocate(near, units));
                }
            }
            if step % 16 == 0 || step + 1 == steps {
                agree(&map, &naive, len);
            }
        }
        while let Some((&start, _)) = naive.spans.iter().find(|(_, span)| span.1) {
            assert_eq!(map.free(start), naive.free(start));
        }
        agree(&map, &naive, len);
        assert_eq!(map.span_at(0), Some(Span { units: 0..len, is_used: false }), "all coalesced");
    }

    #[test]
    #[cfg_attr(miri, ignore = "takes minutes in the interpreter")]
    fn span_map_agrees_with_a_naive_model() {
        let steps = 4000;
        for len in [1, 2, 63, 64, 65, 128, 300, 1000] {
            compare_with_the_model(len, len as u64, steps, 20);
        }
        compare_with_the_model(64, 7, steps, 2);
        compare_with_the_model(20_000, 8, steps / 10, 9000);
    }

    #[test]
    fn a_run_as_long_as_the_map_is_found_from_both_ends() {
        let len = 300_000;
        let mut map = SpanMap::new(len).unwrap();
        assert_eq!(map.allocate(0..len, 0..len), Some(len..len));
        assert_eq!(map.span_containing(len - 1), Some(Span { units: 0..len, is_used: true }));
        assert_eq!(map.free(1), None);
        assert_eq!(map.free(0), Some(0..len));
        assert_eq!(map.free(0), None, "twice");
    }
}
