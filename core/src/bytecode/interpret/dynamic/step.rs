//! Instructions on values of dynamic kinds that need no objects.

use super::{DynamicRun, Frame, Step};
use crate::bytecode::instruction::Instruction;
use crate::bytecode::interpret::tier::TierUp;
use crate::bytecode::objects::{Value, ValueError, ValueKind};
use crate::ir::Condition;
use crate::trap::bytecode::Cause;

use Instruction as I;

impl<T: TierUp> DynamicRun<'_, '_, '_, T> {
    /// Executes an instruction of the activation that is running.
    pub(super) fn step(&mut self, frame: Frame, instruction: I) -> Result<Step, Cause> {
        match instruction {
            I::ConstI64 { dest, value } => self.write(frame, dest, Value::I64(value)),
            I::ConstF64 { dest, bits } => {
                self.write(frame, dest, Value::F64(f64::from_bits(bits)));
            }
            I::ConstTrue { dest } => self.write(frame, dest, Value::Bool(true)),
            I::ConstFalse { dest } => self.write(frame, dest, Value::Bool(false)),
            I::ConstNone { dest } | I::ConstUnit { dest } => self.write(frame, dest, Value::Nil),
            I::Push { src } => self.push(self.slot(frame, src)),
            I::Pop { dest } => {
                let value = self.pop();
                self.write(frame, dest, value);
            }
            I::Dup { src, dest } => self.write(frame, dest, self.slot(frame, src)),
            I::Swap { a, b } => {
                let (left, right) = (self.slot(frame, a), self.slot(frame, b));
                self.write(frame, a, right);
                self.write(frame, b, left);
            }
            I::Load { dest, local } => self.write(frame, dest, self.local(frame, local)),
            I::Store { local, src } => self.set_local(frame, local, self.slot(frame, src)),
            I::ConstI64Push { value } => self.push(Value::I64(value)),
            I::LoadPush { local } => self.push(self.local(frame, local)),
            I::PopStore { local } => {
                let value = self.pop();
                self.set_local(frame, local, value);
            }
            instruction if instruction.uses_objects() => {
                return self.object_operation(frame, instruction);
            }
            instruction => return self.compute(frame, instruction),
        }
        Ok(Step::Next)
    }

    /// Executes an instruction that computes with the end of the operand stack.
    fn compute(&mut self, frame: Frame, instruction: I) -> Result<Step, Cause> {
        let value = match instruction {
            I::AddI64 | I::AddI64Pop { .. } => self.integers(i64::wrapping_add)?,
            I::SubI64 | I::SubI64Pop { .. } => self.integers(i64::wrapping_sub)?,
            I::MulI64 | I::MulI64Pop { .. } => self.integers(i64::wrapping_mul)?,
            I::DivI64 => self.quotient(i64::wrapping_div)?,
            I::ModI64 => self.quotient(i64::wrapping_rem)?,
            I::AddF64 => self.floats(|l, r| l + r)?,
            I::SubF64 => self.floats(|l, r| l - r)?,
            I::MulF64 => self.floats(|l, r| l * r)?,
            I::DivF64 => self.floats(|l, r| l / r)?,
            I::NegI64 => Value::I64(self.pop().as_i64()?.wrapping_neg()),
            I::Eq => Value::Bool(self.pop_equal()?),
            I::Ne => Value::Bool(!self.pop_equal()?),
            I::Lt => self.ordered(Condition::Less)?,
            I::Le => self.ordered(Condition::LessEqual)?,
            I::Gt => self.ordered(Condition::Greater)?,
            I::Ge => self.ordered(Condition::GreaterEqual)?,
            I::And => self.bools(|l, r| l && r)?,
            I::Or => self.bools(|l, r| l || r)?,
            I::Not => Value::Bool(!self.pop().as_bool()?),
            instruction => return self.transfer(frame, instruction),
        };
        match instruction {
            I::AddI64Pop { dest } | I::SubI64Pop { dest } | I::MulI64Pop { dest } => {
                self.write(frame, dest, value);
            }
            _ => self.push(value),
        }
        Ok(Step::Next)
    }

    /// Executes a jump, a call or a return.
    fn transfer(&mut self, frame: Frame, instruction: I) -> Result<Step, Cause> {
        let jumps = match instruction {
            I::Jmp { .. } => true,
            I::JmpIf { .. } => self.pop().as_bool()?,
            I::JmpIfNot { .. } => !self.pop().as_bool()?,
            I::LtJmpIfNot { .. } => {
                let (left, right) = self.pop_two();
                !compare(Condition::Less, left, right)?
            }
            I::EqJmpIfNot { .. } => !self.pop_equal()?,
            I::Call { function, argc } => return Ok(Step::Call { function, argc: argc.into() }),
            I::TailCall { function, argc } => {
                return Ok(Step::TailCall { function, argc: argc.into() });
            }
            I::CallSffi { index, argc } => {
                let value = self.call_host(index, argc)?;
                self.push(value);
                return Ok(Step::Next);
            }
            I::Ret { src } => return Ok(Step::Return(self.slot(frame, src))),
            // The verifier lets no other instruction through.
            _ => return Ok(Step::Return(Value::Nil)),
        };
        let to = instruction.jump_offset().and_then(|to| usize::try_from(to).ok());
        Ok(if jumps { Step::Jump(to.unwrap_or(usize::MAX)) } else { Step::Next })
    }

    /// Calls a function of the host that takes integers, which are popped.
    pub(super) fn call_host(&mut self, index: u16, argc: u16) -> Result<Value, Cause> {
        let stack = &mut self.state.stack;
        let first = stack.len().saturating_sub(argc.into());
        let mut args = [0; 8];
        for (place, arg) in args.iter_mut().zip(stack.get(first..).unwrap_or(&[])) {
            *place = arg.as_i64()?.cast_unsigned();
        }
        stack.truncate(first);
        let args = args.get(..argc.into()).unwrap_or(&[]);
        self.environment.call_host(index, args).map(Value::I64)
    }

    pub(super) fn push(&mut self, value: Value) {
        // The capacity was reserved when the activation began.
        self.state.stack.push(value);
    }

    pub(super) fn pop(&mut self) -> Value {
        self.state.stack.pop().unwrap_or_default()
    }

    /// Pops right and left; returns left and right.
    fn pop_two(&mut self) -> (Value, Value) {
        let right = self.pop();
        (self.pop(), right)
    }

    pub(super) fn slot(&self, frame: Frame, slot: u16) -> Value {
        let stack = &self.state.stack;
        stack.get(frame.vector + usize::from(slot)).copied().unwrap_or_default()
    }

    /// Writes a slot, which extends the operand stack if it lies behind the end.
    pub(super) fn write(&mut self, frame: Frame, slot: u16, value: Value) {
        let stack = &mut self.state.stack;
        let index = frame.vector + usize::from(slot);
        if index >= stack.len() {
            stack.resize(index + 1, Value::Nil);
        }
        if let Some(place) = stack.get_mut(index) {
            *place = value;
        }
    }

    fn local(&self, frame: Frame, local: u16) -> Value {
        let stack = &self.state.stack;
        stack.get(frame.base + usize::from(local)).copied().unwrap_or_default()
    }

    fn set_local(&mut self, frame: Frame, local: u16, value: Value) {
        let stack = &mut self.state.stack;
        if let Some(place) = stack.get_mut(frame.base + usize::from(local)) {
            *place = value;
        }
    }

    fn pop_pair<V>(
        &mut self,
        of: impl Fn(Value) -> Result<V, ValueError>,
    ) -> Result<(V, V), ValueError> {
        let (left, right) = self.pop_two();
        Ok((of(left)?, of(right)?))
    }

    fn integers(&mut self, result: impl FnOnce(i64, i64) -> i64) -> Result<Value, Cause> {
        let (left, right) = self.pop_pair(Value::as_i64)?;
        Ok(Value::I64(result(left, right)))
    }

    fn quotient(&mut self, result: impl FnOnce(i64, i64) -> i64) -> Result<Value, Cause> {
        match self.pop_pair(Value::as_i64)? {
            (_, 0) => Err(Cause::DivisionByZero),
            (left, right) => Ok(Value::I64(result(left, right))),
        }
    }

    fn floats(&mut self, result: impl FnOnce(f64, f64) -> f64) -> Result<Value, Cause> {
        let (left, right) = self.pop_pair(Value::as_f64)?;
        Ok(Value::F64(result(left, right)))
    }

    fn bools(&mut self, result: impl FnOnce(bool, bool) -> bool) -> Result<Value, Cause> {
        let (left, right) = self.pop_pair(Value::as_bool)?;
        Ok(Value::Bool(result(left, right)))
    }

    fn ordered(&mut self, test: Condition) -> Result<Value, Cause> {
        let (left, right) = self.pop_two();
        Ok(Value::Bool(compare(test, left, right)?))
    }

    /// Pops two values; whether they are equal. Values of different kinds are not, but for numbers.
    fn pop_equal(&mut self) -> Result<bool, Cause> {
        let (left, right) = self.pop_two();
        Ok(match (left, right) {
            (Value::Object(left), Value::Object(right)) => self.objects.equal(left, right)?,
            (Value::I64(left), Value::F64(right)) => left as f64 == right,
            (Value::F64(left), Value::I64(right)) => left == right as f64,
            (left, right) => left == right,
        })
    }
}

/// Compares two numbers: as integers if both are, otherwise as floats.
fn compare(test: Condition, left: Value, right: Value) -> Result<bool, ValueError> {
    if let (Value::I64(left), Value::I64(right)) = (left, right) {
        return Ok(test.holds(left, right));
    }
    Ok(test.holds(number(left)?, number(right)?))
}

fn number(value: Value) -> Result<f64, ValueError> {
    match value {
        // Rounds to nearest: a float has fewer digits than an integer of 64 bits.
        Value::I64(value) => Ok(value as f64),
        Value::F64(value) => Ok(value),
        other => Err(other.wrong_kind(ValueKind::Number)),
    }
}
