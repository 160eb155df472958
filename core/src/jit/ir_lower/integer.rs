//! Integers, bools and pointers: arithmetic, shifts, division, comparison.

use super::{Lowering, Right, is_wide};
use crate::codegen::x64::{Alu, Cl, Cond, Gpr, Mem, Scale, Shift, W32, W64};
use crate::ir::instruction::Instruction;
use crate::ir::interpret::{DIVISION_BY_ZERO, number};
use crate::ir::opcode::Binary;
use crate::ir::types::Scalar;

/// The number as an instruction of 32 or 64 bits carries it, in the form of a local.
fn immediate(value: i32, scalar: Scalar) -> i32 {
    match scalar {
        Scalar::I8 => i32::from(value.to_le_bytes()[0].cast_signed()),
        Scalar::I16 => value << 16 >> 16,
        _ if scalar.bits() < 32 => i32::try_from(number(value, scalar)).unwrap_or(0),
        _ => value,
    }
}

impl Lowering<'_, '_> {
    /// The second value of an instruction, of which `local` is the one that it may be.
    fn right(&mut self, i: &Instruction, local: u16, scalar: Scalar, scratch: Gpr) -> Right {
        if i.immediate {
            return Right::Number(immediate(i.number(), scalar));
        }
        Right::Operand(self.operand(local, scalar, scratch))
    }

    fn alu(&mut self, row: Alu, scalar: Scalar, to: Gpr, right: Right) {
        match (is_wide(scalar), right) {
            (true, Right::Operand(operand)) => self.asm.alu(row, W64, to, operand),
            (true, Right::Number(number)) => self.asm.alu(row, W64, to, number),
            (false, Right::Operand(operand)) => self.asm.alu(row, W32, to, operand),
            (false, Right::Number(number)) => self.asm.alu(row, W32, to, number),
        }
    }

    /// Sets the flags by one value.
    pub(super) fn test(&mut self, register: Gpr, scalar: Scalar) {
        match is_wide(scalar) {
            true => self.asm.test(W64, register, register),
            false => self.asm.test(W32, register, register),
        }
    }

    /// Sets the flags by two values.
    pub(super) fn compare_integers(
        &mut self,
        left: u16,
        right: u16,
        i: &Instruction,
        scalar: Scalar,
    ) {
        let right = self.right(i, right, scalar, Gpr::Rcx);
        let left = self.gpr(left, scalar, Gpr::Rax);
        match right {
            Right::Number(0) => self.test(left, scalar),
            _ => self.alu(Alu::CMP, scalar, left, right),
        }
    }

    /// `a = b op c`
    pub(super) fn binary(&mut self, index: usize, i: &Instruction, scalar: Scalar, binary: Binary) {
        match binary {
            Binary::Divide | Binary::Remainder => return self.divide(index, i, scalar, binary),
            Binary::ShiftLeft | Binary::ShiftRight => return self.shift(i, scalar, binary),
            _ => {}
        }
        let mut right = self.right(i, i.c, scalar, Gpr::Rcx);
        let to = self.destination(i.a, Gpr::Rax);
        let mut left = self.gpr(i.b, scalar, Gpr::Rax);
        let own = Right::Operand(to.into());
        if right == own && left != to && binary.is_commutative() {
            right = Right::Operand(left.into());
            left = to;
        }
        let made = match binary {
            Binary::Multiply => self.multiply(scalar, to, left, right),
            _ => self.add_apart(scalar, binary, to, left, right),
        };
        if !made {
            // What is still to be read must not be overwritten.
            let through = if right == own && left != to { Gpr::Rax } else { to };
            self.move_integer(through, left);
            match binary {
                Binary::Multiply => self.imul(scalar, through, right),
                _ => self.alu(row_of(binary), scalar, through, right),
            }
            self.move_integer(to, through);
        }
        if matches!(binary, Binary::Add | Binary::Subtract | Binary::Multiply) {
            self.extend(to, scalar);
        }
        self.set(i.a, to);
    }

    pub(super) fn move_integer(&mut self, to: Gpr, from: Gpr) {
        if to != from {
            self.asm.mov(W64, to, from);
        }
    }

    /// A sum of two registers, or of one and a number, in a third one: an address.
    fn add_apart(
        &mut self,
        scalar: Scalar,
        binary: Binary,
        to: Gpr,
        left: Gpr,
        right: Right,
    ) -> bool {
        let address = match (binary, right) {
            _ if to == left => return false,
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
        match is_wide(scalar) {
            true => self.asm.lea(W64, to, address),
            false => self.asm.lea(W32, to, address),
        }
        true
    }

    /// A product with a number, which needs no other register.
    fn multiply(&mut self, scalar: Scalar, to: Gpr, left: Gpr, right: Right) -> bool {
        let Right::Number(number) = right else { return false };
        match is_wide(scalar) {
            true => self.asm.imul_imm(W64, to, left, number),
            false => self.asm.imul_imm(W32, to, left, number),
        }
        true
    }

    fn imul(&mut self, scalar: Scalar, to: Gpr, right: Right) {
        match right {
            Right::Operand(right) if is_wide(scalar) => self.asm.imul(W64, to, right),
            Right::Operand(right) => self.asm.imul(W32, to, right),
            Right::Number(number) => {
                self.multiply(scalar, to, to, Right::Number(number));
            }
        }
    }

    fn shift(&mut self, i: &Instruction, scalar: Scalar, binary: Binary) {
        let row = match (binary, scalar.is_signed()) {
            (Binary::ShiftLeft, _) => Shift::SHL,
            (_, true) => Shift::SAR,
            (_, false) => Shift::SHR,
        };
        let mask = scalar.bits() - 1;
        let to = self.destination(i.a, Gpr::Rax);
        if i.immediate {
            let count = u8::try_from(i.imm.cast_unsigned() & mask).unwrap_or(0);
            let left = self.gpr(i.b, scalar, to);
            self.move_integer(to, left);
            self.shift_by(row, scalar, to, count);
        } else {
            let count = self.gpr(i.c, scalar, Gpr::Rcx);
            if count != Gpr::Rcx {
                self.asm.mov(W32, Gpr::Rcx, count);
            }
            if scalar.bits() < 32 {
                self.asm.and(W32, Gpr::Rcx, mask.cast_signed());
            }
            let left = self.gpr(i.b, scalar, to);
            self.move_integer(to, left);
            match is_wide(scalar) {
                true => self.asm.shift(row, W64, to, Cl),
                false => self.asm.shift(row, W32, to, Cl),
            }
        }
        if binary == Binary::ShiftLeft {
            self.extend(to, scalar);
        }
        self.set(i.a, to);
    }

    fn shift_by(&mut self, row: Shift, scalar: Scalar, to: Gpr, count: u8) {
        match (count, is_wide(scalar)) {
            (0, _) => {}
            (_, true) => self.asm.shift(row, W64, to, count),
            (_, false) => self.asm.shift(row, W32, to, count),
        }
    }

    fn divide(&mut self, index: usize, i: &Instruction, scalar: Scalar, binary: Binary) {
        let quotient = binary == Binary::Divide;
        let divisor = match i.immediate {
            true => immediate(i.imm, scalar),
            false => 0,
        };
        let power = divisor.cast_unsigned().is_power_of_two() && divisor > 0;
        if i.immediate && power && !scalar.is_signed() {
            return self.divide_by_power(i, scalar, divisor, quotient);
        }
        let right = match i.immediate {
            true => {
                self.integer_constant(Gpr::Rcx, scalar, number(i.imm, scalar));
                Gpr::Rcx
            }
            false => self.gpr(i.c, scalar, Gpr::Rcx),
        };
        if divisor == 0 {
            let trap = self.trap(index, DIVISION_BY_ZERO);
            self.test(right, scalar);
            self.asm.jcc(Cond::E, trap);
        }
        let left = self.gpr(i.b, scalar, Gpr::Rax);
        self.move_integer(Gpr::Rax, left);
        let result = if quotient { Gpr::Rax } else { Gpr::Rdx };
        if scalar.is_signed() {
            // The processor refuses to divide the lowest number by -1.
            let apart = scalar.bits() >= 32 && matches!(divisor, 0 | -1);
            self.divide_signed(scalar, right, apart, result);
        } else {
            self.asm.zero(Gpr::Rdx);
            match is_wide(scalar) {
                true => self.asm.div(W64, right),
                false => self.asm.div(W32, right),
            }
        }
        self.extend(result, scalar);
        self.set(i.a, result);
    }

    fn divide_signed(&mut self, scalar: Scalar, right: Gpr, apart: bool, result: Gpr) {
        let [general, done] = [self.asm.label(), self.asm.label()];
        if apart {
            self.alu(Alu::CMP, scalar, right, Right::Number(-1));
            self.asm.jcc(Cond::Ne, general);
            match result {
                Gpr::Rax => self.asm.neg(W64, Gpr::Rax),
                _ => self.asm.zero(Gpr::Rdx),
            }
            self.asm.jmp(done);
        }
        self.asm.bind(general);
        if is_wide(scalar) {
            self.asm.cqo();
            self.asm.idiv(W64, right);
        } else {
            self.asm.cdq();
            self.asm.idiv(W32, right);
        }
        self.asm.bind(done);
    }

    /// Without a sign, a power of two divides by its bits alone.
    fn divide_by_power(&mut self, i: &Instruction, scalar: Scalar, power: i32, quotient: bool) {
        let to = self.destination(i.a, Gpr::Rax);
        let left = self.gpr(i.b, scalar, to);
        self.move_integer(to, left);
        if quotient {
            let count = u8::try_from(power.trailing_zeros()).unwrap_or(0);
            self.shift_by(Shift::SHR, scalar, to, count);
        } else {
            self.alu(Alu::AND, scalar, to, Right::Number(power - 1));
        }
        self.set(i.a, to);
    }
}

fn row_of(binary: Binary) -> Alu {
    match binary {
        Binary::Subtract => Alu::SUB,
        Binary::And => Alu::AND,
        Binary::Or => Alu::OR,
        Binary::Xor => Alu::XOR,
        _ => Alu::ADD,
    }
}
