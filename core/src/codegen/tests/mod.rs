//! Generated code against the interpreter, and its unwind rows against a simulation of the stack.

mod context;
pub(crate) mod harness;
mod large;
mod memory;
mod operations;
mod program;
#[cfg(target_arch = "x86_64")]
mod unwind;
