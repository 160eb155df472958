//! What a child of `fork(2)` inherits from the threads of its parent.
//!
//! A child has one thread, the one that forked, and a copy of everything that the other threads of its parent were
//! changing at that moment, locked as it was. No thread of the child will unlock it. There are three kinds of locks,
//! and each has one rule:
//!
//! | lock of | rule |
//! |---------|------|
//! | tables of the process: mappings, blocks, values, names ... | [`ProcessLock`]: the thread that forks holds all of them, so that they are whole and free in the child |
//! | objects that C has opened and that have locks of their own: caches, loaders, instantiators, contexts | those that no thread was using work in the child; the others are refused there, for ever. The tables of seats and [`Users`] count the threads that use an object |
//! | what code reaches without an export: executable memory, engines of bytecode | waiting for the lock gives up in a child (`memory::lock` of the core) |
//!
//! Only the first could have been done for all with handlers of `pthread_atfork(3)`. But locks of objects are many,
//! are held while files are read, and work on an object goes on between them while functions of the host run, which
//! may fork themselves: a handler that waits for that may wait for ever. No lock of the first kind is held while a
//! function of the host runs, or while another lock is waited for that comes earlier in [the list](handlers).
//!
//! Where no handler runs (`_Fork`, `vfork`, `clone(2)`), only the third kind recognises the child, by the process identifier.
//! `smf.h` says so.
#![allow(unsafe_code)]
// Without the exports there is less that needs it.
#![cfg_attr(not(all(feature = "c-api", feature = "jit")), allow(dead_code))]

use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

mod handlers;
#[cfg(test)]
pub(crate) mod tests;

/// How many forks there were between the first process and this one.
static GENERATION: AtomicU32 = AtomicU32::new(0);

/// A number that another process of the same memory does not have: the parent's is smaller.
pub(crate) fn generation() -> u32 {
    GENERATION.load(Ordering::Relaxed)
}

/// A lock that the thread which forks holds meanwhile.
pub(crate) trait HeldAtFork: Sync {
    /// Takes the lock, and keeps it.
    fn hold(&'static self);

    /// Lets go of it.
    ///
    /// # Safety
    /// This thread holds it, or did before it became that of the child.
    unsafe fn release(&'static self);
}

/// The lock of a table of the process. It must be on [the list](handlers).
pub(crate) struct ProcessLock<T: 'static> {
    lock: RwLock<T>,
    /// The guard of the thread that forks. Only the holder of the lock touches it.
    held: UnsafeCell<Option<ProcessGuard<T>>>,
}

pub(crate) type ProcessGuard<T> = RwLockWriteGuard<'static, T>;

// SAFETY: a lock, and a place that only its exclusive holder touches. The guard never moves to another thread.
unsafe impl<T: Send + Sync> Sync for ProcessLock<T> {}

impl<T> ProcessLock<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self { lock: RwLock::new(value), held: UnsafeCell::new(None) }
    }

    /// For threads that only read, which do not exclude each other.
    pub(crate) fn read(&'static self) -> RwLockReadGuard<'static, T> {
        handlers::register();
        // Nothing panics while it holds one of these locks, or leaves behind half of a change.
        self.lock.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn lock(&'static self) -> ProcessGuard<T> {
        handlers::register();
        self.lock.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Send + Sync> HeldAtFork for ProcessLock<T> {
    fn hold(&'static self) {
        let guard = self.lock();
        // SAFETY: this thread alone has the lock.
        unsafe { *self.held.get() = Some(guard) };
    }

    unsafe fn release(&'static self) {
        // SAFETY: this thread has the lock, says the caller, until what is taken is dropped.
        let guard = unsafe { (*self.held.get()).take() };
        drop(guard);
    }
}

/// Counts the threads that use an object which has locks of its own.
///
/// The upper half of the word is the [generation] in which a thread was counted last, the lower half the number of
/// threads. A child finds an older generation: a thread that is counted then may be one that the child does not have.
pub(crate) struct Users(AtomicU64);

/// A thread that is counted, until this is dropped.
pub(crate) struct User<'u>(&'u Users);

impl Default for Users {
    fn default() -> Self {
        Self(AtomicU64::new(u64::from(generation()) << 32))
    }
}

impl Users {
    /// Counts this thread; `None` when another one used the object at the fork of this process.
    pub(crate) fn enter(&self) -> Option<User<'_>> {
        self.begin().then(|| User(self))
    }

    /// As [`enter`](Self::enter), without a guard: the caller calls [`end`](Self::end) if the result is true.
    pub(crate) fn begin(&self) -> bool {
        handlers::register();
        let present = u64::from(generation());
        let counted = self.0.fetch_update(Ordering::Acquire, Ordering::Relaxed, |word| {
            if word >> 32 == present { Some(word + 1) } else { Self::first_of(present, word) }
        });
        counted.is_ok()
    }

    #[cold]
    fn first_of(generation: u64, word: u64) -> Option<u64> {
        (word & u64::from(u32::MAX) == 0).then_some(generation << 32 | 1)
    }

    /// Counts this thread no longer. It was counted by [`begin`](Self::begin).
    pub(crate) fn end(&self) {
        self.0.fetch_sub(1, Ordering::Release);
    }
}

impl Drop for User<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}
