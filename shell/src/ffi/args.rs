//! What a number from C must be before anything is done with it: the one place that says so.

use super::error::ApiError;

/// An address: not null, and below the half of the address space that belongs to the kernel.
#[inline]
pub(super) fn address(what: &'static str, value: i64) -> Result<usize, ApiError> {
    match usize::try_from(value) {
        Ok(0) => Err(ApiError::Null { what }),
        Ok(address) => Ok(address),
        Err(_) => Err(ApiError::Negative { what, value }),
    }
}

/// A number of bytes, at least one.
#[inline]
pub(super) fn size(value: i64) -> Result<u64, ApiError> {
    match length("the size", value)? {
        0 => Err(ApiError::Zero { what: "the size" }),
        size => Ok(size),
    }
}

/// A number of bytes, or of things, that may be 0.
#[inline]
pub(super) fn length(what: &'static str, value: i64) -> Result<u64, ApiError> {
    u64::try_from(value).map_err(|_| ApiError::Negative { what, value })
}

/// A range of addresses: not null, not empty, and with an end.
#[inline]
pub(super) fn range(start: i64, bytes: i64) -> Result<std::ops::Range<usize>, ApiError> {
    let start = address("the address", start)?;
    let bytes = usize::try_from(size(bytes)?).ok();
    let end = bytes.and_then(|bytes| start.checked_add(bytes));
    end.map(|end| start..end).ok_or(ApiError::TooLarge { what: "the size", value: i64::MAX })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_be_meant_passes() {
        assert_eq!(address("it", 0), Err(ApiError::Null { what: "it" }));
        assert_eq!(address("it", -1), Err(ApiError::Negative { what: "it", value: -1 }));
        assert_eq!(address("it", i64::MAX), Ok(usize::MAX / 2));
        assert_eq!(size(0), Err(ApiError::Zero { what: "the size" }));
        assert!(size(i64::MIN).is_err() && size(1) == Ok(1) && length("it", 0) == Ok(0));
        assert_eq!(range(4096, 16), Ok(4096..4112));
        for (start, bytes) in [(0, 1), (-1, 1), (1, 0), (1, -1), (i64::MIN, i64::MIN)] {
            assert!(range(start, bytes).is_err(), "{start} {bytes}");
        }
        assert_eq!(range(i64::MAX, i64::MAX), Ok(usize::MAX / 2..usize::MAX - 1));
    }
}
