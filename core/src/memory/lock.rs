//! Spin locks that yield, and that a forked child does not wait for forever.
//!
//! Most critical sections take nanoseconds, so a waiting thread spins before it calls the kernel. It then yields: if there
//! are more threads than cores, the holder may need this core.
//!
//! A child of `fork(2)` has a copy of every lock but not of the threads that held one. A lock that a child may inherit
//! is taken by [`ProcessId::lock`], which fails in the child if the lock is held.

use core::hint;
use core::time::Duration;

use spin::mutex::{SpinMutex, SpinMutexGuard};
use spin::relax::RelaxStrategy;

use super::sys;

/// A spin lock that yields.
pub(crate) type Lock<T> = SpinMutex<T, SpinThenYield>;

/// The guard of a [`Lock`].
pub(crate) type LockGuard<'a, T> = SpinMutexGuard<'a, T, SpinThenYield>;

/// The process that created a lock.
///
/// The process identifier distinguishes a child without `pthread_atfork(3)`, so children of `clone(2)`, for which no
/// handler runs, are recognised as well. Only a waiting thread asks for it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ProcessId(i32);

impl ProcessId {
    /// The calling process.
    pub(crate) fn current() -> Self {
        Self(sys::process_id())
    }

    /// Whether this is the calling process.
    pub(crate) fn is_current(self) -> bool {
        sys::process_id() == self.0
    }

    /// Takes a lock that this process created. `None` in a child process if the lock is held: by a thread of the
    /// parent, or for longer than a moment by a thread of the child.
    #[inline]
    pub(crate) fn lock<T>(self, lock: &Lock<T>) -> Option<LockGuard<'_, T>> {
        match lock.try_lock() {
            Some(guard) => Some(guard),
            None => self.wait(lock),
        }
    }

    #[cold]
    fn wait<T>(self, lock: &Lock<T>) -> Option<LockGuard<'_, T>> {
        for waited in 1u32.. {
            SpinThenYield::relax();
            if !lock.is_locked()
                && let Some(guard) = lock.try_lock()
            {
                return Some(guard);
            }
            // Checked early, because a child may try the same lock at every call, and then rarely.
            if (waited == 64 || waited.is_multiple_of(1024)) && !self.is_current() {
                return None;
            }
        }
        None
    }
}

/// Repeats `attempt` until it returns a value, which may take long, such as a compilation. The thread spins at first, and
/// then sleeps, up to 100 microseconds at a time, so that it leaves the core to other threads.
pub(crate) fn wait_long<T>(mut attempt: impl FnMut() -> Option<T>) -> T {
    let (mut spins, mut pause) = (0..100, Duration::from_micros(1));
    loop {
        if let Some(done) = attempt() {
            return done;
        }
        if spins.next().is_some() {
            SpinThenYield::relax();
        } else {
            sys::sleep(pause);
            pause = (pause * 2).min(Duration::from_micros(100));
        }
    }
}

/// Spins for about as long as a critical section takes, then yields. A pause takes up to 140 cycles (Intel 64 and IA-32
/// Architectures Optimization Reference Manual, Skylake microarchitecture).
pub(crate) struct SpinThenYield;

impl RelaxStrategy for SpinThenYield {
    #[inline]
    fn relax() {
        for _ in 0..2 {
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
    fn lock_held_at_fork_is_refused_in_the_child_only() {
        let (process, held, free) = (ProcessId::current(), Lock::new(1), Lock::new(2));
        let guard = process.lock(&held).unwrap();
        let child = in_child(|| {
            assert!(process.lock(&held).is_none() && process.lock(&held).is_none());
            assert_eq!(process.lock(&free).map(|guard| *guard), Some(2));
            let (own, lock) = (ProcessId::current(), Lock::new(3));
            assert_eq!(own.lock(&lock).map(|guard| *guard), Some(3));
            0
        });
        assert_eq!(child, End::Status(0));
        drop(guard);
        assert_eq!(process.lock(&held).map(|guard| *guard), Some(1));
    }
}
