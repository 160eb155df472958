//! What a path is found by: its hash, and the comparison with the path of an entry.
//!
//! Most paths have 32 to 64 bytes. Such a one is read once, as two blocks of 32 bytes, from both its ends,
//! which overlap when it is shorter: there is no loop and no call, and no branch that depends on more than
//! the length.
//!
//! The hash of these is NH, which UMAC is made of (Black, Halevi, Krawczyk, Krovetz, Rogaway: "UMAC: Fast
//! and Secure Message Authentication", CRYPTO '99, section 4): to each 32 bits a random number is added,
//! each two are multiplied, and the products added up. That is four instructions for 16 bytes where there
//! are vectors (words of 64 bits, in other registers, take 1.6 ns longer), and the sums of two paths differ
//! by any given number with a chance of 2^-32 at most, whoever chose the paths, unless he knows the numbers.
//! They come from the seeds of `foldhash`, which hashes all other paths, and are others in each cache.

#[cfg(target_feature = "sse2")]
mod sse2;
#[cfg(any(test, not(target_feature = "sse2")))]
mod words;

use core::hash::{BuildHasher, Hasher};

use hashbrown::DefaultHashBuilder;

#[cfg(target_feature = "sse2")]
use self::sse2::Words;
#[cfg(not(target_feature = "sse2"))]
use self::words::Words;
use super::entry::Key;

/// Half of the longest path that is taken as two blocks, and the shortest such path.
const BLOCK: usize = 32;

type Block = [u8; BLOCK];

/// A path that is taken as two blocks.
#[derive(Clone, Copy)]
pub(super) struct ShortPath {
    len: usize,
    /// Those at both ends, which cover it: read once, to be hashed and then compared.
    words: Words,
}

impl ShortPath {
    /// `None` for one that is too short or too long.
    #[inline(always)]
    pub(super) fn of(path: &[u8]) -> Option<Self> {
        if path.len() > 2 * BLOCK {
            return None;
        }
        Some(Self { len: path.len(), words: Words::of([path.first_chunk()?, path.last_chunk()?]) })
    }

    /// Whether `other` is the same path.
    #[inline(always)]
    pub(super) fn is(&self, other: &[u8]) -> bool {
        if other.len() != self.len {
            return false;
        }
        // From here on the compiler knows it too.
        let other = other.get(..self.len).and_then(Self::of);
        other.is_some_and(|other| self.words.are(other.words))
    }
}

/// Whether two paths are the same.
#[inline(always)]
pub(super) fn is_same(one: &[u8], other: &[u8]) -> bool {
    match ShortPath::of(one) {
        Some(one) => one.is(other),
        None => one == other,
    }
}

/// A random number for each 32 bits of two blocks.
#[derive(Debug)]
#[repr(align(16))]
struct Numbers([[u32; 4]; 2 * BLOCK / 16]);

/// How a cache hashes.
#[derive(Debug)]
pub(super) struct KeyHasher {
    numbers: Numbers,
    /// For what came of these.
    last: [u64; 2],
    others: DefaultHashBuilder,
}

impl KeyHasher {
    pub(super) fn new(others: DefaultHashBuilder) -> Self {
        let number = |index: usize| others.hash_one(index);
        let numbers = core::array::from_fn(|row| {
            let halves = [2 * row, 2 * row + 1].map(|index| number(index).to_ne_bytes());
            let [a, b, c, d] = halves.as_flattened().as_chunks().0 else { return [0; 4] };
            [*a, *b, *c, *d].map(u32::from_ne_bytes)
        });
        Self { numbers: Numbers(numbers), last: [number(8), number(9)], others }
    }

    #[inline(always)]
    pub(super) fn hash(&self, key: &Key<'_>) -> u32 {
        match (key.module, ShortPath::of(key.path)) {
            (None, Some(path)) => self.hash_short(path),
            _ => self.hash_other(key),
        }
    }

    /// That of a path without a module.
    #[inline(always)]
    pub(super) fn hash_short(&self, ShortPath { len, words }: ShortPath) -> u32 {
        let sum = words.sum_of_products(&self.numbers);
        let [one, other] = self.last;
        // The sums of names that count up are equally far apart. What is multiplied depends on the sum on
        // both sides, or so would be the hashes; and on the length, for blocks that overlap are equal in
        // paths of several lengths.
        let other = sum.rotate_right(32) ^ other.wrapping_add(len as u64);
        upper_half((sum ^ one).wrapping_mul(other))
    }

    #[inline(never)]
    fn hash_other(&self, key: &Key<'_>) -> u32 {
        let mut hasher = self.others.build_hasher();
        hasher.write(key.path);
        if let Some(module) = key.module {
            hasher.write(module);
        }
        upper_half(hasher.finish())
    }
}

/// Which in a product depends on all of what was multiplied.
#[inline(always)]
fn upper_half(hash: u64) -> u32 {
    (hash >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{flipped, some};
    use std::collections::HashSet;
    use std::vec::Vec;

    #[test]
    fn paths_are_the_same_as_their_bytes_are() {
        for len in some(0..101, 12) {
            let path: Vec<u8> = (0..100).take(len).collect();
            assert!(is_same(&path, &path.clone()));
            for at in 0..path.len() {
                let mut other = path.clone();
                other[at] ^= 0x10;
                assert!(!is_same(&path, &other), "{at} of {len}");
                assert!(!is_same(&path, &path[..at]) && !is_same(&path[..at], &path));
                let [one, two] = [&path, &other]
                    .map(|path| Some(words::Words::of([path.first_chunk()?, path.last_chunk()?])));
                if let Some((one, two)) = one.zip(two) {
                    let is_within = (BLOCK..len - BLOCK).contains(&at);
                    assert!(one.are(one) && one.are(two) == is_within, "{at} of {len}");
                }
            }
        }
    }

    #[test]
    fn sums_are_those_of_one_product_after_another() {
        let mut seed = 1u64;
        let mut random = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            // Often all bits are set, so that what is added up carries.
            if seed >> 62 == 0 { u32::MAX } else { (seed >> 29) as u32 }
        };
        for _ in some(0..2000, 20) {
            let words: [u32; 16] = core::array::from_fn(|_| random());
            let numbers: [u32; 16] = core::array::from_fn(|_| random());
            let product = |at: usize| {
                let word = |at: usize| u64::from(words[at].wrapping_add(numbers[at]));
                word(at) * word(at + 1)
            };
            let expected = (0..16).step_by(2).map(product).fold(0, u64::wrapping_add);
            let bytes: Vec<u8> = words.into_iter().flat_map(u32::to_le_bytes).collect();
            let path = ShortPath::of(&bytes).unwrap();
            let rows = numbers.as_chunks().0.try_into().unwrap();
            let numbers = Numbers(rows);
            let one_by_one =
                words::Words::of([bytes.first_chunk().unwrap(), bytes.last_chunk().unwrap()]);
            let found = path.words.sum_of_products(&numbers);
            assert_eq!([found, one_by_one.sum_of_products(&numbers)], [expected; 2]);
        }
    }

    #[test]
    fn each_bit_and_the_length_change_both_ends_of_the_hash() {
        let hasher = KeyHasher::new(DefaultHashBuilder::default());
        let hash = |path: &[u8]| hasher.hash(&Key { path, module: None });
        // What does not differ by chance: the chance is one of a million.
        let differs = |one: u32, others: &[u32]| {
            let upper = others.iter().filter(|other| (*other ^ one) >> 22 == 0).count();
            let lower = others.iter().filter(|other| (*other ^ one) & 0x3ff == 0).count();
            assert!(upper <= 8 && lower <= 8, "{upper} {lower} of {}", others.len());
        };
        for len in [1, 16, 31, 32, 33, 48, 62, 64, 65, 130] {
            let path: Vec<u8> = std::vec![b'm'; len];
            let one_bit = flipped(&path).map(|(_, other)| hash(&other));
            differs(hash(&path), &one_bit.collect::<Vec<_>>());
        }
        let lengths: Vec<u32> = (1..=100).map(|len| hash(&[b'm'; 100][..len])).collect();
        let distinct: HashSet<_> = lengths.iter().map(|hash| hash >> 16).collect();
        assert!(distinct.len() >= 97, "{}", distinct.len());
    }

    /// Of names that count up, with many numbers: what meets in a bucket of the index has another tag.
    #[test]
    fn names_that_count_up_meet_no_more_often_than_chance_has_it() {
        for _ in some(0..100, 1) {
            let hasher = KeyHasher::new(DefaultHashBuilder::default());
            let names = (0..1 << 10).map(|number| {
                let path = std::format!("/usr/lib/smf/modules/of/the/engine/number-{number:05}");
                hasher.hash(&Key { path: path.as_bytes(), module: None })
            });
            // The bucket is chosen by the upper bits, the tag is the lower ones.
            let distinct: HashSet<_> = names.map(|hash| (hash >> 24, hash as u8)).collect();
            // Eight of them meet by chance; so many, one of a million times.
            assert!(distinct.len() >= (1 << 10) - 28, "{}", distinct.len());
        }
    }

    #[test]
    fn modules_and_caches_have_hashes_of_their_own() {
        let [one, other] = [(); 2].map(|()| KeyHasher::new(DefaultHashBuilder::default()));
        let same = |key: &Key<'_>| one.hash(key) == other.hash(key);
        let module = Some(&b"module"[..]);
        let path = &[b'p'; 40][..];
        let (bare, within) = (Key { path, module: None }, Key { path, module });
        assert!(!same(&bare) && !same(&within) && one.hash(&bare) != one.hash(&within));
    }
}
