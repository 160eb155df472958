//! Values of literals: numbers with their suffixes, and the escapes of texts.

use alloc::vec::Vec;

use super::code::Code;
use crate::alloc_util::{AllocError, try_push};
use crate::ir::Scalar;

/// A number literal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Number {
    Integer(u64, Option<Scalar>),
    /// The bits of an f64.
    Float(u64, Option<Scalar>),
}

/// Why a literal has no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LiteralError {
    pub(super) code: Code,
    pub(super) message: &'static str,
}

const fn bad(message: &'static str) -> LiteralError {
    LiteralError { code: Code::BadNumber, message }
}

const UNIT: LiteralError = LiteralError {
    code: Code::Refused,
    message: "a unit suffix is not supported: units are a library; \
              the suffixes are i8 i16 i32 i64 u8 u16 u32 u64 f32 f64",
};

fn suffix(text: &str) -> Result<Option<Scalar>, LiteralError> {
    if text.is_empty() {
        return Ok(None);
    }
    match Scalar::from_name(text) {
        Some(Scalar::Bool | Scalar::Pointer) | None => Err(UNIT),
        scalar => Ok(scalar),
    }
}

/// The value of an integer or float token.
pub(super) fn number(text: &str) -> Result<Number, LiteralError> {
    let (radix, digits) = match text.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, text.get(2..)),
        [b'0', b'o' | b'O', ..] => (8, text.get(2..)),
        [b'0', b'b' | b'B', ..] => (2, text.get(2..)),
        _ => (10, Some(text)),
    };
    let mut rest = digits.unwrap_or("");
    let (mut value, mut has_digits) = (Some(0_u64), false);
    while let Some(&byte) = rest.as_bytes().first() {
        match char::from(byte).to_digit(radix) {
            Some(digit) => {
                let next = value.and_then(|value| value.checked_mul(radix.into()));
                value = next.and_then(|value| value.checked_add(digit.into()));
                has_digits = true;
            }
            None if byte == b'_' => {}
            None => break,
        }
        rest = rest.get(1..).unwrap_or("");
    }
    if radix == 10 && rest.starts_with('.') {
        return float(text, None);
    }
    if radix == 10 && rest.starts_with(['e', 'E']) {
        return Err(bad("a number with an exponent needs a point, as in 1.0e5"));
    }
    let ty = suffix(rest);
    if rest.starts_with(|next: char| next.is_ascii_digit()) || radix != 10 && ty.is_err() {
        return Err(bad("the number has a digit that its radix does not have"));
    }
    let ty = ty?;
    if !has_digits {
        return Err(bad("the number has no digits"));
    }
    let value = value.ok_or(bad("the number does not fit 64 bits"))?;
    Ok(Number::Integer(value, ty))
}

/// The f32 that is nearest to a float without a suffix. That nearest to its f64 may be another one.
pub(super) fn nearest_f32(text: &str) -> Option<f64> {
    match float(text, Some(Scalar::F32)) {
        Ok(Number::Float(bits, _)) => Some(f64::from_bits(bits)),
        _ => None,
    }
}

/// A number with a fraction: of the type of its suffix, else of `wanted`.
fn float(text: &str, wanted: Option<Scalar>) -> Result<Number, LiteralError> {
    let mut end = text.len();
    // A suffix starts with a letter that is no exponent.
    let bytes = text.as_bytes();
    let exponent = |at: usize| {
        let next = bytes.get(at + 1).copied().unwrap_or(0);
        next.is_ascii_digit() || matches!(next, b'+' | b'-')
    };
    for (at, byte) in bytes.iter().copied().enumerate() {
        let is_exponent = matches!(byte, b'e' | b'E') && exponent(at);
        if !is_exponent && !byte.is_ascii_digit() && !matches!(byte, b'.' | b'_' | b'+' | b'-') {
            end = at;
            break;
        }
    }
    let (digits, rest) = text.split_at_checked(end).unwrap_or((text, ""));
    let ty = suffix(rest)?.or(wanted);
    // `parse` takes no separators; a number without its buffer's length has none of practical length.
    let mut buffer = [0_u8; 400];
    let mut len = 0;
    for byte in digits.bytes().filter(|&byte| byte != b'_') {
        let Some(place) = buffer.get_mut(len) else { return Err(bad("the number is too long")) };
        *place = byte;
        len += 1;
    }
    let digits = buffer.get(..len).and_then(|bytes| core::str::from_utf8(bytes).ok());
    let value = digits.and_then(|digits| match ty {
        // By way of an f64 it would be rounded twice.
        Some(Scalar::F32) => digits.parse::<f32>().ok().map(f64::from),
        _ => digits.parse::<f64>().ok(),
    });
    let value = value.ok_or(bad("the number is malformed"))?;
    if ty == Some(Scalar::F32) && value.is_infinite() {
        return Err(bad("the number does not fit `f32`"));
    }
    if value.is_infinite() {
        return Err(bad("the number does not fit `f64`"));
    }
    if ty.is_some_and(|ty| !ty.is_float()) {
        return Err(bad("a number with a fraction has no integer type"));
    }
    Ok(Number::Float(value.to_bits(), ty))
}

/// Appends a character to `out`.
pub(super) fn push_char(out: &mut Vec<u8>, character: char) -> Result<(), AllocError> {
    let mut buffer = [0; 4];
    character.encode_utf8(&mut buffer).bytes().try_for_each(|byte| try_push(out, byte))
}

/// The character of the escape sequence behind a backslash in `rest`, and the bytes that it takes.
pub(super) fn escape(rest: &str) -> Result<(char, usize), LiteralError> {
    let error =
        LiteralError { code: Code::BadEscape, message: "the escape has no hexadecimal digits" };
    let hex = |from: usize, len: usize| {
        let digits = rest.get(from..from + len).ok_or(error)?;
        // A sign would be accepted in front of them.
        if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(error);
        }
        let value = u32::from_str_radix(digits, 16).ok().and_then(char::from_u32);
        let message = "no character has this number: they are at most 10FFFF, without D800 to DFFF";
        value.ok_or(LiteralError { message, ..error })
    };
    let first = rest.chars().next().ok_or(error)?;
    let simple = match first {
        'n' => '\n',
        't' => '\t',
        'r' => '\r',
        '0' => '\0',
        'a' => '\x07',
        'b' => '\x08',
        'f' => '\x0c',
        'v' => '\x0b',
        'x' => return Ok((hex(1, 2)?, 3)),
        'u' if rest.as_bytes().get(1) == Some(&b'{') => {
            let len = rest.find('}').and_then(|end| end.checked_sub(2)).ok_or(error)?;
            return Ok((hex(2, len)?, len + 3));
        }
        'u' => return Ok((hex(1, 4)?, 5)),
        // Any other escaped character is itself.
        other => other,
    };
    Ok((simple, first.len_utf8()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_have_every_radix_separators_and_suffixes() {
        for (text, value, ty) in [
            ("0", 0, None),
            ("12_34_56", 123_456, None),
            ("0xFF_00", 65_280, None),
            ("0x1A2B", 6_699, None),
            ("0b101", 5, None),
            ("0o17", 15, None),
            ("42i32", 42, Some(Scalar::I32)),
            ("255u8", 255, Some(Scalar::U8)),
            ("0x10u16", 16, Some(Scalar::U16)),
            ("18446744073709551615", u64::MAX, None),
            ("3f64", 3, Some(Scalar::F64)),
        ] {
            assert_eq!(number(text), Ok(Number::Integer(value, ty)), "{text}");
        }
        for text in ["18446744073709551616", "0x", "100_km", "7kg", "1bool"] {
            assert!(number(text).is_err(), "{text}");
        }
        let message = "the number has a digit that its radix does not have";
        for text in ["0xZZ", "0x1G", "0b12", "0o1i8x"] {
            assert_eq!(number(text), Err(bad(message)), "{text}");
        }
    }

    #[test]
    fn floats_have_exponents_separators_and_suffixes() {
        for (text, value, ty) in [
            ("1.5", 1.5, None),
            ("1_000.25", 1000.25, None),
            ("2.5e3", 2500.0, None),
            ("2.5e-1", 0.25, None),
            ("7.5f32", 7.5, Some(Scalar::F32)),
            // Just below the middle between two values, which the nearest f64 is.
            ("1.00000017881393432617187499f32", 1.000_000_119_209_289_6, Some(Scalar::F32)),
        ] {
            assert_eq!(number(text), Ok(Number::Float(f64::to_bits(value), ty)), "{text}");
        }
        for text in ["1.5i32", "1.5km", "1.0e39f32", "1.0e309"] {
            assert!(number(text).is_err(), "{text}");
        }
    }

    #[test]
    fn escapes_give_their_characters() {
        for (text, character, len) in [
            ("n", '\n', 1),
            ("x41z", 'A', 3),
            ("u00e9", 'é', 5),
            ("u{1F600}", '😀', 8),
            ("u{000000041}", 'A', 12),
            ("q", 'q', 1),
            ("\"", '"', 1),
        ] {
            assert_eq!(escape(text), Ok((character, len)), "{text}");
        }
        for text in
            ["", "x", "xg0", "x+4", "u{}", "u{+41}", "u+041", "u{d800}", "u{100000041}", "u12"]
        {
            assert!(escape(text).is_err(), "{text}");
        }
    }
}
