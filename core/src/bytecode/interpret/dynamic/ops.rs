//! A function in the form that is run with values of dynamic kinds: its instructions, whose jumps lead to the number
//! of an instruction.

use alloc::vec::Vec;

use crate::alloc_util::{AllocError, try_push};
use crate::bytecode::instruction::{Instruction, Instructions, target};
use crate::bytecode::verify::FunctionCode;
use crate::trap::bytecode::activation_charge;

/// A verified function.
#[derive(Debug)]
pub(super) struct DynamicOps {
    /// The instructions. The distance of a jump is the number of the instruction that it leads to.
    instructions: Vec<Instruction>,
    /// Where each instruction starts, and where the code ends.
    offsets: Vec<u32>,
    pub(super) locals: usize,
    pub(super) max_stack_depth: u32,
    /// What an activation is charged, in bytes.
    pub(super) charge: u64,
}

impl DynamicOps {
    pub(super) fn new(
        function: FunctionCode<'_>,
        max_stack_depth: u32,
    ) -> Result<Self, AllocError> {
        let (mut instructions, mut offsets) = (Vec::new(), Vec::new());
        for (at, instruction) in Instructions::new(function.code).flatten() {
            try_push(&mut instructions, instruction)?;
            try_push(&mut offsets, at)?;
        }
        try_push(&mut offsets, u32::try_from(function.code.len()).unwrap_or(u32::MAX))?;
        for (instruction, &at) in instructions.iter_mut().zip(&offsets) {
            let size = instruction.size();
            let Some(distance) = jump_mut(instruction) else { continue };
            let to = u32::try_from(target(at, size, *distance)).unwrap_or(u32::MAX);
            let number = offsets.binary_search(&to).unwrap_or(usize::MAX);
            *distance = i32::try_from(number).unwrap_or(i32::MAX);
        }
        let charge = activation_charge(function.locals, max_stack_depth);
        let locals = function.locals.into();
        Ok(Self { instructions, offsets, locals, max_stack_depth, charge })
    }

    /// The instruction with this number; `None` at the end of the code.
    pub(super) fn get(&self, number: usize) -> Option<Instruction> {
        self.instructions.get(number).copied()
    }

    /// Where an instruction starts.
    pub(super) fn offset(&self, number: usize) -> u32 {
        self.offsets.get(number).copied().unwrap_or(0)
    }
}

/// The distance of a jump.
fn jump_mut(instruction: &mut Instruction) -> Option<&mut i32> {
    match instruction {
        Instruction::Jmp { offset }
        | Instruction::JmpIf { offset }
        | Instruction::JmpIfNot { offset }
        | Instruction::LtJmpIfNot { offset }
        | Instruction::EqJmpIfNot { offset } => Some(offset),
        _ => None,
    }
}
