//! Live intervals of the locals of a function, and its loops.
//!
//! An [`Interval`] reaches from the first position at which a local may hold a value that is read later to the last one
//! that reads it. It has no holes, so that one scan over the instructions finds it, without a dataflow analysis.
//!
//! Three rules make the intervals safe on every path:
//!
//! 1. A local whose first reference is a read starts at the entry, where it is 0. So does one whose first definition at
//!    `d` may be skipped: a forward edge leads from before `d` to a label between `d` and the end of the interval.
//! 2. A local that is live where a loop begins is live to the end of the loop.
//! 3. Loops are the regions of backward edges, extended until each two are nested or apart.
//!
//! The second rule is applied before the test of the first: an extended interval may have labels that the original one
//! had not.
//!
//! The time is that of a few scans over the instructions; a query for a label between a definition and the end of an
//! interval, or for the loops around a position, takes logarithmic time.

use alloc::vec::Vec;

use super::loops::Loops;
use crate::alloc_util::{AllocError, try_push, try_reserve, try_resize};
use crate::ir::{Access, FunctionInstance, Instruction, Operands};

/// No label.
const NIL: u32 = u32::MAX;

/// Bits of a word of marks.
const WORD: usize = u64::BITS as usize;

/// The deepest nesting of loops that weights tell apart.
const MAX_WEIGHT_DEPTH: u32 = 6;

/// The instructions during which a local needs a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Interval {
    /// The first position, in instructions; 0 for a local that is live at the entry.
    pub(crate) start: u32,
    /// The last position; before `start` where the local is never used.
    pub(crate) end: u32,
    /// References, each counted eight times for every loop around it.
    pub(crate) weight: u32,
    /// Whether the local has its value before the first instruction: parameters, and locals that start at 0.
    pub(crate) is_live_at_entry: bool,
    /// Whether the first reference defines the local.
    starts_by_definition: bool,
}

impl Interval {
    const UNUSED: Self =
        Self { start: 1, end: 0, weight: 0, is_live_at_entry: false, starts_by_definition: false };

    /// Whether the local is referenced anywhere.
    pub(crate) fn is_used(&self) -> bool {
        self.start <= self.end
    }

    /// The position at which the local gets its first value, counted from 1; 0 for the entry.
    pub(crate) fn first_value(&self) -> u32 {
        if self.is_live_at_entry { 0 } else { self.start.saturating_add(1) }
    }

    /// The last position that reads the local, counted from 1.
    pub(crate) fn last_use(&self) -> u32 {
        self.end.saturating_add(1)
    }

    /// Extends the interval to the ends of the loops that it reaches into.
    fn extend(&mut self, loops: &Loops) {
        let outermost = loops.outermost_from(self.end, self.first_value());
        self.end = outermost.map_or(self.end, |found| found.end);
    }

    /// Whether the local is live across the instruction at `position`: defined before and read after.
    #[cfg(test)]
    pub(crate) fn crosses(&self, position: u32) -> bool {
        self.first_value() <= position && position < self.end
    }
}

/// An instruction that a jump leads to.
#[derive(Clone, Copy, Debug)]
struct Target {
    position: u32,
    /// The first one that jumps there forward; [`NIL`] for the target of backward jumps alone.
    first_source: u32,
}

/// The live intervals, labels and loops of one function. Its memory is reused.
#[derive(Debug, Default)]
pub(crate) struct Liveness {
    intervals: Vec<Interval>,
    /// A bit for each instruction that a jump leads to, and the number of bits before each word.
    marks: Vec<u64>,
    ranks: Vec<u32>,
    /// The instructions that a jump leads to, ascending.
    targets: Vec<Target>,
    /// Targets and sources of forward jumps, by ascending source.
    jumps: Vec<(u32, u32)>,
    loops: Loops,
    /// Positions of first references that define, and their locals, ascending.
    definitions: Vec<(u32, u16)>,
    /// Targets of forward jumps and their first sources: the nearest on top, see [`Self::may_be_skipped`].
    labels: Vec<(u32, u32)>,
    /// The positions of calls that return to the function.
    calls: Vec<u32>,
    /// The positions of tail calls.
    tail_calls: Vec<u32>,
    zeroed: Vec<u16>,
}

impl Liveness {
    /// Computes the intervals of `instance`. Where `context` is set, every instruction that can trap reads
    /// parameter 0.
    pub(crate) fn compute(
        &mut self,
        instance: &FunctionInstance<'_, '_>,
        context: bool,
    ) -> Result<(), AllocError> {
        self.clear();
        let body = instance.body();
        try_resize(&mut self.intervals, usize::from(body.locals()), Interval::UNUSED)?;
        try_resize(&mut self.marks, body.len().div_ceil(WORD), 0)?;
        self.find_edges(instance)?;
        self.number_targets()?;
        self.loops.nest();
        self.find_references(instance, context)?;
        let params = instance.body().signature().params.len();
        for interval in self.intervals.iter_mut().take(params).filter(|found| found.is_used()) {
            (interval.start, interval.is_live_at_entry) = (0, true);
        }
        for interval in self.intervals.iter_mut().filter(|found| found.is_used()) {
            interval.extend(&self.loops);
        }
        self.start_skippable_at_entry()
    }

    fn clear(&mut self) {
        self.intervals.clear();
        self.marks.clear();
        self.ranks.clear();
        self.targets.clear();
        self.jumps.clear();
        self.loops.list.clear();
        self.definitions.clear();
        self.labels.clear();
        self.calls.clear();
        self.tail_calls.clear();
        self.zeroed.clear();
    }

    /// The interval of a local.
    #[inline]
    pub(crate) fn interval(&self, local: u16) -> Interval {
        self.intervals.get(usize::from(local)).copied().unwrap_or(Interval::UNUSED)
    }

    /// The word with the mark of an instruction, the number of the first target in it, and the bit of the mark.
    #[inline]
    fn mark(&self, instruction: u32) -> Option<(u64, u32, u64)> {
        let index = usize::try_from(instruction).ok()?;
        let word = *self.marks.get(index / WORD)?;
        Some((word, *self.ranks.get(index / WORD)?, 1 << (index % WORD)))
    }

    /// Whether a jump leads to the instruction.
    #[inline]
    pub(crate) fn is_target(&self, instruction: u32) -> bool {
        self.mark(instruction).is_some_and(|(word, _, bit)| word & bit != 0)
    }

    /// The number of the instruction among those that a jump leads to.
    #[inline]
    pub(crate) fn target_number(&self, instruction: u32) -> Option<usize> {
        let (word, before, bit) =
            self.mark(instruction).filter(|(word, _, bit)| word & bit != 0)?;
        usize::try_from(before + (word & (bit - 1)).count_ones()).ok()
    }

    /// The number of instructions that a jump leads to.
    pub(crate) fn target_count(&self) -> usize {
        self.targets.len()
    }

    /// Whether a backward jump leads to the instruction.
    #[cfg(test)]
    pub(crate) fn is_loop_head(&self, instruction: u32) -> bool {
        self.loops.list.binary_search_by_key(&instruction, |found| found.start).is_ok()
    }

    /// The locals that must be set to 0 at the entry.
    pub(crate) fn zeroed(&self) -> &[u16] {
        &self.zeroed
    }

    /// Whether there is a call that returns to the function.
    pub(crate) fn has_calls(&self) -> bool {
        !self.calls.is_empty()
    }

    /// The positions of calls that return to the function, ascending.
    pub(crate) fn calls(&self) -> impl Iterator<Item = u32> {
        self.calls.iter().copied()
    }

    /// The positions of tail calls, ascending.
    pub(crate) fn tail_calls(&self) -> impl Iterator<Item = u32> {
        self.tail_calls.iter().copied()
    }

    /// Whether `interval` crosses a call.
    #[inline]
    pub(crate) fn crosses_call(&self, interval: &Interval) -> bool {
        let next = self.calls.partition_point(|&call| call < interval.first_value());
        self.calls.get(next).is_some_and(|&call| call < interval.end)
    }

    /// Marks the targets of jumps and collects the regions of backward jumps.
    fn find_edges(&mut self, instance: &FunctionInstance<'_, '_>) -> Result<(), AllocError> {
        for (source, bytes) in (0..).zip(instance.body().instructions) {
            let [code, .., i0, i1, i2, i3] = *bytes;
            if !Access::of_code(code).has(Access::JUMPS) {
                continue;
            }
            let target = u32::from_le_bytes([i0, i1, i2, i3]);
            let index = usize::try_from(target).unwrap_or(usize::MAX);
            if let Some(word) = self.marks.get_mut(index / WORD) {
                *word |= 1 << (index % WORD);
            }
            if target <= source {
                self.loops.add(target, source)?;
            } else {
                try_push(&mut self.jumps, (target, source))?;
            }
        }
        Ok(())
    }

    /// Lists the targets, with the first source of each.
    fn number_targets(&mut self) -> Result<(), AllocError> {
        try_reserve(&mut self.ranks, self.marks.len())?;
        for (number, &word) in (0u32..).zip(&self.marks) {
            self.ranks.push(u32::try_from(self.targets.len()).unwrap_or(NIL));
            let mut left = word;
            while left != 0 {
                let position = number * u64::BITS + left.trailing_zeros();
                try_push(&mut self.targets, Target { position, first_source: NIL })?;
                left &= left - 1;
            }
        }
        for &(target, source) in self.jumps.iter().rev() {
            let number = self.target_number(target);
            if let Some(found) = number.and_then(|number| self.targets.get_mut(number)) {
                found.first_source = source;
            }
        }
        Ok(())
    }

    /// Collects references and calls.
    fn find_references(
        &mut self,
        instance: &FunctionInstance<'_, '_>,
        context: bool,
    ) -> Result<(), AllocError> {
        let (mut weight, mut changes_at) = (1, 0);
        for (position, bytes) in (0u32..).zip(instance.body().instructions) {
            let [code, _, a0, a1, b0, b1, c0, c1, i0, i1, ..] = *bytes;
            let access = Access::of_code(code);
            let [a, b, c] = [[a0, a1], [b0, b1], [c0, c1]].map(u16::from_le_bytes);
            if position >= changes_at {
                let (depth, next) = self.loops.depth_from(position);
                (weight, changes_at) = (1 << (3 * depth.min(MAX_WEIGHT_DEPTH)), next);
            }
            if access.has(Access::READS_A) {
                self.reference(a, position, weight);
            }
            if access.has(Access::READS_B) {
                self.reference(b, position, weight);
            }
            if access.has(Access::READS_C) {
                self.reference(c, position, weight);
            }
            if access.has(Access::READS_OTHER) {
                self.reference(u16::from_le_bytes([i0, i1]), position, weight);
            }
            if access.has(Access::CALLS) {
                let call = Instruction::decode(bytes);
                for local in call.iter().flat_map(|call| call_operands(instance, call)) {
                    self.reference(local, position, weight);
                }
                let is_tail = call.is_some_and(|call| call.opcode.ends());
                let calls = if is_tail { &mut self.tail_calls } else { &mut self.calls };
                try_push(calls, position)?;
            }
            if context && access.has(Access::TRAPS) {
                self.reference(0, position, weight);
            }
            if access.has(Access::WRITES_A) {
                self.define(a, position, weight)?;
            }
        }
        Ok(())
    }

    #[inline]
    fn reference(&mut self, local: u16, position: u32, weight: u32) {
        let Some(interval) = self.intervals.get_mut(usize::from(local)) else { return };
        if !interval.is_used() {
            interval.start = position;
        }
        interval.end = position;
        interval.weight = interval.weight.saturating_add(weight);
    }

    #[inline]
    fn define(&mut self, local: u16, position: u32, weight: u32) -> Result<(), AllocError> {
        let Some(interval) = self.intervals.get_mut(usize::from(local)) else { return Ok(()) };
        let is_first = !interval.is_used();
        if is_first {
            (interval.start, interval.starts_by_definition) = (position, true);
        }
        interval.end = position;
        interval.weight = interval.weight.saturating_add(weight);
        if is_first { try_push(&mut self.definitions, (position, local)) } else { Ok(()) }
    }

    /// Applies the first rule.
    fn start_skippable_at_entry(&mut self) -> Result<(), AllocError> {
        let mut definitions = self.definitions.len();
        let mut target = self.targets.len();
        while let Some(last) = definitions.checked_sub(1) {
            definitions = last;
            let Some(&(position, local)) = self.definitions.get(last) else { break };
            while let Some(&found) = target.checked_sub(1).and_then(|last| self.targets.get(last))
                && found.position > position
            {
                target -= 1;
                self.push_label(found)?;
            }
            let interval = self.interval(local);
            // A parameter has its value at the entry whatever comes first.
            if !interval.is_live_at_entry && self.may_be_skipped(position, interval.end) {
                self.start_at_entry(local)?;
            }
        }
        // A first reference that reads is not among the definitions.
        for index in 0..self.intervals.len() {
            let local = u16::try_from(index).unwrap_or(u16::MAX);
            let interval = self.interval(local);
            if interval.is_used() && !interval.is_live_at_entry && !interval.starts_by_definition {
                self.start_at_entry(local)?;
            }
        }
        Ok(())
    }

    /// Enters a target of forward jumps before those that follow it. It hides those behind it whose first source is not
    /// before its own.
    fn push_label(&mut self, target: Target) -> Result<(), AllocError> {
        let Target { position, first_source } = target;
        if first_source == NIL {
            return Ok(());
        }
        while self.labels.last().is_some_and(|&(_, known)| known >= first_source) {
            self.labels.pop();
        }
        try_push(&mut self.labels, (position, first_source))
    }

    /// Whether a forward jump leads from before `definition` to a place behind it, up to `end`. The labels that were
    /// entered are those behind `definition`.
    fn may_be_skipped(&self, definition: u32, end: u32) -> bool {
        let count = self.labels.partition_point(|&(_, source)| source < definition);
        let nearest = count.checked_sub(1).and_then(|index| self.labels.get(index));
        nearest.is_some_and(|&(label, _)| label <= end)
    }

    fn start_at_entry(&mut self, local: u16) -> Result<(), AllocError> {
        let mut interval = self.interval(local);
        (interval.start, interval.is_live_at_entry) = (0, true);
        interval.extend(&self.loops);
        if let Some(place) = self.intervals.get_mut(usize::from(local)) {
            *place = interval;
        }
        try_push(&mut self.zeroed, local)
    }
}

/// The locals that a call passes.
pub(crate) fn call_operands<'d>(
    instance: &FunctionInstance<'_, 'd>,
    call: &Instruction,
) -> impl Iterator<Item = u16> + use<'d> {
    let operands = instance.body().operands_of(call);
    operands.into_iter().flat_map(|operands: Operands<'d>| operands.iter())
}

#[cfg(test)]
pub(crate) mod tests;
