//! Checks of the section `.eh_frame` before it is registered with the unwinder, which trusts it.
//!
//! The unwinder walks the records by their lengths, finds the common record (CIE) of each function record (FDE) by a
//! distance, and decodes code ranges by the encoding in the CIE. All of these are checked here: each record ends inside
//! the section, a zero word ends the list, each FDE refers to an earlier CIE, and its range lies in the code of the
//! module. The instructions for restoring registers and the tables of handlers are trusted like machine code.
//!
//! Source: Linux Standard Base, Core, 10.6 (exception frames); DWARF 5, 6.4.1.

use alloc::vec::Vec;

use super::error::{LinkError, Result};
use crate::alloc_util::try_push;
use crate::codegen::unwind::{ABSOLUTE, DISTANCE_4};
use crate::format::bytes::u32_at;

/// `DW_EH_PE_pcrel | DW_EH_PE_sdata8`.
const DISTANCE_8: u8 = 0x1c;
/// `DW_EH_PE_pcrel | DW_EH_PE_absptr`, the same on 64-bit machines.
const DISTANCE: u8 = 0x10;
/// `DW_EH_PE_omit`: no pointer.
const OMIT: u8 = 0xff;
/// `DW_EH_PE_aligned`.
const ALIGNED: u8 = 0x50;

/// Checks the section `section`, which has these bytes at `address`. `code`: the start and the end of each code section.
///
/// # Errors
/// [`LinkError::EhFrame`] with the offset of the record.
// Not inlined: few C modules have these tables.
#[inline(never)]
pub(super) fn check(section: u32, bytes: &[u8], address: u64, code: &[(u64, u64)]) -> Result<()> {
    let error =
        |offset: usize, reason| LinkError::EhFrame { section, offset: offset as u64, reason };
    let mut commons: Vec<(usize, u8)> = Vec::new();
    let mut at = 0;
    loop {
        let length = u32_at(bytes, at).ok_or_else(|| error(at, "no zero word ends the records"))?;
        if length == 0 {
            return Ok(());
        }
        // 0xffffffff, which announces a longer length, never fits.
        let body = usize::try_from(length).ok().and_then(|len| bytes.get(at + 4..)?.get(..len));
        let body = body.ok_or_else(|| error(at, "a record exceeds the section"))?;
        let id = u32_at(body, 0).ok_or_else(|| error(at, "a record is too short"))?;
        if id == 0 {
            let encoding = encoding_of(body);
            let encoding = encoding.ok_or_else(|| error(at, "a common record is malformed"))?;
            try_push(&mut commons, (at, encoding))?;
        } else {
            let common = usize::try_from(id).ok().and_then(|id| (at + 4).checked_sub(id));
            let known = common.and_then(|common| {
                let index = commons.binary_search_by_key(&common, |(at, _)| *at).ok()?;
                commons.get(index)
            });
            let (_, encoding) =
                *known.ok_or_else(|| error(at, "a record refers to no common record"))?;
            let place = address.wrapping_add(at as u64 + 8);
            let range = range_of(body, encoding, place);
            let is_inside = |(from, to): (u64, u64)| {
                code.iter().any(|(start, end)| from >= *start && to <= *end && from <= to)
            };
            if !range.is_some_and(is_inside) {
                return Err(error(at, "a record describes code outside the module"));
            }
        }
        at += 4 + body.len();
    }
}

/// The encoding of addresses in the FDEs of a CIE; `None` if it is malformed or not one of the encodings above.
fn encoding_of(body: &[u8]) -> Option<u8> {
    let version = *body.get(4)?;
    let rest = body.get(5..)?;
    let end = rest.iter().position(|byte| *byte == 0)?;
    let (augmentation, rest) = (rest.get(..end)?, rest.get(end + 1..)?);
    if version != 1 && version != 3 {
        return None;
    }
    let rest = skip_number(skip_number(rest)?)?;
    let rest = if version == 1 { rest.get(1..)? } else { skip_number(rest)? };
    let Some((b'z', letters)) = augmentation.split_first() else {
        return augmentation.is_empty().then_some(ABSOLUTE);
    };
    // The size of the data fits one byte: a pointer and two encodings.
    let (size, data) = rest.split_first().filter(|(size, _)| **size < 0x80)?;
    let mut data = data.get(..usize::from(*size))?;
    let mut encoding = ABSOLUTE;
    for letter in letters {
        match letter {
            b'R' => encoding = take(&mut data)?,
            b'L' => drop(take(&mut data)?),
            b'P' => {
                let size = pointer_size(take(&mut data)?)?;
                data = data.get(size..)?;
            }
            b'S' | b'B' | b'G' => {}
            _ => return None,
        }
    }
    [ABSOLUTE, DISTANCE_4, DISTANCE_8, DISTANCE].contains(&encoding).then_some(encoding)
}

fn take(data: &mut &[u8]) -> Option<u8> {
    let (first, rest) = data.split_first()?;
    *data = rest;
    Some(*first)
}

/// The rest behind a LEB128 number.
fn skip_number(bytes: &[u8]) -> Option<&[u8]> {
    let last = bytes.iter().position(|byte| *byte < 0x80).filter(|last| *last < 10)?;
    bytes.get(last + 1..)
}

/// Bytes of a pointer; `None` for sizes that depend on its place or value.
fn pointer_size(encoding: u8) -> Option<usize> {
    match encoding & 0x0f {
        _ if encoding == OMIT => Some(0),
        _ if encoding & 0x70 == ALIGNED => None,
        0x00 | 0x04 | 0x0c => Some(8),
        0x02 | 0x0a => Some(2),
        0x03 | 0x0b => Some(4),
        _ => None,
    }
}

/// The start and the end of the code that an FDE describes. `place` is the address of its first pointer.
fn range_of(body: &[u8], encoding: u8, place: u64) -> Option<(u64, u64)> {
    let word = |at: usize| Some(u64::from_le_bytes(*body.get(at..)?.first_chunk()?));
    let (start, size) = if encoding == DISTANCE_4 {
        let distance = i32::from_le_bytes(*body.get(4..)?.first_chunk()?);
        (place.wrapping_add_signed(i64::from(distance)), u64::from(u32_at(body, 8)?))
    } else {
        let start = word(4)?;
        (if encoding == ABSOLUTE { start } else { place.wrapping_add(start) }, word(12)?)
    };
    Some((start, start.checked_add(size)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A CIE `zR` and an FDE for `size` bytes of code at `start`, for a section at 0x2000.
    fn section(start: u64, size: u32) -> Vec<u8> {
        let mut bytes = std::vec![20, 0, 0, 0, 0, 0, 0, 0, 1];
        bytes.extend(b"zR\0\x01\x78\x10\x01\x1b\x0c\x07\x08\x90\x01\0\0");
        assert_eq!(bytes.len(), 24);
        bytes.extend([16, 0, 0, 0, 28, 0, 0, 0]);
        let distance = start.wrapping_sub(0x2000 + 32) as u32;
        bytes.extend(distance.to_le_bytes());
        bytes.extend(size.to_le_bytes());
        bytes.extend([0; 4]);
        bytes.extend([0; 4]);
        bytes
    }

    fn checked(bytes: &[u8]) -> Result<(), (u64, &'static str)> {
        check(7, bytes, 0x2000, &[(0x1000, 0x1100)]).map_err(|error| match error {
            LinkError::EhFrame { section: 7, offset, reason } => (offset, reason),
            error => panic!("{error}"),
        })
    }

    #[test]
    fn malformed_record_is_refused_with_its_offset() {
        assert_eq!(checked(&section(0x1000, 0x100)), Ok(()));
        let outside = Err((24, "a record describes code outside the module"));
        for (start, size) in [(0x1000, 0x101), (0xfff, 1), (0x1100, 1), (0x1000, u32::MAX)] {
            assert_eq!(checked(&section(start, size)), outside);
        }
        let with = |at: usize, byte: u8| {
            let mut bytes = section(0x1010, 4);
            bytes[at] = byte;
            checked(&bytes)
        };
        assert_eq!(with(0, 200), Err((0, "a record exceeds the section")));
        assert_eq!(with(27, 0xff), Err((24, "a record exceeds the section")));
        assert_eq!(with(28, 27), Err((24, "a record refers to no common record")));
        assert_eq!(with(8, 9), Err((0, "a common record is malformed")));
        assert_eq!(with(16, 0x55), Err((0, "a common record is malformed")));
        assert_eq!(with(24, 20), Err((48, "no zero word ends the records")));
        let bytes = section(0x1010, 4);
        for len in 0..bytes.len() {
            // A cut behind the first record is no end either.
            assert!(checked(&bytes[..len]).is_err(), "{len}");
        }
    }

    #[test]
    fn any_changed_byte_is_refused_or_harmless() {
        let bytes = section(0x1010, 4);
        for at in 0..bytes.len() {
            for value in 0..=255 {
                let mut changed = bytes.clone();
                changed[at] = value;
                // No panic and no endless loop.
                let _ = checked(&changed);
            }
        }
    }
}
