//! Sets of places in a function's code.

use alloc::vec::Vec;

use super::op::At;
use crate::alloc_util::{AllocError, try_resize};

/// A set of places.
#[derive(Debug, Default)]
pub(super) struct Offsets {
    /// A bit for each.
    words: Vec<u64>,
}

const BITS: usize = 64;

impl Offsets {
    /// The empty set of places up to and including `last`.
    pub(super) fn reset(&mut self, last: At) -> Result<(), AllocError> {
        self.words.clear();
        try_resize(&mut self.words, last / BITS + 1, 0)
    }

    #[inline]
    pub(super) fn insert(&mut self, at: At) {
        if let Some(word) = self.words.get_mut(at / BITS) {
            *word |= 1 << (at % BITS);
        }
    }

    /// Calls `each` with the places, ascending, until one is an error.
    #[inline]
    pub(super) fn try_for_each<E>(
        &self,
        mut each: impl FnMut(At) -> Result<(), E>,
    ) -> Result<(), E> {
        for (&word, number) in self.words.iter().zip(0..) {
            let mut rest = word;
            while rest != 0 {
                let bit = usize::try_from(rest.trailing_zeros()).unwrap_or(0);
                each(number * BITS + bit)?;
                rest &= rest - 1;
            }
        }
        Ok(())
    }
}
