//! One activation: its values, and the loop that runs its operations until it calls, returns or stops.

use super::ops::{Op, Ops};
use crate::bytecode::host::Signals;
use crate::trap::bytecode::Cause;

/// Why the loop is left. What goes on, goes on at the operation after the one that left.
#[derive(Clone, Copy, Debug)]
pub(super) enum Event {
    /// Calls a function with so many values from the end of the vector, which are removed.
    Call { function: u32, argc: usize },
    /// The same in place of this activation.
    TailCall { function: u32, argc: usize },
    /// Calls a function of the host.
    Host { index: u16, argc: usize },
    /// Returns.
    Return(u64),
    /// Stops.
    Stop(Cause),
    /// Has jumped back and was asked to say so.
    LoopHead,
}

/// An activation that runs.
pub(super) struct Activation<'a> {
    pub(super) ops: &'a [Op],
    /// The locals, then room for the vector.
    pub(super) values: &'a mut [u64],
    pub(super) locals: usize,
    /// The number of the operation that is next.
    pub(super) next: usize,
    /// The length of the vector.
    pub(super) length: usize,
}

impl<'a> Activation<'a> {
    pub(super) fn new(ops: &'a Ops, values: &'a mut [u64], next: usize, length: usize) -> Self {
        Self { ops: &ops.ops, values, locals: ops.locals, next, length }
    }

    /// A value that the verifier has seen to be there.
    #[inline(always)]
    fn get(&self, index: usize) -> u64 {
        self.values.get(index).copied().unwrap_or(0)
    }

    #[inline(always)]
    fn set(&mut self, index: usize, value: u64) {
        if let Some(place) = self.values.get_mut(index) {
            *place = value;
        }
    }

    #[inline(always)]
    fn slot(&self, slot: u16) -> u64 {
        self.get(self.locals + usize::from(slot))
    }

    #[inline(always)]
    fn write(&mut self, slot: u16, value: u64) {
        let position = usize::from(slot);
        if position >= self.length {
            self.extend(position);
        }
        self.set(self.locals + position, value);
    }

    #[inline(never)]
    fn extend(&mut self, position: usize) {
        let new = self.locals + self.length..self.locals + position;
        self.values.get_mut(new).unwrap_or_default().fill(0);
        self.length = position + 1;
    }

    #[inline(always)]
    fn push(&mut self, value: u64) {
        self.set(self.locals + self.length, value);
        self.length += 1;
    }

    #[inline(always)]
    fn pop(&mut self) -> u64 {
        self.length = self.length.wrapping_sub(1);
        self.get(self.locals.wrapping_add(self.length))
    }

    /// Pops right and left; gives left, right.
    #[inline(always)]
    fn pop_two(&mut self) -> (u64, u64) {
        let right = self.pop();
        (self.pop(), right)
    }

    #[inline(always)]
    fn integers(&mut self, result: impl FnOnce(i64, i64) -> i64) {
        let (left, right) = self.pop_two();
        self.push(result(left.cast_signed(), right.cast_signed()).cast_unsigned());
    }

    #[inline(always)]
    fn integers_to(&mut self, dest: u16, result: impl FnOnce(i64, i64) -> i64) {
        let (left, right) = self.pop_two();
        self.write(dest, result(left.cast_signed(), right.cast_signed()).cast_unsigned());
    }

    #[inline(always)]
    fn floats(&mut self, result: impl FnOnce(f64, f64) -> f64) {
        let (left, right) = self.pop_two();
        self.push(result(f64::from_bits(left), f64::from_bits(right)).to_bits());
    }

    #[inline(always)]
    fn divide(&mut self, result: impl FnOnce(i64, i64) -> i64) -> Option<Event> {
        let (left, right) = self.pop_two();
        if right == 0 {
            return Some(Event::Stop(Cause::DivisionByZero));
        }
        self.push(result(left.cast_signed(), right.cast_signed()).cast_unsigned());
        None
    }

    /// Continues at the operation `to`, unless it lies behind and the host interrupts the program, or the caller
    /// watches back edges.
    #[inline(always)]
    fn jump(&mut self, to: u32, signals: &Signals, watched: bool) -> Option<Event> {
        let to = usize::try_from(to).unwrap_or(usize::MAX);
        let back = to < self.next;
        if back && signals.is_interrupted() {
            return Some(Event::Stop(Cause::Interrupted));
        }
        self.next = to;
        (back && watched).then_some(Event::LoopHead)
    }

    /// Runs until something happens that others have to see to. `watched` tells whether jumps back
    /// are such a thing.
    #[inline(always)]
    pub(super) fn run(&mut self, signals: &Signals, watched: bool) -> Event {
        loop {
            let Some(&op) = self.ops.get(self.next) else { return Event::Return(0) };
            self.next += 1;
            if let Some(event) = self.step(op, signals, watched) {
                return event;
            }
        }
    }

    #[inline(always)]
    fn step(&mut self, op: Op, signals: &Signals, watched: bool) -> Option<Event> {
        match op {
            Op::Const { dest, value } => self.write(dest, value),
            Op::Push { src } => self.push(self.slot(src)),
            Op::Pop { dest } => {
                let value = self.pop();
                self.write(dest, value);
            }
            Op::Dup { src, dest } => self.write(dest, self.slot(src)),
            Op::Swap { a, b } => {
                let (left, right) = (self.slot(a), self.slot(b));
                self.write(a, right);
                self.write(b, left);
            }
            Op::Add => self.integers(i64::wrapping_add),
            Op::Sub => self.integers(i64::wrapping_sub),
            Op::Mul => self.integers(i64::wrapping_mul),
            Op::Div => return self.divide(i64::wrapping_div),
            Op::Mod => return self.divide(i64::wrapping_rem),
            Op::AddFloat => self.floats(|left, right| left + right),
            Op::SubFloat => self.floats(|left, right| left - right),
            Op::MulFloat => self.floats(|left, right| left * right),
            Op::DivFloat => self.floats(|left, right| left / right),
            Op::Neg => {
                let value = self.pop().cast_signed();
                self.push(value.wrapping_neg().cast_unsigned());
            }
            Op::Load { dest, local } => self.write(dest, self.get(local.into())),
            Op::Store { local, src } => self.set(local.into(), self.slot(src)),
            Op::ConstPush { value } => self.push(value),
            Op::LoadPush { local } => self.push(self.get(local.into())),
            Op::PopStore { local } => {
                let value = self.pop();
                self.set(local.into(), value);
            }
            Op::AddPop { dest } => self.integers_to(dest, i64::wrapping_add),
            Op::SubPop { dest } => self.integers_to(dest, i64::wrapping_sub),
            Op::MulPop { dest } => self.integers_to(dest, i64::wrapping_mul),
            _ => return self.compare(op, signals, watched),
        }
        None
    }

    /// Executes an operation that pushes a bool, or that may change the order of the operations.
    #[inline(always)]
    fn compare(&mut self, op: Op, signals: &Signals, watched: bool) -> Option<Event> {
        match op {
            Op::Compare { test } => {
                let (left, right) = self.pop_two();
                self.push(test.holds(left.cast_signed(), right.cast_signed()).into());
            }
            Op::CompareFloats { test, floats } => {
                let (left, right) = self.pop_two();
                let (left, right) = floats.of(left, right);
                self.push(test.holds(left, right).into());
            }
            Op::And => {
                let (left, right) = self.pop_two();
                self.push(left & right);
            }
            Op::Or => {
                let (left, right) = self.pop_two();
                self.push(left | right);
            }
            Op::Not => {
                let value = self.pop();
                self.push(value ^ 1);
            }
            _ => return self.transfer(op, signals, watched),
        }
        None
    }

    /// Executes an operation after which the next one may not follow, or that leaves the loop.
    #[inline(always)]
    fn transfer(&mut self, op: Op, signals: &Signals, watched: bool) -> Option<Event> {
        let (jumps, to) = match op {
            Op::Jmp { to } => (true, to),
            Op::JmpIf { to } => (self.pop() != 0, to),
            Op::JmpIfNot { to } => (self.pop() == 0, to),
            Op::LtJmpIfNot { to } => {
                let (left, right) = self.pop_two();
                (left.cast_signed() >= right.cast_signed(), to)
            }
            Op::EqJmpIfNot { to } => {
                let (left, right) = self.pop_two();
                (left != right, to)
            }
            Op::FloatsJmpIfNot { test, floats, to } => {
                let (left, right) = self.pop_two();
                let (left, right) = floats.of(left, right);
                (!test.holds(left, right), to)
            }
            Op::Call { function, argc } => {
                return Some(Event::Call { function, argc: self.drop_arguments(argc) });
            }
            Op::TailCall { function, argc } => {
                return Some(Event::TailCall { function, argc: self.drop_arguments(argc) });
            }
            Op::Host { index, argc } => {
                return Some(Event::Host { index, argc: self.drop_arguments(argc) });
            }
            Op::Ret { src } => return Some(Event::Return(self.slot(src))),
            Op::RetTop => return Some(Event::Return(self.pop())),
            _ => return Some(Event::Return(0)),
        };
        if jumps { self.jump(to, signals, watched) } else { None }
    }

    /// Removes the arguments of a call, which stay behind the end of the vector until it is written.
    fn drop_arguments(&mut self, argc: u16) -> usize {
        let argc = usize::from(argc);
        self.length = self.length.saturating_sub(argc);
        argc
    }
}
