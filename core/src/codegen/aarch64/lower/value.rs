//! Locals in registers and in the frame, constants, copies.

use super::{Lower, float_of, width_of};
use crate::codegen::aarch64::immediate::{BitMask, FloatImm};
use crate::codegen::aarch64::lower::Aarch64;
use crate::codegen::aarch64::operand::Cond;
use crate::codegen::aarch64::operand::{Float, Fpr, Gpr, Width};
use crate::codegen::aarch64::table::Select;
use crate::codegen::frame::StackPlace;
use crate::codegen::locals::extended;
use crate::codegen::lowering::Machine;
use crate::codegen::regalloc::Location;
use crate::ir::interpret::number;
use crate::ir::{Instruction, Scalar};

/// The second value of an integer operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Right {
    Register(Gpr),
    /// In the form of a local.
    Number(u64),
}

impl Lower<'_, '_> {
    /// The register of an integer local; `scratch`, loaded, if it is in the frame.
    #[inline]
    pub(super) fn int(&mut self, local: u16, scratch: Gpr) -> Gpr {
        match self.location(local) {
            Location::Int(number) => Gpr::new(number),
            Location::Frame(slot) => {
                Aarch64::load_int(self, scratch, StackPlace::Spill(slot));
                scratch
            }
            _ => scratch,
        }
    }

    /// The register of a floating-point local; `scratch`, loaded, if it is in the frame.
    pub(super) fn fpr(&mut self, local: u16, scratch: Fpr) -> Fpr {
        match self.location(local) {
            Location::Float(number) => Fpr::new(number),
            Location::Frame(slot) => {
                Aarch64::load_float(self, scratch, StackPlace::Spill(slot));
                scratch
            }
            _ => scratch,
        }
    }

    /// A scratch register that is not in `used`, which are operands or a result. An operand is in x16 only where it was
    /// loaded from the frame, so that x30 is saved where x16 and x17 hold two operands.
    pub(super) fn other_scratch(&self, used: &[Gpr]) -> Gpr {
        let free = [Gpr::X16, Gpr::X17].into_iter().find(|register| !used.contains(register));
        debug_assert!(free.is_some() || self.frame.is_needed, "x30 is not saved");
        free.unwrap_or(Gpr::LR)
    }

    /// The second value of an instruction: `local`, or the number in the instruction.
    pub(super) fn right(&mut self, i: &Instruction, local: u16, scalar: Scalar) -> Right {
        match i.immediate {
            true => Right::Number(extended(number(i.number(), scalar), scalar)),
            false => Right::Register(self.int(local, Gpr::X17)),
        }
    }

    /// The second value in a register: a number is loaded into x17.
    pub(super) fn right_register(&mut self, right: Right, width: Width) -> Gpr {
        match right {
            Right::Register(register) => register,
            Right::Number(value) => {
                self.asm.mov_imm(width, Gpr::X17, value);
                Gpr::X17
            }
        }
    }

    /// Brings a value of which only its own bits count into the form of a local.
    pub(super) fn extend(&mut self, to: Gpr, from: Gpr, scalar: Scalar) {
        match scalar {
            Scalar::I8 | Scalar::I16 => {
                self.asm.sign_extend(Width::W32, to, from, scalar.bits());
            }
            Scalar::U8 | Scalar::U16 | Scalar::Bool => {
                self.asm.zero_extend(to, from, scalar.bits());
            }
            _ => self.move_int(to, from),
        }
    }

    pub(super) fn constant(&mut self, local: u16, scalar: Scalar, bits: u64) {
        if scalar.is_float() {
            let to = self.float_destination(local);
            self.float_constant(to, scalar, bits);
            return self.set_float(local, to);
        }
        match self.location(local) {
            Location::Frame(slot) if bits == 0 => {
                Aarch64::store_int(self, StackPlace::Spill(slot), Gpr::ZR);
            }
            _ => {
                let to = self.int_destination(local);
                self.asm.mov_imm(width_of(scalar), to, extended(bits, scalar));
                self.set_int(local, to);
            }
        }
    }

    /// Loads a floating-point constant. Uses x16.
    pub(super) fn float_constant(&mut self, to: Fpr, scalar: Scalar, bits: u64) {
        let float = float_of(scalar);
        let imm = match float {
            Float::F32 => FloatImm::new32(u32::try_from(bits).unwrap_or(0)),
            Float::F64 => FloatImm::new64(bits),
        };
        match imm {
            _ if bits == 0 => self.asm.fzero(to),
            Some(imm) => self.asm.fmov_imm(float, to, imm),
            // A load from memory takes one instruction and eight bytes.
            None if pieces(bits) > 2 && !self.asm.has_long_branches() => {
                let label = self.literal(bits, false);
                self.asm.ldr_literal_d(to, label);
            }
            None => {
                self.asm.mov_imm(width_of(scalar), Gpr::X16, bits);
                self.asm.fmov_from_int(float, to, Gpr::X16);
            }
        }
    }

    pub(super) fn copy(&mut self, to: u16, from: u16, scalar: Scalar) {
        if scalar.is_float() {
            let scratch = self.float_destination(to);
            let from = self.fpr(from, scratch);
            return self.set_float(to, from);
        }
        let scratch = self.int_destination(to);
        let from = self.int(from, scratch);
        self.set_int(to, from);
    }

    pub(super) fn select_by_bool(&mut self, i: &Instruction, scalar: Scalar) {
        let condition = self.int(i.b, Gpr::X16);
        self.compare_number(Width::W32, condition, 0);
        self.select_on(i, scalar, Cond::Ne);
    }

    /// Selects by the flags.
    pub(super) fn select_on(&mut self, i: &Instruction, scalar: Scalar, cond: Cond) {
        let second = i.other().unwrap_or(0);
        if scalar.is_float() {
            let (first, second) = (self.fpr(i.c, Fpr::V30), self.fpr(second, Fpr::V31));
            let to = self.float_destination(i.a);
            self.asm.fcsel(float_of(scalar), [to, first, second], cond);
            return self.set_float(i.a, to);
        }
        let (first, second) = (self.int(i.c, Gpr::X16), self.int(second, Gpr::X17));
        let to = self.int_destination(i.a);
        self.asm.select(Select::CSEL, width_of(scalar), [to, first, second], cond);
        self.set_int(i.a, to);
    }
}

/// The instructions that load a constant into a general register.
fn pieces(bits: u64) -> usize {
    if BitMask::new64(bits).is_some() {
        return 1;
    }
    let pieces = |value: u64| (0..64).step_by(16).filter(|by| value >> by & 0xffff != 0).count();
    pieces(bits).min(pieces(!bits))
}
