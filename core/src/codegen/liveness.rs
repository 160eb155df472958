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
//! interval takes logarithmic time.

use alloc::vec::Vec;

use crate::alloc_util::sort::sort_by_key;
use crate::alloc_util::{AllocError, try_push, try_reserve};
use crate::ir::{FunctionInstance, Instruction, Opcode, Operands};

/// No loop, no label.
const NIL: u32 = u32::MAX;

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
}

impl Interval {
    const UNUSED: Self = Self { start: 1, end: 0, weight: 0, is_live_at_entry: false };

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

    /// Whether the local is live across the instruction at `position`: defined before and read after.
    #[cfg(test)]
    pub(crate) fn crosses(&self, position: u32) -> bool {
        self.first_value() <= position && position < self.end
    }
}

/// A loop: the instructions between the target of backward jumps and the last one of these jumps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Loop {
    start: u32,
    end: u32,
    /// The innermost loop around it.
    parent: u32,
}

/// The live intervals, labels and loops of one function. Its memory is reused.
#[derive(Debug, Default)]
pub(crate) struct Liveness {
    intervals: Vec<Interval>,
    /// For each instruction that a forward jump leads to, the first one that jumps there; [`NIL`] for the others.
    first_sources: Vec<u32>,
    is_target: Vec<bool>,
    loops: Vec<Loop>,
    /// Positions of first references that define, and their locals, ascending.
    definitions: Vec<(u32, u16)>,
    /// Targets of forward jumps and their first sources: the nearest on top, see [`Self::may_be_skipped`].
    labels: Vec<(u32, u32)>,
    /// Calls that return to the function, with the sum of the weights up to them.
    calls: Vec<(u32, u32)>,
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
        try_reserve(&mut self.intervals, usize::from(body.locals()))?;
        self.intervals.resize(usize::from(body.locals()), Interval::UNUSED);
        try_reserve(&mut self.first_sources, body.len())?;
        self.first_sources.resize(body.len(), NIL);
        try_reserve(&mut self.is_target, body.len())?;
        self.is_target.resize(body.len(), false);
        self.find_edges(instance)?;
        self.nest_loops();
        self.find_references(instance, context)?;
        let params = instance.body().signature().params.len();
        for interval in self.intervals.iter_mut().take(params).filter(|found| found.is_used()) {
            (interval.start, interval.is_live_at_entry) = (0, true);
        }
        self.extend_all();
        self.start_skippable_at_entry()
    }

    fn clear(&mut self) {
        self.intervals.clear();
        self.first_sources.clear();
        self.is_target.clear();
        self.loops.clear();
        self.definitions.clear();
        self.labels.clear();
        self.calls.clear();
        self.zeroed.clear();
    }

    /// The interval of a local.
    #[inline]
    pub(crate) fn interval(&self, local: u16) -> Interval {
        self.intervals.get(usize::from(local)).copied().unwrap_or(Interval::UNUSED)
    }

    /// Whether a jump leads to the instruction.
    #[inline]
    pub(crate) fn is_target(&self, instruction: u32) -> bool {
        usize::try_from(instruction)
            .ok()
            .and_then(|index| self.is_target.get(index))
            .is_some_and(|&is_target| is_target)
    }

    /// Whether a backward jump leads to the instruction.
    #[cfg(test)]
    pub(crate) fn is_loop_head(&self, instruction: u32) -> bool {
        self.loops.binary_search_by_key(&instruction, |found| found.start).is_ok()
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
        self.calls.iter().map(|&(position, _)| position)
    }

    /// The sum of the weights of the calls that `interval` crosses.
    pub(crate) fn crossed_calls(&self, interval: &Interval) -> u32 {
        let before = |position: u32| {
            let count = self.calls.partition_point(|&(call, _)| call < position);
            count.checked_sub(1).and_then(|last| self.calls.get(last)).map_or(0, |&(_, sum)| sum)
        };
        before(interval.end).saturating_sub(before(interval.first_value()))
    }

    /// Marks labels and collects the regions of backward jumps.
    fn find_edges(&mut self, instance: &FunctionInstance<'_, '_>) -> Result<(), AllocError> {
        for (source, instruction) in (0..).zip(instance.body().instructions()) {
            let Some(target) = instruction.and_then(|instruction| instruction.target()) else {
                continue;
            };
            let index = usize::try_from(target).unwrap_or(usize::MAX);
            if let Some(mark) = self.is_target.get_mut(index) {
                *mark = true;
            }
            if target <= source {
                try_push(&mut self.loops, Loop { start: target, end: source, parent: NIL })?;
            } else if let Some(first) = self.first_sources.get_mut(index) {
                *first = source.min(*first);
            }
        }
        Ok(())
    }

    /// Merges loops of one head, extends loops that overlap until they are nested, and links each to the innermost
    /// one around it.
    fn nest_loops(&mut self) {
        sort_by_key(&mut self.loops, |found| (found.start, core::cmp::Reverse(found.end)));
        self.loops.dedup_by_key(|found| found.start);
        let mut around = NIL;
        for index in 0..self.loops.len() {
            let Some(&Loop { start, end, .. }) = self.loops.get(index) else { break };
            while self.loop_at(around).is_some_and(|outer| outer.end < start) {
                around = self.parent(around);
            }
            let mut outer = around;
            while let Some(found) = self.loop_mut(outer) {
                found.end = found.end.max(end);
                outer = found.parent;
            }
            let number = u32::try_from(index).unwrap_or(NIL);
            if let Some(found) = self.loop_mut(number) {
                found.parent = around;
            }
            around = number;
        }
    }

    fn loop_at(&self, number: u32) -> Option<Loop> {
        self.loops.get(usize::try_from(number).ok()?).copied()
    }

    fn loop_mut(&mut self, number: u32) -> Option<&mut Loop> {
        self.loops.get_mut(usize::try_from(number).ok()?)
    }

    fn parent(&self, number: u32) -> u32 {
        self.loop_at(number).map_or(NIL, |found| found.parent)
    }

    /// The innermost loop that contains a position.
    fn loop_around(&self, position: u32) -> u32 {
        let after = self.loops.partition_point(|found| found.start <= position);
        let last = after.checked_sub(1).and_then(|last| u32::try_from(last).ok());
        let mut number = last.unwrap_or(NIL);
        while self.loop_at(number).is_some_and(|found| found.end < position) {
            number = self.parent(number);
        }
        number
    }

    /// Collects references, calls and the labels of forward jumps.
    fn find_references(
        &mut self,
        instance: &FunctionInstance<'_, '_>,
        context: bool,
    ) -> Result<(), AllocError> {
        let (mut around, mut next_loop, mut depth, mut calls) = (NIL, 0u32, 0u32, 0u32);
        for (position, instruction) in (0u32..).zip(instance.body().instructions()) {
            let Some(instruction) = instruction else { continue };
            while self.loop_at(around).is_some_and(|found| found.end < position) {
                (around, depth) = (self.parent(around), depth.saturating_sub(1));
            }
            if self.loop_at(next_loop).is_some_and(|found| found.start == position) {
                (around, next_loop, depth) = (next_loop, next_loop + 1, depth + 1);
            }
            let weight = 1u32 << (3 * depth.min(MAX_WEIGHT_DEPTH));
            for local in instruction.read().into_iter().flatten() {
                self.reference(local, position, weight);
            }
            if instruction.opcode.is_call() {
                for local in call_operands(instance, &instruction) {
                    self.reference(local, position, weight);
                }
                if !instruction.opcode.ends() {
                    calls = calls.saturating_add(weight);
                    try_push(&mut self.calls, (position, calls))?;
                }
            }
            if context && can_trap(&instruction) {
                self.reference(0, position, weight);
            }
            if let Some(local) = instruction.written() {
                if !self.interval(local).is_used() {
                    try_push(&mut self.definitions, (position, local))?;
                }
                self.reference(local, position, weight);
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

    /// Applies the second rule to every interval.
    fn extend_all(&mut self) {
        if self.loops.is_empty() {
            return;
        }
        for index in 0..self.intervals.len() {
            let Some(&interval) = self.intervals.get(index).filter(|found| found.is_used()) else {
                continue;
            };
            let end = self.extended_end(&interval);
            self.intervals.get_mut(index).into_iter().for_each(|found| found.end = end);
        }
    }

    /// The last position at which an interval must hold, for the sake of the loops that it reaches into.
    fn extended_end(&self, interval: &Interval) -> u32 {
        let (mut end, mut number) = (interval.end, self.loop_around(interval.end));
        while let Some(found) = self.loop_at(number) {
            if interval.first_value() > found.start {
                break;
            }
            end = end.max(found.end);
            number = found.parent;
        }
        end
    }

    /// Applies the first rule.
    fn start_skippable_at_entry(&mut self) -> Result<(), AllocError> {
        let mut definitions = self.definitions.len();
        let mut label = u32::try_from(self.first_sources.len()).unwrap_or(NIL);
        while let Some(last) = definitions.checked_sub(1) {
            definitions = last;
            let Some(&(position, local)) = self.definitions.get(last) else { break };
            while label > position.saturating_add(1) {
                label -= 1;
                self.push_label(label)?;
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
            let defines = || {
                let found = self.definitions.binary_search_by_key(&interval.start, |&(at, _)| at);
                found.ok().and_then(|found| self.definitions.get(found)).map(|&(_, found)| found)
            };
            let is_candidate = interval.is_used() && !interval.is_live_at_entry;
            if is_candidate && defines() != Some(local) {
                self.start_at_entry(local)?;
            }
        }
        Ok(())
    }

    /// Enters the label at `position`, if one stands there, before those that follow it. A label hides those behind it
    /// whose first source is not before its own.
    fn push_label(&mut self, position: u32) -> Result<(), AllocError> {
        let index = usize::try_from(position).unwrap_or(usize::MAX);
        let source = self.first_sources.get(index).copied().unwrap_or(NIL);
        if source == NIL {
            return Ok(());
        }
        while self.labels.last().is_some_and(|&(_, known)| known >= source) {
            self.labels.pop();
        }
        try_push(&mut self.labels, (position, source))
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
        interval.end = self.extended_end(&interval);
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
    let body = instance.body();
    let callee = body.callee(call.b).ok();
    let operands = callee.and_then(|callee| body.call_operands(call, &callee));
    operands.into_iter().flat_map(|operands: Operands<'d>| operands.iter())
}

/// Whether an instruction has a trap of its own.
pub(crate) fn can_trap(instruction: &Instruction) -> bool {
    match instruction.opcode {
        Opcode::Trap | Opcode::TrapCompare(_) | Opcode::TrapIf(_) | Opcode::CheckStack => true,
        Opcode::Binary(binary) => binary.can_trap(),
        _ => false,
    }
}

#[cfg(test)]
pub(crate) mod tests;
