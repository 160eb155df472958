//! The std part of the SMF loader: paths, threads, host symbols, the static linker and the C API. The package `smf-cli` in
//! `cli` is the `smf` command.
//!
//! Everything that works without std is in [`smf_core`]. This crate adds:
//!
//! * [`files`]: reads inputs, and writes outputs atomically;
//! * [`loader`]: loads modules by path, together with the modules that provide their imports; [`loader_builder`] sets
//!   its options;
//! * `host_symbols` (feature `host`): resolves imports from the process and from shared libraries; `shared_object`
//!   opens shared objects with the system's loader;
//! * `host_services` (feature `host`): what modules need from the process beside symbols;
//! * `cfi` (feature `inspect`): checks the landing pads of control-flow protection;
//! * `inspect` (feature `inspect`): prints the contents of a file, as text or as JSON;
//! * `pack` (feature `pack`): links relocatable ELF objects into a module;
//! * `compile` (features `source` and `pack`): compiles Simple source to modules;
//! * `source` (feature `source`): reads the files of a program of Simple source;
//! * [`prefetch`]: reads files into a cache in advance, on several threads;
//! * [`call`]: calls machine code and catches its traps; `call_record` is the state of a thread that calls from C;
//! * [`generated_code`]: registers generated code with unwinders, profilers and debuggers;
//! * [`jit`]: registers template instances with the process; `types_json` converts their types from and to JSON;
//! * `stack` (feature `jit`): the stack bounds of a thread, which bytecode checks;
//! * `exec` (feature `exec`): the execution manager with back ends by name, Simple source and functions of the host;
//! * [`counters`]: counters of everything as JSON;
//! * [`events`]: events of loaders, instantiators and compilers: a log (`SMF_LOG=info`), probes, spans of time;
//! * [`tools`]: registers code with profilers and debuggers;
//! * `ffi` (feature `c-api`): the exports that `include/smf.h` declares; `code_map` holds the addresses that C may
//!   call;
//! * `fork`: makes a child process independent of the threads of its parent.
#![deny(unsafe_code)]

#[cfg(feature = "c-api")]
mod address_map;
pub mod call;
#[cfg(target_arch = "x86_64")]
#[cfg_attr(not(feature = "c-api"), allow(dead_code))]
mod call_record;
#[cfg(feature = "inspect")]
pub mod cfi;
#[cfg(feature = "c-api")]
mod code_map;
#[cfg(all(feature = "source", feature = "pack"))]
pub mod compile;
pub mod counters;
mod debug_info;
mod environment;
pub mod events;
#[cfg(feature = "exec")]
pub mod exec;
mod fallible_buf;
#[cfg(feature = "c-api")]
pub mod ffi;
#[cfg(feature = "host")]
pub mod file_lease;
#[cfg_attr(any(miri, not(feature = "host")), allow(dead_code))]
mod file_limit;
pub mod files;
mod fork;
pub mod generated_code;
pub mod guide;
#[cfg(feature = "host")]
pub mod host_services;
#[cfg(feature = "host")]
pub mod host_symbols;
mod import_types;
#[cfg(feature = "host")]
mod init_functions;
#[cfg(feature = "inspect")]
pub mod inspect;
pub mod jit;
#[cfg(feature = "pack")]
pub mod library_search;
mod link_failures;
pub mod loader;
pub mod loader_builder;
#[cfg(feature = "jit")]
pub mod loader_templates;
#[cfg(feature = "host")]
mod needed_library;
#[cfg(feature = "pack")]
pub mod pack;
pub mod prefetch;
mod raw_thread;
mod registration;
#[cfg(feature = "host")]
mod shared_object;
#[cfg(test)]
#[path = "../../tests/src/skip.rs"]
mod skip;
#[cfg(feature = "source")]
pub mod source;
#[cfg(feature = "inspect")]
mod source_line;
#[cfg(feature = "source")]
pub mod source_trap;
#[cfg(feature = "jit")]
pub mod stack;
#[cfg(feature = "host")]
#[cfg_attr(not(target_env = "gnu"), path = "thread_exit_none.rs")]
mod thread_exit;
#[cfg(feature = "host")]
mod thread_storage;
#[cfg(feature = "host")]
mod tls_descriptor;
#[cfg(feature = "host")]
mod tls_object;
pub mod tools;
#[cfg(any(feature = "jit", feature = "inspect"))]
pub mod types_json;
mod unlocked_write;
#[cfg(feature = "host")]
mod unwinding;

pub use import_types::MismatchedImport;
#[cfg(feature = "host")]
pub use shared_object::{SharedObject, SharedObjectError};
#[cfg(feature = "inspect")]
pub use source_line::{DebugInfo, SourceLine, source_line};
