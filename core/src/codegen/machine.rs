//! What the code generator asks of a machine.
//!
//! [`Lowering`] walks over a function, assigns frames, passes arguments and collects traps; a machine encodes. An
//! implementation consists of an assembler, a table of registers, the moves between registers and stack, the frame's
//! prologue and epilogue, and the lowering of one instruction.

use core::fmt::Debug;

use super::CodegenError;
use super::code::Relocation;
use super::frame::StackPlace;
use super::lowering::Lowering;
use super::regalloc::RegisterFile;
use super::unwind::UnwindMachine;
use crate::ir::{Instruction, Scalar};

/// The code that has moved towards the start of the function because a forward jump became short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shift {
    /// Code at and behind this offset has moved.
    pub from: u32,
    /// Bytes by which it has moved.
    pub by: u32,
}

/// An assembler as the machine-independent part uses it. Errors are kept until [`code`](Self::code).
pub(crate) trait MachineAssembler: Debug + Default {
    /// A place in the code.
    type Label: Copy + Debug;

    /// Consecutive labels.
    type Labels: Copy + Debug;

    /// Forgets all code and labels, but not the memory.
    fn clear(&mut self);

    /// A new label.
    fn label(&mut self) -> Self::Label;

    /// `count` new labels.
    fn labels(&mut self, count: usize) -> Self::Labels;

    /// The label with this number.
    fn nth(labels: Self::Labels, number: usize) -> Option<Self::Label>;

    /// Puts a label at the end of the code. Says which code has moved by that.
    fn bind(&mut self, label: Self::Label) -> Option<Shift>;

    /// The length of the code so far. Code may still move when a label is bound.
    fn position(&self) -> u32;

    /// Pads with zeros to a multiple of `alignment`, a power of two. No code behind it moves.
    fn align_data(&mut self, alignment: u32);

    /// Puts down bytes as they are.
    fn data(&mut self, bytes: &[u8]);

    /// Whether a branch does not reach its label. Then the code is cleared, and branches of the next code reach further.
    fn extend_reach(&mut self) -> bool {
        false
    }

    /// The bytes and their relocations, by ascending offset.
    ///
    /// # Errors
    /// The first error since [`clear`](Self::clear).
    fn code(&mut self) -> Result<(&[u8], &[Relocation]), CodegenError>;
}

/// A register of one class.
pub(crate) trait Register<A>: Copy + Debug + PartialEq {
    /// Moves all of a register, and changes no flag.
    fn mov(asm: &mut A, to: Self, from: Self);

    /// Exchanges two registers, and changes no flag. May use a scratch register.
    fn exchange(asm: &mut A, one: Self, other: Self);
}

/// A machine that code is generated for.
///
/// An integer of 8 or 16 bits, or a bool, is held extended to 32 bits, by its sign if it has one. What is above the
/// lower 32 bits of a register is undefined for all types but those of 64 bits. A spill slot holds eight bytes of a
/// register, so that a value has the same form in both.
pub(crate) trait Machine: Debug + Sized {
    /// Encodes instructions.
    type Assembler: MachineAssembler;

    /// An integer register.
    type Int: Register<Self::Assembler>;

    /// A floating-point register.
    type Float: Register<Self::Assembler>;

    /// The registers for locals, and those of the calling convention.
    const REGISTERS: &'static RegisterFile;

    /// What unwind tables need to know.
    const UNWIND: UnwindMachine;

    /// A register that holds no local, not even an argument of a call.
    const INT_SCRATCH: Self::Int;

    /// The integer register with this hardware number.
    fn int(number: u8) -> Self::Int;

    /// The floating-point register with this hardware number.
    fn float(number: u8) -> Self::Float;

    /// Sets up the frame, if the function has one, and states the unwind rows.
    fn enter(lowering: &mut Lowering<'_, '_, Self>);

    /// Loads eight bytes.
    fn load_int(lowering: &mut Lowering<'_, '_, Self>, to: Self::Int, from: StackPlace);

    /// Stores eight bytes.
    fn store_int(lowering: &mut Lowering<'_, '_, Self>, to: StackPlace, from: Self::Int);

    /// Loads eight bytes.
    fn load_float(lowering: &mut Lowering<'_, '_, Self>, to: Self::Float, from: StackPlace);

    /// Stores eight bytes.
    fn store_float(lowering: &mut Lowering<'_, '_, Self>, to: StackPlace, from: Self::Float);

    /// Brings a value of which only its own bits count into the form of a local. Nothing for other types than
    /// those of 8 and 16 bits and bool.
    fn extend(lowering: &mut Lowering<'_, '_, Self>, register: Self::Int, scalar: Scalar);

    /// Sets a local to 0.
    fn zero(lowering: &mut Lowering<'_, '_, Self>, local: u16, scalar: Scalar);

    /// Lowers one instruction. May lower the next one with it ([`Lowering::peek`], [`Lowering::take_next`]).
    fn instruction(lowering: &mut Lowering<'_, '_, Self>, instruction: &Instruction);

    /// Puts down what the trap sites of the function jump to, and what comes behind them but literals and data.
    fn traps(lowering: &mut Lowering<'_, '_, Self>);
}
