//! Instructions on floats in SSE registers. All but the moves of a whole register work on its low
//! float.
//!
//! Each names its page in Intel SDM volume 2, "Instruction Set Reference".

use super::assembler::Assembler;
use super::encode::{Address, GprOperand, Imm, Opcode, XmmOperand};
use super::operand::{Float, Full, Gpr, Mem, Rip, W32, W64, Xmm, XmmOrMem, sealed::Sealed};
use super::row::{Bitwise, Scalar};

impl Float {
    /// In front of the opcodes of scalars.
    #[inline(always)]
    const fn scalar(self) -> u8 {
        match self {
            Float::F32 => 0xf3,
            Float::F64 => 0xf2,
        }
    }

    /// In front of the opcodes of packed floats, and of comparisons.
    #[inline(always)]
    const fn packed(self) -> u8 {
        match self {
            Float::F32 => 0,
            Float::F64 => 0x66,
        }
    }
}

/// What a float can be moved from to `D`: memory to a register or a register to memory, and a
/// register to a register, of which the upper part stays.
pub trait FloatSource<D>: Sealed {
    /// Chooses the form.
    #[doc(hidden)]
    fn put(self, asm: &mut Assembler, float: Float, to: D);
}

/// What bits can be moved from to `D` unchanged: a general register or memory to an SSE register,
/// or an SSE register to either.
pub trait MovSource<D>: Sealed {
    /// Chooses the form.
    #[doc(hidden)]
    fn put<W: Full>(self, asm: &mut Assembler, width: W, to: D);
}

macro_rules! moves {
    (float $($source:ident to $destination:ident: $from:ident $to:ident
        => $register:ident $operand:ident, $opcode:literal;)*) => {$(
        impl FloatSource<$destination> for $source {
            #[inline(always)]
            fn put(self, asm: &mut Assembler, float: Float, to: $destination) {
                let opcode = Opcode::two($opcode).prefix(float.scalar());
                let ($from, $to) = (self, to);
                asm.emit(opcode, $register.number(), $operand, Imm::NONE, false);
            }
        }
    )*};
    (bits $($source:ident to $destination:ident: $from:ident $to:ident
        => $register:ident $operand:ident, $opcode:ident;)*) => {$(
        impl MovSource<$destination> for $source {
            #[inline(always)]
            fn put<W: Full>(self, asm: &mut Assembler, width: W, to: $destination) {
                let ($from, $to) = (self, to);
                asm.emit($opcode(width), $register.number(), $operand, Imm::NONE, false);
            }
        }
    )*};
}

moves! { float
    Xmm to Xmm: operand xmm => xmm operand, 0x10;
    Mem to Xmm: operand xmm => xmm operand, 0x10;
    Rip to Xmm: operand xmm => xmm operand, 0x10;
    XmmOrMem to Xmm: operand xmm => xmm operand, 0x10;
    Xmm to Mem: xmm operand => xmm operand, 0x11;
    Xmm to Rip: xmm operand => xmm operand, 0x11;
    Xmm to XmmOrMem: xmm operand => xmm operand, 0x11;
}

moves! { bits
    Gpr to Xmm: operand xmm => xmm operand, from_general;
    Mem to Xmm: operand xmm => xmm operand, from_memory;
    Rip to Xmm: operand xmm => xmm operand, from_memory;
    Xmm to Gpr: xmm operand => xmm operand, to_general;
    Xmm to Mem: xmm operand => xmm operand, to_memory;
    Xmm to Rip: xmm operand => xmm operand, to_memory;
}

#[inline(always)]
fn from_general<W: Full>(width: W) -> Opcode {
    Opcode::two(0x6e).prefix(0x66).width(width)
}

#[inline(always)]
fn to_general<W: Full>(width: W) -> Opcode {
    Opcode::two(0x7e).prefix(0x66).width(width)
}

/// For 64 bits there is a form that needs no REX.
#[inline(always)]
fn from_memory<W: Full>(width: W) -> Opcode {
    if width.bits() == 64 { Opcode::two(0x7e).prefix(0xf3) } else { from_general(width) }
}

#[inline(always)]
fn to_memory<W: Full>(width: W) -> Opcode {
    if width.bits() == 64 { Opcode::two(0xd6).prefix(0x66) } else { to_general(width) }
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
    pub fn mov_scalar<D>(&mut self, float: Float, to: D, source: impl FloatSource<D>) {
        source.put(self, float, to);
    }

    /// [`mov_scalar`](Self::mov_scalar) of single precision.
    #[inline]
    pub fn movss<D>(&mut self, to: D, source: impl FloatSource<D>) {
        source.put(self, Float::F32, to);
    }

    /// [`mov_scalar`](Self::mov_scalar) of double precision.
    #[inline]
    pub fn movsd<D>(&mut self, to: D, source: impl FloatSource<D>) {
        source.put(self, Float::F64, to);
    }

    /// Moves 32 bits between an SSE register and a general one or memory, with zeros above. Source:
    /// "MOVD/MOVQ—Move Doubleword/Move Quadword".
    #[inline]
    pub fn movd<D>(&mut self, to: D, source: impl MovSource<D>) {
        source.put(self, W32, to);
    }

    /// As [`movd`](Self::movd), 64 bits. Source: "MOVD/MOVQ—Move Doubleword/Move Quadword",
    /// "MOVQ—Move Quadword".
    #[inline]
    pub fn movq<D>(&mut self, to: D, source: impl MovSource<D>) {
        source.put(self, W64, to);
    }

    /// Moves the low 64 bits of an SSE register to another one, with zeros above. Source:
    /// "MOVQ—Move Quadword".
    #[inline]
    pub fn movq_low(&mut self, to: Xmm, from: Xmm) {
        self.emit(from_memory(W64), to.number(), from, Imm::NONE, false);
    }

    /// Moves a whole register: the fastest way to copy a float. Memory is 16 bytes at a multiple of
    /// 16. Source: "MOVAPS—Move Aligned Packed Single Precision Floating-Point Values".
    #[inline]
    pub fn movaps(&mut self, to: Xmm, source: impl XmmOperand) {
        self.emit(Opcode::two(0x28), to.number(), source, Imm::NONE, false);
    }

    /// As [`movaps`](Self::movaps), to memory.
    #[inline]
    pub fn movaps_store(&mut self, place: impl Address, from: Xmm) {
        self.emit(Opcode::two(0x29), from.number(), place, Imm::NONE, false);
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

    /// [`cvtsi2s`](Self::cvtsi2s) of single precision.
    #[inline]
    pub fn cvtsi2ss<W: Full>(&mut self, to: Xmm, width: W, source: impl GprOperand) {
        self.cvtsi2s(Float::F32, to, width, source);
    }

    /// [`cvtsi2s`](Self::cvtsi2s) of double precision.
    #[inline]
    pub fn cvtsi2sd<W: Full>(&mut self, to: Xmm, width: W, source: impl GprOperand) {
        self.cvtsi2s(Float::F64, to, width, source);
    }

    /// A float as a signed integer of `width`, rounded towards 0. What does not fit becomes the
    /// lowest integer. Source: "CVTTSD2SI—Convert With Truncation Scalar Double Precision
    /// Floating-Point Value to Signed Integer", "CVTTSS2SI".
    #[inline]
    pub fn cvtts2si<W: Full>(&mut self, float: Float, width: W, to: Gpr, source: impl XmmOperand) {
        let opcode = Opcode::two(0x2c).prefix(float.scalar()).width(width);
        self.emit(opcode, to.number(), source, Imm::NONE, false);
    }

    /// [`cvtts2si`](Self::cvtts2si) of single precision.
    #[inline]
    pub fn cvttss2si<W: Full>(&mut self, width: W, to: Gpr, source: impl XmmOperand) {
        self.cvtts2si(Float::F32, width, to, source);
    }

    /// [`cvtts2si`](Self::cvtts2si) of double precision.
    #[inline]
    pub fn cvttsd2si<W: Full>(&mut self, width: W, to: Gpr, source: impl XmmOperand) {
        self.cvtts2si(Float::F64, width, to, source);
    }

    /// As [`cvtts2si`](Self::cvtts2si), rounded as MXCSR says: to nearest unless changed. Source:
    /// "CVTSD2SI—Convert Scalar Double Precision Floating-Point Value to Signed Integer",
    /// "CVTSS2SI".
    #[inline]
    pub fn cvts2si<W: Full>(&mut self, float: Float, width: W, to: Gpr, source: impl XmmOperand) {
        let opcode = Opcode::two(0x2d).prefix(float.scalar()).width(width);
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
