//! Conversions: those of Rust's `as`.

use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::types::{F32, F64, I32, I64};
use cranelift_codegen::ir::{InstBuilder, Value};
use smf_core::ir::Scalar;

use super::{Translator, type_of};

impl Translator<'_, '_, '_, '_, '_> {
    pub(super) fn convert(&mut self, value: Value, from: Scalar, to: Scalar) -> Value {
        match (from.is_float(), to) {
            (true, Scalar::F32 | Scalar::F64) => self.between_floats(value, from, to),
            (true, Scalar::Bool) => {
                let zero = self.number(from, 0);
                self.b.ins().fcmp(FloatCC::NotEqual, value, zero)
            }
            (true, _) => self.float_to_integer(value, to),
            (false, Scalar::F32 | Scalar::F64) => self.integer_to_float(value, from, to),
            (false, Scalar::Bool) => match from {
                Scalar::Bool => value,
                _ => self.b.ins().icmp_imm_s(IntCC::NotEqual, value, 0),
            },
            (false, _) => self.between_integers(value, from, to),
        }
    }

    fn between_floats(&mut self, value: Value, from: Scalar, to: Scalar) -> Value {
        match (from, to) {
            (Scalar::F32, Scalar::F64) => self.b.ins().fpromote(F64, value),
            (Scalar::F64, Scalar::F32) => self.b.ins().fdemote(F32, value),
            _ => value,
        }
    }

    fn between_integers(&mut self, value: Value, from: Scalar, to: Scalar) -> Value {
        let ty = type_of(to);
        match from.bits().cmp(&to.bits()) {
            std::cmp::Ordering::Equal => value,
            std::cmp::Ordering::Greater => self.b.ins().ireduce(ty, value),
            std::cmp::Ordering::Less if from.is_signed() => self.b.ins().sextend(ty, value),
            std::cmp::Ordering::Less => self.b.ins().uextend(ty, value),
        }
    }

    fn integer_to_float(&mut self, value: Value, from: Scalar, to: Scalar) -> Value {
        // Machines convert 32 bits and more.
        let (value, ty) = match (from.bits(), from.is_signed()) {
            (..32, true) => (self.b.ins().sextend(I32, value), type_of(to)),
            (..32, false) => (self.b.ins().uextend(I32, value), type_of(to)),
            _ => (value, type_of(to)),
        };
        match from.is_signed() || from.bits() < 32 {
            true => self.b.ins().fcvt_from_sint(ty, value),
            false => self.b.ins().fcvt_from_uint(ty, value),
        }
    }

    /// Cut towards 0, and stopped at the limits of the type.
    fn float_to_integer(&mut self, value: Value, to: Scalar) -> Value {
        let wide = if to.bits() == 64 { I64 } else { I32 };
        if to.bits() >= 32 {
            return match to.is_signed() {
                true => self.b.ins().fcvt_to_sint_sat(wide, value),
                false => self.b.ins().fcvt_to_uint_sat(wide, value),
            };
        }
        let converted = self.b.ins().fcvt_to_sint_sat(I32, value);
        let (low, high) = match to.is_signed() {
            true => (-(1i64 << (to.bits() - 1)), (1i64 << (to.bits() - 1)) - 1),
            false => (0, (1i64 << to.bits()) - 1),
        };
        let low = self.b.ins().iconst(I32, low & 0xffff_ffff);
        let high = self.b.ins().iconst(I32, high);
        let stopped = self.b.ins().smax(converted, low);
        let stopped = self.b.ins().smin(stopped, high);
        self.b.ins().ireduce(type_of(to), stopped)
    }
}
