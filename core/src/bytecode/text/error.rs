//! The error of a source.

use core::fmt;

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
