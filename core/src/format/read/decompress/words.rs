//! Values of prelinked relocations in a compressed section, collected while it is decompressed.

use alloc::vec::Vec;

use crate::alloc_util::try_push;
use crate::format::error::Result;
use crate::format::read::reloc::RelocTable;

/// Bytes of a prelinked distance.
const WORD: usize = 4;

/// Words of a section, by their offsets in the section.
#[derive(Default)]
pub(crate) struct Words {
    /// Ascending, without repetitions.
    list: Vec<(u64, [u8; WORD])>,
    /// The index of the first word that is not complete.
    next: usize,
    /// The number of bytes observed.
    at: u64,
}

impl Words {
    /// The offsets that the relocations of `tables` refer to.
    ///
    /// # Errors
    /// [`FormatError::OutOfMemory`](crate::format::FormatError::OutOfMemory) only.
    pub(crate) fn of(tables: &[RelocTable<'_>]) -> Result<Self> {
        let mut list = Vec::new();
        for reloc in tables.iter().flat_map(RelocTable::iter) {
            try_push(&mut list, (reloc.offset, [0; WORD]))?;
        }
        list.sort_unstable();
        list.dedup();
        Ok(Self { list, next: 0, at: 0 })
    }

    /// Stores the words in the next bytes of the section.
    pub(crate) fn observe(&mut self, bytes: &[u8]) {
        let (start, end) = (self.at, self.at.saturating_add(bytes.len() as u64));
        for (offset, word) in self.list.get_mut(self.next..).unwrap_or(&mut []) {
            if *offset >= end {
                break;
            }
            for (place, byte) in (*offset..).zip(word) {
                let into = place.checked_sub(start).and_then(|into| usize::try_from(into).ok());
                *byte = into.and_then(|into| bytes.get(into)).copied().unwrap_or(*byte);
            }
            self.next += usize::from(offset.saturating_add(WORD as u64) <= end);
        }
        self.at = end;
    }

    /// The word at `offset`; `None` if no relocation refers to it, or if it is not complete.
    pub(crate) fn get(&self, offset: u64) -> Option<u32> {
        let place = self.list.binary_search_by_key(&offset, |(offset, _)| *offset).ok()?;
        let (_, word) = self.list.get(place)?;
        let end = offset.checked_add(WORD as u64)?;
        (end <= self.at).then(|| u32::from_le_bytes(*word))
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;

    #[test]
    fn words_are_found_however_the_bytes_are_cut() {
        let bytes: Vec<u8> = (0..40).collect();
        let word =
            |at: usize| bytes.get(at..at + 4).map(|b| u32::from_le_bytes(b.try_into().unwrap()));
        for piece in 1..=bytes.len() {
            let list = [0u64, 1, 2, 3, 9, 16, 17, 33, 36, 37, 39, 50, u64::MAX];
            let mut words = Words { list: list.map(|at| (at, [0; WORD])).to_vec(), next: 0, at: 0 };
            bytes.chunks(piece).for_each(|piece| words.observe(piece));
            for at in list {
                let expected = usize::try_from(at).ok().filter(|at| *at < 40).and_then(word);
                assert_eq!(words.get(at), expected, "{at} by {piece}");
            }
            assert_eq!(words.get(4), None);
        }
    }
}
