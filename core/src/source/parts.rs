//! The parts of a text for code that copies it: literals, whose lines have no indentation, and comments, whose words mean nothing.

use super::lexer::Lexer;
use super::token::TokenKind;

/// What a part of a text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Code,
    Comment,
    /// A text literal, which may contain code in braces.
    Literal,
}

/// The part that a text starts with, and its length in bytes, which is not 0; `None` for an empty text.
pub(crate) fn first_part(text: &str) -> Option<(Part, usize)> {
    let mut lexer = Lexer::new(text);
    let part = match lexer.next_token()? {
        TokenKind::Comment | TokenKind::UnclosedComment => Part::Comment,
        TokenKind::Text
        | TokenKind::RawText
        | TokenKind::OldFormat
        | TokenKind::DocText
        | TokenKind::UnclosedText => Part::Literal,
        _ => Part::Code,
    };
    Some((part, lexer.position()))
}
