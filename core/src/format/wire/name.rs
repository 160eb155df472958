//! NUL-terminated symbol names.
//!
//! A name has at most [`MAX_NAME`] bytes, so that a table whose symbols share one long name cannot make iteration
//! quadratic.

use core::ffi::CStr;

use crate::format::wire::bytes::has_zero;

/// The maximum length of a symbol name, in bytes.
pub const MAX_NAME: usize = 16_383;

/// Whether readers accept a symbol name.
pub(crate) fn is_name(name: &[u8]) -> bool {
    name.len() <= MAX_NAME && !name.contains(&0)
}

/// Whether `strings` starts with `name` and its NUL.
pub(crate) fn starts_with_name(strings: &[u8], name: &[u8]) -> bool {
    strings.get(name.len()) == Some(&0) && strings.starts_with(name)
}

/// Whether the first name of `strings` is `name`. Compares eight bytes at a time.
#[inline]
pub(crate) fn is_first_name(strings: &[u8], name: &[u8]) -> bool {
    let Some((first, [0, ..])) = strings.split_at_checked(name.len()) else { return false };
    match (name.first_chunk(), name.last_chunk(), first.first_chunk(), first.last_chunk()) {
        (Some(begin), Some(end), Some(other_begin), Some(other_end)) => {
            same_text(begin, other_begin)
                && same_text(end, other_end)
                && (name.len() <= 16 || is_same_long(name, first))
        }
        _ => is_same_short(name, first),
    }
}

fn is_same_short(name: &[u8], first: &[u8]) -> bool {
    name.iter().zip(first).fold(true, |same, (a, b)| same & (a == b) & (*a != 0))
}

fn is_same_long(name: &[u8], first: &[u8]) -> bool {
    name == first && is_name(name)
}

/// Whether two words are equal and contain no NUL.
fn same_text(a: &[u8; 8], b: &[u8; 8]) -> bool {
    let (a, b) = (u64::from_le_bytes(*a), u64::from_le_bytes(*b));
    a == b && !has_zero(a)
}

/// The number of bytes of `strings` after its last NUL, up to the length of a name.
pub(crate) fn unended(strings: &[u8]) -> usize {
    let unended = strings.iter().rev().take(MAX_NAME + 1).take_while(|byte| **byte != 0);
    unended.count()
}

/// The name at `offset` in `strings`; `None` if it is unterminated or too long.
pub(crate) fn name_at(strings: &[u8], offset: u32) -> Option<&[u8]> {
    strings.get(usize::try_from(offset).ok()?..).and_then(first_name)
}

/// The name at the start of `strings`; `None` if it is unterminated or too long.
pub(crate) fn first_name(strings: &[u8]) -> Option<&[u8]> {
    let longest = strings.get(..=MAX_NAME).unwrap_or(strings);
    CStr::from_bytes_until_nul(longest).ok().map(CStr::to_bytes)
}
