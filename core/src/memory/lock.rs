//! The lock around everything that threads share here.
//!
//! What it guards takes nanoseconds, so a waiting thread looks again before it asks the kernel for
//! anything. It then yields, because on a machine with more threads than cores the holder may be
//! waiting for this very core.
//!
//! A child of `fork(2)` has a copy of every lock and none of the threads that held one. Where a child may
//! get to a lock of its parent, [`Process::lock`] is the way to take it: it gives up in the child when the
//! lock is held there for ever.

use core::hint;

use spin::mutex::{SpinMutex, SpinMutexGuard};
use spin::relax::RelaxStrategy;

use super::sys;

/// A lock that knows how to wait.
pub(crate) type Lock<T> = SpinMutex<T, Patience>;

/// The right to what a [`Lock`] guards.
pub(crate) type Guard<'a, T> = SpinMutexGuard<'a, T, Patience>;

/// The process that made some locks.
///
/// The process identifier tells a child from its parent without any help of the host, so that a child
/// that `clone(2)` made, for which no handler of `pthread_atfork(3)` ran, is recognised as well. Only a
/// thread that waits asks for it: a lock that is free costs nothing more.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Process(i32);

impl Process {
    /// This process.
    pub(crate) fn current() -> Self {
        Self(sys::process_id())
    }

    /// Takes a lock that this process made. `None` in a child process when the lock is held: by a thread
    /// of the parent, or for longer than a moment by a thread of the child.
    #[inline]
    pub(crate) fn lock<T>(self, lock: &Lock<T>) -> Option<Guard<'_, T>> {
        match lock.try_lock() {
            Some(guard) => Some(guard),
            None => self.wait(lock),
        }
    }

    #[cold]
    fn wait<T>(self, lock: &Lock<T>) -> Option<Guard<'_, T>> {
        for waited in 1u32.. {
            Patience::relax();
            if !lock.is_locked()
                && let Some(guard) = lock.try_lock()
            {
                return Some(guard);
            }
            // Early, because a child may meet the same lock at every call, and then seldom.
            if (waited == 64 || waited.is_multiple_of(1024)) && sys::process_id() != self.0 {
                return None;
            }
        }
        None
    }
}

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

#[cfg(test)]
mod tests {
    use super::super::testing::{End, in_child};
    use super::*;

    #[test]
    #[cfg_attr(miri, ignore = "forks")]
    fn lock_held_at_fork_is_given_up_in_the_child_alone() {
        let (process, held, free) = (Process::current(), Lock::new(1), Lock::new(2));
        let guard = process.lock(&held).unwrap();
        let child = in_child(|| {
            assert!(process.lock(&held).is_none() && process.lock(&held).is_none());
            assert_eq!(process.lock(&free).map(|guard| *guard), Some(2));
            let (own, lock) = (Process::current(), Lock::new(3));
            assert_eq!(own.lock(&lock).map(|guard| *guard), Some(3));
            0
        });
        assert_eq!(child, End::Status(0));
        drop(guard);
        assert_eq!(process.lock(&held).map(|guard| *guard), Some(1));
    }
}
