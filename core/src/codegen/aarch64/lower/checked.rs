//! Integer arithmetic that traps on overflow.

use super::value::Right;
use super::{Lower, width_of};
use crate::codegen::aarch64::operand::{Cond, Extension, Gpr, ShiftKind, Width};
use crate::codegen::aarch64::table::{AddSub, ThreeSource};
use crate::ir::{Binary, Instruction, OVERFLOW, Scalar};

impl Lower<'_, '_> {
    pub(super) fn checked(&mut self, i: &Instruction, scalar: Scalar, binary: Binary) {
        let width = width_of(scalar);
        let left = self.int(i.b, Gpr::X16);
        let right = self.right(i, i.c, scalar);
        let to = self.trapping_destination(i.a);
        let cond = match binary {
            Binary::MultiplyChecked => {
                let right = self.right_register(right, width);
                self.multiply_checked(to, left, right, scalar)
            }
            Binary::AddChecked => self.add_checked(AddSub::ADDS, to, left, right, scalar),
            _ => self.add_checked(AddSub::SUBS, to, left, right, scalar),
        };
        let trap = self.trap(OVERFLOW);
        self.asm.b_cond(cond, trap);
        self.set_int(i.a, to);
    }

    /// Returns the condition of an overflow.
    fn add_checked(
        &mut self,
        op: AddSub,
        to: Gpr,
        left: Gpr,
        right: Right,
        scalar: Scalar,
    ) -> Cond {
        self.add_right(op, width_of(scalar), to, left, right);
        match (scalar.bits(), scalar.is_signed(), op) {
            (..32, ..) => self.compare_extended(to, scalar),
            (_, true, _) => Cond::Vs,
            (_, false, AddSub::ADDS) => Cond::Hs,
            (_, false, _) => Cond::Lo,
        }
    }

    /// Compares a result of 32 bits with its extension from a narrow type.
    fn compare_extended(&mut self, result: Gpr, scalar: Scalar) -> Cond {
        let extension = match (scalar.bits(), scalar.is_signed()) {
            (8, true) => Extension::Sxtb,
            (8, false) => Extension::Uxtb,
            (_, true) => Extension::Sxth,
            (_, false) => Extension::Uxth,
        };
        let operands = [Gpr::ZR, result, result];
        self.asm.add_sub_extended(AddSub::SUBS, Width::W32, operands, (extension, 0));
        Cond::Ne
    }

    fn multiply_checked(&mut self, to: Gpr, left: Gpr, right: Gpr, scalar: Scalar) -> Cond {
        let operands = [to, left, right];
        match (scalar.bits(), scalar.is_signed()) {
            (64, is_signed) => return self.multiply_checked_64(to, left, right, is_signed),
            (32, true) => {
                self.asm.three_source(ThreeSource::SMADDL, Width::W64, operands, Gpr::ZR);
                let operands = [Gpr::ZR, to, to];
                let low = (Extension::Sxtw, 0);
                self.asm.add_sub_extended(AddSub::SUBS, Width::W64, operands, low);
            }
            (32, false) => {
                self.asm.three_source(ThreeSource::UMADDL, Width::W64, operands, Gpr::ZR);
                let operands = [Gpr::ZR, Gpr::ZR, to];
                let high = (ShiftKind::Lsr, 32);
                self.asm.add_sub_shifted(AddSub::SUBS, Width::W64, operands, high);
            }
            _ => {
                self.asm.mul(Width::W32, to, left, right);
                return self.compare_extended(to, scalar);
            }
        }
        Cond::Ne
    }

    fn multiply_checked_64(&mut self, to: Gpr, left: Gpr, right: Gpr, is_signed: bool) -> Cond {
        // Where the product replaces no operand, the upper half may replace the one in x17: x30 is not saved.
        let is_apart = to != left && to != right;
        let high = if is_apart { Gpr::X17 } else { self.other_scratch(&[left, right]) };
        if is_apart {
            self.asm.mul(Width::W64, to, left, right);
        }
        let op = if is_signed { ThreeSource::SMULH } else { ThreeSource::UMULH };
        self.asm.three_source(op, Width::W64, [high, left, right], Gpr::ZR);
        if !is_apart {
            self.asm.mul(Width::W64, to, left, right);
        }
        match is_signed {
            true => {
                let operands = [Gpr::ZR, high, to];
                let sign = (ShiftKind::Asr, 63);
                self.asm.add_sub_shifted(AddSub::SUBS, Width::W64, operands, sign);
            }
            false => self.compare_number(Width::W64, high, 0),
        }
        Cond::Ne
    }
}
