//! The packer on objects of the installed compilers.
//!
//! The C compiler is `cc`; its assembler provides constructs that compilers do not emit on demand.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod archives;
mod compress;
mod hostile;
mod made;
mod phases;
mod reload;
mod relocations;
mod run;
mod sections;
mod symbols;
mod take;
