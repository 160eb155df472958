//! x86-64: all tags in one register.
#![allow(unsafe_code)]

use core::arch::x86_64::{_mm_cmpeq_epi8, _mm_movemask_epi8, _mm_set_epi64x, _mm_set1_epi8};

/// The bytes that are `tag`, a bit for each: of the tags, and of what stands behind them.
#[inline(always)]
pub(super) fn tagged(words: [u64; 2], tag: u8) -> u32 {
    // SAFETY: this file is only there when all that is compiled may use SSE2.
    unsafe { compare(words, tag) }
}

#[inline]
#[target_feature(enable = "sse2")]
fn compare(words: [u64; 2], tag: u8) -> u32 {
    let [first, second] = words.map(u64::cast_signed);
    let same = _mm_cmpeq_epi8(_mm_set_epi64x(second, first), _mm_set1_epi8(tag.cast_signed()));
    _mm_movemask_epi8(same).cast_unsigned()
}
