//! Sets of small numbers.

use alloc::vec::Vec;

use crate::alloc_util::{AllocError, try_resize};

/// A set of numbers below a limit.
#[derive(Debug, Default)]
pub(super) struct BitSet {
    /// Number `n` is bit `n % 64` of word `n / 64`.
    words: Vec<u64>,
}

const BITS: usize = 64;

impl BitSet {
    /// The empty set of numbers up to and including `last`.
    pub(super) fn reset(&mut self, last: usize) -> Result<(), AllocError> {
        self.words.clear();
        try_resize(&mut self.words, last / BITS + 1, 0)
    }

    /// The number of words, which a search of the whole set looks at.
    pub(super) fn words(&self) -> usize {
        self.words.len()
    }

    #[inline]
    pub(super) fn insert(&mut self, number: usize) {
        if let Some(word) = self.words.get_mut(number / BITS) {
            *word |= 1 << (number % BITS);
        }
    }

    /// Removes a number; whether it was in the set.
    #[inline]
    pub(super) fn remove(&mut self, number: usize) -> bool {
        let Some(word) = self.words.get_mut(number / BITS) else { return false };
        let bit = 1 << (number % BITS);
        let was_in = *word & bit != 0;
        *word &= !bit;
        was_in
    }

    /// Removes the lowest number that is not below `least`.
    #[inline]
    pub(super) fn pop_from(&mut self, least: usize) -> Option<usize> {
        let (mut place, mut mask) = (least / BITS, u64::MAX << (least % BITS));
        while let Some(word) = self.words.get_mut(place) {
            let rest = *word & mask;
            if rest != 0 {
                let bit = rest.trailing_zeros();
                *word ^= 1 << bit;
                return Some(place * BITS + usize::try_from(bit).unwrap_or(0));
            }
            (place, mask) = (place + 1, u64::MAX);
        }
        None
    }
}
