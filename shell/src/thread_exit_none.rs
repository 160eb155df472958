//! Stands for `thread_exit` where the C library cannot run destructors of thread-local variables (musl has no
//! `__cxa_thread_atexit_impl`): an import of that function is unresolved, and its module refused by the name.

use std::ops::Range;

use crate::fork::HeldAtFork;

/// No locks.
pub(crate) const LOCKS: &[&dyn HeldAtFork] = &[];

/// Replaces nothing.
pub(crate) fn replacement(_: &[u8]) -> Option<u64> {
    None
}

/// No destructor is registered.
pub(crate) fn is_pending(_: &Range<u64>) -> bool {
    false
}
