//! Comparisons, and the jumps that depend on them.

use super::variable::Value;
use super::{Body, Lowering};
use crate::bytecode::Relation;
use crate::bytecode::instruction::Opcode;
use crate::codegen::x64::{Cond, GprOrStack, Label, W8, W32, W64};

/// After a comparison of integers.
pub(super) fn signed(relation: Relation) -> Cond {
    match relation {
        Relation::Eq => Cond::E,
        Relation::Ne => Cond::Ne,
        Relation::Lt => Cond::L,
        Relation::Le => Cond::Le,
        Relation::Gt => Cond::G,
        Relation::Ge => Cond::Ge,
    }
}

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
            // Of floats, conditions for which unordered is false are used; these include it, then.
            Outcome::When(cond) => Outcome::When(cond.inverted()),
            Outcome::EqualFloats => Outcome::UnequalFloats,
            Outcome::UnequalFloats => Outcome::EqualFloats,
        }
    }
}

impl Body<'_, '_> {
    #[inline(always)]
    fn pop_operands(&mut self) -> [Value; 2] {
        let right = self.pop();
        [self.pop(), right]
    }

    /// A comparison whose result is pushed, unless the next instructions only jump by it.
    pub(super) fn compare(&mut self, relation: Relation) {
        if let Some((when, target)) = self.next_jumps_by_it() {
            // What follows is reached from here in any case.
            self.compare_and_jump(relation, when, target);
            return;
        }
        let operands = self.pop_operands();
        let outcome = self.put_comparison(relation, operands);
        let register = self.temporary();
        let asm = &mut self.l.asm;
        match outcome {
            Outcome::When(cond) => {
                asm.setcc(cond, register);
                asm.movzx(register, W8, register);
            }
            Outcome::EqualFloats | Outcome::UnequalFloats => {
                let [equal, both] = match outcome {
                    Outcome::EqualFloats => [Cond::E, Cond::Np],
                    _ => [Cond::Ne, Cond::P],
                };
                // A move leaves the flags, and a conditional one does not lose them.
                let other = self.temporary();
                let asm = &mut self.l.asm;
                asm.setcc(equal, register);
                asm.setcc(both, other);
                if outcome == Outcome::EqualFloats {
                    asm.and(W32, register, other);
                } else {
                    asm.or(W32, register, other);
                }
                asm.movzx(register, W8, register);
                self.release(Value::gpr(other));
            }
        }
        self.push(Value::gpr(register));
    }

    /// Whether the next instruction is a jump by the popped result, which no other jump leads to: when,
    /// and to which target. It is done then.
    fn next_jumps_by_it(&mut self) -> Option<(bool, u32)> {
        let next = self.peek()?;
        let when = match next.opcode() {
            Opcode::JmpIf => true,
            Opcode::JmpIfNot => false,
            _ => return None,
        };
        self.next = next.behind(self.next);
        Some((when, next.long()))
    }

    /// Compares and jumps when the result is `when`; the next instruction may be reached.
    pub(super) fn compare_and_jump(&mut self, relation: Relation, when: bool, target: u32) -> bool {
        let operands = self.pop_operands();
        self.flush();
        self.look_before_jumping(target);
        let outcome = self.put_comparison(relation, operands);
        self.jump_by(if when { outcome } else { outcome.inverted() }, target);
        true
    }

    /// A jump back looks whether it may go on.
    fn look_before_jumping(&mut self, target: u32) {
        let target =
            usize::try_from(target).ok().and_then(|number| self.facts.targets().get(number));
        if target.is_some_and(|target| target.at() <= self.l.here) {
            self.l.look_for_interrupt();
        }
    }

    /// The label of a target.
    fn label_of(&self, target: u32) -> Option<Label> {
        self.labels.get(usize::try_from(target).ok()?)
    }

    #[inline(always)]
    fn jump_by(&mut self, outcome: Outcome, target: u32) {
        let Some(label) = self.label_of(target) else { return };
        match outcome {
            Outcome::When(cond) => self.l.asm.jcc(cond, label),
            floats => self.jump_by_floats(floats, label),
        }
    }

    #[cold]
    fn jump_by_floats(&mut self, outcome: Outcome, label: Label) {
        let asm = &mut self.l.asm;
        match outcome {
            Outcome::When(cond) => asm.jcc(cond, label),
            Outcome::EqualFloats => {
                let unordered = asm.label();
                asm.jcc_short(Cond::P, unordered);
                asm.jcc(Cond::E, label);
                asm.bind(unordered);
            }
            Outcome::UnequalFloats => {
                asm.jcc(Cond::Ne, label);
                asm.jcc(Cond::P, label);
            }
        }
    }

    /// Jumps in any case.
    pub(super) fn jump(&mut self, target: u32) -> bool {
        self.flush();
        self.look_before_jumping(target);
        if let Some(label) = self.label_of(target) {
            self.l.asm.jmp(label);
        }
        false
    }

    /// Jumps when the popped bool is `when`; whether the next instruction may be reached.
    pub(super) fn jump_if(&mut self, when: bool, target: u32) -> bool {
        let value = self.pop();
        if let Value::Int(bits) = value {
            // The verifier takes both ways to be possible.
            return (bits != 0) != when || self.jump(target);
        }
        self.flush();
        self.look_before_jumping(target);
        if let Some(place) = self.place(value) {
            let asm = &mut self.l.asm;
            match place.register() {
                Some(register) => asm.test(W32, register, register),
                None => asm.cmp(W32, place, 0),
            }
        }
        self.release(value);
        let cond = if when { Cond::Ne } else { Cond::E };
        self.jump_by(Outcome::When(cond), target);
        true
    }

    /// Sets the flags by two operands, which are released.
    fn put_comparison(&mut self, relation: Relation, operands: [Value; 2]) -> Outcome {
        let [left, right] = operands;
        if !self.facts.compares_integers_alone()
            && let Some([left_float, right_float]) = self.facts.compared_floats(self.l.at())
        {
            return self.compare_floats(relation, [(left, left_float), (right, right_float)]);
        }
        let (relation, left, right) = match (left, right) {
            (Value::Int(_), Value::Int(_)) => (relation, left, right),
            (Value::Int(_), _) => (relation.swapped(), right, left),
            _ => (relation, left, right),
        };
        self.compare_integers(left, right);
        Outcome::When(signed(relation))
    }

    /// A constant is on the right, if only one operand is constant.
    #[inline(always)]
    fn compare_integers(&mut self, left: Value, right: Value) {
        let small = match right {
            Value::Int(right) => i32::try_from(right).ok(),
            _ => None,
        };
        if let (Some(place), Some(small)) = (self.place(left), small) {
            self.l.compare_place(place, small);
            return self.release(left);
        }
        let (left_register, left) = self.in_register(left);
        match self.place(right) {
            Some(place) => self.l.asm.cmp(W64, left_register, place),
            None => {
                let (right_register, right) = self.in_register(right);
                self.l.asm.cmp(W64, left_register, right_register);
                self.release(right);
            }
        }
        self.release(left);
        self.release(right);
    }
}

impl Lowering {
    /// Compares with a constant.
    pub(super) fn compare_place(&mut self, place: GprOrStack, small: i32) {
        match place.register().filter(|_| small == 0) {
            Some(register) => self.asm.test(W64, register, register),
            None => self.asm.cmp(W64, place, small),
        }
    }
}
