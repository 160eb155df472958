//! Random numbers, equal in every run. Tests of other packages include this file by its path.
#![allow(unreachable_pub, dead_code, reason = "public in its own package only")]
#![allow(clippy::should_implement_trait, reason = "no iterator: the numbers do not end")]

use std::vec::Vec;

/// A generator of random numbers, made of its seed: SplitMix64 (Steele, Lea, Flood 2014).
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    /// Any number.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// Any bytes.
    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next().to_le_bytes()[0]).collect()
    }

    /// A number from 0 to before `end`, which is above 0.
    pub fn below<N: TryInto<u64> + TryFrom<u64>>(&mut self, end: N) -> N {
        let Ok(end) = end.try_into() else { panic!("a negative end") };
        let Ok(number) = (self.next() % end).try_into() else { unreachable!() };
        number
    }

    /// One of the elements, of which there is at least one.
    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}
