//! The Simple front end: from source text to IR.
mod code;
mod diagnostic;
mod layout;
mod lexer;
mod literal;
mod names;
mod parser;
mod syntax;
mod token;

pub use code::Code;
pub use diagnostic::{Diagnostic, Severity};

#[cfg(test)]
mod tests;
