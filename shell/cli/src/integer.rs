//! Integer arguments.

use std::ffi::OsString;

use clap::builder::{OsStringValueParser, TypedValueParser};

/// Parses a 64-bit integer, decimal or `0x` hexadecimal, with an optional `-`. The upper half of the unsigned
/// range wraps, as in a register.
pub(crate) fn integer(text: &str) -> Result<i64, String> {
    let digits = text.strip_prefix('-');
    let (is_negative, digits) = (digits.is_some(), digits.unwrap_or(text));
    let hex = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X"));
    let (digits, radix) = hex.map_or((digits, 10), |digits| (digits, 16));
    let magnitude = Some(digits)
        .filter(|digits| !digits.starts_with('+'))
        .and_then(|digits| u64::from_str_radix(digits, radix).ok());
    let value = magnitude.and_then(|magnitude| match is_negative {
        true => 0i64.checked_sub_unsigned(magnitude),
        false => Some(magnitude.cast_signed()),
    });
    value.ok_or_else(|| "not a 64-bit integer, decimal or 0x hexadecimal".to_owned())
}

/// A parser of integers from 0 to `max`, in the forms of [`integer`].
pub(crate) fn up_to<T: TryFrom<i64>>(max: i64) -> impl Fn(&str) -> Result<T, String> + Clone {
    move |text| {
        let number = integer(text).ok().filter(|number| (0..=max).contains(number));
        let number = number.and_then(|number| T::try_from(number).ok());
        number.ok_or_else(|| format!("not an integer from 0 to {max}, decimal or 0x hexadecimal"))
    }
}

/// What precedes an argument such as `-0x10` for clap, which takes it for options. No argument of a process has a NUL.
const MARK: &str = "\0";

/// The arguments with [`MARK`] before negative hexadecimal integers, which [`argument`] removes. Arguments after `--` are
/// unchanged, because they are never options.
pub(crate) fn mark_negatives(
    args: impl Iterator<Item = OsString>,
) -> impl Iterator<Item = OsString> {
    let mut options = true;
    args.map(move |arg| {
        options &= arg != "--";
        let is_hex = |text: &&str| text.starts_with("-0x") || text.starts_with("-0X");
        match arg.to_str().filter(|_| options).filter(is_hex) {
            Some(text) if integer(text).is_ok() => format!("{MARK}{text}").into(),
            _ => arg,
        }
    })
}

/// A parser of an argument of a function, which may be a negative hexadecimal integer.
pub(crate) fn argument() -> impl TypedValueParser<Value = OsString> {
    OsStringValueParser::new().map(|arg| match arg.to_str().and_then(|t| t.strip_prefix(MARK)) {
        Some(text) => text.into(),
        None => arg,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integer_accepts_signed_and_unsigned_range() {
        for (text, value) in [
            ("0", 0),
            ("-5", -5),
            ("0x10", 16),
            ("-0X10", -16),
            ("9223372036854775808", i64::MIN),
            ("18446744073709551615", -1),
            ("0xffffffffffffffff", -1),
            ("-9223372036854775808", i64::MIN),
        ] {
            assert_eq!(integer(text), Ok(value), "{text}");
        }
        for text in [
            "",
            "-",
            "0x",
            "+1",
            "0x+1",
            "-+1",
            "--1",
            "1.5",
            "ten",
            " 1",
            "0x-1",
            "18446744073709551616",
            "-9223372036854775809",
        ] {
            assert!(integer(text).is_err(), "{text}");
        }
    }

    #[test]
    fn negative_hexadecimal_argument_is_marked_and_parsed_as_it_was() {
        let args = ["smf", "run", "-0x10", "-0xg", "-5", "--", "-0x10"].map(OsString::from);
        let found: Vec<_> = mark_negatives(args.clone().into_iter()).collect();
        assert_eq!(found, ["smf", "run", "\0-0x10", "-0xg", "-5", "--", "-0x10"]);
        let command = clap::Command::new("smf");
        let parsed = |arg: &OsString| argument().parse_ref(&command, None, arg).unwrap();
        assert_eq!(found.iter().map(parsed).collect::<Vec<_>>(), args);
    }
}
