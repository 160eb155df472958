//! Relative relocations as a list of places: the 64-bit words of an image to which its address is added.
//!
//! The encoding is that of the ELF section type `SHT_RELR`: an even entry is the offset of a word from the start of the
//! image, in bytes. An odd entry is a bitmap: bit n, from 1 on, stands for the word n - 1 words behind those that the
//! entries before it cover. Offsets are multiples of 8 and ascend.

use core::ops::Range;

use crate::format::error::{ExtensionError, ensure};

/// The size of an entry and of a word, in bytes.
pub(super) const WORD: usize = 8;
/// The number of words that a bitmap covers.
const BITMAP: u64 = 63;

/// A list of the places of relative relocations.
#[derive(Clone, Copy, Debug)]
pub struct RelativeRelocs<'d> {
    pub(super) entries: &'d [[u8; WORD]],
    /// The offset of the entries in the file.
    pub(super) at: u64,
}

/// Places of relative relocations that lie close together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlaceGroup {
    /// The offset of the first word from the start of the image, in bytes.
    pub start: u64,
    /// Bit n: the word n words behind the first one is a place.
    pub mask: u64,
}

impl PlaceGroup {
    /// Whether a place may lie between two offsets.
    pub(super) fn overlaps(&self, start: u64, end: u64) -> bool {
        let last = self.start.saturating_add(u64::from(u64::BITS) * WORD as u64);
        self.start < end && last > start
    }

    /// The offsets of the places from the start of the image, in bytes, ascending.
    pub fn places(self) -> impl Iterator<Item = u64> {
        let has = move |number: &u64| self.mask >> number & 1 != 0;
        (0..u64::from(u64::BITS)).filter(has).map(move |n| self.start.wrapping_add(n * WORD as u64))
    }
}

impl<'d> RelativeRelocs<'d> {
    /// Whether the list has no entry.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The places, one group for each entry. Those of a list that was not checked may lie anywhere.
    #[inline]
    pub fn groups(&self) -> impl Iterator<Item = PlaceGroup> + use<'d> {
        // A bitmap without an offset before it has misaligned places.
        let mut end = 1u64;
        self.entries.iter().map(move |entry| {
            let entry = u64::from_le_bytes(*entry);
            let (group, words) = match entry & 1 {
                0 => (PlaceGroup { start: entry, mask: 1 }, 1),
                _ => (PlaceGroup { start: end, mask: entry >> 1 }, BITMAP),
            };
            end = group.start.wrapping_add(words * WORD as u64);
            group
        })
    }

    /// The offsets of the places from the start of the image, in bytes, ascending.
    pub fn places(&self) -> impl Iterator<Item = u64> + use<'d> {
        self.groups().flat_map(PlaceGroup::places)
    }

    /// Checks that the places are aligned and ascend, and that each lies in one of `regions`, which ascend. Time is
    /// linear in the entries and the regions.
    ///
    /// # Errors
    /// [`ExtensionError::PrelinkRelative`].
    pub(super) fn check(
        &self,
        mut regions: impl Iterator<Item = Range<u64>>,
    ) -> Result<(), ExtensionError> {
        let (mut region, mut end) = (0..0, 0);
        for (number, PlaceGroup { start, mask }) in (0u64..).zip(self.groups()) {
            let is_ordered = start.is_multiple_of(WORD as u64) && start >= end;
            let words = u64::from(u64::BITS - mask.leading_zeros());
            end = start.saturating_add(words * WORD as u64);
            let is_in_one = is_ordered && start >= region.start && end <= region.end;
            let mut rest = if is_in_one { 0 } else { mask };
            // Removes the places in one region after the other.
            while rest != 0 {
                let first = rest.trailing_zeros();
                let place = start.saturating_add(u64::from(first) * WORD as u64);
                while region.end <= place
                    && let Some(next) = regions.next()
                {
                    region = next;
                }
                let words = region.end.saturating_sub(place) / WORD as u64;
                let at = self.at.saturating_add(number * WORD as u64);
                let is_inside = is_ordered && place >= region.start && words != 0;
                ensure(is_inside, ExtensionError::PrelinkRelative { place, at })?;
                let removed = u32::try_from(words).unwrap_or(u32::MAX).saturating_add(first);
                rest &= u64::MAX.checked_shl(removed).unwrap_or(0);
            }
        }
        Ok(())
    }
}

/// The entries for ascending places, which are multiples of 8.
#[cfg(feature = "alloc")]
pub(super) fn entries(places: &[u64]) -> alloc::vec::Vec<u64> {
    let mut entries = alloc::vec::Vec::new();
    let mut rest = places;
    while let Some((first, others)) = rest.split_first() {
        entries.push(*first);
        let mut start = first.saturating_add(WORD as u64);
        rest = others;
        loop {
            let end = start.saturating_add(BITMAP * WORD as u64);
            let len = rest.partition_point(|place| *place < end);
            let Some((group, others)) = rest.split_at_checked(len).filter(|_| len != 0) else {
                break;
            };
            let bit = |place: &u64| 2 << (place.saturating_sub(start) / WORD as u64);
            entries.push(group.iter().map(bit).fold(1, |bitmap, bit| bitmap | bit));
            (start, rest) = (end, others);
        }
    }
    entries
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;

    /// Encodes places and returns them decoded, with the number of entries.
    fn round_trip(places: &[u64]) -> (Vec<u64>, usize) {
        let bytes: Vec<_> = entries(places).iter().map(|entry| entry.to_le_bytes()).collect();
        let list = RelativeRelocs { entries: &bytes, at: 0 };
        assert_eq!(list.check(std::iter::once(0..u64::MAX)), Ok(()));
        (list.places().collect(), bytes.len())
    }

    fn check(entries: &[u64], regions: &[Range<u64>]) -> Result<(), u64> {
        let bytes: Vec<_> = entries.iter().map(|entry| entry.to_le_bytes()).collect();
        let list = RelativeRelocs { entries: &bytes, at: 100 };
        let checked = list.check(regions.iter().cloned());
        checked.map_err(|error| match error {
            ExtensionError::PrelinkRelative { at, .. } => (at - 100) / 8,
            error => panic!("{error}"),
        })
    }

    #[test]
    fn encoded_places_are_decoded() {
        let dense: Vec<u64> = (0..1000).map(|n| 8 * n).collect();
        // One offset and a bitmap for each 63 of the other words.
        assert_eq!(round_trip(&dense), (dense.clone(), 1 + 999usize.div_ceil(63)));
        let sparse: Vec<u64> = (1..50).map(|n| 8 * 65 * n).collect();
        assert_eq!(round_trip(&sparse), (sparse.clone(), 49));
        assert_eq!(round_trip(&[]), (Vec::new(), 0));
        for gap in 1..200 {
            let places = [16, 16 + 8 * gap, 24 + 8 * gap, 16 + 16 * gap + 8];
            assert_eq!(round_trip(&places).0, places, "{gap}");
        }
    }

    #[test]
    fn decoding_agrees_with_the_specification_of_the_encoding() {
        // The loop of the ELF specification, for a base of 0.
        let entries = [0x1000, 0b1011, 1, 0x8000_0000_0000_0001, 0x3000, 0x3008, 3];
        let (mut next, mut expected) = (0, Vec::new());
        for entry in entries {
            if entry & 1 == 0 {
                expected.push(entry);
                next = entry + 8;
            } else {
                let bits = (1..64).filter(|bit| entry >> bit & 1 != 0);
                expected.extend(bits.map(|bit| next + 8 * (bit - 1)));
                next += 63 * 8;
            }
        }
        let bytes = entries.map(u64::to_le_bytes);
        let list = RelativeRelocs { entries: &bytes, at: 0 };
        assert_eq!(list.places().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn places_outside_regions_are_refused() {
        let regions = [0x100..0x120, 0x120..0x120, 0x124..0x140, 0x200..0x20f];
        for places in [&[0x100, 0x118][..], &[0x128, 0x138, 0x200], &[]] {
            assert_eq!(check(&entries(places), &regions), Ok(()), "{places:x?}");
        }
        for (list, entry) in [
            (&[0xf8][..], 0),
            (&[0x120], 0),        // begins in a gap
            (&[0x140], 0),        // behind a region
            (&[0x208], 0),        // extends beyond its region
            (&[0x100, 0x100], 1), // twice
            (&[0x110, 0x108], 1), // descends
            (&[0x100, 0b11, 0x108], 2),
            (&[0x104], 0),                // misaligned
            (&[3], 0),                    // no offset before it
            (&[0x100, 0b1_0000_0001], 1), // the fifth word is in the gap
            (&[0x100, u64::MAX], 1),
            (&[u64::MAX - 7], 0),
            (&[0x200, 1, 3], 2),
        ] {
            assert_eq!(check(list, &regions), Err(entry), "{list:x?}");
        }
    }

    /// Against a check of one place after the other.
    #[test]
    fn check_agrees_with_a_naive_check() {
        let mut state = 1u64;
        let mut draw = |below: u64| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 33) % below
        };
        for _ in 0..if cfg!(miri) { 50 } else { 5000 } {
            let (mut regions, mut end) = (Vec::new(), 0);
            for _ in 0..draw(4) {
                let start = end + draw(100);
                end = start + draw(700);
                regions.push(start..end);
            }
            let list: Vec<u64> = (0..draw(5))
                .map(|_| match draw(3) {
                    0 => draw(200) * 8,
                    1 => 1 << draw(64) | 1 << draw(20) | 1,
                    _ => draw(1 << 30) | 1,
                })
                .collect();
            let bytes: Vec<_> = list.iter().map(|entry| entry.to_le_bytes()).collect();
            let places: Vec<u64> = RelativeRelocs { entries: &bytes, at: 0 }.places().collect();
            let is_inside = |place: &u64| {
                regions.iter().any(|r| *place >= r.start && place.saturating_add(8) <= r.end)
            };
            let is_valid = places.iter().all(|p| p % 8 == 0 && is_inside(p))
                && places.windows(2).all(|pair| pair[0] < pair[1]);
            assert_eq!(check(&list, &regions).is_ok(), is_valid, "{list:x?} {regions:x?}");
        }
    }
}
