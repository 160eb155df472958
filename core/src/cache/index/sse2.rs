//! x86-64: all tags in one register.
//!
//! A hit waits for them. Two loads of one word each, put together in a vector register, let it wait 0.5 ns
//! longer than one load of both, which Rust has no name for when others may be storing.
#![allow(unsafe_code)]

use core::arch::asm;
use core::arch::x86_64::{__m128i, _mm_cmpeq_epi8, _mm_movemask_epi8, _mm_set1_epi8};

use super::Tags;

/// The bytes that are `tag`, a bit for each: of the tags, and of what stands behind them.
#[inline(always)]
pub(super) fn tagged(tags: &Tags, tag: u8) -> u32 {
    // SAFETY: this file is only there when all that is compiled may use SSE2.
    unsafe { compare(load(tags), tag) }
}

/// Both words, as if each was loaded with `Acquire`.
#[inline(always)]
fn load(tags: &Tags) -> __m128i {
    let words;
    // SAFETY: 16 bytes that are there, and aligned. Of such the processor loads each half as a whole, and
    // nothing behind a load before it (Intel SDM 3A, 9.1.1 and 9.2.2); the compiler moves nothing across
    // this, because it is not told that memory stays as it is.
    unsafe {
        asm!(
            "movdqa {words}, xmmword ptr [{tags}]",
            words = out(xmm_reg) words,
            tags = in(reg) tags,
            options(nostack, preserves_flags),
        );
    }
    words
}

#[inline]
#[target_feature(enable = "sse2")]
fn compare(tags: __m128i, tag: u8) -> u32 {
    _mm_movemask_epi8(_mm_cmpeq_epi8(tags, _mm_set1_epi8(tag.cast_signed()))).cast_unsigned()
}
