//! Comparisons, and the jumps that depend on them.

use super::Body;
use super::variable::Value;
use crate::jit::bytecode::{Instruction, target};
use crate::jit::verify::Kind;
use crate::jit::x64::{Cond, GprOrStack, W8, W32, W64};

/// How two values are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Relation {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
}

impl Relation {
    fn of(instruction: &Instruction) -> Self {
        match instruction {
            Instruction::Eq => Relation::Eq,
            Instruction::Ne => Relation::Ne,
            Instruction::Lt => Relation::Lt,
            Instruction::Le => Relation::Le,
            Instruction::Gt => Relation::Gt,
            _ => Relation::Ge,
        }
    }

    /// After a comparison of integers.
    fn signed(self) -> Cond {
        match self {
            Relation::Eq => Cond::E,
            Relation::Ne => Cond::Ne,
            Relation::Lt => Cond::L,
            Relation::Le => Cond::Le,
            Relation::Gt => Cond::G,
            Relation::Ge => Cond::Ge,
        }
    }

    /// The one that holds when the operands change places.
    pub(super) fn swapped(self) -> Self {
        match self {
            Relation::Lt => Relation::Gt,
            Relation::Gt => Relation::Lt,
            Relation::Le => Relation::Ge,
            Relation::Ge => Relation::Le,
            same => same,
        }
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
    fn pop_operands(&mut self) -> [Value; 2] {
        let right = self.pop();
        [self.pop(), right]
    }

    /// Whether the operands of the comparison at hand are floats; `None` when neither is.
    fn compares_floats(&self) -> Option<[bool; 2]> {
        // After verification all kinds are known.
        let kinds = self.facts.compared(self.at).unwrap_or([Kind::I64; 2]);
        let floats = kinds.map(|kind| kind == Kind::F64);
        floats.contains(&true).then_some(floats)
    }

    /// A comparison whose result is pushed, unless the next instructions only jump by it.
    pub(super) fn compare(&mut self, instruction: &Instruction) {
        let relation = Relation::of(instruction);
        if let Some((when, offset)) = self.next_jumps_by_it() {
            // What follows is reached from here in any case.
            self.compare_and_jump(relation, when, offset);
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
    /// and where to. It is done then.
    fn next_jumps_by_it(&mut self) -> Option<(bool, u32)> {
        if self.next == self.next_target {
            return None;
        }
        let next = Instruction::decode(self.facts.function.code, self.next).ok()?;
        let (when, offset) = match next {
            Instruction::JmpIf { offset } => (true, offset),
            Instruction::JmpIfNot { offset } => (false, offset),
            _ => return None,
        };
        self.next += next.size();
        Some((when, u32::try_from(target(self.next, 0, offset)).ok()?))
    }

    /// Compares and jumps when the result is `when`; the next instruction may be reached.
    pub(super) fn compare_and_jump(&mut self, relation: Relation, when: bool, offset: u32) -> bool {
        let operands = self.pop_operands();
        self.flush();
        self.look_before_jumping(offset);
        let outcome = self.put_comparison(relation, operands);
        self.jump_by(if when { outcome } else { outcome.inverted() }, offset);
        true
    }

    /// A jump back looks whether it may go on.
    fn look_before_jumping(&mut self, offset: u32) {
        if offset <= self.at {
            self.look_for_interrupt();
        }
    }

    fn jump_by(&mut self, outcome: Outcome, offset: u32) {
        let Some(label) = self.label_at(offset) else { return };
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
    pub(super) fn jump(&mut self, offset: u32) -> bool {
        self.flush();
        self.look_before_jumping(offset);
        if let Some(label) = self.label_at(offset) {
            self.l.asm.jmp(label);
        }
        false
    }

    /// Jumps when the popped bool is `when`; whether the next instruction may be reached.
    pub(super) fn jump_if(&mut self, when: bool, offset: u32) -> bool {
        let value = self.pop();
        if let Value::Int(bits) = value {
            // The verifier takes both ways to be possible.
            return (bits != 0) != when || self.jump(offset);
        }
        self.flush();
        self.look_before_jumping(offset);
        if let Some(place) = self.place(value) {
            let asm = &mut self.l.asm;
            match place.register() {
                Some(register) => asm.test(W32, register, register),
                None => asm.cmp(W32, place, 0),
            }
        }
        self.release(value);
        let cond = if when { Cond::Ne } else { Cond::E };
        self.jump_by(Outcome::When(cond), offset);
        true
    }

    /// Sets the flags by two operands, which are released.
    fn put_comparison(&mut self, relation: Relation, operands: [Value; 2]) -> Outcome {
        let [left, right] = operands;
        if let Some([left_float, right_float]) = self.compares_floats() {
            return self.compare_floats(relation, [(left, left_float), (right, right_float)]);
        }
        let (relation, left, right) = match (left, right) {
            (Value::Int(_), Value::Int(_)) => (relation, left, right),
            (Value::Int(_), _) => (relation.swapped(), right, left),
            _ => (relation, left, right),
        };
        self.compare_integers(left, right);
        Outcome::When(relation.signed())
    }

    /// A constant is on the right, if only one operand is constant.
    fn compare_integers(&mut self, left: Value, right: Value) {
        let small = match right {
            Value::Int(right) => i32::try_from(right).ok(),
            _ => None,
        };
        if let (Some(place), Some(small)) = (self.place(left), small) {
            self.compare_place(place, small);
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

    /// Compares with a constant.
    pub(super) fn compare_place(&mut self, place: GprOrStack, small: i32) {
        match place.register().filter(|_| small == 0) {
            Some(register) => self.l.asm.test(W64, register, register),
            None => self.l.asm.cmp(W64, place, small),
        }
    }
}
