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

mod parse;
mod print;

use alloc::vec::Vec;
use core::fmt;

pub use parse::{assemble, assemble_program};
pub use print::{annotate, disassemble, write_constants};

#[cfg(doc)]
use super::instruction::Instruction;
use crate::format::Flags;
use crate::format::constants::Constant;
use crate::format::write::WriteError;
use crate::format::write::bytecode::{NewFunction, write_program};

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

/// A constant of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AssembledConstant {
    /// An integer.
    I64(i64),
    /// The bits of a float.
    F64(u64),
    /// A truth value.
    Bool(bool),
    /// No information.
    Nil,
    /// A string; not necessarily UTF-8, and without a NUL.
    Text(Vec<u8>),
}

impl AssembledConstant {
    /// The constant as the pool of a module contains it.
    pub fn as_constant(&self) -> Constant<'_> {
        match self {
            AssembledConstant::I64(value) => Constant::I64(*value),
            AssembledConstant::F64(bits) => Constant::F64(*bits),
            AssembledConstant::Bool(value) => Constant::Bool(*value),
            AssembledConstant::Nil => Constant::Nil,
            AssembledConstant::Text(text) => Constant::Text(text),
        }
    }
}

/// The functions and the constants of a source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AssembledProgram {
    /// The functions, in their order.
    pub functions: Vec<Assembled>,
    /// The constants, in their order.
    pub constants: Vec<AssembledConstant>,
}

impl AssembledProgram {
    /// A module of the program, as [`write_program`] makes it.
    ///
    /// # Errors
    /// As there.
    pub fn to_module(&self, flags: Flags) -> Result<Vec<u8>, WriteError> {
        let constants = self.constants.iter().map(AssembledConstant::as_constant);
        write_assembled(&self.functions, &constants.collect::<Vec<_>>(), flags)
    }
}

/// A module of these functions, without a constant pool.
///
/// # Errors
/// As [`write_program`].
pub fn write_module(functions: &[Assembled], flags: Flags) -> Result<Vec<u8>, WriteError> {
    write_assembled(functions, &[], flags)
}

fn write_assembled(
    functions: &[Assembled],
    constants: &[Constant<'_>],
    flags: Flags,
) -> Result<Vec<u8>, WriteError> {
    let functions = functions.iter().map(|function| NewFunction {
        name: &function.name,
        params: function.params,
        locals: function.locals,
        code: &function.code,
    });
    write_program(&functions.collect::<Vec<_>>(), constants, flags)
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
    /// A line `constant` that is not type, value.
    Constant,
    /// A constant in a source of functions alone.
    UnexpectedConstant,
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
            TextFault::Constant => f.write_str(
                "not `constant TYPE VALUE`, where the type is i64, f64, bool, nil or string",
            ),
            TextFault::UnexpectedConstant => {
                f.write_str("a constant, and there is no constant pool")
            }
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
