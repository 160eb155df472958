//! Comparisons, branches and conditional traps.

use super::integer::signed;
use super::value::Right;
use super::{Lower, float_of, width_of};
use crate::codegen::aarch64::immediate::Imm12;
use crate::codegen::aarch64::operand::{Cond, Fpr, Gpr, Width};
use crate::codegen::aarch64::table::AddSub;
use crate::ir::interpret::number;
use crate::ir::{Condition, Instruction, Opcode, Scalar};

impl Lower<'_, '_> {
    /// Sets a bool, or branches or selects by the flags where the next instruction is the only use of the bool.
    pub(super) fn compare(&mut self, i: &Instruction, scalar: Scalar, condition: Condition) {
        let dies = self.dies_at(i.a, self.index.saturating_add(1));
        match self.peek().filter(|_| dies) {
            Some(next @ Instruction { opcode: Opcode::BranchIf(expected), a, .. }) if a == i.a => {
                self.take_next();
                self.branch_on(i, [i.b, i.c], scalar, condition, (&next, expected));
            }
            Some(next) if selects_by(&next, i.a) => {
                let cond = self.flags(i, [i.b, i.c], scalar, condition);
                self.take_next();
                let selected = self.instance.scalar(next.type_code).unwrap_or(scalar);
                self.select_on(&next, selected, cond);
            }
            _ => {
                let cond = self.flags(i, [i.b, i.c], scalar, condition);
                let to = self.int_destination(i.a);
                self.asm.cset(to, cond);
                self.set_int(i.a, to);
            }
        }
    }

    pub(super) fn branch(&mut self, i: &Instruction, scalar: Scalar, condition: Condition) {
        self.branch_on(i, [i.a, i.b], scalar, condition, (i, true));
    }

    /// Branches to the target of `branch` if the condition between two locals of `i` is `expected`.
    fn branch_on(
        &mut self,
        i: &Instruction,
        locals: [u16; 2],
        scalar: Scalar,
        condition: Condition,
        (branch, expected): (&Instruction, bool),
    ) {
        let Some(target) = self.target(branch) else { return };
        let [left, _] = locals;
        let is_zero = i.immediate && number(i.number(), scalar) == 0 && !scalar.is_float();
        match (condition, is_zero) {
            (Condition::Equal | Condition::NotEqual, true) => {
                let left = self.int(left, Gpr::X16);
                match (condition == Condition::Equal) == expected {
                    true => self.asm.cbz(width_of(scalar), left, target),
                    false => self.asm.cbnz(width_of(scalar), left, target),
                }
            }
            _ => {
                let cond = self.flags(i, locals, scalar, condition);
                let cond = if expected { cond } else { cond.inverted() };
                self.asm.b_cond(cond, target);
            }
        }
    }

    pub(super) fn branch_if(&mut self, i: &Instruction, expected: bool) {
        let Some(target) = self.target(i) else { return };
        let condition = self.int(i.a, Gpr::X16);
        match expected {
            true => self.asm.cbnz(Width::W32, condition, target),
            false => self.asm.cbz(Width::W32, condition, target),
        }
    }

    pub(super) fn trap_compare(&mut self, i: &Instruction, scalar: Scalar, condition: Condition) {
        let cond = self.flags(i, [i.a, i.b], scalar, condition);
        let trap = self.trap_of(i);
        self.asm.b_cond(cond, trap);
    }

    pub(super) fn trap_if(&mut self, i: &Instruction, expected: bool) {
        let trap = self.trap_of(i);
        let condition = self.int(i.a, Gpr::X16);
        match expected {
            true => self.asm.cbnz(Width::W32, condition, trap),
            false => self.asm.cbz(Width::W32, condition, trap),
        }
    }

    /// Sets the flags so that the returned condition holds when `condition` does.
    fn flags(
        &mut self,
        i: &Instruction,
        [left, right]: [u16; 2],
        scalar: Scalar,
        condition: Condition,
    ) -> Cond {
        if scalar.is_float() {
            return self.float_flags(i, [left, right], scalar, condition);
        }
        let width = width_of(scalar);
        let left = self.int(left, Gpr::X16);
        match self.right(i, right, scalar) {
            Right::Number(number) => self.compare_number(width, left, number),
            Right::Register(right) => self.asm.cmp(width, left, right),
        }
        match (condition, scalar.is_signed()) {
            (Condition::Equal, _) => Cond::Eq,
            (Condition::NotEqual, _) => Cond::Ne,
            (Condition::Less, true) => Cond::Lt,
            (Condition::LessEqual, true) => Cond::Le,
            (Condition::Greater, true) => Cond::Gt,
            (Condition::GreaterEqual, true) => Cond::Ge,
            (Condition::Less, false) => Cond::Lo,
            (Condition::LessEqual, false) => Cond::Ls,
            (Condition::Greater, false) => Cond::Hi,
            (Condition::GreaterEqual, false) => Cond::Hs,
        }
    }

    /// Compares a register with a number. Uses x17.
    pub(super) fn compare_number(&mut self, width: Width, left: Gpr, number: u64) {
        let value = signed(width, number);
        let op = if value < 0 { AddSub::ADDS } else { AddSub::SUBS };
        match Imm12::new(value.unsigned_abs()) {
            Some(imm) => self.asm.add_sub_imm(op, width, Gpr::ZR, left, imm),
            None => {
                self.asm.mov_imm(width, Gpr::X17, number);
                self.asm.cmp(width, left, Gpr::X17);
            }
        }
    }

    /// After FCMP, unordered values set C and V, for which each of these conditions says what the IR does.
    fn float_flags(
        &mut self,
        i: &Instruction,
        [left, right]: [u16; 2],
        scalar: Scalar,
        condition: Condition,
    ) -> Cond {
        let float = float_of(scalar);
        let left = self.fpr(left, Fpr::V31);
        match i.immediate.then(|| number(i.number(), scalar)) {
            Some(0) => self.asm.fcmp_zero(float, left),
            Some(bits) => {
                self.float_constant(Fpr::V30, scalar, bits);
                self.asm.fcmp(float, left, Fpr::V30);
            }
            None => {
                let right = self.fpr(right, Fpr::V30);
                self.asm.fcmp(float, left, right);
            }
        }
        match condition {
            Condition::Equal => Cond::Eq,
            Condition::NotEqual => Cond::Ne,
            Condition::Less => Cond::Mi,
            Condition::LessEqual => Cond::Ls,
            Condition::Greater => Cond::Gt,
            Condition::GreaterEqual => Cond::Ge,
        }
    }
}

/// Whether an instruction is a selection by `local`, which it reads nowhere else.
fn selects_by(next: &Instruction, local: u16) -> bool {
    let is_value = next.c == local || next.other() == Some(local);
    next.opcode == Opcode::Select && next.b == local && !is_value
}
