//! The last error of each thread.
//!
//! The only unsafe property of this file is that its exported names must be unique in a program.
#![allow(unsafe_code)]

use std::cell::{Cell, RefCell};
use std::ffi::{CStr, c_char};

use super::api_error::ApiError;
use super::truncate::{SIZE, Truncated};
#[cfg(target_arch = "x86_64")]
use crate::call_record;

/// The result of `smf_last_error`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct SmfError {
    /// A number of `SmfErrorCode`; 0 without an error.
    pub code: i32,
    /// One sentence, NUL-terminated; empty without an error. A sentence of more than 255 bytes is cut and ends with `...`.
    /// Valid until this thread calls `smf_last_error` again.
    pub text: *const c_char,
}

thread_local! {
    static LAST: RefCell<Option<ApiError>> = const { RefCell::new(None) };
    static TEXT: Cell<[u8; SIZE]> = const { Cell::new([0; SIZE]) };
}

/// The value of `result`, or `failure` after recording the error.
#[inline]
pub(in super::super) fn or<T>(failure: T, result: Result<T, ApiError>) -> T {
    result.unwrap_or_else(|error| {
        record(error);
        failure
    })
}

/// The result of `act`, or `failure` after recording the error.
pub(in super::super) fn attempt<T>(failure: T, act: impl FnOnce() -> Result<T, ApiError>) -> T {
    or(failure, act())
}

/// The result of `act` for an object in use, or `failure` after recording the error.
pub(in super::super) fn attempt_with<O, T>(
    failure: T,
    object: Result<O, ApiError>,
    act: impl FnOnce(O) -> Result<T, ApiError>,
) -> T {
    or(failure, object.and_then(act))
}

/// Whether `result` is a success; an error is recorded.
pub(in super::super) fn succeeded(result: Result<(), ApiError>) -> bool {
    or(false, result.map(|()| true))
}

/// Makes `error` the last error of this thread.
#[cold]
#[inline(never)]
pub(in super::super) fn record(error: ApiError) {
    set(Some(error));
}

fn set(error: Option<ApiError>) {
    #[cfg(target_arch = "x86_64")]
    let is_error = error.is_some();
    // Without effect while the thread is exiting.
    if LAST.try_with(|last| last.replace(error)).is_ok() {
        #[cfg(target_arch = "x86_64")]
        call_record::set_has_error(is_error);
    }
}

/// The error of the last export that failed in this thread. A successful export leaves it unchanged, except
/// `rt_call_function_*`, which clear it when the function they called returned 0.
#[unsafe(no_mangle)]
pub extern "C" fn smf_last_error() -> SmfError {
    let last = LAST.try_with(|last| last.borrow().clone()).unwrap_or_default();
    let Some(error) = last else { return SmfError { code: 0, text: c"".as_ptr() } };
    TEXT.set(Truncated::new(&error).bytes);
    let text = TEXT.with(|text| text.as_ptr().cast::<c_char>());
    SmfError { code: error.code() as i32, text }
}

/// Clears the last error of this thread.
#[unsafe(no_mangle)]
pub extern "C" fn smf_clear_error() {
    set(None);
}

const VERSION: &CStr =
    match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
        Ok(version) => version,
        Err(_) => c"",
    };

/// The version of the library, for example `0.1.0`, as in `SMF_VERSION`; a static string.
#[unsafe(no_mangle)]
pub extern "C" fn smf_version() -> *const c_char {
    VERSION.as_ptr()
}

#[cfg(test)]
mod tests {
    use super::super::argument::ArgumentError;
    use super::*;

    fn last() -> (i32, String) {
        let SmfError { code, text } = smf_last_error();
        let bytes = TEXT.get();
        let end = bytes.iter().position(|&byte| byte == 0).unwrap();
        assert!(!text.is_null() && end < SIZE);
        (code, String::from_utf8_lossy(&bytes[..end]).into_owned())
    }

    #[test]
    fn last_error_is_per_thread() {
        record(ArgumentError::Zero { what: "the size" }.into());
        assert_eq!(last(), (1, "the size is 0".to_owned()));
        std::thread::spawn(|| assert_eq!(smf_last_error().code, 0)).join().unwrap();
        record(ApiError::Unmapped { address: 0xabc });
        assert_eq!(last(), (12, "no memory is mapped at 0xabc".to_owned()));
        smf_clear_error();
        assert_eq!(smf_last_error().code, 0);
    }

    #[test]
    fn failure_is_recorded_and_success_leaves_it() {
        smf_clear_error();
        assert_eq!((or(-1, Ok(5)), smf_last_error().code), (5, 0));
        assert_eq!((or(-1, Err(ApiError::State(""))), smf_last_error().code), (-1, 13));
        assert_eq!((or(-1, Ok(5)), smf_last_error().code), (5, 13));
    }
}
