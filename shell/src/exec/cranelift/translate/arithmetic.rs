//! Operations on one and on two values.

use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::{InstBuilder, Value};
use smf_core::ir::{Binary, Condition, DIVISION_BY_ZERO, Instruction, OVERFLOW, Scalar, Unary};

use super::{Translator, type_of};

/// A condition of floating-point values; all but "not equal" are false for NaN.
pub(super) fn float_condition(condition: Condition) -> FloatCC {
    match condition {
        Condition::Equal => FloatCC::Equal,
        Condition::NotEqual => FloatCC::NotEqual,
        Condition::Less => FloatCC::LessThan,
        Condition::LessEqual => FloatCC::LessThanOrEqual,
        Condition::Greater => FloatCC::GreaterThan,
        Condition::GreaterEqual => FloatCC::GreaterThanOrEqual,
    }
}

/// A condition of integers and addresses.
pub(super) fn int_condition(condition: Condition, scalar: Scalar) -> IntCC {
    let signed = match condition {
        Condition::Equal => return IntCC::Equal,
        Condition::NotEqual => return IntCC::NotEqual,
        Condition::Less => IntCC::SignedLessThan,
        Condition::LessEqual => IntCC::SignedLessThanOrEqual,
        Condition::Greater => IntCC::SignedGreaterThan,
        Condition::GreaterEqual => IntCC::SignedGreaterThanOrEqual,
    };
    if scalar.is_signed() { signed } else { signed.unsigned() }
}

impl Translator<'_, '_, '_, '_, '_> {
    pub(super) fn unary(&mut self, unary: Unary, scalar: Scalar, from: u16) -> Value {
        let value = self.get(from);
        let is_float = scalar.is_float();
        match unary {
            Unary::Negate if is_float => self.b.ins().fneg(value),
            Unary::Negate => self.b.ins().ineg(value),
            Unary::Not if scalar == Scalar::Bool => self.b.ins().bxor_imm_u(value, 1),
            Unary::Not => self.b.ins().bnot(value),
            Unary::SquareRoot => self.b.ins().sqrt(value),
            Unary::Absolute => self.b.ins().fabs(value),
        }
    }

    pub(super) fn binary(&mut self, i: &Instruction, binary: Binary, scalar: Scalar) -> Value {
        let left = self.get(i.b);
        let right = self.second(i, scalar, i.c);
        let is_signed = scalar.is_signed();
        match (binary, scalar.is_float()) {
            (Binary::Add, false) => self.b.ins().iadd(left, right),
            (Binary::Add, true) => self.b.ins().fadd(left, right),
            (Binary::Subtract, false) => self.b.ins().isub(left, right),
            (Binary::Subtract, true) => self.b.ins().fsub(left, right),
            (Binary::Multiply, false) => self.b.ins().imul(left, right),
            (Binary::Multiply, true) => self.b.ins().fmul(left, right),
            (Binary::Divide, true) => self.b.ins().fdiv(left, right),
            (Binary::Divide | Binary::Remainder, _) => {
                self.divide(i, binary, scalar, [left, right])
            }
            (Binary::And, _) => self.b.ins().band(left, right),
            (Binary::Or, _) => self.b.ins().bor(left, right),
            (Binary::Xor, _) => self.b.ins().bxor(left, right),
            (Binary::ShiftLeft, _) => self.b.ins().ishl(left, right),
            (Binary::ShiftRight, _) if is_signed => self.b.ins().sshr(left, right),
            (Binary::ShiftRight, _) => self.b.ins().ushr(left, right),
            (Binary::RotateLeft, _) => self.b.ins().rotl(left, right),
            (Binary::AddChecked | Binary::SubtractChecked | Binary::MultiplyChecked, _) => {
                self.checked(binary, is_signed, left, right)
            }
        }
    }

    fn checked(&mut self, binary: Binary, is_signed: bool, left: Value, right: Value) -> Value {
        let (value, overflows) = match (binary, is_signed) {
            (Binary::AddChecked, true) => self.b.ins().sadd_overflow(left, right),
            (Binary::AddChecked, false) => self.b.ins().uadd_overflow(left, right),
            (Binary::SubtractChecked, true) => self.b.ins().ssub_overflow(left, right),
            (Binary::SubtractChecked, false) => self.b.ins().usub_overflow(left, right),
            (_, true) => self.b.ins().smul_overflow(left, right),
            (_, false) => self.b.ins().umul_overflow(left, right),
        };
        self.trap_if(overflows, OVERFLOW, None);
        value
    }

    /// A quotient or remainder. The lowest number by -1, which the machine refuses, is computed without a division.
    fn divide(
        &mut self,
        i: &Instruction,
        binary: Binary,
        scalar: Scalar,
        [left, right]: [Value; 2],
    ) -> Value {
        let is_quotient = binary == Binary::Divide;
        let known = i.immediate.then_some(i.imm);
        if known.is_none_or(|number| self.is_zero(scalar, number)) {
            let is_zero = self.b.ins().icmp_imm_s(IntCC::Equal, right, 0);
            self.trap_if(is_zero, DIVISION_BY_ZERO, None);
        }
        if !scalar.is_signed() {
            return match is_quotient {
                true => self.b.ins().udiv(left, right),
                false => self.b.ins().urem(left, right),
            };
        }
        // The remainder by -1 is defined for all numbers in Cranelift.
        if !is_quotient {
            return self.b.ins().srem(left, right);
        }
        if known.is_some_and(|number| self.bits_of(scalar, number) != self.bits_of(scalar, -1)) {
            return self.b.ins().sdiv(left, right);
        }
        let [divide, negate, done] = std::array::from_fn(|_| self.b.create_block());
        self.b.set_cold_block(negate);
        let result = self.b.append_block_param(done, type_of(scalar));
        let is_minus_one = self.b.ins().icmp_imm_s(IntCC::Equal, right, -1);
        self.b.ins().brif(is_minus_one, negate, &[], divide, &[]);
        self.b.switch_to_block(negate);
        let value = self.b.ins().ineg(left);
        self.b.ins().jump(done, &[value.into()]);
        self.b.switch_to_block(divide);
        let value = self.b.ins().sdiv(left, right);
        self.b.ins().jump(done, &[value.into()]);
        self.b.switch_to_block(done);
        result
    }

    fn bits_of(&self, scalar: Scalar, number: i32) -> u64 {
        i64::from(number).cast_unsigned() & (u64::MAX >> (64 - scalar.bits()))
    }

    fn is_zero(&self, scalar: Scalar, number: i32) -> bool {
        self.bits_of(scalar, number) == 0
    }
}
