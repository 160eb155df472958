//! The two compilers to x86-64: [`lower`] and [`compile`] for bytecode, [`ir_lower`] for instances of templates.

pub mod compile;
pub mod ir_lower;
pub mod lower;
