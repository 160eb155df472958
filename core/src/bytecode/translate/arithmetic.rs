//! Arithmetic and logic.

use super::Body;
use super::value_stack::{Class, Val};
use crate::bytecode::instruction::Opcode;
use crate::ir::{Binary, Local, Unary, Value};

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

    /// The second operand of an operation on integers or bools.
    fn second(&mut self, value: Val) -> Value {
        let small = value.integer().and_then(|value| i32::try_from(value).ok());
        match small {
            Some(small) => Value::Number(small),
            None => Value::Local(self.read(value)),
        }
    }

    /// Pops two values of a class and delivers the result of an operation.
    pub(super) fn binary(&mut self, operation: Binary, class: Class, slot: Option<u16>) {
        let (right, left) = (self.pop(), self.pop());
        let is_float = class == Class::Float;
        let (left, right) = match left {
            // A constant comes second.
            Val::Const(..) if operation.is_commutative() && !is_float => (right, left),
            _ => (left, right),
        };
        let left = self.read(left);
        let right = if is_float { Value::Local(self.read(right)) } else { self.second(right) };
        let to = self.destination(class, slot);
        if operation.can_trap() && !is_float {
            self.locate();
        }
        self.t.ir.binary(operation, class.scalar(), to.local, left, right);
        self.deliver(to);
    }

    /// Pops a value of a class and delivers the result of an operation.
    pub(super) fn unary(&mut self, operation: Unary, class: Class) {
        let value = self.pop();
        let from = self.read(value);
        let to = self.destination(class, None);
        self.t.ir.unary(operation, class.scalar(), to.local, from);
        self.deliver(to);
    }
}
