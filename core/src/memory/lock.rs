//! The lock around everything that threads share here.
//!
//! What it guards takes nanoseconds, so a waiting thread looks again before it asks the kernel for
//! anything. It then yields, because on a machine with more threads than cores the holder may be
//! waiting for this very core.

use core::hint;

use spin::mutex::{SpinMutex, SpinMutexGuard};
use spin::relax::RelaxStrategy;

use super::sys;

/// A lock that knows how to wait.
pub(crate) type Lock<T> = SpinMutex<T, Patience>;

/// The right to what a [`Lock`] guards.
pub(crate) type Guard<'a, T> = SpinMutexGuard<'a, T, Patience>;

pub(crate) struct Patience;

impl RelaxStrategy for Patience {
    #[inline]
    fn relax() {
        for _ in 0..16 {
            hint::spin_loop();
        }
        sys::yield_now();
    }
}
