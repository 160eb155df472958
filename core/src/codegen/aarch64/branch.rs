//! Branches, calls and addresses of code.

use super::assembler::{Assembler, MAX_CODE};
use super::field::Field;
use super::operand::{Cond, Fpr, Gpr, Width};
use super::table::{AddSub, Hint};
use crate::codegen::label::Label;
use crate::format::RelocKind;

impl Assembler {
    /// A conditional branch; `inverted` has the opposite condition.
    fn conditional(&mut self, word: u32, inverted: u32, field: Field, label: Label) {
        let reaches = match self.distance(label) {
            Some(distance) => field.encode(distance).is_some(),
            None => !self.has_long_branches,
        };
        if reaches {
            return self.refer(word, field, label);
        }
        let over = field.encode(8).unwrap_or(0);
        self.word(inverted | over);
        self.b(label);
    }

    /// B. Limit: 128 MiB, the largest code.
    #[inline]
    pub fn b(&mut self, label: Label) {
        const { assert!(MAX_CODE <= 1 << 27) }
        self.refer(0x1400_0000, Field::Branch26, label);
    }

    /// BL to code of this assembler.
    pub fn bl(&mut self, label: Label) {
        self.refer(0x9400_0000, Field::Branch26, label);
    }

    /// B.cond.
    pub fn b_cond(&mut self, cond: Cond, label: Label) {
        let word = |cond: Cond| 0x5400_0000 | cond as u32;
        self.conditional(word(cond), word(cond.inverted()), Field::Word19, label);
    }

    /// CBZ: branches if the register is 0.
    pub fn cbz(&mut self, width: Width, register: Gpr, label: Label) {
        let word = width.sf() | 0x3400_0000 | register.bits();
        self.conditional(word, word | 1 << 24, Field::Word19, label);
    }

    /// CBNZ: branches if the register is not 0.
    pub fn cbnz(&mut self, width: Width, register: Gpr, label: Label) {
        let word = width.sf() | 0x3400_0000 | register.bits();
        self.conditional(word | 1 << 24, word, Field::Word19, label);
    }

    /// TBZ: branches if bit `bit` of the register is 0. Its distance has a limit of 32 KiB even where other branches have
    /// none, unless the label is bound.
    pub fn tbz(&mut self, register: Gpr, bit: u32, label: Label) {
        let word = 0x3600_0000 | (bit >> 5 & 1) << 31 | (bit & 31) << 19 | register.bits();
        self.conditional(word, word | 1 << 24, Field::Branch14, label);
    }

    /// ADR: the address of a label. Limit: 1 MiB.
    pub fn adr(&mut self, to: Gpr, label: Label) {
        self.refer(0x1000_0000 | to.bits(), Field::Adr21, label);
    }

    /// The address of a label: ADR, or where that may not reach, ADR of itself and the distance in `scratch`. No limit.
    pub fn address(&mut self, to: Gpr, label: Label, scratch: Gpr) {
        let width = Width::W64;
        match self.distance(label) {
            Some(distance) if Field::Adr21.encode(distance).is_none() => {
                self.word(0x1000_0000 | to.bits());
                self.mov_imm(width, scratch, distance.unsigned_abs());
                self.add_sub(AddSub::SUB, width, to, to, scratch);
            }
            None if self.has_long_branches => {
                self.word(0x1000_0000 | to.bits());
                self.refer(0xd280_0000 | scratch.bits(), Field::Low16, label);
                self.refer(0xf2a0_0000 | scratch.bits(), Field::High16, label);
                self.add_sub(AddSub::ADD, width, to, to, scratch);
            }
            _ => self.adr(to, label),
        }
    }

    /// LDR (literal, SIMD&FP) of 64 bits. Limit: 1 MiB.
    pub fn ldr_literal_d(&mut self, to: Fpr, label: Label) {
        self.refer(0x5c00_0000 | to.bits(), Field::Word19, label);
    }

    /// BR: jumps to the address in a register.
    pub fn br(&mut self, to: Gpr) {
        self.word(0xd61f_0000 | to.bits() << 5);
    }

    /// BLR: calls the function at the address in a register.
    pub fn blr(&mut self, to: Gpr) {
        self.word(0xd63f_0000 | to.bits() << 5);
    }

    /// RET to the link register.
    pub fn ret(&mut self) {
        self.word(0xd65f_0000 | Gpr::LR.bits() << 5);
    }

    /// B to a relocation target.
    pub fn b_target(&mut self, target: u32) {
        self.relocate(RelocKind::Arm64Branch26, target, 0);
        self.word(0x1400_0000);
    }

    /// BL to a relocation target.
    pub fn bl_target(&mut self, target: u32) {
        self.relocate(RelocKind::Arm64Branch26, target, 0);
        self.word(0x9400_0000);
    }

    /// The address of a relocation target out of a slot that the linker fills: ADRP and LDR. Limit: the slot is within
    /// 4 GiB.
    pub fn load_address(&mut self, to: Gpr, target: u32) {
        self.relocate(RelocKind::Arm64GotLoadPage21, target, 0);
        self.word(0x9000_0000 | to.bits());
        self.relocate(RelocKind::Arm64GotLoadPageOff12, target, 0);
        self.word(0xf940_0000 | to.bits() << 5 | to.bits());
    }

    /// An instruction without operands.
    #[inline]
    pub fn hint(&mut self, hint: Hint) {
        self.word(hint.0);
    }
}
