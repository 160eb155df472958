//! Validation of numbers that C passes.

use std::ops::Range;

use super::error::ArgumentError;

type Result<T> = std::result::Result<T, ArgumentError>;

/// An address: neither null nor in the kernel's half of the address space.
#[inline]
pub(super) fn address(what: &'static str, value: i64) -> Result<usize> {
    match usize::try_from(value) {
        Ok(0) => Err(ArgumentError::Null { what }),
        Ok(address) => Ok(address),
        Err(_) => Err(ArgumentError::Negative { what, value }),
    }
}

/// A size, at least 1.
#[inline]
pub(super) fn size(value: i64) -> Result<u64> {
    match length("the size", value)? {
        0 => Err(ArgumentError::Zero { what: "the size" }),
        size => Ok(size),
    }
}

/// A length or a count, which may be 0.
#[inline]
pub(super) fn length(what: &'static str, value: i64) -> Result<u64> {
    u64::try_from(value).map_err(|_| ArgumentError::Negative { what, value })
}

/// The length of an array of `T` that fits the address space.
pub(super) fn array_len<T>(what: &'static str, value: i64) -> Result<usize> {
    let max = isize::MAX as usize / size_of::<T>().max(1);
    if value < 0 {
        return Err(ArgumentError::NegativeLength { what, value });
    }
    let len = usize::try_from(value).ok().filter(|&len| len <= max);
    len.ok_or(ArgumentError::TooLarge { what, value })
}

/// A range of addresses: not null, not empty, and with an end.
#[inline]
pub(super) fn range(start: i64, bytes: i64) -> Result<Range<usize>> {
    let start = address("the address", start)?;
    let len = usize::try_from(size(bytes)?).ok();
    let end = len.and_then(|len| start.checked_add(len));
    end.map(|end| start..end).ok_or(ArgumentError::TooLarge { what: "the size", value: bytes })
}

/// A number as C receives it; `i64::MAX` for a larger one.
pub(super) fn to_i64(value: impl TryInto<i64>) -> i64 {
    value.try_into().unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_outside_of_their_domain_are_refused() {
        assert_eq!(address("it", 0), Err(ArgumentError::Null { what: "it" }));
        assert_eq!(address("it", -1), Err(ArgumentError::Negative { what: "it", value: -1 }));
        assert_eq!(address("it", i64::MAX), Ok(usize::MAX / 2));
        assert_eq!(size(0), Err(ArgumentError::Zero { what: "the size" }));
        assert!(size(i64::MIN).is_err() && size(1) == Ok(1) && length("it", 0) == Ok(0));
        assert_eq!(array_len::<u64>("it", 5), Ok(5));
        assert!(array_len::<u64>("it", i64::MAX).is_err() && array_len::<u8>("it", -1).is_err());
        assert_eq!(range(4096, 16), Ok(4096..4112));
        for (start, bytes) in [(0, 1), (-1, 1), (1, 0), (1, -1), (i64::MIN, i64::MIN)] {
            assert!(range(start, bytes).is_err(), "{start} {bytes}");
        }
        assert_eq!(range(i64::MAX, i64::MAX), Ok(usize::MAX / 2..usize::MAX - 1));
        assert_eq!((to_i64(7usize), to_i64(u64::MAX)), (7, i64::MAX));
    }
}
