//! The second values of integer instructions: registers, memory, immediates and counts of shifts.

use super::assembler::Assembler;
use super::encode::{GprOperand, Imm, Opcode, Operand};
use super::operand::{Cl, Gpr, GprOrStack, Mem, Rip, W64, Width, sealed::Sealed};
use super::row::Alu;

/// What can be moved to, combined or compared with a destination `D`: a register with anything,
/// memory with a register or an immediate. An immediate is an `i32` and counts modulo the width;
/// for 64 bits it is sign-extended.
pub trait Source<D>: Sealed {
    /// Chooses the form.
    #[doc(hidden)]
    fn put<W: Width>(self, asm: &mut Assembler, family: Family, width: W, to: D);
}

/// Instructions that have the forms of [`Source`].
#[derive(Clone, Copy)]
pub enum Family {
    /// Arithmetic and logic.
    Alu(Alu),
    /// Moves.
    Mov,
    /// Comparison of bits.
    Test,
}

impl Family {
    /// From a register to r/m.
    #[inline]
    fn store<W: Width>(self, width: W) -> Opcode {
        let byte = match self {
            Family::Alu(Alu { digit }) => digit << 3,
            Family::Mov => 0x88,
            Family::Test => 0x84,
        };
        Opcode::one(byte).sized(width)
    }

    /// From r/m to a register.
    #[inline]
    fn load<W: Width>(self, width: W) -> Opcode {
        let byte = match self {
            Family::Alu(Alu { digit }) => digit << 3 | 2,
            Family::Mov => 0x8a,
            Family::Test => 0x84,
        };
        Opcode::one(byte).sized(width)
    }
}

impl Sealed for i32 {}

macro_rules! sources {
    ($($source:ident to $destination:ident:
        $from:ident $to:ident
        => $register:ident $operand:ident, $opcode:ident;)*) => {$(
        impl Source<$destination> for $source {
            #[inline]
            fn put<W: Width>(
                self,
                asm: &mut Assembler,
                family: Family,
                width: W,
                to: $destination,
            ) {
                let ($from, $to) = (self, to);
                let low_byte = width.bits() == 8 && (to.needs_rex() || self.needs_rex());
                let opcode = family.$opcode(width);
                asm.emit(opcode, $register.number(), $operand, Imm::NONE, low_byte);
            }
        }
    )*};
}

sources! {
    Gpr to Gpr: register operand => register operand, store;
    Mem to Gpr: operand register => register operand, load;
    Rip to Gpr: operand register => register operand, load;
    GprOrStack to Gpr: operand register => register operand, load;
    Gpr to Mem: register operand => register operand, store;
    Gpr to Rip: register operand => register operand, store;
    Gpr to GprOrStack: register operand => register operand, store;
}

impl<D: Destination> Source<D> for i32 {
    #[inline]
    fn put<W: Width>(self, asm: &mut Assembler, family: Family, width: W, to: D) {
        // As the instruction will extend it.
        let unused = 32_u32.saturating_sub(width.bits());
        let value = self << unused >> unused;
        match family {
            Family::Alu(row) => asm.alu_immediate(row, width, to, value),
            Family::Mov => to.fill(asm, width, value),
            Family::Test => asm.test_immediate(width, to, value),
        }
    }
}

/// What an immediate can be moved to: [`Gpr`], [`Mem`], [`Rip`] or [`GprOrStack`].
pub trait Destination: GprOperand {
    /// Moves it.
    #[inline]
    fn fill<W: Width>(self, asm: &mut Assembler, width: W, value: i32) {
        let imm = Imm::full(value, width);
        asm.emit(Opcode::one(0xc6).sized(width), 0, self, imm, false);
    }
}

impl Destination for Mem {}
impl Destination for Rip {}

impl Destination for Gpr {
    #[inline]
    fn fill<W: Width>(self, asm: &mut Assembler, width: W, value: i32) {
        let imm = Imm::full(value, width);
        match width.bits() {
            8 => asm.emit_short(Opcode::one(0xb0), self, imm, self.needs_rex()),
            // Positive, it is no longer than the lower half, and that clears the upper one.
            64 if value < 0 => asm.emit(Opcode::one(0xc7).width(W64), 0, self, imm, false),
            64 => asm.emit_short(Opcode::one(0xb8), self, imm, false),
            _ => asm.emit_short(Opcode::one(0xb8).width(width), self, imm, false),
        }
    }
}

impl Destination for GprOrStack {
    #[inline]
    fn fill<W: Width>(self, asm: &mut Assembler, width: W, value: i32) {
        match self.register() {
            Some(register) => register.fill(asm, width, value),
            None => self.memory().fill(asm, width, value),
        }
    }
}

/// How far to shift: a `u8` or [`Cl`].
pub trait Count: Sealed {
    /// The opcode for 8 bits, and the immediate.
    #[doc(hidden)]
    fn form(self) -> (u8, Option<u8>);
}

impl Sealed for u8 {}
impl Count for u8 {
    #[inline]
    fn form(self) -> (u8, Option<u8>) {
        if self == 1 { (0xd0, None) } else { (0xc0, Some(self)) }
    }
}

impl Sealed for Cl {}
impl Count for Cl {
    #[inline]
    fn form(self) -> (u8, Option<u8>) {
        (0xd2, None)
    }
}
