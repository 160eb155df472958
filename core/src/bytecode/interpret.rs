//! Verified programs run without machine code: what every machine can do, and what compiled code is
//! compared with.
//!
//! A function is translated when it is first called, into one operation of 16 bytes an instruction, and
//! stays so. Activations lie in one vector of values, their bookkeeping in another: nothing here
//! calls itself, so that the depth of a program's calls takes no native stack. Both vectors are reused.
//!
//! A [`Trap`] states why and where a program stopped. A [`TierUp`] has machine code for some of
//! the functions: the interpreter calls it at calls and at back edges, and it may take over.

mod activation;
mod dynamic;
mod ops;

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::host::{HostTable, Signals};
use super::objects::{ObjectArena, Objects, Value};
use super::verify::{Fault, Program, Verifier};
use crate::alloc_util::{try_box, try_collect, try_push, try_reserve, try_resize};
use crate::trap::bytecode::{Cause, MAX_STACK_DEPTH, Trap};
use activation::{Activation, Event};
use dynamic::{DynamicRun, DynamicState, bits_of};
use ops::Ops;

/// What a call may still use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StackSpace {
    /// How many activations.
    pub depth: u32,
    /// How many bytes of activations that are charged
    /// ([`activation_charge`](crate::trap::bytecode::activation_charge)).
    pub budget: u64,
    /// The lowest address that the native stack of compiled code may come to; 0 when nothing is compared
    /// with it. The interpreter passes it on.
    pub stack_end: usize,
}

/// The tier-up decision: continues in compiled code. A returned value is the result of the function.
pub trait TierUp {
    /// Whether the interpreter calls the methods.
    const WATCHES: bool = true;

    /// Called before function `function` is interpreted with `args`. `space` includes the activation of the
    /// call. `None` interprets the call.
    fn on_call(
        &mut self,
        function: u32,
        args: &[u64],
        space: StackSpace,
    ) -> Option<Result<u64, Trap>>;

    /// Called at a back edge. `None` continues the interpretation; a value is the result of the activation.
    fn on_back_edge(&mut self, head: LoopHead<'_>) -> Option<Result<u64, Trap>>;

    /// Called at calls and back edges of activations whose values have dynamic kinds, which are always interpreted.
    fn on_dynamic(&mut self) {}
}

/// An activation at a back edge.
#[derive(Debug)]
pub struct LoopHead<'a> {
    /// The function.
    pub function: u32,
    /// The target of the back edge, in bytes from the start of the code.
    pub at: u32,
    /// The locals.
    pub locals: &'a mut [u64],
    /// The operand stack.
    pub vector: &'a mut [u64],
    /// The remaining stack space, without that of the activation.
    pub space: StackSpace,
}

/// No tier-up: everything is interpreted.
#[derive(Clone, Copy, Debug)]
pub struct NoTierUp;

impl TierUp for NoTierUp {
    const WATCHES: bool = false;

    fn on_call(&mut self, _: u32, _: &[u64], _: StackSpace) -> Option<Result<u64, Trap>> {
        None
    }

    fn on_back_edge(&mut self, _: LoopHead<'_>) -> Option<Result<u64, Trap>> {
        None
    }
}

/// An activation that is not running, or is about to.
#[derive(Clone, Copy, Debug)]
struct Frame {
    function: u32,
    /// The number of the operation that is next.
    next: usize,
    /// The length of its vector.
    length: usize,
    /// Where its values begin, where those of its vector do, and where the room for them ends.
    base: usize,
    vector: usize,
    end: usize,
    /// What it has been charged.
    charge: u64,
}

impl Frame {
    /// The `count` arguments that it has just removed from its vector.
    fn arguments(&self, count: usize) -> Arguments {
        Arguments { begin: self.vector + self.length, count }
    }
}

/// Values that are passed, where they lie among the values of the interpreter.
#[derive(Clone, Copy, Debug)]
struct Arguments {
    begin: usize,
    count: usize,
}

/// The program and what it may ask of the host.
#[derive(Clone, Copy, Debug)]
pub struct Environment<'e, 'c> {
    /// The program.
    pub program: &'e Program<'c>,
    /// The host functions, with which the program has been linked ([`HostTable::link`]).
    pub hosts: &'e HostTable,
    /// What the host tells it.
    pub signals: &'e Signals,
}

/// Runs one program.
#[derive(Debug, Default)]
pub struct Interpreter {
    functions: Vec<Option<Box<Ops>>>,
    values: Vec<u64>,
    frames: Vec<Frame>,
    /// What translates, from the first function on: it is large, and interpreters lie on the stack.
    verifier: Option<Box<Verifier>>,
    dynamic: DynamicState,
}

impl Interpreter {
    /// One that has translated nothing yet. It must be given the same program at every call.
    pub fn new() -> Self {
        Self::default()
    }

    /// Calls function `function` with `args`, as many as it has parameters: missing ones are 0. Its
    /// activations take what they need of `space`. A function that works on objects gets an
    /// [`ObjectArena`], which is dropped at the end of the call.
    ///
    /// # Errors
    /// What stops the program; a result that is an object, which is dropped.
    pub fn call<T: TierUp>(
        &mut self,
        environment: Environment<'_, '_>,
        tier: &mut T,
        function: u32,
        args: &[u64],
        space: StackSpace,
    ) -> Result<u64, Trap> {
        let Some(found) = environment.program.function(function) else { return Ok(0) };
        if environment.program.compiles(function) {
            return self.call_typed(environment, tier, function, args, space);
        }
        let trap = |cause| Trap { cause, function, at: 0 };
        let args = args.iter().copied().chain(core::iter::repeat(0)).take(found.params.into());
        let args = try_collect(args.map(|arg| Value::I64(arg.cast_signed())));
        let args = args.map_err(|none| trap(none.into()))?;
        let mut arena = ObjectArena::new();
        let result = self.call_with(environment, &mut arena, tier, function, &args, space)?;
        bits_of(result).map_err(|error| trap(error.into()))
    }

    /// Calls function `function` with values and with the objects of the host. Missing arguments are nil.
    ///
    /// # Errors
    /// What stops the program.
    pub fn call_with<T: TierUp>(
        &mut self,
        environment: Environment<'_, '_>,
        objects: &mut dyn Objects,
        tier: &mut T,
        function: u32,
        args: &[Value],
        space: StackSpace,
    ) -> Result<Value, Trap> {
        DynamicRun { interpreter: self, environment, objects, tier, space }.call(function, args)
    }

    /// As [`call`](Self::call), of a function that compiles.
    fn call_typed<T: TierUp>(
        &mut self,
        environment: Environment<'_, '_>,
        tier: &mut T,
        function: u32,
        args: &[u64],
        space: StackSpace,
    ) -> Result<u64, Trap> {
        self.frames.clear();
        self.values.clear();
        let none = |cause| Trap { cause: Cause::from(cause), function, at: 0 };
        try_reserve(&mut self.values, args.len()).map_err(none)?;
        self.values.extend_from_slice(args);
        let mut run = Run { interpreter: self, environment, tier, space };
        match run.enter(function, Arguments { begin: 0, count: args.len() }, 0)? {
            Some(done) => Ok(done),
            None => run.run(),
        }
    }

    /// The operations of a function; `None` when there is no such function.
    fn ops(&mut self, program: &Program<'_>, function: u32) -> Result<Option<&Ops>, Cause> {
        let index = usize::try_from(function).unwrap_or(usize::MAX);
        if self.functions.is_empty() {
            let count = program.functions().len();
            try_reserve(&mut self.functions, count)?;
            self.functions.resize_with(count, || None);
        }
        let Some(place) = self.functions.get_mut(index) else { return Ok(None) };
        if place.is_none() {
            *place = translate(&mut self.verifier, program, function)?;
        }
        Ok(place.as_deref())
    }
}

/// The operations of a function that has not been called before.
#[cold]
#[inline(never)]
fn translate(
    verifier: &mut Option<Box<Verifier>>,
    program: &Program<'_>,
    function: u32,
) -> Result<Option<Box<Ops>>, Cause> {
    if verifier.is_none() {
        *verifier = Some(try_box(Verifier::new())?);
    }
    let Some(verifier) = verifier else { return Ok(None) };
    match verifier.facts(program, function) {
        Ok(facts) => Ok(Some(try_box(Ops::new(&facts)?)?)),
        Err(Fault::OutOfMemory) => Err(Cause::OutOfMemory),
        // It has been verified.
        Err(_) => Ok(None),
    }
}

/// A call on its way.
struct Run<'r, 'e, 'c, T> {
    interpreter: &'r mut Interpreter,
    environment: Environment<'e, 'c>,
    tier: &'r mut T,
    space: StackSpace,
}

impl<T: TierUp> Run<'_, '_, '_, T> {
    /// Begins an activation whose values lie at `base`; a result when the tier has run it already.
    fn enter(&mut self, function: u32, args: Arguments, base: usize) -> Result<Option<u64>, Trap> {
        let Arguments { begin, count } = args;
        if T::WATCHES {
            let args = self.interpreter.values.get(begin..begin + count).unwrap_or(&[]);
            if let Some(done) = self.tier.on_call(function, args, self.space) {
                return done.map(Some);
            }
        }
        let trap = |cause| Trap { cause, function, at: 0 };
        self.space.depth = self.space.depth.checked_sub(1).ok_or(trap(Cause::CallDepth))?;
        let ops = self.interpreter.ops(self.environment.program, function);
        // The verifier has seen every call.
        let Some(ops) = ops.map_err(trap)? else { return Ok(Some(0)) };
        if ops.max_stack_depth > MAX_STACK_DEPTH {
            return Err(trap(Cause::StackLimit));
        }
        let (charge, params) = (ops.charge, ops.params);
        let (vector, end) = (base + ops.locals, base + ops.values());
        self.space.budget = self.space.budget.checked_sub(charge).ok_or(trap(Cause::StackLimit))?;
        if self.environment.signals.is_interrupted() {
            return Err(trap(Cause::Interrupted));
        }
        let Interpreter { values, frames, .. } = &mut *self.interpreter;
        if values.len() < end {
            try_resize(values, end, 0).map_err(|none| trap(none.into()))?;
        }
        let given = count.min(params);
        // One after another, because they are few: those of a tail call lie behind where they go.
        for number in 0..given {
            let value = values.get(begin + number).copied().unwrap_or(0);
            if let Some(place) = values.get_mut(base + number) {
                *place = value;
            }
        }
        if base + given < vector {
            values.get_mut(base + given..vector).unwrap_or_default().fill(0);
        }
        let frame = Frame { function, next: 0, length: 0, base, vector, end, charge };
        // Those that are pushed again after they were popped find their room.
        try_push(frames, frame).map_err(|none| trap(none.into()))?;
        Ok(None)
    }

    /// Runs until the first activation has returned.
    fn run(&mut self) -> Result<u64, Trap> {
        while let Some(frame) = self.interpreter.frames.pop() {
            let (event, frame) = self.resume(frame);
            match event {
                Event::Return(value) => {
                    if let Some(value) = self.leave(&frame, value) {
                        return Ok(value);
                    }
                }
                Event::Stop(cause) => return Err(self.trap(&frame, cause)),
                Event::Call { function, argc } => self.call(frame, function, argc)?,
                Event::TailCall { function, argc } => {
                    if let Some(value) = self.tail_call(frame, function, argc)? {
                        return Ok(value);
                    }
                }
                Event::Host { index, argc } => self.host(frame, index, argc)?,
                Event::LoopHead => {
                    if let Some(value) = self.loop_head(frame)? {
                        return Ok(value);
                    }
                }
            }
        }
        Ok(0)
    }

    /// Runs an activation until something happens, and says where it stands then.
    fn resume(&mut self, frame: Frame) -> (Event, Frame) {
        let signals = self.environment.signals;
        let Some((ops, values)) = self.parts(&frame) else { return (Event::Return(0), frame) };
        let mut activation = Activation::new(ops, values, frame.next, frame.length);
        let event = activation.run(signals, T::WATCHES);
        (event, Frame { next: activation.next, length: activation.length, ..frame })
    }

    /// The operations of an activation and its values.
    fn parts(&mut self, frame: &Frame) -> Option<(&Ops, &mut [u64])> {
        let Interpreter { functions, values, .. } = &mut *self.interpreter;
        let ops = functions.get(usize::try_from(frame.function).ok()?)?.as_deref()?;
        Some((ops, values.get_mut(frame.base..frame.end)?))
    }

    /// An activation ends. A value when it was the first one; else its caller gets it.
    fn leave(&mut self, frame: &Frame, value: u64) -> Option<u64> {
        self.space.depth += 1;
        self.space.budget += frame.charge;
        let Some(mut caller) = self.interpreter.frames.pop() else { return Some(value) };
        self.push(&mut caller, value);
        self.interpreter.frames.push(caller);
        None
    }

    /// Pushes a value onto the vector of an activation that is not running.
    fn push(&mut self, frame: &mut Frame, value: u64) {
        if let Some(place) = self.interpreter.values.get_mut(frame.vector + frame.length) {
            *place = value;
        }
        frame.length += 1;
    }

    fn trap(&self, frame: &Frame, cause: Cause) -> Trap {
        let functions = &self.interpreter.functions;
        let ops = usize::try_from(frame.function).ok().and_then(|index| functions.get(index));
        let at = ops.and_then(Option::as_deref).map_or(0, |ops| ops.offset(frame.next - 1));
        Trap { cause, function: frame.function, at }
    }

    fn call(&mut self, mut frame: Frame, function: u32, argc: usize) -> Result<(), Trap> {
        self.interpreter.frames.push(frame);
        if let Some(value) = self.enter(function, frame.arguments(argc), frame.end)? {
            self.interpreter.frames.pop();
            self.push(&mut frame, value);
            self.interpreter.frames.push(frame);
        }
        Ok(())
    }

    fn tail_call(&mut self, frame: Frame, function: u32, argc: usize) -> Result<Option<u64>, Trap> {
        let args = frame.arguments(argc);
        self.space.depth += 1;
        self.space.budget += frame.charge;
        let Some(value) = self.enter(function, args, frame.base)? else { return Ok(None) };
        // It has been run: what this activation gave back is not given back twice.
        self.space.depth -= 1;
        self.space.budget -= frame.charge;
        Ok(self.leave(&frame, value))
    }

    fn host(&mut self, mut frame: Frame, index: u16, argc: usize) -> Result<(), Trap> {
        let Arguments { begin, count } = frame.arguments(argc);
        let args = self.interpreter.values.get(begin..begin + count).unwrap_or(&[]);
        let function = self.environment.hosts.get(index);
        let value = function.and_then(|function| function.call(args));
        if let Some(error) = self.environment.signals.take_error() {
            return Err(self.trap(&frame, Cause::Host(error)));
        }
        self.push(&mut frame, value.unwrap_or(0).cast_unsigned());
        self.interpreter.frames.push(frame);
        Ok(())
    }

    /// Asks the tier to go on after a jump back. A value when the first activation has returned.
    fn loop_head(&mut self, frame: Frame) -> Result<Option<u64>, Trap> {
        let space = self.space;
        let Interpreter { functions, values, .. } = &mut *self.interpreter;
        let ops = usize::try_from(frame.function).ok().and_then(|index| functions.get(index));
        let Some(ops) = ops.and_then(Option::as_deref) else { return Ok(None) };
        let values = values.get_mut(frame.base..).unwrap_or_default();
        let locals = frame.vector - frame.base;
        let (locals, vector) = values.split_at_mut_checked(locals).unwrap_or_default();
        let vector = vector.get_mut(..frame.length).unwrap_or_default();
        let at = ops.offset(frame.next);
        let head = LoopHead { function: frame.function, at, locals, vector, space };
        match self.tier.on_back_edge(head) {
            Some(done) => Ok(self.leave(&frame, done?)),
            None => {
                self.interpreter.frames.push(frame);
                Ok(None)
            }
        }
    }
}

#[cfg(test)]
mod tests;
