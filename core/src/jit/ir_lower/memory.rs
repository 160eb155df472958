//! Reading and writing through pointers.

use super::{Lowering, float_of};
use crate::codegen::x64::{Cond, Gpr, Mem, Scale, W8, W16, W32, W64, Xmm};
use crate::ir::instruction::{Instruction, NONE};
use crate::ir::opcode::Opcode;
use crate::ir::types::Scalar;

impl Lowering<'_, '_> {
    /// The place that an instruction names. Uses `rcx` and `rdx`.
    fn address(&mut self, i: &Instruction, scalar: Scalar) -> Mem {
        let base = self.gpr(i.b, Scalar::Pointer, Gpr::Rcx);
        if matches!(i.opcode, Opcode::Load | Opcode::Store) {
            return Mem::at(base, i.imm);
        }
        let distance = i64::from(i.imm) * i64::from(scalar.size());
        let place = match i32::try_from(distance) {
            Ok(distance) => Mem::at(base, distance),
            Err(_) => {
                self.asm.mov_imm(Gpr::Rdx, distance.cast_unsigned());
                self.asm.add(W64, Gpr::Rdx, base);
                self.move_integer(Gpr::Rcx, Gpr::Rdx);
                Mem::at(Gpr::Rcx, 0)
            }
        };
        if i.c == NONE {
            return place;
        }
        let index = self.gpr(i.c, Scalar::U64, Gpr::Rdx);
        let scale = match scalar.size() {
            1 => Scale::By1,
            2 => Scale::By2,
            4 => Scale::By4,
            _ => Scale::By8,
        };
        // No local lives in the stack pointer.
        index.index().map_or(place, |index| place.indexed(index, scale))
    }

    pub(super) fn load(&mut self, i: &Instruction, scalar: Scalar) {
        let place = self.address(i, scalar);
        if scalar.is_float() {
            let to = self.xmm_destination(i.a, Xmm::Xmm15);
            self.asm.mov_scalar(float_of(scalar), to, place);
            return self.set_xmm(i.a, to);
        }
        let to = self.destination(i.a, Gpr::Rax);
        if scalar == Scalar::Bool {
            // Whatever wrote the byte, a bool is 0 or 1.
            self.asm.cmp(W8, place, 0);
            self.asm.setcc(Cond::Ne, Gpr::Rax);
            self.asm.movzx(to, W8, Gpr::Rax);
        } else {
            self.fill(to, scalar, place);
        }
        self.set(i.a, to);
    }

    pub(super) fn store(&mut self, i: &Instruction, scalar: Scalar) {
        let place = self.address(i, scalar);
        if scalar.is_float() {
            let from = self.xmm(i.a, scalar, Xmm::Xmm15);
            return self.asm.mov_scalar(float_of(scalar), place, from);
        }
        let from = self.gpr(i.a, scalar, Gpr::Rax);
        match scalar.size() {
            1 => self.asm.mov(W8, place, from),
            2 => self.asm.mov(W16, place, from),
            4 => self.asm.mov(W32, place, from),
            _ => self.asm.mov(W64, place, from),
        }
    }

    pub(super) fn element(&mut self, i: &Instruction, scalar: Scalar) {
        let place = self.address(i, scalar);
        let to = self.destination(i.a, Gpr::Rax);
        self.asm.lea(W64, to, place);
        self.set(i.a, to);
    }
}
