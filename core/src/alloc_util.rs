//! Memory that may be refused: boxes, copies, and values with many owners.
//!
//! `Box` and `Arc` of a stable compiler can only be made in ways that end the process when there is no
//! memory. What is made here is an error then, [`AllocError`], and nothing has happened. [`TryArc`] is
//! `Arc` without its weak half. [`UninitArc`] is memory that is there already, for steps that may not fail
//! half-way.
//!
//! Sources: the contract of `Box::from_raw`, and of `alloc::sync::Arc` for the order in which owners see
//! each other's writes.
#![allow(unsafe_code)]
#![cfg_attr(not(feature = "kernel"), allow(dead_code, reason = "rooms without a kernel use less"))]

use alloc::alloc::alloc;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::alloc::Layout;
use core::fmt;
use core::marker::PhantomData;
use core::mem::{ManuallyDrop, MaybeUninit};
use core::ops::Deref;
use core::ptr::NonNull;

#[cfg(feature = "kernel")]
use hashbrown::HashTable;

#[cfg(not(all(test, loom)))]
use core::sync::atomic::AtomicUsize;
use core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};
#[cfg(all(test, loom))]
use loom::sync::atomic::AtomicUsize;

#[cfg(feature = "kernel")]
mod shared;
pub mod sort;

#[cfg(feature = "kernel")]
pub(crate) use shared::Shared;

/// The allocator refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AllocError;

impl fmt::Display for AllocError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the allocator has no memory left")
    }
}

impl core::error::Error for AllocError {}

/// What somebody who is told of code wants to have kept as long as that is there, if anything.
pub type AttachResult = Result<Option<Box<dyn Send + Sync>>, AllocError>;

/// A box for a value to come.
pub(crate) fn try_uninit_box<T>() -> Result<Box<MaybeUninit<T>>, AllocError> {
    let layout = Layout::new::<T>();
    let start = if layout.size() == 0 {
        NonNull::dangling()
    } else {
        // SAFETY: the size is not 0.
        let start = unsafe { alloc(layout) };
        NonNull::new(start.cast()).ok_or(AllocError)?
    };
    // SAFETY: memory of the global allocator with the layout of the value, which is that of the value that
    // may be missing, or none for none; nobody else knows of it.
    Ok(unsafe { Box::from_raw(start.as_ptr()) })
}

/// `Box::new`.
///
/// # Errors
/// [`AllocError`].
pub fn try_box<T>(value: T) -> Result<Box<T>, AllocError> {
    Ok(Box::write(try_uninit_box()?, value))
}

/// A copy of these bytes.
///
/// # Errors
/// [`AllocError`].
pub fn try_copy_bytes(bytes: &[u8]) -> Result<Box<[u8]>, AllocError> {
    try_concat(&[bytes])
}

/// A copy of this text.
pub(crate) fn try_copy_str(text: &str) -> Result<String, AllocError> {
    let mut copy = String::new();
    copy.try_reserve_exact(text.len()).map_err(|_| AllocError)?;
    copy.push_str(text);
    Ok(copy)
}

/// `String::push_str`.
pub(crate) fn try_push_str(list: &mut String, text: &str) -> Result<(), AllocError> {
    list.try_reserve(text.len()).map_err(|_| AllocError)?;
    list.push_str(text);
    Ok(())
}

/// A text to which anything can be written; that there is no memory is its only error.
pub(crate) struct Written<'t>(pub(crate) &'t mut String);

impl fmt::Write for Written<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        try_push_str(self.0, text).map_err(|AllocError| fmt::Error)
    }
}

/// These bytes one after the other.
///
/// # Errors
/// [`AllocError`].
pub fn try_concat(parts: &[&[u8]]) -> Result<Box<[u8]>, AllocError> {
    let mut copy = try_with_capacity(parts.iter().map(|part| part.len()).sum())?;
    parts.iter().for_each(|part| copy.extend_from_slice(part));
    // As long as its capacity, so that nothing is asked for.
    Ok(copy.into_boxed_slice())
}

/// `Vec::with_capacity`.
#[cfg_attr(not(feature = "full"), inline(never))]
pub(crate) fn try_with_capacity<T>(capacity: usize) -> Result<Vec<T>, AllocError> {
    let mut list = Vec::new();
    list.try_reserve_exact(capacity).map_err(|_| AllocError)?;
    Ok(list)
}

/// `vec![fill; len]`. The value comes by reference so that one function serves all types of one size and
/// alignment.
#[cfg_attr(feature = "full", inline(always))]
#[cfg_attr(not(feature = "full"), inline(never))]
pub(crate) fn try_filled<T: Clone>(len: usize, fill: &T) -> Result<Vec<T>, AllocError> {
    let mut list = try_with_capacity(len)?;
    list.resize(len, fill.clone());
    Ok(list)
}

/// `ToString::to_string`, of what cannot fail but for want of memory.
#[cfg(feature = "kernel")]
pub(crate) fn try_to_string(value: impl fmt::Display) -> Result<String, AllocError> {
    let mut text = String::new();
    fmt::Write::write_fmt(&mut Written(&mut text), format_args!("{value}"))
        .map_err(|_| AllocError)?;
    Ok(text)
}

/// `Vec::reserve`.
pub(crate) fn try_reserve<T>(list: &mut Vec<T>, more: usize) -> Result<(), AllocError> {
    list.try_reserve(more).map_err(|_| AllocError)
}

/// `Vec::resize`.
pub(crate) fn try_resize<T: Clone>(
    list: &mut Vec<T>,
    len: usize,
    fill: T,
) -> Result<(), AllocError> {
    try_reserve(list, len.saturating_sub(list.len()))?;
    list.resize(len, fill);
    Ok(())
}

/// `Vec::push`.
///
/// # Errors
/// [`AllocError`].
pub fn try_push<T>(list: &mut Vec<T>, value: T) -> Result<(), AllocError> {
    try_reserve(list, 1)?;
    list.push(value);
    Ok(())
}

/// `Iterator::collect`.
///
/// # Errors
/// [`AllocError`].
pub fn try_collect<T>(values: impl Iterator<Item = T>) -> Result<Vec<T>, AllocError> {
    let mut list = try_with_capacity(values.size_hint().0)?;
    for value in values {
        try_push(&mut list, value)?;
    }
    Ok(list)
}

/// How a hash table finds the hash of what it holds when it grows. As one type for all, growing is compiled
/// once for each type that is held; as a closure, 1.2 KB for each way to hash it.
#[cfg(feature = "kernel")]
pub(crate) type Rehash<'r, T> = &'r dyn Fn(&T) -> u64;

/// Puts something into a table that has room for it.
#[cfg(feature = "kernel")]
pub(crate) fn insert<T>(table: &mut HashTable<T>, hash: u64, value: T) {
    let never_asked: Rehash<'_, T> = &|_| 0;
    table.insert_unique(hash, value, never_asked);
}

/// A value that lives as long as somebody has it. Clones are the same one.
pub struct TryArc<T: ?Sized> {
    inner: NonNull<Inner<T>>,
    owns: PhantomData<Inner<T>>,
}

struct Inner<T: ?Sized> {
    owners: AtomicUsize,
    value: T,
}

/// A name or a text that many know.
pub(crate) type SharedBytes = TryArc<Box<[u8]>>;

/// Memory for a [`TryArc`] value, to be there before steps that may not fail half-way.
pub struct UninitArc<T>(Box<MaybeUninit<Inner<T>>>);

impl<T> UninitArc<T> {
    /// Room for one value.
    ///
    /// # Errors
    /// [`AllocError`].
    pub fn new() -> Result<Self, AllocError> {
        try_uninit_box().map(Self)
    }

    /// Puts the value there.
    pub fn fill(self, value: T) -> TryArc<T> {
        let inner = Box::write(self.0, Inner { owners: AtomicUsize::new(1), value });
        TryArc { inner: NonNull::from(Box::leak(inner)), owns: PhantomData }
    }
}

impl<T> fmt::Debug for UninitArc<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Room")
    }
}

impl<T> TryArc<T> {
    /// `Arc::new`.
    ///
    /// # Errors
    /// [`AllocError`].
    pub fn new(value: T) -> Result<Self, AllocError> {
        Ok(UninitArc::new()?.fill(value))
    }
}

impl TryArc<Box<[u8]>> {
    /// A copy of these bytes.
    pub(crate) fn copy_of(name: &[u8]) -> Result<Self, AllocError> {
        Self::new(try_copy_bytes(name)?)
    }
}

impl<T: AsRef<[u8]> + Send + Sync + 'static> TryArc<T> {
    /// The same, of which only the bytes are known.
    pub(crate) fn into_bytes(self) -> TryArc<dyn AsRef<[u8]> + Send + Sync> {
        let inner: NonNull<Inner<dyn AsRef<[u8]> + Send + Sync>> = ManuallyDrop::new(self).inner;
        TryArc { inner, owns: PhantomData }
    }
}

impl<T: ?Sized> TryArc<T> {
    #[inline]
    fn inner(&self) -> &Inner<T> {
        // SAFETY: made by `UninitArc::fill` out of a box, which the last owner takes back; this is one.
        unsafe { self.inner.as_ref() }
    }

    /// Whether both are the same value.
    pub(crate) fn is(&self, other: &Self) -> bool {
        core::ptr::addr_eq(self.inner.as_ptr(), other.inner.as_ptr())
    }

    /// The value, when nobody else has it.
    pub fn get_mut(&mut self) -> Option<&mut T> {
        // What others did before they gave it up has been done.
        if self.inner().owners.load(Acquire) != 1 {
            return None;
        }
        // SAFETY: as in `inner`; and this is the only owner, borrowed mutably, so that there is no other
        // reference and no way to another owner.
        Some(unsafe { &mut self.inner.as_mut().value })
    }
}

impl<T: ?Sized> Clone for TryArc<T> {
    #[inline]
    fn clone(&self) -> Self {
        let owners = &self.inner().owners;
        // Owners that were forgotten one after the other could bring the count round to 0. From half of
        // its range on it is put back so far that the value stays for ever.
        if owners.fetch_add(1, Relaxed) > usize::MAX / 2 {
            owners.store(usize::MAX / 4 * 3, Relaxed);
        }
        Self { inner: self.inner, owns: PhantomData }
    }
}

impl<T: ?Sized> Drop for TryArc<T> {
    #[inline]
    fn drop(&mut self) {
        // Who gives it up last has to see what the others did with it.
        if self.inner().owners.fetch_sub(1, AcqRel) == 1 {
            // SAFETY: as in `inner`, and nobody else is left.
            drop(unsafe { Box::from_raw(self.inner.as_ptr()) });
        }
    }
}

impl<T: ?Sized> Deref for TryArc<T> {
    type Target = T;

    #[inline]
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

impl<T: ?Sized + fmt::Debug> fmt::Debug for TryArc<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

// SAFETY: owners share the value, which may be dropped by any of them; the count is atomic.
unsafe impl<T: ?Sized + Send + Sync> Send for TryArc<T> {}

// SAFETY: as above; a reference to an owner is a way to another owner.
unsafe impl<T: ?Sized + Send + Sync> Sync for TryArc<T> {}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;
    use core::cell::Cell;
    use std::sync::atomic::AtomicU32;

    /// Counts how often it is dropped.
    struct Witness<'w>(&'w Cell<u32>);

    impl Drop for Witness<'_> {
        fn drop(&mut self) {
            self.0.set(self.0.get() + 1);
        }
    }

    #[test]
    fn the_last_owner_drops_the_value_and_nobody_else() {
        let drops = Cell::new(0);
        let mut first = TryArc::new(Witness(&drops)).unwrap();
        assert!(first.get_mut().is_some());
        let second = first.clone();
        assert!(first.get_mut().is_none() && first.is(&second));
        drop(first);
        assert_eq!(drops.get(), 0);
        drop(second);
        assert_eq!(drops.get(), 1);
        drop(UninitArc::<Witness<'_>>::new().unwrap());
        drop(try_box(Witness(&drops)).unwrap());
        assert_eq!(drops.get(), 2);
    }

    #[test]
    fn what_takes_no_room_is_counted_as_well() {
        assert_eq!(*try_box(()).unwrap(), ());
        let unit = TryArc::new(()).unwrap();
        assert_eq!(*unit.clone(), ());
    }

    #[test]
    fn a_count_that_is_full_keeps_the_value_for_ever() {
        let drops = Cell::new(0);
        let value = TryArc::new(Witness(&drops)).unwrap();
        value.inner().owners.store(usize::MAX - 1, Relaxed);
        (0..10).for_each(|_| drop(value.clone()));
        assert!(value.inner().owners.load(Relaxed) > usize::MAX / 2);
        value.inner().owners.store(1, Relaxed);
        drop(value);
        assert_eq!(drops.get(), 1);
    }

    #[test]
    fn bytes_are_copied_and_known_without_their_type() {
        let name = SharedBytes::copy_of(b"name").unwrap();
        assert_eq!(
            (&**name, &*try_concat(&[b"na", b"", b"me"]).unwrap()),
            (&b"name"[..], &b"name"[..])
        );
        assert_eq!(name, SharedBytes::copy_of(b"name").unwrap());
        let owner = TryArc::new(std::vec![1u8, 2]).unwrap().into_bytes();
        assert_eq!((*owner.clone()).as_ref(), [1, 2]);
        assert_eq!(try_collect((0..5).filter(|n| n % 2 == 0)), Ok(std::vec![0, 2, 4]));
        assert_eq!(try_with_capacity::<u64>(usize::MAX), Err(AllocError));
    }

    #[test]
    fn threads_share_it() {
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

#[cfg(test)]
#[cfg(loom)]
mod model {
    use super::*;
    use loom::cell::UnsafeCell;
    use loom::thread;

    /// What an owner wrote is seen by the one who drops it, and by one who finds himself alone.
    #[test]
    fn the_last_owner_sees_what_the_others_did() {
        struct Value(UnsafeCell<u32>);
        // SAFETY: the model itself refuses accesses that nothing orders.
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
                    // SAFETY: nobody else touches it before this owner is gone.
                    unsafe { *value = 1 };
                });
                drop(other);
            });
            if let Some(value) = mine.get_mut() {
                value.0.with(|value| {
                    // SAFETY: alone.
                    assert_eq!(unsafe { *value }, 1);
                });
            }
            drop(mine);
            thread.join().unwrap();
        });
    }
}
