//! Loop-invariant motion: operations that compute the same in every iteration move in front of the loop.
//!
//! An operation is invariant if the loop sets none of the locals that it reads. It moves itself if it is the only one
//! in the loop that sets its destination and the destination is not live at the head of the loop: then every read that
//! follows the head follows the operation, too. Otherwise a new local is set in front of the loop, and the operation
//! becomes a copy of it.
//!
//! Only operations without effects move, from anywhere in the loop. What may trap stays, and so do loads: another thread
//! may store meanwhile. A loop counts only if control enters it at its start.

use alloc::vec::Vec;
use core::ops::RangeInclusive;

use super::edit::{EditableFunction, Insertion, copy, is_pure, scalar_of};
use super::live::Live;
use super::local_map::LocalMap;
use crate::alloc_util::{AllocError, try_push};
use crate::codegen::loops::{Loop, Loops};
use crate::ir::opcode::Opcode;

/// The locals of each class, integers and floats, that a loop may use before values are no longer moved out of it: the
/// registers of a machine, less a few for the temporaries of the loop.
const REGISTERS: [usize; 2] = [9, 11];

/// The values that move in any case, in each class.
const MIN_MOVED: usize = 2;

/// The nesting of loops up to which values move, because each depth takes a pass over the function.
const MAX_DEPTH: u32 = 6;

/// The memory of the pass.
#[derive(Debug, Default)]
pub(super) struct LoopInvariant {
    loops: Loops,
    /// How often the loop sets a local.
    sets: LocalMap<u32>,
    /// The locals that occur in the loop.
    occurs: LocalMap<()>,
    insertions: Vec<Insertion>,
}

impl LoopInvariant {
    /// Moves invariant operations of all loops, the outermost loops first. Whether there were any.
    pub(super) fn run(
        &mut self,
        function: &mut EditableFunction,
        live: &mut Live,
    ) -> Result<bool, AllocError> {
        let mut has_moved = false;
        for depth in 0..MAX_DEPTH {
            self.find_loops(function)?;
            if self.loops.list.iter().all(|loop_| loop_.depth < depth) {
                break;
            }
            live.compute(function)?;
            self.sets.reset(function.locals.len())?;
            self.occurs.reset(function.locals.len())?;
            self.insertions.clear();
            for number in 0..self.loops.list.len() {
                let loop_ = self.loops.list.get(number).copied();
                let is_now = |loop_: &Loop| loop_.depth == depth && loop_.has_single_entry;
                let Some(loop_) = loop_.filter(is_now) else { continue };
                self.process(function, live, loop_)?;
            }
            has_moved |= !self.insertions.is_empty();
            function.rebuild(&self.insertions)?;
        }
        Ok(has_moved)
    }

    /// Finds the loops of `function`, which has no deleted instructions.
    fn find_loops(&mut self, function: &EditableFunction) -> Result<(), AllocError> {
        self.loops.list.clear();
        let jumps = (0u32..).zip(&function.code);
        let jumps = jumps.filter_map(|(source, i)| Some((source, i.target()?)));
        for (source, target) in jumps.clone().filter(|(source, target)| target <= source) {
            self.loops.add(target, source)?;
        }
        self.loops.nest();
        jumps.for_each(|(source, target)| self.loops.note_jump(source, target, MAX_DEPTH));
        Ok(())
    }

    fn process(
        &mut self,
        function: &mut EditableFunction,
        live: &Live,
        loop_: Loop,
    ) -> Result<(), AllocError> {
        let (head, end) = (loop_.start as usize, loop_.end as usize);
        let mut budget = self.gather(function, live, head..=end);
        for index in head..=end {
            self.move_out(function, live, (head, end), index, &mut budget)?;
        }
        Ok(())
    }

    /// Counts what the loop sets, and how many registers it needs anyway.
    fn gather(
        &mut self,
        function: &EditableFunction,
        live: &Live,
        loop_: RangeInclusive<usize>,
    ) -> [usize; 2] {
        self.sets.clear();
        self.occurs.clear();
        let mut used = [0usize; 2];
        for i in function.code.get(loop_).unwrap_or(&[]) {
            if let Some(local) = i.written() {
                let count = self.sets.get(local).unwrap_or(0);
                self.sets.set(local, count.saturating_add(1));
            }
            let mut occurs = |local| {
                if !live.is_block_local(local) && !self.occurs.has(local) {
                    self.occurs.set(local, ());
                    let used = used.get_mut(class_of(function.local_code(local)));
                    used.into_iter().for_each(|used| *used += 1);
                }
            };
            function.reads(i, &mut occurs);
        }
        let mut budget = REGISTERS;
        for (budget, used) in budget.iter_mut().zip(used) {
            *budget = budget.saturating_sub(used).max(MIN_MOVED);
        }
        budget
    }

    /// Moves instruction `index` in front of the loop, if it is invariant and there is a register for its result.
    fn move_out(
        &mut self,
        function: &mut EditableFunction,
        live: &Live,
        (before, loop_end): (usize, usize),
        index: usize,
        budget: &mut [usize; 2],
    ) -> Result<(), AllocError> {
        let Some(mut instruction) = function.get(index).filter(is_pure) else { return Ok(()) };
        let Some(local) = instruction.written() else { return Ok(()) };
        let mut is_invariant = true;
        function
            .reads(&instruction, |local| is_invariant &= self.sets.get(local).unwrap_or(0) == 0);
        let (code, origin) = (function.local_code(local), function.origin(index));
        let class = class_of(code);
        let is_cheap = match instruction.opcode {
            // As cheap as the register that it would need.
            Opcode::Constant => class == 0,
            Opcode::SlotAddress | Opcode::DataAddress => true,
            _ => false,
        };
        let budget = budget.get_mut(class).filter(|budget| **budget > 0);
        let Some(budget) = budget.filter(|_| is_invariant && !is_cheap) else { return Ok(()) };
        let is_only = self.sets.get(local) == Some(1);
        let head = live.block_at(before);
        if is_only && head.is_some_and(|head| !live.is_live_in(head, local)) {
            self.sets.set(local, 0);
            function.delete(index);
        } else if instruction.opcode == Opcode::Move {
            return Ok(());
        } else {
            let Some(new) = function.add_local(code)? else { return Ok(()) };
            instruction.a = new;
            function.set(index, copy(code, local, new));
        }
        *budget -= 1;
        try_push(&mut self.insertions, Insertion { before, loop_end, instruction, origin })
    }
}

/// The register class of a type: 0 for integers and pointers, 1 for floats.
fn class_of(code: u8) -> usize {
    usize::from(scalar_of(code).is_some_and(|scalar| scalar.is_float()))
}
