//! Memory: loads, stores, addresses, copies.

use super::{Lower, ScalarWidth, float_of};
use crate::codegen::lowering::MAX_INLINE_BYTES;
use crate::codegen::x64::operand::{Cond, Gpr, Mem, Rip, Scale, W8, W64, Xmm};
use crate::ir::STACK_LIMIT;
use crate::ir::{Instruction, NONE, Opcode, Scalar};

impl Lower<'_, '_> {
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
                self.move_int(Gpr::Rcx, Gpr::Rdx);
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
        // No local is in the stack pointer.
        index.index().map_or(place, |index| place.indexed(index, scale))
    }

    pub(super) fn load(&mut self, i: &Instruction, scalar: Scalar) {
        let place = self.address(i, scalar);
        if self.compare_memory(i, scalar, place) {
            return;
        }
        if scalar.is_float() {
            let to = self.float_destination(i.a);
            self.asm.mov_scalar(float_of(scalar), to, place);
            return self.set_float(i.a, to);
        }
        let to = self.int_destination(i.a);
        if scalar == Scalar::Bool {
            // Any byte but 0 is true.
            self.asm.cmp(W8, place, 0);
            self.asm.setcc(Cond::Ne, Gpr::Rax);
            self.asm.movzx(to, W8, Gpr::Rax);
        } else {
            self.fill(to, scalar, place);
        }
        self.set_int(i.a, to);
    }

    pub(super) fn store(&mut self, i: &Instruction, scalar: Scalar) {
        let place = self.address(i, scalar);
        if scalar.is_float() {
            let from = self.xmm(i.a, scalar, Xmm::Xmm15);
            return self.asm.mov_scalar_store(float_of(scalar), place, from);
        }
        let from = self.gpr(i.a, scalar, Gpr::Rax);
        self.asm.mov(ScalarWidth(scalar.bits()), place, from);
    }

    pub(super) fn element(&mut self, i: &Instruction, scalar: Scalar) {
        let place = self.address(i, scalar);
        let to = self.int_destination(i.a);
        self.asm.lea(W64, to, place);
        self.set_int(i.a, to);
    }

    pub(super) fn slot_address(&mut self, i: &Instruction) {
        let distance = self.slot_distance(i.b);
        let to = self.int_destination(i.a);
        self.asm.lea(W64, to, Mem::at(Gpr::Rbp, i.imm.wrapping_sub(distance)));
        self.set_int(i.a, to);
    }

    pub(super) fn data_address(&mut self, i: &Instruction) {
        let Some(label) = self.data_label(i.b) else { return };
        let to = self.int_destination(i.a);
        self.asm.lea(W64, to, Rip::Label(label));
        if i.imm != 0 {
            self.asm.lea(W64, to, Mem::at(to, i.imm));
        }
        self.set_int(i.a, to);
    }

    pub(super) fn check_stack(&mut self, i: &Instruction) {
        let trap = self.trap(STACK_LIMIT);
        let base = self.gpr(i.a, Scalar::Pointer, Gpr::Rcx);
        self.asm.cmp(W64, Gpr::Rsp, Mem::at(base, i.imm));
        self.asm.jcc(Cond::B, trap);
    }

    pub(super) fn copy_memory(&mut self, i: &Instruction) {
        if let Some(count) = inline_count(i) {
            let to = self.gpr(i.a, Scalar::Pointer, Gpr::Rcx);
            let from = self.gpr(i.b, Scalar::Pointer, Gpr::Rdx);
            return self.each_part(count, |lowering, offset, size| {
                lowering.copy_part(Mem::at(to, offset), Mem::at(from, offset), size);
            });
        }
        self.with_string_registers(i, |lowering| lowering.asm.rep_movsb());
    }

    fn copy_part(&mut self, to: Mem, from: Mem, size: u32) {
        let scalar = match size {
            16 => {
                self.asm.movups(Xmm::Xmm15, from);
                return self.asm.movups_store(to, Xmm::Xmm15);
            }
            8 => Scalar::U64,
            4 => Scalar::U32,
            2 => Scalar::U16,
            _ => Scalar::U8,
        };
        self.fill(Gpr::Rax, scalar, from);
        self.asm.mov(ScalarWidth(scalar.bits()), to, Gpr::Rax);
    }

    pub(super) fn fill_memory(&mut self, i: &Instruction) {
        let Some(count) = inline_count(i) else {
            return self.with_string_registers(i, |lowering| lowering.asm.rep_stosb());
        };
        let to = self.gpr(i.a, Scalar::Pointer, Gpr::Rcx);
        let value = self.place(i.b);
        self.move_place(Gpr::Rax, value, Scalar::U8);
        if count > 1 {
            self.asm.mov_imm(Gpr::Rdx, 0x0101_0101_0101_0101);
            self.asm.imul(W64, Gpr::Rax, Gpr::Rdx);
        }
        self.each_part(count, |lowering, offset, size| {
            let to = Mem::at(to, offset);
            match size {
                16 => {
                    lowering.asm.mov(W64, to, Gpr::Rax);
                    lowering.asm.mov(W64, to.plus(8), Gpr::Rax);
                }
                _ => lowering.asm.mov(ScalarWidth(8 * size), to, Gpr::Rax),
            }
        });
    }

    /// Covers `count` bytes by parts of 16, 8, 4, 2 and 1 bytes. The last part may overlap the one before it.
    fn each_part(&mut self, count: u32, mut put: impl FnMut(&mut Self, i32, u32)) {
        let mut offset = 0;
        while offset < count {
            let left = count - offset;
            // The part that covers the rest, if it begins inside of the region.
            let whole = left.next_power_of_two().min(16);
            let (start, size) = match whole <= count {
                true => (offset.min(count - whole), whole),
                false => (offset, 1 << left.ilog2()),
            };
            put(self, start.cast_signed(), size);
            offset = start + size;
        }
    }

    /// Runs a string instruction: `rdi` is the first operand, `rsi` or `al` the second one, `rcx` the count. `rdi` and
    /// `rsi` hold locals, which `rdx` and `rax`, or the stack, preserve.
    fn with_string_registers(&mut self, i: &Instruction, run: impl FnOnce(&mut Self)) {
        let is_copy = i.opcode == Opcode::CopyMemory;
        match i.immediate {
            true => self.asm.mov_imm(Gpr::Rcx, i64::from(i.imm).cast_unsigned()),
            false => {
                let count = self.place(i.c);
                self.move_place(Gpr::Rcx, count, Scalar::U64);
            }
        }
        let (to, from) = (self.place(i.a), self.place(i.b));
        if !is_copy {
            self.move_place(Gpr::Rax, from, Scalar::U8);
            self.asm.mov(W64, Gpr::Rdx, Gpr::Rdi);
            self.move_place(Gpr::Rdi, to, Scalar::Pointer);
            run(self);
            return self.asm.mov(W64, Gpr::Rdi, Gpr::Rdx);
        }
        self.asm.mov(W64, Gpr::Rdx, Gpr::Rdi);
        self.asm.mov(W64, Gpr::Rax, Gpr::Rsi);
        // rdi and rsi may be each other's values.
        let to_place = if to == Gpr::Rsi.into() { Gpr::Rax.into() } else { to };
        let from_place = if from == Gpr::Rdi.into() { Gpr::Rdx.into() } else { from };
        self.move_place(Gpr::Rdi, to_place, Scalar::Pointer);
        self.move_place(Gpr::Rsi, from_place, Scalar::Pointer);
        run(self);
        self.asm.mov(W64, Gpr::Rdi, Gpr::Rdx);
        self.asm.mov(W64, Gpr::Rsi, Gpr::Rax);
    }
}

/// The count of a copy or fill that needs no loop.
fn inline_count(i: &Instruction) -> Option<u32> {
    u32::try_from(i.imm).ok().filter(|count| i.immediate && *count <= MAX_INLINE_BYTES)
}
