//! From bytecode to bytes of machine code that do not know yet where they will live.

#[cfg(feature = "alloc")]
pub mod typed;
