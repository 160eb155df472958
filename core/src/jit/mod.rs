//! From bytecode to bytes of machine code that do not know yet where they will live.

pub mod code;
#[cfg(feature = "alloc")]
pub mod typed;
pub mod x64;
