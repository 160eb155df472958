//! Loop rotation: a loop that tests its condition first tests it last.
//!
//! A jump back to a short block that ends in a branch out of the loop becomes a copy of that block, whose branch goes
//! back to the instruction behind it. Every iteration executes one jump less, and the first block becomes a guard:
//! what follows it is executed by the first iteration, so that more can move in front of the loop.

use alloc::vec::Vec;

use super::control::inverted;
use super::edit::{EditableFunction, Insertion, plain};
use crate::alloc_util::{AllocError, try_push};
use crate::ir::instruction::Instruction;
use crate::ir::opcode::Opcode;

/// The instructions of the first block in front of its branch.
const MAX_COPIED: usize = 3;

/// The memory of the pass.
#[derive(Debug, Default)]
pub(super) struct Rotate {
    targets: Vec<bool>,
    insertions: Vec<Insertion>,
}

impl Rotate {
    /// Rotates the loops of `function`, which has no deleted instructions.
    pub(super) fn run(&mut self, function: &mut EditableFunction) -> Result<(), AllocError> {
        function.targets(&mut self.targets)?;
        self.insertions.clear();
        for index in 0..function.len() {
            let Some(i) = function.get(index).filter(|i| i.opcode == Opcode::Jump) else {
                continue;
            };
            let head = i.target().and_then(|target| usize::try_from(target).ok());
            let Some(head) = head.filter(|&head| head < index) else { continue };
            if let Some((branch, exit)) = self.test_of(function, head, index) {
                self.rotate(function, head, branch, index)?;
                function.set(index, plain(Opcode::Jump, 0, [0; 3], exit));
            }
        }
        function.rebuild(&self.insertions)
    }

    /// The branch that ends the block at `head`, if it leaves the loop, and its target.
    fn test_of(
        &self,
        function: &EditableFunction,
        head: usize,
        jump: usize,
    ) -> Option<(usize, i32)> {
        let end = head.saturating_add(MAX_COPIED).min(jump.checked_sub(2)?);
        for index in head..=end {
            let i = function.get(index)?;
            let is_joined = index != head && self.targets.get(index) == Some(&true);
            if is_joined || i.opcode.ends() || i.opcode.is_call() {
                return None;
            }
            if let Some(target) = i.target() {
                let target = usize::try_from(target).ok()?;
                let is_exit = !(head..=jump).contains(&target);
                return inverted(&i).filter(|_| is_exit).map(|_| (index, i.imm));
            }
        }
        None
    }

    /// Inserts the copy of the block from `head` to `branch` in front of `jump`.
    fn rotate(
        &mut self,
        function: &EditableFunction,
        head: usize,
        branch: usize,
        jump: usize,
    ) -> Result<(), AllocError> {
        for index in head..=branch {
            let Some(mut instruction) = function.get(index) else { continue };
            if index == branch {
                let back = branch.checked_add(1).and_then(|back| i32::try_from(back).ok());
                let (Some(opcode), Some(imm)) = (inverted(&instruction), back) else { continue };
                instruction = Instruction { opcode, imm, ..instruction };
            }
            let origin = function.origin(index);
            // Jumps to the jump execute the copy.
            let insertion = Insertion { before: jump, loop_end: 0, instruction, origin };
            try_push(&mut self.insertions, insertion)?;
        }
        Ok(())
    }
}
