//! The whole SMF loader without std and without libc.
//!
//! Floors, lowest first; a room uses what stands below it and never looks up:
//!
//! 1. [`format`] knows bytes and nothing else: no kernel, no allocation for reading, no unsafe code.
//!    [`memory`] knows pages and nothing of SMF; every system call goes through `memory::sys`.
//! 2. [`link`] makes a file callable. [`cache`] gives a file's bytes, read once. [`jit`] turns bytecode
//!    into machine code.
//! 3. [`loader`] keeps many modules, which find each other's symbols, come and go. [`instantiate`] turns
//!    generic templates into code when a missing symbol asks for it. [`tier`] runs bytecode.
//!
//! Promises that hold in every room: no input makes it panic; no count in a file makes it allocate
//! more than the file explains; no page is writable and executable at one address, not for a moment.
//! Machine code inside a module is trusted input: running it is running a program.
#![no_std]
#![deny(unsafe_code)]

#[cfg(feature = "alloc")]
extern crate alloc;
#[cfg(any(test, miri))]
extern crate std;

#[doc(hidden)]
pub mod alloc_util;
#[cfg(feature = "kernel")]
pub mod cache;
pub mod extract;
#[cfg(test)]
#[cfg(feature = "kernel")]
#[path = "tests/faults/mod.rs"]
mod faults;
pub mod format;
pub mod jit;
#[cfg(feature = "kernel")]
pub mod link;
#[cfg(feature = "kernel")]
pub mod loader;
#[cfg(feature = "kernel")]
pub mod memory;
#[cfg(all(test, loom))]
#[path = "tests/models.rs"]
mod model;
#[cfg(feature = "kernel")]
pub mod templates;
#[cfg(test)]
mod testing;
#[cfg(feature = "alloc")]
pub mod trap;
#[cfg(feature = "kernel")]
pub mod types;
#[cfg(feature = "kernel")]
pub mod vm;

#[cfg(feature = "alloc")]
pub use alloc_util::AllocError;
