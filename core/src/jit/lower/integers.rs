//! Arithmetic on integers and logic on bools, in the fewest instructions for where the operands are.

use super::variable::{Value, Variable};
use super::{Body, Lowering};
use crate::bytecode::instruction::Opcode;
use crate::bytecode::verify::At;
use crate::codegen::x64::{Alu, Gpr, GprOrStack, Mem, Scale, W64};

/// An operator on two integers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    Add,
    Sub,
    Mul,
    And,
    Or,
    Xor,
}

impl Operator {
    pub(super) fn fold(self, left: i64, right: i64) -> i64 {
        match self {
            Operator::Add => left.wrapping_add(right),
            Operator::Sub => left.wrapping_sub(right),
            Operator::Mul => left.wrapping_mul(right),
            Operator::And => left & right,
            Operator::Or => left | right,
            Operator::Xor => left ^ right,
        }
    }

    /// The instruction; multiplication is none of the family.
    fn alu(self) -> Option<Alu> {
        Some(match self {
            Operator::Add => Alu::ADD,
            Operator::Sub => Alu::SUB,
            Operator::Mul => return None,
            Operator::And => Alu::AND,
            Operator::Or => Alu::OR,
            Operator::Xor => Alu::XOR,
        })
    }
}

/// Where a result goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Destination {
    pub(super) register: Gpr,
    /// The variable whose home that is; the result is pushed when it is none.
    variable: Option<Variable>,
}

impl Body<'_, '_> {
    /// Pops two operands and pushes what the operator makes of them, or writes it to a slot.
    #[inline(never)]
    pub(super) fn integers(&mut self, operator: Operator, dest: Option<u16>) {
        let right = self.pop();
        let left = self.pop();
        self.apply(operator, [left, right], dest);
    }

    /// The other one of a popped bool.
    #[cold]
    #[inline(never)]
    pub(super) fn invert(&mut self) {
        let value = self.pop();
        self.apply(Operator::Xor, [value, Value::Int(1)], None);
    }

    /// Pushes what the operator makes of two operands, or writes it to a slot.
    #[inline(always)]
    fn apply(&mut self, operator: Operator, [left, right]: [Value; 2], dest: Option<u16>) {
        // A constant on the left is one on the right, but for subtraction.
        let swaps = matches!(left, Value::Int(_)) && operator != Operator::Sub;
        let (left, right) = if swaps { (right, left) } else { (left, right) };
        if let (Value::Int(left), Value::Int(right)) = (left, right) {
            return self.deliver_constant(operator.fold(left, right), dest);
        }
        let right = self.short_constant(right);
        let to = self.destination(left, right, dest);
        // Floats are no operands of these.
        match (left, right) {
            (_, Value::Int(right)) => {
                // A longer one is in a register.
                let right = i32::try_from(right).unwrap_or(0);
                if let Some(left) = self.place(left) {
                    self.l.combine_with(operator, to.register, left, right);
                }
            }
            (Value::Int(left), _) => {
                if let Some(right) = self.place(right) {
                    self.subtract_from(to.register, left, right);
                }
            }
            _ => {
                if let (Some(left), Some(right)) = (self.place(left), self.place(right)) {
                    self.l.combine_both(operator, to.register, left, right);
                }
            }
        }
        self.release_but(left, to.register);
        self.release_but(right, to.register);
        match dest {
            Some(dest) if to.variable.is_none() => {
                self.set_slot(dest, Value::gpr(to.register));
            }
            _ => self.deliver(to),
        }
    }

    /// An operand that is no constant, or one that is an immediate.
    #[inline(always)]
    fn short_constant(&mut self, value: Value) -> Value {
        match value {
            Value::Int(bits) if i32::try_from(bits).is_err() => self.in_register(value).1,
            value => value,
        }
    }

    #[cold]
    fn deliver_constant(&mut self, value: i64, dest: Option<u16>) {
        match dest {
            Some(dest) => self.set_slot(dest, Value::Int(value)),
            None => self.push(Value::Int(value)),
        }
    }

    #[inline(always)]
    pub(super) fn release_but(&mut self, value: Value, kept: Gpr) {
        if value != Value::gpr(kept) {
            self.release(value);
        }
    }

    /// The negation of the popped top.
    pub(super) fn negate(&mut self) {
        let value = self.pop();
        if let Value::Int(value) = value {
            return self.push(Value::Int(value.wrapping_neg()));
        }
        let to = self.destination(value, value, None);
        self.load(to.register, value);
        self.release_but(value, to.register);
        self.l.asm.neg(W64, to.register);
        self.deliver(to);
    }

    /// A register for the result of an instruction on two operands: the home of the variable that the
    /// next instruction would put it into, which is then done; or that of an operand which nobody needs
    /// any more.
    #[inline(always)]
    pub(super) fn destination(
        &mut self,
        left: Value,
        right: Value,
        dest: Option<u16>,
    ) -> Destination {
        let (variable, behind) = match dest {
            Some(dest) => (self.slot_that_exists(dest), self.next),
            None => self.next_stores_to(),
        };
        if let Some(variable) = variable
            && let Some(register) = self.l.homes.register(variable)
        {
            self.write(variable);
            if let Some(slot) = variable.as_slot() {
                self.drop_value(slot);
            }
            self.next = behind;
            return Destination { register, variable: Some(variable) };
        }
        let register = match (left, right) {
            (Value::Temporary(number), _) | (_, Value::Temporary(number)) => number.gpr(),
            _ => self.temporary(),
        };
        Destination { register, variable: None }
    }

    #[inline(always)]
    fn slot_that_exists(&self, slot: u16) -> Option<Variable> {
        let slot = u32::from(slot);
        (slot < self.l.values.length()).then_some(Variable::slot(slot))
    }

    /// The variable into which the next instruction pops, if no jump leads to that, and what follows.
    #[inline(always)]
    fn next_stores_to(&self) -> (Option<Variable>, At) {
        let Some(next) = self.peek() else { return (None, self.next) };
        let variable = match next.opcode() {
            Opcode::PopStore => Some(Variable::local(next.a())),
            Opcode::Pop => self.slot_that_exists(next.a()),
            _ => None,
        };
        (variable, next.behind(self.next))
    }

    /// The result is in its register.
    #[inline(always)]
    pub(super) fn deliver(&mut self, to: Destination) {
        if to.variable.is_none() {
            self.push(Value::gpr(to.register));
        }
    }

    /// `to` = `left` - `right`.
    #[cold]
    fn subtract_from(&mut self, to: Gpr, left: i64, right: GprOrStack) {
        if right != to.into() {
            self.l.asm.mov_imm(to, left.cast_unsigned());
            return self.l.asm.sub(W64, to, right);
        }
        self.l.asm.neg(W64, to);
        match i32::try_from(left) {
            Ok(0) => {}
            Ok(left) => self.l.add_constant(to, right, left),
            Err(_) => {
                let (register, left) = self.in_register(Value::Int(left));
                self.l.asm.add(W64, to, register);
                self.release(left);
            }
        }
    }
}

impl Lowering {
    #[inline(always)]
    pub(super) fn combine_with(
        &mut self,
        operator: Operator,
        to: Gpr,
        left: GprOrStack,
        small: i32,
    ) {
        match operator {
            Operator::Add => self.add_constant(to, left, small),
            Operator::Sub if small != i32::MIN => self.add_constant(to, left, -small),
            Operator::Mul if small > 0 && small.count_ones() == 1 => {
                self.move_to(to, left);
                if small != 1 {
                    // Less than 32.
                    let count = small.trailing_zeros() as u8;
                    self.asm.shl(W64, to, count);
                }
            }
            Operator::Mul => self.asm.imul_imm(W64, to, left, small),
            _ => {
                self.move_to(to, left);
                if let Some(row) = operator.alu() {
                    self.asm.alu(row, W64, to, small);
                }
            }
        }
    }

    /// `to` = `left` + `right`.
    pub(super) fn add_constant(&mut self, to: Gpr, left: GprOrStack, right: i32) {
        let asm = &mut self.asm;
        if let Some(left) = left.register().filter(|left| *left != to) {
            return asm.lea(W64, to, Mem::at(left, right));
        }
        self.move_to(to, left);
        let asm = &mut self.asm;
        match right {
            1 => asm.inc(W64, to),
            -1 => asm.dec(W64, to),
            // One byte is enough for -128, but not for 128.
            128 => asm.sub(W64, to, -128),
            right => asm.add(W64, to, right),
        }
    }

    #[inline(always)]
    pub(super) fn combine_both(
        &mut self,
        operator: Operator,
        to: Gpr,
        left: GprOrStack,
        right: GprOrStack,
    ) {
        let (left, right) = if right == to.into() && left != right {
            if operator == Operator::Sub {
                self.asm.neg(W64, to);
                return self.asm.add(W64, to, left);
            }
            (right, left)
        } else {
            (left, right)
        };
        if operator == Operator::Add
            && let (Some(left), Some(right)) = (left.register(), right.register())
            && left != to
            && let Some(index) = right.index()
        {
            return self.asm.lea(W64, to, Mem::at(left, 0).indexed(index, Scale::By1));
        }
        self.move_to(to, left);
        match operator.alu() {
            Some(row) => self.asm.alu(row, W64, to, right),
            None => self.asm.imul(W64, to, right),
        }
    }
}
