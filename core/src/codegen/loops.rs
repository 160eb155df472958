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
    /// Whether no jump that [`Loops::note_jump`] was told of enters the loop elsewhere than at its start.
    pub(crate) has_single_entry: bool,
    /// The innermost loop around it, by number.
    parent: usize,
}

/// The loops of a function, sorted by their starts.
#[derive(Debug, Default)]
pub(crate) struct Loops {
    pub(crate) list: Vec<Loop>,
}

impl Loops {
    /// Adds the loop of a jump back from `end` to `start`.
    pub(crate) fn add(&mut self, start: u32, end: u32) -> Result<(), AllocError> {
        let new = Loop { start, end, depth: 0, has_single_entry: true, parent: NIL };
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
            let depth = self.list.get(around).map_or(0, |outer| outer.depth + 1);
            if let Some(found) = self.list.get_mut(number) {
                (found.parent, found.depth) = (around, depth);
            }
            around = number;
        }
    }

    /// Notes which loops a jump enters elsewhere than at their starts.
    pub(crate) fn note_jump(&mut self, source: u32, target: u32) {
        let mut number = self.innermost(target);
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
        let mut number = after.checked_sub(1).unwrap_or(NIL);
        while let Some(found) = self.list.get(number)
            && found.end < position
        {
            number = found.parent;
        }
        number
    }

    /// The loops that contain a position, the innermost one first.
    pub(crate) fn around(&self, position: u32) -> impl Iterator<Item = &Loop> {
        let innermost = self.list.get(self.innermost(position));
        core::iter::successors(innermost, |inner| self.list.get(inner.parent))
    }

    /// How many loops contain a position, and the next position at which that may differ.
    pub(crate) fn depth_from(&self, position: u32) -> (u32, u32) {
        let after = self.list.partition_point(|found| found.start <= position);
        let next = self.list.get(after).map_or(u32::MAX, |found| found.start);
        match self.around(position).next() {
            Some(found) => (found.depth + 1, next.min(found.end.saturating_add(1))),
            None => (0, next),
        }
    }
}
