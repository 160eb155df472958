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
//! What compiling costs, counted by `valgrind --tool=callgrind` over the four functions of the
//! benchmark, 25 instructions each, one after another: 319 instructions of the processor for one of
//! bytecode, 148 of them for verifying it and 171 for choosing registers and putting down four bytes of
//! code. By how often they run: 56 at each instruction, which is fetched three times; 43 at what every
//! second to seventh is, a load, a constant, a store; 140 at what comes once to three times in a function,
//! operators, jumps and where paths meet; 80 once in it or less. The shortest of 200 rounds took 16.9 ns
//! each, so that some 190 of them fit into 10 ns. Size counts as well: of a cache of 32 KB for code, as
//! callgrind simulates it (`--cache-sim=yes --I1=32768,8,64`), 1.9 lines are missed for an instruction of
//! bytecode; when they were 3.5, with as many instructions, the shortest round took 17.8 ns.

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
