//! Values shared with a caller: in an `Arc` that the caller also holds, or in a box whose allocation may fail.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::ops::Deref;

use super::error::AllocError;
use super::smart_ptr::TryArc;

/// A reference-counted value of either origin.
pub(crate) enum Shared<T: ?Sized> {
    Arc(Arc<T>),
    TryArc(TryArc<Box<T>>),
}

impl<T: ?Sized> Shared<T> {
    /// Shares the value of a box.
    pub(crate) fn of(value: Box<T>) -> Result<Self, AllocError> {
        TryArc::new(value).map(Self::TryArc)
    }
}

impl<T: ?Sized> Clone for Shared<T> {
    fn clone(&self) -> Self {
        match self {
            Self::Arc(value) => Self::Arc(value.clone()),
            Self::TryArc(value) => Self::TryArc(value.clone()),
        }
    }
}

impl<T: ?Sized> Deref for Shared<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        match self {
            Self::Arc(value) => value,
            Self::TryArc(value) => value,
        }
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;
    use core::sync::atomic::AtomicU32;
    use core::sync::atomic::Ordering::Relaxed;

    /// Counts how often it is dropped.
    struct DropCounter<'w>(&'w AtomicU32);

    impl Drop for DropCounter<'_> {
        fn drop(&mut self) {
            self.0.fetch_add(1, Relaxed);
        }
    }

    #[test]
    fn shared_value_is_dropped_once_by_the_last_owner() {
        let drops = AtomicU32::new(0);
        let boxed = Shared::of(Box::new(DropCounter(&drops))).unwrap();
        for (number, shared) in (1..).zip([Shared::Arc(Arc::new(DropCounter(&drops))), boxed]) {
            let clone = shared.clone();
            assert!(core::ptr::eq(&raw const *shared, &raw const *clone));
            drop(shared);
            assert_eq!((drops.load(Relaxed), clone.0.load(Relaxed)), (number - 1, number - 1));
            drop(clone);
            assert_eq!(drops.load(Relaxed), number);
        }
    }
}
