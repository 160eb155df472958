//! Floating-point arithmetic.

use super::{Lower, float_of};
use crate::codegen::aarch64::operand::Fpr;
use crate::codegen::aarch64::table::{Scalar as Row, ScalarUnary};
use crate::ir::interpret::number;
use crate::ir::{Binary, Instruction, Scalar, Unary};

impl Lower<'_, '_> {
    pub(super) fn float_unary(&mut self, i: &Instruction, scalar: Scalar, unary: Unary) {
        let op = match unary {
            Unary::SquareRoot => ScalarUnary::FSQRT,
            Unary::Absolute => ScalarUnary::FABS,
            _ => ScalarUnary::FNEG,
        };
        let from = self.fpr(i.b, Fpr::V31);
        let to = self.float_destination(i.a);
        self.asm.scalar_unary(op, float_of(scalar), to, from);
        self.set_float(i.a, to);
    }

    pub(super) fn float_binary(&mut self, i: &Instruction, scalar: Scalar, binary: Binary) {
        let op = match binary {
            Binary::Subtract => Row::FSUB,
            Binary::Multiply => Row::FMUL,
            Binary::Divide => Row::FDIV,
            _ => Row::FADD,
        };
        let left = self.fpr(i.b, Fpr::V31);
        let right = match i.immediate {
            true => {
                self.float_constant(Fpr::V30, scalar, number(i.number(), scalar));
                Fpr::V30
            }
            false => self.fpr(i.c, Fpr::V30),
        };
        let to = self.float_destination(i.a);
        self.asm.scalar(op, float_of(scalar), to, left, right);
        self.set_float(i.a, to);
    }
}
