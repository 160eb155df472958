//! Objects as the compilers at hand write them, packed and looked at.
//!
//! The C compiler is `cc`; what no compiler writes on demand comes out of its assembler.
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
