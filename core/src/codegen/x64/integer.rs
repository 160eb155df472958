//! Instructions on general registers and memory.
//!
//! Each names its page in Intel SDM volume 2, "Instruction Set Reference".

use super::assembler::Assembler;
use super::encode::{Address, GprOperand, Imm, Opcode, Operand};
use super::operand::{Cond, Full, Gpr, Narrow, W32, W64, Wide, Width};
use super::row::{Alu, Shift, Unary};
use super::source::{Count, Destination, Family, Source};
use crate::codegen::code::Relocation;
use crate::format::RelocKind;

impl Assembler {
    /// One of the instructions of [`Alu`].
    #[inline]
    pub fn alu<W: Width, D>(&mut self, row: Alu, width: W, destination: D, source: impl Source<D>) {
        source.put(self, Family::Alu(row), width, destination);
    }

    #[inline]
    pub(super) fn alu_immediate<W: Width>(
        &mut self,
        row: Alu,
        width: W,
        to: impl GprOperand,
        value: i32,
    ) {
        let imm = Imm::full(value, width);
        let byte = i8::try_from(value).ok().filter(|_| width.bits() != 8);
        if let Some(byte) = byte {
            let imm = Imm::byte(byte.cast_unsigned());
            self.emit(Opcode::one(0x83).width(width), row.digit, to, imm, false);
        } else if to.is_accumulator() {
            self.emit_plain(Opcode::one(row.digit << 3 | 4).sized(width), imm);
        } else {
            let low_byte = width.bits() == 8 && to.needs_rex();
            self.emit(Opcode::one(0x80).sized(width), row.digit, to, imm, low_byte);
        }
    }

    /// Sets the flags by the bits that both have. Source: "TEST—Logical Compare".
    #[inline]
    pub fn test<W: Width, D>(&mut self, width: W, one: D, other: impl Source<D>) {
        other.put(self, Family::Test, width, one);
    }

    #[inline]
    pub(super) fn test_immediate<W: Width>(&mut self, width: W, to: impl GprOperand, value: i32) {
        let imm = Imm::full(value, width);
        if to.is_accumulator() {
            return self.emit_plain(Opcode::one(0xa8).sized(width), imm);
        }
        let low_byte = width.bits() == 8 && to.needs_rex();
        self.emit(Opcode::one(0xf6).sized(width), 0, to, imm, low_byte);
    }

    /// Moves. 8 and 16 bits leave the rest of a register. Source: "MOV—Move".
    #[inline]
    pub fn mov<W: Width, D>(&mut self, width: W, destination: D, source: impl Source<D>) {
        source.put(self, Family::Mov, width, destination);
    }

    /// Fills a register, in 5 to 10 bytes. Source: "MOV—Move".
    #[inline]
    pub fn mov_imm(&mut self, register: Gpr, value: u64) {
        if let Ok(low) = u32::try_from(value) {
            register.fill(self, W32, low.cast_signed());
        } else if let Ok(low) = i32::try_from(value.cast_signed()) {
            register.fill(self, W64, low);
        } else {
            self.emit_long(Opcode::one(0xb8).width(W64), register, value);
        }
    }

    /// Fills a register with 0, and changes the flags. Source: "XOR—Logical Exclusive OR".
    #[inline]
    pub fn zero(&mut self, register: Gpr) {
        self.xor(W32, register, register);
    }

    /// Fills a register with the address of what is outside, and leaves a relocation of kind
    /// `Abs64`. Source: "MOV—Move".
    #[inline]
    pub fn mov_symbol(&mut self, register: Gpr, target: u32, addend: i64) {
        let offset = self.at + 2;
        self.relocate(Relocation { offset, kind: RelocKind::Abs64, target, addend });
        self.emit_long(Opcode::one(0xb8).width(W64), register, 0);
    }

    /// Moves and clears all that is above. From 32 bits, `mov` does. Source: "MOVZX—Move With
    /// Zero-Extend".
    #[inline]
    pub fn movzx<N: Narrow>(&mut self, register: Gpr, from: N, source: impl GprOperand) {
        let (opcode, low_byte) = match from.bits() {
            8 => (0xb6, source.needs_rex()),
            _ => (0xb7, false),
        };
        self.emit(Opcode::two(opcode), register.number(), source, Imm::NONE, low_byte);
    }

    /// Moves and fills what is above with the sign. Source: "MOVSX/MOVSXD—Move With
    /// Sign-Extension".
    #[inline]
    pub fn movsx<W: Full, N: Narrow>(
        &mut self,
        width: W,
        register: Gpr,
        from: N,
        source: impl GprOperand,
    ) {
        let (opcode, low_byte) = match from.bits() {
            8 => (0xbe, source.needs_rex()),
            _ => (0xbf, false),
        };
        let opcode = Opcode::two(opcode).width(width);
        self.emit(opcode, register.number(), source, Imm::NONE, low_byte);
    }

    /// Moves 32 bits into 64 and fills the upper half with the sign. Source: "MOVSX/MOVSXD—Move
    /// With Sign-Extension".
    #[inline]
    pub fn movsxd(&mut self, register: Gpr, source: impl GprOperand) {
        self.emit(Opcode::one(0x63).width(W64), register.number(), source, Imm::NONE, false);
    }

    /// The address itself. Source: "LEA—Load Effective Address".
    #[inline]
    pub fn lea<W: Full>(&mut self, width: W, register: Gpr, address: impl Address) {
        self.emit(Opcode::one(0x8d).width(width), register.number(), address, Imm::NONE, false);
    }

    /// Puts 64 bits on the stack. Source: "PUSH—Push Word, Doubleword, or Quadword Onto the Stack".
    #[inline]
    pub fn push(&mut self, register: Gpr) {
        self.emit_short(Opcode::one(0x50), register, Imm::NONE, false);
    }

    /// Takes 64 bits from the stack. Source: "POP—Pop a Value From the Stack".
    #[inline]
    pub fn pop(&mut self, register: Gpr) {
        self.emit_short(Opcode::one(0x58), register, Imm::NONE, false);
    }

    /// One of the instructions of [`Unary`].
    #[inline]
    pub fn unary<W: Width>(&mut self, row: Unary, width: W, operand: impl GprOperand) {
        let low_byte = width.bits() == 8 && operand.needs_rex();
        let opcode = Opcode::one(row.opcode).sized(width);
        self.emit(opcode, row.digit, operand, Imm::NONE, low_byte);
    }

    /// One of the instructions of [`Shift`], by a `u8` or by [`Cl`](super::Cl).
    #[inline]
    pub fn shift<W: Width>(
        &mut self,
        row: Shift,
        width: W,
        operand: impl GprOperand,
        count: impl Count,
    ) {
        let low_byte = width.bits() == 8 && operand.needs_rex();
        let (opcode, imm) = count.form();
        let imm = imm.map_or(Imm::NONE, Imm::byte);
        self.emit(Opcode::one(opcode).sized(width), row.digit, operand, imm, low_byte);
    }

    /// Multiplies; the flags tell whether the product was cut. Source: "IMUL—Signed Multiply".
    #[inline]
    pub fn imul<W: Wide>(&mut self, width: W, register: Gpr, source: impl GprOperand) {
        self.emit(Opcode::two(0xaf).width(width), register.number(), source, Imm::NONE, false);
    }

    /// Multiplies `source` by an immediate. Source: "IMUL—Signed Multiply".
    #[inline]
    pub fn imul_imm<W: Wide>(
        &mut self,
        width: W,
        register: Gpr,
        source: impl GprOperand,
        value: i32,
    ) {
        let value = if width.bits() == 16 { value << 16 >> 16 } else { value };
        let (opcode, imm) = match i8::try_from(value) {
            Ok(byte) => (0x6b, Imm::byte(byte.cast_unsigned())),
            Err(_) => (0x69, Imm::full(value, width)),
        };
        self.emit(Opcode::one(opcode).width(width), register.number(), source, imm, false);
    }

    /// Fills RDX with the sign of RAX: what a signed division needs before it. For 64 bits it is
    /// `cqo`, for 32 `cdq`, for 16 `cwd`. Source: "CWD/CDQ/CQO—Convert Word to Doubleword/Convert
    /// Doubleword to Quadword".
    #[inline]
    pub fn sign_to_rdx<W: Wide>(&mut self, width: W) {
        self.emit_plain(Opcode::one(0x99).width(width), Imm::NONE);
    }

    /// A byte: 1 where the condition holds, and 0. Source: "SETcc—Set Byte on Condition".
    #[inline]
    pub fn setcc(&mut self, cond: Cond, operand: impl GprOperand) {
        let low_byte = operand.needs_rex();
        self.emit(Opcode::two(0x90 | cond.number()), 0, operand, Imm::NONE, low_byte);
    }

    /// Moves where the condition holds; 32 bits clear the upper half in any case. Memory is read in
    /// any case. Source: "CMOVcc—Conditional Move".
    #[inline]
    pub fn cmovcc<W: Wide>(
        &mut self,
        cond: Cond,
        width: W,
        register: Gpr,
        source: impl GprOperand,
    ) {
        let opcode = Opcode::two(0x40 | cond.number()).width(width);
        self.emit(opcode, register.number(), source, Imm::NONE, false);
    }

    /// Exchanges; with memory, atomically. Source: "XCHG—Exchange Register/Memory With Register".
    #[inline]
    pub fn xchg<W: Width>(&mut self, width: W, operand: impl GprOperand, register: Gpr) {
        let low_byte = width.bits() == 8 && (operand.needs_rex() || register.needs_rex());
        self.emit(Opcode::one(0x86).sized(width), register.number(), operand, Imm::NONE, low_byte);
    }
}
