//! Text of a fixed size, for errors that do not allocate.

use std::fmt::{self, Write};

/// The size of a message in bytes, with the NUL.
pub(super) const SIZE: usize = 256;

/// A message, truncated to `SIZE - 1` bytes and followed by a NUL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Truncated {
    pub(super) bytes: [u8; SIZE],
    len: usize,
}

impl Truncated {
    pub(super) fn new(message: &dyn fmt::Display) -> Self {
        let mut text = Self { bytes: [0; SIZE], len: 0 };
        // Text that does not fit is cut.
        let _ = write!(text, "{message}");
        text
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
}
