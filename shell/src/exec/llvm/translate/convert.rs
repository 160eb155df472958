//! Conversions: those of Rust's `as`.

use inkwell::types::BasicType;
use inkwell::values::BasicValueEnum;
use inkwell::{AddressSpace, FloatPredicate};
use smf_core::ir::Scalar;

use super::{Translator, float, int, pointer};
use crate::exec::callees::Failure;
use crate::exec::llvm::declare::Result;

impl<'c> Translator<'_, '_, 'c, '_, '_, '_> {
    pub(super) fn convert(
        &self,
        value: BasicValueEnum<'c>,
        from: Scalar,
        to: Scalar,
    ) -> Result<BasicValueEnum<'c>> {
        // An address converts as a number.
        let (value, from) = match (from, to) {
            (Scalar::Pointer, Scalar::Pointer) => return Ok(value),
            (Scalar::Pointer, _) => {
                let wide = self.d.context.i64_type();
                (self.b.build_ptr_to_int(pointer(value)?, wide, "")?.into(), Scalar::U64)
            }
            _ => (value, from),
        };
        if to == Scalar::Pointer {
            let number = int(self.convert(value, from, Scalar::U64)?)?;
            let ty = self.d.context.ptr_type(AddressSpace::default());
            return Ok(self.b.build_int_to_ptr(number, ty, "")?.into());
        }
        match (from.is_float(), to.is_float()) {
            (true, true) => self.between_floats(value, from, to),
            (true, false) => self.float_to_integer(value, to),
            (false, true) => self.integer_to_float(value, from, to),
            (false, false) => self.between_integers(value, from, to),
        }
    }

    fn between_floats(
        &self,
        value: BasicValueEnum<'c>,
        from: Scalar,
        to: Scalar,
    ) -> Result<BasicValueEnum<'c>> {
        Ok(match (from, to) {
            (Scalar::F32, Scalar::F64) => {
                self.b.build_float_ext(float(value)?, self.d.context.f64_type(), "")?.into()
            }
            (Scalar::F64, Scalar::F32) => {
                self.b.build_float_trunc(float(value)?, self.d.context.f32_type(), "")?.into()
            }
            _ => value,
        })
    }

    fn between_integers(
        &self,
        value: BasicValueEnum<'c>,
        from: Scalar,
        to: Scalar,
    ) -> Result<BasicValueEnum<'c>> {
        let value = int(value)?;
        if to == Scalar::Bool {
            return Ok(self.is_not_zero(value)?.into());
        }
        let ty = self.int_type(to)?;
        let converted = match value.get_type().get_bit_width().cmp(&ty.get_bit_width()) {
            std::cmp::Ordering::Equal => value,
            std::cmp::Ordering::Greater => self.b.build_int_truncate(value, ty, "")?,
            std::cmp::Ordering::Less if from.is_signed() => {
                self.b.build_int_s_extend(value, ty, "")?
            }
            std::cmp::Ordering::Less => self.b.build_int_z_extend(value, ty, "")?,
        };
        Ok(converted.into())
    }

    fn integer_to_float(
        &self,
        value: BasicValueEnum<'c>,
        from: Scalar,
        to: Scalar,
    ) -> Result<BasicValueEnum<'c>> {
        let ty = match to {
            Scalar::F32 => self.d.context.f32_type(),
            _ => self.d.context.f64_type(),
        };
        let value = int(value)?;
        Ok(match from.is_signed() {
            true => self.b.build_signed_int_to_float(value, ty, "")?.into(),
            false => self.b.build_unsigned_int_to_float(value, ty, "")?.into(),
        })
    }

    /// Cut towards 0, and stopped at the limits of the type.
    fn float_to_integer(
        &self,
        value: BasicValueEnum<'c>,
        to: Scalar,
    ) -> Result<BasicValueEnum<'c>> {
        let value = float(value)?;
        if to == Scalar::Bool {
            let zero = value.get_type().const_zero();
            return Ok(self.b.build_float_compare(FloatPredicate::UNE, value, zero, "")?.into());
        }
        let name = if to.is_signed() { "llvm.fptosi.sat" } else { "llvm.fptoui.sat" };
        let types =
            [self.int_type(to)?.as_basic_type_enum(), value.get_type().as_basic_type_enum()];
        let function = self.d.intrinsic(name, &types)?;
        let call = self.b.build_call(function, &[value.into()], "")?;
        call.try_as_basic_value().basic().ok_or(Failure::Invalid)
    }
}
