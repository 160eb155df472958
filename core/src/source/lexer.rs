//! The lexer: pure, one token at a time, without a table or an error.
//!
//! Every byte of the text belongs to exactly one token, blanks and comments included. An unclosed literal or comment
//! is a token of its own kind. Indentation is the affair of [`layout`](super::layout), the value of a literal that of
//! [`literal`](super::literal).

use super::token::{Span, TokenKind};

/// How many texts may stand in the braces of one another.
const MAX_TEXTS: u32 = 8;

/// The most lines behind the first one of a text without an end in which its end is looked for.
const MAX_TEXT_LINES: usize = 8;

/// Walks over the tokens of a text.
#[derive(Clone, Debug)]
pub(super) struct Lexer<'t> {
    text: &'t [u8],
    /// The end of the last token, at most that of the text.
    at: usize,
    /// Whether the text stands in the braces of another one, where quotes may be escaped.
    is_inner: bool,
}

impl<'t> Lexer<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self { text: text.as_bytes(), at: 0, is_inner: false }
    }

    /// A lexer for the part of `text` that stands in the braces of another one.
    pub(super) fn inner(text: &'t str, part: Span) -> Self {
        let before = Span::new(0, part.end).of(text);
        let start = usize::try_from(part.start).unwrap_or(usize::MAX);
        Self { is_inner: true, at: start.min(before.len()), ..Self::new(before) }
    }

    /// The end of the last token, in bytes from the start of the text.
    #[inline]
    pub(super) fn position(&self) -> usize {
        self.at
    }

    fn peek(&self, ahead: usize) -> u8 {
        self.text.get(self.at + ahead).copied().unwrap_or(0)
    }

    /// What follows `ahead` bytes.
    fn rest(&self, ahead: usize) -> &'t [u8] {
        self.text.get(self.at + ahead..).unwrap_or(&[])
    }

    fn is_at_end(&self) -> bool {
        self.at >= self.text.len()
    }

    fn skip(&mut self, len: usize) {
        self.at = (self.at + len).min(self.text.len());
    }

    fn skip_while(&mut self, accepts: impl Fn(u8) -> bool) {
        let mut at = self.at;
        while self.text.get(at).is_some_and(|&byte| accepts(byte)) {
            at += 1;
        }
        self.at = at;
    }

    /// Skips blanks.
    #[inline]
    pub(super) fn blanks(&mut self) {
        self.skip_while(|byte| matches!(byte, b' ' | b'\t' | b'\r'));
    }

    /// The kind of the next token, which ends at the [position](Self::position); `None` at the end of the text.
    // Row "exec: source to callable, 4,000 functions".
    #[inline(always)]
    pub(super) fn next_token(&mut self) -> Option<TokenKind> {
        let start = self.at;
        let kind = self.token(*self.text.get(start)?);
        // A token has at least one byte: the walk ends.
        self.at = self.at.max(start + 1);
        Some(kind)
    }

    // The same row.
    #[inline(always)]
    fn token(&mut self, first: u8) -> TokenKind {
        match first {
            b' ' | b'\t' | b'\r' => {
                self.blanks();
                TokenKind::Blank
            }
            b'\n' => TokenKind::LineBreak,
            b'#' if self.peek(1) == b'[' => self.take(2, TokenKind::HashBracket),
            b'#' => self.line_comment(),
            b'/' if self.peek(1) == b'*' => self.block_comment(),
            b'/' if self.rest(0).starts_with(b"///") => self.doc_comment(),
            b'0'..=b'9' => self.number(),
            b'"' => self.text(0),
            b'\'' => self.quote(),
            b'r' if self.peek(1) == b'"' => {
                self.skip(1);
                self.raw(b'"')
            }
            b'f' if self.peek(1) == b'"' => {
                self.skip(1);
                if self.text(0) == TokenKind::UnclosedText {
                    return TokenKind::UnclosedText;
                }
                TokenKind::OldFormat
            }
            b'a'..=b'z' | b'A'..=b'Z' | b'_' => self.word(),
            _ => self.punctuation(first),
        }
    }

    fn line_comment(&mut self) -> TokenKind {
        self.skip_while(|byte| byte != b'\n');
        TokenKind::Comment
    }

    /// A line of documentation, or all lines from one with only `///` to the next such line. Between other lines of
    /// documentation it is an empty one.
    fn doc_comment(&mut self) -> TokenKind {
        let before = self.text.get(..self.at).unwrap_or(&[]);
        self.line_comment();
        let is_doc = |line: &[u8]| line.trim_ascii_start().starts_with(b"///");
        let is_mark = |line: &&[u8]| line.trim_ascii() == b"///";
        let mut above = before.rsplit(|&byte| byte == b'\n');
        let start = above.next().unwrap_or(&[]);
        let line = self.text.get(before.len()..self.at).unwrap_or(&[]);
        if !start.trim_ascii().is_empty() || !is_mark(&line) || above.next().is_some_and(is_doc) {
            return TokenKind::Comment;
        }
        let mut end = self.at;
        for (number, line) in self.rest(0).split(|&byte| byte == b'\n').enumerate().skip(1) {
            end += 1 + line.len();
            if is_mark(&line) && number > 1 {
                self.at = end;
                break;
            }
            if is_doc(line) && number == 1 {
                break;
            }
        }
        TokenKind::Comment
    }

    /// A comment that may contain others.
    fn block_comment(&mut self) -> TokenKind {
        self.skip(2);
        let mut depth = 1_u32;
        while !self.is_at_end() {
            match (self.peek(0), self.peek(1)) {
                (b'*', b'/') => {
                    self.skip(2);
                    depth -= 1;
                    if depth == 0 {
                        return TokenKind::Comment;
                    }
                }
                (b'/', b'*') => {
                    self.skip(2);
                    depth = depth.saturating_add(1);
                }
                _ => self.skip(1),
            }
        }
        TokenKind::UnclosedComment
    }

    fn word(&mut self) -> TokenKind {
        self.skip_while(is_word_byte);
        TokenKind::Word
    }

    /// A number with everything that is attached to it: a suffix is checked where the value is computed.
    fn number(&mut self) -> TokenKind {
        if self.peek(0) == b'0' && matches!(self.peek(1), b'x' | b'X' | b'o' | b'O' | b'b' | b'B') {
            self.skip_while(is_word_byte);
            return TokenKind::Integer;
        }
        let is_digit = |byte: u8| byte.is_ascii_digit() || byte == b'_';
        self.skip_while(is_digit);
        let mut kind = TokenKind::Integer;
        if self.peek(0) == b'.' && self.peek(1).is_ascii_digit() {
            kind = TokenKind::Float;
            self.skip(1);
            self.skip_while(is_digit);
            let has_sign = matches!(self.peek(1), b'+' | b'-') && self.peek(2).is_ascii_digit();
            if matches!(self.peek(0), b'e' | b'E') && (has_sign || self.peek(1).is_ascii_digit()) {
                self.skip(2);
                self.skip_while(is_digit);
            }
        }
        self.skip_while(is_word_byte);
        kind
    }

    /// `"..."` or `"""..."""`, at its first quote, in the braces of `outer` other texts.
    fn text(&mut self, outer: u32) -> TokenKind {
        if self.peek(1) == b'"' && self.peek(2) == b'"' {
            self.skip(3);
            while !self.is_at_end() {
                if (self.peek(0), self.peek(1), self.peek(2)) == (b'"', b'"', b'"') {
                    return self.take(3, TokenKind::DocText);
                }
                self.skip(1);
            }
            return TokenKind::UnclosedText;
        }
        self.skip(1);
        while !self.is_at_end() && self.peek(0) != b'\n' {
            match self.peek(0) {
                b'"' => return self.take(1, TokenKind::Text),
                b'\\' if self.peek(1) != b'\n' => self.skip(2),
                b'{' if self.peek(1) == b'{' => self.skip(2),
                b'{' if outer < MAX_TEXTS => {
                    if !self.braces(outer + 1) {
                        return TokenKind::UnclosedText;
                    }
                }
                _ => self.skip(1),
            }
        }
        if outer == 0 && !self.is_inner {
            self.skip(self.end_in_next_lines().unwrap_or(0));
        }
        TokenKind::UnclosedText
    }

    /// The end of a text that has none on its line, at the line break: behind the first quote of the next lines, if no text
    /// starts at that.
    fn end_in_next_lines(&self) -> Option<usize> {
        let lines = self.rest(0).split_inclusive(|&byte| byte == b'\n').take(1 + MAX_TEXT_LINES);
        let end = lines.flatten().position(|&byte| byte == b'"')? + 1;
        let after = self.rest(end).split(|&byte| byte == b'\n').next()?;
        let is_last = after.iter().filter(|&&byte| byte == b'"').count() % 2 == 0;
        let is_first = after.first().is_some_and(|&byte| byte == b'"' || is_word_byte(byte));
        (is_last && !is_first).then_some(end)
    }

    /// The length of `{...}`, which starts the text, with the texts inside; `None` where it does not end on the line.
    pub(super) fn braces_len(text: &str) -> Option<usize> {
        let mut lexer = Lexer::new(text);
        lexer.braces(1).then_some(lexer.at)
    }

    /// Skips `{...}` at its first brace; whether it ends on the line.
    fn braces(&mut self, texts: u32) -> bool {
        let mut depth = 0_u32;
        while !self.is_at_end() && self.peek(0) != b'\n' {
            match self.peek(0) {
                b'{' => depth = depth.saturating_add(1),
                b'}' if depth == 1 => {
                    self.skip(1);
                    return true;
                }
                b'}' => depth -= 1,
                b'"' if self.text(texts) == TokenKind::UnclosedText => return false,
                b'\\' if self.peek(1) == b'"' => match self.escaped_text() {
                    TokenKind::UnclosedText => return false,
                    _ => continue,
                },
                b'"' => continue,
                _ => {}
            }
            self.skip(1);
        }
        false
    }

    /// `\"...\"`, at its backslash: a text in the braces of another one.
    fn escaped_text(&mut self) -> TokenKind {
        self.skip(2);
        while !self.is_at_end() && !matches!(self.peek(0), b'\n' | b'"') {
            match (self.peek(0), self.peek(1)) {
                (b'\\', b'"') => return self.take(2, TokenKind::Text),
                (b'\\', _) => self.skip(2),
                _ => self.skip(1),
            }
        }
        TokenKind::UnclosedText
    }

    /// A raw text up to the next `end` on the line.
    fn raw(&mut self, end: u8) -> TokenKind {
        self.skip(1);
        self.skip_while(|byte| byte != end && byte != b'\n');
        if self.peek(0) != end || self.is_at_end() {
            return TokenKind::UnclosedText;
        }
        self.take(1, TokenKind::RawText)
    }

    /// A label or a raw text.
    ///
    /// `'name` is a label in front of `: for`, `: while` and `: loop`, and where the line has no other quote.
    fn quote(&mut self) -> TokenKind {
        let rest = self.rest(1);
        let len = rest.iter().take_while(|&&byte| is_word_byte(byte)).count();
        let is_name = rest.first().is_some_and(|byte| byte.is_ascii_alphabetic() || *byte == b'_');
        let after = rest.get(len..).unwrap_or(&[]);
        if !is_name || after.first() == Some(&b'\'') {
            return self.raw(b'\'');
        }
        let line = after.iter().take_while(|&&byte| byte != b'\n');
        let has_quote = line.clone().any(|&byte| byte == b'\'');
        let is_head = after.first() == Some(&b':') && {
            let next = after.get(1..).unwrap_or(&[]).trim_ascii_start();
            [&b"for"[..], b"while", b"loop"].iter().any(|word| next.starts_with(word))
        };
        if has_quote && !is_head {
            return self.raw(b'\'');
        }
        self.take(1 + len, TokenKind::Label)
    }

    fn take(&mut self, len: usize, kind: TokenKind) -> TokenKind {
        self.skip(len);
        kind
    }

    fn punctuation(&mut self, first: u8) -> TokenKind {
        if first == b'\\' {
            return self.backslash();
        }
        let several = several([first, self.peek(1), self.peek(2)]);
        match several.or_else(|| Some((1, one(first)?))) {
            Some((len, kind)) => self.take(len, kind),
            None => self.unknown(),
        }
    }

    fn unknown(&mut self) -> TokenKind {
        // A character of several bytes is one token.
        self.skip(1);
        self.skip_while(|byte| byte & 0xc0 == 0x80);
        TokenKind::Unknown
    }

    /// A backslash joins lines when only blanks follow it on its line.
    fn backslash(&mut self) -> TokenKind {
        let rest = self.rest(1);
        if self.is_inner && rest.first() == Some(&b'"') {
            return self.escaped_text();
        }
        let blanks = rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\r')).count();
        match rest.get(blanks) {
            Some(b'\n') => self.take(blanks + 2, TokenKind::Joined),
            _ => self.take(1, TokenKind::Backslash),
        }
    }
}

/// Whether a word may contain the byte; those above 127 are the bytes of letters beyond ASCII.
fn is_word_byte(byte: u8) -> bool {
    IS_WORD_BYTE.get(usize::from(byte)).copied().unwrap_or(false)
}

static IS_WORD_BYTE: [bool; 256] = {
    let mut table = [false; 256];
    let (mut rest, mut byte) = (table.as_mut_slice(), 0u8);
    while let Some((is_word, tail)) = rest.split_first_mut() {
        *is_word = byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80;
        (rest, byte) = (tail, byte.wrapping_add(1));
    }
    table
};

/// The punctuation of several bytes that the bytes start with, and its length.
fn several(bytes: [u8; 3]) -> Option<(usize, TokenKind)> {
    // Longer ones stand in front of their prefixes.
    Some(match bytes {
        [b':', b':', ..] => (2, TokenKind::ColonColon),
        [b':', b'=', ..] => (2, TokenKind::ColonEqual),
        [b'.', b'.', b'.'] => (3, TokenKind::Ellipsis),
        [b'.', b'.', b'='] => (3, TokenKind::DotDotEqual),
        [b'.', b'.', ..] => (2, TokenKind::DotDot),
        [b'.', b'?', ..] => (2, TokenKind::DotQuestion),
        [b'=', b'>', ..] => (2, TokenKind::FatArrow),
        [b'=', b'=', ..] => (2, TokenKind::EqualEqual),
        [b'+', b'=', ..] => (2, TokenKind::PlusEqual),
        [b'-', b'>', ..] => (2, TokenKind::Arrow),
        [b'-', b'=', ..] => (2, TokenKind::MinusEqual),
        [b'*', b'*', ..] => (2, TokenKind::StarStar),
        [b'*', b'=', ..] => (2, TokenKind::StarEqual),
        [b'/', b'/', ..] => (2, TokenKind::SlashSlash),
        [b'/', b'=', ..] => (2, TokenKind::SlashEqual),
        [b'%', b'=', ..] => (2, TokenKind::PercentEqual),
        [b'<', b'<', b'<'] => (3, TokenKind::LessLessLess),
        [b'<', b'<', ..] => (2, TokenKind::LessLess),
        [b'<', b'=', ..] => (2, TokenKind::LessEqual),
        [b'<', b'-', ..] => (2, TokenKind::LeftArrow),
        [b'>', b'>', b'>'] => (3, TokenKind::GreaterGreaterGreater),
        [b'>', b'>', ..] => (2, TokenKind::GreaterGreater),
        [b'>', b'=', ..] => (2, TokenKind::GreaterEqual),
        [b'!', b'=', ..] => (2, TokenKind::NotEqual),
        [b'&', b'&', ..] => (2, TokenKind::AndAnd),
        [b'|', b'|', ..] => (2, TokenKind::BarBar),
        [b'|', b'>', ..] => (2, TokenKind::BarGreater),
        [b'~', b'>', ..] => (2, TokenKind::TildeGreater),
        [b'?', b'?', ..] => (2, TokenKind::QuestionQuestion),
        [b'?', b'.', ..] => (2, TokenKind::QuestionDot),
        _ => return None,
    })
}

/// The punctuation of one byte.
fn one(byte: u8) -> Option<TokenKind> {
    Some(match byte {
        b'(' => TokenKind::LeftParen,
        b')' => TokenKind::RightParen,
        b',' => TokenKind::Comma,
        b':' => TokenKind::Colon,
        b'.' => TokenKind::Dot,
        b'=' => TokenKind::Equal,
        b'+' => TokenKind::Plus,
        b'-' => TokenKind::Minus,
        b'[' => TokenKind::LeftBracket,
        b']' => TokenKind::RightBracket,
        b'{' => TokenKind::LeftBrace,
        b'}' => TokenKind::RightBrace,
        b'*' => TokenKind::Star,
        b'/' => TokenKind::Slash,
        b'%' => TokenKind::Percent,
        b'<' => TokenKind::Less,
        b'>' => TokenKind::Greater,
        b'!' => TokenKind::Bang,
        b'&' => TokenKind::Ampersand,
        b'|' => TokenKind::Bar,
        b'^' => TokenKind::Caret,
        b'~' => TokenKind::Tilde,
        b';' => TokenKind::Semicolon,
        b'?' => TokenKind::Question,
        b'@' => TokenKind::At,
        b'`' => TokenKind::Backtick,
        _ => return None,
    })
}
