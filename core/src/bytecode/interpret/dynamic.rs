//! Functions run with values that have their kinds with them: those that work on objects, and others that they call
//! with arguments that are no i64.
//!
//! The verifier has checked the structure of the code: instructions, jumps, depths of the operand stack, locals,
//! constants and called functions. What an instruction reads is checked here, and a value of another kind than the
//! instruction takes is a trap. A function that compiles and gets integers only is handed to the tiers, or to the
//! interpreter of such functions.

mod objects;
mod step;

use alloc::vec::Vec;

use super::ops::{CalledFunctions, Ops};
use super::tier::{Environment, StackSpace, TierUp};
use super::typed::TypedInterpreter;
use crate::alloc_util::{try_collect, try_push, try_reserve};
use crate::bytecode::instruction::Instruction;
use crate::bytecode::objects::{ObjectHandle, Objects, Value, ValueError};
use crate::bytecode::verify::{Kind, Program};
use crate::trap::bytecode::{Cause, Trap};

/// The memory for running functions with values.
#[derive(Debug, Default)]
pub(super) struct DynamicState {
    functions: CalledFunctions,
    /// The locals and the operand stack of each activation.
    stack: Vec<Value>,
    frames: Vec<Frame>,
    /// The strings of the constant pool that the call has made.
    texts: Vec<Option<ObjectHandle>>,
}

/// An activation.
#[derive(Clone, Copy, Debug)]
struct Frame {
    function: u32,
    /// The number of the next instruction.
    next: usize,
    /// Where its locals and its operand stack start.
    base: usize,
    vector: usize,
    /// What it has been charged.
    charge: u64,
}

/// What comes after an instruction.
enum Step {
    /// The next instruction.
    Next,
    /// The instruction with this number.
    Jump(usize),
    /// Calls a function with values from the end of the operand stack.
    Call {
        function: u32,
        argc: usize,
    },
    /// The same in place of this activation.
    TailCall {
        function: u32,
        argc: usize,
    },
    Return(Value),
}

impl DynamicState {
    /// The function in its form for this interpreter; `None` when the program does not have it.
    fn ops(&mut self, program: &Program<'_>, function: u32) -> Result<Option<&Ops>, Cause> {
        self.functions.get_or_make(program, function, || {
            let known = program.function(function).zip(program.summary(function));
            let Some((code, summary)) = known else { return Ok(None) };
            Ok(Some(Ops::new(code, summary.max_stack_depth)?))
        })
    }
}

/// A call on its way.
pub(super) struct DynamicRun<'r, 'e, 'c, T> {
    pub(super) typed: &'r mut TypedInterpreter,
    pub(super) state: &'r mut DynamicState,
    pub(super) environment: Environment<'e, 'c>,
    pub(super) objects: &'r mut dyn Objects,
    pub(super) tier: &'r mut T,
    pub(super) space: StackSpace,
}

impl<T: TierUp> DynamicRun<'_, '_, '_, T> {
    /// Calls a function; missing arguments are nil.
    pub(super) fn call(&mut self, function: u32, args: &[Value]) -> Result<Value, Trap> {
        let DynamicState { stack, frames, texts, .. } = &mut *self.state;
        stack.clear();
        frames.clear();
        texts.clear();
        let trap = |cause| Trap { cause, function, at: 0 };
        try_reserve(stack, args.len()).map_err(|none| trap(none.into()))?;
        stack.extend_from_slice(args);
        match self.enter(function, args.len())? {
            Some(value) => Ok(value),
            None => self.run(),
        }
    }

    /// Calls a function with the last `argc` values of the stack, which are removed. A result when it has been run
    /// as a function that compiles; otherwise its activation is the last one.
    fn enter(&mut self, function: u32, argc: usize) -> Result<Option<Value>, Trap> {
        let trap = |cause| Trap { cause, function, at: 0 };
        if self.environment.program.compiles(function)
            && let Some(done) = self.call_typed(function, argc)?
        {
            return Ok(Some(done));
        }
        if T::WATCHES {
            self.tier.on_dynamic();
        }
        let Environment { program, signals, .. } = self.environment;
        let ops = self.state.ops(program, function);
        let ops = ops.map_err(trap)?.ok_or(trap(ValueError::NoFunction.into()))?;
        self.space.reserve(ops, signals).map_err(trap)?;
        let (charge, locals, room) = (ops.charge, ops.locals, ops.values());
        let DynamicState { stack, frames, .. } = &mut *self.state;
        try_reserve(stack, room).map_err(|none| trap(none.into()))?;
        let base = stack.len().saturating_sub(argc);
        let vector = base + locals;
        stack.resize(vector, Value::Nil);
        let frame = Frame { function, next: 0, base, vector, charge };
        try_push(frames, frame).map_err(|none| trap(none.into()))?;
        Ok(None)
    }

    /// Calls a function that compiles, if its arguments, the last values of the stack, are integers.
    fn call_typed(&mut self, function: u32, argc: usize) -> Result<Option<Value>, Trap> {
        let stack = &self.state.stack;
        let base = stack.len().saturating_sub(argc);
        let args = stack.get(base..).unwrap_or(&[]);
        if !args.iter().all(|arg| matches!(arg, Value::I64(_))) {
            return Ok(None);
        }
        let args = try_collect(args.iter().map(|arg| arg.as_i64().unwrap_or(0).cast_unsigned()));
        let args = args.map_err(|none| Trap { cause: none.into(), function, at: 0 })?;
        let (environment, space) = (self.environment, self.space);
        let bits = self.typed.call(environment, self.tier, function, &args, space)?;
        self.state.stack.truncate(base);
        let kind = environment.program.summary(function).map(|summary| summary.result);
        Ok(Some(value_of(kind.unwrap_or(Kind::Nil), bits)))
    }

    /// Runs until the first activation has returned.
    fn run(&mut self) -> Result<Value, Trap> {
        while let Some(frame) = self.state.frames.pop() {
            let Frame { function, next, .. } = frame;
            let ops = self.state.functions.get(function);
            let instruction = ops.and_then(|ops| ops.get(next));
            let step = match instruction {
                Some(instruction) => self.step_with_collection(frame, instruction),
                None => Ok(Step::Return(self.pop())),
            };
            let step = step.map_err(|cause| self.trap(frame, cause))?;
            let next = match step {
                Step::Next => next + 1,
                Step::Jump(to) => {
                    self.check_jump(frame, to)?;
                    to
                }
                Step::Call { function, argc } => {
                    self.resume(Frame { next: next + 1, ..frame });
                    if let Some(value) = self.enter(function, argc)? {
                        self.state.stack.push(value);
                    }
                    continue;
                }
                Step::TailCall { function, argc } => {
                    match self.tail_call(frame, function, argc)? {
                        Some(value) if self.state.frames.is_empty() => {
                            return Ok(value);
                        }
                        Some(value) => self.state.stack.push(value),
                        None => {}
                    }
                    continue;
                }
                Step::Return(value) => {
                    self.leave(frame);
                    if self.state.frames.is_empty() {
                        return Ok(value);
                    }
                    self.state.stack.push(value);
                    continue;
                }
            };
            self.resume(Frame { next, ..frame });
        }
        Ok(Value::Nil)
    }

    /// Puts an activation back, whose place is still there.
    fn resume(&mut self, frame: Frame) {
        self.state.frames.push(frame);
    }

    /// Ends an activation.
    fn leave(&mut self, frame: Frame) {
        self.space.release(frame.charge);
        self.state.stack.truncate(frame.base);
    }

    /// Calls a function in place of an activation.
    fn tail_call(
        &mut self,
        frame: Frame,
        function: u32,
        argc: usize,
    ) -> Result<Option<Value>, Trap> {
        let stack = &mut self.state.stack;
        let first = stack.len().saturating_sub(argc);
        stack.copy_within(first.., frame.base.min(first));
        stack.truncate(frame.base + argc);
        self.space.release(frame.charge);
        self.enter(function, argc)
    }

    /// Stops at a back edge if the host wants that.
    fn check_jump(&mut self, frame: Frame, to: usize) -> Result<(), Trap> {
        if to > frame.next {
            return Ok(());
        }
        if T::WATCHES {
            self.tier.on_dynamic();
        }
        if self.environment.signals.is_interrupted() {
            return Err(self.trap(frame, Cause::Interrupted));
        }
        Ok(())
    }

    fn trap(&self, frame: Frame, cause: Cause) -> Trap {
        let ops = self.state.functions.get(frame.function);
        let at = ops.map_or(0, |ops| ops.offset(frame.next));
        Trap { cause, function: frame.function, at }
    }

    /// Executes an instruction; once more after a collection if there is no memory for an object. Nothing changes
    /// before an instruction that makes an object fails, but for a function of the host.
    fn step_with_collection(
        &mut self,
        frame: Frame,
        instruction: Instruction,
    ) -> Result<Step, Cause> {
        let step = self.step(frame, instruction);
        let is_short = matches!(step, Err(Cause::Value(ValueError::OutOfMemory)));
        if !is_short || matches!(instruction, Instruction::CallRuntime { .. }) {
            return step;
        }
        let DynamicState { stack, texts, .. } = &*self.state;
        let on_stack = stack.iter().filter_map(|value| match value {
            Value::Object(object) => Some(*object),
            _ => None,
        });
        let mut roots = on_stack.chain(texts.iter().flatten().copied());
        if self.objects.collect(&mut roots) { self.step(frame, instruction) } else { step }
    }
}

/// The value whose kind is known, from its bits.
pub(super) fn value_of(kind: Kind, bits: u64) -> Value {
    match kind {
        Kind::I64 => Value::I64(bits.cast_signed()),
        Kind::F64 => Value::F64(f64::from_bits(bits)),
        Kind::Bool => Value::Bool(bits != 0),
        Kind::Nil | Kind::Value => Value::Nil,
    }
}

/// The bits of a value that is no object.
pub(super) fn bits_of(value: Value) -> Result<u64, ValueError> {
    Ok(match value {
        Value::Nil => 0,
        Value::Bool(value) => value.into(),
        Value::I64(value) => value.cast_unsigned(),
        Value::F64(value) => value.to_bits(),
        Value::Function(index) => index.into(),
        Value::Object(_) => return Err(ValueError::ObjectResult),
    })
}

#[cfg(test)]
mod tests;
