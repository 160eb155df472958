//! Texts for C that the library owns.

use std::ffi::{CStr, c_char};
use std::fmt;
use std::io::Write;

use smf_core::alloc_util::AllocError;

use crate::fallible_buf::FallibleBuf;

/// What an error is for C without memory for its message.
pub(super) const OUT_OF_MEMORY: &CStr = c"out of memory";

/// A text for C, without NULs but the one that ends it.
#[derive(Debug)]
pub(super) enum CText {
    Static(&'static CStr),
    /// NUL-terminated.
    Owned(Vec<u8>),
}

impl Default for CText {
    /// An empty text.
    fn default() -> Self {
        Self::Static(c"")
    }
}

impl CText {
    /// A copy of `text`, without its NULs.
    pub(super) fn new(text: &str) -> Result<Self, AllocError> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let mut bytes = FallibleBuf::default();
        text.split('\0').for_each(|part| bytes.put(part.as_bytes()));
        bytes.put(&[0]);
        bytes.finish().map(Self::Owned)
    }

    /// The message of an error; [`OUT_OF_MEMORY`] without memory for it.
    pub(super) fn message(error: fmt::Arguments<'_>) -> Self {
        let mut bytes = FallibleBuf::default();
        // Writing to the buffer does not fail.
        let _ = bytes.write_fmt(error);
        let text = bytes.finish().map_err(|_| AllocError).and_then(|bytes| {
            // Formatted text is UTF-8.
            Self::new(str::from_utf8(&bytes).unwrap_or(""))
        });
        text.unwrap_or(Self::Static(OUT_OF_MEMORY))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.as_c_str().is_empty()
    }

    /// Valid as long as the text, also while it moves.
    pub(super) fn as_ptr(&self) -> *const c_char {
        self.as_c_str().as_ptr()
    }

    fn as_c_str(&self) -> &CStr {
        match self {
            Self::Static(text) => text,
            Self::Owned(bytes) => CStr::from_bytes_until_nul(bytes).unwrap_or(c""),
        }
    }

    /// The length in bytes, without the NUL.
    pub(super) fn len(&self) -> usize {
        self.as_c_str().count_bytes()
    }

    pub(super) fn as_str(&self) -> &str {
        self.as_c_str().to_str().unwrap_or("")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_has_no_nul_and_a_message_is_never_empty() {
        for (text, expected) in [("", ""), ("a", "a"), ("a\0b\0", "ab"), ("\0", "")] {
            let text = CText::new(text).unwrap();
            assert_eq!(
                (text.as_str(), text.len(), text.is_empty()),
                (expected, expected.len(), expected.is_empty())
            );
        }
        assert_eq!(CText::message(format_args!("{}{}", 1, "\0x")).as_str(), "1x");
        assert!(CText::default().is_empty() && !CText::Static(OUT_OF_MEMORY).is_empty());
    }
}
