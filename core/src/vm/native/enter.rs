//! From Rust into compiled code and back.
#![allow(unsafe_code)]

use core::mem::{MaybeUninit, offset_of, transmute};
use core::ptr;
use core::slice;

use arrayvec::ArrayVec;

use super::Native;
use super::block::Header;
use crate::bytecode::instruction::Instruction;
use crate::bytecode::interpret::StackSpace;
use crate::bytecode::translate::abi::{self, MAX_ARGUMENTS, REGISTER_ARGUMENTS, trap_code};
use crate::trap::bytecode::{Cause, Trap, ValueError};
use crate::vm::stack;

/// The arguments of a function that are not passed in registers.
type OtherArguments = [MaybeUninit<u64>; MAX_ARGUMENTS - REGISTER_ARGUMENTS];

/// The state of one host call, as compiled code sees it ([`abi::Context`]).
#[derive(Debug)]
#[repr(C)]
pub(super) struct Context {
    shared: *const Header,
    trap_handler: usize,
    stack_end: usize,
    budget: i64,
    stack_pointer: usize,
    result: u64,
    trap_code: u32,
    trap_at: u32,
    trap_function: u32,
    host_error: u32,
    arguments: OtherArguments,
}

const _: () = {
    assert!(offset_of!(Context, shared) as i32 == abi::Context::SHARED);
    assert!(offset_of!(Context, trap_handler) as i32 == abi::Context::TRAP_HANDLER);
    assert!(offset_of!(Context, stack_end) as i32 == abi::Context::STACK_END);
    assert!(offset_of!(Context, budget) as i32 == abi::Context::BUDGET);
    assert!(offset_of!(Context, stack_pointer) as i32 == abi::Context::STACK_POINTER);
    assert!(offset_of!(Context, result) as i32 == abi::Context::RESULT);
    assert!(offset_of!(Context, trap_code) as i32 == abi::Context::TRAP_CODE);
    assert!(offset_of!(Context, trap_at) as i32 == abi::Context::TRAP_AT);
    assert!(offset_of!(Context, trap_function) as i32 == abi::Context::TRAP_FUNCTION);
    assert!(offset_of!(Context, host_error) as i32 == abi::Context::HOST_ERROR);
    assert!(offset_of!(Context, arguments) as i32 == abi::Context::ARGUMENTS);
    assert!(size_of::<Context>() as i32 == abi::Context::SIZE);
    assert!(abi::Context::SIZE % 16 == 0);
};

/// The code of a call that nests too deeply, in a context whose function is the callee already.
const CALL_DEPTH_OF_CALLEE: u32 = u32::MAX;

impl Context {
    fn new(native: &Native<'_>, space: StackSpace) -> Self {
        Self {
            shared: native.block.header(),
            trap_handler: native.stub(native.stubs.trap),
            stack_end: space.stack_end,
            budget: i64::try_from(space.budget).unwrap_or(i64::MAX),
            stack_pointer: 0,
            result: 0,
            trap_code: 0,
            trap_at: 0,
            trap_function: 0,
            host_error: 0,
            arguments: [MaybeUninit::uninit(); MAX_ARGUMENTS - REGISTER_ARGUMENTS],
        }
    }

    fn set(&mut self, trap: Trap) {
        (self.trap_code, self.host_error) = match trap.cause {
            Cause::DivisionByZero => (trap_code::DIVISION_BY_ZERO, 0),
            Cause::CallDepth => (CALL_DEPTH_OF_CALLEE, 0),
            Cause::StackLimit => (trap_code::STACK_LIMIT, 0),
            Cause::Interrupted => (trap_code::INTERRUPTED, 0),
            Cause::Host(error) => (trap_code::HOST, error),
            Cause::OutOfMemory => (trap_code::OUT_OF_MEMORY, 0),
            Cause::Value(error) => (trap_code::VALUE, error.code()),
        };
        (self.trap_function, self.trap_at) = (trap.function, trap.at);
    }

    /// The trap that ended the call, if one did.
    pub(super) fn trap(&self, native: &Native<'_>) -> Option<Trap> {
        let (function, at) = (self.trap_function, self.trap_at);
        let cause = match self.trap_code {
            0 => return None,
            trap_code::DIVISION_BY_ZERO => Cause::DivisionByZero,
            trap_code::CALL_DEPTH => {
                let function = native.callee_at(function, at);
                return Some(Trap { cause: Cause::CallDepth, function, at: 0 });
            }
            CALL_DEPTH_OF_CALLEE => Cause::CallDepth,
            trap_code::STACK_LIMIT => Cause::StackLimit,
            trap_code::INTERRUPTED => Cause::Interrupted,
            trap_code::OUT_OF_MEMORY => Cause::OutOfMemory,
            trap_code::VALUE => {
                ValueError::from_code(self.host_error).map_or(Cause::OutOfMemory, Cause::Value)
            }
            _ => Cause::Host(self.host_error),
        };
        Some(Trap { cause, function, at })
    }
}

type Call = unsafe extern "C" fn(*mut Context, u64, usize, *const u64) -> u64;

impl Native<'_> {
    /// Calls the code at `code`, that of a function of this engine, with its arguments, at most [`MAX_ARGUMENTS`]. Below
    /// its activation there may be as many as `space` states.
    pub(super) fn call_code(
        &self,
        code: usize,
        args: &[u64],
        space: StackSpace,
    ) -> Result<u64, Trap> {
        let mut context = Context::new(self, space);
        let mut parameters = [0; REGISTER_ARGUMENTS];
        for (place, &argument) in parameters.iter_mut().zip(args) {
            *place = argument;
        }
        for (place, &argument) in
            context.arguments.iter_mut().zip(args.iter().skip(REGISTER_ARGUMENTS))
        {
            place.write(argument);
        }
        let stub = self.stub(self.stubs.call);
        // SAFETY: the stub is such a function, published, and lives as long as the engine.
        let call = unsafe { transmute::<usize, Call>(stub) };
        // SAFETY: the code is that of a verified function, or of its replacement with the address of the
        // interpreter's values; it follows the interface that stub, context and block implement. As many words are at
        // `parameters` as the stub reads. The block and the engine outlive the call.
        let result =
            unsafe { call(&raw mut context, space.depth.into(), code, parameters.as_ptr()) };
        context.trap(self).map_or(Ok(result), Err)
    }

    /// The function that the instruction at offset `at` of a function calls.
    fn callee_at(&self, function: u32, at: u32) -> u32 {
        let code = self.program.function(function).map_or(&[][..], |function| function.code);
        match Instruction::decode(code, at) {
            Ok(Instruction::Call { function, .. }) => function,
            _ => function,
        }
    }
}

/// Compiled code has called a function without code: returns the code that the function has by now, or interprets it
/// and returns 0.
///
/// # Safety
/// Called by the stub alone: `context` is that of the host call, whose engine is alive, and `registers` are the
/// arguments that were passed in registers.
pub(super) unsafe extern "C" fn interpret(
    context: *mut Context,
    function: u32,
    depth: u64,
    registers: *const u64,
) -> usize {
    // SAFETY: the context of the host call, which nothing else accesses while this runs.
    let context = unsafe { &mut *context };
    // SAFETY: the engine outlives the call.
    let native = unsafe { engine(context) };
    if let Some(code) = native.code_for_call(function, context.stack_end) {
        return code;
    }
    // SAFETY: the stub has pushed them.
    let registers = unsafe { slice::from_raw_parts(registers, REGISTER_ARGUMENTS) };
    let params = native.params(function);
    let mut args = ArrayVec::<u64, MAX_ARGUMENTS>::new();
    args.extend(registers.iter().copied().take(params));
    let others = params.saturating_sub(REGISTER_ARGUMENTS);
    for argument in context.arguments.iter().take(others) {
        // SAFETY: the caller has written as many as the function has parameters.
        args.push(unsafe { argument.assume_init() });
    }
    let budget = u64::try_from(context.budget).unwrap_or(0);
    let depth = u32::try_from(depth).unwrap_or(0).saturating_add(1);
    let space = StackSpace { depth, budget, stack_end: context.stack_end };
    match native.interpret(function, &args, space) {
        Ok(value) => (context.result, context.trap_code) = (value, 0),
        Err(trap) => context.set(trap),
    }
    0
}

/// Compiled code has called a host function, and some thread has reported an error: stores that of this thread, or 0, in
/// the context. Returns the result of the host function, which so needs no place across this call.
///
/// # Safety
/// Called by compiled code alone, as [`interpret`].
pub(super) unsafe extern "C" fn take_host_error(context: *mut Context, result: u64) -> u64 {
    // SAFETY: the context of the host call, which nothing else accesses while this runs.
    let context = unsafe { &mut *context };
    // SAFETY: the shared block lives as long as the engine, which outlives the call.
    let shared = unsafe { &*context.shared };
    context.host_error = shared.signals.take_error().unwrap_or(0);
    result
}

/// The engine of a host call.
///
/// # Safety
/// The context is that of a call of an engine that is alive as long as the result is used.
unsafe fn engine<'n, 'c>(context: &Context) -> &'n Native<'c> {
    // SAFETY: the shared block lives as long as the engine.
    let engine = unsafe { (*context.shared).engine };
    // SAFETY: the engine has stored its own address there, which does not change.
    unsafe { &*ptr::with_exposed_provenance::<Native<'c>>(engine) }
}

/// The end of the stack for a call through an entry trampoline, whose frame is above.
pub(super) extern "C" fn stack_end(budget: u64) -> usize {
    stack::stack_end(budget)
}

/// A call from the host through an entry trampoline has trapped.
///
/// # Safety
/// Called by the entry trampoline alone, as [`interpret`].
pub(super) unsafe extern "C" fn trapped(context: *mut Context) {
    // SAFETY: the context of the host call, which ends.
    let context = unsafe { &mut *context };
    // SAFETY: the engine outlives the call.
    let native = unsafe { engine(context) };
    if let Some(trap) = context.trap(native) {
        native.report(trap);
    }
}
