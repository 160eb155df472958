//! Integers, bools and pointers: arithmetic, logic, shifts.

use super::value::Right;
use super::{Lower, ScalarWidth, width_of};
use crate::codegen::x64::operand::{Cl, Gpr, GprOrStack, Mem, Scale, W32, Width};
use crate::codegen::x64::row::{Alu, Shift};
use crate::ir::{Binary, Instruction, Scalar, Unary};

impl Lower<'_, '_> {
    pub(super) fn alu(&mut self, row: Alu, scalar: Scalar, to: Gpr, right: Right) {
        self.alu_of(row, width_of(scalar), to, right);
    }

    /// The same of any width.
    pub(super) fn alu_of(&mut self, row: Alu, width: impl Width, to: Gpr, right: Right) {
        match right {
            Right::Operand(operand) => self.asm.alu(row, width, to, operand),
            Right::Number(number) => self.asm.alu(row, width, to, number),
        }
    }

    /// As [`alu`](Self::alu), to a place in memory.
    pub(super) fn alu_place(&mut self, row: Alu, scalar: Scalar, to: GprOrStack, right: Right) {
        let width = width_of(scalar);
        match right {
            Right::Operand(operand) => {
                self.move_place(Gpr::Rax, operand, scalar);
                self.asm.alu(row, width, to, Gpr::Rax);
            }
            Right::Number(number) => self.asm.alu(row, width, to, number),
        }
    }

    /// `a = b op c`
    pub(super) fn binary(&mut self, i: &Instruction, scalar: Scalar, binary: Binary) {
        match binary {
            Binary::Divide | Binary::Remainder => self.divide(i, scalar, binary),
            Binary::ShiftLeft | Binary::ShiftRight | Binary::RotateLeft => {
                self.shift(i, scalar, binary);
            }
            Binary::Multiply => self.multiply(i, scalar),
            Binary::AddChecked | Binary::SubtractChecked | Binary::MultiplyChecked => {
                self.checked(i, scalar, binary);
            }
            _ => self.combine(i, scalar, binary),
        }
    }

    /// Sums, differences and logic.
    fn combine(&mut self, i: &Instruction, scalar: Scalar, binary: Binary) {
        let is_sum = matches!(binary, Binary::Add | Binary::Subtract);
        let (right, left) = (self.right(i, i.c, scalar), self.place(i.b));
        let needs_extension = is_sum && scalar.bits() < 32;
        let to = self.int_destination(i.a);
        let is_right = right == Right::Operand(to.into());
        let mut has_flags = !needs_extension;
        if is_right && left != to.into() {
            self.combine_with_right(scalar, binary, to, left);
        } else if self.add_apart(scalar, binary, to, left, right) {
            has_flags = false;
        } else {
            self.move_place(to, left, scalar);
            self.alu(row_of(binary), scalar, to, right);
        }
        if is_sum {
            self.extend(to, scalar);
        }
        self.set_int(i.a, to);
        if has_flags {
            self.fuse_with_zero(i.a, scalar);
        }
    }

    /// `to` is the right operand: `to = left op to`.
    fn combine_with_right(&mut self, scalar: Scalar, binary: Binary, to: Gpr, left: GprOrStack) {
        let row = match binary {
            Binary::Subtract => {
                self.asm.neg(width_of(scalar), to);
                Alu::ADD
            }
            _ => row_of(binary),
        };
        self.alu(row, scalar, to, Right::Operand(left));
    }

    /// A sum of two registers, or of one and a number, in a third one: an address.
    fn add_apart(
        &mut self,
        scalar: Scalar,
        binary: Binary,
        to: Gpr,
        left: GprOrStack,
        right: Right,
    ) -> bool {
        let Some(left) = left.register().filter(|left| *left != to) else { return false };
        let address = match (binary, right) {
            (Binary::Add, Right::Number(number)) => Mem::at(left, number),
            (Binary::Subtract, Right::Number(number)) if number != i32::MIN => {
                Mem::at(left, -number)
            }
            (Binary::Add, Right::Operand(right)) => match right.register().and_then(Gpr::index) {
                Some(index) => Mem::at(left, 0).indexed(index, Scale::By1),
                None => return false,
            },
            _ => return false,
        };
        self.asm.lea(width_of(scalar), to, address);
        true
    }

    fn multiply(&mut self, i: &Instruction, scalar: Scalar) {
        let (right, left) = (self.right(i, i.c, scalar), self.place(i.b));
        let to = self.int_destination(i.a);
        match right {
            Right::Number(number) => self.multiply_by(scalar, to, left, number),
            Right::Operand(right) if right == to.into() => self.imul(scalar, to, left),
            Right::Operand(right) => {
                self.move_place(to, left, scalar);
                self.imul(scalar, to, right);
            }
        }
        self.extend(to, scalar);
        self.set_int(i.a, to);
    }

    pub(super) fn imul(&mut self, scalar: Scalar, to: Gpr, right: GprOrStack) {
        self.asm.imul(width_of(scalar), to, right);
    }

    /// A product with a number: a shift or an address where one of these gives it.
    pub(super) fn multiply_by(&mut self, scalar: Scalar, to: Gpr, left: GprOrStack, number: i32) {
        if number > 1 && number.cast_unsigned().is_power_of_two() {
            self.move_place(to, left, scalar);
            let count = u8::try_from(number.trailing_zeros()).unwrap_or(0);
            return self.shift_by(Shift::SHL, scalar, to, count);
        }
        self.asm.imul_imm(width_of(scalar), to, left, number);
    }

    fn shift(&mut self, i: &Instruction, scalar: Scalar, binary: Binary) {
        let row = match (binary, scalar.is_signed()) {
            (Binary::ShiftLeft, _) => Shift::SHL,
            (Binary::RotateLeft, _) => Shift::ROL,
            (_, true) => Shift::SAR,
            (_, false) => Shift::SHR,
        };
        let mask = scalar.bits() - 1;
        let to = self.int_destination(i.a);
        let left = self.place(i.b);
        if i.immediate {
            let count = u8::try_from(i.imm.cast_unsigned() & mask).unwrap_or(0);
            self.move_place(to, left, scalar);
            self.shift_by(row, scalar, to, count);
        } else {
            let count = self.place(i.c);
            self.move_place(Gpr::Rcx, count, Scalar::U32);
            // The processor counts modulo 32, and rotates narrow registers modulo their width.
            if scalar.bits() < 32 && binary != Binary::RotateLeft {
                self.asm.and(W32, Gpr::Rcx, mask.cast_signed());
            }
            self.move_place(to, left, scalar);
            self.asm.shift(row, shift_width(row, scalar), to, Cl);
        }
        if binary != Binary::ShiftRight {
            self.extend(to, scalar);
        }
        self.set_int(i.a, to);
    }

    pub(super) fn shift_by(&mut self, row: Shift, scalar: Scalar, to: Gpr, count: u8) {
        if count != 0 {
            self.asm.shift(row, shift_width(row, scalar), to, count);
        }
    }

    pub(super) fn unary(&mut self, i: &Instruction, scalar: Scalar, unary: Unary) {
        let to = self.int_destination(i.a);
        let from = self.place(i.b);
        self.move_place(to, from, scalar);
        match (unary, scalar) {
            (Unary::Not, Scalar::Bool) => self.asm.xor(W32, to, 1),
            (Unary::Not, _) => self.asm.not(width_of(scalar), to),
            (Unary::Negate, _) => self.asm.neg(width_of(scalar), to),
            // Of floats.
            (Unary::SquareRoot | Unary::Absolute, _) => {}
        }
        if scalar != Scalar::Bool {
            self.extend(to, scalar);
        }
        self.set_int(i.a, to);
    }
}

/// Rotations work on the width of the type, shifts on 32 or 64 bits.
fn shift_width(row: Shift, scalar: Scalar) -> ScalarWidth {
    if row == Shift::ROL { ScalarWidth(scalar.bits()) } else { ScalarWidth(scalar.bits().max(32)) }
}

pub(super) fn row_of(binary: Binary) -> Alu {
    match binary {
        Binary::Subtract | Binary::SubtractChecked => Alu::SUB,
        Binary::And => Alu::AND,
        Binary::Or => Alu::OR,
        Binary::Xor => Alu::XOR,
        _ => Alu::ADD,
    }
}
