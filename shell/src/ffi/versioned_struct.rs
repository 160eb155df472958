//! Structures whose first field says how large the caller knows them to be, so that they may grow.
#![allow(unsafe_code)]

use std::ptr;

use super::error::ApiError;

/// A structure that C fills in or wants filled in.
///
/// # Safety
/// All of its bytes are fields, the first of which is an `i64`: the size. Any bytes are a value.
pub(super) unsafe trait Structure: Copy {
    /// Its name in C.
    const NAME: &'static str;
    /// The bytes of its first version.
    const FIRST: usize;

    /// The same with another size.
    fn with_size(self, size: i64) -> Self;
}

/// What the caller says is the size, if it is one that the structure ever had.
///
/// # Safety
/// `pointer` is null or points to an `i64`.
unsafe fn size<S: Structure>(pointer: *const S) -> Result<usize, ApiError> {
    if pointer.is_null() {
        return Err(ApiError::Null { what: S::NAME });
    }
    // SAFETY: not null, and the first field is there, says the caller.
    let size = unsafe { pointer.cast::<i64>().read_unaligned() };
    let wanted = usize::try_from(size).ok().filter(|&size| size >= S::FIRST);
    wanted.ok_or(ApiError::SmallStruct { what: S::NAME, size })
}

/// Reads a structure, as much of it as both sides know; the rest is that of `rest`.
///
/// # Errors
/// [`ApiError::Null`], [`ApiError::SmallStruct`].
///
/// # Safety
/// `from` is null or points to as many bytes as its first field says.
pub(super) unsafe fn read<S: Structure>(from: *const S, rest: S) -> Result<S, ApiError> {
    // SAFETY: passed on to the caller.
    let room = unsafe { size(from) }?.min(size_of::<S>());
    let mut value = rest;
    let bytes = ptr::from_mut(&mut value).cast::<u8>();
    // SAFETY: as long as its size says, and no more than there is of ours; any bytes are a value.
    unsafe { bytes.copy_from_nonoverlapping(from.cast(), room) };
    Ok(value)
}

/// As [`read`], where null means `all`.
///
/// # Errors
/// [`ApiError::SmallStruct`].
///
/// # Safety
/// `from` is null or points to as many bytes as its first field says.
pub(super) unsafe fn read_or<S: Structure>(from: *const S, all: S) -> Result<S, ApiError> {
    if from.is_null() {
        return Ok(all);
    }
    // SAFETY: passed on to the caller.
    unsafe { read(from, all) }
}

/// Whether a structure can be filled in that may be null when it is not wanted.
///
/// # Errors
/// [`ApiError::SmallStruct`].
///
/// # Safety
/// `into` is null or points to as many bytes as its first field says.
pub(super) unsafe fn check_wanted<S: Structure>(into: *const S) -> Result<(), ApiError> {
    if into.is_null() {
        return Ok(());
    }
    // SAFETY: passed on to the caller.
    unsafe { size(into) }.map(|_| ())
}

/// [`write`], unless the structure is null and so not wanted.
///
/// # Errors
/// [`ApiError::SmallStruct`].
///
/// # Safety
/// As [`write`].
pub(super) unsafe fn write_wanted<S: Structure>(into: *mut S, value: S) -> Result<(), ApiError> {
    if into.is_null() {
        return Ok(());
    }
    // SAFETY: passed on to the caller.
    unsafe { write(into, value) }
}

/// Fills in a structure, as much of it as both sides know, and its size with how much that is.
///
/// # Errors
/// [`ApiError::Null`], [`ApiError::SmallStruct`].
///
/// # Safety
/// `into` is null or points to as many bytes as its first field says, which may be written.
pub(super) unsafe fn write<S: Structure>(into: *mut S, value: S) -> Result<(), ApiError> {
    // SAFETY: passed on to the caller.
    let room = unsafe { size(into) }?.min(size_of::<S>());
    let value = value.with_size(i64::try_from(room).unwrap_or(i64::MAX));
    let bytes = ptr::from_ref(&value).cast::<u8>();
    // SAFETY: not null, and as long as its size says; no more than there is of ours.
    unsafe { into.cast::<u8>().copy_from_nonoverlapping(bytes, room) };
    Ok(())
}

/// Makes a structure one that has a size: that of its first version, and that of this one where it has grown.
macro_rules! sized {
    ($name:ident, $first:expr) => {
        sized!($name, $first, $first);
    };
    ($name:ident, $first:expr, $now:expr) => {
        // SAFETY: `repr(C)`, of numbers and pointers alone, without padding; the first is the size.
        unsafe impl crate::ffi::versioned_struct::Structure for $name {
            const NAME: &'static str = stringify!($name);
            const FIRST: usize = $first;

            fn with_size(self, size: i64) -> Self {
                Self { size, ..self }
            }
        }

        // What C knows by that name.
        const _: () = assert!(size_of::<$name>() == $now && $first <= $now);
    };
}
pub(super) use sized;

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
    // SAFETY: as the macro says.
    unsafe impl Structure for Three {
        const NAME: &'static str = "Three";
        const FIRST: usize = 16;

        fn with_size(self, size: i64) -> Self {
            Self { size, ..self }
        }
    }

    const REST: Three = Three { size: 0, first: -1, second: -2 };

    #[test]
    fn what_one_side_does_not_know_is_left_alone() {
        for (size, known) in [(16, 2), (24, 3), (4096, 3)] {
            let mut mine = Three { size, first: 5, second: 6 };
            // SAFETY: no more than its 24 bytes are touched.
            let read = unsafe { read(&mine, REST) }.unwrap();
            let second = if known == 3 { 6 } else { -2 };
            assert_eq!(read, Three { size, first: 5, second });
            // SAFETY: as above.
            unsafe { write(&mut mine, REST) }.unwrap();
            let second = if known == 3 { -2 } else { 6 };
            assert_eq!(mine, Three { size: known * 8, first: -1, second });
        }
    }

    #[test]
    fn what_cannot_be_a_size_is_refused() {
        for size in [0, 15, -1, i64::MIN] {
            let mut mine = Three { size, first: 5, second: 6 };
            let small = ApiError::SmallStruct { what: "Three", size };
            // SAFETY: the size is there.
            assert_eq!(unsafe { read(&mine, REST) }, Err(small));
            // SAFETY: as above.
            assert_eq!(unsafe { write(&mut mine, REST) }, Err(small));
            assert_eq!((mine.size, mine.first), (size, 5));
        }
        let null = Err(ApiError::Null { what: "Three" });
        // SAFETY: null is allowed.
        assert_eq!(unsafe { read(ptr::null(), REST) }, null.map(|()| REST));
        // SAFETY: as above.
        assert_eq!(unsafe { write(ptr::null_mut(), REST) }, null);
        // SAFETY: as above.
        assert_eq!(unsafe { write_wanted(ptr::null_mut(), REST) }, Ok(()));
        // SAFETY: as above.
        assert_eq!(unsafe { check_wanted::<Three>(ptr::null()) }, Ok(()));
    }
}
