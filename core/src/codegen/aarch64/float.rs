//! Instructions on floating-point registers.

use super::assembler::Assembler;
use super::immediate::FloatImm;
use super::operand::{Cond, Float, Fpr, Gpr, Width};
use super::table::{Round, Scalar, ScalarUnary, ToFloat};

impl Assembler {
    /// Arithmetic on two floats.
    #[inline]
    pub fn scalar(&mut self, op: Scalar, float: Float, to: Fpr, left: Fpr, right: Fpr) {
        self.word(op.0 | float.ftype() | right.bits() << 16 | left.bits() << 5 | to.bits());
    }

    /// Arithmetic on one float.
    #[inline]
    pub fn scalar_unary(&mut self, op: ScalarUnary, float: Float, to: Fpr, from: Fpr) {
        self.word(op.0 | float.ftype() | from.bits() << 5 | to.bits());
    }

    /// FMOV: copies the value, and clears the other bits of the destination.
    #[inline]
    pub fn fmov(&mut self, float: Float, to: Fpr, from: Fpr) {
        self.scalar_unary(ScalarUnary::FMOV, float, to, from);
    }

    /// FCVT: the value of precision `from` in the other precision.
    pub fn fcvt(&mut self, from: Float, to: Fpr, source: Fpr) {
        let opcode = match from {
            Float::F32 => 0x1e22_c000,
            Float::F64 => 0x1e62_4000,
        };
        self.word(opcode | source.bits() << 5 | to.bits());
    }

    /// FCMP: compares; unordered sets C and V.
    pub fn fcmp(&mut self, float: Float, left: Fpr, right: Fpr) {
        self.word(0x1e20_2000 | float.ftype() | right.bits() << 16 | left.bits() << 5);
    }

    /// FCMP with 0.
    pub fn fcmp_zero(&mut self, float: Float, left: Fpr) {
        self.word(0x1e20_2008 | float.ftype() | left.bits() << 5);
    }

    /// FCSEL: one of two floats.
    pub fn fcsel(&mut self, float: Float, [to, first, second]: [Fpr; 3], cond: Cond) {
        let registers = second.bits() << 16 | first.bits() << 5 | to.bits();
        self.word(0x1e20_0c00 | float.ftype() | (cond as u32) << 12 | registers);
    }

    /// A float as an integer.
    pub fn to_int(&mut self, op: Round, float: Float, width: Width, to: Gpr, from: Fpr) {
        self.word(width.sf() | op.0 | float.ftype() | from.bits() << 5 | to.bits());
    }

    /// An integer as a float.
    pub fn to_float(&mut self, op: ToFloat, float: Float, width: Width, to: Fpr, from: Gpr) {
        self.word(width.sf() | op.0 | float.ftype() | from.bits() << 5 | to.bits());
    }

    /// FMOV (general): the bits of a float into a general register of the same width.
    pub fn fmov_to_int(&mut self, float: Float, to: Gpr, from: Fpr) {
        let opcode = match float {
            Float::F32 => 0x1e26_0000,
            Float::F64 => 0x9e66_0000,
        };
        self.word(opcode | from.bits() << 5 | to.bits());
    }

    /// FMOV (general): bits into a floating-point register of the same width.
    pub fn fmov_from_int(&mut self, float: Float, to: Fpr, from: Gpr) {
        let opcode = match float {
            Float::F32 => 0x1e27_0000,
            Float::F64 => 0x9e67_0000,
        };
        self.word(opcode | from.bits() << 5 | to.bits());
    }

    /// FMOV (scalar, immediate).
    pub fn fmov_imm(&mut self, float: Float, to: Fpr, imm: FloatImm) {
        self.word(0x1e20_1000 | float.ftype() | imm.imm8 << 13 | to.bits());
    }

    /// MOVI of 0: clears all bits.
    pub fn fzero(&mut self, to: Fpr) {
        self.word(0x2f00_e400 | to.bits());
    }

    /// DUP (general) of 16 bytes: copies of the low byte of a register.
    pub fn dup_bytes(&mut self, to: Fpr, from: Gpr) {
        self.word(0x4e01_0c00 | from.bits() << 5 | to.bits());
    }
}
