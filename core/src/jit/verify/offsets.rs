//! Sets of offsets in a function's code. Instructions are of even length, so that one bit stands for two
//! bytes.

use alloc::vec::Vec;

use crate::owned::{NoMemory, resize};

/// A set of even offsets.
#[derive(Debug, Default)]
pub(super) struct Offsets {
    pub(super) words: Vec<u64>,
}

/// Bytes of code that a word stands for.
pub(super) const BYTES_PER_WORD: u32 = 128;

impl Offsets {
    /// The empty set of offsets up to and including `last`.
    pub(super) fn reset(&mut self, last: u32) -> Result<(), NoMemory> {
        let words = usize::try_from(last / BYTES_PER_WORD).unwrap_or(usize::MAX);
        self.words.clear();
        resize(&mut self.words, words.saturating_add(1), 0)
    }

    #[inline(always)]
    pub(super) fn insert(&mut self, offset: u32) {
        let word = usize::try_from(offset / BYTES_PER_WORD).unwrap_or(usize::MAX);
        if let Some(word) = self.words.get_mut(word) {
            *word |= 1 << (offset / 2 % 64);
        }
    }
}
