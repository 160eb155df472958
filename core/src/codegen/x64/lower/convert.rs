//! From one type to another, as Rust's `as` does: integers wrap, floats are cut towards 0 and stop at the
//! ends of what they become, what is no number becomes 0.

use super::{Lower, float_of, is_wide};
use crate::codegen::x64::operand::{Cond, Float, Gpr, W8, W32, W64, Xmm};
use crate::codegen::x64::row::{Bitwise, Scalar as Row};
use crate::ir::types::Scalar;

/// 2^63 and 2^64 as they are written in 64 bits.
const TWO_TO_63: u64 = 0x43e0_0000_0000_0000;
const TWO_TO_64: u64 = 0x43f0_0000_0000_0000;

impl Lower<'_, '_> {
    pub(super) fn convert(&mut self, a: u16, to: Scalar, b: u16, from: Scalar) {
        match (from.is_float(), to.is_float()) {
            (false, false) => self.integer_to_integer(a, to, b, from),
            (false, true) => self.integer_to_float(a, to, b, from),
            (true, false) => self.float_to_integer(a, to, b, from),
            (true, true) if to == from => self.copy(a, b, to),
            (true, true) => {
                let source = self.xmm(b, from, Xmm::Xmm15);
                let register = self.float_destination(a);
                match to {
                    Scalar::F32 => self.asm.cvtsd2ss(register, source),
                    _ => self.asm.cvtss2sd(register, source),
                }
                self.set_float(a, register);
            }
        }
    }

    fn integer_to_integer(&mut self, a: u16, to: Scalar, b: u16, from: Scalar) {
        let register = self.int_destination(a);
        let source = self.gpr(b, from, register);
        match to {
            Scalar::Bool if from != Scalar::Bool => {
                self.test(source, from);
                self.asm.setcc(Cond::Ne, Gpr::Rax);
                self.asm.movzx(register, W8, Gpr::Rax);
            }
            _ if is_wide(to) => self.widen(register, source, from),
            _ => self.fill(register, to, source),
        }
        self.set_int(a, register);
    }

    /// The value in 64 bits, with its sign.
    fn widen(&mut self, to: Gpr, source: Gpr, from: Scalar) {
        match from {
            _ if is_wide(from) => self.move_int(to, source),
            _ if from.is_signed() => self.asm.movsxd(to, source),
            _ => self.asm.mov(W32, to, source),
        }
    }

    fn integer_to_float(&mut self, a: u16, to: Scalar, b: u16, from: Scalar) {
        let float = float_of(to);
        let source = self.gpr(b, from, Gpr::Rax);
        let register = self.float_destination(a);
        // The conversion keeps the upper part, and would wait for the instruction that wrote it last.
        self.zero_xmm(register);
        if is_wide(from) && !from.is_signed() {
            self.unsigned_to_float(register, to, source);
        } else {
            self.widen(Gpr::Rax, source, from);
            self.asm.cvtsi2s(float, register, W64, Gpr::Rax);
        }
        self.set_float(a, register);
    }

    /// Half of what is too large for a sign, with the last bit kept so that it is rounded once, twice.
    fn unsigned_to_float(&mut self, to: Xmm, scalar: Scalar, source: Gpr) {
        let float = float_of(scalar);
        let [large, done] = [self.asm.label(), self.asm.label()];
        self.asm.test(W64, source, source);
        self.asm.jcc_short(Cond::S, large);
        self.asm.cvtsi2s(float, to, W64, source);
        self.asm.jmp_short(done);
        self.bind(large);
        self.asm.mov(W64, Gpr::Rcx, source);
        self.move_int(Gpr::Rax, source);
        self.asm.shr(W64, Gpr::Rcx, 1u8);
        self.asm.and(W32, Gpr::Rax, 1);
        self.asm.or(W64, Gpr::Rcx, Gpr::Rax);
        self.asm.cvtsi2s(float, to, W64, Gpr::Rcx);
        self.asm.scalar(Row::ADD, float, to, to);
        self.bind(done);
    }

    fn float_to_integer(&mut self, a: u16, to: Scalar, b: u16, from: Scalar) {
        // A conversion to double precision is exact, so that what follows is the same for both.
        let source = self.xmm(b, from, Xmm::Xmm15);
        match from {
            Scalar::F32 => self.asm.cvtss2sd(Xmm::Xmm15, source),
            _ => self.move_float(Xmm::Xmm15, source),
        }
        match to {
            Scalar::Bool => self.float_to_bool(),
            Scalar::I64 => self.float_to_i64(),
            Scalar::U64 | Scalar::Pointer => self.float_to_u64(),
            _ => self.float_to_narrow(to),
        }
        self.set_int(a, Gpr::Rax);
    }

    /// Loads `xmm14` with a constant and compares `xmm15` with it. Uses `rcx`.
    fn compare_with(&mut self, bits: u64) {
        self.load_14(bits);
        self.asm.bitwise(Bitwise::UCOMIS, Float::F64, Xmm::Xmm15, Xmm::Xmm14);
    }

    fn load_14(&mut self, bits: u64) {
        self.asm.mov_imm(Gpr::Rcx, bits);
        self.asm.movq(Xmm::Xmm14, Gpr::Rcx);
    }

    fn float_to_bool(&mut self) {
        self.compare_with(0);
        self.asm.setcc(Cond::Ne, Gpr::Rax);
        self.asm.setcc(Cond::P, Gpr::Rcx);
        self.asm.or(W32, Gpr::Rax, Gpr::Rcx);
        self.asm.movzx(Gpr::Rax, W8, Gpr::Rax);
    }

    /// What 32 bits hold is compared as a float, which holds it exactly.
    fn float_to_narrow(&mut self, to: Scalar) {
        let (lowest, highest) = ends(to);
        let done = self.asm.label();
        self.asm.zero(Gpr::Rax);
        self.asm.bitwise(Bitwise::UCOMIS, Float::F64, Xmm::Xmm15, Xmm::Xmm15);
        self.asm.jcc_short(Cond::P, done);
        self.load_14(lowest.to_bits());
        self.asm.scalar(Row::MAX, Float::F64, Xmm::Xmm15, Xmm::Xmm14);
        self.load_14(highest.to_bits());
        self.asm.scalar(Row::MIN, Float::F64, Xmm::Xmm15, Xmm::Xmm14);
        self.asm.cvtts2si(Float::F64, W64, Gpr::Rax, Xmm::Xmm15);
        self.bind(done);
    }

    fn float_to_i64(&mut self) {
        let done = self.asm.label();
        self.asm.zero(Gpr::Rax);
        self.asm.bitwise(Bitwise::UCOMIS, Float::F64, Xmm::Xmm15, Xmm::Xmm15);
        self.asm.jcc_short(Cond::P, done);
        self.asm.cvtts2si(Float::F64, W64, Gpr::Rax, Xmm::Xmm15);
        self.compare_with(TWO_TO_63);
        self.asm.jcc_short(Cond::B, done);
        self.asm.mov_imm(Gpr::Rax, i64::MAX.cast_unsigned());
        self.bind(done);
    }

    /// The upper half of the numbers is converted without its highest bit.
    fn float_to_u64(&mut self) {
        let [large, done] = [self.asm.label(), self.asm.label()];
        self.asm.zero(Gpr::Rax);
        self.compare_with(0);
        // Nothing above 0, or no number.
        self.asm.jcc_short(Cond::Be, done);
        self.compare_with(TWO_TO_63);
        self.asm.jcc_short(Cond::Ae, large);
        self.asm.cvtts2si(Float::F64, W64, Gpr::Rax, Xmm::Xmm15);
        self.asm.jmp_short(done);
        self.bind(large);
        self.asm.mov_imm(Gpr::Rax, u64::MAX);
        self.compare_with(TWO_TO_64);
        self.asm.jcc_short(Cond::Ae, done);
        self.load_14(TWO_TO_63);
        self.asm.scalar(Row::SUB, Float::F64, Xmm::Xmm15, Xmm::Xmm14);
        self.asm.cvtts2si(Float::F64, W64, Gpr::Rax, Xmm::Xmm15);
        self.asm.mov_imm(Gpr::Rcx, 1 << 63);
        self.asm.xor(W64, Gpr::Rax, Gpr::Rcx);
        self.bind(done);
    }
}

/// The lowest and the highest value of an integer of at most 32 bits.
fn ends(scalar: Scalar) -> (f64, f64) {
    match scalar {
        Scalar::I8 => (i8::MIN.into(), i8::MAX.into()),
        Scalar::I16 => (i16::MIN.into(), i16::MAX.into()),
        Scalar::I32 => (i32::MIN.into(), i32::MAX.into()),
        Scalar::U8 => (0.0, u8::MAX.into()),
        Scalar::U16 => (0.0, u16::MAX.into()),
        _ => (0.0, u32::MAX.into()),
    }
}
