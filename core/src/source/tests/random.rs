//! Reproducible pseudo-random numbers.

pub(super) use crate::testing::Random;

/// The seeds of a test.
pub(super) const SEEDS: core::ops::Range<u64> = if cfg!(miri) { 0..3 } else { 0..3000 };
