//! Operations on one and on two values.

use inkwell::values::{BasicMetadataValueEnum, BasicValueEnum, IntValue};
use inkwell::{FloatPredicate, IntPredicate};
use smf_core::ir::{Binary, Condition, DIVISION_BY_ZERO, Instruction, OVERFLOW, Scalar, Unary};

use super::{Translator, float, int, pointer};
use crate::exec::callees::Failure;
use crate::exec::llvm::declare::Result;

/// A condition of floating-point values; all but "not equal" are false for NaN.
fn float_predicate(condition: Condition) -> FloatPredicate {
    match condition {
        Condition::Equal => FloatPredicate::OEQ,
        Condition::NotEqual => FloatPredicate::UNE,
        Condition::Less => FloatPredicate::OLT,
        Condition::LessEqual => FloatPredicate::OLE,
        Condition::Greater => FloatPredicate::OGT,
        Condition::GreaterEqual => FloatPredicate::OGE,
    }
}

/// A condition of integers and addresses.
fn int_predicate(condition: Condition, is_signed: bool) -> IntPredicate {
    match (condition, is_signed) {
        (Condition::Equal, _) => IntPredicate::EQ,
        (Condition::NotEqual, _) => IntPredicate::NE,
        (Condition::Less, true) => IntPredicate::SLT,
        (Condition::LessEqual, true) => IntPredicate::SLE,
        (Condition::Greater, true) => IntPredicate::SGT,
        (Condition::GreaterEqual, true) => IntPredicate::SGE,
        (Condition::Less, false) => IntPredicate::ULT,
        (Condition::LessEqual, false) => IntPredicate::ULE,
        (Condition::Greater, false) => IntPredicate::UGT,
        (Condition::GreaterEqual, false) => IntPredicate::UGE,
    }
}

impl<'c> Translator<'_, '_, 'c, '_, '_, '_> {
    pub(super) fn compare(
        &self,
        condition: Condition,
        scalar: Scalar,
        i: &Instruction,
        [left, right]: [u16; 2],
    ) -> Result<IntValue<'c>> {
        let (left, right) = (self.get(left)?, self.second(i, scalar, right)?);
        if scalar.is_float() {
            let (left, right) = (float(left)?, float(right)?);
            return Ok(self.b.build_float_compare(float_predicate(condition), left, right, "")?);
        }
        let predicate = int_predicate(condition, scalar.is_signed());
        Ok(match scalar {
            Scalar::Pointer => {
                self.b.build_int_compare(predicate, pointer(left)?, pointer(right)?, "")?
            }
            _ => self.b.build_int_compare(predicate, int(left)?, int(right)?, "")?,
        })
    }

    pub(super) fn unary(
        &self,
        unary: Unary,
        scalar: Scalar,
        from: u16,
    ) -> Result<BasicValueEnum<'c>> {
        let value = self.get(from)?;
        Ok(match unary {
            Unary::Negate if scalar.is_float() => self.b.build_float_neg(float(value)?, "")?.into(),
            Unary::Negate => self.b.build_int_neg(int(value)?, "")?.into(),
            Unary::Not => self.b.build_not(int(value)?, "")?.into(),
            Unary::SquareRoot => self.intrinsic_call("llvm.sqrt", scalar, &[value.into()])?,
            Unary::Absolute => self.intrinsic_call("llvm.fabs", scalar, &[value.into()])?,
        })
    }

    /// Calls an intrinsic function of one type.
    fn intrinsic_call(
        &self,
        name: &str,
        scalar: Scalar,
        args: &[BasicMetadataValueEnum<'c>],
    ) -> Result<BasicValueEnum<'c>> {
        let function = self.d.intrinsic(name, &[self.type_of(scalar)])?;
        let call = self.b.build_call(function, args, "")?;
        call.try_as_basic_value().basic().ok_or(Failure::Invalid)
    }

    pub(super) fn binary(
        &mut self,
        i: &Instruction,
        binary: Binary,
        scalar: Scalar,
    ) -> Result<BasicValueEnum<'c>> {
        let (left, right) = (self.get(i.b)?, self.second(i, scalar, i.c)?);
        if scalar.is_float() {
            return self.float_binary(binary, left, right);
        }
        let (left, right) = (int(left)?, int(right)?);
        let value = match binary {
            Binary::Add => self.b.build_int_add(left, right, "")?,
            Binary::Subtract => self.b.build_int_sub(left, right, "")?,
            Binary::Multiply => self.b.build_int_mul(left, right, "")?,
            Binary::Divide | Binary::Remainder => {
                return self.divide(i, binary, scalar, [left, right]);
            }
            Binary::And => self.b.build_and(left, right, "")?,
            Binary::Or => self.b.build_or(left, right, "")?,
            Binary::Xor => self.b.build_xor(left, right, "")?,
            Binary::ShiftLeft => {
                self.b.build_left_shift(left, self.modulo_width(scalar, right)?, "")?
            }
            Binary::ShiftRight => {
                let count = self.modulo_width(scalar, right)?;
                self.b.build_right_shift(left, count, scalar.is_signed(), "")?
            }
            Binary::RotateLeft => {
                let args = [left.into(), left.into(), right.into()];
                return self.intrinsic_call("llvm.fshl", scalar, &args);
            }
            Binary::AddChecked | Binary::SubtractChecked | Binary::MultiplyChecked => {
                return self.checked(binary, scalar, [left, right]);
            }
        };
        Ok(value.into())
    }

    fn float_binary(
        &self,
        binary: Binary,
        left: BasicValueEnum<'c>,
        right: BasicValueEnum<'c>,
    ) -> Result<BasicValueEnum<'c>> {
        let (left, right) = (float(left)?, float(right)?);
        Ok(match binary {
            Binary::Add => self.b.build_float_add(left, right, "")?.into(),
            Binary::Subtract => self.b.build_float_sub(left, right, "")?.into(),
            Binary::Multiply => self.b.build_float_mul(left, right, "")?.into(),
            Binary::Divide => self.b.build_float_div(left, right, "")?.into(),
            _ => return Err(Failure::Invalid),
        })
    }

    /// A count of bits modulo the width.
    fn modulo_width(&self, scalar: Scalar, count: IntValue<'c>) -> Result<IntValue<'c>> {
        let mask = count.get_type().const_int(u64::from(scalar.bits()) - 1, false);
        Ok(self.b.build_and(count, mask, "")?)
    }

    fn checked(
        &mut self,
        binary: Binary,
        scalar: Scalar,
        [left, right]: [IntValue<'c>; 2],
    ) -> Result<BasicValueEnum<'c>> {
        let name = match (binary, scalar.is_signed()) {
            (Binary::AddChecked, true) => "llvm.sadd.with.overflow",
            (Binary::AddChecked, false) => "llvm.uadd.with.overflow",
            (Binary::SubtractChecked, true) => "llvm.ssub.with.overflow",
            (Binary::SubtractChecked, false) => "llvm.usub.with.overflow",
            (_, true) => "llvm.smul.with.overflow",
            (_, false) => "llvm.umul.with.overflow",
        };
        let both = self.intrinsic_call(name, scalar, &[left.into(), right.into()])?;
        let BasicValueEnum::StructValue(both) = both else { return Err(Failure::Invalid) };
        let overflows = int(self.b.build_extract_value(both, 1, "")?)?;
        self.trap_if(overflows, OVERFLOW, None)?;
        Ok(self.b.build_extract_value(both, 0, "")?)
    }

    /// A quotient or remainder. The lowest number by -1, which LLVM leaves undefined, is divided by 1.
    fn divide(
        &mut self,
        i: &Instruction,
        binary: Binary,
        scalar: Scalar,
        [left, right]: [IntValue<'c>; 2],
    ) -> Result<BasicValueEnum<'c>> {
        let ty = right.get_type();
        let known = right.get_zero_extended_constant().filter(|_| i.immediate);
        if known.is_none_or(|number| number == 0) {
            let zero = ty.const_zero();
            let is_zero = self.b.build_int_compare(IntPredicate::EQ, right, zero, "")?;
            self.trap_if(is_zero, DIVISION_BY_ZERO, None)?;
        }
        let is_quotient = binary == Binary::Divide;
        if !scalar.is_signed() {
            return Ok(match is_quotient {
                true => self.b.build_int_unsigned_div(left, right, "")?.into(),
                false => self.b.build_int_unsigned_rem(left, right, "")?.into(),
            });
        }
        let (one, minus_one) = (ty.const_int(1, false), ty.const_all_ones());
        let is_minus_one = self.b.build_int_compare(IntPredicate::EQ, right, minus_one, "")?;
        let divisor = int(self.b.build_select(is_minus_one, one, right, "")?)?;
        if !is_quotient {
            return Ok(self.b.build_int_signed_rem(left, divisor, "")?.into());
        }
        let quotient = self.b.build_int_signed_div(left, divisor, "")?;
        let negated = self.b.build_int_neg(left, "")?;
        Ok(self.b.build_select(is_minus_one, negated, quotient, "")?)
    }
}
