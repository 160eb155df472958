//! JSON text in and out of the compiler exports: C strings, or words of the runtime in the tagged convention.
#![allow(unsafe_code)]

use super::error::{ApiError, ArgumentError};
use super::values::{self, Path};

#[cfg(not(feature = "tagged"))]
pub use owned::smf_string_free;
#[cfg(not(feature = "tagged"))]
pub(super) use owned::{Answer, STRINGS, give};

/// JSON as an argument: text, as a path is.
pub(super) type Json = Path;

/// The bytes of an argument.
///
/// # Safety
/// As for [`values::path`].
pub(super) unsafe fn bytes<'j>(json: Json) -> Result<&'j [u8], ApiError> {
    // SAFETY: the caller's promise.
    let bytes = unsafe { values::path(json) }?;
    Ok(bytes.ok_or(ArgumentError::Null { what: "the JSON" })?)
}

/// Text as a result; NIL when the runtime is out of memory.
#[cfg(feature = "tagged")]
pub(super) type Answer = values::Value;

/// Passes text to the runtime, which owns it.
#[cfg(feature = "tagged")]
pub(super) fn give(text: String) -> Answer {
    super::error::or(values::NO_VALUE, values::new_text(&text))
}

/// Strings that C owns until it frees them.
#[cfg(not(feature = "tagged"))]
mod owned {
    use std::collections::BTreeMap;
    use std::ffi::{CString, c_char};
    use std::ptr;

    use crate::ffi::error::{ApiError, or};
    use crate::fork::ProcessLock;

    /// Text as a result.
    pub(in super::super) type Answer = *mut c_char;

    /// The strings that C owns, by address. Only addresses found here are freed.
    pub(in super::super) static STRINGS: ProcessLock<BTreeMap<usize, CString>> =
        ProcessLock::new(BTreeMap::new());

    /// Passes a string to C. NULs are removed.
    pub(in super::super) fn give(text: String) -> Answer {
        let mut bytes = text.into_bytes();
        bytes.retain(|byte| *byte != 0);
        let Ok(text) = CString::new(bytes) else { return ptr::null_mut() };
        let address = text.as_ptr().cast_mut();
        STRINGS.lock().insert(address.addr(), text);
        address
    }

    /// Frees a string that a function of this library returned for the caller to free. Null is ignored. False for
    /// any other address and for a string that was freed before.
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
        fn string_is_freed_once() {
            let text = give("a\0b".to_owned());
            assert!(smf_string_free(text) && !smf_string_free(text));
            assert!(smf_string_free(ptr::null_mut()));
            assert!(!smf_string_free(ptr::without_provenance_mut(4096)));
        }
    }
}
