//! Loads, stores and addresses.

use super::value::Right;
use super::{Lower, width_of};
use crate::codegen::aarch64::memory::Mem;
use crate::codegen::aarch64::operand::{Cond, Extension, Fpr, Gpr, ShiftKind, Width};
use crate::codegen::aarch64::table::{Access, AddSub};
use crate::ir::{Instruction, NONE, Opcode, Scalar};

/// The load of a value in the form of a local.
fn load_of(scalar: Scalar) -> Access {
    match scalar {
        Scalar::I8 => Access::LDRSB_32,
        Scalar::U8 | Scalar::Bool => Access::LDRB,
        Scalar::I16 => Access::LDRSH_32,
        Scalar::U16 => Access::LDRH,
        Scalar::I32 | Scalar::U32 => Access::LDR_W,
        Scalar::F32 => Access::LDR_S,
        Scalar::F64 => Access::LDR_D,
        Scalar::I64 | Scalar::U64 | Scalar::Pointer => Access::LDR_X,
    }
}

fn store_of(scalar: Scalar) -> Access {
    match scalar {
        Scalar::I8 | Scalar::U8 | Scalar::Bool => Access::STRB,
        Scalar::I16 | Scalar::U16 => Access::STRH,
        Scalar::I32 | Scalar::U32 => Access::STR_W,
        Scalar::F32 => Access::STR_S,
        Scalar::F64 => Access::STR_D,
        Scalar::I64 | Scalar::U64 | Scalar::Pointer => Access::STR_X,
    }
}

impl Lower<'_, '_> {
    /// The address that an instruction names. Uses x16 and x17.
    fn address(&mut self, i: &Instruction, scalar: Scalar, access: Access) -> Mem {
        let base = self.int(i.b, Gpr::X16);
        if matches!(i.opcode, Opcode::Load | Opcode::Store) {
            return self.address_of(access, base, i.imm.into());
        }
        let bytes = i64::from(i.imm) * i64::from(scalar.size());
        if i.c == NONE {
            return self.address_of(access, base, bytes);
        }
        let index = self.int(i.c, Gpr::X17);
        if bytes == 0 {
            return Mem::Index(base, index, Extension::Uxtx, scalar.size() > 1);
        }
        self.indexed(Gpr::X16, base, index, scalar);
        self.address_of(access, Gpr::X16, bytes)
    }

    /// `base` + `index` * size of the type.
    fn indexed(&mut self, to: Gpr, base: Gpr, index: Gpr, scalar: Scalar) {
        let scale = (ShiftKind::Lsl, scalar.size().trailing_zeros());
        self.asm.add_sub_shifted(AddSub::ADD, Width::W64, [to, base, index], scale);
    }

    pub(super) fn load(&mut self, i: &Instruction, scalar: Scalar) {
        let access = load_of(scalar);
        let place = self.address(i, scalar, access);
        if scalar.is_float() {
            let to = self.float_destination(i.a);
            self.asm.memory_float(access, to, place);
            return self.set_float(i.a, to);
        }
        let to = self.int_destination(i.a);
        self.asm.memory(access, to, place);
        if scalar == Scalar::Bool {
            self.compare_number(Width::W32, to, 0);
            self.asm.cset(to, Cond::Ne);
        }
        self.set_int(i.a, to);
    }

    pub(super) fn store(&mut self, i: &Instruction, scalar: Scalar) {
        let access = store_of(scalar);
        let place = self.address(i, scalar, access);
        if scalar.is_float() {
            let from = self.fpr_with_address(i.a);
            return self.asm.memory_float(access, from, place);
        }
        // A value that is loaded comes from the frame, so that x30 is saved. The load has no other scratch register.
        let from = self.int(i.a, Gpr::LR);
        self.asm.memory(access, from, place);
    }

    /// The register of a floating-point local, while x16 and x17 hold an address.
    fn fpr_with_address(&mut self, local: u16) -> Fpr {
        use crate::codegen::frame::StackPlace;
        use crate::codegen::lowering::Machine;
        use crate::codegen::regalloc::Location;
        let Location::Frame(slot) = self.location(local) else {
            return self.fpr(local, Fpr::V31);
        };
        super::Aarch64::load_int(self, Gpr::LR, StackPlace::Spill(slot));
        self.asm.fmov_from_int(crate::codegen::aarch64::Float::F64, Fpr::V31, Gpr::LR);
        Fpr::V31
    }

    pub(super) fn element(&mut self, i: &Instruction, scalar: Scalar) {
        let bytes = i64::from(i.imm) * i64::from(scalar.size());
        let mut base = self.int(i.b, Gpr::X16);
        let to = self.int_destination(i.a);
        if i.c != NONE {
            let index = self.int(i.c, Gpr::X17);
            let sum = if bytes == 0 { to } else { Gpr::X16 };
            self.indexed(sum, base, index, scalar);
            base = sum;
        }
        if bytes != 0 || i.c == NONE {
            self.add_bytes(to, base, bytes);
        }
        self.set_int(i.a, to);
    }

    /// Adds a number of bytes to an address. Uses x17.
    pub(super) fn add_bytes(&mut self, to: Gpr, base: Gpr, bytes: i64) {
        match bytes {
            0 => self.move_int(to, base),
            _ => {
                let width = width_of(Scalar::Pointer);
                self.add_right(AddSub::ADD, width, to, base, Right::Number(bytes.cast_unsigned()));
            }
        }
    }

    pub(super) fn slot_address(&mut self, i: &Instruction) {
        let bytes = i64::from(i.imm) - i64::from(self.slot_distance(i.b));
        let to = self.int_destination(i.a);
        self.add_bytes(to, Gpr::FP, bytes);
        self.set_int(i.a, to);
    }

    pub(super) fn data_address(&mut self, i: &Instruction) {
        let Some(label) = self.data_label(i.b) else { return };
        let to = self.int_destination(i.a);
        self.asm.address(to, label, Gpr::X17);
        self.add_bytes(to, to, i.imm.into());
        self.set_int(i.a, to);
    }
}
