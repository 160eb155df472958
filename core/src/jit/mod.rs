//! From bytecode (BCOD code sections) to bytes of machine code that do not know yet where they will live.
//!
//! * [`bytecode`] decodes and encodes instructions one at a time.
//! * [`verify`] checks a program before anything runs, and tells what a compiler wants to know of it.
//! * [`text`] assembles and disassembles.
//! * [`interpret`] runs a verified program; [`trap`](crate::trap) says what stops it, [`host`] what it may call.
//! * [`ir`] is typed three-address code: the bodies of templates.
//! * [`lower`] compiles verified functions for x86-64; [`compile`] verifies and lowers one; [`x64`]
//!   encodes machine instructions; [`code`] is a buffer of machine code with its relocations.
//!
//! The room turns bytecode into a buffer of bytes plus relocations and knows nothing of where code
//! will live, who calls it or where it came from: [`crate::format::functions`] reads the table of a
//! file, and what runs programs stands above. No file in here has unsafe code.

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
pub mod ir;
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
pub mod verify;
pub mod x64;
