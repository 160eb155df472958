//! Values in the tagged convention: words of the runtime, made and read through its accessor functions.
//!
//! What a word is, its low three bits say: 1 is a pointer into the heap, and only such a word can be a
//! byte array, text or a tuple. What lies behind it is the runtime's business alone; it also frees what
//! nobody uses any more.
#![allow(unsafe_code)]

use super::error::ApiError;

/// A byte array as an argument.
pub(super) type Bytes = i64;

/// A value as a result.
pub(super) type Value = i64;

/// The value that stands for a failure: NIL.
pub(super) const NO_VALUE: Value = 3;

/// A path as an argument: text, or NIL for none.
pub(super) type Path = i64;

/// Where a mapping is, as a result: a tuple of two integers.
pub(super) type Mapping = i64;

const TAG: i64 = 7;
const HEAP: i64 = 1;

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

/// The bytes that the runtime says a value has; `kind` is what it was taken for.
///
/// # Safety
/// The runtime has said both of one live value, whose bytes do not change while the result is used.
unsafe fn bytes_of<'v>(
    data: *const u8,
    length: i64,
    kind: &'static str,
) -> Result<&'v [u8], ApiError> {
    let wrong = ApiError::NotA { kind };
    let length = usize::try_from(length).map_err(|_| wrong)?;
    if length == 0 {
        return Ok(&[]);
    }
    if data.is_null() || isize::try_from(length).is_err() {
        return Err(wrong);
    }
    // SAFETY: passed on to the caller.
    Ok(unsafe { std::slice::from_raw_parts(data, length) })
}

/// Hands out the bytes of a byte array.
///
/// # Safety
/// The value is a word of the runtime, and the bytes do not change meanwhile.
pub(super) unsafe fn with_bytes<T>(
    value: Bytes,
    read: impl FnOnce(&[u8]) -> Result<T, ApiError>,
) -> Result<T, ApiError> {
    const KIND: &str = "a byte array";
    if value & TAG != HEAP {
        return Err(ApiError::NotA { kind: KIND });
    }
    // SAFETY: the runtime's accessor, which itself looks at what the word is.
    let length = unsafe { rt_array_len(value) };
    // SAFETY: as above.
    let data = unsafe { rt_array_data_ptr_u8(value) };
    // SAFETY: the runtime says that these are the bytes of the array, and the caller that they do not
    // change meanwhile.
    read(unsafe { bytes_of(data, length, KIND) }?)
}

/// The bytes of a path; `None` when there is none.
///
/// # Safety
/// The value is a word of the runtime, and its bytes stay while the result is used.
pub(super) unsafe fn path<'p>(path: Path) -> Result<Option<&'p [u8]>, ApiError> {
    const KIND: &str = "text";
    if path == NO_VALUE {
        return Ok(None);
    }
    if path & TAG != HEAP {
        return Err(ApiError::NotA { kind: KIND });
    }
    // SAFETY: the runtime's accessor, which itself looks at what the word is.
    let length = unsafe { rt_string_len(path) };
    // SAFETY: as above.
    let data = unsafe { rt_string_data(path) };
    // SAFETY: the runtime says that these are the bytes of the text, and the caller that they stay.
    unsafe { bytes_of(data, length, KIND) }.map(Some)
}

/// What was made; the runtime answers with another word when it has no memory.
fn made(value: Value, bytes: usize) -> Result<Value, ApiError> {
    if value & TAG == HEAP { Ok(value) } else { Err(ApiError::NoRoom { bytes }) }
}

/// A new byte array, its `len` bytes filled in by `fill`.
pub(super) fn filled_bytes(
    len: usize,
    fill: impl FnOnce(&mut [u8]) -> Result<(), ApiError>,
) -> Result<Value, ApiError> {
    // SAFETY: the runtime's function.
    let value = made(unsafe { rt_byte_array_new(len as u64) }, len)?;
    if len == 0 {
        return fill(&mut []).map(|()| value);
    }
    // SAFETY: the runtime's accessor for its value.
    let data = unsafe { rt_array_data_ptr_u8(value) };
    if data.is_null() {
        return Err(ApiError::NotA { kind: "a byte array" });
    }
    // SAFETY: the runtime has made an array of that many bytes, and nobody else knows it yet.
    unsafe { data.write_bytes(0, len) };
    // SAFETY: as above, and they have been written.
    fill(unsafe { std::slice::from_raw_parts_mut(data, len) }).map(|()| value)
}

/// New text.
pub(super) fn new_text(text: &str) -> Result<Value, ApiError> {
    // SAFETY: the runtime's function; a slice has its bytes.
    made(unsafe { rt_string_new(text.as_ptr(), text.len() as u64) }, text.len())
}

/// Both numbers as a tuple.
pub(super) fn mapping(address: i64, size: i64) -> Mapping {
    // SAFETY: the runtime's function.
    let tuple = unsafe { rt_tuple_new(2) };
    if tuple & TAG != HEAP {
        return NO_VALUE;
    }
    for (index, number) in [(0, address), (1, size)] {
        // SAFETY: the runtime's function, for any integer.
        let value = unsafe { rt_value_int(number) };
        // SAFETY: the runtime's function for its tuple, which has two places.
        unsafe { rt_tuple_set(tuple, index, value) };
    }
    tuple
}
