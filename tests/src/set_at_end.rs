//! A guard that sets a stop flag on drop. Tests of other packages include this file by its path.
#![allow(unreachable_pub, missing_debug_implementations, reason = "public in its own package only")]

use std::sync::atomic::{AtomicBool, Ordering};

/// Sets a flag when dropped. Where the test and each of its threads hold one, all of them end when one of them panics, and
/// the test fails instead of waiting.
pub struct SetAtEnd<'f>(pub &'f AtomicBool);

impl Drop for SetAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
