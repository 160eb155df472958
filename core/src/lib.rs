//! A loader for SMF modules without std and without libc.
//!
//! An SMF module (Simple Module Format) holds machine code, bytecode or generic templates, with symbols and
//! relocations. This crate parses a module, maps its code, links it, caches its bytes, and compiles bytecode and
//! templates on demand. Paths, threads, symbols of the host, the static linker and the exports for C are in the crate
//! `smf-loader`.
//!
//! # Layers
//!
//! A module imports from lower layers only; within a module, files form a tree. `cargo xtask tidy` checks both.
//!
//! | layer | module | purpose |
//! |---|---|---|
//! | 6 | [`exec`] | execution manager: functions in IR, compiled, called by name, replaced |
//! | 6 | [`templates`] | a missing symbol becomes an instance of a template |
//! | 6 | [`loader`] | many modules: load, resolve, reload, unload |
//! | 5 | [`vm`] | runs bytecode: interpreted first, compiled when hot |
//! | 5 | [`link`] | one file becomes callable: image layout, relocation, symbol resolution |
//! | 4 | [`bytecode`] | BCOD: instructions, text form, verifier, interpreter |
//! | 4 | `source` | the Simple front end: lexer, parser, type check, lowering to IR (feature `source`) |
//! | 4 | [`codegen`] | machine code: assemblers, buffers with relocations |
//! | 3 | [`ir`] | typed three-address code: verifier, text form, binary form, interpreter |
//! | 3 | [`types`] | type terms, unification, mangled names |
//! | 3 | [`trap`] | catches traps of generated code |
//! | 3 | [`cache`] | a path becomes the bytes of a file, read once |
//! | 3 | [`extract`] | functions and templates taken out of a module |
//! | 2 | [`format`] | the wire format: reading without allocation, writing, extensions |
//! | 2 | [`memory`] | pages, mappings, files, executable memory; every system call |
//! | 1 | [`alloc_util`] | fallible allocation |
//!
//! # From a file to a call
//!
//! ```text
//!   path --FileCache::get--> bytes --Smf::parse--> Smf<'_> --Image::map----> Image
//!                                                                              |
//!                                   call(address) <--function-- Module <--link--
//! ```
//!
//! [`cache::FileCache`] or [`memory::FileBytes`] reads the file into private memory. [`format::Smf`] is a view of the
//! bytes. [`link::Image`] has pages of its own with the sections in place; linking resolves imports, applies relocations
//! and makes the code executable. [`loader::ModuleLoader`] does this for many modules that import from each other.
//!
#![cfg_attr(all(feature = "kernel", target_arch = "x86_64"), doc = "```")]
#![cfg_attr(not(all(feature = "kernel", target_arch = "x86_64")), doc = "```ignore")]
//! use smf_core::format::Smf;
//! use smf_core::link::{Image, NoImports};
//! use smf_core::trap::call;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/samples/packed.smf");
//! let bytes = std::fs::read(path)?;
//! let module = Image::map(&Smf::parse(&bytes)?)?.link(&NoImports)?;
//! let add = module.function(b"add").ok_or("no function `add`")?;
//! // SAFETY: `add` takes two integers, and the module stays loaded during the call.
//! assert_eq!(unsafe { call(add, &[40, 2]) }?, 42);
//! # Ok(())
//! # }
//! ```
//!
//! # From bytecode to code
//!
//! ```text
//!   section of bytecode --Verifier--> program --vm::Engine--> interpreter
//!                                                    |            | hot function or loop
//!                                                    |            v
//!                                                    +------> machine code
//! ```
//!
//! The verifier of [`bytecode`] checks every instruction before the first one runs. [`vm`] interprets a function first,
//! compiles it when it is hot, and enters the compiled code at the next call or, in a loop, by on-stack replacement.
//!
//! # From a template to an instance
//!
//! ```text
//!   missing symbol `max$i64` --> note of the module --> template body --> compiler --> code
//!            ^                                                                          |
//!            +------------------------------- address ----------------------------------+
//! ```
//!
//! [`templates::JitInstantiator`] looks a missing symbol up among the instances that the notes of its modules permit,
//! compiles the body for the type arguments, and publishes the code. Threads that ask for the same symbol wait for one
//! compilation. [`templates::JitSymbolResolver`] is the fallback through which a loader asks.
//!
//! # Guarantees
//!
//! * No input causes a panic. A malformed file is an error with an offset.
//! * No count in a file causes an allocation that the length of the file does not explain.
//! * No page is writable and executable at one address, at any time.
//! * Allocation is fallible: an operation without memory returns an error and changes nothing.
//!
//! Machine code inside a module is trusted input: calling it is running a program.
//!
//! # Features
//!
//! `kernel` (default) adds everything that needs Linux. `bytecode` (default) adds modules of bytecode. `compress` adds
//! compressed sections. `source` adds the Simple front end. Without `kernel`, [`format`] reads modules on any target; with `alloc` it writes them.
#![no_std]
#![deny(unsafe_code)]

#[cfg(feature = "alloc")]
extern crate alloc;
#[cfg(any(test, miri))]
extern crate std;

#[doc(hidden)]
pub mod alloc_util;
#[cfg(feature = "alloc")]
pub mod bytecode;
#[cfg(feature = "kernel")]
pub mod cache;
#[cfg(feature = "alloc")]
pub mod codegen;
#[cfg(all(feature = "bytecode", any(target_arch = "x86_64", target_arch = "aarch64")))]
pub mod exec;
pub mod extract;
#[cfg(test)]
#[cfg(feature = "kernel")]
#[path = "tests/faults/mod.rs"]
mod faults;
pub mod format;
#[cfg(feature = "alloc")]
pub mod ir;
#[cfg(feature = "kernel")]
pub mod link;
#[cfg(feature = "kernel")]
pub mod loader;
#[cfg(feature = "kernel")]
pub mod memory;
#[cfg(all(test, loom))]
#[path = "tests/models.rs"]
mod model;
pub mod plural;
mod printable;
#[cfg(feature = "source")]
pub mod source;
#[cfg(feature = "kernel")]
pub mod templates;
#[cfg(test)]
mod testing;
#[cfg(feature = "alloc")]
pub mod trap;
#[cfg(feature = "alloc")]
mod trap_code;
#[cfg(feature = "kernel")]
pub mod types;
#[cfg(feature = "kernel")]
pub mod vm;

#[cfg(feature = "alloc")]
pub use alloc_util::AllocError;
pub use printable::Printable;
