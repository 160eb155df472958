//! Splitting a row of an SDN table into cells, and the values of cells.

use core::fmt::{self, Write as _};

/// The characters that separate cells from commas and comments.
pub(crate) const BLANKS: [char; 2] = [' ', '\t'];

/// One value of a row.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cell<'d> {
    raw: &'d str,
    quoted: bool,
}

impl<'d> Cell<'d> {
    /// The text as in the file: between the quotes with its escapes, or bare and trimmed.
    pub fn raw(&self) -> &'d str {
        self.raw
    }

    /// Whether the text is quoted.
    pub fn is_quoted(&self) -> bool {
        self.quoted
    }

    /// Whether the value is the empty string.
    pub fn is_empty(&self) -> bool {
        self.raw.is_empty()
    }

    /// The value, borrowed from the file; `None` if it has escapes.
    pub fn as_plain(&self) -> Option<&'d str> {
        let escaped = self.quoted && self.raw.as_bytes().contains(&b'\\');
        (!escaped).then_some(self.raw)
    }

    /// The characters of the value, with escapes resolved.
    pub fn chars(&self) -> impl Iterator<Item = char> + Clone + use<'d> {
        let (mut raw, quoted) = (self.raw.chars(), self.quoted);
        core::iter::from_fn(move || match raw.next()? {
            '\\' if quoted => Some(match raw.next()? {
                'n' => '\n',
                't' => '\t',
                'r' => '\r',
                itself => itself,
            }),
            c => Some(c),
        })
    }

    /// Whether the value equals `text`.
    pub fn eq_str(&self, text: &str) -> bool {
        match self.as_plain() {
            Some(plain) => plain == text,
            None => self.chars().eq(text.chars()),
        }
    }

    /// The value as a boolean: `true` or `1`, `false` or `0`, quoted or not.
    pub fn to_bool(&self) -> Option<bool> {
        match self.raw {
            "true" | "1" => Some(true),
            "false" | "0" => Some(false),
            _ => None,
        }
    }
}

impl fmt::Display for Cell<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.as_plain() {
            Some(plain) => f.write_str(plain),
            None => self.chars().try_for_each(|c| f.write_char(c)),
        }
    }
}

/// The first cell of `text` and the rest after its comma; `None` on a syntax error.
pub(crate) fn split_cell(text: &str) -> Option<(Cell<'_>, Option<&str>)> {
    let text = trim_start(text);
    let Some(string) = text.strip_prefix('"') else { return split_bare(text) };
    let len = closing_quote(string.as_bytes())?;
    let raw = string.get(..len)?;
    let rest = trim_start(string.get(len.checked_add(1)?..)?);
    let next = match rest.as_bytes().first() {
        None | Some(b'#') => None,
        Some(b',') => Some(rest.get(1..)?),
        Some(_) => return None,
    };
    Some((Cell { raw, quoted: true }, next))
}

/// The offset of the closing quote in `string`, which starts after the opening quote; `None` without a closing quote
/// and for an unknown escape.
fn closing_quote(string: &[u8]) -> Option<usize> {
    let mut from = 0usize;
    loop {
        let (skipped, rest) = split_at_any(string.get(from..)?, |b| matches!(b, b'"' | b'\\'));
        from = from.checked_add(skipped)?;
        match rest {
            [b'"', ..] => return Some(from),
            [b'\\', b'n' | b't' | b'r' | b'\\' | b'"', ..] => from = from.checked_add(2)?,
            _ => return None,
        }
    }
}

/// As [`split_cell`], for a cell that is not quoted. A quote inside is a syntax error.
fn split_bare(text: &str) -> Option<(Cell<'_>, Option<&str>)> {
    let bytes = text.as_bytes();
    let mut from = 0usize;
    loop {
        let stops = |b| matches!(b, b',' | b'"' | b'#');
        let (skipped, rest) = split_at_any(bytes.get(from..)?, stops);
        from = from.checked_add(skipped)?;
        let next = match rest {
            [] => None,
            [b',', ..] => Some(text.get(from.checked_add(1)?..)?),
            [b'#', ..] if bytes.get(..from)?.last().is_none_or(|&b| is_blank(b)) => None,
            [b'#', ..] => {
                from = from.checked_add(1)?;
                continue;
            }
            _ => return None,
        };
        return Some((
            Cell { raw: text.get(..from)?.trim_end_matches(BLANKS), quoted: false },
            next,
        ));
    }
}

/// The number of bytes before the first byte for which `stops` holds, and the bytes from there on.
fn split_at_any(bytes: &[u8], stops: impl Fn(u8) -> bool) -> (usize, &[u8]) {
    let len = bytes.iter().position(|&b| stops(b)).unwrap_or(bytes.len());
    (len, bytes.get(len..).unwrap_or(&[]))
}

pub(crate) fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

pub(crate) fn trim_start(text: &str) -> &str {
    text.trim_start_matches(BLANKS)
}

#[cfg(test)]
mod tests {
    use std::string::{String, ToString};
    use std::vec::Vec;

    use super::*;

    /// The cells of a line as (value, quoted), and whether the whole line is valid.
    fn cells(line: &str) -> (Vec<(String, bool)>, bool) {
        let (mut found, mut rest) = (Vec::new(), Some(line));
        while let Some(text) = rest {
            let Some((cell, next)) = split_cell(text) else { return (found, false) };
            found.push((cell.to_string(), cell.is_quoted()));
            rest = next;
        }
        (found, true)
    }

    /// The grammar of a row, one character at a time; `None` on a syntax error.
    fn naive(line: &str) -> Option<Vec<(String, bool)>> {
        let mut found = Vec::new();
        let mut chars = line.chars().peekable();
        loop {
            while chars.next_if(|c| " \t".contains(*c)).is_some() {}
            let quoted = chars.next_if_eq(&'"').is_some();
            let mut value = if quoted { naive_string(&mut chars)? } else { String::new() };
            let mut before = ' ';
            let more = loop {
                match chars.next() {
                    None => break false,
                    Some(',') => break true,
                    Some('#') if quoted || " \t".contains(before) => break false,
                    Some('"') => return None,
                    Some(c) if quoted && !" \t".contains(c) => return None,
                    Some(c) => {
                        before = c;
                        value.extend((!quoted).then_some(c));
                    }
                }
            };
            let value = if quoted { value } else { value.trim_end_matches([' ', '\t']).into() };
            found.push((value, quoted));
            if !more {
                return Some(found);
            }
        }
    }

    /// A string and its closing quote.
    fn naive_string(chars: &mut impl Iterator<Item = char>) -> Option<String> {
        let mut value = String::new();
        loop {
            match chars.next()? {
                '"' => return Some(value),
                '\\' => match chars.next()? {
                    'n' => value.push('\n'),
                    't' => value.push('\t'),
                    'r' => value.push('\r'),
                    c @ ('\\' | '"') => value.push(c),
                    _ => return None,
                },
                c => value.push(c),
            }
        }
    }

    #[test]
    fn cells_of_both_dialects_are_split() {
        let (found, sound) = cells(r#"    1, "Pair", "i64,f64", "a \"b\", c" , true"#);
        assert!(sound);
        let expected = [
            ("1", false),
            ("Pair", true),
            ("i64,f64", true),
            ("a \"b\", c", true),
            ("true", false),
        ];
        assert_eq!(found, expected.map(|(value, quoted)| (value.to_string(), quoted)));
    }

    #[test]
    fn empty_cell_is_counted() {
        for (line, count) in [("", 1), (",", 2), ("\"\"", 1), ("a,", 2), (", ,\"\"", 3)] {
            let (found, sound) = cells(line);
            assert!(sound && found.len() == count, "{line:?}: {found:?}");
        }
    }

    #[test]
    fn comment_after_a_space_ends_the_row() {
        assert_eq!(cells("a#1, b # c, d").0.len(), 2);
        assert_eq!(cells("a#1, b # c, d").0[0].0, "a#1");
        assert_eq!(cells("\"a\"#c, d"), (Vec::from([("a".into(), true)]), true));
        assert_eq!(cells("a, #c, d").0[1].0, "");
    }

    #[test]
    fn malformed_strings_are_refused() {
        for line in
            [r#""a"#, r#""a\"#, r#""a\x""#, r#""a" b"#, r#"a "b""#, r#""a\""#, "\"", "x, \""]
        {
            assert!(!cells(line).1, "{line:?}");
        }
    }

    #[test]
    fn five_escapes_are_resolved_in_quoted_text_only() {
        let (quoted, _) = split_cell(r#""\n\t\r\\\"ü""#).unwrap();
        assert!(
            quoted.eq_str("\n\t\r\\\"ü") && !quoted.eq_str("\n") && quoted.as_plain().is_none()
        );
        assert_eq!(quoted.chars().count(), 6);
        let (bare, _) = split_cell(r"C:\new").unwrap();
        assert!(bare.eq_str(r"C:\new") && bare.as_plain() == Some(r"C:\new"));
    }

    #[test]
    fn boolean_cells_are_read() {
        for (line, expected) in
            [("true", Some(true)), ("\"false\"", Some(false)), ("1", Some(true)), ("maybe", None)]
        {
            assert_eq!(split_cell(line).unwrap().0.to_bool(), expected);
        }
    }

    /// Every line of up to six characters, two under Miri, of an alphabet with one character of each class.
    #[test]
    fn tokenizer_agrees_with_a_naive_reader_on_all_short_lines() {
        const LONGEST: u32 = if cfg!(miri) { 2 } else { 6 };
        const SIGNS: [char; 8] = ['a', ' ', ',', '"', '\\', 'n', '#', 'ü'];
        for len in 0..=LONGEST {
            for number in 0..8usize.pow(len) {
                let line: String = (0..len).map(|i| SIGNS[number >> (3 * i) & 7]).collect();
                let (found, sound) = cells(&line);
                assert_eq!(sound.then_some(found), naive(&line), "{line:?}");
            }
        }
    }
}
