//! Any processor: one number of 32 bits at a time.

use super::{Block, Numbers};

/// The sum of the products of each two neighbouring words of the blocks, to each of which its number was
/// added.
#[inline(always)]
pub(super) fn sum_of_products(blocks: [&Block; 2], numbers: &Numbers) -> u64 {
    let words = blocks.into_iter().flat_map(|block| block.as_chunks::<8>().0);
    let products =
        words.zip(numbers.0.as_flattened().as_chunks::<2>().0).map(|(words, numbers)| {
            let words = u64::from_le_bytes(*words);
            let [one, other] = *numbers;
            let low = (words as u32).wrapping_add(one);
            let high = ((words >> 32) as u32).wrapping_add(other);
            u64::from(low) * u64::from(high)
        });
    products.fold(0, u64::wrapping_add)
}
