//! Calls into machine code, with or without catching its traps.
//!
//! Compiled code cannot return an error, and machine code that calls it would not check one. A trap therefore
//! jumps to [`trap_hook`], which discards every frame down to the innermost [`call_catching`] of the thread; that
//! call returns [`TrapError::Trap`]. The mechanism works like `setjmp` and `longjmp` in C and has the same
//! restriction: discarded frames run no cleanup. A host function that is called by such code and calls
//! such code itself uses [`call_catching`] too, so a trap ends in the nearer call.
//!
//! **Chain.** Each thread has a [`TrapChain`], a linked list of its active catching calls. By default a table keyed
//! by thread id locates it, which costs a system call. A host with a faster lookup, such as a thread-local
//! variable, installs it with [`set_chain_lookup`].
//!
//! **No catching call.** If the code was entered in another way, for example through a bare function pointer, no
//! call can report the trap. The hook then panics in a function that cannot unwind, which prints a message
//! and aborts the process. Bytecode that stops in this situation returns 0 instead.
//!
//! **Unwinding.** A panic, an exception or a thread exit that would unwind through a catching call aborts the process
//! with a message, because the chain would still refer to the discarded frame.
//!
//! This library generates machine code on x86-64 and aarch64; elsewhere nothing traps and [`call_catching`] equals [`call`].

#[cfg(all(feature = "kernel", target_arch = "aarch64"))]
mod aarch64;
pub mod bytecode;
#[cfg(feature = "kernel")]
mod call;
#[cfg(feature = "kernel")]
mod chain;
#[cfg(feature = "kernel")]
mod error;
#[cfg(all(feature = "kernel", any(target_arch = "x86_64", target_arch = "aarch64")))]
mod landing;
#[cfg(all(feature = "kernel", target_arch = "x86_64"))]
mod x86_64;

#[cfg(feature = "kernel")]
pub(crate) use call::stop_call;
#[cfg(feature = "kernel")]
pub use call::{
    CallArg, ChainLookup, call, call_catching, call_catching_on, call_values, set_chain_lookup,
    trap_hook,
};
#[cfg(all(feature = "bytecode", any(target_arch = "x86_64", target_arch = "aarch64")))]
pub(crate) use call::{call_words, chain_by_lookup};
#[cfg(feature = "kernel")]
pub use chain::{Landing, ReturnRegisters, TrapChain};
#[cfg(feature = "kernel")]
pub use error::{MAX_ARGS, Trap, TrapError};
#[cfg(all(feature = "kernel", any(target_arch = "x86_64", target_arch = "aarch64")))]
pub use landing::{refuse_unwinding, take_error};
