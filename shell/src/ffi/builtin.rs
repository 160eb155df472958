//! The built-in set of values, for a program without a runtime.
//!
//! A value is a token that C holds as a pointer: the index of a slot and its generation. It is looked up and never
//! dereferenced, so that a freed or invalid value is an error. The bytes of a value have a stable address until it
//! is freed, and longer while this library reads them.
#![allow(unsafe_code)]

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ptr::NonNull;
use std::slice;

use smf_core::alloc_util::{TryArc, try_push};

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

/// A kind of value with bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BufferKind {
    Text,
    Bytes,
}

pub(super) enum Value {
    Buffer(BufferKind, TryArc<Buffer>),
    Pair(i64, i64),
    List(List),
}

/// The tokens of text values, which are freed with the list. Not dropped while the table is locked, unless empty.
pub(super) struct List(Vec<usize>);

impl Drop for List {
    fn drop(&mut self) {
        // The host may have freed some of them.
        for token in &self.0 {
            free(*token);
        }
    }
}

/// The size of a pair in bytes.
pub(super) const PAIR_SIZE: usize = 16;

/// Bits of a slot's index, which counts from 1 in a token.
const INDEX_BITS: u32 = 28;
/// Tokens are multiples of 16, so that a pointer into the middle of a value is not one.
const ALIGN_BITS: u32 = 4;

type Slots = SlotTable<Value, { (1 << INDEX_BITS) - 1 }>;

pub(super) static SLOTS: ProcessLock<Slots> = ProcessLock::new(Slots::new());

/// The index in the low half, the 31 bits of the generation in the high half, as in the key of a slot.
fn to_token(key: u64) -> usize {
    (key >> 32 << 32) as usize | (key as u32 as usize + 1) << ALIGN_BITS
}

fn from_token(token: usize) -> Option<u64> {
    let index = (token as u32 >> ALIGN_BITS).checked_sub(1)?;
    let key = (token >> 32 << 32) as u64 | u64::from(index);
    Some(key).filter(|&key| to_token(key) == token)
}

/// Stores a value of `bytes` bytes, which is for the error alone.
fn insert(value: Value, bytes: usize) -> Result<usize, ApiError> {
    SLOTS.lock().insert(value).map(to_token).ok_or_else(|| ApiError::NoMemory { bytes })
}

/// What `read` finds in a live value.
fn get<T>(token: usize, read: impl FnOnce(&Value) -> Option<T>) -> Option<T> {
    read(SLOTS.lock().get(from_token(token)?)?)
}

/// A value with a copy of `len` bytes, or zeros if `bytes` is null.
///
/// # Safety
/// `bytes` is null or points to `len` bytes.
pub(super) unsafe fn new_buffer(
    kind: BufferKind,
    bytes: *const u8,
    len: usize,
) -> Result<usize, ApiError> {
    let buffer = Buffer::new(len).ok_or_else(|| ApiError::NoMemory { bytes: len })?;
    if !bytes.is_null() {
        // SAFETY: `len` bytes by the caller's promise; the buffer is new, so they do not overlap.
        unsafe { buffer.data().copy_from_nonoverlapping(bytes, len) };
    }
    let buffer = TryArc::new(buffer).map_err(|_| ApiError::NoMemory { bytes: len })?;
    insert(Value::Buffer(kind, buffer), len)
}

pub(super) fn new_pair(first: i64, second: i64) -> Result<usize, ApiError> {
    insert(Value::Pair(first, second), PAIR_SIZE)
}

/// A list without texts.
pub(super) fn new_list() -> Result<usize, ApiError> {
    insert(Value::List(List(Vec::new())), 0)
}

/// Appends a copy of the text to a live list.
pub(super) fn push(list: usize, text: &[u8]) -> Result<(), ApiError> {
    // SAFETY: the bytes of a slice.
    let text = unsafe { new_buffer(BufferKind::Text, text.as_ptr(), text.len()) }?;
    let pushed = {
        let mut slots = SLOTS.lock();
        match from_token(list).and_then(|key| slots.get_mut(key)) {
            Some(Value::List(List(texts))) => try_push(texts, text).map_err(ApiError::from),
            _ => Err(ApiError::NotA { kind: "a list" }),
        }
    };
    pushed.inspect_err(|_| {
        free(text);
    })
}

/// What `read` finds in the tokens of a live list.
pub(super) fn list<T>(token: usize, read: impl FnOnce(&[usize]) -> Option<T>) -> Option<T> {
    get(token, |value| match value {
        Value::List(List(texts)) => read(texts),
        _ => None,
    })
}

/// The bytes of a live value of this kind.
pub(super) fn buffer(kind: BufferKind, token: usize) -> Option<TryArc<Buffer>> {
    get(token, |value| match value {
        Value::Buffer(found, buffer) if *found == kind => Some(buffer.clone()),
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
    let value = from_token(token).and_then(|key| SLOTS.lock().remove(key));
    value.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new(bytes: &[u8]) -> usize {
        // SAFETY: the bytes of a slice.
        unsafe { new_buffer(BufferKind::Bytes, bytes.as_ptr(), bytes.len()) }.unwrap()
    }

    fn bytes(token: usize) -> Option<TryArc<Buffer>> {
        buffer(BufferKind::Bytes, token)
    }

    fn text(token: usize) -> Option<TryArc<Buffer>> {
        buffer(BufferKind::Text, token)
    }

    #[test]
    fn value_has_one_kind_and_lives_until_free() {
        let (array, pair_) = (new(b"abc"), new_pair(-1, i64::MAX).unwrap());
        // SAFETY: five bytes.
        let text_ = unsafe { new_buffer(BufferKind::Text, b"hello".as_ptr(), 5) }.unwrap();
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
    fn list_owns_its_texts() {
        let list_ = new_list().unwrap();
        for word in [&b"one"[..], b"", b"three"] {
            push(list_, word).unwrap();
        }
        let at = |index: usize| list(list_, |texts| texts.get(index).copied());
        let (one, three) = (at(0).unwrap(), at(2).unwrap());
        assert_eq!(text(three).unwrap().as_slice(), b"three");
        assert!(at(3).is_none() && bytes(list_).is_none() && list(one, |_| Some(())).is_none());
        assert!(push(one, b"x").is_err());
        // A text that the host has freed.
        assert!(free(one) && free(list_) && !free(list_));
        assert!(text(three).is_none() && push(list_, b"x").is_err());
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
            let result = unsafe { new_buffer(BufferKind::Bytes, std::ptr::null(), len) };
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
