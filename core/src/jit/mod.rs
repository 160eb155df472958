//! From bytecode (BCOD code sections) to bytes of machine code that do not know yet where they will live.
//!
//! * [`bytecode`] decodes and encodes instructions one at a time.
//! * [`verify`] checks a program before anything runs, and tells what a compiler wants to know of it.
//! * [`text`] assembles and disassembles.
//! * [`interpret`] runs a verified program; [`trap`] says what stops it, [`host`] what it may call.
//! * [`typed`] is the bytecode of generic functions.
//! * [`lower`] compiles functions for x86-64, those of a verified program and, the quick way, those that
//!   are simple enough to be checked at the same time; [`compile`] does both for a program; [`x64`] puts
//!   machine instructions down, and [`code`] is what compiling gives.
//!
//! The room turns bytecode into a buffer of bytes plus relocations and knows nothing of where code
//! will live, who calls it or where it came from: [`crate::format::functions`] reads the table of a
//! file, and what runs programs stands above. No file in here has unsafe code.
//!
//! What compiling costs, checks included, counted by `valgrind --tool=callgrind` over the four functions
//! of the benchmark, 25 instructions each, one after another: the quick way 208 instructions of the
//! processor for one of bytecode; through verifier and compiler 323, 148 of them for verifying. The
//! shortest of 400 rounds took 8.5 ns and 18.4 ns for one, one way after the other. The quick way saves
//! what three ways through the code have in common: an instruction is fetched and dispatched once, and
//! nothing is kept of it. Of what is left, 40 are at each instruction, 200 at each operator on integers,
//! and 170 at each comparison that jumps.

#[cfg(feature = "alloc")]
pub mod bytecode;
pub mod code;
#[cfg(feature = "alloc")]
pub mod compile;
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
