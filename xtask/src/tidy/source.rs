//! A Rust file split into code and the rest, without a parser: comments and literals are blanked, line numbers stay.

/// Replaces comments and the contents of string and character literals by spaces, so that offsets and lines stay.
pub(super) fn code_of(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = match token_end(bytes, at) {
            Some(end) => end.min(bytes.len()),
            None => {
                // A word of letters and digits is skipped as a whole, so that the `r` of `for` opens no raw string.
                at += word_len(bytes, at).max(1);
                continue;
            }
        };
        if let Some(blanked) = out.get_mut(at..end) {
            blanked.iter_mut().filter(|byte| **byte != b'\n').for_each(|byte| *byte = b' ');
        }
        at = end;
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn word_len(bytes: &[u8], at: usize) -> usize {
    let rest = bytes.iter().skip(at);
    rest.take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_').count()
}

/// The end of the comment or literal that begins at `at`.
fn token_end(bytes: &[u8], at: usize) -> Option<usize> {
    let rest = bytes.get(at..)?;
    if rest.starts_with(b"//") {
        return Some(at + rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len()));
    }
    if rest.starts_with(b"/*") {
        return Some(at + block_comment_len(rest));
    }
    let prefix = rest.iter().take_while(|byte| matches!(byte, b'b' | b'c' | b'r')).count();
    let is_raw = rest.get(..prefix)?.contains(&b'r');
    let hashes = rest.iter().skip(prefix).take_while(|byte| **byte == b'#').count();
    let quote = *rest.get(prefix + if is_raw { hashes } else { 0 })?;
    match quote {
        b'"' if is_raw && prefix <= 2 => {
            let close = [&b"\""[..], &vec![b'#'; hashes]].concat();
            let body = prefix + hashes + 1;
            let found = rest.get(body..)?.windows(close.len()).position(|w| w == close);
            Some(at + found.map_or(rest.len(), |found| body + found + close.len()))
        }
        b'"' if prefix <= 1 => Some(at + escaped_len(rest, prefix, b'"')),
        b'\'' if prefix <= 1 && !is_lifetime(rest.get(prefix..)?) => {
            Some(at + escaped_len(rest, prefix, b'\''))
        }
        _ => None,
    }
}

fn block_comment_len(rest: &[u8]) -> usize {
    let (mut depth, mut at) = (0usize, 0);
    while let Some(two) = rest.get(at..at + 2) {
        match two {
            b"/*" => (depth, at) = (depth + 1, at + 2),
            b"*/" => (depth, at) = (depth.saturating_sub(1), at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    rest.len()
}

/// The length of a literal whose opening quote is at `open`.
fn escaped_len(rest: &[u8], open: usize, quote: u8) -> usize {
    let mut at = open + 1;
    while let Some(byte) = rest.get(at) {
        match byte {
            b'\\' => at += 2,
            byte if *byte == quote => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

/// Whether a quote opens a lifetime or a label, not a character.
fn is_lifetime(rest: &[u8]) -> bool {
    let name = word_len(rest, 1);
    name > 0 && rest.get(1 + name) != Some(&b'\'')
}

/// Blanks the modules and items below `#[cfg(test)]` in the text of [`code_of`].
pub(super) fn without_tests(code: &str) -> String {
    // The shim for Miri is test support as well.
    const MARKS: [&str; 4] =
        ["#[cfg(test)]", "#[cfg(miri)]", "#[cfg(all(test, loom))]", "#[cfg(all(test, not(loom)))]"];
    MARKS.iter().fold(code.to_owned(), |code, mark| without(code, mark))
}

fn without(mut code: String, mark: &str) -> String {
    let mut from = 0;
    while let Some(found) = code.get(from..).and_then(|rest| rest.find(mark)) {
        let begin = from + found;
        let end = item_end(&code, begin + mark.len());
        let item = code.get(begin..end).unwrap_or_default();
        let blank: String = item.chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect();
        code.replace_range(begin..end, &blank);
        from = begin;
    }
    code
}

/// The end of the item that begins after `from`: its semicolon, or the brace that closes its body.
pub(super) fn item_end(code: &str, from: usize) -> usize {
    let mut depth = 0usize;
    for (offset, byte) in code.bytes().enumerate().skip(from) {
        match byte {
            b'{' | b'(' | b'[' => depth += 1,
            b'}' | b')' | b']' => {
                depth = depth.saturating_sub(1);
                if depth == 0 && byte == b'}' {
                    return offset + 1;
                }
            }
            b';' if depth == 0 => return offset + 1,
            _ => {}
        }
    }
    code.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_blanked_and_lines_stay() {
        let text = "let a = \"x // y\"; // b\n/* c /* d */ */ let e = 'f'; fn g<'h>() {}\n";
        let code = code_of(text);
        assert_eq!(code.lines().count(), 2);
        assert_eq!(code.len(), text.len());
        for gone in ["x", "y", "b", "c", "d ", "'f'"] {
            assert!(!code.contains(gone), "{gone}: {code}");
        }
        assert!(code.contains("let e =") && code.contains("fn g<'h>() {}"));
    }

    #[test]
    fn raw_strings_and_escaped_quotes_end_where_they_should() {
        assert_eq!(code_of(r##"f(r#"a"b"#, "\"", '\'', for x)"##).replace(' ', ""), "f(,,,forx)");
    }

    #[test]
    fn test_modules_are_blanked() {
        let code =
            "use a;\n#[cfg(test)]\nmod tests {\n    fn f() {}\n}\n#[cfg(test)]\nuse b;\nuse c;\n";
        let code = without_tests(code);
        let lines: Vec<&str> =
            code.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        assert_eq!(lines, ["use a;", "use c;"]);
    }
}
