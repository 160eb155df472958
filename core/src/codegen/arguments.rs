//! Where arguments are passed by the C calling convention of a machine.

use super::regalloc::RegisterFile;
use crate::ir::Operands;

/// Where an argument is passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ArgumentPlace {
    /// In an integer register, by hardware number.
    Int(u8),
    /// In a floating-point register, by hardware number.
    Float(u8),
    /// On the stack, in bytes from the first argument there.
    Stack(u32),
}

/// Assigns the places of the arguments of one function, in order.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ArgumentPlaces {
    ints: &'static [u8],
    floats: &'static [u8],
    stack: u32,
}

impl ArgumentPlaces {
    pub(crate) fn new(file: &'static RegisterFile) -> Self {
        Self { ints: file.int.arguments, floats: file.float.arguments, stack: 0 }
    }

    /// The place of the next argument.
    #[inline]
    pub(crate) fn next(&mut self, is_float: bool) -> ArgumentPlace {
        let registers = if is_float { &mut self.floats } else { &mut self.ints };
        if let Some((&register, rest)) = registers.split_first() {
            *registers = rest;
            let place = if is_float { ArgumentPlace::Float } else { ArgumentPlace::Int };
            return place(register);
        }
        let offset = self.stack;
        self.stack = offset.saturating_add(8);
        ArgumentPlace::Stack(offset)
    }

    /// Bytes of the arguments on the stack so far.
    pub(crate) fn stack(&self) -> u32 {
        self.stack
    }
}

/// The arguments of a call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CallArguments<'d> {
    pub(crate) operands: Operands<'d>,
    /// The type codes of the callee's parameters.
    pub(crate) params: &'d [u8],
}
