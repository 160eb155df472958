//! What the exports have to do with a fork: see [`crate::fork`].

use super::{blocks, cache_handles, loader_handles, mappings, prefetch};
#[cfg(feature = "jit")]
use super::{compiler, jit_handles};
use crate::fork::HeldAtFork;

/// The locks of the tables that C reaches, in the order in which they are taken.
pub(crate) const LOCKS: &[&dyn HeldAtFork] = &[
    &blocks::BLOCKS,
    &mappings::LIVE,
    &prefetch::JOBS,
    #[cfg(feature = "jit")]
    &compiler::CONTEXTS,
    #[cfg(feature = "jit")]
    &compiler::UNIFIERS,
    #[cfg(all(feature = "jit", not(feature = "tagged")))]
    &super::strings::STRINGS,
    #[cfg(not(feature = "tagged"))]
    &super::builtin::SLOTS,
];

/// Puts aside what only threads of the parent could have ended. In the child, whose only thread is this one.
pub(crate) fn begin_child() {
    cache_handles::begin_child();
    loader_handles::begin_child();
    #[cfg(feature = "jit")]
    jit_handles::JITS.begin_child();
    prefetch::begin_child();
}
