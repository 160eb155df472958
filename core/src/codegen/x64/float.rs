//! Instructions on floats in SSE registers. All but the moves of a whole register work on its low
//! float.
//!
//! Each names its page in Intel SDM volume 2, "Instruction Set Reference".

use super::assembler::Assembler;
use super::encode::{Address, GprOperand, Imm, Opcode, XmmOperand};
use super::operand::{Float, Full, Gpr, W64, Xmm};
use super::row::{Bitwise, Scalar};

impl Float {
    /// In front of the opcodes of scalars.
    #[inline]
    const fn scalar(self) -> u8 {
        match self {
            Float::F32 => 0xf3,
            Float::F64 => 0xf2,
        }
    }

    /// In front of the opcodes of packed floats, and of comparisons.
    #[inline]
    const fn packed(self) -> u8 {
        match self {
            Float::F32 => 0,
            Float::F64 => 0x66,
        }
    }
}

impl Assembler {
    /// One of the instructions of [`Scalar`].
    #[inline]
    pub fn scalar(&mut self, row: Scalar, float: Float, to: Xmm, source: impl XmmOperand) {
        let opcode = Opcode::two(row.opcode).prefix(float.scalar());
        self.emit(opcode, to.number(), source, Imm::NONE, false);
    }

    /// One of the instructions of [`Bitwise`]. The logical ones read 16 bytes of memory, at a
    /// multiple of 16.
    #[inline]
    pub fn bitwise(&mut self, row: Bitwise, float: Float, to: Xmm, source: impl XmmOperand) {
        let opcode = Opcode::two(row.opcode).prefix(float.packed());
        self.emit(opcode, to.number(), source, Imm::NONE, false);
    }

    /// Moves a float: from memory with zeros above, between registers with the upper part left.
    /// Source: "MOVSS—Move or Merge Scalar Single Precision Floating-Point Value", "MOVSD—Move or
    /// Merge Scalar Double Precision Floating-Point Value".
    #[inline]
    pub fn mov_scalar(&mut self, float: Float, to: Xmm, source: impl XmmOperand) {
        let opcode = Opcode::two(0x10).prefix(float.scalar());
        self.emit(opcode, to.number(), source, Imm::NONE, false);
    }

    /// As [`mov_scalar`](Self::mov_scalar), to memory.
    #[inline]
    pub fn mov_scalar_store(&mut self, float: Float, place: impl Address, from: Xmm) {
        let opcode = Opcode::two(0x11).prefix(float.scalar());
        self.emit(opcode, from.number(), place, Imm::NONE, false);
    }

    /// Moves 64 bits to an SSE register, with zeros above. Source: "MOVD/MOVQ—Move Doubleword/Move
    /// Quadword".
    #[inline]
    pub fn movq(&mut self, to: Xmm, source: impl GprOperand) {
        let opcode = Opcode::two(0x6e).prefix(0x66).width(W64);
        self.emit(opcode, to.number(), source, Imm::NONE, false);
    }

    /// Moves a whole register: the fastest way to copy a float. Memory is 16 bytes at a multiple of
    /// 16. Source: "MOVAPS—Move Aligned Packed Single Precision Floating-Point Values".
    #[inline]
    pub fn movaps(&mut self, to: Xmm, source: impl XmmOperand) {
        self.emit(Opcode::two(0x28), to.number(), source, Imm::NONE, false);
    }

    /// As [`movaps`](Self::movaps), from 16 bytes of memory anywhere. Source: "MOVUPS—Move
    /// Unaligned Packed Single Precision Floating-Point Values".
    #[inline]
    pub fn movups(&mut self, to: Xmm, source: impl XmmOperand) {
        self.emit(Opcode::two(0x10), to.number(), source, Imm::NONE, false);
    }

    /// As [`movups`](Self::movups), to memory.
    #[inline]
    pub fn movups_store(&mut self, place: impl Address, from: Xmm) {
        self.emit(Opcode::two(0x11), from.number(), place, Imm::NONE, false);
    }

    /// A signed integer of `width` as a float; the upper part stays, and what was in the register
    /// is waited for. Source: "CVTSI2SD—Convert Doubleword Integer to Scalar Double Precision
    /// Floating-Point Value", "CVTSI2SS".
    #[inline]
    pub fn cvtsi2s<W: Full>(&mut self, float: Float, to: Xmm, width: W, source: impl GprOperand) {
        let opcode = Opcode::two(0x2a).prefix(float.scalar()).width(width);
        self.emit(opcode, to.number(), source, Imm::NONE, false);
    }

    /// A float as a signed integer of `width`, rounded towards 0. What does not fit becomes the
    /// lowest integer. Source: "CVTTSD2SI—Convert With Truncation Scalar Double Precision
    /// Floating-Point Value to Signed Integer", "CVTTSS2SI".
    #[inline]
    pub fn cvtts2si<W: Full>(&mut self, float: Float, width: W, to: Gpr, source: impl XmmOperand) {
        let opcode = Opcode::two(0x2c).prefix(float.scalar()).width(width);
        self.emit(opcode, to.number(), source, Imm::NONE, false);
    }

    /// Single to double precision. Source: "CVTSS2SD—Convert Scalar Single Precision Floating-Point
    /// Value to Scalar Double Precision Floating-Point Value".
    #[inline]
    pub fn cvtss2sd(&mut self, to: Xmm, source: impl XmmOperand) {
        self.emit(Opcode::two(0x5a).prefix(0xf3), to.number(), source, Imm::NONE, false);
    }

    /// Double to single precision. Source: "CVTSD2SS—Convert Scalar Double Precision Floating-Point
    /// Value to Scalar Single Precision Floating-Point Value".
    #[inline]
    pub fn cvtsd2ss(&mut self, to: Xmm, source: impl XmmOperand) {
        self.emit(Opcode::two(0x5a).prefix(0xf2), to.number(), source, Imm::NONE, false);
    }
}
