//! Boxes whose value is leased to readers that outlive a borrow of the box, and the box itself.
//!
//! The reference count is split: the owner of the box counts the leases that it makes, and a lease counts itself
//! when it is dropped. Only the second takes an atomic read-modify-write operation, because making a lease borrows
//! the box mutably. When the owner is dropped, it subtracts the leases that it made: from then on the count is the
//! negative number of leases that exist, and the lease that brings it back to 0 frees the value.
//!
//! Row `cache hit by path` of the benchmark: one atomic operation less than `Arc`.
//!
//! Source: A. Williams, C++ Concurrency in Action, section 7.2.4 (split reference counts).
#![allow(unsafe_code)]

use alloc::boxed::Box;
use core::marker::PhantomData;
use core::ops::Deref;
use core::ptr::NonNull;
use core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};

#[cfg(not(all(test, loom)))]
use core::sync::atomic::AtomicI64;
#[cfg(all(test, loom))]
use loom::sync::atomic::AtomicI64;

use crate::alloc_util::{AllocError, try_box};

/// The counts and the start of the value share a cache line.
#[repr(C, align(64))]
struct Inner<T> {
    /// The leases that were made, written through the owner only. At one a nanosecond it overflows after 292
    /// years.
    made: AtomicI64,
    /// The leases that were dropped; after the owner was dropped, less the leases that were made.
    dropped: AtomicI64,
    value: T,
}

/// The owner of a value that can be leased.
pub(super) struct LeaseBox<T> {
    inner: NonNull<Inner<T>>,
    owns: PhantomData<Inner<T>>,
}

/// A reference to a value in a [`LeaseBox`], which neither moves, changes nor is dropped before the lease.
pub(super) struct Lease<T> {
    inner: NonNull<Inner<T>>,
    owns: PhantomData<Inner<T>>,
}

impl<T> LeaseBox<T> {
    pub(super) fn new(value: T) -> Result<Self, AllocError> {
        let inner = Inner { made: AtomicI64::new(0), dropped: AtomicI64::new(0), value };
        let inner = NonNull::from(Box::leak(try_box(inner)?));
        Ok(Self { inner, owns: PhantomData })
    }

    fn inner(&self) -> &Inner<T> {
        // SAFETY: `new` made the pointer from a box, which is not freed before the owner is dropped. A mutable
        // reference to the value comes from `get_mut` alone, which borrows `self` mutably.
        unsafe { self.inner.as_ref() }
    }

    pub(super) fn lease(&mut self) -> Lease<T> {
        let made = &self.inner().made;
        made.store(made.load(Relaxed) + 1, Relaxed);
        Lease { inner: self.inner, owns: PhantomData }
    }

    /// The value, if there is no lease.
    pub(super) fn get_mut(&mut self) -> Option<&mut T> {
        let Inner { made, dropped, .. } = self.inner();
        // Acquire: this thread observes the accesses through leases that were dropped.
        if dropped.load(Acquire) != made.load(Relaxed) {
            return None;
        }
        // SAFETY: the pointer is valid as in `inner`. All leases were dropped, and a new one needs a mutable borrow
        // of `self`, so the returned reference to the value is the only one.
        Some(unsafe { &mut (*self.inner.as_ptr()).value })
    }
}

impl<T> Drop for LeaseBox<T> {
    fn drop(&mut self) {
        let made = self.inner().made.load(Relaxed);
        // The owner, if it is the last, observes the accesses through all leases, and otherwise the last lease
        // observes those of the owner.
        if self.inner().dropped.fetch_sub(made, AcqRel) == made {
            // SAFETY: `new` made the pointer from a box. All leases were dropped, and so is the only owner.
            drop(unsafe { Box::from_raw(self.inner.as_ptr()) });
        }
    }
}

impl<T> Deref for LeaseBox<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.inner().value
    }
}

impl<T> Deref for Lease<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: the value is neither freed nor borrowed mutably before this lease is counted as dropped.
        unsafe { &self.inner.as_ref().value }
    }
}

impl<T> Drop for Lease<T> {
    fn drop(&mut self) {
        // SAFETY: as in `deref`, up to the addition.
        let dropped = unsafe { &self.inner.as_ref().dropped };
        // The owner that sees this count, or the last lease, observes the accesses through this one. While the owner
        // exists the sum is at least 1.
        if dropped.fetch_add(1, AcqRel) == -1 {
            // SAFETY: `LeaseBox::new` made the pointer from a box. The owner was dropped, as were all other leases:
            // the owner's part of the count is the negative number of all leases.
            drop(unsafe { Box::from_raw(self.inner.as_ptr()) });
        }
    }
}

// SAFETY: the box and its leases share the value between threads, and any thread may drop it.
unsafe impl<T: Send + Sync> Send for LeaseBox<T> {}

// SAFETY: a shared box gives access to a shared value only.
unsafe impl<T: Send + Sync> Sync for LeaseBox<T> {}

// SAFETY: as for the box: a lease shares the value, and the last one drops it.
unsafe impl<T: Send + Sync> Send for Lease<T> {}

// SAFETY: a shared lease gives access to a shared value only.
unsafe impl<T: Send + Sync> Sync for Lease<T> {}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use core::cell::Cell;
    use std::sync::Mutex;
    use std::thread;
    use std::vec::Vec;

    /// Counts how often it is dropped.
    struct DropCounter<'w>(&'w Cell<u32>);

    impl Drop for DropCounter<'_> {
        fn drop(&mut self) {
            self.0.set(self.0.get() + 1);
        }
    }

    #[test]
    fn leased_value_is_shared_and_dropped_once_by_the_last() {
        let drops = Cell::new(0);
        let mut owner = LeaseBox::new(DropCounter(&drops)).unwrap();
        assert!(owner.get_mut().is_some());
        let (first, second) = (owner.lease(), owner.lease());
        assert!(core::ptr::eq(&*owner, &*first) && owner.get_mut().is_none());
        drop(first);
        assert!(owner.get_mut().is_none());
        drop(second);
        assert!(owner.get_mut().is_some() && drops.get() == 0);
        drop(owner);
        assert_eq!(drops.get(), 1);
    }

    #[test]
    fn leases_outlive_the_box() {
        let drops = Cell::new(0);
        let mut owner = LeaseBox::new(DropCounter(&drops)).unwrap();
        drop(owner.lease());
        let (first, second) = (owner.lease(), owner.lease());
        drop(owner);
        assert!(core::ptr::eq(&*first, &*second));
        drop(first);
        assert_eq!(drops.get(), 0);
        drop(second);
        assert_eq!(drops.get(), 1);
    }

    #[test]
    fn owner_observes_what_was_done_through_leases_of_other_threads() {
        let shared = Mutex::new(LeaseBox::new(AtomicI64::new(0)).unwrap());
        let (threads, rounds) = (3, if cfg!(miri) { 20 } else { 10_000 });
        thread::scope(|scope| {
            let work = || {
                for _ in 0..rounds {
                    let lease = shared.lock().unwrap().lease();
                    lease.fetch_add(1, Relaxed);
                    drop(lease);
                    if let Some(sum) = shared.lock().unwrap().get_mut() {
                        assert!(*sum.get_mut() > 0);
                    }
                }
            };
            let started: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            started.into_iter().for_each(|thread| thread.join().unwrap());
        });
        let mut owner = shared.into_inner().unwrap();
        assert_eq!(owner.get_mut().map(|sum| *sum.get_mut()), Some(threads * rounds));
    }
}

#[cfg(all(test, loom))]
mod model {
    use super::*;
    use loom::cell::UnsafeCell;
    use loom::thread;

    struct Value(UnsafeCell<u32>);

    // SAFETY: loom reports unordered accesses.
    unsafe impl Sync for Value {}

    impl Drop for Value {
        fn drop(&mut self) {
            self.0.with(|value| {
                // SAFETY: as above.
                assert!(unsafe { *value } <= 1);
            });
        }
    }

    /// Writes through a lease, in another thread.
    fn write(lease: Lease<Value>) -> thread::JoinHandle<()> {
        thread::spawn(move || {
            lease.0.with_mut(|value| {
                // SAFETY: the owner accesses it only after this lease is dropped.
                unsafe { *value = 1 };
            });
        })
    }

    /// The owner that finds no lease, or else the thread that drops the value, observes what was written through a lease.
    #[test]
    fn writes_through_a_lease_are_observed_before_the_value_is_dropped() {
        loom::model(|| {
            let mut owner = LeaseBox::new(Value(UnsafeCell::new(0))).unwrap();
            let writer = write(owner.lease());
            if let Some(value) = owner.get_mut() {
                value.0.with(|value| {
                    // SAFETY: there is no lease.
                    assert_eq!(unsafe { *value }, 1);
                });
            }
            drop(owner);
            writer.join().unwrap();
        });
    }
}
