//! The last error of each thread, kept until the next one.
//!
//! Nothing in this file is unsafe but that the names it exports can be in a program once only.
#![allow(unsafe_code)]

use std::cell::Cell;
use std::ffi::{CStr, c_char};
use std::fmt::Write;

use super::ApiError;
use super::truncate::Sentence;

/// What `smf_last_error` returns.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct SmfError {
    /// One of the numbers of `SmfErrorCode`; 0 when there was no failure.
    pub code: i32,
    /// One sentence, NUL-terminated; empty when there was no failure. Good until this thread calls
    /// `smf_last_error` again.
    pub text: *const c_char,
}

/// Bytes of a sentence, with the NUL.
const TEXT: usize = 256;

thread_local! {
    static LAST: Cell<Option<ApiError>> = const { Cell::new(None) };
    static SENTENCE: Cell<[u8; TEXT]> = const { Cell::new([0; TEXT]) };
}

/// The result, or `failure` and the reason kept.
#[inline]
pub(in super::super) fn or<T>(failure: T, result: Result<T, ApiError>) -> T {
    result.unwrap_or_else(|error| {
        keep(error);
        failure
    })
}

#[cold]
#[inline(never)]
pub(in super::super) fn keep(error: ApiError) {
    LAST.set(Some(error));
}

/// Why an export last failed in this thread. One that succeeds leaves it as it is, but for
/// `rt_call_function_*`, which clear it when the function they have called returned 0.
#[unsafe(no_mangle)]
pub extern "C" fn smf_last_error() -> SmfError {
    let Some(error) = LAST.get() else { return SmfError { code: 0, text: c"".as_ptr() } };
    let mut sentence = Sentence::<TEXT>::new();
    // A sentence that is too long is cut.
    let _ = write!(sentence, "{error}");
    SENTENCE.set(sentence.bytes);
    let text = SENTENCE.with(|kept| kept.as_ptr().cast::<c_char>());
    SmfError { code: error.code() as i32, text }
}

/// Forgets it.
#[unsafe(no_mangle)]
pub extern "C" fn smf_clear_error() {
    LAST.set(None);
}

/// The version of the library, as in `SMF_VERSION` of the header it was built with.
const VERSION: &CStr =
    match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
        Ok(version) => version,
        Err(_) => c"",
    };

/// The version of the library, for example `0.1.0`; never freed.
#[unsafe(no_mangle)]
pub extern "C" fn smf_version() -> *const c_char {
    VERSION.as_ptr()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn last() -> (i32, String) {
        let SmfError { code, text } = smf_last_error();
        let mut bytes = Vec::new();
        // The text is this thread's own.
        SENTENCE.with(|kept| bytes.extend(kept.get()));
        let end = bytes.iter().position(|&byte| byte == 0).unwrap();
        assert!(!text.is_null() && end < TEXT);
        (code, String::from_utf8_lossy(&bytes[..end]).into_owned())
    }

    #[test]
    fn each_thread_has_its_own() {
        keep(ApiError::Zero { what: "the size" });
        assert_eq!(last(), (1, "the size is 0".to_owned()));
        std::thread::spawn(|| assert_eq!(smf_last_error().code, 0)).join().unwrap();
        keep(ApiError::Unmapped { address: 0xabc });
        assert_eq!(last(), (12, "there is no memory at 0xabc".to_owned()));
        smf_clear_error();
        assert_eq!(smf_last_error().code, 0);
    }

    #[test]
    fn failures_are_kept_and_successes_are_not() {
        smf_clear_error();
        assert_eq!((or(-1, Ok(5)), smf_last_error().code), (5, 0));
        assert_eq!((or(-1, Err(ApiError::ValuesInUse)), smf_last_error().code), (-1, 13));
        assert_eq!((or(-1, Ok(5)), smf_last_error().code), (5, 13));
    }
}
