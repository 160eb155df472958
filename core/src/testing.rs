//! Test support for all modules: damaged copies of data, samples of large ranges, and random numbers.
//!
//! Miri (`cargo xtask miri`) is about a thousand times slower than the machine. There, exhaustive tests cover a sample
//! that is spread over the whole range.

#[path = "../../tests/src/alone.rs"]
mod alone;
#[path = "../../tests/src/random.rs"]
mod random;
#[path = "../../tests/src/scale.rs"]
mod scale;
#[cfg(feature = "kernel")]
#[path = "../../tests/src/set_at_end.rs"]
mod set_at_end;
#[cfg(feature = "alloc")]
#[path = "../../tests/src/skip.rs"]
mod skip;

use core::ops::Range;
use std::vec::Vec;

pub(crate) use alone::alone;
pub(crate) use random::Random;
pub(crate) use scale::scale;
#[cfg(feature = "kernel")]
pub(crate) use set_at_end::SetAtEnd;
#[cfg(feature = "alloc")]
pub(crate) use skip::has;
#[cfg(feature = "kernel")]
pub(crate) use skip::skip;

/// Every number of `all`; in Miri about `few` of them.
pub(crate) fn some(all: Range<usize>, few: usize) -> impl Iterator<Item = usize> + Clone {
    // An odd step, so that a sample of the bits of many bytes covers all eight bit positions.
    let step = if cfg!(miri) { (all.len() / few) | 1 } else { 1 };
    all.step_by(step)
}

/// The number of flipped bits and of lengths that Miri tests.
const MIRI_SAMPLES: usize = 16;

/// Copies of `bytes` with one flipped bit, and the index of the bit.
pub(crate) fn flipped(bytes: &[u8]) -> impl Iterator<Item = (usize, Vec<u8>)> {
    some(0..bytes.len() * 8, MIRI_SAMPLES).map(|bit| {
        let mut damaged = bytes.to_vec();
        damaged[bit / 8] ^= 1 << (bit % 8);
        (bit, damaged)
    })
}

/// All proper prefixes of `bytes`.
pub(crate) fn cut(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    some(0..bytes.len(), MIRI_SAMPLES).map(|len| &bytes[..len])
}
