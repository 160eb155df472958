//! Boxes and reference-counted values whose allocation can fail.
//!
//! [`TryArc`] is `Arc` without weak references. [`UninitArc`] is memory allocated in advance, for code
//! between whose steps no allocation may fail.
//!
//! Sources: the contracts of `Box::from_raw` and of `alloc::sync::Arc`.
#![allow(unsafe_code)]

use alloc::{alloc::alloc, boxed::Box};
use core::hash::{Hash, Hasher};
use core::mem::{ManuallyDrop, MaybeUninit};
use core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};
use core::{alloc::Layout, fmt, marker::PhantomData, ops::Deref, ptr::NonNull};

#[cfg(not(all(test, loom)))]
use core::sync::atomic::AtomicUsize;
#[cfg(all(test, loom))]
use loom::sync::atomic::AtomicUsize;

use super::error::AllocError;

/// Allocates a box for a value that is not initialised yet.
fn try_uninit_box<T>() -> Result<Box<MaybeUninit<T>>, AllocError> {
    let layout = Layout::new::<T>();
    let start = if layout.size() == 0 {
        NonNull::dangling()
    } else {
        // SAFETY: the size is not 0.
        let start = unsafe { alloc(layout) };
        NonNull::new(start.cast()).ok_or(AllocError)?
    };
    // SAFETY: memory of the global allocator with the layout of `MaybeUninit<T>`, or a dangling pointer for
    // a type without bytes; no other owner exists.
    Ok(unsafe { Box::from_raw(start.as_ptr()) })
}

/// Fallible `Box::new`.
///
/// # Errors
/// [`AllocError`].
pub fn try_box<T>(value: T) -> Result<Box<T>, AllocError> {
    Ok(Box::write(try_uninit_box()?, value))
}

/// A reference-counted pointer: `Arc` with a fallible constructor and without weak references.
pub struct TryArc<T: ?Sized> {
    inner: NonNull<Inner<T>>,
    owns: PhantomData<Inner<T>>,
}

/// In the order of declaration, so that the place of a slice is known before there is a reference to it.
#[repr(C)]
struct Inner<T: ?Sized> {
    strong: AtomicUsize,
    value: T,
}

/// Memory for the value of a [`TryArc`], allocated in advance.
pub struct UninitArc<T>(Box<MaybeUninit<Inner<T>>>);

impl<T> UninitArc<T> {
    /// Allocates memory for one value.
    ///
    /// # Errors
    /// [`AllocError`].
    pub fn new() -> Result<Self, AllocError> {
        try_uninit_box().map(Self)
    }

    /// Initialises the memory with `value`.
    pub fn fill(self, value: T) -> TryArc<T> {
        let inner = Box::write(self.0, Inner { strong: AtomicUsize::new(1), value });
        TryArc { inner: NonNull::from(Box::leak(inner)), owns: PhantomData }
    }
}

impl<T> TryArc<T> {
    /// Fallible `Arc::new`.
    ///
    /// # Errors
    /// [`AllocError`].
    pub fn new(value: T) -> Result<Self, AllocError> {
        Ok(UninitArc::new()?.fill(value))
    }
}

impl<T: Copy> TryArc<[T]> {
    /// A slice of `len` values, which shares one allocation with its count.
    ///
    /// # Errors
    /// [`AllocError`].
    pub fn from_fn(len: usize, mut value: impl FnMut(usize) -> T) -> Result<Self, AllocError> {
        let values = Layout::array::<T>(len).map_err(|_| AllocError)?;
        let layout = Layout::new::<AtomicUsize>().extend(values);
        let (layout, offset) = layout.map_err(|_| AllocError)?;
        // SAFETY: the count has a size above 0.
        let start = unsafe { alloc(layout.pad_to_align()) };
        let start = NonNull::new(start).ok_or(AllocError)?;
        let strong = start.cast::<AtomicUsize>();
        // SAFETY: the count is the first field.
        unsafe { strong.write(AtomicUsize::new(1)) };
        // SAFETY: the slice is the second field, inside of the allocation.
        let values = unsafe { start.add(offset) }.cast::<T>();
        for index in 0..len {
            // SAFETY: one of the `len` values of the slice.
            let place = unsafe { values.add(index) };
            // SAFETY: as above.
            unsafe { place.write(value(index)) };
        }
        let whole = core::ptr::slice_from_raw_parts_mut(start.as_ptr().cast::<T>(), len);
        // The length of the slice is that of the whole, whose address is that of the allocation.
        let inner = NonNull::new(whole as *mut Inner<[T]>).ok_or(AllocError)?;
        Ok(Self { inner, owns: PhantomData })
    }
}

impl<T: AsRef<[u8]> + Send + Sync + 'static> TryArc<T> {
    /// Erases the type of the value, of which only the bytes stay accessible.
    pub(crate) fn into_bytes(self) -> TryArc<dyn AsRef<[u8]> + Send + Sync> {
        let inner: NonNull<Inner<dyn AsRef<[u8]> + Send + Sync>> = ManuallyDrop::new(self).inner;
        TryArc { inner, owns: PhantomData }
    }
}

#[cfg(feature = "kernel")]
impl<T: Send + Sync + 'static> TryArc<T> {
    /// Erases the type of the value, of which only the lifetime matters from now on.
    pub(crate) fn into_any(self) -> TryArc<dyn Send + Sync> {
        let inner: NonNull<Inner<dyn Send + Sync>> = ManuallyDrop::new(self).inner;
        TryArc { inner, owns: PhantomData }
    }
}

impl<T: ?Sized> TryArc<T> {
    fn inner(&self) -> &Inner<T> {
        // SAFETY: `UninitArc::fill` made the pointer from a box, which the last owner frees; `self` is an
        // owner.
        unsafe { self.inner.as_ref() }
    }

    /// Whether both point to the same value.
    pub(crate) fn ptr_eq(&self, other: &Self) -> bool {
        core::ptr::addr_eq(self.inner.as_ptr(), other.inner.as_ptr())
    }

    /// The value, if this is its only owner.
    pub fn get_mut(&mut self) -> Option<&mut T> {
        // Acquire: this thread observes the accesses of owners that were dropped.
        if self.inner().strong.load(Acquire) != 1 {
            return None;
        }
        // SAFETY: as in `inner`; this is the only owner and it is borrowed mutably, so there is no other
        // reference and no new owner can appear.
        Some(unsafe { &mut self.inner.as_mut().value })
    }
}

impl<T: ?Sized> Clone for TryArc<T> {
    fn clone(&self) -> Self {
        let strong = &self.inner().strong;
        // Owners leaked by `mem::forget` could overflow the count. Above half of its range, the count is set
        // back so that it never reaches zero: the value is leaked.
        if strong.fetch_add(1, Relaxed) > usize::MAX / 2 {
            strong.store(usize::MAX / 4 * 3, Relaxed);
        }
        Self { inner: self.inner, owns: PhantomData }
    }
}

impl<T: ?Sized> Drop for TryArc<T> {
    fn drop(&mut self) {
        // The last owner observes the accesses of all others.
        if self.inner().strong.fetch_sub(1, AcqRel) == 1 {
            // SAFETY: as in `inner`, and no other owner is left.
            drop(unsafe { Box::from_raw(self.inner.as_ptr()) });
        }
    }
}

impl<T: ?Sized> Deref for TryArc<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.inner().value
    }
}

impl<T: ?Sized + PartialEq> PartialEq for TryArc<T> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl<T: ?Sized + Eq> Eq for TryArc<T> {}

impl<T: ?Sized + Hash> Hash for TryArc<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (**self).hash(state);
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for TryArc<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

// SAFETY: owners share the value, and any of them may drop it; the count is atomic.
unsafe impl<T: ?Sized + Send + Sync> Send for TryArc<T> {}

// SAFETY: as above; a reference to an owner can be cloned into another owner.
unsafe impl<T: ?Sized + Send + Sync> Sync for TryArc<T> {}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {

    use super::*;
    use core::cell::Cell;
    use std::sync::atomic::AtomicU32;

    /// Counts how often it is dropped.
    struct DropCounter<'w>(&'w Cell<u32>);

    impl Drop for DropCounter<'_> {
        fn drop(&mut self) {
            self.0.set(self.0.get() + 1);
        }
    }

    #[test]
    fn try_arc_value_is_dropped_once_by_the_last_owner() {
        let drops = Cell::new(0);
        let mut first = TryArc::new(DropCounter(&drops)).unwrap();
        assert!(first.get_mut().is_some());
        let second = first.clone();
        assert!(first.get_mut().is_none() && first.ptr_eq(&second));
        drop(first);
        assert_eq!(drops.get(), 0);
        drop(second);
        assert_eq!(drops.get(), 1);
        drop(UninitArc::<DropCounter<'_>>::new().unwrap());
        drop(try_box(DropCounter(&drops)).unwrap());
        assert_eq!(drops.get(), 2);
    }

    #[test]
    fn zero_sized_values_can_be_boxed_and_shared() {
        assert_eq!(*try_box(()).unwrap(), ());
        let unit = TryArc::new(()).unwrap();
        assert_eq!(*unit.clone(), ());
    }

    #[test]
    fn try_arc_count_near_overflow_leaks_the_value() {
        let drops = Cell::new(0);
        let value = TryArc::new(DropCounter(&drops)).unwrap();
        value.inner().strong.store(usize::MAX - 1, Relaxed);
        (0..10).for_each(|_| drop(value.clone()));
        assert!(value.inner().strong.load(Relaxed) > usize::MAX / 2);
        value.inner().strong.store(1, Relaxed);
        drop(value);
        assert_eq!(drops.get(), 1);
    }

    #[test]
    fn bytes_are_readable_after_type_erasure() {
        let owner = TryArc::new(std::vec![1u8, 2]).unwrap().into_bytes();
        assert_eq!((*owner.clone()).as_ref(), [1, 2]);
    }

    #[test]
    fn try_arc_of_a_slice_has_the_values_and_one_allocation() {
        let values = TryArc::<[u32]>::from_fn(5, |index| index as u32 * 3).unwrap();
        let other = values.clone();
        assert!(other.ptr_eq(&values));
        drop(values);
        assert_eq!(*other, [0, 3, 6, 9, 12]);
        let odd = TryArc::<[u8]>::from_fn(3, |index| b"abc"[index]).unwrap();
        assert_eq!((&*odd, odd.len()), (&b"abc"[..], 3));
        assert!(TryArc::<[u8]>::from_fn(0, |_| 0).unwrap().is_empty());
        assert!(TryArc::<[u64]>::from_fn(usize::MAX, |_| 0).is_err());
    }

    #[test]
    fn try_arc_is_shared_by_threads() {
        let value = TryArc::new(AtomicU32::new(0)).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                let value = value.clone();
                scope.spawn(move || {
                    (0..100).for_each(|_| _ = value.clone().fetch_add(1, Relaxed));
                });
            }
        });
        assert_eq!(value.load(Relaxed), 400);
    }
}

#[cfg(all(test, loom))]
mod model {
    use super::*;
    use loom::cell::UnsafeCell;
    use loom::thread;

    /// The thread that drops the value, or that finds itself its only owner, observes earlier writes.
    #[test]
    fn last_owner_observes_writes_of_dropped_owners() {
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
        loom::model(|| {
            let mut mine = TryArc::new(Value(UnsafeCell::new(0))).unwrap();
            let other = mine.clone();
            let thread = thread::spawn(move || {
                other.0.with_mut(|value| {
                    // SAFETY: the other thread accesses it only after this owner is dropped.
                    unsafe { *value = 1 };
                });
                drop(other);
            });
            if let Some(value) = mine.get_mut() {
                value.0.with(|value| {
                    // SAFETY: the only owner.
                    assert_eq!(unsafe { *value }, 1);
                });
            }
            drop(mine);
            thread.join().unwrap();
        });
    }
}
