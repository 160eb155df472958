//! The typed code of the runtime's compiler: a byte form of a function that returns its parameters.
//!
//! | bytes | meaning |
//! |-------|---------|
//! | `00` count result | a function with `count` parameters |
//! | `01` tag size | a parameter: its type and its size in bytes; one for each |
//! | `10` | the start of the body |
//! | `20` index tag | loads a parameter; any number |
//! | `fe` | the exit |
//! | `ff` tag | a result; any number |
//!
//! Source: the Simple loader, `compiler_sffi.spl`.

use thiserror::Error;

const FUNCTION: u8 = 0x00;
const PARAMETER: u8 = 0x01;
const BODY: u8 = 0x10;
const LOAD: u8 = 0x20;
const EXIT: u8 = 0xfe;
const RESULT: u8 = 0xff;

/// Types: integer, float, bool, text, named, and any other. The runtime refuses unsigned integers (0x11), arrays (0x60)
/// and vectors (0x70).
const TAGS: [u8; 6] = [0x10, 0x20, 0x30, 0x40, 0x50, 0x00];

/// The reason why bytes are not typed code.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("the code has no {expected} at byte {offset}")]
pub(super) struct TypedCodeError {
    expected: &'static str,
    offset: usize,
}

/// Checks the form of typed code, and that each parameter is loaded with its type.
///
/// # Errors
/// The first byte that differs from the form.
pub(super) fn check(code: &[u8]) -> Result<(), TypedCodeError> {
    let absent =
        |expected, rest: &[u8]| TypedCodeError { expected, offset: code.len() - rest.len() };
    let [FUNCTION, count, _, rest @ ..] = code else {
        return Err(absent("function header", code));
    };
    let (mut rest, mut tags) = (rest, Vec::new());
    for _ in 0..*count {
        match rest {
            [PARAMETER, tag, _, next @ ..] if TAGS.contains(tag) => {
                tags.push(*tag);
                rest = next;
            }
            _ => return Err(absent("parameter of a known type", rest)),
        }
    }
    rest = rest.strip_prefix(&[BODY]).ok_or_else(|| absent("start of the body", rest))?;
    while let [LOAD, index, tag, next @ ..] = rest {
        if tags.get(usize::from(*index)) != Some(tag) {
            return Err(absent("parameter of this type to load", rest));
        }
        rest = next;
    }
    rest = rest.strip_prefix(&[EXIT]).ok_or_else(|| absent("exit", rest))?;
    while let [RESULT, tag, next @ ..] = rest {
        if !TAGS.contains(tag) {
            break;
        }
        rest = next;
    }
    if rest.is_empty() { Ok(()) } else { Err(absent("result of a known type", rest)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `max` of one `i64`, as the runtime's compiler writes it.
    const MAX: [u8; 13] = [0, 1, 0, 1, 0x10, 8, 0x10, 0x20, 0, 0x10, 0xfe, 0xff, 0x10];

    #[test]
    fn typed_code_is_accepted_and_every_other_byte_is_refused() {
        assert_eq!(check(&MAX), Ok(()));
        assert_eq!(check(&[0, 0, 0, 0x10, 0xfe]), Ok(()));
        for (at, byte, expected) in [
            (0, 1, "the code has no function header at byte 0"),
            (1, 0, "the code has no start of the body at byte 3"),
            (1, 2, "the code has no parameter of a known type at byte 6"),
            (4, 0x11, "the code has no parameter of a known type at byte 3"),
            (6, 0, "the code has no start of the body at byte 6"),
            (7, 0xff, "the code has no exit at byte 7"),
            (8, 1, "the code has no parameter of this type to load at byte 7"),
            (9, 0x20, "the code has no parameter of this type to load at byte 7"),
            (10, 0xff, "the code has no exit at byte 10"),
            (12, 0x60, "the code has no result of a known type at byte 11"),
        ] {
            let mut code = MAX;
            code[at] = byte;
            assert_eq!(check(&code).unwrap_err().to_string(), expected);
        }
        let whole = [11, 13];
        for len in (0..MAX.len()).filter(|len| !whole.contains(len)) {
            assert!(check(&MAX[..len]).is_err(), "{len}");
        }
    }
}
