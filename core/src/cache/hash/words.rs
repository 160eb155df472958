//! Any processor: one number of 32 bits at a time.

use super::{BLOCK, Block, Numbers};

/// Two blocks, as 64 bits at a time.
#[derive(Clone, Copy)]
pub(super) struct Words([[u64; BLOCK / 8]; 2]);

impl Words {
    #[inline(always)]
    pub(super) fn of(blocks: [&Block; 2]) -> Self {
        Self(blocks.map(|block| {
            let mut words = block.as_chunks().0.iter().map(|word| u64::from_le_bytes(*word));
            core::array::from_fn(|_| words.next().unwrap_or(0))
        }))
    }

    /// The sum of the products of each two neighbouring words, to each of which its number was added.
    #[inline(always)]
    pub(super) fn sum_of_products(self, numbers: &Numbers) -> u64 {
        let pairs = self.0.as_flattened().iter().zip(numbers.0.as_flattened().as_chunks().0);
        let products = pairs.map(|(pair, [one, other])| {
            let low = (*pair as u32).wrapping_add(*one);
            let high = ((pair >> 32) as u32).wrapping_add(*other);
            u64::from(low) * u64::from(high)
        });
        products.fold(0, u64::wrapping_add)
    }

    /// Whether others are the same.
    #[inline(always)]
    pub(super) fn are(self, others: Self) -> bool {
        let words = self.0.as_flattened().iter().zip(others.0.as_flattened());
        // All are compared, for one branch costs more than half a comparison.
        words.fold(0, |differing, (one, other)| differing | (one ^ other)) == 0
    }
}
