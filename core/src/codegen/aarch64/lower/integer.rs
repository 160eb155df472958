//! Integer arithmetic.

use super::value::Right;
use super::{Lower, width_of};
use crate::codegen::aarch64::immediate::{BitMask, Imm12};
use crate::codegen::aarch64::operand::{Gpr, ShiftKind, Width};
use crate::codegen::aarch64::table::{AddSub, Logical, ThreeSource, TwoSource};
use crate::ir::{Binary, DIVISION_BY_ZERO, Instruction, Scalar, Unary};

/// The value of `bits`, of the given width, with its sign.
pub(super) fn signed(width: Width, bits: u64) -> i64 {
    match width {
        Width::W32 => (bits << 32).cast_signed() >> 32,
        Width::W64 => bits.cast_signed(),
    }
}

impl Lower<'_, '_> {
    pub(super) fn unary(&mut self, i: &Instruction, scalar: Scalar, unary: Unary) {
        let from = self.int(i.b, Gpr::X16);
        let to = self.int_destination(i.a);
        let width = width_of(scalar);
        match (unary, scalar) {
            (Unary::Not, Scalar::Bool) => self.logical_number(Logical::EOR, width, to, from, 1),
            (Unary::Not, _) => self.asm.logical(Logical::ORN, width, to, Gpr::ZR, from),
            _ => self.asm.neg(width, to, from),
        }
        if scalar != Scalar::Bool {
            self.extend(to, to, scalar);
        }
        self.set_int(i.a, to);
    }

    pub(super) fn binary(&mut self, i: &Instruction, scalar: Scalar, binary: Binary) {
        match binary {
            Binary::Add => self.add(i, scalar, AddSub::ADD),
            Binary::Subtract => self.add(i, scalar, AddSub::SUB),
            Binary::Multiply => self.multiply(i, scalar),
            Binary::Divide => self.divide(i, scalar, false),
            Binary::Remainder => self.divide(i, scalar, true),
            Binary::And => self.logic(i, scalar, Logical::AND),
            Binary::Or => self.logic(i, scalar, Logical::ORR),
            Binary::Xor => self.logic(i, scalar, Logical::EOR),
            Binary::ShiftLeft => self.shift(i, scalar, TwoSource::LSLV),
            Binary::ShiftRight if scalar.is_signed() => self.shift(i, scalar, TwoSource::ASRV),
            Binary::ShiftRight => self.shift(i, scalar, TwoSource::LSRV),
            Binary::RotateLeft => self.rotate(i, scalar),
            Binary::AddChecked | Binary::SubtractChecked | Binary::MultiplyChecked => {
                self.checked(i, scalar, binary);
            }
        }
    }

    fn add(&mut self, i: &Instruction, scalar: Scalar, op: AddSub) {
        let left = self.int(i.b, Gpr::X16);
        let right = self.right(i, i.c, scalar);
        let to = self.int_destination(i.a);
        self.add_right(op, width_of(scalar), to, left, right);
        self.extend(to, to, scalar);
        self.set_int(i.a, to);
    }

    /// Adds or subtracts a register or a number. Uses x17.
    pub(super) fn add_right(&mut self, op: AddSub, width: Width, to: Gpr, left: Gpr, right: Right) {
        let Right::Number(number) = right else {
            let right = self.right_register(right, width);
            return self.asm.add_sub(op, width, to, left, right);
        };
        // A negative number is subtracted instead. Results and flags are the same.
        let value = signed(width, number);
        match Imm12::new(value.unsigned_abs()) {
            Some(imm) if value < 0 => self.asm.add_sub_imm(opposite(op), width, to, left, imm),
            Some(imm) => self.asm.add_sub_imm(op, width, to, left, imm),
            None => {
                self.asm.mov_imm(width, Gpr::X17, number);
                self.asm.add_sub(op, width, to, left, Gpr::X17);
            }
        }
    }

    /// A product, and the sum or difference that follows if it is the only use of the product.
    fn multiply(&mut self, i: &Instruction, scalar: Scalar) {
        let width = width_of(scalar);
        if let (true, Right::Number(number)) = (i.immediate, self.right(i, i.c, scalar))
            && number.is_power_of_two()
            && number.trailing_zeros() < width.bits()
        {
            let left = self.int(i.b, Gpr::X16);
            let to = self.int_destination(i.a);
            self.asm.lsl(width, to, left, number.trailing_zeros());
            self.extend(to, to, scalar);
            return self.set_int(i.a, to);
        }
        let left = self.int(i.b, Gpr::X16);
        let right = self.right(i, i.c, scalar);
        let right = self.right_register(right, width);
        let next = self.peek().and_then(|next| Some((next, self.addend(i, &next)?)));
        let Some((next, (op, addend))) = next else {
            let to = self.int_destination(i.a);
            self.asm.mul(width, to, left, right);
            self.extend(to, to, scalar);
            return self.set_int(i.a, to);
        };
        self.take_next();
        let scratch = self.other_scratch(&[left, right]);
        let addend = self.int(addend, scratch);
        let to = self.int_destination(next.a);
        self.asm.three_source(op, width, [to, left, right], addend);
        self.extend(to, to, scalar);
        self.set_int(next.a, to);
    }

    /// The operation and the other local if `next` adds the product of `i` to a local or subtracts it from one, and the
    /// product is not read elsewhere.
    fn addend(&self, i: &Instruction, next: &Instruction) -> Option<(ThreeSource, u16)> {
        use crate::ir::Opcode;
        let is_same = next.type_code == i.type_code && !next.immediate && next.b != next.c;
        let dies = next.a == i.a || self.dies_at(i.a, self.index.saturating_add(1));
        if !is_same || !dies {
            return None;
        }
        match next.opcode {
            Opcode::Binary(Binary::Add) if next.b == i.a => Some((ThreeSource::MADD, next.c)),
            Opcode::Binary(Binary::Add) if next.c == i.a => Some((ThreeSource::MADD, next.b)),
            Opcode::Binary(Binary::Subtract) if next.c == i.a => Some((ThreeSource::MSUB, next.b)),
            _ => None,
        }
    }

    fn logic(&mut self, i: &Instruction, scalar: Scalar, op: Logical) {
        let left = self.int(i.b, Gpr::X16);
        let right = self.right(i, i.c, scalar);
        let to = self.int_destination(i.a);
        let width = width_of(scalar);
        match right {
            Right::Number(number) => self.logical_number(op, width, to, left, number),
            Right::Register(right) => self.asm.logical(op, width, to, left, right),
        }
        self.set_int(i.a, to);
    }

    /// Logic on a number. Uses x17.
    pub(super) fn logical_number(
        &mut self,
        op: Logical,
        width: Width,
        to: Gpr,
        left: Gpr,
        number: u64,
    ) {
        let mask = match width {
            Width::W32 => BitMask::new32(u32::try_from(number & 0xffff_ffff).unwrap_or(0)),
            Width::W64 => BitMask::new64(number),
        };
        match mask {
            Some(mask) => self.asm.logical_imm(op, width, to, left, mask),
            None => {
                self.asm.mov_imm(width, Gpr::X17, number);
                self.asm.logical(op, width, to, left, Gpr::X17);
            }
        }
    }

    fn shift(&mut self, i: &Instruction, scalar: Scalar, op: TwoSource) {
        let left = self.int(i.b, Gpr::X16);
        let right = self.right(i, i.c, scalar);
        let to = self.int_destination(i.a);
        let width = width_of(scalar);
        match right {
            Right::Number(number) => {
                let by = u32::try_from(number & u64::from(scalar.bits() - 1)).unwrap_or(0);
                match op {
                    TwoSource::LSLV => self.asm.lsl(width, to, left, by),
                    TwoSource::ASRV => self.asm.asr(width, to, left, by),
                    _ => self.asm.lsr(width, to, left, by),
                }
            }
            Right::Register(count) => {
                let count = self.count(count, scalar);
                self.asm.two_source(op, width, to, left, count);
            }
        }
        if op == TwoSource::LSLV {
            self.extend(to, to, scalar);
        }
        self.set_int(i.a, to);
    }

    /// The count of a shift modulo the bits of a narrow integer; the machine takes it modulo 32 or 64. Uses x17.
    fn count(&mut self, count: Gpr, scalar: Scalar) -> Gpr {
        if scalar.bits() >= 32 {
            return count;
        }
        let mask = u64::from(scalar.bits() - 1);
        self.logical_number(Logical::AND, Width::W32, Gpr::X17, count, mask);
        Gpr::X17
    }

    fn rotate(&mut self, i: &Instruction, scalar: Scalar) {
        let mut left = self.int(i.b, Gpr::X16);
        let right = self.right(i, i.c, scalar);
        let to = self.int_destination(i.a);
        let width = width_of(scalar);
        if scalar.bits() < 32 {
            left = self.repeat(left, scalar);
        }
        match right {
            Right::Number(number) => {
                let by = u32::try_from(number & u64::from(scalar.bits() - 1)).unwrap_or(0);
                let by = scalar.bits().wrapping_sub(by) & (scalar.bits() - 1);
                self.asm.extr(width, to, [left, left], by);
            }
            Right::Register(count) => {
                self.asm.neg(width, Gpr::X17, count);
                self.asm.two_source(TwoSource::RORV, width, to, left, Gpr::X17);
            }
        }
        self.extend(to, to, scalar);
        self.set_int(i.a, to);
    }

    /// Fills x16 with copies of a narrow integer, whose rotation is then one of 32 bits.
    fn repeat(&mut self, from: Gpr, scalar: Scalar) -> Gpr {
        let to = Gpr::X16;
        self.asm.zero_extend(to, from, scalar.bits());
        let mut bits = scalar.bits();
        while bits < 32 {
            let shift = (ShiftKind::Lsl, bits);
            self.asm.logical_shifted(Logical::ORR, Width::W32, [to, to, to], shift);
            bits *= 2;
        }
        to
    }

    fn divide(&mut self, i: &Instruction, scalar: Scalar, is_remainder: bool) {
        let width = width_of(scalar);
        let left = self.int(i.b, Gpr::X16);
        let right = self.right(i, i.c, scalar);
        match right {
            Right::Number(0) => {
                let trap = self.trap(DIVISION_BY_ZERO);
                return self.asm.b(trap);
            }
            Right::Number(number)
                if self.divide_by_power(i, scalar, left, number, is_remainder) =>
            {
                return;
            }
            Right::Number(_) => {}
            Right::Register(right) => {
                let trap = self.trap(DIVISION_BY_ZERO);
                self.asm.cbz(width, right, trap);
            }
        }
        let right = self.right_register(right, width);
        let op = if scalar.is_signed() { TwoSource::SDIV } else { TwoSource::UDIV };
        let to = self.int_destination(i.a);
        if is_remainder {
            let quotient = self.other_scratch(&[left, right]);
            self.asm.two_source(op, width, quotient, left, right);
            self.asm.three_source(ThreeSource::MSUB, width, [to, quotient, right], left);
        } else {
            self.asm.two_source(op, width, to, left, right);
            // The lowest number by -1 leaves a narrow type.
            if scalar.is_signed() {
                self.extend(to, to, scalar);
            }
        }
        self.set_int(i.a, to);
    }

    /// Divides by a power of two above 1; `false` if `number` is no power of two. Uses x17.
    fn divide_by_power(
        &mut self,
        i: &Instruction,
        scalar: Scalar,
        left: Gpr,
        number: u64,
        is_remainder: bool,
    ) -> bool {
        let width = width_of(scalar);
        let by = number.trailing_zeros();
        if !number.is_power_of_two() || by == 0 || scalar.is_signed() && by + 1 >= width.bits() {
            return false;
        }
        let to = self.int_destination(i.a);
        match (scalar.is_signed(), is_remainder) {
            (false, false) => self.asm.lsr(width, to, left, by),
            (false, true) => self.logical_number(Logical::AND, width, to, left, number - 1),
            (true, _) => {
                // A negative dividend is increased by the divisor less 1, so that the shift rounds towards 0.
                self.asm.asr(width, Gpr::X17, left, width.bits() - 1);
                let bias = (ShiftKind::Lsr, width.bits() - by);
                let operands = [Gpr::X17, left, Gpr::X17];
                self.asm.add_sub_shifted(AddSub::ADD, width, operands, bias);
                if is_remainder {
                    self.asm.asr(width, Gpr::X17, Gpr::X17, by);
                    let back = (ShiftKind::Lsl, by);
                    let operands = [to, left, Gpr::X17];
                    self.asm.add_sub_shifted(AddSub::SUB, width, operands, back);
                } else {
                    self.asm.asr(width, to, Gpr::X17, by);
                }
            }
        }
        self.set_int(i.a, to);
        true
    }
}

/// Subtraction for addition, and the other way round.
fn opposite(op: AddSub) -> AddSub {
    match op {
        AddSub::ADD => AddSub::SUB,
        AddSub::ADDS => AddSub::SUBS,
        AddSub::SUB => AddSub::ADD,
        _ => AddSub::ADDS,
    }
}
