//! Loop-invariant motion: operations that compute the same in every iteration move in front of the loop.
//!
//! An operation is invariant if the loop sets none of the locals that it reads. It moves itself if it is the only one
//! in the loop that sets its destination and the destination is not live at the head of the loop: then every read that
//! follows the head follows the operation, too. Otherwise a new local is set in front of the loop, and the operation
//! becomes a copy of it.
//!
//! Operations without effects move from anywhere in the loop. What may trap moves only from the instructions that the
//! first iteration executes before anything else that can be observed. Loads stay: another thread may store meanwhile.

use alloc::vec::Vec;

use super::edit::{self, EditableFunction, Insertion, copy, is_pure, scalar_of};
use super::live::Live;
use super::local_map::LocalMap;
use super::loops::{Loop, Loops};
use crate::alloc_util::{AllocError, try_push};
use crate::ir::instruction::Instruction;
use crate::ir::opcode::Opcode;

/// The locals of each class, integers and floats, that a loop may use before values are no longer moved out of it: the
/// registers of a machine, less a few for the temporaries of the loop.
const REGISTERS: [usize; 2] = [9, 11];

/// The values that move in any case, in each class.
const MIN_MOVED: usize = 2;

/// The memory of the pass.
#[derive(Debug, Default)]
pub(super) struct LoopInvariant {
    loops: Loops,
    /// How often the loop sets a local.
    sets: LocalMap<u32>,
    /// The locals that occur in the loop.
    occurs: LocalMap<()>,
    insertions: Vec<Insertion>,
    targets: Vec<bool>,
}

/// The properties of the loop that is being processed.
#[derive(Clone, Copy, Debug, Default)]
struct Facts {
    /// The values that may still move, by class.
    budget: [usize; 2],
    /// Every iteration executes the instruction, and nothing before it can be observed.
    is_certain: bool,
}

impl LoopInvariant {
    /// Moves invariant operations of all loops, the outermost loops first. Whether there were any.
    pub(super) fn run(
        &mut self,
        function: &mut EditableFunction,
        live: &mut Live,
    ) -> Result<bool, AllocError> {
        let mut has_moved = false;
        let mut depth = 0;
        loop {
            self.loops.find(function)?;
            if self.loops.list.iter().all(|loop_| loop_.depth < depth) {
                return Ok(has_moved);
            }
            live.compute(function)?;
            function.targets(&mut self.targets)?;
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
            depth = depth.saturating_add(1);
        }
    }

    fn process(
        &mut self,
        function: &mut EditableFunction,
        live: &Live,
        loop_: Loop,
    ) -> Result<(), AllocError> {
        let mut facts = self.gather(function, live, loop_);
        facts.is_certain = true;
        for index in loop_.head..=loop_.end {
            let Some(i) = function.get(index) else { continue };
            if index != loop_.head && self.targets.get(index) == Some(&true) {
                facts.is_certain = false;
            }
            let is_movable = self.is_movable(function, &i, &facts);
            let has_moved =
                is_movable && self.move_out(function, live, loop_, index, &mut facts)?;
            if !has_moved {
                let is_observable = edit::can_trap(&i) || edit::is_memory_effect(&i);
                let is_border = i.opcode.has_target() || i.opcode.ends();
                facts.is_certain &= !is_observable && !is_border;
            }
        }
        Ok(())
    }

    /// Counts what the loop sets, and how many registers it needs anyway.
    fn gather(&mut self, function: &EditableFunction, live: &Live, loop_: Loop) -> Facts {
        self.sets.clear();
        self.occurs.clear();
        let mut used = [0usize; 2];
        let mut facts = Facts::default();
        for i in function.code.get(loop_.head..=loop_.end).unwrap_or(&[]) {
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
        for ((budget, used), registers) in facts.budget.iter_mut().zip(used).zip(REGISTERS) {
            *budget = registers.saturating_sub(used).max(MIN_MOVED);
        }
        facts
    }

    fn is_movable(&self, function: &EditableFunction, i: &Instruction, facts: &Facts) -> bool {
        let mut is_invariant = true;
        function.reads(i, |local| is_invariant &= self.sets.get(local).unwrap_or(0) == 0);
        if !is_invariant {
            return false;
        }
        let class = class_of(i.written().map_or(0, |local| function.local_code(local)));
        let has_register = facts.budget.get(class).is_some_and(|&budget| budget > 0);
        match i.opcode {
            // As cheap as the register that it would need.
            Opcode::Constant if class == 0 => false,
            Opcode::SlotAddress | Opcode::DataAddress => false,
            Opcode::TrapCompare(_) | Opcode::TrapIf(_) => facts.is_certain,
            Opcode::Binary(_) if edit::can_trap(i) => facts.is_certain && has_register,
            _ => is_pure(i) && has_register,
        }
    }

    /// Moves instruction `index` in front of the loop. Whether that was possible.
    fn move_out(
        &mut self,
        function: &mut EditableFunction,
        live: &Live,
        loop_: Loop,
        index: usize,
        facts: &mut Facts,
    ) -> Result<bool, AllocError> {
        let Some(mut instruction) = function.get(index) else { return Ok(false) };
        let origin = function.origin(index);
        let Some(local) = instruction.written() else {
            function.delete(index);
            return self.insert(loop_, instruction, origin);
        };
        let code = function.local_code(local);
        let is_only = self.sets.get(local) == Some(1);
        let head = live.block_at(loop_.head);
        if is_only && head.is_some_and(|head| !live.is_live_in(head, local)) {
            self.sets.set(local, 0);
            function.delete(index);
        } else if instruction.opcode == Opcode::Move {
            return Ok(false);
        } else {
            let Some(new) = function.add_local(code)? else { return Ok(false) };
            instruction.a = new;
            function.set(index, copy(code, local, new));
        }
        let budget = facts.budget.get_mut(class_of(code));
        budget.into_iter().for_each(|budget| *budget = budget.saturating_sub(1));
        self.insert(loop_, instruction, origin)
    }

    fn insert(
        &mut self,
        loop_: Loop,
        instruction: Instruction,
        origin: edit::Origin,
    ) -> Result<bool, AllocError> {
        let (before, loop_end) = (loop_.head, loop_.end);
        try_push(&mut self.insertions, Insertion { before, loop_end, instruction, origin })?;
        Ok(true)
    }
}

/// The register class of a type: 0 for integers and pointers, 1 for floats.
fn class_of(code: u8) -> usize {
    usize::from(scalar_of(code).is_some_and(|scalar| scalar.is_float()))
}
