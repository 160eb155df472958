//! Arithmetic that traps where the result does not fit its type.

use super::integer::row_of;
use super::value::Right;
use super::{Lower, ScalarWidth, width_of};
use crate::codegen::label::Label;
use crate::codegen::locals::extended;
use crate::codegen::x64::operand::{Cond, Gpr, GprOrStack, W32};
use crate::codegen::x64::row::Alu;
use crate::ir::OVERFLOW;
use crate::ir::interpret::number;
use crate::ir::{Binary, Instruction, Scalar};

impl Lower<'_, '_> {
    pub(super) fn checked(&mut self, i: &Instruction, scalar: Scalar, binary: Binary) {
        let trap = self.trap(OVERFLOW);
        match binary {
            Binary::MultiplyChecked => self.multiply_checked(i, scalar, trap),
            _ => self.add_checked(i, scalar, binary, trap),
        }
    }

    fn add_checked(&mut self, i: &Instruction, scalar: Scalar, binary: Binary, trap: Label) {
        let (right, left) = (self.right(i, i.c, scalar), self.place(i.b));
        let to = self.trapping_destination(i.a);
        let is_right = right == Right::Operand(to.into()) && left != to.into();
        let cond = if scalar.is_signed() { Cond::O } else { Cond::B };
        // The flags are those of the narrow type.
        let width = ScalarWidth(scalar.bits());
        let through = match is_right {
            true if binary == Binary::AddChecked => {
                self.alu_of(Alu::ADD, width, to, Right::Operand(left));
                to
            }
            true => {
                self.move_place(Gpr::Rax, left, scalar);
                self.alu_of(Alu::SUB, width, Gpr::Rax, right);
                Gpr::Rax
            }
            false => {
                self.move_place(to, left, scalar);
                self.alu_of(row_of(binary), width, to, right);
                to
            }
        };
        self.asm.jcc(cond, trap);
        self.extend(through, scalar);
        self.set_int(i.a, through);
    }

    fn multiply_checked(&mut self, i: &Instruction, scalar: Scalar, trap: Label) {
        if scalar.bits() >= 32 && !scalar.is_signed() {
            return self.multiply_unsigned(i, scalar, trap);
        }
        let (right, left) = (self.right(i, i.c, scalar), self.place(i.b));
        let to = self.trapping_destination(i.a);
        match right {
            Right::Number(number) => self.asm.imul_imm(width_of(scalar), to, left, number),
            Right::Operand(right) if right == to.into() => self.imul(scalar, to, left),
            Right::Operand(right) => {
                self.move_place(to, left, scalar);
                self.imul(scalar, to, right);
            }
        }
        if scalar.bits() < 32 {
            // The product fits 32 bits.
            self.fill(Gpr::Rcx, scalar, to);
            self.asm.cmp(W32, Gpr::Rcx, to);
            self.asm.jcc(Cond::Ne, trap);
        } else {
            self.asm.jcc(Cond::O, trap);
        }
        self.set_int(i.a, to);
    }

    /// `rdx:rax = rax * right`; the carry says whether the upper half is needed.
    fn multiply_unsigned(&mut self, i: &Instruction, scalar: Scalar, trap: Label) {
        let left = self.place(i.b);
        let right: GprOrStack = match i.immediate {
            true => {
                self.integer_constant(Gpr::Rcx, extended(number(i.imm, scalar), scalar));
                Gpr::Rcx.into()
            }
            false => self.place(i.c),
        };
        self.move_place(Gpr::Rax, left, scalar);
        self.asm.mul(width_of(scalar), right);
        self.asm.jcc(Cond::B, trap);
        self.set_int(i.a, Gpr::Rax);
    }
}
