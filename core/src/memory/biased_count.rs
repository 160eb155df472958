//! A count of uses in progress, of which one thread counts its own without an atomic read-modify-write operation.
//!
//! The first thread that uses an object becomes the owner of its count and increments a word that no other thread
//! writes. Other threads count in a shared word. A reader of the count makes every thread of the process execute a full
//! barrier (`membarrier(2)`) before it reads the owner's word.
//!
//! Orderings. The owner writes its word, then reads what the object leads to; a reader changes what the object leads to,
//! then reads the word. With the barrier in between, a reader that finds 0 has an owner that has left, or that observes
//! the change. Without that system call no thread becomes the owner. The first reader that needs it registers the
//! process for it, which takes milliseconds in a process with threads; owners only ask whether the kernel has it.
//!
//! A thread is identified by a number that no other live thread has. When the owner ends, the thread that gets the same
//! number next is the owner.
//!
//! Sources: M. Desnoyers et al., User-level implementations of read-copy update (2012), for the barrier; D. Dice et al.,
//! Quickly reacquirable locks (2003), for the bias.

use core::marker::PhantomData;
use core::sync::atomic::{AtomicUsize, Ordering, compiler_fence};

use super::sys;

/// No thread has become the owner.
const NO_OWNER: usize = 0;

/// No thread can become the owner.
const UNAVAILABLE: usize = usize::MAX;

/// A count of uses in progress.
#[derive(Debug, Default)]
pub struct BiasedCount {
    /// The number of the thread that counts in `own`, or one of the constants above.
    owner: AtomicUsize,
    /// Written by the owner alone.
    own: AtomicUsize,
    shared: AtomicUsize,
}

/// A use, which ends when this is dropped, on the thread that began it.
#[derive(Debug)]
#[must_use = "the use ends when this is dropped"]
pub struct Use<'c> {
    word: &'c AtomicUsize,
    is_own: bool,
    /// Not `Send`.
    of_thread: PhantomData<*const ()>,
}

impl BiasedCount {
    /// A count of 0 without an owner.
    pub const fn new() -> Self {
        let [owner, own, shared] = [const { AtomicUsize::new(0) }; 3];
        Self { owner, own, shared }
    }

    /// Starts a use by the thread with this number, which no other live thread has; 0 for a thread without one.
    #[inline]
    pub fn enter(&self, thread: usize) -> Use<'_> {
        if thread == self.owner.load(Ordering::Relaxed) && thread != NO_OWNER {
            self.own.store(self.own.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
            // The processor's order is that of the reader's barrier.
            compiler_fence(Ordering::SeqCst);
            return Use { word: &self.own, is_own: true, of_thread: PhantomData };
        }
        self.enter_shared(thread)
    }

    #[inline(never)]
    fn enter_shared(&self, thread: usize) -> Use<'_> {
        if thread != NO_OWNER && self.owner.load(Ordering::Relaxed) == NO_OWNER {
            let has_barrier = sys::has_barrier().unwrap_or(false);
            let owner = if has_barrier { thread } else { UNAVAILABLE };
            // On failure another thread is the owner.
            let (new, old) = (Ordering::SeqCst, Ordering::Relaxed);
            let _ = self.owner.compare_exchange(NO_OWNER, owner, new, old);
        }
        // This use is counted here in any case: readers may have found no owner.
        self.shared.fetch_add(1, Ordering::SeqCst);
        Use { word: &self.shared, is_own: false, of_thread: PhantomData }
    }

    /// The number of uses in progress, for the thread with this number. A use that starts meanwhile observes what the
    /// caller has written before. Not 0 if the system refuses the barrier that another thread's uses need.
    pub fn uses(&self, thread: usize) -> usize {
        let shared = self.shared.load(Ordering::SeqCst);
        let owner = self.owner.load(Ordering::SeqCst);
        let is_known = owner == NO_OWNER || owner == UNAVAILABLE || owner == thread;
        if !is_known && sys::barrier().is_err() {
            return usize::MAX;
        }
        shared.saturating_add(self.own.load(Ordering::Acquire))
    }

    /// The count as the only thread of a child process finds it after `fork(2)`.
    pub fn uses_in_child(&self) -> usize {
        let [own, shared] = [&self.own, &self.shared].map(|word| word.load(Ordering::Relaxed));
        shared.saturating_add(own)
    }

    /// Sets the count to 0 in the only thread of a child process, for an object that no thread uses.
    pub fn reset_in_child(&self) {
        for word in [&self.own, &self.shared] {
            word.store(0, Ordering::Relaxed);
        }
    }
}

impl Drop for Use<'_> {
    #[inline]
    fn drop(&mut self) {
        if self.is_own {
            self.word.store(self.word.load(Ordering::Relaxed).wrapping_sub(1), Ordering::Release);
        } else {
            self.word.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicBool, AtomicUsize};
    use std::vec::Vec;

    use rustix::io::Errno;

    use super::super::fault_injection::{Call, inject};
    use super::*;

    #[test]
    fn uses_of_the_owner_and_of_other_threads_are_counted() {
        let count = BiasedCount::new();
        assert_eq!(count.uses(1), 0);
        // The first use makes the thread the owner, and is counted as others are.
        let first = count.enter(1);
        assert_eq!((first.is_own, count.uses(1), count.uses(2)), (false, 1, 1));
        let (second, third, fourth) = (count.enter(1), count.enter(2), count.enter(0));
        assert_eq!([&second, &third, &fourth].map(|u| u.is_own), [!cfg!(miri), false, false]);
        assert_eq!((count.uses(1), count.uses(2), count.uses(0)), (4, 4, 4));
        let nested = count.enter(1);
        assert_eq!(count.uses_in_child(), 5);
        drop((second, first, third, fourth));
        assert_eq!(count.uses(2), 1);
        drop(nested);
        assert_eq!(count.uses(2), 0);
    }

    #[test]
    #[cfg_attr(miri, ignore = "the shim refuses the barrier")]
    fn without_the_barrier_no_thread_is_the_owner_and_uses_of_an_owner_are_assumed() {
        let count = BiasedCount::new();
        {
            let _fault = inject(Call::QueryBarrier, 0, Errno::NOSYS);
            drop(count.enter(1));
        }
        assert!(!count.enter(1).is_own);
        assert_eq!(count.uses(2), 0);
        let owned = BiasedCount::new();
        drop(owned.enter(1));
        let _fault = inject(Call::Barrier, 0, Errno::NOSYS);
        assert_eq!((owned.uses(1), owned.uses(2)), (0, usize::MAX));
    }

    /// The owner reads a word that another thread frees: never after it has been freed.
    #[test]
    #[cfg_attr(miri, ignore = "the shim refuses the barrier")]
    fn what_is_unlinked_is_not_used_after_the_count_was_0() {
        const ROUNDS: usize = 2000;
        let cells: Vec<AtomicBool> = (0..ROUNDS).map(|_| AtomicBool::new(true)).collect();
        let (count, current) = (BiasedCount::new(), AtomicUsize::new(0));
        let start = Barrier::new(3);
        std::thread::scope(|scope| {
            for thread in [1, 2] {
                let (count, current, cells, start) = (&count, &current, &cells, &start);
                scope.spawn(move || {
                    drop(count.enter(thread));
                    start.wait();
                    loop {
                        let used = count.enter(thread);
                        let at = current.load(Ordering::SeqCst);
                        assert!(cells[at].load(Ordering::Relaxed), "{at} is freed");
                        drop(used);
                        if at == ROUNDS - 1 {
                            break;
                        }
                    }
                });
            }
            start.wait();
            for round in 1..ROUNDS {
                current.store(round, Ordering::SeqCst);
                while count.uses(3) != 0 {
                    std::thread::yield_now();
                }
                cells[round - 1].store(false, Ordering::Relaxed);
            }
        });
    }
}
