//! The loops of a function, as intervals of instructions.
//!
//! A jump back to an instruction makes a loop of everything from there to the jump. Loops that overlap are extended
//! until each two are nested or apart. An interval may contain instructions that are not part of the cycle, which makes
//! what is learnt of the loop cautious, not wrong.

use alloc::vec::Vec;
use core::cmp::Reverse;

use crate::alloc_util::sort::sort_by_key;
use crate::alloc_util::{AllocError, try_push};

/// The number of no loop.
const NIL: usize = usize::MAX;

/// The instructions between the target of backward jumps and the last one of these jumps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Loop {
    pub(crate) start: u32,
    /// The last instruction.
    pub(crate) end: u32,
    /// 0 for a loop inside of no other.
    pub(crate) depth: u32,
    /// Whether no jump of [`Loops::note_jump`] enters the loop elsewhere than at its start.
    pub(crate) has_single_entry: bool,
    /// The innermost loop around it, by number.
    parent: usize,
    /// A loop around it, by number, that skips others.
    far: usize,
}

/// The loops of a function, sorted by their starts.
#[derive(Debug, Default)]
pub(crate) struct Loops {
    pub(crate) list: Vec<Loop>,
}

impl Loops {
    /// Adds the loop of a jump back from `end` to `start`.
    pub(crate) fn add(&mut self, start: u32, end: u32) -> Result<(), AllocError> {
        let new = Loop { start, end, depth: 0, has_single_entry: true, parent: NIL, far: NIL };
        try_push(&mut self.list, new)
    }

    /// Merges loops of one start, extends loops that overlap until they are nested, and links each to the innermost one
    /// around it.
    pub(crate) fn nest(&mut self) {
        sort_by_key(&mut self.list, |found| (found.start, Reverse(found.end)));
        self.list.dedup_by_key(|found| found.start);
        let mut around = NIL;
        // Behind the last loop, those around it end.
        for number in 0..=self.list.len() {
            let start = self.list.get(number).map_or(u32::MAX, |found| found.start);
            while let Some(&Loop { end, parent, .. }) = self.list.get(around)
                && end < start
            {
                if let Some(outer) = self.list.get_mut(parent) {
                    outer.end = outer.end.max(end);
                }
                around = parent;
            }
            let (depth, far) = (self.depth_in(around), self.far_from(around));
            if let Some(found) = self.list.get_mut(number) {
                (found.parent, found.depth, found.far) = (around, depth, far);
            }
            around = number;
        }
    }

    /// The depth of a loop whose parent is `parent`.
    fn depth_in(&self, parent: usize) -> u32 {
        self.list.get(parent).map_or(0, |outer| outer.depth + 1)
    }

    /// The far loop of one whose parent is `parent`: where two skips of the same length follow each other from there, one
    /// skips both.
    fn far_from(&self, parent: usize) -> usize {
        let far_of = |number: usize| self.list.get(number).map_or(NIL, |found| found.far);
        let (one, two) = (far_of(parent), far_of(far_of(parent)));
        let [from, middle, to] = [parent, one, two].map(|number| self.depth_in(number));
        if from - middle == middle - to { two } else { parent }
    }

    /// The last loop from `number` outwards of those for which `holds` is true, and the number of the next one outwards.
    /// Around a loop for which it is false, it must be false for all.
    fn climb(&self, mut number: usize, holds: impl Fn(&Loop) -> bool) -> (Option<&Loop>, usize) {
        let mut last = None;
        while let Some(found) = self.list.get(number).filter(|found| holds(found)) {
            last = Some(found);
            let skips = self.list.get(found.far).is_some_and(&holds);
            number = if skips { found.far } else { found.parent };
        }
        (last, number)
    }

    /// Notes which loops inside of fewer than `depth` others a jump enters elsewhere than at their starts.
    pub(crate) fn note_jump(&mut self, source: u32, target: u32, depth: u32) {
        let mut number = self.climb(self.innermost(target), |found| found.depth >= depth).1;
        while let Some(found) = self.list.get_mut(number)
            && !(found.start..=found.end).contains(&source)
        {
            found.has_single_entry &= found.start == target;
            number = found.parent;
        }
    }

    /// The number of the innermost loop that contains a position.
    fn innermost(&self, position: u32) -> usize {
        let after = self.list.partition_point(|found| found.start <= position);
        self.climb(after.checked_sub(1).unwrap_or(NIL), |found| found.end < position).1
    }

    /// The outermost loop that contains a position and does not start before `first`.
    pub(crate) fn outermost_from(&self, position: u32, first: u32) -> Option<&Loop> {
        self.climb(self.innermost(position), |found| first <= found.start).0
    }

    /// How many loops contain a position, and the next position at which that may differ.
    pub(crate) fn depth_from(&self, position: u32) -> (u32, u32) {
        let after = self.list.partition_point(|found| found.start <= position);
        let next = self.list.get(after).map_or(u32::MAX, |found| found.start);
        match self.list.get(self.innermost(position)) {
            Some(found) => (found.depth + 1, next.min(found.end.saturating_add(1))),
            None => (0, next),
        }
    }
}

#[cfg(test)]
mod tests {
    use core::cell::Cell;

    use super::*;

    #[test]
    fn search_in_nested_loops_takes_few_steps() {
        const COUNT: u32 = 1 << 14;
        let mut loops = Loops::default();
        (0..COUNT).for_each(|start| loops.add(start, 3 * COUNT - start).unwrap());
        loops.nest();
        for start in (0..COUNT).step_by(97) {
            let steps = Cell::new(0);
            let (last, next) = loops.climb(COUNT as usize - 1, |found| {
                steps.set(steps.get() + 1);
                start < found.start
            });
            assert_eq!(last.map(|last| last.start), (start + 1 < COUNT).then_some(start + 1));
            assert_eq!(next, start as usize);
            assert!(steps.get() <= 100, "{} steps from {COUNT} to {start}", steps.get());
            assert_eq!(loops.depth_from(start), (start + 1, start + 1));
        }
        assert_eq!(loops.outermost_from(COUNT, 7).map(|found| found.start), Some(7));
        assert_eq!(loops.outermost_from(3 * COUNT + 1, 0), None);
    }
}
