//! Text of a fixed size, for errors that do not allocate.

use std::fmt::{self, Write};

/// The size of a message in bytes, with the NUL.
pub(super) const SIZE: usize = 256;

/// The end of a message that is cut.
const ELLIPSIS: &str = "...";

/// A message of at most `SIZE - 1` bytes and a NUL. A longer one is cut, and ends with an ellipsis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Truncated {
    pub(super) bytes: [u8; SIZE],
    len: usize,
}

impl Truncated {
    pub(super) fn new(message: &dyn fmt::Display) -> Self {
        let mut text = Self { bytes: [0; SIZE], len: 0 };
        if write!(text, "{message}").is_err() {
            text.mark_cut();
        }
        text
    }

    /// Replaces the end by the ellipsis.
    fn mark_cut(&mut self) {
        let text = str::from_utf8(self.bytes.get(..self.len).unwrap_or_default());
        self.len = text.unwrap_or_default().floor_char_boundary(SIZE - 1 - ELLIPSIS.len());
        self.bytes.get_mut(self.len..).unwrap_or_default().fill(0);
        let _ = self.write_str(ELLIPSIS);
    }
}

impl Write for Truncated {
    /// Appends `text`, cut at a character boundary where it does not fit, which is an error.
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // The last byte stays 0.
        let rest = self.bytes.get_mut(self.len..SIZE - 1).unwrap_or_default();
        let end = text.floor_char_boundary(rest.len());
        for (to, from) in rest.iter_mut().zip(text.as_bytes().iter().take(end)) {
            *to = *from;
        }
        self.len += end;
        if end == text.len() { Ok(()) } else { Err(fmt::Error) }
    }
}

impl fmt::Display for Truncated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.bytes.get(..self.len).unwrap_or_default();
        f.write_str(str::from_utf8(text).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_text_is_cut_at_a_character_boundary() {
        let mut buffer = Truncated::new(&"");
        assert!(buffer.write_str(&"x".repeat(SIZE - 2)).is_ok());
        assert!(buffer.write_str("ä").is_err());
        assert_eq!((buffer.len, buffer.bytes[SIZE - 2], buffer.bytes[SIZE - 1]), (254, 0, 0));
    }

    /// Found: a sentence that ends in the middle of a word, as if it were whole.
    #[test]
    fn cut_text_ends_with_an_ellipsis() {
        let whole = "x".repeat(SIZE - 1);
        assert_eq!(Truncated::new(&whole).to_string(), whole);
        let cut = Truncated::new(&"x".repeat(SIZE));
        assert_eq!(cut.to_string(), format!("{}...", "x".repeat(SIZE - 4)));
        assert_eq!(cut.bytes[SIZE - 1], 0);
        // The ellipsis replaces the whole character of two bytes that it would split.
        let cut = Truncated::new(&format_args!("{}ä{}", "x".repeat(SIZE - 5), "yzz"));
        assert_eq!(cut.to_string(), format!("{}...", "x".repeat(SIZE - 5)));
        assert_eq!(cut.bytes[SIZE - 2..], [0, 0]);
    }
}
