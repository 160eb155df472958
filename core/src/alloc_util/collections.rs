//! Fallible counterparts of the infallible methods of `Vec` and `String`.

use alloc::{boxed::Box, string::String, vec::Vec};
use core::fmt;

use super::error::AllocError;

/// Copies `bytes` to a new box.
///
/// # Errors
/// [`AllocError`].
pub fn try_copy_bytes(bytes: &[u8]) -> Result<Box<[u8]>, AllocError> {
    try_concat(&[bytes])
}

/// Copies `text` to a new string.
pub(crate) fn try_copy_str(text: &str) -> Result<String, AllocError> {
    let mut copy = String::new();
    copy.try_reserve_exact(text.len()).map_err(|_| AllocError)?;
    copy.push_str(text);
    Ok(copy)
}

/// Fallible `String::push_str`.
pub(crate) fn try_push_str(list: &mut String, text: &str) -> Result<(), AllocError> {
    list.try_reserve(text.len()).map_err(|_| AllocError)?;
    list.push_str(text);
    Ok(())
}

/// Writes formatted text to a string. Its only error is that the allocator is out of memory.
pub(crate) struct TryWriter<'t>(pub(crate) &'t mut String);

impl fmt::Write for TryWriter<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        try_push_str(self.0, text).map_err(|AllocError| fmt::Error)
    }
}

/// Fallible `ToString::to_string`.
#[cfg(feature = "kernel")]
pub(crate) fn try_to_string(value: impl fmt::Display) -> Result<String, AllocError> {
    let mut text = String::new();
    fmt::Write::write_fmt(&mut TryWriter(&mut text), format_args!("{value}"))
        .map_err(|_| AllocError)?;
    Ok(text)
}

/// Fallible `<[_]>::concat`.
///
/// # Errors
/// [`AllocError`].
pub fn try_concat(parts: &[&[u8]]) -> Result<Box<[u8]>, AllocError> {
    let mut copy = try_with_capacity(parts.iter().map(|part| part.len()).sum())?;
    parts.iter().for_each(|part| copy.extend_from_slice(part));
    // The length is the capacity, so this does not reallocate.
    Ok(copy.into_boxed_slice())
}

/// Fallible `Vec::with_capacity`.
pub(crate) fn try_with_capacity<T>(capacity: usize) -> Result<Vec<T>, AllocError> {
    let mut list = Vec::new();
    list.try_reserve_exact(capacity).map_err(|_| AllocError)?;
    Ok(list)
}

/// Fallible `vec![fill; len]`.
pub(crate) fn try_filled<T: Clone>(len: usize, fill: &T) -> Result<Vec<T>, AllocError> {
    let mut list = try_with_capacity(len)?;
    list.resize(len, fill.clone());
    Ok(list)
}

/// Fallible `Vec::reserve`.
pub(crate) fn try_reserve<T>(list: &mut Vec<T>, more: usize) -> Result<(), AllocError> {
    list.try_reserve(more).map_err(|_| AllocError)
}

/// Fallible `Vec::resize`.
pub(crate) fn try_resize<T: Clone>(
    list: &mut Vec<T>,
    len: usize,
    fill: T,
) -> Result<(), AllocError> {
    try_reserve(list, len.saturating_sub(list.len()))?;
    list.resize(len, fill);
    Ok(())
}

/// Replaces an entry of a list, which grows by copies of `fill` to have it; the entry before.
#[cfg(feature = "source")]
pub(crate) fn try_replace<T: Clone>(
    list: &mut Vec<T>,
    number: u32,
    fill: T,
    value: T,
) -> Result<T, AllocError> {
    let index = usize::try_from(number).map_err(|_| AllocError)?;
    if index >= list.len() {
        try_resize(list, index.saturating_add(1), fill.clone())?;
    }
    Ok(list.get_mut(index).map_or(fill, |entry| core::mem::replace(entry, value)))
}

/// Fallible `Vec::push`.
///
/// # Errors
/// [`AllocError`].
#[inline]
pub fn try_push<T>(list: &mut Vec<T>, value: T) -> Result<(), AllocError> {
    if list.len() == list.capacity() {
        grow(list)?;
    }
    list.push(value);
    Ok(())
}

#[cold]
#[inline(never)]
fn grow<T>(list: &mut Vec<T>) -> Result<(), AllocError> {
    try_reserve(list, 1)
}

/// Fallible `Iterator::collect`.
///
/// # Errors
/// [`AllocError`].
pub fn try_collect<T>(values: impl Iterator<Item = T>) -> Result<Vec<T>, AllocError> {
    let mut list = try_with_capacity(values.size_hint().0)?;
    for value in values {
        try_push(&mut list, value)?;
    }
    Ok(list)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_hold_the_bytes_and_too_large_a_capacity_is_an_error() {
        assert_eq!(&*try_concat(&[b"na", b"", b"me"]).unwrap(), b"name");
        assert_eq!(try_collect((0..5).filter(|n| n % 2 == 0)), Ok(std::vec![0, 2, 4]));
        assert_eq!(try_with_capacity::<u64>(usize::MAX), Err(AllocError));
    }
}
