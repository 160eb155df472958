//! x86-64: four numbers of 32 bits at a time.
#![allow(unsafe_code)]

use core::arch::x86_64::{
    __m128i, _mm_add_epi32, _mm_add_epi64, _mm_cmpeq_epi8, _mm_cvtsi128_si64, _mm_loadu_si128,
    _mm_movemask_epi8, _mm_mul_epu32, _mm_or_si128, _mm_setzero_si128, _mm_shuffle_epi32,
    _mm_unpackhi_epi64, _mm_xor_si128,
};

use super::{Block, Numbers};

/// Two blocks, in four registers.
#[derive(Clone, Copy)]
pub(super) struct Words([__m128i; 4]);

// All that is unsafe here: this file is only there when all that is compiled may use SSE2.
impl Words {
    #[inline(always)]
    pub(super) fn of(blocks: [&Block; 2]) -> Self {
        let [[a, b], [c, d]] = blocks.map(halves);
        Self([a, b, c, d].map(load))
    }

    /// The sum of the products of each two neighbouring words, to each of which its number was added.
    #[inline(always)]
    pub(super) fn sum_of_products(self, numbers: &Numbers) -> u64 {
        // SAFETY: SSE2, as above.
        unsafe { sum(self.0, numbers) }
    }

    /// Whether others are the same.
    #[inline(always)]
    pub(super) fn are(self, others: Self) -> bool {
        // SAFETY: SSE2, as above.
        unsafe { same(self.0, others.0) }
    }
}

#[inline(always)]
fn halves(block: &Block) -> [&[u8; 16]; 2] {
    match block.as_chunks::<16>().0 {
        [a, b] => [a, b],
        _ => [&[0; 16]; 2],
    }
}

#[inline(always)]
fn load(bytes: &[u8; 16]) -> __m128i {
    // SAFETY: 16 bytes that are there.
    unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "sse2")]
fn sum(words: [__m128i; 4], numbers: &Numbers) -> u64 {
    let [a, b, c, d] = words;
    let [e, f, g, h] = &numbers.0;
    let front = _mm_add_epi64(products(a, e), products(b, f));
    let back = _mm_add_epi64(products(c, g), products(d, h));
    let sums = _mm_add_epi64(front, back);
    let sum = _mm_add_epi64(sums, _mm_unpackhi_epi64(sums, sums));
    _mm_cvtsi128_si64(sum).cast_unsigned()
}

/// Those of 16 bytes: two.
#[inline]
#[target_feature(enable = "sse2")]
fn products(words: __m128i, numbers: &[u32; 4]) -> __m128i {
    // SAFETY: 16 bytes that are there.
    let numbers = unsafe { _mm_loadu_si128(numbers.as_ptr().cast()) };
    let words = _mm_add_epi32(words, numbers);
    // Of each half the lower word is multiplied, and in the copy that is the upper one.
    _mm_mul_epu32(words, _mm_shuffle_epi32::<0b11_11_01_01>(words))
}

#[inline]
#[target_feature(enable = "sse2")]
fn same(one: [__m128i; 4], other: [__m128i; 4]) -> bool {
    let [a, b, c, d] = one;
    let [e, f, g, h] = other;
    let front = _mm_or_si128(_mm_xor_si128(a, e), _mm_xor_si128(b, f));
    let back = _mm_or_si128(_mm_xor_si128(c, g), _mm_xor_si128(d, h));
    let differing = _mm_or_si128(front, back);
    _mm_movemask_epi8(_mm_cmpeq_epi8(differing, _mm_setzero_si128())) == 0xffff
}
