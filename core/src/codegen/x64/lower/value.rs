//! Reading and writing locals, constants and moves.

use super::{Lower, X64, float_of, width_of};
use crate::codegen::frame::StackPlace;
use crate::codegen::locals::extended;
use crate::codegen::lowering::Machine;
use crate::codegen::regalloc::Location;
use crate::codegen::x64::encode::GprOperand;
use crate::codegen::x64::operand::{
    Float, Gpr, GprOrStack, Mem, Rip, W8, W16, W32, W64, Xmm, XmmOrMem,
};
use crate::codegen::x64::row::Bitwise;
use crate::codegen::x64::source::Source;
use crate::ir::interpret::number;
use crate::ir::{Instruction, Scalar};

/// A second value of an integer operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Right {
    Operand(GprOrStack),
    Number(i32),
}

/// The number as an instruction of 32 or 64 bits carries it, in the form of a local.
pub(super) fn immediate(value: i32, scalar: Scalar) -> i32 {
    match scalar {
        Scalar::I8 => i32::from(value.to_le_bytes()[0].cast_signed()),
        Scalar::I16 => value << 16 >> 16,
        _ if scalar.bits() < 32 => i32::try_from(number(value, scalar)).unwrap_or(0),
        _ => value,
    }
}

impl Lower<'_, '_> {
    /// The spill slot of a local.
    fn spill(&self, slot: u32) -> i32 {
        self.frame_pointer_offset(StackPlace::Spill(slot))
    }

    /// Where an integer local is.
    #[inline]
    pub(super) fn place(&self, local: u16) -> GprOrStack {
        match self.location(local) {
            Location::Int(register) => X64::int(register).into(),
            Location::Frame(slot) => GprOrStack::frame(self.spill(slot)),
            // A local that no instruction reads.
            Location::Float(_) | Location::Unused => Gpr::Rax.into(),
        }
    }

    /// The second value of an instruction, of which `local` is the one that it may be.
    pub(super) fn right(&self, i: &Instruction, local: u16, scalar: Scalar) -> Right {
        match i.immediate {
            true => Right::Number(immediate(i.number(), scalar)),
            false => Right::Operand(self.place(local)),
        }
    }

    /// The register that holds an integer local; `scratch`, filled, when it is in the frame.
    #[inline]
    pub(super) fn gpr(&mut self, local: u16, scalar: Scalar, scratch: Gpr) -> Gpr {
        let place = self.place(local);
        place.register().unwrap_or_else(|| {
            self.move_place(scratch, place, scalar);
            scratch
        })
    }

    /// Moves a local to a register, of which only the lower 32 bits count for types up to 32 bits. Changes no flag.
    pub(super) fn move_place(&mut self, to: Gpr, from: GprOrStack, scalar: Scalar) {
        if from.register() != Some(to) {
            self.asm.mov(width_of(scalar), to, from);
        }
    }

    /// The value in memory or in another register, in the form of a local.
    pub(super) fn fill(&mut self, to: Gpr, scalar: Scalar, from: impl GprOperand + Source<Gpr>) {
        match scalar {
            Scalar::I8 => self.asm.movsx(W32, to, W8, from),
            Scalar::I16 => self.asm.movsx(W32, to, W16, from),
            Scalar::U8 | Scalar::Bool => self.asm.movzx(to, W8, from),
            Scalar::U16 => self.asm.movzx(to, W16, from),
            _ => self.asm.mov(width_of(scalar), to, from),
        }
    }

    /// Brings a narrow integer back into its form after its bits above were changed.
    pub(super) fn extend(&mut self, register: Gpr, scalar: Scalar) {
        if scalar.bits() < 32 {
            self.fill(register, scalar, register);
        }
    }

    /// The register that holds a floating-point local; `scratch`, filled, when it is in the frame.
    pub(super) fn xmm(&mut self, local: u16, scalar: Scalar, scratch: Xmm) -> Xmm {
        self.in_xmm(self.xmm_place(local), scalar, scratch)
    }

    /// The register of a place; `scratch`, filled, when it is in memory.
    pub(super) fn in_xmm(&mut self, place: XmmOrMem, scalar: Scalar, scratch: Xmm) -> Xmm {
        if let XmmOrMem::Xmm(register) = place {
            return register;
        }
        self.asm.mov_scalar(float_of(scalar), scratch, place);
        scratch
    }

    pub(super) fn xmm_place(&self, local: u16) -> XmmOrMem {
        match self.location(local) {
            Location::Float(register) => X64::float(register).into(),
            Location::Frame(slot) => Mem::at(Gpr::Rbp, self.spill(slot)).into(),
            _ => Xmm::Xmm15.into(),
        }
    }

    /// Sets a local to a constant. Changes the flags.
    pub(super) fn constant(&mut self, to: u16, scalar: Scalar, bits: u64) {
        if scalar.is_float() {
            let register = self.float_destination(to);
            self.float_constant(register, scalar, bits);
            return self.set_float(to, register);
        }
        let extended = extended(bits, scalar);
        if let Location::Frame(slot) = self.location(to)
            && let Ok(number) = i32::try_from(extended.cast_signed())
        {
            let place = Mem::at(Gpr::Rbp, self.spill(slot));
            return self.asm.mov(W64, place, number);
        }
        let register = self.int_destination(to);
        self.integer_constant(register, extended);
        self.set_int(to, register);
    }

    /// Fills a register. Changes the flags.
    pub(super) fn integer_constant(&mut self, to: Gpr, bits: u64) {
        match bits {
            0 => self.asm.zero(to),
            _ => self.asm.mov_imm(to, bits),
        }
    }

    pub(super) fn zero_xmm(&mut self, register: Xmm) {
        self.asm.bitwise(Bitwise::XOR, Float::F32, register, register);
    }

    pub(super) fn float_constant(&mut self, to: Xmm, scalar: Scalar, bits: u64) {
        if bits == 0 {
            return self.zero_xmm(to);
        }
        let label = self.literal(bits, false);
        self.asm.mov_scalar(float_of(scalar), to, Rip::Label(label));
    }

    pub(super) fn copy(&mut self, to: u16, from: u16, scalar: Scalar) {
        if scalar.is_float() {
            let register = self.float_destination(to);
            let from = self.xmm(from, scalar, register);
            return self.set_float(to, from);
        }
        let scratch = self.int_destination(to);
        let from = self.gpr(from, scalar, scratch);
        self.set_int(to, from);
    }
}
