//! The built-in set of values, for a program without a runtime.
//!
//! A value is a token that C holds as a pointer: the index of a slot and its generation. It is looked up and never
//! dereferenced, so that a freed or invalid value is an error. The bytes of a value have a stable address until it
//! is freed, and longer while this library reads them.
#![allow(unsafe_code)]

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ptr::NonNull;
use std::slice;

use smf_core::alloc_util::TryArc;

use super::error::ApiError;
use super::slot_table::SlotTable;
use crate::fork::ProcessLock;

/// Zero-initialised bytes that C may write through a pointer, followed by a NUL.
#[derive(Debug)]
pub(super) struct Buffer {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: sole ownership of memory. The header requires that C does not write the bytes while another thread, or this
// library, accesses them.
unsafe impl Send for Buffer {}
// SAFETY: as above.
unsafe impl Sync for Buffer {}

impl Buffer {
    fn layout(len: usize) -> Option<Layout> {
        Layout::array::<u8>(len.checked_add(1)?).ok()
    }

    fn new(len: usize) -> Option<Self> {
        // SAFETY: the size is at least 1.
        let start = unsafe { alloc_zeroed(Self::layout(len)?) };
        Some(Self { start: NonNull::new(start)?, len })
    }

    pub(super) fn data(&self) -> *mut u8 {
        self.start.as_ptr()
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The bytes, which must not be written while the result is used.
    pub(super) fn as_slice(&self) -> &[u8] {
        // SAFETY: `len` bytes were allocated and initialised, and live as long as the buffer.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if let Some(layout) = Self::layout(self.len) {
            // SAFETY: allocated by `new` with this layout.
            unsafe { dealloc(self.start.as_ptr(), layout) };
        }
    }
}

pub(super) enum Value {
    Text(TryArc<Buffer>),
    Bytes(TryArc<Buffer>),
    Pair(i64, i64),
}

/// The size of a pair in bytes.
pub(super) const PAIR_SIZE: usize = 16;

/// Bits of a slot's index, which counts from 1 in a token.
const INDEX_BITS: u32 = 28;
/// Tokens are multiples of 16, so that a pointer into the middle of a value is not one.
const ALIGN_BITS: u32 = 4;

type Slots = SlotTable<Value, { (1 << INDEX_BITS) - 1 }>;

pub(super) static SLOTS: ProcessLock<Slots> = ProcessLock::new(Slots::new());

/// The index in the low half, the 31 bits of the generation in the high half.
fn to_token((index, generation): (u32, u32)) -> usize {
    (generation as usize) << 32 | (index as usize + 1) << ALIGN_BITS
}

fn from_token(token: usize) -> Option<(u32, u32)> {
    let index = (token as u32 >> ALIGN_BITS).checked_sub(1)?;
    Some((index, (token >> 32) as u32)).filter(|&slot| to_token(slot) == token)
}

/// Stores a value of `bytes` bytes, which is for the error alone.
fn insert(value: Value, bytes: usize) -> Result<usize, ApiError> {
    SLOTS.lock().insert(value).map(to_token).ok_or(ApiError::NoMemory { bytes })
}

/// What `read` finds in a live value.
fn get<T>(token: usize, read: impl FnOnce(&Value) -> Option<T>) -> Option<T> {
    let (index, generation) = from_token(token)?;
    read(SLOTS.lock().get(index, generation)?)
}

/// A buffer with a copy of `len` bytes, or zeros if `bytes` is null.
///
/// # Safety
/// `bytes` is null or points to `len` bytes.
unsafe fn copy(bytes: *const u8, len: usize) -> Result<TryArc<Buffer>, ApiError> {
    let buffer = Buffer::new(len).ok_or(ApiError::NoMemory { bytes: len })?;
    if !bytes.is_null() {
        // SAFETY: `len` bytes by the caller's promise; the buffer is new, so they do not overlap.
        unsafe { buffer.data().copy_from_nonoverlapping(bytes, len) };
    }
    TryArc::new(buffer).map_err(|_| ApiError::NoMemory { bytes: len })
}

/// # Safety
/// `bytes` is null or points to `len` bytes.
pub(super) unsafe fn new_text(bytes: *const u8, len: usize) -> Result<usize, ApiError> {
    // SAFETY: the caller's promise.
    unsafe { copy(bytes, len) }.and_then(|buffer| insert(Value::Text(buffer), len))
}

/// # Safety
/// `bytes` is null or points to `len` bytes.
pub(super) unsafe fn new_bytes(bytes: *const u8, len: usize) -> Result<usize, ApiError> {
    // SAFETY: the caller's promise.
    unsafe { copy(bytes, len) }.and_then(|buffer| insert(Value::Bytes(buffer), len))
}

pub(super) fn new_pair(first: i64, second: i64) -> Result<usize, ApiError> {
    insert(Value::Pair(first, second), PAIR_SIZE)
}

/// The bytes of a live byte array.
pub(super) fn bytes(token: usize) -> Option<TryArc<Buffer>> {
    get(token, |value| match value {
        Value::Bytes(buffer) => Some(buffer.clone()),
        _ => None,
    })
}

/// The bytes of live text.
pub(super) fn text(token: usize) -> Option<TryArc<Buffer>> {
    get(token, |value| match value {
        Value::Text(buffer) => Some(buffer.clone()),
        _ => None,
    })
}

/// The integers of a live pair.
pub(super) fn pair(token: usize) -> Option<(i64, i64)> {
    get(token, |value| match value {
        Value::Pair(first, second) => Some((*first, *second)),
        _ => None,
    })
}

/// Frees a value; `false` for one that is not live.
pub(super) fn free(token: usize) -> bool {
    // Dropped without the lock, whose guard ends with the statement.
    let value =
        from_token(token).and_then(|(index, generation)| SLOTS.lock().remove(index, generation));
    value.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new(bytes: &[u8]) -> usize {
        // SAFETY: the bytes of a slice.
        unsafe { new_bytes(bytes.as_ptr(), bytes.len()) }.unwrap()
    }

    #[test]
    fn value_has_one_kind_and_lives_until_free() {
        let (array, pair_) = (new(b"abc"), new_pair(-1, i64::MAX).unwrap());
        // SAFETY: five bytes.
        let text_ = unsafe { new_text(b"hello".as_ptr(), 5) }.unwrap();
        assert_eq!(bytes(array).unwrap().as_slice(), b"abc");
        assert_eq!(text(text_).unwrap().as_slice(), b"hello");
        assert_eq!(pair(pair_), Some((-1, i64::MAX)));
        assert!(text(array).is_none() && pair(array).is_none() && bytes(text_).is_none());
        assert!(free(array) && !free(array) && bytes(array).is_none());
        // The same slot, with another token.
        let next = new(b"next");
        assert!(next != array && bytes(array).is_none());
        assert!(free(next) && free(text_) && free(pair_));
    }

    #[test]
    fn invalid_token_is_refused() {
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
    fn bytes_being_read_outlive_their_value() {
        let array = new(b"kept");
        let held = bytes(array).unwrap();
        assert!(free(array));
        assert_eq!(held.as_slice(), b"kept");
    }

    #[test]
    fn empty_array_is_valid_and_too_large_one_is_refused() {
        let empty = new(b"");
        assert_eq!((bytes(empty).unwrap().len(), free(empty)), (0, true));
        for len in [1 << 62, isize::MAX as usize] {
            // SAFETY: null stands for zeros.
            let result = unsafe { new_bytes(std::ptr::null(), len) };
            assert_eq!(result, Err(ApiError::NoMemory { bytes: len }));
        }
    }

    #[test]
    fn threads_create_distinct_values() {
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
