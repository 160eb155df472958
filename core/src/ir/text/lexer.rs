//! The tokens of one line.

use super::error::TextErrorKind;

/// A token of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token<'t> {
    /// A name: letters, digits, `_ . $`.
    Name(&'t str),
    /// Text in quotation marks, without them and with its escape sequences.
    Quoted(&'t str),
    /// Text that begins with a digit.
    Number(&'t str),
    /// `->`
    Arrow,
    /// Any other character.
    Sign(char),
}

/// The tokens of a line, one after another.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lexer<'t> {
    rest: &'t str,
}

/// Whether a name may hold `character`.
pub(super) fn in_name(character: char) -> bool {
    character.is_alphanumeric() || matches!(character, '_' | '.' | '$')
}

impl<'t> Lexer<'t> {
    pub(super) fn new(line: &'t str) -> Self {
        Self { rest: line }
    }

    /// The next token, which stays.
    pub(super) fn peek(&self) -> Result<Option<Token<'t>>, TextErrorKind> {
        Lexer { rest: self.rest }.next()
    }

    /// The next token; `None` at the end of the line or where a comment begins.
    pub(super) fn next(&mut self) -> Result<Option<Token<'t>>, TextErrorKind> {
        let text = self.rest.trim_start();
        let Some(first) = text.chars().next().filter(|&first| first != '#') else {
            self.rest = "";
            return Ok(None);
        };
        let (token, len) = match first {
            '"' => quoted(text).ok_or(TextErrorKind::Expected("a closing quotation mark"))?,
            '-' if text.starts_with("->") => (Token::Arrow, 2),
            '0'..='9' => number(text),
            _ if in_name(first) => {
                let len = text.find(|c| !in_name(c)).unwrap_or(text.len());
                (Token::Name(text.get(..len).unwrap_or("")), len)
            }
            ',' | '(' | ')' | '<' | '>' | '[' | ']' | ':' | '=' | '+' | '-' => {
                (Token::Sign(first), 1)
            }
            _ => return Err(TextErrorKind::Character(first)),
        };
        self.rest = text.get(len..).unwrap_or("");
        Ok(Some(token))
    }
}

fn quoted(text: &str) -> Option<(Token<'_>, usize)> {
    let inside = text.get(1..)?;
    let mut is_escaped = false;
    let len = inside.find(|character| {
        let closes = character == '"' && !is_escaped;
        is_escaped = character == '\\' && !is_escaped;
        closes
    })?;
    Some((Token::Quoted(inside.get(..len)?), len.checked_add(2)?))
}

fn number(text: &str) -> (Token<'_>, usize) {
    let mut before = '0';
    let is_hex = text.starts_with("0x");
    let ends = |c: char| {
        let exponent = matches!(c, '+' | '-') && matches!(before, 'e' | 'E') && !is_hex;
        before = c;
        !(c.is_ascii_alphanumeric() || matches!(c, '_' | '.') || exponent)
    };
    let len = text.find(ends).unwrap_or(text.len());
    (Token::Number(text.get(..len).unwrap_or("")), len)
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;

    fn words(line: &str) -> Vec<Token<'_>> {
        let mut lexer = Lexer::new(line);
        core::iter::from_fn(|| lexer.next().unwrap()).collect()
    }

    #[test]
    fn parts_a_line() {
        use Token::{Arrow, Name, Number, Quoted, Sign};
        assert_eq!(
            words("call x=f<T>(a,-1.5e-3)->i64 # what it gives"),
            [
                Name("call"),
                Name("x"),
                Sign('='),
                Name("f"),
                Sign('<'),
                Name("T"),
                Sign('>'),
                Sign('('),
                Name("a"),
                Sign(','),
                Sign('-'),
                Number("1.5e-3"),
                Sign(')'),
                Arrow,
                Name("i64"),
            ]
        );
        let quoted = r#"0xe-1 "a b" "\"\\" b"#;
        assert_eq!(
            words(quoted),
            [Number("0xe"), Sign('-'), Number("1"), Quoted("a b"), Quoted(r#"\"\\"#), Name("b")]
        );
        assert_eq!(words("   "), []);
        assert_eq!(
            Lexer::new("\"open").next(),
            Err(TextErrorKind::Expected("a closing quotation mark"))
        );
        assert_eq!(Lexer::new("!").next(), Err(TextErrorKind::Character('!')));
    }
}
