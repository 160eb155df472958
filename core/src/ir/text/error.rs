//! What is wrong with a text, and in which line.

use crate::ir::builder::BuildError;
use crate::ir::error::IrError;
use crate::ir::function::MAX_TEMPLATE_DATA_ALIGN;
use crate::ir::types::{Scalar, ValueType};
use crate::plural;

/// What is wrong with a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TextErrorKind {
    /// Something else has to stand there.
    #[error("{0} is expected")]
    Expected(&'static str),
    /// A statement that begins with no known word.
    #[error("no such statement")]
    Statement,
    /// A type that is neither a scalar nor a type parameter of the template.
    #[error("no such type: neither a scalar nor a parameter")]
    Type,
    /// A local that was not declared.
    #[error("no such local")]
    Local,
    /// A stack slot or read-only data that was not declared.
    #[error("no such stack slot or data")]
    Memory,
    /// The text has no function with this name.
    #[error("no such function; an instance has its types behind it, as in `f<>`")]
    Function,
    /// Another number of arguments than the function of the text has parameters.
    #[error(
        "the function takes {expected} argument{}, and {given} {} given",
        plural::s(*expected),
        plural::is(*given)
    )]
    ArgumentCount {
        /// The number of arguments.
        given: usize,
        /// The number of parameters.
        expected: usize,
    },
    /// An argument of another type than the parameter of the function of the text.
    #[error("argument {number} is of type {found}, and the parameter of type {expected}")]
    ArgumentType {
        /// The argument, from 1.
        number: usize,
        /// Its type.
        found: ValueType,
        /// The type of the parameter.
        expected: ValueType,
    },
    /// A function of the text that returns another type than the call states, or than a tail call must return.
    #[error("the result of the function is of type {0}")]
    ResultType(ValueType),
    /// A function of the text without a result, where one is expected.
    #[error("the function has no result")]
    NoResult,
    /// A name that is already in use.
    #[error("the name is already in use")]
    Duplicate,
    /// A label that is not bound in the function.
    #[error("a label that stands nowhere in this function")]
    Label,
    /// A number that is malformed, or out of range.
    #[error("a number that does not fit here")]
    Number,
    /// A number that a constant of an integer type, `bool` or `ptr` cannot be.
    #[error("a constant of type {0} is a number from {least} to {most}", least = limits(*.0).0, most = limits(*.0).1)]
    OutOfRange(Scalar),
    /// Data of a template with a larger alignment than its instances have.
    #[error(
        "data of a template is aligned to at most {MAX_TEMPLATE_DATA_ALIGN} bytes, and not to {0}"
    )]
    TemplateAlign(u32),
    /// An unknown escape sequence, or bytes that are not UTF-8 in a name.
    #[error("a malformed escape sequence")]
    Escape,
    /// A character that begins no token.
    #[error("{0:?} begins nothing")]
    Character(char),
    /// The function cannot be encoded.
    #[error("{0}")]
    Build(BuildError),
    /// The verifier refuses the function.
    #[error("{0}")]
    Verify(IrError),
}

/// What is wrong with a text, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {kind}")]
pub struct TextError {
    /// The line, from 1.
    pub line: u32,
    /// What is wrong.
    pub kind: TextErrorKind,
}

impl From<BuildError> for TextErrorKind {
    fn from(error: BuildError) -> Self {
        Self::Build(error)
    }
}

/// The least and the largest number of a constant of a type that is no float. Of an unsigned type, a number below 0 stands
/// for the bits of a signed one.
pub(super) fn limits(scalar: Scalar) -> (i128, i128) {
    let bits = scalar.bits();
    match scalar {
        Scalar::Bool => (0, 1),
        _ if scalar.is_signed() => (-(1 << (bits - 1)), (1 << (bits - 1)) - 1),
        _ => (-(1 << (bits - 1)), (1 << bits) - 1),
    }
}
