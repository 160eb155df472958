//! Text of a fixed size, which errors that are `Copy` may hold.

use std::fmt::{self, Write};

/// Text of a fixed size, with a NUL behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sentence<const SIZE: usize> {
    pub(super) bytes: [u8; SIZE],
    len: usize,
}

impl<const SIZE: usize> Sentence<SIZE> {
    pub(super) fn new() -> Self {
        Self { bytes: [0; SIZE], len: 0 }
    }
}

/// What others say in words, cut where it is too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Phrase<const SIZE: usize = 112>(Sentence<SIZE>);

impl<const SIZE: usize> Phrase<SIZE> {
    pub(in super::super) fn of(what: &dyn fmt::Display) -> Self {
        let mut phrase = Sentence::new();
        // What does not fit is cut.
        let _ = write!(phrase, "{what}");
        Self(phrase)
    }
}

impl<const SIZE: usize> fmt::Display for Phrase<SIZE> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.bytes.get(..self.0.len).unwrap_or_default();
        f.write_str(str::from_utf8(text).unwrap_or_default())
    }
}

impl<const SIZE: usize> Write for Sentence<SIZE> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // The last byte stays 0.
        let room = self.bytes.get_mut(self.len..SIZE - 1).unwrap_or_default();
        let end = text.floor_char_boundary(room.len());
        for (place, byte) in room.iter_mut().zip(text.as_bytes().iter().take(end)) {
            *place = *byte;
        }
        self.len += end;
        if end == text.len() { Ok(()) } else { Err(fmt::Error) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: usize = 256;

    #[test]
    fn a_long_sentence_is_cut_between_characters() {
        let mut sentence = Sentence::<TEXT>::new();
        assert!(sentence.write_str(&"x".repeat(TEXT - 2)).is_ok());
        assert!(sentence.write_str("ä").is_err());
        assert_eq!((sentence.len, sentence.bytes[TEXT - 2], sentence.bytes[TEXT - 1]), (254, 0, 0));
    }
}
