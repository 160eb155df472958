//! Texts that are given to C, which gives them back when it is done with them.
#![allow(unsafe_code)]

use std::collections::HashMap;
use std::ffi::{CString, c_char};
use std::hash::{BuildHasherDefault, DefaultHasher};
use std::ptr;

use super::cptr::text;
use super::error::{ApiError, or};
use crate::fork::ProcessLock;

/// JSON as an argument.
pub(super) type Json = *const c_char;

/// A text as a result.
pub(super) type Answer = *mut c_char;

/// The bytes of an argument.
///
/// # Safety
/// `json` is null or points to bytes that end with a NUL, and that stay while the result is used.
pub(super) unsafe fn bytes<'j>(json: Json) -> Result<&'j [u8], ApiError> {
    // SAFETY: passed on to the caller.
    unsafe { text("the JSON", json) }.map(|text| text.to_bytes())
}

/// Those that C has, by their addresses: none is followed that is not here.
pub(super) static STRINGS: ProcessLock<Strings> =
    ProcessLock::new(HashMap::with_hasher(BuildHasherDefault::new()));

type Strings = HashMap<usize, CString, BuildHasherDefault<DefaultHasher>>;

/// Gives a text to C. A NUL ends it early.
pub(super) fn give(text: String) -> Answer {
    let mut bytes = text.into_bytes();
    bytes.retain(|byte| *byte != 0);
    let Ok(text) = CString::new(bytes) else { return ptr::null_mut() };
    let address = text.as_ptr().cast_mut();
    STRINGS.lock().insert(address.addr(), text);
    address
}

/// Frees a text that a function of this library has given away to be freed. False for any other address,
/// and for one that was freed before; null is freed as it is.
#[unsafe(no_mangle)]
pub extern "C" fn smf_string_free(text: Answer) -> bool {
    if text.is_null() {
        return true;
    }
    let unknown = ApiError::NotMapped { address: text.addr() };
    or(false, STRINGS.lock().remove(&text.addr()).map(|_| true).ok_or(unknown))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_freed_once() {
        let text = give("a\0b".to_owned());
        assert!(smf_string_free(text) && !smf_string_free(text));
        assert!(smf_string_free(ptr::null_mut()));
        assert!(!smf_string_free(ptr::without_provenance_mut(4096)));
    }
}
