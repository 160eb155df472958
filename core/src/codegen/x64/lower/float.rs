//! Floating-point arithmetic.

use super::{Lower, float_of};
use crate::codegen::x64::operand::{Rip, Xmm, XmmOrMem};
use crate::codegen::x64::row::{Bitwise, Scalar as Row};
use crate::ir::interpret::number;
use crate::ir::{Binary, Instruction, Scalar, Unary};

impl Lower<'_, '_> {
    /// The second value of an instruction, of which `local` is the one that it may be.
    pub(super) fn float_right(&mut self, i: &Instruction, local: u16, scalar: Scalar) -> XmmOrMem {
        match i.immediate {
            true => Rip::Label(self.literal(number(i.number(), scalar), false)).into(),
            false => self.xmm_place(local),
        }
    }

    /// `a = b op c`
    pub(super) fn float_binary(&mut self, i: &Instruction, scalar: Scalar, binary: Binary) {
        let right = self.float_right(i, i.c, scalar);
        let left = self.xmm_place(i.b);
        let to = self.float_destination(i.a);
        let (left, right, result) = match right == to.into() && left != to.into() {
            true if binary.is_commutative() => (right, left, to),
            true => (left, right, Xmm::Xmm15),
            false => (left, right, to),
        };
        self.load_xmm(result, left, scalar);
        self.asm.scalar(row_of(binary), float_of(scalar), result, right);
        self.set_float(i.a, result);
    }

    fn load_xmm(&mut self, to: Xmm, from: XmmOrMem, scalar: Scalar) {
        match from {
            XmmOrMem::Xmm(from) => self.move_float(to, from),
            place => self.asm.mov_scalar(float_of(scalar), to, place),
        }
    }

    pub(super) fn float_unary(&mut self, i: &Instruction, scalar: Scalar, unary: Unary) {
        let to = self.float_destination(i.a);
        let from = self.xmm_place(i.b);
        let sign = 1u64 << (scalar.bits() - 1);
        let (row, mask) = match unary {
            Unary::SquareRoot => {
                self.asm.scalar(Row::SQRT, float_of(scalar), to, from);
                return self.set_float(i.a, to);
            }
            Unary::Absolute => (Bitwise::AND, sign - 1),
            Unary::Negate | Unary::Not => (Bitwise::XOR, sign),
        };
        let mask = self.literal(mask, true);
        self.load_xmm(to, from, scalar);
        self.asm.bitwise(row, float_of(scalar), to, Rip::Label(mask));
        self.set_float(i.a, to);
    }
}

fn row_of(binary: Binary) -> Row {
    match binary {
        Binary::Subtract => Row::SUB,
        Binary::Multiply => Row::MUL,
        Binary::Divide => Row::DIV,
        _ => Row::ADD,
    }
}
