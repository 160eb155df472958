//! From Rust into compiled code and back.
#![allow(unsafe_code)]

use core::mem::{offset_of, transmute};
use core::ptr;
use core::slice;
use core::sync::atomic::{AtomicPtr, Ordering};

use arrayvec::ArrayVec;

use super::Native;
use super::stubs::Resume;
use crate::alloc_util::{AllocError, try_collect};
use crate::bytecode::interpret::StackSpace;
use crate::jit::lower::abi;
use crate::trap::bytecode::{Cause, Trap, ValueError};
use crate::vm::{TrapHook, stack};

/// What compiled code knows of the host call that it runs in.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Context {
    budget: i64,
    stack: usize,
    trap_kind: u32,
    trap_function: u32,
    trap_offset: i64,
    exit: usize,
    result: u64,
    arguments: u64,
    host_error: u32,
    unused: u32,
    stack_end: usize,
    unused_word: u64,
}

const _: () = {
    assert!(offset_of!(Context, budget) as i32 == abi::Context::BUDGET);
    assert!(offset_of!(Context, stack) as i32 == abi::Context::STACK);
    assert!(offset_of!(Context, trap_kind) as i32 == abi::Context::TRAP_KIND);
    assert!(offset_of!(Context, trap_function) as i32 == abi::Context::TRAP_FUNCTION);
    assert!(offset_of!(Context, trap_offset) as i32 == abi::Context::TRAP_OFFSET);
    assert!(offset_of!(Context, exit) as i32 == abi::Context::EXIT);
    assert!(offset_of!(Context, result) as i32 == abi::Context::RESULT);
    assert!(offset_of!(Context, arguments) as i32 == abi::Context::ARGUMENTS);
    assert!(offset_of!(Context, stack_end) as i32 == abi::Context::STACK_END);
    assert!(size_of::<Context>() as i32 == abi::Context::SIZE);
};

/// The number of a trap that a host function reported; those of [`abi::TrapKind`] come before.
const HOST: u32 = 5;

/// The number of a trap for want of memory, which the interpreter alone runs into.
const OUT_OF_MEMORY: u32 = 6;

/// The number of a trap of an operation on a value, which the interpreter alone runs into.
const VALUE: u32 = 7;

impl Context {
    fn new(space: StackSpace) -> Self {
        Self {
            budget: i64::try_from(space.budget).unwrap_or(i64::MAX),
            stack: 0,
            trap_kind: 0,
            trap_function: 0,
            trap_offset: 0,
            exit: 0,
            result: 0,
            arguments: 0,
            host_error: 0,
            unused: 0,
            stack_end: space.stack_end,
            unused_word: 0,
        }
    }

    fn set(&mut self, trap: Trap) {
        (self.trap_kind, self.host_error) = match trap.cause {
            Cause::DivisionByZero => (1, 0),
            Cause::CallDepth => (2, 0),
            Cause::StackLimit => (3, 0),
            Cause::Interrupted => (4, 0),
            Cause::Host(error) => (HOST, error),
            Cause::OutOfMemory => (OUT_OF_MEMORY, 0),
            Cause::Value(error) => (VALUE, error.code()),
        };
        self.trap_function = trap.function;
        self.trap_offset = trap.at.into();
    }

    /// What stopped it, if it was stopped.
    pub(super) fn trap(&mut self, native: &Native<'_>) -> Option<Trap> {
        let cause = match self.trap_kind {
            0 => return None,
            1 => Cause::DivisionByZero,
            2 => Cause::CallDepth,
            3 => Cause::StackLimit,
            4 => Cause::Interrupted,
            OUT_OF_MEMORY => Cause::OutOfMemory,
            VALUE => {
                ValueError::from_code(self.host_error).map_or(Cause::OutOfMemory, Cause::Value)
            }
            _ if self.host_error != 0 => Cause::Host(self.host_error),
            _ => Cause::Host(native.signals().take_error().unwrap_or(1)),
        };
        let at = u32::try_from(self.trap_offset).unwrap_or(0);
        Some(Trap { cause, function: self.trap_function, at })
    }
}

/// The trap hook, without a lock that a child process could inherit held.
#[derive(Debug, Default)]
pub(super) struct Hook(AtomicPtr<()>);

impl Hook {
    pub(super) fn set(&self, hook: Option<TrapHook>) {
        let place = hook.map_or(ptr::null_mut(), |hook| hook as *mut ());
        self.0.store(place, Ordering::Release);
    }

    pub(super) fn get(&self) -> Option<TrapHook> {
        let place = self.0.load(Ordering::Acquire);
        // SAFETY: null, which is `None`, or the function that `set` has stored.
        unsafe { transmute::<*mut (), Option<TrapHook>>(place) }
    }
}

type Call = unsafe extern "C" fn(*mut Context, usize, usize, *const u64, usize, u64) -> u64;
type Continue = unsafe extern "C" fn(*mut Context, usize, *const Resume) -> u64;

impl Native<'_> {
    /// Calls the code at `code`, that of a function of this engine, with its arguments. Below its
    /// activation there may be what `space` says.
    pub(super) fn call_code(
        &self,
        code: usize,
        args: &[u64],
        space: StackSpace,
    ) -> Result<u64, Trap> {
        let mut context = Context::new(space);
        // Six are read in any case.
        let mut few = [0; 6];
        let args = match few.get_mut(..args.len()) {
            Some(place) => {
                place.copy_from_slice(args);
                &few
            }
            None => args,
        };
        let stub = self.stub(self.stubs.call);
        // SAFETY: the stub is such a function, published and kept as long as the engine.
        let call = unsafe { transmute::<usize, Call>(stub) };
        let (shared, count) = (self.block.address(), args.len());
        // SAFETY: the code is that of a verified function, which keeps to what stub and block say; the
        // arguments are as many as it takes, and six at least. The block and the engine outlive it.
        let result = unsafe {
            call(&raw mut context, shared, code, args.as_ptr(), count, space.depth.into())
        };
        context.trap(self).map_or(Ok(result), Err)
    }

    /// Goes on with an activation in compiled code. What it returns is the activation's result.
    pub(super) fn resume(&self, resume: &Resume, space: StackSpace) -> Result<u64, Trap> {
        let mut context = Context::new(space);
        let stub = self.stub(self.stubs.resume);
        // SAFETY: the stub is such a function, published and kept as long as the engine.
        let continues = unsafe { transmute::<usize, Continue>(stub) };
        // SAFETY: as for a call; registers and stack are as the code expects them at that place.
        let result = unsafe {
            continues(&raw mut context, self.block.address(), core::ptr::from_ref(resume))
        };
        context.trap(self).map_or(Ok(result), Err)
    }
}

/// A function without code has been called by compiled code: gives the code that it has by now, or
/// interprets it and gives 0.
///
/// # Safety
/// To be called by the stub alone: `context` is that of the host call, `native` the engine, `registers`
/// are six words and `stack` as many as the function has further arguments.
pub(super) unsafe extern "C" fn interpret(
    context: *mut Context,
    native: *const Native<'_>,
    function: u32,
    registers: *const u64,
    stack: *const u64,
    depth: u64,
) -> usize {
    // SAFETY: the engine outlives what it runs.
    let native = unsafe { &*native };
    // SAFETY: the context of the host call, which nothing else accesses while this runs.
    let context = unsafe { &mut *context };
    if let Some(code) = native.code_for_call(function, context.stack_end) {
        return code;
    }
    let params = native.params(function);
    // SAFETY: six words.
    let first = unsafe { slice::from_raw_parts(registers, 6) };
    // SAFETY: as many as there are arguments beyond those.
    let rest = unsafe { slice::from_raw_parts(stack, params.saturating_sub(6)) };
    let budget = u64::try_from(context.budget).unwrap_or(0);
    let depth = u32::try_from(depth).unwrap_or(0).saturating_add(1);
    let space = StackSpace { depth, budget, stack_end: context.stack_end };
    let result = native.interpret(function, first, rest, space);
    context.arguments = (8 * params.saturating_sub(6)).next_multiple_of(16) as u64;
    match result {
        Ok(value) => (context.result, context.trap_kind) = (value, 0),
        Err(trap) => context.set(trap),
    }
    0
}

/// The end of the stack for a call through a way in, which goes down from here.
pub(super) extern "C" fn stack_end(budget: u64) -> usize {
    stack::stack_end(budget)
}

/// A call from the host through a way in has trapped.
///
/// # Safety
/// To be called by the way in alone, as [`interpret`].
pub(super) unsafe extern "C" fn trapped(context: *mut Context, native: *const Native<'_>) {
    // SAFETY: the engine outlives what it runs.
    let native = unsafe { &*native };
    // SAFETY: the context of the host call, which ends.
    let context = unsafe { &mut *context };
    if let Some(trap) = context.trap(native) {
        native.tell(trap);
    }
}

/// The arguments of a call, first those in registers: as many as `params`.
pub(super) fn gather<R>(
    first: &[u64],
    rest: &[u64],
    params: usize,
    run: impl FnOnce(&[u64]) -> R,
) -> Result<R, AllocError> {
    if rest.is_empty() {
        return Ok(run(first.get(..params).unwrap_or(first)));
    }
    if params <= 32 {
        let all: ArrayVec<u64, 38> = first.iter().chain(rest).copied().collect();
        return Ok(run(&all));
    }
    Ok(run(&try_collect(first.iter().chain(rest).copied())?))
}
