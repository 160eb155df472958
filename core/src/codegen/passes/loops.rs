//! Loops as intervals of instructions.
//!
//! A jump back to an instruction makes a loop of everything from there to the jump. Loops that overlap are extended
//! until one contains the other. A loop counts only if control enters it at its first instruction; its interval may
//! contain instructions that are not part of the cycle, which makes what is learnt of it cautious, not wrong.

use alloc::vec::Vec;

use super::edit::EditableFunction;
use crate::alloc_util::{AllocError, try_push, try_resize};

/// An interval of instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Loop {
    pub(super) head: usize,
    /// The last instruction.
    pub(super) end: usize,
    /// 0 for a loop inside of no other.
    pub(super) depth: u32,
    /// Whether control enters at the head only.
    pub(super) has_single_entry: bool,
    /// The loop around it, by number.
    parent: Option<usize>,
}

impl Loop {
    fn contains(&self, instruction: usize) -> bool {
        (self.head..=self.end).contains(&instruction)
    }
}

/// Deeper loops are not told apart from the loop around them.
const MAX_DEPTH: u32 = 6;

/// The loops of a function, sorted by their heads.
#[derive(Debug, Default)]
pub(super) struct Loops {
    pub(super) list: Vec<Loop>,
    /// The last jump back to each instruction; [`usize::MAX`] for none.
    ends: Vec<usize>,
    /// The innermost loop of each instruction, by number plus one.
    innermost: Vec<u32>,
    open: Vec<usize>,
}

impl Loops {
    /// Finds the loops of `function`, which has no deleted instructions.
    pub(super) fn find(&mut self, function: &EditableFunction) -> Result<(), AllocError> {
        self.ends.clear();
        try_resize(&mut self.ends, function.len(), usize::MAX)?;
        for (index, i) in function.code.iter().enumerate() {
            let target = i.target().and_then(|target| usize::try_from(target).ok());
            let Some(target) = target.filter(|&target| target <= index) else { continue };
            if let Some(end) = self.ends.get_mut(target) {
                *end = index;
            }
        }
        self.nest()?;
        self.check_entries(function);
        Ok(())
    }

    /// Makes intervals that contain each other or are disjoint. An end is that of the loops inside, too: the list is
    /// made from the back, where the loops inside of a loop are complete.
    fn nest(&mut self) -> Result<(), AllocError> {
        self.list.clear();
        self.open.clear();
        for head in (0..self.ends.len()).rev() {
            let Some(&own) = self.ends.get(head).filter(|&&end| end != usize::MAX) else {
                continue;
            };
            let mut end = own;
            // `open` has the outermost loops so far, the nearest one last.
            while let Some(inner) = self.open.last().and_then(|&inner| self.list.get(inner)) {
                if inner.head > end {
                    break;
                }
                end = end.max(inner.end);
                self.open.pop();
            }
            let loop_ = Loop { head, end, depth: 0, has_single_entry: true, parent: None };
            try_push(&mut self.open, self.list.len())?;
            try_push(&mut self.list, loop_)?;
        }
        self.list.reverse();
        self.set_depths()
    }

    fn set_depths(&mut self) -> Result<(), AllocError> {
        self.open.clear();
        self.innermost.clear();
        try_resize(&mut self.innermost, self.ends.len(), 0)?;
        let mut retained = 0;
        for number in 0..self.list.len() {
            let Some(mut loop_) = self.list.get(number).copied() else { continue };
            while self.parent().is_some_and(|parent| !parent.contains(loop_.head)) {
                self.open.pop();
            }
            loop_.parent = self.open.last().copied();
            loop_.depth = self.parent().map_or(0, |parent| parent.depth.saturating_add(1));
            if loop_.depth >= MAX_DEPTH {
                continue;
            }
            try_push(&mut self.open, retained)?;
            if let Some(slot) = self.list.get_mut(retained) {
                *slot = loop_;
            }
            retained += 1;
            let mark = u32::try_from(retained).unwrap_or(0);
            let inside = self.innermost.get_mut(loop_.head..=loop_.end);
            inside.into_iter().for_each(|inside| inside.fill(mark));
        }
        self.list.truncate(retained);
        Ok(())
    }

    fn parent(&self) -> Option<&Loop> {
        self.open.last().and_then(|&parent| self.list.get(parent))
    }

    /// Finds the loops that a jump enters elsewhere than at the head.
    fn check_entries(&mut self, function: &EditableFunction) {
        for (index, i) in function.code.iter().enumerate() {
            let Some(target) = i.target().and_then(|target| usize::try_from(target).ok()) else {
                continue;
            };
            let innermost = self.innermost.get(target).and_then(|&number| number.checked_sub(1));
            let mut number = innermost.and_then(|number| usize::try_from(number).ok());
            while let Some(loop_) = number.and_then(|number| self.list.get_mut(number)) {
                if loop_.contains(index) {
                    break;
                }
                loop_.has_single_entry &= loop_.head == target;
                number = loop_.parent;
            }
        }
    }
}
