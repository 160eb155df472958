//! Jumps, calls, and what stands between functions.
//!
//! Each names its page in Intel SDM volume 2, "Instruction Set Reference".

use super::assembler::Assembler;
use super::assembler::ReferenceKind;
use super::encode::{GprOperand, Imm, Opcode};
use super::operand::Cond;
use crate::codegen::code::Relocation;
use crate::codegen::label::Label;
use crate::format::RelocKind;

/// The longest of these that fits, as often as needed. Source: "NOP—No Operation", table 4-12.
const NOPS: [&[u8]; 9] = [
    &[0x90],
    &[0x66, 0x90],
    &[0x0f, 0x1f, 0x00],
    &[0x0f, 0x1f, 0x40, 0x00],
    &[0x0f, 0x1f, 0x44, 0x00, 0x00],
    &[0x66, 0x0f, 0x1f, 0x44, 0x00, 0x00],
    &[0x0f, 0x1f, 0x80, 0x00, 0x00, 0x00, 0x00],
    &[0x0f, 0x1f, 0x84, 0x00, 0x00, 0x00, 0x00, 0x00],
    &[0x66, 0x0f, 0x1f, 0x84, 0x00, 0x00, 0x00, 0x00, 0x00],
];

impl Assembler {
    /// Jumps to `label`. A jump backward is as short as it can be; one forward takes five bytes. Source: "JMP—Jump".
    #[inline]
    pub fn jmp(&mut self, label: Label) {
        self.jump(0xeb, 0xe9, false, label);
    }

    /// As [`jmp`](Self::jmp), in two bytes: the caller promises that the label is near enough, at
    /// most 127 bytes behind the jump or 128 before its end.
    #[inline]
    pub fn jmp_short(&mut self, label: Label) {
        self.jump_short(0xeb, label);
    }

    /// Jumps to `label` where the condition holds: as [`jmp`](Self::jmp), a byte longer if it is
    /// not short. Source: "Jcc—Jump if Condition Is Met".
    #[inline]
    pub fn jcc(&mut self, cond: Cond, label: Label) {
        self.jump(0x70 | cond.number(), 0x80 | cond.number(), true, label);
    }

    /// As [`jcc`](Self::jcc), in two bytes: as [`jmp_short`](Self::jmp_short).
    #[inline]
    pub fn jcc_short(&mut self, cond: Cond, label: Label) {
        self.jump_short(0x70 | cond.number(), label);
    }

    /// Jumps to the address in a register or in memory. Source: "JMP—Jump".
    #[inline]
    pub fn jmp_to(&mut self, address: impl GprOperand) {
        self.emit(Opcode::one(0xff), 4, address, Imm::NONE, false);
    }

    /// Jumps to what is outside, and leaves a relocation of kind `Plt32`. Source: "JMP—Jump".
    #[inline]
    pub fn jmp_symbol(&mut self, target: u32) {
        self.branch_outside(0xe9, target);
    }

    /// Calls `label`. Source: "CALL—Call Procedure".
    #[inline]
    pub fn call(&mut self, label: Label) {
        self.refer(self.at + 1, label, ReferenceKind::Near(0));
        self.put_short(0xe8, 5);
    }

    /// Calls the address in a register or in memory. Source: "CALL—Call Procedure".
    #[inline]
    pub fn call_to(&mut self, address: impl GprOperand) {
        self.emit(Opcode::one(0xff), 2, address, Imm::NONE, false);
    }

    /// Calls what is outside, and leaves a relocation of kind `Plt32`. Source: "CALL—Call
    /// Procedure".
    #[inline]
    pub fn call_symbol(&mut self, target: u32) {
        self.branch_outside(0xe8, target);
    }

    #[inline]
    fn branch_outside(&mut self, opcode: u8, target: u32) {
        let offset = self.at + 1;
        self.relocate(Relocation { offset, kind: RelocKind::Plt32, target, addend: -4 });
        self.put_short(opcode.into(), 5);
    }

    /// Returns. Source: "RET—Return From Procedure".
    #[inline]
    pub fn ret(&mut self) {
        self.emit_plain(Opcode::one(0xc3), Imm::NONE);
    }

    /// Marks a place that indirect calls and jumps may lead to; does nothing else. Source: "ENDBR64—Terminate an
    /// Indirect Branch in 64-bit Mode".
    #[inline]
    pub fn endbr64(&mut self) {
        self.put_short(0xfa1e_0ff3, 4);
    }

    /// Copies RCX bytes from where RSI points to where RDI points. Source: "REP/REPE/REPZ/REPNE/REPNZ—Repeat String
    /// Operation Prefix", "MOVS/MOVSB/MOVSW/MOVSD/MOVSQ—Move Data From String to String".
    #[inline]
    pub fn rep_movsb(&mut self) {
        self.put_short(0xa4f3, 2);
    }

    /// Fills RCX bytes where RDI points with AL. Source: "REP/REPE/REPZ/REPNE/REPNZ—Repeat String Operation Prefix",
    /// "STOS/STOSB/STOSW/STOSD/STOSQ—Store String".
    #[inline]
    pub fn rep_stosb(&mut self) {
        self.put_short(0xaaf3, 2);
    }

    /// `len` bytes that do nothing, in few instructions.
    pub fn nops(&mut self, len: u32) {
        let mut left = len as usize;
        while let Some(nop) = NOPS.get(left.min(NOPS.len()).wrapping_sub(1)) {
            self.put_bytes(nop);
            left -= nop.len();
        }
    }

    /// Goes on at a multiple of `alignment`, which is a power of two (of others, the next one
    /// counts). What is between does nothing.
    pub fn align(&mut self, alignment: u32) {
        let at = self.offset();
        let mask = alignment.checked_next_power_of_two().map_or(0, |power| power - 1);
        self.nops(at.wrapping_neg() & mask);
    }

    /// Puts down bytes as they are: constants, or what no method is for.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.put_bytes(bytes);
    }
}
