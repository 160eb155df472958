//! Bytecode (BCOD code sections) and what becomes of it.
//!
//! * [`bytecode`] decodes and encodes instructions one at a time.
//! * [`verify`] checks a program before anything runs, and tells what a compiler wants to know of it.
//! * [`text`] assembles and disassembles.
//! * [`interpret`] runs a verified program; [`trap`] says what stops it, [`host`] what it may call.
//!
//! The room turns bytecode into a buffer of bytes plus relocations and knows nothing of where code
//! will live, who calls it or where it came from: [`crate::format::functions`] reads the table of a
//! file, and what runs programs stands above. No file in here has unsafe code.

pub mod bytecode;
pub mod host;
pub mod interpret;
#[cfg(test)]
mod testing;
pub mod text;
pub mod trap;
pub mod verify;
