//! Structured statements: they end, and control leaves them at their end, or returns.

use smf_core::ir::{Binary, Condition, Label, Scalar};

use super::super::host::STACK_END;
use super::{MAX_LOOPS, Writer};

impl Writer<'_, '_> {
    pub(super) fn block(&mut self) {
        for _ in 0..=self.source.below(7) {
            if self.left == 0 {
                break;
            }
            self.left -= 1;
            self.statement();
        }
    }

    fn statement(&mut self) {
        self.locate();
        match self.source.below(24) {
            0..3 => self.branch(),
            3..5 if self.loops < MAX_LOOPS => self.counted_loop(),
            5 if self.loops < MAX_LOOPS => self.repeat(),
            6 => self.leave_early(),
            7 => self.cases(),
            _ => self.simple(),
        }
    }

    /// A statement without labels of its own, but for guards.
    pub(super) fn simple(&mut self) {
        self.locate();
        match self.source.below(16) {
            0 | 1 => self.store(),
            2 => {
                let (to, scalar) = self.any_variable();
                self.load(scalar, to);
            }
            3 | 4 => self.call(),
            5 => self.recursive_call(),
            6 => self.bulk(),
            7 => self.guard(),
            8 | 9 => self.update(),
            10 => {
                let (to, scalar) = self.any_variable();
                let Some(from) = self.variable(scalar) else { return };
                self.builder.copy(scalar, to, from);
            }
            11 => {
                // Called functions trap if the stack is too short, which it is not.
                let Some(memory) = self.memory else { return };
                self.builder.check_stack(memory, STACK_END);
            }
            _ => {
                let (to, scalar) = self.any_variable();
                let value = self.value(scalar, 3);
                self.builder.copy(scalar, to, value);
            }
        }
    }

    /// Computes with a variable in place.
    fn update(&mut self) {
        let (to, scalar) = self.any_variable();
        let operation = match scalar {
            Scalar::Bool => self.source.choose([Binary::And, Binary::Or, Binary::Xor]),
            Scalar::F32 | Scalar::F64 => {
                self.source.choose([Binary::Add, Binary::Subtract, Binary::Multiply])
            }
            Scalar::Pointer => return,
            _ => self.source.choose([
                Binary::Add,
                Binary::Subtract,
                Binary::Multiply,
                Binary::Xor,
                Binary::ShiftRight,
                Binary::RotateLeft,
            ]),
        };
        let Some(other) = self.variable(scalar) else { return };
        let (left, right) = self.source.choose([(to, other), (other, to), (to, to)]);
        self.builder.binary(operation, scalar, to, left, right);
    }

    /// A trap that rarely happens.
    fn guard(&mut self) {
        let code = 40 + u32::from(self.source.below(40));
        if self.source.below(4) == 0 {
            let (one, two) = (self.boolean(1), self.boolean(1));
            let both = self.temporary(Scalar::Bool);
            self.builder.binary(Binary::And, Scalar::Bool, both, one, two);
            let is_expected = self.source.below(8) != 0;
            let never = self.temporary(Scalar::Bool);
            let is_number = i32::from(!is_expected);
            self.builder.compare(Condition::Equal, Scalar::Bool, never, both, is_number);
            self.builder.trap_if(if self.source.below(8) == 0 { both } else { never }, true, code);
            return;
        }
        let (condition, scalar) = self.condition();
        let left = self.value(scalar, 1);
        let right = self.short_second(scalar, 1);
        let condition = match self.source.below(8) {
            0 => condition,
            _ => Condition::Equal,
        };
        self.builder.trap_compare(condition, scalar, left, right, code);
    }

    /// Goes to `target` on a condition.
    pub(super) fn branch_to(&mut self, target: Label) {
        if self.source.below(3) == 0 {
            let value = self.boolean(1);
            let expected = self.source.below(2) == 0;
            return self.builder.branch_if(value, expected, target);
        }
        let (condition, scalar) = self.condition();
        let left = self.value(scalar, 1);
        let right = self.short_second(scalar, 1);
        self.builder.branch(condition, scalar, left, right, target);
    }

    fn branch(&mut self) {
        let [other, end] = [self.builder.label(), self.builder.label()];
        self.branch_to(other);
        self.block();
        if self.source.below(2) == 0 {
            self.builder.bind(other);
            self.builder.bind(end);
            return;
        }
        self.builder.jump(end);
        self.builder.bind(other);
        self.block();
        self.builder.bind(end);
    }

    /// A loop whose condition is tested first, with exits and continuations.
    fn counted_loop(&mut self) {
        let [head, next, end] = [self.builder.label(), self.builder.label(), self.builder.label()];
        let scalar = self.source.choose([Scalar::I64, Scalar::I32, Scalar::U8, Scalar::U16]);
        let counter = self.temporary(scalar);
        let rounds = i32::from(self.source.below(6));
        self.builder.constant(scalar, counter, 0);
        self.builder.bind(head);
        self.builder.branch(Condition::GreaterEqual, scalar, counter, rounds, end);
        self.loops += 1;
        self.block();
        match self.source.below(4) {
            0 => self.branch_to(end),
            1 => self.branch_to(next),
            _ => {}
        }
        self.block();
        self.loops -= 1;
        self.builder.bind(next);
        self.builder.binary(Binary::Add, scalar, counter, counter, 1);
        self.builder.jump(head);
        self.builder.bind(end);
    }

    /// A loop whose condition is tested last.
    fn repeat(&mut self) {
        let head = self.builder.label();
        let counter = self.temporary(Scalar::I64);
        let rounds = i32::from(self.source.below(6));
        self.builder.constant(Scalar::I64, counter, rounds);
        self.builder.bind(head);
        self.loops += 1;
        self.block();
        self.loops -= 1;
        self.builder.binary(Binary::Subtract, Scalar::I64, counter, counter, 1);
        if self.source.below(2) == 0 {
            return self.builder.branch(Condition::Greater, Scalar::I64, counter, 0, head);
        }
        let end = self.builder.label();
        self.builder.branch(Condition::LessEqual, Scalar::I64, counter, 0, end);
        self.branch_on_variable(head);
        self.builder.bind(end);
    }

    /// Goes to `target` on the new value of a variable, which may be read there.
    pub(super) fn branch_on_variable(&mut self, target: Label) {
        let (variable, scalar) = self.any_variable();
        match scalar {
            Scalar::Bool => {
                let (condition, scalar) = self.condition();
                let left = self.value(scalar, 1);
                let right = self.short_second(scalar, 1);
                self.builder.compare(condition, scalar, variable, left, right);
                self.builder.branch_if(variable, true, target);
            }
            _ => {
                if self.source.below(2) == 0 {
                    self.load(scalar, variable);
                } else if scalar != Scalar::Pointer {
                    let operation = self.source.choose([Binary::Add, Binary::Subtract]);
                    self.builder.binary(operation, scalar, variable, variable, 1);
                }
                self.builder.branch(Condition::NotEqual, scalar, variable, 0, target);
            }
        }
    }

    fn leave_early(&mut self) {
        let over = self.builder.label();
        self.branch_to(over);
        if self.source.below(8) == 0 {
            self.builder.trap(40 + u32::from(self.source.below(40)));
        } else {
            self.leave();
        }
        self.builder.bind(over);
    }

    /// A chain of comparisons of one value with numbers.
    fn cases(&mut self) {
        let value = self.value(Scalar::I32, 2);
        let selector = self.temporary(Scalar::I32);
        self.builder.binary(Binary::And, Scalar::I32, selector, value, 3);
        let labels: Vec<Label> =
            (0..1 + self.source.below(3)).map(|_| self.builder.label()).collect();
        let end = self.builder.label();
        for (number, label) in (0..).zip(&labels) {
            self.builder.branch(Condition::Equal, Scalar::I32, selector, number, *label);
        }
        self.simple();
        self.builder.jump(end);
        for label in labels {
            self.builder.bind(label);
            self.simple();
            if self.source.below(3) != 0 {
                self.builder.jump(end);
            }
        }
        self.builder.bind(end);
    }
}
