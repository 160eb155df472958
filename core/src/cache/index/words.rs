//! Any processor: eight tags in a word.

use core::sync::atomic::Ordering::Acquire;

use super::Tags;

/// The highest bit of each lane.
const LANES: u64 = 0x8080_8080_8080_8080;

/// The bytes that are `tag`, a bit for each: of the tags, and of what stands behind them.
#[inline(always)]
pub(super) fn tagged(tags: &Tags, tag: u8) -> u32 {
    let [first, second] = tags.0.each_ref().map(|word| bits(lanes(word.load(Acquire), tag)));
    first | second << 8
}

/// The lanes of `word` that are `tag`, each by its highest bit, and no others.
#[inline(always)]
fn lanes(word: u64, tag: u8) -> u64 {
    const REST: u64 = !LANES;
    let differing = word ^ (u64::from(tag) * 0x0101_0101_0101_0101);
    // No lane carries into the next, so what is found is exact.
    !(((differing & REST) + REST) | differing) & LANES
}

/// The highest bits of all lanes, side by side.
#[inline(always)]
fn bits(lanes: u64) -> u32 {
    // Lane `n` has its bit at `8 n` and is wanted at `56 + n`: times `2^(56 - 7 n)`. No two products
    // meet below bit 56.
    ((lanes >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56) as u32
}
