//! What compiled code and the engine that runs it agree on.
//!
//! Inside compiled code, registers have fixed meanings:
//!
//! | register | holds |
//! |---|---|
//! | `rbx` | the address of the engine's shared block ([`Shared`]) |
//! | `rbp` | the address of the context of the host call, times 65,536, plus how many more activations there may be below this one |
//! | `rsp` | a multiple of 16 where a call stands |
//!
//! Arguments are passed as in the C convention: six in registers, the others on the stack, the first of them lowest, in
//! a multiple of 16 bytes. The result is in `rax`. The callee keeps `rbx`, `rbp`, `r12` to `r15`; and, unlike in C, it
//! takes its arguments off the stack, so that a call in its place may have more of them.
//!
//! The caller counts the activation of its callee: it takes one off `rbp` before the call, which traps
//! below zero, and adds it again behind. The callee charges a large activation to the budget in the
//! context and gives that back. A callee that calls, or needs more than [`UNCHECKED_STACK`] bytes,
//! compares what it needs with the end of the stack in the context, and traps when that is too near.
//!
//! A trap leaves everything as it is: the offset of the instruction is pushed, the function's index put
//! into `eax`, and the handler of its kind jumped to, which finds the way out in the context.

/// What the processor cannot jump over: pages of the stack are touched one after another.
pub const STACK_PAGE: u32 = 4096;

/// A function that calls nothing and needs at most so many bytes of stack below its return address does not
/// look for the end of the stack: so many bytes are left there at every call.
pub const UNCHECKED_STACK: u32 = 256;

/// Offsets in the shared block of an engine, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Shared;

impl Shared {
    /// u32: not 0 when whatever runs shall stop.
    pub const INTERRUPT: i32 = 0;
    /// The handlers of traps, one for each [`TrapKind`] in its order: 8 bytes each.
    pub const TRAPS: i32 = 8;
    /// The address of the table of host functions: 8 bytes each.
    pub const HOST_FUNCTIONS: i32 = 40;
    /// u32: not 0 when a host function has reported an error.
    pub const HOST_ERROR: i32 = 4;
    /// The handler of [`Shared::HOST_ERROR`], jumped to as that of a trap.
    pub const HOST_TRAP: i32 = 48;
    /// The address of the engine itself.
    pub const ENGINE: i32 = 56;
    /// Where the table of functions begins: 8 bytes each, the address of its code.
    pub const FUNCTIONS: i32 = 64;
}

/// Offsets in the context of a host call, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Context;

impl Context {
    /// i64: how many bytes large activations may still cost.
    pub const BUDGET: i32 = 0;
    /// Where the stack was when the host called, for whom it calls through alone.
    pub const STACK: i32 = 8;
    /// u32: the kind of the trap plus 1, 0 for none. Set by traps and when something was interpreted.
    pub const TRAP_KIND: i32 = 16;
    /// u32: the function that trapped.
    pub const TRAP_FUNCTION: i32 = 20;
    /// i64: the offset of the instruction.
    pub const TRAP_OFFSET: i32 = 24;
    /// Where to go on after a trap, with the address of the context in `rdx`.
    pub const EXIT: i32 = 32;
    /// i64: what an interpreted function has returned.
    pub const RESULT: i32 = 40;
    /// u64: the bytes of its arguments on the stack.
    pub const ARGUMENTS: i32 = 48;
    /// The lowest address that the stack pointer of an activation may have.
    pub const STACK_END: i32 = 64;
    /// Bytes of it all.
    pub const SIZE: i32 = 80;
}

/// Why compiled code stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum TrapKind {
    /// An integer was divided by zero.
    DivisionByZero = 0,
    /// One activation more than there may be.
    CallDepth = 1,
    /// A vector that is too long, large activations that cost more than the budget, or the end of the
    /// stack.
    StackLimit = 2,
    /// The host wants it.
    Interrupted = 3,
}

impl TrapKind {
    /// All of them, in their order.
    pub const ALL: [TrapKind; 4] = [
        TrapKind::DivisionByZero,
        TrapKind::CallDepth,
        TrapKind::StackLimit,
        TrapKind::Interrupted,
    ];

    /// The handler's offset in the shared block.
    pub const fn handler(self) -> i32 {
        Shared::TRAPS + 8 * self as i32
    }
}
