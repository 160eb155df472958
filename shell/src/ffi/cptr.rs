//! What C points to: strings that end with a NUL, arrays, and room for arrays.
#![allow(unsafe_code)]

use std::ffi::{CStr, c_char};
use std::mem::MaybeUninit;

use super::args;
use super::error::ApiError;

/// A string from C.
///
/// # Safety
/// `text` is null or points to bytes that end with a NUL, and that stay while the result is used.
pub(super) unsafe fn text<'t>(
    what: &'static str,
    text: *const c_char,
) -> Result<&'t CStr, ApiError> {
    if text.is_null() {
        return Err(ApiError::Null { what });
    }
    // SAFETY: not null, so that it ends with a NUL, says the caller.
    Ok(unsafe { CStr::from_ptr(text) })
}

/// How many values there are at an address from C; none where there is nothing to look at.
fn count_at<T>(what: &'static str, first: *const T, count: i64) -> Result<usize, ApiError> {
    let len = usize::try_from(args::length(what, count)?).ok();
    let most = isize::MAX as usize / size_of::<T>().max(1);
    let len = len.filter(|&len| len <= most).ok_or(ApiError::TooLarge { what, value: count })?;
    if len != 0 && first.is_null() {
        return Err(ApiError::Null { what });
    }
    if len != 0 && !first.is_aligned() {
        return Err(ApiError::Unaligned { what, value: first.addr() });
    }
    Ok(len)
}

/// Room of C for an array.
///
/// # Safety
/// `first` is null or points to room for `count` values, which is the result's alone while that is used.
pub(super) unsafe fn slice_mut<'s, T>(
    what: &'static str,
    first: *mut T,
    count: i64,
) -> Result<&'s mut [MaybeUninit<T>], ApiError> {
    match count_at(what, first, count)? {
        0 => Ok(&mut []),
        // SAFETY: not null, and aligned, so that there is the room, says the caller; it fits an address
        // space, and needs to hold nothing.
        len => Ok(unsafe { std::slice::from_raw_parts_mut(first.cast(), len) }),
    }
}

/// An array from C.
///
/// # Safety
/// `first` is null or points to `count` values, which stay and do not change while the result is used.
pub(super) unsafe fn slice<'s, T>(
    what: &'static str,
    first: *const T,
    count: i64,
) -> Result<&'s [T], ApiError> {
    match count_at(what, first, count)? {
        0 => Ok(&[]),
        // SAFETY: not null, and aligned, so that there are as many, says the caller; they fit an address
        // space.
        len => Ok(unsafe { std::slice::from_raw_parts(first, len) }),
    }
}
