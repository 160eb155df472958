//! Removal of definitions that are never read, and of copies of temporaries.
//!
//! The pass walks each block backwards with the set of live locals. It removes an instruction that only sets a local
//! that is not live. Where a local is copied and is not live after the copy, the instruction that computed it computes
//! the destination instead: `t = a + b; d = t` becomes `d = a + b`, if neither `t` nor `d` occurs in between.

use super::edit::{EditableFunction, is_load, is_pure};
use super::live::Live;
use super::local_map::LocalMap;
use crate::alloc_util::AllocError;
use crate::ir::instruction::{Instruction, NONE};
use crate::ir::opcode::Opcode;

/// The memory of the pass.
#[derive(Debug, Default)]
pub(super) struct Dead {
    /// Whether a local that occurs below in the block is live; for others the sets of the block say it.
    is_live: LocalMap<bool>,
    /// The next instruction below in the block that reads or sets a local.
    occurs_at: LocalMap<usize>,
    /// The copy below of a local that is not live after it.
    copied_at: LocalMap<usize>,
}

impl Dead {
    /// Removes dead definitions and copies from `function`.
    pub(super) fn run(
        &mut self,
        function: &mut EditableFunction,
        live: &mut Live,
    ) -> Result<(), AllocError> {
        live.compute(function)?;
        self.is_live.reset(function.locals.len())?;
        self.occurs_at.reset(function.locals.len())?;
        self.copied_at.reset(function.locals.len())?;
        for (number, block) in live.blocks.iter().enumerate() {
            self.is_live.clear();
            self.occurs_at.clear();
            self.copied_at.clear();
            for index in (block.start..block.end).rev() {
                self.visit(function, live, number, index);
            }
        }
        function.rebuild(&[])
    }

    fn is_live(&self, function: &EditableFunction, live: &Live, block: usize, local: u16) -> bool {
        self.is_live.get(local).unwrap_or_else(|| live.is_live_out(function, block, local))
    }

    fn visit(&mut self, function: &mut EditableFunction, live: &Live, block: usize, index: usize) {
        let Some(mut i) = function.get(index) else { return };
        if let Some(local) = i.written() {
            let is_live = self.is_live(function, live, block, local);
            if !is_live && (is_pure(&i) || is_load(&i)) {
                function.delete(index);
                return;
            }
            if !is_live && i.opcode.is_call() {
                i.a = NONE;
                function.set(index, i);
            } else if let Some(to) = self.forwarded(function, local) {
                // From here to the copy, which is deleted, neither local occurs.
                i.a = to;
                function.set(index, i);
            }
        }
        if let Some(local) = i.written() {
            self.is_live.set(local, false);
            self.occurs_at.set(local, index);
        }
        let is_copy = i.opcode == Opcode::Move && i.a != i.b;
        if is_copy && !self.is_live(function, live, block, i.b) {
            self.copied_at.set(i.b, index);
        }
        function.reads(&i, |local| {
            self.is_live.set(local, true);
            self.occurs_at.set(local, index);
        });
    }

    /// Deletes the only use of `local` below if it is a copy, and returns the destination of that.
    fn forwarded(&mut self, function: &mut EditableFunction, local: u16) -> Option<u16> {
        let at = self.copied_at.get(local)?;
        let Instruction { opcode: Opcode::Move, a: to, b, type_code, .. } = function.get(at)?
        else {
            return None;
        };
        let is_next = |local| self.occurs_at.get(local) == Some(at);
        let is_same_type =
            type_code == function.local_code(local) && type_code == function.local_code(to);
        if b != local || !is_next(local) || !is_next(to) || !is_same_type {
            return None;
        }
        function.delete(at);
        self.copied_at.remove(local);
        self.is_live.set(local, false);
        Some(to)
    }
}
