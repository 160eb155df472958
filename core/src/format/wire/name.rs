//! Names in the text that a file has for them, each with a NUL behind it.
//!
//! They end within [`MAX_NAME`] bytes, so that a table whose symbols all share one enormous name cannot
//! make walking it quadratic.

use core::ffi::CStr;

use crate::format::wire::bytes::has_zero;

/// The greatest length of a symbol's name, in bytes.
pub const MAX_NAME: usize = 16_383;

/// Whether `strings` begins with `name` and its NUL.
#[cfg_attr(feature = "full", inline(always))]
pub(crate) fn starts_with_name(strings: &[u8], name: &[u8]) -> bool {
    strings.get(name.len()) == Some(&0) && strings.starts_with(name)
}

/// Whether the first name of `strings` is `name`. The bytes are compared eight at a time: names are
/// short, and a call takes as long as comparing them.
#[cfg_attr(feature = "full", inline(always))]
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
    name.len() <= MAX_NAME && name == first && !name.contains(&0)
}

/// Whether two words are the same and hold no NUL.
#[cfg_attr(feature = "full", inline(always))]
fn same_text(a: &[u8; 8], b: &[u8; 8]) -> bool {
    let (a, b) = (u64::from_le_bytes(*a), u64::from_le_bytes(*b));
    a == b && !has_zero(a)
}

/// How many bytes of `strings` follow its last NUL, as far as a name may be long.
pub(crate) fn unended(strings: &[u8]) -> usize {
    let unended = strings.iter().rev().take(MAX_NAME + 1).take_while(|byte| **byte != 0);
    unended.count()
}

/// The name that begins `offset` bytes into `strings`; `None` when it has no end, or a late one.
pub(crate) fn name_at(strings: &[u8], offset: u32) -> Option<&[u8]> {
    strings.get(usize::try_from(offset).ok()?..).and_then(first_name)
}

/// The name that `strings` begins with; `None` when it has no end, or a late one.
#[cfg_attr(feature = "full", inline(always))]
pub(crate) fn first_name(strings: &[u8]) -> Option<&[u8]> {
    let longest = strings.get(..=MAX_NAME).unwrap_or(strings);
    if cfg!(feature = "full") {
        return CStr::from_bytes_until_nul(longest).ok().map(CStr::to_bytes);
    }
    longest.iter().position(|byte| *byte == 0).and_then(|end| longest.get(..end))
}
