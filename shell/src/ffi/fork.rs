//! The tables of the exports around a fork; see [`crate::fork`].

use super::{blocks, cache_handles, loader_handles, mappings, prefetch, registered_symbols};
#[cfg(feature = "jit")]
use super::{compiler, jit_handles};
use crate::code_map;
use crate::fork::HeldAtFork;

/// The locks of the tables, in the order in which they are taken.
pub(crate) const LOCKS: &[&dyn HeldAtFork] = &[
    &blocks::BLOCKS,
    &mappings::LIVE,
    &prefetch::JOBS,
    &loader_handles::CLOSED,
    #[cfg(feature = "jit")]
    &compiler::CONTEXTS,
    #[cfg(feature = "jit")]
    &compiler::UNIFIERS,
    #[cfg(all(feature = "jit", not(feature = "tagged")))]
    &super::strings::STRINGS,
    #[cfg(feature = "exec")]
    &super::exec_handles::DEFAULT_FRONT_END,
    #[cfg(not(feature = "tagged"))]
    &super::builtin::SLOTS,
    &registered_symbols::SYMBOLS,
    &code_map::RANGES,
];

/// Marks the objects that were in use at the fork. Called in the child, by its only thread.
pub(crate) fn begin_child() {
    cache_handles::CACHES.begin_child();
    loader_handles::LOADERS.begin_child();
    #[cfg(feature = "jit")]
    jit_handles::JITS.begin_child();
    #[cfg(feature = "exec")]
    super::exec_handles::MANAGERS.begin_child();
    prefetch::begin_child();
}
