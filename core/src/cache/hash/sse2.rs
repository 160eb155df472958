//! x86-64: four numbers of 32 bits at a time.
#![allow(unsafe_code)]

use core::arch::x86_64::{
    __m128i, _mm_add_epi32, _mm_add_epi64, _mm_cvtsi128_si64, _mm_loadu_si128, _mm_mul_epu32,
    _mm_shuffle_epi32, _mm_unpackhi_epi64,
};

use super::{Block, Numbers};

/// The sum of the products of each two neighbouring words of the blocks, to each of which its number was
/// added.
#[inline(always)]
pub(super) fn sum_of_products(blocks: [&Block; 2], numbers: &Numbers) -> u64 {
    // SAFETY: this file is only there when all that is compiled may use SSE2.
    unsafe { sum(blocks, numbers) }
}

#[inline]
#[target_feature(enable = "sse2")]
fn sum(blocks: [&Block; 2], numbers: &Numbers) -> u64 {
    let [a, b, c, d] = &numbers.0;
    let [[first, second], [third, fourth]] = blocks.map(|block| block.as_chunks::<16>().0) else {
        return 0;
    };
    let front = _mm_add_epi64(products(first, a), products(second, b));
    let back = _mm_add_epi64(products(third, c), products(fourth, d));
    let sums = _mm_add_epi64(front, back);
    let sum = _mm_add_epi64(sums, _mm_unpackhi_epi64(sums, sums));
    _mm_cvtsi128_si64(sum).cast_unsigned()
}

/// Those of 16 bytes: two.
#[inline]
#[target_feature(enable = "sse2")]
fn products(bytes: &[u8; 16], numbers: &[u32; 4]) -> __m128i {
    // SAFETY: 16 bytes that are there.
    let bytes = unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) };
    // SAFETY: as above.
    let numbers = unsafe { _mm_loadu_si128(numbers.as_ptr().cast()) };
    let words = _mm_add_epi32(bytes, numbers);
    // Of each half the lower word is multiplied, and in the copy that is the upper one.
    _mm_mul_epu32(words, _mm_shuffle_epi32::<0b11_11_01_01>(words))
}
