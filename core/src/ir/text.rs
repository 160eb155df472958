//! The text form of IR functions.
//!
//! One statement a line; `#` begins a comment. A template begins with its name, its type parameters
//! and its signature, and reaches to `end`:
//!
//! ```text
//! template sum<T>(data: ptr, count: i64) -> T
//!     local i: i64
//!     local total: T
//!     local item: T
//! more:
//!     br_ge i64 i, count, done
//!     load_element T item, data[i]
//!     add T total, total, item
//!     add i64 i, i, 1
//!     jump more
//! done:
//!     return T total
//! end
//! ```
//!
//! | statement | means |
//! |---|---|
//! | `local NAME: TYPE` | another local, 0 until it is set |
//! | `NAME:` | a label |
//! | `const T d, N` | a number; where `T` is a scalar and the number needs it, a wide constant |
//! | `const_wide S d, 0xBITS` | bits as they stand |
//! | `move T d, s`, `neg T d, s`, `not T d, s` | |
//! | `size_of T d` | |
//! | `convert T d, S s` | from `S` to `T` |
//! | `add T d, a, b` (also `sub mul div rem and or xor shl shr`) | `b` is a local or a number |
//! | `lt T d, a, b` (also `eq ne le gt ge`) | `d` is a bool |
//! | `br_lt T a, b, LABEL` and so on | |
//! | `jump LABEL`, `br_true c, LABEL`, `br_false c, LABEL` | |
//! | `load T d, p + N`, `store T s, p - N` | a distance in bytes |
//! | `load_element T d, p[i + N]`, `store_element T s, p[N]`, `element T d, p[i]` | in elements |
//! | `call d = NAME<TYPES>(a, b)`, `call NAME(a) -> T` | the second drops a result of type `T` |
//! | `call_host d = NAME(a, b)` | |
//! | `return T s`, `return_none`, `trap N` | |
//!
//! Types: the twelve scalars, and the names of the template's type parameters. Among the types that
//! go to a callee there may be others, with arguments: `sort<Pair<T, i64>>(p)`. The callee takes what
//! the locals of the call are of. A name that is no identifier (letters, digits, `_ . $`) stands in
//! quotation marks.

mod lexer;
mod parser;
mod print;

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use super::builder::BuildError;
use super::error::IrError;

pub use parser::parse;
pub use print::print;

/// A template out of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParsedTemplate {
    /// Its name.
    pub name: String,
    /// How many type parameters it has.
    pub type_params: u8,
    /// Its body, which has been verified.
    pub body: Vec<u8>,
}

/// What is wrong with a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TextFault {
    /// Something else has to stand there.
    Expected(&'static str),
    /// A statement that begins with no known word.
    Statement,
    /// A type that is no scalar and no parameter of the template.
    Type,
    /// A local that was not declared.
    Local,
    /// A name that is already in use.
    Duplicate,
    /// A label that stands nowhere in the template.
    Label,
    /// A number that is none, or that does not fit.
    Number,
    /// A character that begins nothing.
    Character(char),
    /// A body that cannot be encoded.
    Build(BuildError),
    /// A body that the verifier refuses.
    Typed(IrError),
}

/// What is wrong with a text, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TextError {
    /// The line, from 1.
    pub line: u32,
    /// What.
    pub fault: TextFault,
}

impl fmt::Display for TextError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: ", self.line)?;
        match self.fault {
            TextFault::Expected(what) => write!(f, "{what} is expected"),
            TextFault::Statement => f.write_str("no such statement"),
            TextFault::Type => f.write_str("no such type: neither a scalar nor a parameter"),
            TextFault::Local => f.write_str("no such local"),
            TextFault::Duplicate => f.write_str("the name is already in use"),
            TextFault::Label => f.write_str("a label that stands nowhere in this template"),
            TextFault::Number => f.write_str("a number that does not fit here"),
            TextFault::Character(character) => write!(f, "{character:?} begins nothing"),
            TextFault::Build(error) => error.fmt(f),
            TextFault::Typed(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for TextError {}
