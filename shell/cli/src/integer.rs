//! Integer arguments.

use std::ffi::OsString;

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

/// The arguments with `-0x10` spelled `-16`: clap parses the latter as a value and the former as an unknown
/// option. Arguments after `--` are unchanged, because they are never options.
pub(crate) fn with_decimal_negatives(
    args: impl Iterator<Item = OsString>,
) -> impl Iterator<Item = OsString> {
    let mut options = true;
    args.map(move |arg| {
        options &= arg != "--";
        let is_hex = |text: &&str| text.starts_with("-0x") || text.starts_with("-0X");
        match arg.to_str().filter(|_| options).filter(is_hex).map(integer) {
            Some(Ok(value)) => value.to_string().into(),
            _ => arg,
        }
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
    fn negative_hexadecimal_argument_becomes_decimal() {
        let args = ["smf", "run", "-0x10", "-0xg", "-5", "--", "-0x10"].map(OsString::from);
        let found: Vec<_> = with_decimal_negatives(args.into_iter()).collect();
        assert_eq!(found, ["smf", "run", "-16", "-0xg", "-5", "--", "-0x10"]);
    }
}
