//! Objects of the compilers for aarch64: packed, looked at, and run.
//!
//! On another machine the `smf` binary is built for aarch64 and runs in qemu's user mode. What is packed
//! is compared with what the assembler and the linker of GNU make of the same instructions.

mod bytecode;
mod objects;
mod operands;
mod pack;
mod run;
mod take;
mod templates;
mod tools;
