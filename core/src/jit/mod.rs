//! From bytecode to bytes of machine code that do not know yet where they will live.
//!
//! * [`bytecode`] decodes and encodes instructions one at a time.
//! * [`x64`] puts machine instructions down; [`code`] is what compiling gives.
//!
//! The room turns bytecode into a buffer of bytes plus relocations and knows nothing of where code
//! will live, who calls it or where it came from: [`crate::format::functions`] reads the table of a
//! file, and what runs programs stands above. No file in here has unsafe code.

#[cfg(feature = "alloc")]
pub mod bytecode;
pub mod code;
pub mod x64;
