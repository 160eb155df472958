//! The compiler of bytecode to x86-64: [`lower`] and [`compile`].

pub mod compile;
pub mod lower;
