//! Null, alignment and length checks for pointers that C passes: strings, arrays and output arrays.
#![allow(unsafe_code)]

use std::ffi::{CStr, c_char, c_void};
use std::mem::MaybeUninit;

use super::args;
use super::error::{ApiError, ArgumentError};

/// A callback of the host, and a pointer that is only passed back to it.
#[derive(Clone, Copy)]
pub(super) struct Callback<F> {
    pub(super) function: F,
    pub(super) user: *mut c_void,
}

// SAFETY: the pointer is not dereferenced here. The header requires of the callback that it may be called from any
// thread.
unsafe impl<F: Send> Send for Callback<F> {}
// SAFETY: as above.
unsafe impl<F: Sync> Sync for Callback<F> {}

/// A C string.
///
/// # Safety
/// `text` is null or NUL-terminated and valid while the result is used.
pub(super) unsafe fn text<'t>(
    what: &'static str,
    text: *const c_char,
) -> Result<&'t [u8], ApiError> {
    if text.is_null() {
        return Err(ArgumentError::Null { what }.into());
    }
    // SAFETY: not null, so NUL-terminated by the caller's promise.
    Ok(unsafe { CStr::from_ptr(text) }.to_bytes())
}

/// The length of an array at `first`, which is checked unless the array is empty.
fn checked_len<T>(what: &'static str, first: *const T, count: i64) -> Result<usize, ArgumentError> {
    let len = args::array_len::<T>(what, count)?;
    if len != 0 && first.is_null() {
        return Err(ArgumentError::Null { what });
    }
    if len != 0 && !first.is_aligned() {
        return Err(ArgumentError::Misaligned { what, value: first.addr() });
    }
    Ok(len)
}

/// An output array.
///
/// # Safety
/// `first` is null or points to memory for `count` values, to which the result has exclusive access.
pub(super) unsafe fn slice_mut<'s, T>(
    what: &'static str,
    first: *mut T,
    count: i64,
) -> Result<&'s mut [MaybeUninit<T>], ArgumentError> {
    match checked_len(what, first, count)? {
        0 => Ok(&mut []),
        // SAFETY: not null, aligned, at most `isize::MAX` bytes, and valid for writes by the caller's promise.
        len => Ok(unsafe { std::slice::from_raw_parts_mut(first.cast(), len) }),
    }
}

/// An array.
///
/// # Safety
/// `first` is null or points to `count` values that are valid and unchanged while the result is used.
pub(super) unsafe fn slice<'s, T>(
    what: &'static str,
    first: *const T,
    count: i64,
) -> Result<&'s [T], ArgumentError> {
    match checked_len(what, first, count)? {
        0 => Ok(&[]),
        // SAFETY: not null, aligned, at most `isize::MAX` bytes, and valid by the caller's promise.
        len => Ok(unsafe { std::slice::from_raw_parts(first, len) }),
    }
}

/// The bytes of a value of the runtime, of which the runtime returned both arguments. `kind` is the kind of value
/// that was expected: a negative length or a null pointer stands for another one.
///
/// # Safety
/// Unless null, `data` points to `length` bytes that are valid and unchanged while the result is used.
pub(super) unsafe fn value_bytes<'v>(
    data: *const u8,
    length: i64,
    kind: &'static str,
) -> Result<&'v [u8], ApiError> {
    match args::array_len::<u8>(kind, length) {
        Ok(0) => Ok(&[]),
        // SAFETY: not null, at most `isize::MAX` bytes, and valid by the caller's promise.
        Ok(len) if !data.is_null() => Ok(unsafe { std::slice::from_raw_parts(data, len) }),
        _ => Err(ApiError::NotA { kind }),
    }
}

/// Passes the bytes of a new byte array of the runtime to `fill`.
///
/// # Safety
/// Unless null, `data` points to `len` initialised bytes to which no other thread has access yet.
pub(super) unsafe fn fill_value(
    data: *mut u8,
    len: usize,
    fill: impl FnOnce(&mut [u8]) -> Result<(), ApiError>,
) -> Result<(), ApiError> {
    if len == 0 {
        return fill(&mut []);
    }
    if data.is_null() {
        return Err(ApiError::NotA { kind: BYTE_ARRAY });
    }
    // SAFETY: not null, initialised, and exclusive by the caller's promise.
    fill(unsafe { std::slice::from_raw_parts_mut(data, len) })
}

/// Kinds of values, for errors.
pub(super) const BYTE_ARRAY: &str = "a byte array";
pub(super) const TEXT: &str = "text";
