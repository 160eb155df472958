//! What tests of many rooms share: damage to go through, and how much of something is gone through.
//!
//! The interpreter (`cargo xtask miri`) takes a thousand times as long as the machine. A test that goes
//! through all there is of something goes through some of it there, spread over the whole.

#[path = "../../tests/src/scale.rs"]
mod scale;

use core::ops::Range;
use std::vec::Vec;

pub(crate) use scale::scale;

/// Every number of `all`; in the interpreter about `few` of them.
pub(crate) fn some(all: Range<usize>, few: usize) -> impl Iterator<Item = usize> + Clone {
    // Odd, so that of the bits of many bytes each of the eight has its turn.
    let step = if cfg!(miri) { (all.len() / few) | 1 } else { 1 };
    all.step_by(step)
}

/// How many flipped bits and how many lengths of one file the interpreter goes through.
const FEW: usize = 16;

/// Copies of `bytes` in which one bit is another, and which one.
pub(crate) fn flipped(bytes: &[u8]) -> impl Iterator<Item = (usize, Vec<u8>)> {
    some(0..bytes.len() * 8, FEW).map(|bit| {
        let mut damaged = bytes.to_vec();
        damaged[bit / 8] ^= 1 << (bit % 8);
        (bit, damaged)
    })
}

/// What is left of `bytes` when the end is missing.
pub(crate) fn cut(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    some(0..bytes.len(), FEW).map(|len| &bytes[..len])
}
