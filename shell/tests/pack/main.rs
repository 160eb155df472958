//! The packer on objects of the installed compilers.
//!
//! The C compiler is `cc`; its assembler provides constructs that compilers do not emit on demand.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod archives;
mod breadth;
mod compress;
mod debug_info;
mod gnu_property;
mod hostile;
#[cfg(target_arch = "x86_64")]
mod init;
mod made;
mod merge;
mod phases;
mod relative;
mod reload;
mod relocations;
mod run;
mod run_breadth;
#[path = "../../../tests/src/scale.rs"]
mod scale;
mod sections;
#[path = "../../../tests/src/skip.rs"]
mod skip;
mod strings;
mod symbols;
mod take;
mod threads;
