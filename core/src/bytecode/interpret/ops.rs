//! Functions in the form in which both interpreters run them: their instructions, whose jumps lead to the number of an
//! instruction, and what comparisons compare where the code decides it.

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::alloc_util::{AllocError, try_box, try_push, try_reserve, try_resize};
use crate::bytecode::instruction::{Instruction, Instructions, target};
use crate::bytecode::verify::{Facts, FunctionCode, Program};
use crate::trap::bytecode::{Cause, activation_charge};

/// Two values of which at least one is a float.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Floats {
    left_is_float: bool,
    right_is_float: bool,
}

impl Floats {
    /// The numbers that are compared; an integer is converted.
    #[inline]
    pub(super) fn of(self, left: u64, right: u64) -> (f64, f64) {
        let convert = |value: u64, is_float: bool| {
            // Rounds to nearest: a float has fewer digits than an integer of 64 bits.
            if is_float { f64::from_bits(value) } else { value.cast_signed() as f64 }
        };
        (convert(left, self.left_is_float), convert(right, self.right_is_float))
    }
}

/// A verified function.
#[derive(Debug)]
pub(super) struct Ops {
    /// The instructions. The distance of a jump is the number of the instruction that it leads to.
    pub(super) instructions: Vec<Instruction>,
    /// For each instruction the floats that it compares; empty where no instruction does.
    pub(super) floats: Vec<Option<Floats>>,
    /// Where each instruction starts, and where the code ends.
    offsets: Vec<u32>,
    pub(super) params: usize,
    pub(super) locals: usize,
    /// The most values that the operand stack holds.
    pub(super) max_stack_depth: u32,
    /// What an activation is charged, in bytes.
    pub(super) charge: u64,
}

impl Ops {
    /// A function whose values have their kinds with them.
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
            let Some(distance) = instruction.jump_offset_mut() else { continue };
            let to = u32::try_from(target(at, size, *distance)).unwrap_or(u32::MAX);
            let number = offsets.binary_search(&to).unwrap_or(usize::MAX);
            *distance = i32::try_from(number).unwrap_or(i32::MAX);
        }
        let charge = activation_charge(function.locals, max_stack_depth);
        let (params, locals) = (function.params.into(), function.locals.into());
        let floats = Vec::new();
        Ok(Self { instructions, floats, offsets, params, locals, max_stack_depth, charge })
    }

    /// A function whose kinds the verifier knows.
    pub(super) fn typed(facts: &Facts<'_, '_>) -> Result<Self, AllocError> {
        let mut ops = Self::new(facts.function, facts.max_stack_depth())?;
        for (number, &at) in ops.offsets.iter().enumerate() {
            let Some([left_is_float, right_is_float]) = facts.compared_floats(at) else { continue };
            try_resize(&mut ops.floats, ops.instructions.len(), None)?;
            if let Some(place) = ops.floats.get_mut(number) {
                *place = Some(Floats { left_is_float, right_is_float });
            }
        }
        Ok(ops)
    }

    /// The instruction with this number; `None` at the end of the code.
    pub(super) fn get(&self, number: usize) -> Option<Instruction> {
        self.instructions.get(number).copied()
    }

    /// Where an instruction starts.
    pub(super) fn offset(&self, number: usize) -> u32 {
        self.offsets.get(number).copied().unwrap_or(0)
    }

    /// How many values an activation has room for.
    pub(super) fn values(&self) -> usize {
        self.locals + usize::try_from(self.max_stack_depth).unwrap_or(usize::MAX >> 1)
    }
}

/// The functions of a program that have been called.
#[derive(Debug, Default)]
pub(super) struct CalledFunctions(Vec<Option<Box<Ops>>>);

impl CalledFunctions {
    /// A function that has been called.
    pub(super) fn get(&self, function: u32) -> Option<&Ops> {
        self.0.get(usize::try_from(function).ok()?)?.as_deref()
    }

    /// A function, which its first call makes; `None` when there is no such function.
    pub(super) fn get_or_make(
        &mut self,
        program: &Program<'_>,
        function: u32,
        make: impl FnOnce() -> Result<Option<Ops>, Cause>,
    ) -> Result<Option<&Ops>, Cause> {
        if self.0.is_empty() {
            let count = program.functions().len();
            try_reserve(&mut self.0, count)?;
            self.0.resize_with(count, || None);
        }
        let index = usize::try_from(function).unwrap_or(usize::MAX);
        let Some(place) = self.0.get_mut(index) else { return Ok(None) };
        if place.is_none()
            && let Some(ops) = make()?
        {
            *place = Some(try_box(ops)?);
        }
        Ok(place.as_deref())
    }
}
