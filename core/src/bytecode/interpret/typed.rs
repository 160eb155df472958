//! Functions that compile, interpreted: the verifier knows the kind of every value.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::ops::Range;

use super::activation::{Activation, Event};
use super::ops::{CalledFunctions, Ops};
use super::tier::{Environment, LoopHead, StackSpace, TierUp};
use crate::alloc_util::{try_box, try_push, try_reserve, try_resize};
use crate::bytecode::verify::{Fault, Program, Verifier};
use crate::trap::bytecode::{Cause, Trap};

/// An activation that is not running, or is about to.
#[derive(Clone, Copy, Debug)]
struct Frame {
    function: u32,
    /// The number of the instruction that is next.
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
    /// Where the `count` arguments lie that it has just removed from its vector.
    fn arguments(&self, count: usize) -> Range<usize> {
        let begin = self.vector + self.length;
        begin..begin + count
    }
}

/// Runs the functions of one program that compile.
#[derive(Debug, Default)]
pub(super) struct TypedInterpreter {
    functions: CalledFunctions,
    values: Vec<u64>,
    frames: Vec<Frame>,
    /// Made for the first function: it is large, and interpreters lie on the stack.
    verifier: Option<Box<Verifier>>,
}

impl TypedInterpreter {
    /// Calls function `function` with `args`. Missing arguments are 0.
    ///
    /// # Errors
    /// The trap that stops the program.
    pub(super) fn call<T: TierUp>(
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
        match run.enter(function, 0..args.len(), 0)? {
            Some(done) => Ok(done),
            None => run.run(),
        }
    }

    /// The instructions of a function; `None` when there is no such function.
    fn ops(&mut self, program: &Program<'_>, function: u32) -> Result<Option<&Ops>, Cause> {
        let Self { functions, verifier, .. } = self;
        functions.get_or_make(program, function, || translate(verifier, program, function))
    }
}

/// The instructions of a function that has not been called before.
#[cold]
#[inline(never)]
fn translate(
    verifier: &mut Option<Box<Verifier>>,
    program: &Program<'_>,
    function: u32,
) -> Result<Option<Ops>, Cause> {
    if verifier.is_none() {
        *verifier = Some(try_box(Verifier::new())?);
    }
    let Some(verifier) = verifier else { return Ok(None) };
    match verifier.facts(program, function) {
        Ok(facts) => Ok(Some(Ops::typed(&facts)?)),
        Err(Fault::OutOfMemory) => Err(Cause::OutOfMemory),
        // It has been verified.
        Err(_) => Ok(None),
    }
}

/// A call on its way.
struct Run<'r, 'e, 'c, T> {
    interpreter: &'r mut TypedInterpreter,
    environment: Environment<'e, 'c>,
    tier: &'r mut T,
    space: StackSpace,
}

impl<T: TierUp> Run<'_, '_, '_, T> {
    /// Begins an activation whose values lie at `base`; a result when the tier has run it already.
    fn enter(
        &mut self,
        function: u32,
        args: Range<usize>,
        base: usize,
    ) -> Result<Option<u64>, Trap> {
        if T::WATCHES {
            let args = self.interpreter.values.get(args.clone()).unwrap_or(&[]);
            if let Some(done) = self.tier.on_call(function, args, self.space) {
                return done.map(Some);
            }
        }
        let trap = |cause| Trap { cause, function, at: 0 };
        let Environment { program, signals, .. } = self.environment;
        // The verifier has seen every call.
        let Some(ops) = self.interpreter.ops(program, function).map_err(trap)? else {
            return Ok(Some(0));
        };
        self.space.reserve(ops, signals).map_err(trap)?;
        let (charge, params) = (ops.charge, ops.params);
        let (vector, end) = (base + ops.locals, base + ops.values());
        let TypedInterpreter { values, frames, .. } = &mut *self.interpreter;
        if values.len() < end {
            try_resize(values, end, 0).map_err(|none| trap(none.into()))?;
        }
        let given = args.len().min(params);
        // One after another, because they are few: those of a tail call lie behind where they go.
        for number in 0..given {
            let value = values.get(args.start + number).copied().unwrap_or(0);
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

    /// The instructions of an activation and its values.
    fn parts(&mut self, frame: &Frame) -> Option<(&Ops, &mut [u64])> {
        let TypedInterpreter { functions, values, .. } = &mut *self.interpreter;
        Some((functions.get(frame.function)?, values.get_mut(frame.base..frame.end)?))
    }

    /// An activation ends. A value when it was the first one; else its caller gets it.
    fn leave(&mut self, frame: &Frame, value: u64) -> Option<u64> {
        self.space.release(frame.charge);
        self.return_to_caller(value)
    }

    /// Pushes the result of an activation that has ended onto the vector of its caller. A value when there is none.
    fn return_to_caller(&mut self, value: u64) -> Option<u64> {
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
        let ops = self.interpreter.functions.get(frame.function);
        let at = ops.map_or(0, |ops| ops.offset(frame.next - 1));
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
        self.space.release(frame.charge);
        let Some(value) = self.enter(function, args, frame.base)? else { return Ok(None) };
        Ok(self.return_to_caller(value))
    }

    fn host(&mut self, mut frame: Frame, index: u16, argc: usize) -> Result<(), Trap> {
        let args = self.interpreter.values.get(frame.arguments(argc)).unwrap_or(&[]);
        let value = self.environment.call_host(index, args);
        let value = value.map_err(|cause| self.trap(&frame, cause))?;
        self.push(&mut frame, value.cast_unsigned());
        self.interpreter.frames.push(frame);
        Ok(())
    }

    /// Asks the tier to go on after a jump back. A value when the first activation has returned.
    fn loop_head(&mut self, frame: Frame) -> Result<Option<u64>, Trap> {
        let space = self.space;
        let TypedInterpreter { functions, values, .. } = &mut *self.interpreter;
        let Some(ops) = functions.get(frame.function) else { return Ok(None) };
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
