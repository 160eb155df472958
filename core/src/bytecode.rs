//! Bytecode (BCOD code sections): instructions, text form, verifier and interpreter.
//!
//! * [`instruction`] decodes and encodes instructions one at a time.
//! * [`verify`] checks a program before anything runs, and derives the facts that a compiler needs.
//! * [`text`] assembles and disassembles.
//! * [`translate`] makes IR of a verified function, for the code generator.
//! * [`interpret`] runs a verified program; [`trap`](crate::trap) names what stops it, [`host`] what it may call.
//!
//! [`crate::format::functions`] reads the table of functions of a file; [`crate::vm`] runs programs.

pub mod host;
pub mod instruction;
pub mod interpret;
pub mod objects;
#[cfg(test)]
pub(crate) mod testing;
pub mod text;
pub mod translate;
pub mod verify;
