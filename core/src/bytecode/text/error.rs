//! The error of a source.

/// A line that cannot be assembled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {fault}")]
pub struct TextError {
    /// Its number, from 1.
    pub line: u32,
    /// What is wrong.
    pub fault: TextFault,
}

/// What is wrong with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TextFault {
    /// An instruction or a label before the first function.
    #[error("no `function` line stands before it")]
    NoFunction,
    /// A line `function` that is not name, parameters, locals.
    #[error("not `function NAME, PARAMETERS, LOCALS`")]
    Function,
    /// A line `constant` that is not type, value.
    #[error("not `constant TYPE VALUE`, where the type is i64, f64, bool, nil or string")]
    Constant,
    /// A constant in a source of functions alone.
    #[error("a constant, and there is no constant pool")]
    UnexpectedConstant,
    /// Fewer locals than parameters.
    #[error("fewer locals than parameters")]
    Locals,
    /// Two functions of one name.
    #[error("a second function of this name")]
    FunctionTwice,
    /// No instruction has this mnemonic.
    #[error("no instruction has this name")]
    Mnemonic,
    /// Another number of operands than the instruction has.
    #[error("{found} operands, and the instruction has {needed}")]
    Operands {
        /// How many it has.
        needed: usize,
        /// How many there are.
        found: usize,
    },
    /// An operand that is no number, or none that fits.
    #[error("operand {operand} is not a number, or none that fits")]
    Number {
        /// Which operand, from 1.
        operand: usize,
    },
    /// A label that the function does not have, or a function that the source does not have.
    #[error("no label or function has this name")]
    NoSuchName,
    /// Two labels of one name in a function.
    #[error("a second label of this name")]
    LabelTwice,
    /// A jump that is too far for 32 bits, or code that is too long.
    #[error("more than 32 bits can say away")]
    TooFar,
    /// A name that is broken off, holds a NUL or an escape that there is not.
    #[error("not a name: broken off, or with a NUL or an unknown escape")]
    Name,
}
