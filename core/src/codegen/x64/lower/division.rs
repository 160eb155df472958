//! Division: by zero it traps, and the lowest integer by -1 wraps, where the processor would fault.
//!
//! A constant divisor takes a multiplication, or shifts. Source: H. Warren, "Hacker's Delight", 2nd edition, chapter 10.

use super::value::Right;
use super::{Lower, is_wide, width_of};
use crate::codegen::locals::extended;
use crate::codegen::x64::operand::{Cond, Gpr, GprOrStack, W32, W64};
use crate::codegen::x64::row::{Alu, Shift};
use crate::ir::DIVISION_BY_ZERO;
use crate::ir::interpret::number;
use crate::ir::{Binary, Instruction, Scalar};

impl Lower<'_, '_> {
    pub(super) fn divide(&mut self, i: &Instruction, scalar: Scalar, binary: Binary) {
        let is_quotient = binary == Binary::Divide;
        if i.immediate {
            let divisor = extended(number(i.imm, scalar), scalar);
            return match scalar.is_signed() {
                true => {
                    self.divide_signed_by(i, scalar, sign_extended(divisor, scalar), is_quotient)
                }
                false => self.divide_unsigned_by(i, scalar, divisor, is_quotient),
            };
        }
        let mut right = self.place(i.c);
        let trap = self.trap(DIVISION_BY_ZERO);
        self.compare_places(scalar, right, Right::Number(0));
        self.asm.jcc(Cond::E, trap);
        let left = self.place(i.b);
        if right.register().is_none() {
            self.move_place(Gpr::Rcx, right, scalar);
            right = Gpr::Rcx.into();
        }
        self.move_place(Gpr::Rax, left, scalar);
        let result = if is_quotient { Gpr::Rax } else { Gpr::Rdx };
        if scalar.is_signed() {
            self.divide_signed(scalar, right, result);
        } else {
            self.asm.zero(Gpr::Rdx);
            self.asm.div(width_of(scalar), right);
        }
        self.finish(i, scalar, result);
    }

    fn finish(&mut self, i: &Instruction, scalar: Scalar, result: Gpr) {
        self.extend(result, scalar);
        self.set_int(i.a, result);
    }

    /// Divides `rax`. What is narrower than 32 bits has no quotient that does not fit.
    fn divide_signed(&mut self, scalar: Scalar, right: GprOrStack, result: Gpr) {
        let [divides, done] = [self.asm.label(), self.asm.label()];
        let has_overflow = scalar.bits() >= 32;
        if has_overflow {
            self.compare_places(scalar, right, Right::Number(-1));
            self.asm.jcc_short(Cond::Ne, divides);
            match result {
                Gpr::Rax => self.asm.neg(W64, Gpr::Rax),
                _ => self.asm.zero(Gpr::Rdx),
            }
            self.asm.jmp_short(done);
        }
        self.bind(divides);
        self.asm.sign_to_rdx(width_of(scalar));
        self.asm.idiv(width_of(scalar), right);
        self.bind(done);
    }

    fn divide_unsigned_by(
        &mut self,
        i: &Instruction,
        scalar: Scalar,
        divisor: u64,
        is_quotient: bool,
    ) {
        let left = self.place(i.b);
        if divisor == 0 {
            return self.trap_here(DIVISION_BY_ZERO);
        }
        if divisor.is_power_of_two() {
            return self.divide_by_power(i, scalar, divisor, is_quotient);
        }
        self.move_place(Gpr::Rcx, left, scalar);
        if !is_wide(scalar) {
            self.asm.mov(W32, Gpr::Rcx, Gpr::Rcx);
        }
        self.multiply_high_unsigned(divisor);
        self.finish_by(i, scalar, divisor, is_quotient);
    }

    /// The quotient is in `rdx`, the dividend in `rcx`.
    fn finish_by(&mut self, i: &Instruction, scalar: Scalar, divisor: u64, is_quotient: bool) {
        if is_quotient {
            return self.finish(i, scalar, Gpr::Rdx);
        }
        match i32::try_from(divisor.cast_signed()) {
            Ok(factor) => self.asm.imul_imm(W64, Gpr::Rdx, Gpr::Rdx, factor),
            Err(_) => {
                self.asm.mov_imm(Gpr::Rax, divisor);
                self.asm.imul(W64, Gpr::Rdx, Gpr::Rax);
            }
        }
        self.alu(Alu::SUB, scalar, Gpr::Rcx, Right::Operand(Gpr::Rdx.into()));
        self.finish(i, scalar, Gpr::Rcx);
    }

    /// `rdx = rcx / divisor`
    fn multiply_high_unsigned(&mut self, divisor: u64) {
        let (factor, shift, is_long) = factor(divisor, 64);
        self.asm.mov_imm(Gpr::Rax, factor);
        self.asm.mul(W64, Gpr::Rcx);
        if is_long {
            // The factor has 65 bits, of which the highest is 1.
            self.asm.mov(W64, Gpr::Rax, Gpr::Rcx);
            self.asm.sub(W64, Gpr::Rax, Gpr::Rdx);
            self.asm.shr(W64, Gpr::Rax, 1u8);
            self.asm.add(W64, Gpr::Rdx, Gpr::Rax);
            self.shift_by(Shift::SHR, Scalar::U64, Gpr::Rdx, shift - 1);
        } else {
            self.shift_by(Shift::SHR, Scalar::U64, Gpr::Rdx, shift);
        }
    }

    /// Without a sign, a power of two divides by its bits alone.
    fn divide_by_power(&mut self, i: &Instruction, scalar: Scalar, power: u64, is_quotient: bool) {
        let (to, left) = (self.int_destination(i.a), self.place(i.b));
        self.move_place(to, left, scalar);
        if is_quotient {
            let count = u8::try_from(power.trailing_zeros()).unwrap_or(0);
            self.shift_by(Shift::SHR, scalar, to, count);
        } else {
            self.mask(scalar, to, power - 1);
        }
        self.set_int(i.a, to);
    }

    /// Keeps the lower bits, by a mask of one run of ones. Uses `rax` unless that is `to`.
    fn mask(&mut self, scalar: Scalar, to: Gpr, mask: u64) {
        match i32::try_from(mask) {
            Ok(mask) => self.alu(Alu::AND, scalar, to, Right::Number(mask)),
            Err(_) => {
                let unused = u8::try_from(scalar.bits().max(32) - mask.count_ones()).unwrap_or(0);
                self.shift_by(Shift::SHL, scalar, to, unused);
                self.shift_by(Shift::SHR, scalar, to, unused);
            }
        }
    }

    fn divide_signed_by(
        &mut self,
        i: &Instruction,
        scalar: Scalar,
        divisor: i64,
        is_quotient: bool,
    ) {
        let left = self.place(i.b);
        let magnitude = divisor.unsigned_abs();
        match magnitude {
            0 => return self.trap_here(DIVISION_BY_ZERO),
            1 => {
                if !is_quotient {
                    return self.constant(i.a, scalar, 0);
                }
                self.move_place(Gpr::Rax, left, scalar);
                if divisor < 0 {
                    self.asm.neg(W64, Gpr::Rax);
                }
                return self.finish(i, scalar, Gpr::Rax);
            }
            _ => {}
        }
        self.move_place(Gpr::Rcx, left, scalar);
        if magnitude.is_power_of_two() {
            self.divide_signed_by_power(scalar, magnitude, is_quotient);
        } else {
            if !is_wide(scalar) {
                self.asm.movsxd(Gpr::Rcx, Gpr::Rcx);
            }
            self.multiply_high_signed(magnitude);
            if !is_quotient {
                return self.finish_by(i, scalar, magnitude, false);
            }
        }
        // A remainder has the sign of the dividend, whatever that of the divisor is.
        if is_quotient && divisor < 0 {
            self.asm.neg(W64, Gpr::Rdx);
        }
        self.finish(i, scalar, Gpr::Rdx);
    }

    /// `rdx` = the quotient of `rcx` and a power of two above 1, or what it leaves: one less than the power is added to
    /// a negative dividend first.
    fn divide_signed_by_power(&mut self, scalar: Scalar, power: u64, is_quotient: bool) {
        let count = u8::try_from(power.trailing_zeros()).unwrap_or(0);
        let bits: u8 = if is_wide(scalar) { 64 } else { 32 };
        let add = |lowering: &mut Self, row, to, from: Gpr| {
            lowering.alu(row, scalar, to, Right::Operand(from.into()));
        };
        self.move_int(Gpr::Rax, Gpr::Rcx);
        if count != 1 {
            self.shift_by(Shift::SAR, scalar, Gpr::Rax, bits - 1);
        }
        // At most 63 for 64 bits: the lowest number as divisor.
        self.shift_by(Shift::SHR, scalar, Gpr::Rax, bits - count);
        self.move_int(Gpr::Rdx, Gpr::Rcx);
        add(self, Alu::ADD, Gpr::Rdx, Gpr::Rax);
        if is_quotient {
            return self.shift_by(Shift::SAR, scalar, Gpr::Rdx, count);
        }
        self.mask(scalar, Gpr::Rdx, power - 1);
        add(self, Alu::SUB, Gpr::Rdx, Gpr::Rax);
    }

    /// `rdx = rcx / divisor`
    fn multiply_high_signed(&mut self, divisor: u64) {
        let (factor, shift, _) = factor(divisor, 63);
        self.asm.mov_imm(Gpr::Rax, factor);
        self.asm.imul_wide(W64, Gpr::Rcx);
        if factor.cast_signed() < 0 {
            // The multiplication has read the factor as one that is less by 2^64.
            self.asm.add(W64, Gpr::Rdx, Gpr::Rcx);
        }
        self.shift_by(Shift::SAR, Scalar::I64, Gpr::Rdx, shift);
        self.asm.mov(W64, Gpr::Rax, Gpr::Rdx);
        self.asm.shr(W64, Gpr::Rax, 63u8);
        self.asm.add(W64, Gpr::Rdx, Gpr::Rax);
    }
}

/// A value in the form of a local, with its sign in 64 bits.
fn sign_extended(bits: u64, scalar: Scalar) -> i64 {
    let shift = 64 - scalar.bits();
    (bits << shift).cast_signed() >> shift
}

/// What divides a number below 2^bits by a multiplication: the lower 64 bits of the factor, the shift of the upper half
/// of the product, and whether the factor has a 65th bit, which only one for 64 bits may have. The divisor is at least 3
/// and no power of two.
fn factor(divisor: u64, bits: u32) -> (u64, u8, bool) {
    let divisor = u128::from(divisor);
    let power = bits + 128 - (divisor - 1).leading_zeros();
    // ceil(2^power / divisor) always serves; half of it, if that is exact enough.
    let (short, error) = rounded_up(power - 1, divisor);
    let (factor, power) = match error <= 1u128 << (power - 1 - bits) {
        true => (short, power - 1),
        false => (rounded_up(power, divisor).0, power),
    };
    let low = u64::try_from(factor & u128::from(u64::MAX)).unwrap_or(0);
    (low, u8::try_from(power - 64).unwrap_or(0), factor >> 64 != 0)
}

/// 2^power / divisor, rounded up, and by how much the product of that and the divisor exceeds 2^power. `power` is at
/// most 128.
fn rounded_up(power: u32, divisor: u128) -> (u128, u128) {
    let half = 1u128 << (power - 1);
    let rest = half % divisor * 2;
    let (quotient, rest) = (half / divisor * 2 + rest / divisor, rest % divisor);
    match rest {
        0 => (quotient, 0),
        _ => (quotient + 1, divisor - rest),
    }
}
