//! Values in the tagged convention: words of the runtime, read through its accessor functions.
//!
//! What a word is, its low three bits say: 1 is a pointer into the heap, and only such a word can be a
//! byte array. What lies behind it is the runtime's business alone.
#![allow(unsafe_code)]

use super::error::ApiError;

/// A byte array as an argument.
pub(super) type Bytes = i64;

const TAG: i64 = 7;
const HEAP: i64 = 1;

unsafe extern "C" {
    fn rt_array_data_ptr_u8(array: i64) -> *const u8;
    fn rt_array_len(array: i64) -> i64;
}

/// Hands out the bytes of a byte array.
///
/// # Safety
/// The value is a word of the runtime, and the bytes do not change meanwhile.
pub(super) unsafe fn with_bytes<T>(
    value: Bytes,
    read: impl FnOnce(&[u8]) -> Result<T, ApiError>,
) -> Result<T, ApiError> {
    const KIND: ApiError = ApiError::NotA { kind: "a byte array" };
    if value & TAG != HEAP {
        return Err(KIND);
    }
    // SAFETY: the runtime's accessor, which itself looks at what the word is.
    let length = unsafe { rt_array_len(value) };
    let length = usize::try_from(length).map_err(|_| KIND)?;
    if length == 0 {
        return read(&[]);
    }
    // SAFETY: as above.
    let data = unsafe { rt_array_data_ptr_u8(value) };
    if data.is_null() || isize::try_from(length).is_err() {
        return Err(KIND);
    }
    // SAFETY: the runtime says that these are the bytes of the array, and the caller that they do not
    // change meanwhile.
    read(unsafe { std::slice::from_raw_parts(data, length) })
}
