//! Comparisons, and the jumps that depend on them.

use super::abi::{Shared, trap_code};
use super::value_stack::{Class, Val};
use super::{Body, Translator, target_of};
use crate::bytecode::instruction::Opcode;
use crate::ir::{Condition, Label, Local, Scalar, Value};

/// Two values that are compared.
#[derive(Clone, Copy)]
struct Comparison {
    condition: Condition,
    class: Class,
    left: Local,
    right: Value,
}

impl Body<'_, '_> {
    /// A comparison whose result is pushed, unless the next instruction only jumps by it; whether the instruction
    /// behind is reached.
    pub(super) fn compare(&mut self, condition: Condition) -> bool {
        if let Some((when, target)) = self.next_jumps_by_it() {
            return self.compare_and_jump(condition, when, target);
        }
        let it = self.comparison(condition, i32::MIN..=i32::MAX);
        let to = self.destination(Class::Bool, None);
        self.t.ir.compare(it.condition, it.class.scalar(), to.local, it.left, it.right);
        self.deliver(to);
        true
    }

    /// Whether the next instruction is a jump by the popped result, which no other jump leads to: when, and to which
    /// target. It is the current one then.
    fn next_jumps_by_it(&mut self) -> Option<(bool, u32)> {
        let next = self.peek()?;
        let when = match next.opcode() {
            Opcode::JmpIf => true,
            Opcode::JmpIfNot => false,
            _ => return None,
        };
        self.here = self.next;
        self.next = next.behind(self.here);
        Some((when, next.long()))
    }

    /// Pops two values that are compared. A constant comes second; one that is in `numbers` needs no local.
    fn comparison(
        &mut self,
        mut condition: Condition,
        numbers: core::ops::RangeInclusive<i32>,
    ) -> Comparison {
        let (right, left) = (self.pop(), self.pop());
        if left.class() == Class::Float || right.class() == Class::Float {
            let (left, right) = (self.float(left), self.float(right));
            let right = Value::Local(right);
            return Comparison { condition, class: Class::Float, left, right };
        }
        let (left, right) = match (left, right) {
            (Val::Const(..), Val::Const(..)) => (left, right),
            (Val::Const(..), _) => {
                condition = condition.swapped();
                (right, left)
            }
            _ => (left, right),
        };
        let class = left.class();
        let left = self.read(left);
        let small = right.integer().and_then(|right| i32::try_from(right).ok());
        let right = match small.filter(|small| numbers.contains(small)) {
            Some(small) => Value::Number(small),
            None => Value::Local(self.read(right)),
        };
        Comparison { condition, class, left, right }
    }

    /// A number as a float.
    fn float(&mut self, value: Val) -> Local {
        let from = self.read(value);
        if value.class() == Class::Float {
            return from;
        }
        let to = self.temporary(Scalar::F64);
        self.t.ir.convert(Scalar::F64, to, Scalar::I64, from);
        to
    }

    /// Compares and jumps when the result is `when`; the next instruction may be reached.
    pub(super) fn compare_and_jump(
        &mut self,
        condition: Condition,
        when: bool,
        target: u32,
    ) -> bool {
        let it = self.comparison(condition, i16::MIN.into()..=i16::MAX.into());
        // The operands are read after the flush, which must not overwrite them.
        let it = self.keep_operands(it);
        let Some(label) = self.prepare_jump(target) else { return true };
        let Comparison { condition, class, left, right } = it;
        let ty = class.scalar();
        match condition.when(when, class == Class::Float) {
            Some(condition) => self.t.ir.branch(condition, ty, left, right, label),
            None => {
                let over = self.t.ir.label();
                self.t.ir.branch(condition, ty, left, right, over);
                self.t.ir.jump(label);
                self.t.ir.bind(over);
            }
        }
        true
    }

    /// The comparison with operands that a flush does not overwrite.
    fn keep_operands(&mut self, mut it: Comparison) -> Comparison {
        it.left = self.keep_operand(it.class, it.left);
        if let Value::Local(right) = it.right {
            it.right = Value::Local(self.keep_operand(it.class, right));
        }
        it
    }

    /// The operand, in a temporary if it is in the home of a position that a flush writes.
    fn keep_operand(&mut self, class: Class, operand: Local) -> Local {
        let Translator { variables, stack, .. } = &*self.t;
        let is_written = stack.tracked().any(|position| {
            let is_home = variables.slot_home(position, class) == Some(operand);
            is_home && stack.get(position).local() != Some(operand)
        });
        if !is_written {
            return operand;
        }
        let local = self.temporary(class.scalar());
        self.copy(local, Val::Temp(class, operand));
        local
    }

    /// Brings all values to where they are expected at a target, and stops an interrupted program before a jump back.
    /// The label of the target.
    fn prepare_jump(&mut self, target: u32) -> Option<Label> {
        let number = usize::try_from(target).ok()?;
        self.flush(number);
        if target_of(self.facts, target).is_some_and(|target| target.at() <= self.here) {
            self.check_interrupt();
        }
        self.t.labels.get(number).copied()
    }

    /// Traps when the host interrupts the program.
    pub(super) fn check_interrupt(&mut self) {
        let Some(shared) = self.shared else { return };
        self.locate();
        let flag = self.temporary(Scalar::U32);
        self.t.ir.load(Scalar::U32, flag, shared, Shared::INTERRUPT);
        let code = trap_code::INTERRUPTED;
        self.t.ir.trap_compare(Condition::NotEqual, Scalar::U32, flag, 0, code);
    }

    /// Jumps in any case.
    pub(super) fn jump(&mut self, target: u32) -> bool {
        if let Some(label) = self.prepare_jump(target) {
            self.t.ir.jump(label);
        }
        false
    }

    /// Jumps when the popped bool is `when`; whether the next instruction may be reached.
    pub(super) fn jump_if(&mut self, when: bool, target: u32) -> bool {
        let value = self.pop();
        if let Some(value) = value.integer() {
            // The verifier takes both ways to be possible.
            return (value != 0) != when || self.jump(target);
        }
        let operand = self.read(value);
        let operand = self.keep_operand(Class::Bool, operand);
        if let Some(label) = self.prepare_jump(target) {
            self.t.ir.branch_if(operand, when, label);
        }
        true
    }
}
