//! One activation: its values, and the loop that runs its instructions until it calls, returns or stops.

use Instruction as I;

use super::ops::{Floats, Ops};
use crate::bytecode::host::Signals;
use crate::bytecode::instruction::Instruction;
use crate::ir::Condition;
use crate::trap::bytecode::Cause;

/// Why the loop is left. What goes on, goes on at the instruction after the one that left.
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
    instructions: &'a [I],
    /// The floats that the instructions compare.
    floats: &'a [Option<Floats>],
    /// The locals, then room for the vector.
    values: &'a mut [u64],
    locals: usize,
    /// The number of the instruction that is next.
    pub(super) next: usize,
    /// The length of the vector.
    pub(super) length: usize,
}

// Without `inline(always)` the loop takes 14 % more instructions: rows "bytecode: ..., an instruction; interpreted".
impl<'a> Activation<'a> {
    pub(super) fn new(ops: &'a Ops, values: &'a mut [u64], next: usize, length: usize) -> Self {
        let Ops { instructions, floats, locals, .. } = ops;
        Self { instructions, floats, values, locals: *locals, next, length }
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

    /// Pops two values and compares them.
    #[inline(always)]
    fn pop_compared(&mut self, test: Condition) -> bool {
        let (left, right) = self.pop_two();
        match self.floats.get(self.next.wrapping_sub(1)) {
            Some(&Some(floats)) => {
                let (left, right) = floats.of(left, right);
                test.holds(left, right)
            }
            _ => test.holds(left.cast_signed(), right.cast_signed()),
        }
    }

    #[inline(always)]
    fn compare(&mut self, test: Condition) {
        let holds = self.pop_compared(test);
        self.push(holds.into());
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
    fn floating(&mut self, result: impl FnOnce(f64, f64) -> f64) {
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

    /// Continues at the instruction `to`, unless it lies behind and the host interrupts the program, or the caller
    /// watches back edges.
    #[inline(always)]
    fn jump(&mut self, to: i32, signals: &Signals, watched: bool) -> Option<Event> {
        let to = usize::try_from(to.cast_unsigned()).unwrap_or(usize::MAX);
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
            let Some(&instruction) = self.instructions.get(self.next) else {
                return Event::Return(self.pop());
            };
            self.next += 1;
            if let Some(event) = self.step(instruction, signals, watched) {
                return event;
            }
        }
    }

    #[inline(always)]
    fn step(&mut self, instruction: I, signals: &Signals, watched: bool) -> Option<Event> {
        match instruction {
            I::ConstI64 { dest, value } => self.write(dest, value.cast_unsigned()),
            I::ConstF64 { dest, bits } => self.write(dest, bits),
            I::ConstTrue { dest } => self.write(dest, 1),
            I::ConstFalse { dest } | I::ConstNone { dest } | I::ConstUnit { dest } => {
                self.write(dest, 0);
            }
            I::Push { src } => self.push(self.slot(src)),
            I::Pop { dest } => {
                let value = self.pop();
                self.write(dest, value);
            }
            I::Dup { src, dest } => self.write(dest, self.slot(src)),
            I::Swap { a, b } => {
                let (left, right) = (self.slot(a), self.slot(b));
                self.write(a, right);
                self.write(b, left);
            }
            I::Load { dest, local } => self.write(dest, self.get(local.into())),
            I::Store { local, src } => self.set(local.into(), self.slot(src)),
            I::ConstI64Push { value } => self.push(value.cast_unsigned()),
            I::LoadPush { local } => self.push(self.get(local.into())),
            I::PopStore { local } => {
                let value = self.pop();
                self.set(local.into(), value);
            }
            _ => return self.compute(instruction, signals, watched),
        }
        None
    }

    /// Executes an instruction that computes, or one that may change the order of the instructions.
    #[inline(always)]
    fn compute(&mut self, instruction: I, signals: &Signals, watched: bool) -> Option<Event> {
        match instruction {
            I::AddI64 => self.integers(i64::wrapping_add),
            I::SubI64 => self.integers(i64::wrapping_sub),
            I::MulI64 => self.integers(i64::wrapping_mul),
            I::DivI64 => return self.divide(i64::wrapping_div),
            I::ModI64 => return self.divide(i64::wrapping_rem),
            I::AddF64 => self.floating(|left, right| left + right),
            I::SubF64 => self.floating(|left, right| left - right),
            I::MulF64 => self.floating(|left, right| left * right),
            I::DivF64 => self.floating(|left, right| left / right),
            I::NegI64 => {
                let value = self.pop().cast_signed();
                self.push(value.wrapping_neg().cast_unsigned());
            }
            I::Eq => self.compare(Condition::Equal),
            I::Ne => self.compare(Condition::NotEqual),
            I::Lt => self.compare(Condition::Less),
            I::Le => self.compare(Condition::LessEqual),
            I::Gt => self.compare(Condition::Greater),
            I::Ge => self.compare(Condition::GreaterEqual),
            I::And => {
                let (left, right) = self.pop_two();
                self.push(left & right);
            }
            I::Or => {
                let (left, right) = self.pop_two();
                self.push(left | right);
            }
            I::Not => {
                let value = self.pop();
                self.push(value ^ 1);
            }
            I::AddI64Pop { dest } => self.integers_to(dest, i64::wrapping_add),
            I::SubI64Pop { dest } => self.integers_to(dest, i64::wrapping_sub),
            I::MulI64Pop { dest } => self.integers_to(dest, i64::wrapping_mul),
            _ => return self.transfer(instruction, signals, watched),
        }
        None
    }

    /// Executes an instruction after which the next one may not follow, or that leaves the loop.
    #[inline(always)]
    fn transfer(&mut self, instruction: I, signals: &Signals, watched: bool) -> Option<Event> {
        let (jumps, to) = match instruction {
            I::Jmp { offset } => (true, offset),
            I::JmpIf { offset } => (self.pop() != 0, offset),
            I::JmpIfNot { offset } => (self.pop() == 0, offset),
            I::LtJmpIfNot { offset } => (!self.pop_compared(Condition::Less), offset),
            I::EqJmpIfNot { offset } => (!self.pop_compared(Condition::Equal), offset),
            I::Call { function, argc } => {
                return Some(Event::Call { function, argc: self.drop_arguments(argc) });
            }
            I::TailCall { function, argc } => {
                return Some(Event::TailCall { function, argc: self.drop_arguments(argc) });
            }
            I::CallSffi { index, argc } => {
                return Some(Event::Host { index, argc: self.drop_arguments(argc) });
            }
            I::Ret { src } => return Some(Event::Return(self.slot(src))),
            // What is not supported has been refused.
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
