//! Structures with their size in the first field, so that later versions can append fields.
#![allow(unsafe_code)]

use std::ptr;

use super::args::to_i64;
use super::error::{ApiError, ArgumentError};

type Result<T> = std::result::Result<T, ApiError>;

/// A structure that crosses the C API with its size in bytes.
///
/// # Safety
/// `repr(C)` without padding; the first field is the size, an `i64`; the bytes that C writes are a valid value.
pub(super) unsafe trait VersionedStruct: Copy {
    /// The name in C.
    const NAME: &'static str;
    /// The size of the oldest version, in bytes.
    const OLDEST_SIZE: usize;
}

/// The number of bytes that the caller and this library both know of the structure.
///
/// # Safety
/// `pointer` is null or points to an `i64`.
unsafe fn common_size<S: VersionedStruct>(pointer: *const S) -> Result<usize> {
    if pointer.is_null() {
        return Err(ArgumentError::Null { what: S::NAME }.into());
    }
    // SAFETY: not null, so it points to the size field by the caller's promise.
    let size = unsafe { pointer.cast::<i64>().read_unaligned() };
    let known = usize::try_from(size).ok().filter(|&size| size >= S::OLDEST_SIZE);
    let known = known.ok_or(ArgumentError::SmallStruct { what: S::NAME, size })?;
    Ok(known.min(size_of::<S>()))
}

/// Reads a structure. Fields that the caller does not know come from `default`.
///
/// # Errors
/// [`ArgumentError::Null`], [`ArgumentError::SmallStruct`].
///
/// # Safety
/// `from` is null or points to as many bytes as its first field says.
pub(super) unsafe fn read<S: VersionedStruct>(from: *const S, default: S) -> Result<S> {
    // SAFETY: the caller's promise.
    let len = unsafe { common_size(from) }?;
    let mut value = default;
    let bytes = ptr::from_mut(&mut value).cast::<u8>();
    // SAFETY: both structures have `len` bytes; the result is a value by the trait's contract.
    unsafe { bytes.copy_from_nonoverlapping(from.cast(), len) };
    Ok(value)
}

/// As [`read`]; null stands for `default`.
///
/// # Errors
/// [`ArgumentError::SmallStruct`].
///
/// # Safety
/// As for [`read`].
pub(super) unsafe fn read_or<S: VersionedStruct>(from: *const S, default: S) -> Result<S> {
    if from.is_null() {
        return Ok(default);
    }
    // SAFETY: the caller's promise.
    unsafe { read(from, default) }
}

/// Checks the size of an output structure that may be null.
///
/// # Errors
/// [`ArgumentError::SmallStruct`].
///
/// # Safety
/// As for [`write`].
pub(super) unsafe fn check_optional<S: VersionedStruct>(into: *const S) -> Result<()> {
    if into.is_null() {
        return Ok(());
    }
    // SAFETY: the caller's promise.
    unsafe { common_size(into) }.map(|_| ())
}

/// As [`write`]; nothing is written to null.
///
/// # Errors
/// [`ArgumentError::SmallStruct`].
///
/// # Safety
/// As for [`write`].
pub(super) unsafe fn write_optional<S: VersionedStruct>(into: *mut S, value: S) -> Result<()> {
    if into.is_null() {
        return Ok(());
    }
    // SAFETY: the caller's promise.
    unsafe { write(into, value) }
}

/// Fills in the fields that the caller knows, and the size field with the number of bytes filled in.
///
/// # Errors
/// [`ArgumentError::Null`], [`ArgumentError::SmallStruct`].
///
/// # Safety
/// `into` is null or points to as many writable bytes as its first field says.
pub(super) unsafe fn write<S: VersionedStruct>(into: *mut S, value: S) -> Result<()> {
    // SAFETY: the caller's promise.
    let len = unsafe { common_size(into) }?;
    let bytes = ptr::from_ref(&value).cast::<u8>();
    // SAFETY: not null; both structures have `len` bytes.
    unsafe { into.cast::<u8>().copy_from_nonoverlapping(bytes, len) };
    // SAFETY: the size field is the first.
    unsafe { into.cast::<i64>().write_unaligned(to_i64(len)) };
    Ok(())
}

/// Implements [`VersionedStruct`]: the size of the oldest version, and the current size where it differs.
macro_rules! versioned {
    ($name:ident, $oldest:expr) => {
        versioned!($name, $oldest, $oldest);
    };
    ($name:ident, $oldest:expr, $current:expr) => {
        // SAFETY: `repr(C)`, the size and then numbers and nullable pointers, without padding.
        unsafe impl crate::ffi::versioned_struct::VersionedStruct for $name {
            const NAME: &'static str = stringify!($name);
            const OLDEST_SIZE: usize = $oldest;
        }

        const _: () = assert!(size_of::<$name>() == $current && $oldest <= $current);
    };
}
pub(super) use versioned;

#[cfg(test)]
mod tests {
    use super::*;

    #[repr(C)]
    #[derive(Clone, Copy, Debug, PartialEq)]
    struct Three {
        size: i64,
        first: i64,
        second: i64,
    }
    // SAFETY: as for `versioned!`.
    unsafe impl VersionedStruct for Three {
        const NAME: &'static str = "Three";
        const OLDEST_SIZE: usize = 16;
    }

    const DEFAULT: Three = Three { size: 0, first: -1, second: -2 };

    #[test]
    fn fields_unknown_to_one_side_are_unchanged() {
        for (size, known) in [(16, 2), (24, 3), (4096, 3)] {
            let mut mine = Three { size, first: 5, second: 6 };
            // SAFETY: no more than its 24 bytes are touched.
            let read = unsafe { read(&mine, DEFAULT) }.unwrap();
            let second = if known == 3 { 6 } else { -2 };
            assert_eq!(read, Three { size, first: 5, second });
            // SAFETY: as above.
            unsafe { write(&mut mine, DEFAULT) }.unwrap();
            let second = if known == 3 { -2 } else { 6 };
            assert_eq!(mine, Three { size: known * 8, first: -1, second });
        }
    }

    #[test]
    fn too_small_size_and_null_are_refused() {
        for size in [0, 15, -1, i64::MIN] {
            let mut mine = Three { size, first: 5, second: 6 };
            let small = ArgumentError::SmallStruct { what: "Three", size };
            // SAFETY: the size field is readable.
            assert_eq!(unsafe { read(&mine, DEFAULT) }, Err(small.into()));
            // SAFETY: as above.
            assert_eq!(unsafe { write(&mut mine, DEFAULT) }, Err(small.into()));
            assert_eq!((mine.size, mine.first), (size, 5));
        }
        let null = ArgumentError::Null { what: "Three" };
        // SAFETY: null is allowed.
        assert_eq!(unsafe { read(ptr::null(), DEFAULT) }, Err(null.into()));
        // SAFETY: as above.
        assert_eq!(unsafe { write(ptr::null_mut(), DEFAULT) }, Err(null.into()));
        // SAFETY: as above.
        assert_eq!(unsafe { write_optional(ptr::null_mut(), DEFAULT) }, Ok(()));
        // SAFETY: as above.
        assert_eq!(unsafe { check_optional::<Three>(ptr::null()) }, Ok(()));
    }
}
