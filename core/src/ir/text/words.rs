//! The tokens of a line, taken as what the grammar expects.

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;

use super::error::TextErrorKind;
use super::lexer::{Lexer, Token};

/// The rest of a line.
#[derive(Clone, Copy)]
pub(super) struct Words<'t> {
    lexer: Lexer<'t>,
}

impl<'t> Words<'t> {
    pub(super) fn new(line: &'t str) -> Self {
        Self { lexer: Lexer::new(line) }
    }

    pub(super) fn peek(&self) -> Result<Option<Token<'t>>, TextErrorKind> {
        self.lexer.peek()
    }

    pub(super) fn next(&mut self) -> Result<Option<Token<'t>>, TextErrorKind> {
        self.lexer.next()
    }

    /// A name, quoted or not.
    pub(super) fn name(&mut self) -> Result<Cow<'t, str>, TextErrorKind> {
        match self.lexer.next()? {
            Some(Token::Name(name)) => Ok(Cow::Borrowed(name)),
            Some(Token::Quoted(text)) if !text.contains('\\') => Ok(Cow::Borrowed(text)),
            Some(Token::Quoted(text)) => {
                let bytes = unescape(text)?;
                String::from_utf8(bytes).map(Cow::Owned).map_err(|_| TextErrorKind::Escape)
            }
            _ => Err(TextErrorKind::Expected("a name")),
        }
    }

    /// Whether the next token is a name.
    pub(super) fn is_name(&self) -> Result<bool, TextErrorKind> {
        Ok(matches!(self.lexer.peek()?, Some(Token::Name(_) | Token::Quoted(_))))
    }

    /// Whether the next token is a quoted text.
    pub(super) fn is_quoted(&self) -> Result<bool, TextErrorKind> {
        Ok(matches!(self.lexer.peek()?, Some(Token::Quoted(_))))
    }

    /// Takes the next token if it is this word.
    pub(super) fn has_word(&mut self, word: &str) -> Result<bool, TextErrorKind> {
        self.take(|token| token == Token::Name(word))
    }

    /// Takes the next token if it is `sign`.
    pub(super) fn has(&mut self, sign: char) -> Result<bool, TextErrorKind> {
        self.take(|token| token == Token::Sign(sign))
    }

    /// Takes the next token if it is an arrow.
    pub(super) fn has_arrow(&mut self) -> Result<bool, TextErrorKind> {
        self.take(|token| token == Token::Arrow)
    }

    fn take(&mut self, is_wanted: impl Fn(Token<'t>) -> bool) -> Result<bool, TextErrorKind> {
        let found = self.lexer.peek()?.is_some_and(is_wanted);
        if found {
            self.lexer.next()?;
        }
        Ok(found)
    }

    pub(super) fn sign(&mut self, sign: char, what: &'static str) -> Result<(), TextErrorKind> {
        if self.has(sign)? { Ok(()) } else { Err(TextErrorKind::Expected(what)) }
    }

    pub(super) fn comma(&mut self) -> Result<(), TextErrorKind> {
        self.sign(',', "a comma")
    }

    /// Items in parentheses, with commas.
    pub(super) fn list<V>(
        &mut self,
        mut item: impl FnMut(&mut Self) -> Result<V, TextErrorKind>,
    ) -> Result<Vec<V>, TextErrorKind> {
        let mut items = Vec::new();
        self.sign('(', "`(`")?;
        while !self.has(')')? {
            if !items.is_empty() {
                self.comma()?;
            }
            items.push(item(self)?);
        }
        Ok(items)
    }

    pub(super) fn end(&mut self) -> Result<(), TextErrorKind> {
        match self.lexer.next()? {
            None => Ok(()),
            Some(_) => Err(TextErrorKind::Expected("the end of the line")),
        }
    }

    /// A number as it is written, and whether a minus stands before it.
    pub(super) fn digits(&mut self) -> Result<(bool, &'t str), TextErrorKind> {
        let negative = self.has('-')?;
        match self.lexer.next()? {
            Some(Token::Number(digits)) => Ok((negative, digits)),
            _ => Err(TextErrorKind::Expected("a number")),
        }
    }

    fn integer(&mut self) -> Result<i128, TextErrorKind> {
        let (negative, digits) = self.digits()?;
        integer(negative, digits).ok_or(TextErrorKind::Number)
    }

    /// A number of the type that the caller needs.
    pub(super) fn number<N: TryFrom<i128>>(&mut self) -> Result<N, TextErrorKind> {
        N::try_from(self.integer()?).map_err(|_| TextErrorKind::Number)
    }

    /// `+ N` or `- N`, or nothing.
    pub(super) fn distance(&mut self) -> Result<i32, TextErrorKind> {
        match self.lexer.peek()? {
            Some(Token::Sign('-')) => self.number(),
            Some(Token::Sign('+')) => {
                self.lexer.next()?;
                self.number()
            }
            _ => Ok(0),
        }
    }
}

/// The value of an integer.
pub(super) fn integer(negative: bool, digits: &str) -> Option<i128> {
    let value = match digits.strip_prefix("0x") {
        Some(hex) => i128::from(u64::from_str_radix(hex, 16).ok()?),
        None => i128::from(digits.parse::<u64>().ok()?),
    };
    Some(if negative { -value } else { value })
}

/// The bytes that a quoted text stands for.
pub(crate) fn unescape(text: &str) -> Result<Vec<u8>, TextErrorKind> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        let (byte, after) = match rest {
            [b'n', after @ ..] => (b'\n', after),
            [b'r', after @ ..] => (b'\r', after),
            [b't', after @ ..] => (b'\t', after),
            [b'0', after @ ..] => (0, after),
            [mark @ (b'"' | b'\\'), after @ ..] => (*mark, after),
            [b'x', high, low, after @ ..] => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => (high << 4 | low, after),
                _ => return Err(TextErrorKind::Escape),
            },
            _ => return Err(TextErrorKind::Escape),
        };
        bytes.push(byte);
        rest = after;
    }
    Ok(bytes)
}

fn hex(digit: u8) -> Option<u8> {
    let value = char::from(digit).to_digit(16)?;
    u8::try_from(value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_sequences_become_bytes_and_malformed_ones_are_refused() {
        assert_eq!(unescape(r#"a\n\r\t\0\"\\\x7f\xFF"#).unwrap(), b"a\n\r\t\0\"\\\x7f\xff");
        for text in [r"\", r"\q", r"\x", r"\x1", r"\x1g", r"\xg1"] {
            assert_eq!(unescape(text), Err(TextErrorKind::Escape), "{text}");
        }
        assert_eq!(Words::new(r#""\xff""#).name(), Err(TextErrorKind::Escape));
        assert_eq!(Words::new(r#""\xc3\xa4""#).name().unwrap(), "ä");
    }
}
