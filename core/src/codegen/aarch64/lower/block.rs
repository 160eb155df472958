//! Copying and filling of memory.
//!
//! Up to [`MAX_INLINE_BYTES`] bytes are moved by single instructions, of which the last ones may overlap; more, and a number
//! that is not constant, by a loop of 16 bytes and the rest by the bits of its number.

use super::Lower;
use crate::codegen::aarch64::immediate::Imm12;
use crate::codegen::aarch64::memory::{Mem, PairMode};
use crate::codegen::aarch64::operand::{Cond, Float, Fpr, Gpr, Width};
use crate::codegen::aarch64::table::{Access, AddSub, Pair};
use crate::codegen::lowering::MAX_INLINE_BYTES;
use crate::ir::Instruction;

/// Loads and stores of 16, 8, 4, 2 and 1 bytes.
const UNITS: [(u32, Access, Access); 5] = [
    (16, Access::LDR_Q, Access::STR_Q),
    (8, Access::LDR_D, Access::STR_D),
    (4, Access::LDR_S, Access::STR_S),
    (2, Access::LDR_H, Access::STR_H),
    (1, Access::LDR_B, Access::STR_B),
];

impl Lower<'_, '_> {
    pub(super) fn copy_memory(&mut self, i: &Instruction) {
        match u32::try_from(i.imm).ok().filter(|_| i.immediate) {
            Some(bytes) if bytes <= MAX_INLINE_BYTES => {
                let (to, from) = (self.int(i.a, Gpr::X16), self.int(i.b, Gpr::X17));
                self.inline(bytes, Some(from), to);
            }
            constant => self.copy_loop(i, constant),
        }
    }

    pub(super) fn fill_memory(&mut self, i: &Instruction) {
        let value = self.int(i.b, Gpr::X16);
        self.asm.dup_bytes(Fpr::V31, value);
        match u32::try_from(i.imm).ok().filter(|_| i.immediate) {
            Some(bytes) if bytes <= MAX_INLINE_BYTES => {
                let to = self.int(i.a, Gpr::X16);
                self.inline(bytes, None, to);
            }
            constant => {
                let to = self.int(i.a, Gpr::X16);
                self.move_int(Gpr::X16, to);
                self.count_of(i, constant, Gpr::X17);
                self.block_loop(Gpr::X17, false);
            }
        }
    }

    /// Moves a constant number of bytes through v31, or v30 and v31.
    fn inline(&mut self, bytes: u32, from: Option<Gpr>, to: Gpr) {
        let mut at = 0;
        while bytes - at >= 32 {
            let offset = i64::from(at);
            let mut registers = [Fpr::V31; 2];
            if let Some(from) = from {
                registers = [Fpr::V30, Fpr::V31];
                self.asm.pair_float(Pair::LDP_Q, registers, PairMode::Offset, from, offset);
            }
            self.asm.pair_float(Pair::STP_Q, registers, PairMode::Offset, to, offset);
            at += 32;
        }
        while at < bytes {
            // The largest unit that fits the rest; or one that overlaps what was moved before.
            let rest = bytes - at;
            let unit = UNITS.iter().find(|unit| unit.0 <= rest);
            let over = UNITS.iter().rev().find(|unit| unit.0 >= rest && unit.0 <= bytes);
            let Some(&(size, load, store)) = over.or(unit) else { return };
            let offset = i64::from(at) - i64::from(size.saturating_sub(rest));
            if let Some(from) = from {
                self.asm.memory_float(load, Fpr::V31, Mem::Offset(from, offset));
            }
            self.asm.memory_float(store, Fpr::V31, Mem::Offset(to, offset));
            at += size.min(rest);
        }
    }

    /// The number of bytes of an instruction, in a register.
    fn count_of(&mut self, i: &Instruction, constant: Option<u32>, register: Gpr) {
        match constant {
            Some(bytes) => self.asm.mov_imm(Width::W64, register, bytes.into()),
            None => {
                let count = self.int(i.c, register);
                self.move_int(register, count);
            }
        }
    }

    /// Uses x16, x17 and x30, which a function without frame saves in v30.
    fn copy_loop(&mut self, i: &Instruction, constant: Option<u32>) {
        let is_leaf = !self.frame.is_needed;
        if is_leaf {
            self.asm.fmov_from_int(Float::F64, Fpr::V30, Gpr::LR);
        }
        let to = self.int(i.a, Gpr::X16);
        self.move_int(Gpr::X16, to);
        let from = self.int(i.b, Gpr::X17);
        self.move_int(Gpr::X17, from);
        self.count_of(i, constant, Gpr::LR);
        self.block_loop(Gpr::LR, true);
        if is_leaf {
            self.asm.fmov_to_int(Float::F64, Gpr::LR, Fpr::V30);
        }
    }

    /// Moves `count` bytes to x16, from x17 or v31.
    fn block_loop(&mut self, count: Gpr, is_copy: bool) {
        let [head, tail] = [self.asm.label(), self.asm.label()];
        self.asm.add_sub_imm(AddSub::SUBS, Width::W64, count, count, Imm12::SIXTEEN);
        self.asm.b_cond(Cond::Lo, tail);
        self.bind(head);
        self.step(Access::LDR_Q, Access::STR_Q, 16, is_copy);
        self.asm.add_sub_imm(AddSub::SUBS, Width::W64, count, count, Imm12::SIXTEEN);
        self.asm.b_cond(Cond::Hs, head);
        self.bind(tail);
        // The low bits of the number have not changed.
        for (size, load, store) in UNITS.into_iter().skip(1) {
            let next = self.asm.label();
            self.asm.tbz(count, size.trailing_zeros(), next);
            self.step(load, store, i64::from(size), is_copy);
            self.bind(next);
        }
    }

    fn step(&mut self, load: Access, store: Access, size: i64, is_copy: bool) {
        if is_copy {
            self.asm.memory_float(load, Fpr::V31, Mem::Post(Gpr::X17, size));
        }
        self.asm.memory_float(store, Fpr::V31, Mem::Post(Gpr::X16, size));
    }
}
