//! Tests of the assembler: each form against an independent disassembler, labels, limits.

mod disassembler;
mod forms;
mod labels;
mod memory_forms;
#[cfg(feature = "kernel")]
mod unwind;
