//! Control flow: jumps to jumps, jumps to the next instruction, and unreachable code.

use alloc::vec::Vec;

use super::edit::{EditableFunction, scalar_of};
use crate::alloc_util::{AllocError, try_push, try_reserve, try_resize};
use crate::ir::instruction::Instruction;
use crate::ir::opcode::Opcode;

/// The memory of the pass.
#[derive(Debug, Default)]
pub(super) struct Control {
    is_reached: Vec<bool>,
    pending: Vec<usize>,
}

/// The longest chain of jumps that one jump follows: chains may be cycles.
const MAX_HOPS: usize = 8;

impl Control {
    /// Simplifies the jumps of `function`.
    pub(super) fn run(&mut self, function: &mut EditableFunction) -> Result<(), AllocError> {
        thread(function);
        self.remove_unreachable(function)?;
        function.rebuild(&[])?;
        remove_useless(function);
        function.rebuild(&[])
    }

    fn remove_unreachable(&mut self, function: &mut EditableFunction) -> Result<(), AllocError> {
        self.is_reached.clear();
        try_resize(&mut self.is_reached, function.len(), false)?;
        self.pending.clear();
        try_push(&mut self.pending, 0)?;
        while let Some(start) = self.pending.pop() {
            self.follow(function, start)?;
        }
        for (index, &is_reached) in self.is_reached.iter().enumerate() {
            if !is_reached {
                function.delete(index);
            }
        }
        Ok(())
    }

    /// Marks the instructions that control falls through from `start`, and notes the targets of branches.
    fn follow(&mut self, function: &EditableFunction, start: usize) -> Result<(), AllocError> {
        let code = function.code.get(start..).unwrap_or(&[]);
        let marks = self.is_reached.get_mut(start..).unwrap_or(&mut []);
        for (i, mark) in code.iter().zip(marks) {
            if core::mem::replace(mark, true) {
                return Ok(());
            }
            if let Some(target) = i.target().and_then(|target| usize::try_from(target).ok()) {
                try_reserve(&mut self.pending, 1)?;
                self.pending.push(target);
            }
            if i.opcode.ends() {
                return Ok(());
            }
        }
        Ok(())
    }
}

/// Lets each jump go to where a chain of jumps ends.
fn thread(function: &mut EditableFunction) {
    for index in 0..function.len() {
        let Some(i) = function.get(index).filter(|i| i.opcode.has_target()) else { continue };
        let mut imm = i.imm;
        for _ in 0..MAX_HOPS {
            let next = usize::try_from(imm).ok().and_then(|target| function.get(target));
            match next {
                Some(next) if next.opcode == Opcode::Jump => imm = next.imm,
                _ => break,
            }
        }
        if imm != i.imm {
            function.set(index, Instruction { imm, ..i });
        }
    }
}

/// Removes jumps to the next instruction.
fn remove_useless(function: &mut EditableFunction) {
    for (index, next) in (0..function.len()).zip(1u32..) {
        if function.get(index).is_some_and(|i| i.target() == Some(next)) {
            function.delete(index);
        }
    }
}

/// The opcode of the branch that is taken where `i` is not.
pub(super) fn inverted(i: &Instruction) -> Option<Opcode> {
    match i.opcode {
        Opcode::BranchIf(expected) => Some(Opcode::BranchIf(!expected)),
        Opcode::Branch(condition) => {
            let is_float = scalar_of(i.type_code).is_none_or(|scalar| scalar.is_float());
            condition.when(false, is_float).map(Opcode::Branch)
        }
        _ => None,
    }
}
