//! Bytecode as text: an assembler and a disassembler that are each other's inverse.
//!
//! A source is a list of functions. A line holds one thing; `;` begins a comment, blank lines do not
//! matter:
//!
//! ```text
//! ; The sum of 1 to its argument.
//! function sum, 1, 2          ; name, parameters, locals (the parameters among them)
//! again:                      ; a label, of this function alone
//!     LOAD_PUSH 0
//!     CONST_I64_PUSH 0
//!     EQ_JMP_IF_NOT more
//!     LOAD 0, 1
//!     RET 0
//! more:
//!     CALL other, 0           ; a function by name, or #INDEX
//! ```
//!
//! Mnemonics are those of [`Instruction`]. Operands stand in the order of their bytes, between commas:
//! slots, locals, counts and indices as numbers, decimal or `0x`; integers also negative; floats as Rust
//! writes them (`1.5`, `-0.0`, `inf`) or as bits (`0x7ff8000000000001`, which distinguishes one NaN from
//! another); jumps as a label, or as the distance `+6` or `-6` in bytes from the end of the instruction.
//! Bytes that are not an instruction are written as they stand: `BYTES 0xff 0xff`. A name that holds anything but letters,
//! digits, `_`, `.`, `$` and `:` stands between `"`, with `\" \\ \n \r \t \xNN` as escape sequences.
//!
//! Constants of the pool stand in lines of their own and are numbered from 0 in their order. Instructions refer to the
//! numbers:
//!
//! ```text
//! constant i64 -5             ; 0
//! constant f64 1.5            ; 1, as an operand of CONST_F64
//! constant bool true          ; 2
//! constant nil                ; 3
//! constant string "a text"    ; 4, quoted as a name
//! ```
//!
//! [`AssembledProgram`] holds the functions and the constants of a source, [`disassemble`] and [`write_constants`]
//! write what assembles to the same bytes, whether the verifier accepts them or not; an invalid constant becomes nil.

mod error;
mod name;
mod parse;
mod print;
mod program;

pub use error::{TextError, TextFault};
pub use parse::{assemble, assemble_program};
pub use print::{annotate, disassemble, write_constants};

pub use program::{Assembled, AssembledConstant, AssembledProgram, write_module};

#[cfg(doc)]
use super::instruction::Instruction;

#[cfg(test)]
mod tests;
