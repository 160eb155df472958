//! The C API, as declared in `include/smf.h`.
//!
//! Rules for every export:
//!
//! * It does not unwind: an `extern "C"` function aborts on a panic, and no code in here panics.
//! * It dereferences only C strings, arrays with a length, versioned structures and the function table of the
//!   runtime. Handles and addresses of memory are looked up in tables, never trusted.
//! * `args`, `cptr` and `versioned_struct` validate arguments in one place. A refused call has no effect; it returns
//!   the failure value in the header and records the reason for the thread ([`smf_last_error`]).
//! * It may be called from any thread.
//!
//! | file | exports |
//! |------|---------|
//! | `exec` | executable memory by address; `blocks` is its table |
//! | `mmap` | mapped files and memory by address; `mappings` is their table |
//! | `cache` | a cache of files; `cache_handles` is the table of caches, `cache_statistics` their statistics |
//! | `prefetch` | reading files in advance |
//! | `loader` | loading, replacing and unloading modules; `loader_handles` is the table of loaders |
//! | `loader_symbols`, `missing` | symbols of loaded modules; unresolved imports |
//! | `take` | extraction of functions and templates |
//! | `call` | calls through a bare address |
//! | `values` or `tagged` | byte arrays, text and pairs of the runtime or of the `builtin` set |
//! | `jit` | instantiation of templates; `jit_handles` is the table of instantiators |
//! | `compiler` | the JSON interface to the compiler, with `compile_context` and `strings` |
//! | `names` | names for profilers and debuggers |
//! | `error` | the last error, the version |
//!
//! `take`, `jit` and `compiler` need the feature `jit`. `handle_table` implements the tables of handles, and `fork`
//! lists the locks of all tables.
//!
//! The feature `tagged` builds the other convention for values: text, a byte array and a tuple are each one word, and
//! the library is linked with a runtime that provides their accessor functions (`tagged.rs`).

// Errors hold their names inline, so that reporting them allocates nothing, even when memory has run out.
#![allow(clippy::result_large_err)]

mod args;
mod blocks;
#[cfg(not(feature = "tagged"))]
mod builtin;
mod cache;
mod cache_handles;
mod cache_statistics;
mod call;
#[cfg(feature = "jit")]
mod compile_context;
#[cfg(feature = "jit")]
mod compiler;
mod cptr;
mod error;
mod exec;
mod fork;
mod handle_table;
#[cfg(feature = "jit")]
mod jit;
#[cfg(feature = "jit")]
mod jit_handles;
mod loader;
mod loader_handles;
mod loader_symbols;
mod mappings;
mod missing;
mod mmap;
mod names;
mod prefetch;
#[cfg(feature = "jit")]
mod strings;
mod symbol_codes;
#[cfg(feature = "jit")]
mod take;
#[cfg(not(feature = "tagged"))]
mod values;
#[cfg(feature = "tagged")]
#[path = "tagged.rs"]
mod values;
mod versioned_struct;

pub use cache::{
    SmfCacheFile, SmfCacheOptions, SmfCachePart, smf_cache_clear, smf_cache_close, smf_cache_evict,
    smf_cache_get, smf_cache_get_again, smf_cache_get_module, smf_cache_note, smf_cache_open,
    smf_cache_refresh, smf_cache_refresh_all, smf_cache_release, smf_cache_section,
    smf_cache_template,
};
pub use cache_statistics::{
    SmfCacheSample, SmfCacheStatistics, smf_cache_samples, smf_cache_statistics,
};
pub use call::{
    rt_call_function_0, rt_call_function_1, rt_call_function_2, rt_call_function_3,
    rt_call_function_4, rt_call_function_5, rt_call_function_6, rt_call_function_7,
    rt_call_function_8,
};
#[cfg(feature = "jit")]
pub use compiler::{
    compiler_check_types, compiler_create_context, compiler_destroy_context, compiler_get_stats,
    compiler_infer_types, compiler_instantiate_template, compiler_set_callback,
    type_unifier_create, type_unifier_destroy, type_unifier_unify,
};
pub use error::{SmfError, smf_clear_error, smf_last_error, smf_version};
pub use exec::{
    rt_alloc_exec_memory, rt_alloc_rw_memory, rt_exec_memory_count, rt_exec_memory_dump_stats,
    rt_exec_memory_total, rt_flush_icache, rt_free_exec_memory, rt_get_function_pointer,
    rt_get_protection, rt_is_executable, rt_make_executable, rt_make_writable, rt_set_protection,
    rt_write_exec_memory, smf_exec_limit, smf_exec_trim,
};
pub(crate) use fork::{LOCKS, begin_child};
#[cfg(feature = "jit")]
pub use jit::{
    SmfJitInstance, SmfJitOptions, SmfJitStatistics, smf_jit_can_instantiate, smf_jit_close,
    smf_jit_emit, smf_jit_fail, smf_jit_instantiate, smf_jit_load, smf_jit_load_archived,
    smf_jit_load_bytes, smf_jit_open, smf_jit_register, smf_jit_relocate, smf_jit_resolve,
    smf_jit_set_compiler, smf_jit_statistics, smf_jit_update, smf_loader_set_jit,
};
#[cfg(feature = "jit")]
pub use jit_handles::{SmfCompiler, SmfTemplate};
pub use loader::{
    SmfLoaderOptions, SmfLoaderStatistics, SmfReloaded, SmfResolver, smf_loader_close,
    smf_loader_collect, smf_loader_define, smf_loader_load, smf_loader_load_archived,
    smf_loader_load_bytes, smf_loader_open, smf_loader_provide, smf_loader_provide_bytes,
    smf_loader_reload, smf_loader_reload_bytes, smf_loader_set_resolver, smf_loader_statistics,
    smf_loader_unload, smf_loader_unload_all,
};
pub use loader_symbols::{
    SmfModuleVisitor, SmfSymbol, SmfSymbolVisitor, smf_loader_call, smf_loader_entry_point,
    smf_loader_find, smf_loader_hold, smf_loader_modules, smf_loader_release, smf_loader_resolve,
    smf_loader_symbol, smf_loader_symbols,
};
pub use missing::{SmfMissing, smf_loader_missing, smf_loader_missing_count};
pub use mmap::{
    rt_file_size_for_mmap, rt_get_page_size, rt_madvise, rt_mlock, rt_mmap_file,
    rt_mmap_read_bytes, rt_mmap_read_string, rt_msync, rt_munlock, rt_munmap, smf_mmap_allow_exec,
};
pub use names::{smf_gdb_enable, smf_jitdump_enable, smf_name_code, smf_perf_map_enable};
pub use prefetch::{
    SmfPrefetchProgress, smf_cache_prefetch, smf_cache_prefetch_start, smf_prefetch_free,
    smf_prefetch_progress, smf_prefetch_result, smf_prefetch_wait,
};
#[cfg(all(feature = "jit", not(feature = "tagged")))]
pub use strings::smf_string_free;
#[cfg(feature = "jit")]
pub use take::{
    SmfConcrete, SmfConcreteVisitor, SmfDeferred, SmfDeferredVisitor, SmfTakenReloc,
    smf_take_all_deferred, smf_take_concrete, smf_take_concretes, smf_take_deferred,
};
#[cfg(not(feature = "tagged"))]
pub use values::{
    RuntimeValue, SmfMapping, SmfValueHooks, smf_bytes_data, smf_bytes_length, smf_bytes_new,
    smf_pair_first, smf_pair_new, smf_pair_second, smf_set_value_hooks, smf_text_data,
    smf_text_length, smf_text_new, smf_value_free,
};
