//! Conversions.

use super::{Lower, float_of, width_of};
use crate::codegen::aarch64::operand::{Cond, Fpr, Gpr, Width};
use crate::codegen::aarch64::table::{Round, Select, ToFloat};
use crate::ir::Scalar;

impl Lower<'_, '_> {
    pub(super) fn convert(&mut self, a: u16, to: Scalar, b: u16, from: Scalar) {
        match (from.is_float(), to.is_float()) {
            (false, false) => self.integer_to_integer(a, to, b, from),
            (false, true) => {
                let source = self.int(b, Gpr::X16);
                let op = if from.is_signed() { ToFloat::SCVTF } else { ToFloat::UCVTF };
                let register = self.float_destination(a);
                self.asm.to_float(op, float_of(to), width_of(from), register, source);
                self.set_float(a, register);
            }
            (true, false) => self.float_to_integer(a, to, b, from),
            (true, true) if to == from => self.copy(a, b, to),
            (true, true) => {
                let source = self.fpr(b, Fpr::V31);
                let register = self.float_destination(a);
                self.asm.fcvt(float_of(from), register, source);
                self.set_float(a, register);
            }
        }
    }

    fn integer_to_integer(&mut self, a: u16, to: Scalar, b: u16, from: Scalar) {
        let source = self.int(b, Gpr::X16);
        let register = self.int_destination(a);
        match (to, width_of(from)) {
            (Scalar::Bool, width) if from != Scalar::Bool => {
                self.compare_number(width, source, 0);
                self.asm.cset(register, Cond::Ne);
            }
            _ if to.bits() < 32 => self.extend(register, source, to),
            (_, Width::W32) if to.bits() == 64 => match from.is_signed() {
                true => self.asm.sign_extend(Width::W64, register, source, 32),
                false => self.asm.zero_extend(register, source, 32),
            },
            _ => self.move_int(register, source),
        }
        self.set_int(a, register);
    }

    /// The machine rounds towards 0, takes the nearest integer of 32 or 64 bits, and gives 0 for a NaN.
    fn float_to_integer(&mut self, a: u16, to: Scalar, b: u16, from: Scalar) {
        let float = float_of(from);
        let source = self.fpr(b, Fpr::V31);
        if to == Scalar::Bool {
            self.asm.fcmp_zero(float, source);
            let register = self.int_destination(a);
            // A NaN is not 0.
            self.asm.cset(register, Cond::Ne);
            return self.set_int(a, register);
        }
        let op = if to.is_signed() { Round::FCVTZS } else { Round::FCVTZU };
        if to.bits() >= 32 {
            let register = self.int_destination(a);
            self.asm.to_int(op, float, width_of(to), register, source);
            return self.set_int(a, register);
        }
        self.asm.to_int(op, float, Width::W32, Gpr::X16, source);
        let most = match to.is_signed() {
            true => (1u64 << (to.bits() - 1)) - 1,
            false => (1 << to.bits()) - 1,
        };
        let fits = if to.is_signed() { Cond::Le } else { Cond::Ls };
        self.limit(most, fits);
        if to.is_signed() {
            self.limit(!most & 0xffff_ffff, Cond::Ge);
        }
        self.set_int(a, Gpr::X16);
    }

    /// Replaces the 32 bits in x16 by `end` unless `fits` holds between the two. Uses x17.
    fn limit(&mut self, end: u64, fits: Cond) {
        self.asm.mov_imm(Width::W32, Gpr::X17, end);
        self.asm.cmp(Width::W32, Gpr::X16, Gpr::X17);
        let operands = [Gpr::X16, Gpr::X16, Gpr::X17];
        self.asm.select(Select::CSEL, Width::W32, operands, fits);
    }
}
