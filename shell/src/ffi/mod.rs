//! The C API, as declared in `include/smf.h`.
//!
//! Rules for every export:
//!
//! * It does not unwind: an `extern "C"` function aborts on a panic, and no code in here panics.
//! * It dereferences only C strings, arrays with a length, versioned structures and the function table of the
//!   runtime. Handles and addresses of memory are looked up in tables, never trusted; the exports of `raw` alone
//!   access any address, as their namesakes in the runtime do.
//! * `args`, `cptr` and `versioned_struct` validate arguments in one place. A refused call has no effect; it returns
//!   the failure value in the header and records the reason for the thread ([`smf_last_error`]).
//! * It may be called from any thread.
//!
//! | file | exports |
//! |------|---------|
//! | `exec` | executable memory by address; `blocks` is its table |
//! | `mmap` | mapped files and memory by address; `mappings` is their table |
//! | `raw` | mappings, protection, memory and calls at any address, as `weak` symbols |
//! | `cache`, `cache_statistics` | a cache of files; `cache_handles` is the table of caches |
//! | `prefetch` | reading files in advance |
//! | `loader` | loading, replacing and unloading modules; `loader_handles` is the table of loaders |
//! | `loader_bytecode` | host functions and compilation of bytecode |
//! | `loader_symbols`, `missing` | symbols of loaded modules; unresolved imports |
//! | `module_info` | headers and sections of modules |
//! | `lists` | names of modules, symbols and sections as lists |
//! | `registered_symbols` | names of the host for all loaders |
//! | `take` | extraction of functions and templates |
//! | `call` | calls through a bare address with words |
//! | `typed_call` | the same with the types of a `signature` |
//! | `values` or `tagged` | byte arrays, text and pairs of the runtime or of the `builtin` set |
//! | `jit` | instantiation of templates; `jit_handles` is the table of instantiators |
//! | `jit_take` | objects for a linker, from templates of an instantiator and functions of modules |
//! | `compiler` | the JSON interface to the compiler, with `compile_context`, `typed_code` and `strings` |
//! | `exec_calls`, `exec_diagnostics` | the execution manager with typed values; `exec_handles` is the table of managers |
//! | `exec_manager`, `exec_jit` | the same as the runtime calls it, as `weak` symbols |
//! | `names` | names for profilers and debuggers |
//! | `statistics_json` | the counters of everything that is open |
//! | `error` | the last error, the version |
//!
//! `take`, `jit`, `jit_take` and `compiler` need the feature `jit`, and `exec_*` the feature `exec`. `handle_table` implements the tables of handles, `slot_table`
//! that of their items and of values, `function_table` that of functions of managers, and `fork` lists the locks of all tables.
//! `fallback` asks the instantiator and the resolver of a loader, `checked_copy` reads memory that others may unmap, `c_text` has the texts that C gets,
//! `constants` has the constants of the header, and `weak` defines the weak symbols.
//!
//! The feature `tagged` builds the other convention for values: text, a byte array and a tuple are each one word, and
//! the library is linked with a runtime that provides their accessor functions (`tagged.rs`).

// Errors hold their names inline, so that reporting them allocates nothing, even when memory has run out.
#![allow(clippy::result_large_err)]

mod args;
mod blocks;
#[cfg(not(feature = "tagged"))]
mod builtin;
#[cfg(feature = "exec")]
mod c_text;
mod cache;
mod cache_handles;
mod cache_statistics;
mod call;
mod checked_copy;
#[cfg(feature = "jit")]
mod compile_context;
#[cfg(feature = "jit")]
mod compiler;
mod constants;
mod cptr;
mod error;
mod exec;
#[cfg(feature = "exec")]
mod exec_calls;
#[cfg(feature = "exec")]
mod exec_diagnostics;
#[cfg(feature = "exec")]
mod exec_handles;
#[cfg(feature = "exec")]
mod exec_jit;
#[cfg(feature = "exec")]
mod exec_manager;
mod fallback;
mod fork;
#[cfg(feature = "exec")]
mod function_table;
mod handle_table;
#[cfg(feature = "jit")]
mod jit;
#[cfg(feature = "jit")]
mod jit_handles;
#[cfg(feature = "source")]
mod jit_take;
mod lists;
mod loader;
mod loader_bytecode;
mod loader_handles;
mod loader_symbols;
mod mappings;
mod missing;
mod mmap;
mod module_info;
mod names;
mod prefetch;
mod raw;
mod registered_symbols;
mod signature;
mod slot_table;
mod statistics_json;
#[cfg(feature = "jit")]
mod strings;
#[cfg(feature = "jit")]
mod take;
mod typed_call;
#[cfg(feature = "jit")]
mod typed_code;
#[cfg(not(feature = "tagged"))]
mod values;
#[cfg(feature = "tagged")]
#[path = "tagged.rs"]
mod values;
mod versioned_struct;
mod weak;

// The exports and their types are all that these files make public.
pub use self::{
    cache::*, cache_statistics::*, call::*, error::*, exec::*, lists::*, loader::*,
    loader_bytecode::*, loader_symbols::*, missing::*, mmap::*, module_info::*, names::*,
    prefetch::*, registered_symbols::*, statistics_json::*, typed_call::*,
};
#[cfg(feature = "jit")]
pub use self::{compiler::*, jit::*, jit_handles::*, take::*};
#[cfg(feature = "exec")]
pub use self::{exec_calls::*, exec_diagnostics::*, exec_handles::SmfFrontEnd};
#[cfg(feature = "source")]
pub use jit_take::*;
#[cfg(all(feature = "jit", not(feature = "tagged")))]
pub use strings::*;
#[cfg(not(feature = "tagged"))]
pub use values::*;

pub(crate) use fork::{LOCKS, begin_child};
