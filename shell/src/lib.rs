//! The std shell around smf-core: paths, threads, symbols of the host, and the `smf` command.
//!
//! What could live without std lives in [`smf_core`]; here is the rest:
//!
//! * [`files`] reads inputs and writes outputs whole or not at all;
//! * [`loader`] loads modules by path, together with those that provide their imports;
//! * `host_symbols` (feature `host`) resolves imports from the process and its libraries, and dynlib
//!   files go to the system's loader;
//! * `inspect` (feature `cli`) shows what a file holds, as text or as JSON;
//! * `pack` (feature `pack`) links relocatable ELF objects into a module;
//! * [`prefetch`] reads files into a cache before they are needed, on several threads;
//! * [`calls`] calls machine code, [`jit`] tells the process of instances of templates, [`types_json`] has their types as JSON;
//! * `stack` (feature `jit`) knows where the stack of a thread ends, which calls into bytecode look at;
//! * [`tools`] tells profilers and debuggers what runs where;
//! * `ffi` (feature `c-api`) has the exports for C, which `include/smf.h` declares;
//! * `fork` keeps what a child process inherits from waiting for threads that it does not have.
#![deny(unsafe_code)]

pub mod call;
#[cfg(feature = "c-api")]
mod code_map;
mod fallible_buf;
#[cfg(feature = "c-api")]
pub mod ffi;
pub mod files;
mod fork;
#[cfg(feature = "host")]
pub mod host_symbols;
#[cfg(feature = "cli")]
pub mod inspect;
pub mod jit;
pub mod loader;
#[cfg(feature = "pack")]
pub mod pack;
pub mod prefetch;
mod registration;
#[cfg(feature = "host")]
mod shared_object;
#[cfg(feature = "jit")]
pub mod stack;
mod stderr;
pub mod tools;
#[cfg(any(feature = "jit", feature = "cli"))]
pub mod types_json;

#[cfg(feature = "host")]
pub use shared_object::{SharedObject, SharedObjectError};
