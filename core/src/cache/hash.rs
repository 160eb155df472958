//! What a path is found by: its hash, and the comparison with the path of an entry.
//!
//! Most paths have 32 to 64 bytes. Such a one is read as two blocks of 32 bytes, from both its ends, which
//! overlap when it is shorter: there is no loop and no call, and no branch that depends on more than the
//! length.
//!
//! The hash is what `foldhash` does, which hashes all other paths: 8 bytes and 8 further ones, each
//! changed by a random number, are multiplied, and both halves of the product used. But each product has
//! numbers of its own instead of the product before, so that none waits for another. As there, who does
//! not know the numbers cannot make paths whose hashes are equal; they come from its seeds, which are
//! others in each cache.

use core::hash::{BuildHasher, Hasher};

use hashbrown::DefaultHashBuilder;

use super::entry::Key;

/// Half of the longest path that is taken as two blocks, and the shortest such path.
const BLOCK: usize = 32;

type Block = [u8; BLOCK];

/// The blocks at both ends of a path that they cover.
#[inline(always)]
fn blocks(path: &[u8]) -> Option<[&Block; 2]> {
    if path.len() > 2 * BLOCK {
        return None;
    }
    Some([path.first_chunk()?, path.last_chunk()?])
}

/// Whether two paths are the same.
#[inline(always)]
pub(super) fn is_same(one: &[u8], other: &[u8]) -> bool {
    if one.len() != other.len() {
        return false;
    }
    // From here on the compiler knows it too, and asks one of them alone how long it is.
    let Some(one) = one.get(..other.len()) else { return false };
    match (blocks(one), blocks(other)) {
        // Both are compared, for one branch costs more than half a comparison.
        (Some([head, tail]), Some([other_head, other_tail])) => {
            (head == other_head) & (tail == other_tail)
        }
        _ => one == other,
    }
}

/// How a cache hashes.
#[derive(Debug)]
pub(super) struct KeyHasher {
    /// One for each 8 bytes of two blocks.
    numbers: [u64; 2 * BLOCK / 8],
    /// For what came of these.
    last: u64,
    others: DefaultHashBuilder,
}

impl KeyHasher {
    pub(super) fn new(others: DefaultHashBuilder) -> Self {
        let numbers = core::array::from_fn(|index| others.hash_one(index));
        Self { numbers, last: others.hash_one(numbers), others }
    }

    #[inline(always)]
    pub(super) fn hash(&self, key: &Key<'_>) -> u32 {
        let hash = match (key.module, blocks(key.path)) {
            (None, Some(blocks)) => self.hash_blocks(key.path.len(), blocks),
            _ => self.hash_other(key),
        };
        // The upper half is as good as the lower.
        (hash >> 32) as u32
    }

    #[inline(always)]
    fn hash_blocks(&self, len: usize, blocks: [&Block; 2]) -> u64 {
        let mut numbers = self.numbers;
        // Blocks that overlap are equal in paths of several lengths, which are at most 64.
        let [first, ..] = &mut numbers;
        *first = first.rotate_right(len as u32);
        let pairs = blocks.into_iter().flat_map(|block| block.as_chunks::<16>().0);
        let products = pairs.zip(numbers.as_chunks().0).map(|(pair, [one, other])| {
            let pair = u128::from_ne_bytes(*pair);
            folded_product(pair as u64 ^ one, (pair >> 64) as u64 ^ other)
        });
        // Names that count up leave products at equal distances, of which with some numbers many meet.
        folded_product(products.fold(0, |hash, product| hash ^ product), self.last)
    }

    #[inline(never)]
    fn hash_other(&self, key: &Key<'_>) -> u64 {
        let mut hasher = self.others.build_hasher();
        hasher.write(key.path);
        if let Some(module) = key.module {
            hasher.write(module);
        }
        hasher.finish()
    }
}

/// Both halves of a product, without carry added.
#[inline(always)]
fn folded_product(one: u64, other: u64) -> u64 {
    let product = u128::from(one) * u128::from(other);
    product as u64 ^ (product >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;
    use std::vec::Vec;

    #[test]
    fn paths_are_the_same_as_their_bytes_are() {
        for len in 0..=100 {
            let path: Vec<u8> = (0..len).collect();
            assert!(is_same(&path, &path.clone()));
            for at in 0..path.len() {
                let mut other = path.clone();
                other[at] ^= 0x10;
                assert!(!is_same(&path, &other), "{at} of {len}");
                assert!(!is_same(&path, &path[..at]) && !is_same(&path[..at], &path));
            }
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
            let one_bit = (0..len * 8).map(|bit| {
                let mut other = path.clone();
                other[bit / 8] ^= 1 << (bit % 8);
                hash(&other)
            });
            differs(hash(&path), &one_bit.collect::<Vec<_>>());
        }
        let lengths: Vec<u32> = (1..=100).map(|len| hash(&[b'm'; 100][..len])).collect();
        let distinct: HashSet<_> = lengths.iter().map(|hash| hash >> 16).collect();
        assert!(distinct.len() >= 97, "{}", distinct.len());
    }

    /// Of names that count up, with many numbers: what meets in a bucket of the index has another tag.
    #[test]
    fn names_that_count_up_meet_no_more_often_than_chance_has_it() {
        for _ in 0..100 {
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
