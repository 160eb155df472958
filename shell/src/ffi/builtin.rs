//! The built-in set of values: for a program without a runtime.
//!
//! A value is a number that C holds as a pointer: the place of a slot, and how often the slot was used
//! before. It is looked up and never followed, so that a value that was freed, or never was one, is an
//! error. The bytes behind it stay where they are until it is freed, and beyond that while somebody
//! here reads them.
#![allow(unsafe_code)]

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ptr::NonNull;
use std::slice;
use std::sync::MutexGuard;

use smf_core::alloc_util::TryArc;

use super::error::ApiError;
use crate::fork::ProcessLock;

/// Bytes that C may write through a pointer, zero at first, with a zero behind them that belongs to
/// nobody.
#[derive(Debug)]
pub(super) struct Buffer {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: sole ownership of memory. Who reads and writes it through pointers must not do both at once,
// from whatever threads; the header says so.
unsafe impl Send for Buffer {}
// SAFETY: as above.
unsafe impl Sync for Buffer {}

impl Buffer {
    fn layout(len: usize) -> Option<Layout> {
        Layout::array::<u8>(len.checked_add(1)?).ok()
    }

    fn new(len: usize) -> Option<Self> {
        // SAFETY: one byte at least.
        let start = unsafe { alloc_zeroed(Self::layout(len)?) };
        Some(Self { start: NonNull::new(start)?, len })
    }

    pub(super) fn data(&self) -> *mut u8 {
        self.start.as_ptr()
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The bytes, which nobody must write meanwhile.
    pub(super) fn as_slice(&self) -> &[u8] {
        // SAFETY: that many bytes were allocated, as zeros, and live as long as the buffer.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if let Some(layout) = Self::layout(self.len) {
            // SAFETY: allocated by `new` with this layout, and freed once.
            unsafe { dealloc(self.start.as_ptr(), layout) };
        }
    }
}

enum Value {
    Text(TryArc<Buffer>),
    Bytes(TryArc<Buffer>),
    Pair(i64, i64),
}

#[derive(Default)]
struct Slot {
    /// How often it was given out; wraps, so that a stale number is found out 2^31 - 1 times of 2^31.
    used: u32,
    value: Option<Value>,
}

#[derive(Default)]
pub(super) struct Slots {
    all: Vec<Slot>,
    free: Vec<usize>,
}

pub(super) static SLOTS: ProcessLock<Slots> =
    ProcessLock::new(Slots { all: Vec::new(), free: Vec::new() });

fn lock() -> MutexGuard<'static, Slots> {
    SLOTS.lock()
}

/// Slots count from 1.
const PLACE_BITS: u32 = 28;
/// Sixteen numbers for each, so that a pointer into the midst of a value is none.
const STEP_BITS: u32 = 4;

/// The low half says which slot; the high half, 31 bits of it, how often that was used.
fn token(place: usize, used: u32) -> usize {
    (used as usize & 0x7fff_ffff) << 32 | (place + 1) << STEP_BITS
}

impl Slots {
    /// The slot of a live value.
    fn slot(&mut self, alleged: usize) -> Option<(usize, &mut Slot)> {
        let place = ((alleged & 0xffff_ffff) >> STEP_BITS).checked_sub(1)?;
        let slot = self.all.get_mut(place)?;
        (slot.value.is_some() && token(place, slot.used) == alleged).then_some((place, slot))
    }
}

/// Puts a value into a slot. `bytes` is what it takes, for the error.
fn keep(value: Value, bytes: usize) -> Result<usize, ApiError> {
    let mut slots = lock();
    let Slots { all, free } = &mut *slots;
    if free.is_empty() {
        let no_room = |_| ApiError::NoRoom { bytes };
        all.try_reserve(1).map_err(no_room)?;
        // So that freeing never needs memory.
        free.try_reserve(all.len() + 1).map_err(no_room)?;
        if all.len() + 1 >= 1 << PLACE_BITS {
            return Err(ApiError::NoRoom { bytes });
        }
        free.push(all.len());
        all.push(Slot::default());
    }
    let taken = free.pop().and_then(|place| Some((place, all.get_mut(place)?)));
    let (place, slot) = taken.ok_or(ApiError::NoRoom { bytes })?;
    slot.value = Some(value);
    Ok(token(place, slot.used))
}

/// A buffer with a copy of `len` bytes, or of zeros when there are none to copy.
///
/// # Safety
/// `bytes` is null or points to as many.
unsafe fn copy(bytes: *const u8, len: usize) -> Result<TryArc<Buffer>, ApiError> {
    let buffer = Buffer::new(len).ok_or(ApiError::NoRoom { bytes: len })?;
    if !bytes.is_null() {
        // SAFETY: as many bytes, says the caller; the buffer is new.
        unsafe { buffer.data().copy_from_nonoverlapping(bytes, len) };
    }
    TryArc::new(buffer).map_err(|_| ApiError::NoRoom { bytes: len })
}

/// # Safety
/// `bytes` is null or points to `len` bytes.
pub(super) unsafe fn new_text(bytes: *const u8, len: usize) -> Result<usize, ApiError> {
    // SAFETY: passed on to the caller.
    unsafe { copy(bytes, len) }.and_then(|buffer| keep(Value::Text(buffer), len))
}

/// # Safety
/// `bytes` is null or points to `len` bytes.
pub(super) unsafe fn new_bytes(bytes: *const u8, len: usize) -> Result<usize, ApiError> {
    // SAFETY: passed on to the caller.
    unsafe { copy(bytes, len) }.and_then(|buffer| keep(Value::Bytes(buffer), len))
}

pub(super) fn new_pair(first: i64, second: i64) -> Result<usize, ApiError> {
    keep(Value::Pair(first, second), 16)
}

/// The bytes of a live byte array.
pub(super) fn bytes(token: usize) -> Option<TryArc<Buffer>> {
    match lock().slot(token)?.1.value.as_ref()? {
        Value::Bytes(buffer) => Some(buffer.clone()),
        _ => None,
    }
}

/// The bytes of live text.
pub(super) fn text(token: usize) -> Option<TryArc<Buffer>> {
    match lock().slot(token)?.1.value.as_ref()? {
        Value::Text(buffer) => Some(buffer.clone()),
        _ => None,
    }
}

/// The integers of a live pair.
pub(super) fn pair(token: usize) -> Option<(i64, i64)> {
    match lock().slot(token)?.1.value.as_ref()? {
        Value::Pair(first, second) => Some((*first, *second)),
        _ => None,
    }
}

/// Frees a value; `false` when there is none.
pub(super) fn free(token: usize) -> bool {
    let mut slots = lock();
    let Some((place, slot)) = slots.slot(token) else { return false };
    let value = slot.value.take();
    slot.used = slot.used.wrapping_add(1);
    slots.free.push(place);
    drop(slots);
    drop(value);
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new(bytes: &[u8]) -> usize {
        // SAFETY: a slice has its bytes.
        unsafe { new_bytes(bytes.as_ptr(), bytes.len()) }.unwrap()
    }

    #[test]
    fn values_are_of_one_kind_and_live_until_they_are_freed() {
        let (array, pair_) = (new(b"abc"), new_pair(-1, i64::MAX).unwrap());
        // SAFETY: five bytes.
        let text_ = unsafe { new_text(b"hello".as_ptr(), 5) }.unwrap();
        assert_eq!(bytes(array).unwrap().as_slice(), b"abc");
        assert_eq!(text(text_).unwrap().as_slice(), b"hello");
        assert_eq!(pair(pair_), Some((-1, i64::MAX)));
        assert!(text(array).is_none() && pair(array).is_none() && bytes(text_).is_none());
        assert!(free(array) && !free(array) && bytes(array).is_none());
        // The slot again, and another value.
        let next = new(b"next");
        assert!(next != array && bytes(array).is_none());
        assert!(free(next) && free(text_) && free(pair_));
    }

    #[test]
    fn what_never_was_a_value_is_none() {
        let array = new(b"x");
        for wrong in [
            0,
            1 << 62,
            array + 1,
            array - 1,
            array + (1 << 32),
            usize::MAX,
            (&raw const array).addr(),
        ] {
            assert!(bytes(wrong).is_none() && !free(wrong), "{wrong:#x}");
        }
        assert!(free(array));
    }

    #[test]
    fn bytes_outlive_their_value_while_they_are_read() {
        let array = new(b"kept");
        let held = bytes(array).unwrap();
        assert!(free(array));
        assert_eq!(held.as_slice(), b"kept");
    }

    #[test]
    fn no_bytes_are_bytes_and_too_many_are_refused() {
        let empty = new(b"");
        assert_eq!((bytes(empty).unwrap().len(), free(empty)), (0, true));
        for len in [1 << 62, isize::MAX as usize] {
            // SAFETY: nothing is copied.
            let result = unsafe { new_bytes(std::ptr::null(), len) };
            assert_eq!(result, Err(ApiError::NoRoom { bytes: len }));
        }
    }

    #[test]
    fn threads_get_different_values() {
        std::thread::scope(|scope| {
            for thread in 0..8u8 {
                scope.spawn(move || {
                    for round in 0..2000u16 {
                        let mine = [thread, round.to_le_bytes()[0]];
                        let array = new(&mine);
                        assert_eq!(bytes(array).unwrap().as_slice(), mine);
                        assert!(free(array));
                    }
                });
            }
        });
    }
}
