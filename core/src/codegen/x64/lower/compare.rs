//! Comparisons, and the branches, traps and selections that depend on them.
//!
//! A comparison whose bool only the next instruction reads sets the flags alone.

use super::value::Right;
use super::{Lower, ScalarWidth, float_of, width_of};
use crate::codegen::label::Label;
use crate::codegen::x64::operand::{Cond, Gpr, GprOrStack, Mem, W8, W32, Xmm};
use crate::codegen::x64::row::{Alu, Bitwise};
use crate::ir::{Condition, Instruction, Opcode, Scalar};

/// What the flags say after a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It holds on this condition.
    When(Cond),
    /// It holds when equal and not unordered.
    EqualFloats,
    /// It holds when not equal, or unordered.
    UnequalFloats,
}

impl Outcome {
    fn inverted(self) -> Self {
        match self {
            Self::When(cond) => Self::When(cond.inverted()),
            Self::EqualFloats => Self::UnequalFloats,
            Self::UnequalFloats => Self::EqualFloats,
        }
    }

    fn when(self, expected: bool) -> Self {
        if expected { self } else { self.inverted() }
    }
}

/// What the flags say after a comparison of integers.
fn cond_of(condition: Condition, scalar: Scalar) -> Cond {
    match (condition, scalar.is_signed()) {
        (Condition::Equal, _) => Cond::E,
        (Condition::NotEqual, _) => Cond::Ne,
        (Condition::Less, true) => Cond::L,
        (Condition::LessEqual, true) => Cond::Le,
        (Condition::Greater, true) => Cond::G,
        (Condition::GreaterEqual, true) => Cond::Ge,
        (Condition::Less, false) => Cond::B,
        (Condition::LessEqual, false) => Cond::Be,
        (Condition::Greater, false) => Cond::A,
        (Condition::GreaterEqual, false) => Cond::Ae,
    }
}

impl Lower<'_, '_> {
    pub(super) fn compare(&mut self, i: &Instruction, scalar: Scalar, condition: Condition) {
        let outcome = self.flags(i, [i.b, i.c], scalar, condition);
        if !self.fuse(i.a, outcome) {
            self.set_bool(i.a, outcome);
        }
    }

    /// Lowers the next instruction by the flags, if only that reads `local`, the result of a comparison.
    fn fuse(&mut self, local: u16, outcome: Outcome) -> bool {
        let Some(next) = self.peek() else { return false };
        if !self.dies_at(local, self.index.saturating_add(1)) {
            return false;
        }
        match (next.opcode, outcome) {
            (Opcode::BranchIf(expected), _) if next.a == local => {
                self.take_next();
                self.jump_to_target(outcome.when(expected), &next);
            }
            (Opcode::TrapIf(expected), _) if next.a == local => {
                self.take_next();
                self.trap_on(outcome.when(expected), &next);
            }
            (Opcode::Select, Outcome::When(cond)) if next.b == local => {
                let Some(scalar) = self.instance.scalar(next.type_code) else { return false };
                if next.c == local || next.other() == Some(local) {
                    return false;
                }
                self.take_next();
                self.select(&next, scalar, cond);
            }
            _ => return false,
        }
        true
    }

    fn set_bool(&mut self, local: u16, outcome: Outcome) {
        match outcome {
            Outcome::When(cond) => self.asm.setcc(cond, Gpr::Rax),
            Outcome::EqualFloats => {
                self.asm.setcc(Cond::E, Gpr::Rax);
                self.asm.setcc(Cond::Np, Gpr::Rcx);
                self.asm.and(W32, Gpr::Rax, Gpr::Rcx);
            }
            Outcome::UnequalFloats => {
                self.asm.setcc(Cond::Ne, Gpr::Rax);
                self.asm.setcc(Cond::P, Gpr::Rcx);
                self.asm.or(W32, Gpr::Rax, Gpr::Rcx);
            }
        }
        let to = self.int_destination(local);
        self.asm.movzx(to, W8, Gpr::Rax);
        self.set_int(local, to);
    }

    pub(super) fn branch(&mut self, i: &Instruction, scalar: Scalar, condition: Condition) {
        let outcome = self.flags(i, [i.a, i.b], scalar, condition);
        self.branch_on(outcome, i);
    }

    fn branch_on(&mut self, outcome: Outcome, i: &Instruction) {
        self.jump_to_target(outcome, i);
        // Where the branch is not taken, the same condition does not trap.
        while self.peek().is_some_and(|next| is_trap_of(i, &next)) {
            self.take_next();
        }
    }

    pub(super) fn trap_compare(&mut self, i: &Instruction, scalar: Scalar, condition: Condition) {
        let outcome = self.flags(i, [i.a, i.b], scalar, condition);
        self.trap_on(outcome, i);
    }

    /// Traps on `outcome`. A jump that follows takes its inverse, and the trap site comes behind it.
    fn trap_on(&mut self, outcome: Outcome, i: &Instruction) {
        let trap = self.trap_of(i);
        match self.peek() {
            Some(next) if next.opcode == Opcode::Jump => {
                self.take_next();
                self.jump_to_target(outcome.inverted(), &next);
                self.last_trap_site();
                self.has_jumped = true;
            }
            _ => self.jump_on(outcome, trap),
        }
    }

    /// Lowers the next instruction if it is a branch or trap by the sign of `local`, or by whether it is 0, which the flags
    /// say. The carry and the overflow do not count.
    pub(super) fn fuse_with_zero(&mut self, local: u16, scalar: Scalar) {
        let Some(next) = self.peek() else { return };
        let (Opcode::Branch(condition) | Opcode::TrapCompare(condition)) = next.opcode else {
            return;
        };
        let is_of_it = next.a == local && self.instance.scalar(next.type_code) == Some(scalar);
        if !is_of_it || !next.immediate || next.number() != 0 {
            return;
        }
        let cond = match (condition, scalar.is_signed()) {
            (Condition::Equal, _) => Cond::E,
            (Condition::NotEqual, _) => Cond::Ne,
            (Condition::Less, true) => Cond::S,
            (Condition::GreaterEqual, true) => Cond::Ns,
            _ => return,
        };
        self.take_next();
        self.by_flags(Outcome::When(cond), &next);
    }

    /// Lowers a branch or conditional trap whose outcome is known.
    fn by_flags(&mut self, outcome: Outcome, i: &Instruction) {
        match i.opcode {
            Opcode::Branch(_) => self.branch_on(outcome, i),
            _ => self.trap_on(outcome, i),
        }
    }

    /// Lowers the next instruction if it is a branch or trap by the comparison of a loaded integer with a number, and
    /// nothing else reads that. A bool may be any byte in memory.
    pub(super) fn compare_memory(
        &mut self,
        load: &Instruction,
        scalar: Scalar,
        place: Mem,
    ) -> bool {
        let Some(next) = self.peek().filter(|next| next.immediate && next.a == load.a) else {
            return false;
        };
        let (Opcode::Branch(condition) | Opcode::TrapCompare(condition)) = next.opcode else {
            return false;
        };
        let is_integer = !scalar.is_float() && scalar != Scalar::Bool;
        let is_last = self.dies_at(load.a, self.index.saturating_add(1));
        let is_of_it = is_integer && is_last && next.type_code == load.type_code;
        if !is_of_it || self.compared(&next).is_some() {
            return false;
        }
        // The comparison is what accesses memory, so that it belongs to the line of the load.
        self.asm.cmp(ScalarWidth(scalar.bits()), place, next.number());
        self.take_next();
        self.by_flags(Outcome::When(cond_of(condition, scalar)), &next);
        true
    }

    pub(super) fn branch_if(&mut self, i: &Instruction, expected: bool) {
        self.test_bool(i.a);
        self.jump_to_target(Outcome::When(Cond::Ne).when(expected), i);
    }

    pub(super) fn trap_if(&mut self, i: &Instruction, expected: bool) {
        self.test_bool(i.a);
        self.trap_on(Outcome::When(Cond::Ne).when(expected), i);
    }

    fn test_bool(&mut self, local: u16) {
        let place = self.place(local);
        self.compare_places(Scalar::Bool, place, Right::Number(0));
    }

    fn jump_to_target(&mut self, outcome: Outcome, i: &Instruction) {
        if let Some(target) = self.target(i) {
            self.jump_on(outcome, target);
        }
    }

    fn jump_on(&mut self, outcome: Outcome, label: Label) {
        match outcome {
            Outcome::When(cond) => self.asm.jcc(cond, label),
            Outcome::EqualFloats => {
                let unordered = self.asm.label();
                self.asm.jcc_short(Cond::P, unordered);
                self.asm.jcc(Cond::E, label);
                self.bind(unordered);
            }
            Outcome::UnequalFloats => {
                self.asm.jcc(Cond::P, label);
                self.asm.jcc(Cond::Ne, label);
            }
        }
    }

    /// Sets the flags by the two values of a comparison.
    fn flags(
        &mut self,
        i: &Instruction,
        [left, right]: [u16; 2],
        scalar: Scalar,
        condition: Condition,
    ) -> Outcome {
        if scalar.is_float() {
            return self.float_flags(i, [left, right], scalar, condition);
        }
        let (right, left) = (self.right(i, right, scalar), self.place(left));
        self.compare_places(scalar, left, right);
        Outcome::When(cond_of(condition, scalar))
    }

    pub(super) fn compare_places(&mut self, scalar: Scalar, left: GprOrStack, right: Right) {
        match (left.register(), right) {
            (Some(left), Right::Number(0)) => self.test(left, scalar),
            (Some(left), _) => self.alu(Alu::CMP, scalar, left, right),
            (None, _) => self.alu_place(Alu::CMP, scalar, left, right),
        }
    }

    /// Sets the flags by one value.
    pub(super) fn test(&mut self, register: Gpr, scalar: Scalar) {
        self.asm.test(width_of(scalar), register, register);
    }

    /// Where a value is not a number, `A` and `Ae` do not hold.
    fn float_flags(
        &mut self,
        i: &Instruction,
        [left, right]: [u16; 2],
        scalar: Scalar,
        condition: Condition,
    ) -> Outcome {
        let (left, right) = (self.xmm_place(left), self.float_right(i, right, scalar));
        let (first, second) = match condition {
            Condition::Less | Condition::LessEqual => (right, left),
            _ => (left, right),
        };
        let first = self.in_xmm(first, scalar, Xmm::Xmm15);
        self.asm.bitwise(Bitwise::UCOMIS, float_of(scalar), first, second);
        match condition {
            Condition::Equal => Outcome::EqualFloats,
            Condition::NotEqual => Outcome::UnequalFloats,
            Condition::Less | Condition::Greater => Outcome::When(Cond::A),
            Condition::LessEqual | Condition::GreaterEqual => Outcome::When(Cond::Ae),
        }
    }

    pub(super) fn select_by_bool(&mut self, i: &Instruction, scalar: Scalar) {
        self.test_bool(i.b);
        self.select(i, scalar, Cond::Ne);
    }

    /// Selects the first value on `cond`. What comes before the first conditional move changes no flag.
    fn select(&mut self, i: &Instruction, scalar: Scalar, cond: Cond) {
        let other = i.other().unwrap_or(i.c);
        if scalar.is_float() {
            return self.select_float(i, scalar, cond, other);
        }
        let (first, second) = (self.place(i.c), self.place(other));
        let to = self.int_destination(i.a);
        let (cond, moved) = if first == to.into() {
            (cond.inverted(), second)
        } else {
            self.move_place(to, second, scalar);
            (cond, first)
        };
        self.asm.cmovcc(cond, width_of(scalar), to, moved);
        self.set_int(i.a, to);
    }

    fn select_float(&mut self, i: &Instruction, scalar: Scalar, cond: Cond, other: u16) {
        let to = self.float_destination(i.a);
        let (cond, kept, moved) = match self.xmm_place(other) == to.into() {
            true => (cond.inverted(), other, i.c),
            false => (cond, i.c, other),
        };
        let done = self.asm.label();
        let kept = self.xmm(kept, scalar, to);
        self.move_float(to, kept);
        self.asm.jcc_short(cond, done);
        let moved = self.xmm(moved, scalar, to);
        self.move_float(to, moved);
        self.bind(done);
        self.set_float(i.a, to);
    }
}

/// Whether `next` traps on the condition of a branch.
fn is_trap_of(branch: &Instruction, next: &Instruction) -> bool {
    let Opcode::Branch(condition) = branch.opcode else { return false };
    let same = |i: &Instruction| (i.immediate, i.type_code, i.a, i.b, i.c);
    next.opcode == Opcode::TrapCompare(condition) && same(next) == same(branch)
}
