//! Arithmetic and logic.

use super::value_stack::{Class, Val};
use super::{Body, I64};
use crate::bytecode::instruction::Opcode;
use crate::ir::{Binary, Local, Scalar, Unary, Value};

/// Where a result goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Destination {
    pub(super) local: Local,
    class: Class,
    target: DestinationTarget,
}

#[derive(Clone, Copy, Debug)]
enum DestinationTarget {
    /// It is pushed.
    Push,
    /// It is written to this slot.
    Slot(u16),
    /// It is in the home of its variable.
    Home,
}

impl Body<'_, '_> {
    /// Where the result of the current instruction goes: to slot `slot`, or to the local that the next instruction
    /// pops it to, which is done then; elsewhere it is pushed. All operands have been popped.
    pub(super) fn destination(&mut self, class: Class, slot: Option<u16>) -> Destination {
        if let Some(slot) = slot {
            return self.slot_destination(class, slot);
        }
        match self.peek() {
            Some(next) if next.opcode() == Opcode::PopStore => {
                self.next = next.behind(self.next);
                let local = self.local_to_write(next.a(), class);
                Destination { local, class, target: DestinationTarget::Home }
            }
            Some(next) if next.opcode() == Opcode::Pop => {
                self.next = next.behind(self.next);
                self.slot_destination(class, next.a())
            }
            _ => {
                let local = self.temporary(class.scalar());
                Destination { local, class, target: DestinationTarget::Push }
            }
        }
    }

    /// A slot of the stack is written in its home: it is a variable.
    fn slot_destination(&mut self, class: Class, slot: u16) -> Destination {
        let position = usize::from(slot);
        if position >= self.t.stack.len() {
            let local = self.temporary(class.scalar());
            return Destination { local, class, target: DestinationTarget::Slot(slot) };
        }
        let home = self.home(position, class);
        let local = self.read(home);
        self.protect(local, Some(position));
        self.t.stack.set_home(position, home);
        Destination { local, class, target: DestinationTarget::Home }
    }

    /// The result is in its destination.
    pub(super) fn deliver(&mut self, to: Destination) {
        let value = Val::Temp(to.class, to.local);
        match to.target {
            DestinationTarget::Push => self.push(value),
            DestinationTarget::Slot(slot) => self.set_slot(slot, value),
            DestinationTarget::Home => {}
        }
    }

    /// The second operand of an operation on integers.
    fn second(&mut self, value: Val) -> Value {
        let small = value.integer().and_then(|value| i32::try_from(value).ok());
        match small {
            Some(small) => Value::Number(small),
            None => Value::Local(self.read(value)),
        }
    }

    /// Pops two integers and delivers the result of an operation.
    pub(super) fn integers(&mut self, operation: Binary, slot: Option<u16>) {
        let right = self.pop();
        let left = self.pop();
        // A constant comes second.
        let (left, right) = match left {
            Val::Const(..) if operation.is_commutative() => (right, left),
            _ => (left, right),
        };
        let (left, right) = (self.read(left), self.second(right));
        let to = self.destination(Class::Int, slot);
        self.t.ir.binary(operation, I64, to.local, left, right);
        self.deliver(to);
    }

    /// Pops two integers and delivers their quotient or remainder.
    pub(super) fn divide(&mut self, operation: Binary) {
        let (right, left) = (self.pop(), self.pop());
        let (left, right) = (self.read(left), self.second(right));
        let to = self.destination(Class::Int, None);
        self.locate();
        self.t.ir.binary(operation, I64, to.local, left, right);
        self.deliver(to);
    }

    /// Pops two floats and delivers the result of an operation.
    pub(super) fn floats(&mut self, operation: Binary) {
        let (right, left) = (self.pop(), self.pop());
        let (left, right) = (self.read(left), self.read(right));
        let to = self.destination(Class::Float, None);
        self.t.ir.binary(operation, Scalar::F64, to.local, left, right);
        self.deliver(to);
    }

    /// Pops two bools and delivers the result of an operation.
    pub(super) fn bools(&mut self, operation: Binary) {
        let (right, left) = (self.pop(), self.pop());
        let (left, right) = match left {
            Val::Const(..) => (right, left),
            _ => (left, right),
        };
        let (left, right) = (self.read(left), self.second(right));
        let to = self.destination(Class::Bool, None);
        self.t.ir.binary(operation, Scalar::Bool, to.local, left, right);
        self.deliver(to);
    }

    /// Pops a bool and delivers its inverse.
    pub(super) fn invert(&mut self) {
        let value = self.pop();
        let from = self.read(value);
        let to = self.destination(Class::Bool, None);
        self.t.ir.unary(Unary::Not, Scalar::Bool, to.local, from);
        self.deliver(to);
    }

    /// Pops an integer and delivers its negative.
    pub(super) fn negate(&mut self) {
        let value = self.pop();
        let from = self.read(value);
        let to = self.destination(Class::Int, None);
        self.t.ir.unary(Unary::Negate, I64, to.local, from);
        self.deliver(to);
    }
}
