//! Sets of places in a function's code.

use alloc::vec::Vec;

use super::op::At;
use crate::owned::{NoMemory, resize};

/// A set of places.
#[derive(Debug, Default)]
pub(super) struct Offsets {
    /// A bit for each.
    words: Vec<u64>,
}

const BITS: usize = 64;

impl Offsets {
    /// The empty set of places up to and including `last`.
    pub(super) fn reset(&mut self, last: At) -> Result<(), NoMemory> {
        self.words.clear();
        resize(&mut self.words, last / BITS + 1, 0)
    }

    #[inline(always)]
    pub(super) fn insert(&mut self, at: At) {
        if let Some(word) = self.words.get_mut(at / BITS) {
            *word |= 1 << (at % BITS);
        }
    }

    /// The places, ascending.
    #[inline(always)]
    pub(super) fn iter(&self) -> impl Iterator<Item = At> {
        self.words.iter().zip(0..).flat_map(|(&word, number)| {
            let mut rest = word;
            core::iter::from_fn(move || {
                let bit = usize::try_from(rest.trailing_zeros()).unwrap_or(BITS);
                let any = rest != 0;
                rest &= rest.wrapping_sub(1);
                any.then_some(number * BITS + bit)
            })
        })
    }
}
