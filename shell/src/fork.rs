//! Locks in a child of `fork(2)`.
//!
//! A child has one thread: a copy of the thread that forked. State that other threads of the parent were changing at
//! that moment is copied in its locked state, and no thread of the child will unlock it. There are three kinds of
//! locks, each with one rule:
//!
//! | lock of | rule |
//! |---------|------|
//! | tables of the process: mappings, blocks, values, names ... | [`ProcessLock`]: the forking thread holds all of them, so that they are consistent and unlocked in the child |
//! | objects opened from C that have locks of their own: caches, loaders, instantiators, contexts | objects that no thread was using work in the child; the others are refused there for good. The handle tables and [`Users`] count the threads that use an object |
//! | state that code reaches without an export: executable memory, engines of bytecode | waiting for the lock fails in a child (`memory::lock` of the core) |
//!
//! Handlers of `pthread_atfork(3)` could hold only the locks of the first kind. Locks of objects are many and are held
//! while files are read. An operation on an object also spans several lock periods, between which functions of the
//! host run, and these may fork themselves: a handler that waited for the end of an operation could wait for ever. No
//! lock of the first kind is held while a function of the host runs, or while the thread waits for a lock that comes
//! earlier in [the list](handlers).
//!
//! Where no handler runs (`_Fork`, `vfork`, `clone(2)`), only the third kind recognises the child, by the process
//! identifier. `smf.h` documents this.
#![allow(unsafe_code)]
// Without the exports fewer parts use this module.
#![cfg_attr(not(all(feature = "c-api", feature = "jit")), allow(dead_code))]

use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

mod handlers;
#[cfg(feature = "host")]
pub(crate) mod system_loader;
#[cfg(test)]
pub(crate) mod tests;

/// The number of forks between the first process and this one.
static GENERATION: AtomicU32 = AtomicU32::new(0);

/// The generation of this process: larger than that of its parent, so that it differs in processes that share memory.
pub(crate) fn generation() -> u32 {
    GENERATION.load(Ordering::Relaxed)
}

/// A lock that the forking thread holds during the fork.
pub(crate) trait HeldAtFork: Sync {
    /// Takes the lock and stores its guard.
    fn hold(&'static self);

    /// Releases the lock.
    ///
    /// # Safety
    /// This thread holds the lock, or is the child's copy of the thread that does.
    unsafe fn release(&'static self);
}

/// The lock of a table of the process. Each must be on [the list](handlers).
pub(crate) struct ProcessLock<T: 'static> {
    lock: RwLock<T>,
    /// The guard of the forking thread. Only the holder of the lock accesses it.
    held: UnsafeCell<Option<ProcessGuard<T>>>,
}

pub(crate) type ProcessGuard<T> = RwLockWriteGuard<'static, T>;

// SAFETY: a lock, and a cell that only its exclusive holder accesses. The guard never moves to another thread.
unsafe impl<T: Send + Sync> Sync for ProcessLock<T> {}

impl<T> ProcessLock<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self { lock: RwLock::new(value), held: UnsafeCell::new(None) }
    }

    /// Locks for reading. Readers do not exclude each other.
    pub(crate) fn read(&'static self) -> RwLockReadGuard<'static, T> {
        handlers::register();
        // No thread panics while it holds one of these locks, or leaves a change half done.
        self.lock.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn lock(&'static self) -> ProcessGuard<T> {
        handlers::register();
        self.lock.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> ProcessLock<T> {
    /// Keeps the lock, whose guard this is, during the fork.
    pub(crate) fn keep(&'static self, guard: ProcessGuard<T>) {
        // SAFETY: this thread alone has the lock.
        unsafe { *self.held.get() = Some(guard) };
    }
}

impl<T: Send + Sync> HeldAtFork for ProcessLock<T> {
    fn hold(&'static self) {
        self.keep(self.lock());
    }

    unsafe fn release(&'static self) {
        // SAFETY: the caller guarantees that this thread holds the lock, which is released when the guard is dropped.
        let guard = unsafe { (*self.held.get()).take() };
        drop(guard);
    }
}

/// Counts the threads that use an object which has locks of its own.
///
/// The upper half of the word is the [generation] in which a thread was counted last, the lower half the number of
/// threads. A child finds an older generation: threads counted in it may not exist in the child.
pub(crate) struct Users(AtomicU64);

/// A counted thread. Dropping it ends the count.
pub(crate) struct User<'u>(&'u Users);

impl Default for Users {
    fn default() -> Self {
        Self(AtomicU64::new(u64::from(generation()) << 32))
    }
}

impl Users {
    /// Counts this thread; `None` if another thread used the object when this process was forked.
    pub(crate) fn enter(&self) -> Option<User<'_>> {
        handlers::register();
        let present = u64::from(generation());
        let counted = self.0.fetch_update(Ordering::Acquire, Ordering::Relaxed, |word| {
            let is_first = word as u32 == 0;
            if word >> 32 == present {
                Some(word + 1)
            } else {
                is_first.then_some(present << 32 | 1)
            }
        });
        counted.is_ok().then(|| User(self))
    }
}

impl Drop for User<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Release);
    }
}
