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
//! writes them (`1.5`, `-0.0`, `inf`) or as bits (`0x7ff8000000000001`, which is how a NaN is told from
//! another); jumps as a label, or as the distance `+6` or `-6` in bytes from the end of the instruction.
//! What is no instruction is spelled in bytes: `BYTES 0xff 0xff`. A name that holds anything but letters,
//! digits, `_`, `.`, `$` and `:` stands between `"`, with `\"`, `\\` and `\xNN`.
//!
//! [`Assembled`] holds the functions of a source, [`disassemble`] writes what assembles to the same
//! bytes, whether the verifier accepts them or not.

mod parse;
mod print;

use alloc::vec::Vec;
use core::fmt;

pub use parse::assemble;
pub use print::{annotate, disassemble};

#[cfg(doc)]
use super::instruction::Instruction;
use crate::format::Flags;
use crate::format::write::WriteError;
use crate::format::write::bytecode::{NewFunction, write_functions};

/// A function of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assembled {
    /// Its name; not necessarily UTF-8, and without a NUL.
    pub name: Vec<u8>,
    /// How many arguments it takes.
    pub params: u16,
    /// How many locals it has, the arguments among them.
    pub locals: u16,
    /// Its code.
    pub code: Vec<u8>,
}

/// A module of these functions, as [`write_functions`] makes it.
///
/// # Errors
/// As there.
pub fn write_module(functions: &[Assembled], flags: Flags) -> Result<Vec<u8>, WriteError> {
    let functions = functions.iter().map(|function| NewFunction {
        name: &function.name,
        params: function.params,
        locals: function.locals,
        code: &function.code,
    });
    write_functions(&functions.collect::<Vec<_>>(), flags)
}

/// A line that cannot be assembled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TextError {
    /// Its number, from 1.
    pub line: u32,
    /// What is wrong.
    pub fault: TextFault,
}

/// What is wrong with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TextFault {
    /// An instruction or a label before the first function.
    NoFunction,
    /// A line `function` that is not name, parameters, locals.
    Function,
    /// Fewer locals than parameters.
    Locals,
    /// Two functions of one name.
    FunctionTwice,
    /// No instruction has this mnemonic.
    Mnemonic,
    /// Another number of operands than the instruction has.
    Operands {
        /// How many it has.
        needed: usize,
        /// How many there are.
        found: usize,
    },
    /// An operand that is no number, or none that fits.
    Number {
        /// Which operand, from 1.
        operand: usize,
    },
    /// A label that the function does not have, or a function that the source does not have.
    NoSuchName,
    /// Two labels of one name in a function.
    LabelTwice,
    /// A jump that is too far for 32 bits, or code that is too long.
    TooFar,
    /// A name that is broken off, holds a NUL or an escape that there is not.
    Name,
}

impl fmt::Display for TextError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.fault)
    }
}

impl fmt::Display for TextFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            TextFault::NoFunction => f.write_str("no `function` line stands before it"),
            TextFault::Function => f.write_str("not `function NAME, PARAMETERS, LOCALS`"),
            TextFault::Locals => f.write_str("fewer locals than parameters"),
            TextFault::FunctionTwice => f.write_str("a second function of this name"),
            TextFault::Mnemonic => f.write_str("no instruction has this name"),
            TextFault::Operands { needed, found } => {
                write!(f, "{found} operands, and the instruction has {needed}")
            }
            TextFault::Number { operand } => {
                write!(f, "operand {operand} is not a number, or none that fits")
            }
            TextFault::NoSuchName => f.write_str("no label or function has this name"),
            TextFault::LabelTwice => f.write_str("a second label of this name"),
            TextFault::TooFar => f.write_str("more than 32 bits can say away"),
            TextFault::Name => {
                f.write_str("not a name: broken off, or with a NUL or an unknown escape")
            }
        }
    }
}

impl core::error::Error for TextError {}

/// Whether a byte may stand in a name that is not quoted.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"_.$:".contains(&byte)
}

#[cfg(test)]
mod tests;
