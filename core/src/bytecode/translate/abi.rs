//! The interface between translated functions and the engine that runs them.
//!
//! A translated function has the signature `fn(context: ptr, depth: i64, a0: i64, ...) -> i64` in the C calling
//! convention of the machine. `context` is the address of the [`Context`] of the host call, `depth` the number of
//! activations that there may be below this one. The first [`REGISTER_ARGUMENTS`] arguments are parameters; the others
//! lie in the context from [`Context::ARGUMENTS`] on, where the callee reads them before it calls anything. So no
//! argument is passed on the stack, and every function can take the place of every other one in a tail call.
//!
//! An on-stack replacement has the signature `fn(context: ptr, depth: i64, frame: ptr) -> i64`: `frame` is the
//! address of the interpreter's locals, behind which its operand stack lies.
//!
//! The result is an integer, the bits of a float, 0 or 1 of a bool, or 0 of nil.

/// The arguments that are parameters of the machine's convention.
pub const REGISTER_ARGUMENTS: usize = 4;

/// The most parameters of a function that can be translated, and of one that it calls.
pub const MAX_ARGUMENTS: usize = REGISTER_ARGUMENTS + 60;

/// Offsets in the block that all calls of an engine share, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Shared;

impl Shared {
    /// u32: not 0 when the program is to stop.
    pub const INTERRUPT: i32 = 0;
    /// u32: not 0 when a host function of some thread has reported an error.
    pub const HOST_ERROR: i32 = 4;
    /// The address of the table of host functions, of 8 bytes each. The reported errors are before it.
    pub const HOST_FUNCTIONS: i32 = 152;
    /// The address of `extern "C" fn(context, result) -> result`, which stores the error that this thread has reported, or 0,
    /// as [`Context::HOST_ERROR`].
    pub const TAKE_HOST_ERROR: i32 = 160;
    /// The address of the engine.
    pub const ENGINE: i32 = 168;
    /// The table of functions: 8 bytes each, the address of the code.
    pub const FUNCTIONS: i32 = 176;
}

/// Offsets in the context of a host call, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Context;

impl Context {
    /// The address of the shared block.
    pub const SHARED: i32 = 0;
    /// The address of the trap handler.
    pub const TRAP_HANDLER: i32 = 8;
    /// The lowest address that the stack pointer of an activation may have.
    pub const STACK_END: i32 = 16;
    /// i64: the bytes that large activations may still take.
    pub const BUDGET: i32 = 24;
    /// The stack pointer at the entry, which the trap handler restores.
    pub const STACK_POINTER: i32 = 32;
    /// u64: the result of an interpreted function.
    pub const RESULT: i32 = 40;
    /// u32: the [code](trap_code) of the trap; 0 for none.
    pub const TRAP_CODE: i32 = 48;
    /// u32: the offset of the instruction that trapped.
    pub const TRAP_AT: i32 = 52;
    /// u32: the function that trapped.
    pub const TRAP_FUNCTION: i32 = 56;
    /// u32: the error that a host function has reported, or that the interpreter traps with. Undefined without such a trap.
    pub const HOST_ERROR: i32 = 60;
    /// The arguments that are no parameters, of 8 bytes each.
    pub const ARGUMENTS: i32 = 64;
    /// Bytes of the context, a multiple of 16.
    pub const SIZE: i32 = Self::ARGUMENTS + 8 * (MAX_ARGUMENTS - REGISTER_ARGUMENTS) as i32;
}

/// Trap codes of translated functions. The first three are those of the IR.
pub mod trap_code {
    /// An integer was divided by zero.
    pub const DIVISION_BY_ZERO: u32 = crate::ir::DIVISION_BY_ZERO;
    /// The operand stack is too deep, large activations exceed the budget, or the end of the stack is near.
    pub const STACK_LIMIT: u32 = crate::ir::STACK_LIMIT;
    /// The call at the offset of the trap would nest too deeply.
    pub const CALL_DEPTH: u32 = 4;
    /// The host interrupts the program.
    pub const INTERRUPTED: u32 = 5;
    /// A host function reported an error.
    pub const HOST: u32 = 6;
    /// No memory. The interpreter alone traps so.
    pub const OUT_OF_MEMORY: u32 = 7;
    /// An operation on a value has no result. The interpreter alone traps so.
    pub const VALUE: u32 = 8;
}
