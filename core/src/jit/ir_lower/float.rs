//! Floats: constants, arithmetic, comparison.

use super::{Lowering, float_of};
use crate::codegen::x64::{Bitwise, Cond, Gpr, Scalar as Row, W8, W32, Xmm, XmmOrMem};
use crate::ir::instruction::Instruction;
use crate::ir::interpret::number;
use crate::ir::opcode::{Binary, Condition, Unary};
use crate::ir::types::Scalar;

impl Lowering<'_, '_> {
    pub(super) fn float_constant(&mut self, to: Xmm, scalar: Scalar, bits: u64) {
        if bits == 0 {
            return self.asm.xorps(to, to);
        }
        self.asm.mov_imm(Gpr::Rax, bits);
        match scalar {
            Scalar::F32 => self.asm.movd(to, Gpr::Rax),
            _ => self.asm.movq(to, Gpr::Rax),
        }
    }

    /// The second value of an instruction, of which `local` is the one that it may be.
    fn float_right(&mut self, i: &Instruction, local: u16, scalar: Scalar) -> XmmOrMem {
        if !i.immediate {
            return self.xmm_operand(local);
        }
        self.float_constant(Xmm::Xmm14, scalar, number(i.number(), scalar));
        Xmm::Xmm14.into()
    }

    /// `a = b op c`
    pub(super) fn float_binary(&mut self, i: &Instruction, scalar: Scalar, binary: Binary) {
        let mut right = self.float_right(i, i.c, scalar);
        let to = self.xmm_destination(i.a, Xmm::Xmm15);
        let mut left = self.xmm(i.b, scalar, Xmm::Xmm15);
        let own = XmmOrMem::Xmm(to);
        if right == own && left != to && binary.is_commutative() {
            right = left.into();
            left = to;
        }
        // What is still to be read must not be overwritten.
        let through = if right == own && left != to { Xmm::Xmm15 } else { to };
        self.move_float(through, left);
        let row = match binary {
            Binary::Subtract => Row::SUB,
            Binary::Multiply => Row::MUL,
            Binary::Divide => Row::DIV,
            _ => Row::ADD,
        };
        self.asm.scalar(row, float_of(scalar), through, right);
        self.move_float(to, through);
        self.set_xmm(i.a, to);
    }

    pub(super) fn move_float(&mut self, to: Xmm, from: Xmm) {
        if to != from {
            self.asm.movaps(to, from);
        }
    }

    /// The verifier lets no other operation of one value come to floats.
    pub(super) fn negate_float(&mut self, i: &Instruction, scalar: Scalar, _: Unary) {
        let sign = 1u64 << (scalar.bits() - 1);
        self.float_constant(Xmm::Xmm14, scalar, sign);
        let to = self.xmm_destination(i.a, Xmm::Xmm15);
        let from = self.xmm(i.b, scalar, to);
        self.move_float(to, from);
        self.asm.xorps(to, Xmm::Xmm14);
        self.set_xmm(i.a, to);
    }

    /// Sets the flags so that the condition that is returned holds when `condition` does; for equality
    /// the parity flag, too, has a say. Where a value is no number, `A` and `Ae` do not hold.
    fn flags(
        &mut self,
        left: u16,
        right: u16,
        i: &Instruction,
        scalar: Scalar,
        condition: Condition,
    ) -> Cond {
        let float = float_of(scalar);
        let right = self.float_right(i, right, scalar);
        let (first, second) = match condition {
            Condition::Less | Condition::LessEqual => {
                let right = match right {
                    XmmOrMem::Xmm(register) => register,
                    XmmOrMem::Mem(place) => {
                        self.asm.mov_scalar(float, Xmm::Xmm14, place);
                        Xmm::Xmm14
                    }
                };
                (right, self.xmm_operand(left))
            }
            _ => (self.xmm(left, scalar, Xmm::Xmm15), right),
        };
        self.asm.bitwise(Bitwise::UCOMIS, float, first, second);
        match condition {
            Condition::Equal => Cond::E,
            Condition::NotEqual => Cond::Ne,
            Condition::Less | Condition::Greater => Cond::A,
            Condition::LessEqual | Condition::GreaterEqual => Cond::Ae,
        }
    }

    pub(super) fn compare_floats(&mut self, i: &Instruction, scalar: Scalar, condition: Condition) {
        let cond = self.flags(i.b, i.c, i, scalar, condition);
        self.asm.setcc(cond, Gpr::Rax);
        match condition {
            Condition::Equal => {
                self.asm.setcc(Cond::Np, Gpr::Rcx);
                self.asm.and(W32, Gpr::Rax, Gpr::Rcx);
            }
            Condition::NotEqual => {
                self.asm.setcc(Cond::P, Gpr::Rcx);
                self.asm.or(W32, Gpr::Rax, Gpr::Rcx);
            }
            _ => {}
        }
        let to = self.destination(i.a, Gpr::Rax);
        self.asm.movzx(to, W8, Gpr::Rax);
        self.set(i.a, to);
    }

    pub(super) fn branch_floats(&mut self, i: &Instruction, scalar: Scalar, condition: Condition) {
        let cond = self.flags(i.a, i.b, i, scalar, condition);
        match condition {
            Condition::Equal => {
                let unordered = self.asm.label();
                self.asm.jcc(Cond::P, unordered);
                self.jump_if(cond, i);
                self.asm.bind(unordered);
            }
            Condition::NotEqual => {
                self.jump_if(Cond::P, i);
                self.jump_if(cond, i);
            }
            _ => self.jump_if(cond, i),
        }
    }
}
