//! Values in the tagged convention: words of the runtime, created and read through its accessor functions.
//!
//! The low three bits of a word are its tag. Tag 1 marks a heap pointer, and only such a word can be a byte array,
//! text or a tuple. The runtime owns the objects and frees them.
#![allow(unsafe_code)]

use super::cptr::{BYTE_ARRAY, TEXT, fill_value, value_bytes};
use super::error::ApiError;

/// A byte array as an argument.
pub(super) type Bytes = i64;

/// A value as a result.
pub(super) type Value = i64;

/// The result of a failure: NIL.
pub(super) const NO_VALUE: Value = 3;

/// A path as an argument: text, or NIL for none.
pub(super) type Path = i64;

/// The address and size of a mapping as a result: a tuple of two integers.
pub(super) type Mapping = i64;

const TAG_MASK: i64 = 7;
const HEAP_TAG: i64 = 1;

unsafe extern "C" {
    fn rt_array_data_ptr_u8(array: i64) -> *mut u8;
    fn rt_array_len(array: i64) -> i64;
    fn rt_byte_array_new(length: u64) -> i64;
    fn rt_string_data(text: i64) -> *const u8;
    fn rt_string_len(text: i64) -> i64;
    fn rt_string_new(bytes: *const u8, length: u64) -> i64;
    fn rt_tuple_new(length: i64) -> i64;
    fn rt_tuple_set(tuple: i64, index: i64, value: i64);
    fn rt_value_int(number: i64) -> i64;
}

fn is_heap(value: i64) -> bool {
    value & TAG_MASK == HEAP_TAG
}

/// Passes the bytes of a byte array to `read`.
///
/// # Safety
/// The value is a word of the runtime, and its bytes do not change during the call.
pub(super) unsafe fn with_bytes<T>(
    value: Bytes,
    read: impl FnOnce(&[u8]) -> Result<T, ApiError>,
) -> Result<T, ApiError> {
    if !is_heap(value) {
        return Err(ApiError::NotA { kind: BYTE_ARRAY });
    }
    // SAFETY: an accessor of the runtime, which checks the kind of the object.
    let length = unsafe { rt_array_len(value) };
    // SAFETY: as above.
    let data = unsafe { rt_array_data_ptr_u8(value) };
    // SAFETY: both are of the same array, which does not change by the caller's promise.
    read(unsafe { value_bytes(data, length, BYTE_ARRAY) }?)
}

/// The bytes of a path; `None` for NIL.
///
/// # Safety
/// The value is a word of the runtime, and its bytes are valid while the result is used.
pub(super) unsafe fn path<'p>(path: Path) -> Result<Option<&'p [u8]>, ApiError> {
    if path == NO_VALUE {
        return Ok(None);
    }
    if !is_heap(path) {
        return Err(ApiError::NotA { kind: TEXT });
    }
    // SAFETY: an accessor of the runtime, which checks the kind of the object.
    let length = unsafe { rt_string_len(path) };
    // SAFETY: as above.
    let data = unsafe { rt_string_data(path) };
    // SAFETY: both are of the same text, which is valid by the caller's promise.
    unsafe { value_bytes(data, length, TEXT) }.map(Some)
}

/// A new value; the runtime returns another kind of word when it is out of memory.
fn created(value: Value, bytes: usize) -> Result<Value, ApiError> {
    if is_heap(value) { Ok(value) } else { Err(ApiError::NoMemory { bytes }) }
}

/// A new byte array of `len` bytes, which `fill` writes.
pub(super) fn filled_bytes(
    len: usize,
    fill: impl FnOnce(&mut [u8]) -> Result<(), ApiError>,
) -> Result<Value, ApiError> {
    // SAFETY: a function of the runtime.
    let value = created(unsafe { rt_byte_array_new(len as u64) }, len)?;
    // SAFETY: an accessor of the runtime for its value.
    let data = unsafe { rt_array_data_ptr_u8(value) };
    if !data.is_null() {
        // SAFETY: the array has `len` bytes, and no other thread has the value yet.
        unsafe { data.write_bytes(0, len) };
    }
    // SAFETY: as above; initialised just now.
    unsafe { fill_value(data, len, fill) }.map(|()| value)
}

/// New text.
pub(super) fn new_text(text: &str) -> Result<Value, ApiError> {
    // SAFETY: a function of the runtime, with the bytes of a slice.
    created(unsafe { rt_string_new(text.as_ptr(), text.len() as u64) }, text.len())
}

/// An address and a size as a tuple.
pub(super) fn mapping(address: i64, size: i64) -> Mapping {
    // SAFETY: a function of the runtime.
    let tuple = unsafe { rt_tuple_new(2) };
    if !is_heap(tuple) {
        return NO_VALUE;
    }
    for (index, number) in [(0, address), (1, size)] {
        // SAFETY: a function of the runtime, defined for any integer.
        let value = unsafe { rt_value_int(number) };
        // SAFETY: a function of the runtime; the tuple has two elements.
        unsafe { rt_tuple_set(tuple, index, value) };
    }
    tuple
}
