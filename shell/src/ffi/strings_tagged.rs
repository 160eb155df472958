//! Texts in the tagged convention: those that come in and those that go out are words of the runtime, which
//! frees what nobody uses any more.
#![allow(unsafe_code)]

use super::error::{ApiError, or};
use super::values::{self, NO_VALUE, Path, Value};

/// JSON as an argument.
pub(super) type Json = Path;

/// A text as a result; NIL where the runtime has no memory for it.
pub(super) type Answer = Value;

/// The bytes of an argument.
///
/// # Safety
/// The value is a word of the runtime, and its bytes stay while the result is used.
pub(super) unsafe fn bytes<'j>(json: Json) -> Result<&'j [u8], ApiError> {
    // SAFETY: passed on to the caller.
    unsafe { values::path(json) }?.ok_or(ApiError::Null { what: "the JSON" })
}

/// Gives a text to the runtime.
pub(super) fn give(text: String) -> Answer {
    or(NO_VALUE, values::new_text(&text))
}
