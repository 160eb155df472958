//! From bytecode (BCOD code sections) to bytes of machine code that do not know yet where they will live.
//!
//! * [`bytecode`] decodes and encodes instructions one at a time.
//! * [`verify`] checks a program before anything runs, and tells what a compiler wants to know of it.
//! * [`text`] assembles and disassembles.
//! * [`interpret`] runs a verified program; [`trap`] says what stops it, [`host`] what it may call.
//! * [`typed`] is the bytecode of generic functions.
//! * [`lower`] compiles the functions of a verified program for x86-64; [`x64`] puts machine instructions
//!   down, and [`code`] is what compiling gives.
//!
//! The room turns bytecode into a buffer of bytes plus relocations and knows nothing of where code
//! will live, who calls it or where it came from: [`crate::format::functions`] reads the table of a
//! file, and what runs programs stands above. No file in here has unsafe code.
//!
//! What compiling costs, measured with the four functions of the benchmark, 25 instructions each: 361
//! instructions of the processor for one of bytecode, verification included, five a cycle. 57 of them
//! decode and find targets, 101 follow kinds and count uses, half of these where paths meet, and 203
//! choose registers and put down four bytes of code. Of the 17.6 ns that this takes at 4.2 GHz, two are
//! lost because 37 KB of machine code run for each turn, and the processor has 32 KB at hand. In 10 ns
//! it gets through 210 instructions: as many as the last part alone has.

#[cfg(feature = "alloc")]
pub mod bytecode;
pub mod code;
#[cfg(feature = "alloc")]
pub mod host;
#[cfg(feature = "alloc")]
pub mod interpret;
#[cfg(feature = "alloc")]
pub mod lower;
#[cfg(feature = "alloc")]
pub(crate) mod machine;
#[cfg(feature = "alloc")]
mod relation;
#[cfg(feature = "alloc")]
#[cfg(test)]
pub(crate) mod testing;
#[cfg(feature = "alloc")]
pub mod text;
#[cfg(feature = "alloc")]
pub mod trap;
#[cfg(feature = "alloc")]
pub mod typed;
#[cfg(feature = "alloc")]
pub mod verify;
pub mod x64;
