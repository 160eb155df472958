//! What callers give the core to keep and to share: in an `Arc`, which they may have part in, or in a box, which
//! can be made where memory may be refused.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::ops::Deref;

use super::{AllocError, TryArc};

/// A value with many owners, however it came. Clones are the same one.
pub(crate) enum Shared<T: ?Sized> {
    Arc(Arc<T>),
    TryArc(TryArc<Box<T>>),
}

impl<T: ?Sized> Shared<T> {
    /// Shares what is in a box.
    #[cold]
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

    struct Witness<'w>(&'w AtomicU32);

    impl Drop for Witness<'_> {
        fn drop(&mut self) {
            self.0.fetch_add(1, Relaxed);
        }
    }

    #[test]
    fn both_kinds_are_one_value_that_the_last_owner_drops() {
        let drops = AtomicU32::new(0);
        let boxed = Shared::of(Box::new(Witness(&drops))).unwrap();
        for (number, shared) in (1..).zip([Shared::Arc(Arc::new(Witness(&drops))), boxed]) {
            let clone = shared.clone();
            assert!(core::ptr::eq(&raw const *shared, &raw const *clone));
            drop(shared);
            assert_eq!((drops.load(Relaxed), clone.0.load(Relaxed)), (number - 1, number - 1));
            drop(clone);
            assert_eq!(drops.load(Relaxed), number);
        }
    }
}
