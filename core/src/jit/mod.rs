//! From bytecode to bytes of machine code that do not know yet where they will live.

pub mod code;
pub mod x64;
