//! Objects of the compilers for aarch64: packed, inspected, and run.
//!
//! On another machine the `smf` binary is built for aarch64 and runs in qemu's user mode. Packed code is compared with the output of the
//! GNU assembler and linker for the same instructions.

mod bytecode;
mod debug_info;
mod ifunc;
mod init;
mod objects;
mod operands;
mod pack;
mod run;
mod small_got;
mod source;
mod standard;
mod take;
mod templates;
mod thread_local;
mod tiny_model;
mod tools;
mod typed_calls;
