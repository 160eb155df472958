//! Text of a fixed size, for errors that do not allocate.

use std::fmt::{self, Write};

/// The message of another error, truncated to `SIZE - 1` bytes and followed by a NUL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Truncated<const SIZE: usize = 112> {
    pub(super) bytes: [u8; SIZE],
    len: usize,
}

impl<const SIZE: usize> Truncated<SIZE> {
    pub(in super::super) fn new(message: &dyn fmt::Display) -> Self {
        let mut text = Self { bytes: [0; SIZE], len: 0 };
        // Text that does not fit is cut.
        let _ = write!(text, "{message}");
        text
    }
}

impl<const SIZE: usize> Write for Truncated<SIZE> {
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

impl<const SIZE: usize> fmt::Display for Truncated<SIZE> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.bytes.get(..self.len).unwrap_or_default();
        f.write_str(str::from_utf8(text).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: usize = 256;

    #[test]
    fn long_text_is_cut_at_a_character_boundary() {
        let mut buffer = Truncated::<SIZE>::new(&"");
        assert!(buffer.write_str(&"x".repeat(SIZE - 2)).is_ok());
        assert!(buffer.write_str("ä").is_err());
        assert_eq!((buffer.len, buffer.bytes[SIZE - 2], buffer.bytes[SIZE - 1]), (254, 0, 0));
    }
}
