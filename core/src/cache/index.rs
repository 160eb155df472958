//! From a hash to the slots that may hold what is looked for: open addressing with linear probing.
//!
//! One thread at a time changes the index; any number reads it meanwhile, without a lock. A reader may
//! then miss an entry that is being moved, or get one that is gone: what it gets it has to compare
//! anyway, and what it misses it looks for again under the lock.
//!
//! A bucket is one word: 0 when empty, else the hash above and the slot's number plus one below. An
//! entry that is removed leaves no trace: those behind it move up.

use core::sync::atomic::{AtomicU64, Ordering};

/// A bucket of the index.
#[derive(Debug, Default)]
pub struct Bucket(AtomicU64);

impl Bucket {
    /// An empty one.
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    fn get(&self) -> Option<(u32, u32)> {
        let word = self.0.load(Ordering::Acquire);
        let (hash, slot) = ((word >> 32) as u32, word as u32);
        slot.checked_sub(1).map(|slot| (hash, slot))
    }

    fn set(&self, hash: u32, slot: u32) {
        // A slot's number is below u32::MAX: `Storage` has fewer.
        let word = u64::from(hash) << 32 | u64::from(slot.wrapping_add(1));
        self.0.store(word, Ordering::Release);
    }

    fn clear(&self) {
        self.0.store(0, Ordering::Release);
    }
}

/// The buckets. The more of them are empty, the shorter the search.
#[derive(Clone, Copy)]
pub(super) struct Index<'i> {
    buckets: &'i [Bucket],
}

impl<'i> Index<'i> {
    #[inline]
    pub(super) fn new(buckets: &'i [Bucket]) -> Self {
        Self { buckets }
    }

    /// Where the search for a hash begins: its share of all buckets.
    #[inline]
    fn home(&self, hash: u32) -> usize {
        // Below the number of buckets, which is a usize.
        ((u64::from(hash) * self.buckets.len() as u64) >> 32) as usize
    }

    #[inline]
    fn next(&self, at: usize) -> usize {
        if at + 1 < self.buckets.len() { at + 1 } else { 0 }
    }

    /// The slots entered under `hash`.
    #[inline]
    pub(super) fn candidates(self, hash: u32) -> impl Iterator<Item = u32> + use<'i> {
        let mut at = self.home(hash);
        let mut left = self.buckets.len();
        core::iter::from_fn(move || {
            while left != 0 {
                let (tag, slot) = self.buckets.get(at)?.get()?;
                (at, left) = (self.next(at), left - 1);
                if tag == hash {
                    return Some(slot);
                }
            }
            None
        })
    }

    /// Enters a slot; false when no bucket is empty.
    pub(super) fn insert(self, hash: u32, slot: u32) -> bool {
        let mut at = self.home(hash);
        for _ in 0..self.buckets.len() {
            match self.buckets.get(at) {
                Some(bucket) if bucket.get().is_none() => {
                    bucket.set(hash, slot);
                    return true;
                }
                _ => at = self.next(at),
            }
        }
        false
    }

    /// Removes a slot from under `hash`.
    pub(super) fn remove(self, hash: u32, slot: u32) {
        let mut hole = self.home(hash);
        let found = (0..self.buckets.len()).any(|_| {
            let found = self.bucket(hole) == Some((hash, slot));
            if !found {
                hole = self.next(hole);
            }
            found
        });
        if found {
            self.close(hole);
        }
    }

    fn bucket(&self, at: usize) -> Option<(u32, u32)> {
        self.buckets.get(at)?.get()
    }

    /// Moves up the entries behind a hole that may stand in it, and empties what is left.
    fn close(self, mut hole: usize) {
        let mut at = self.next(hole);
        for _ in 1..self.buckets.len() {
            let Some((hash, slot)) = self.bucket(at) else { break };
            // How far an entry has come from its home; it may go back no further.
            if self.distance(self.home(hash), at) >= self.distance(hole, at) {
                if let Some(bucket) = self.buckets.get(hole) {
                    bucket.set(hash, slot);
                }
                hole = at;
            }
            at = self.next(at);
        }
        if let Some(bucket) = self.buckets.get(hole) {
            bucket.clear();
        }
    }

    fn distance(&self, from: usize, to: usize) -> usize {
        if to >= from { to - from } else { to + self.buckets.len() - from }
    }

    /// Every entry: hash and slot.
    pub(super) fn entries(self) -> impl Iterator<Item = (u32, u32)> + use<'i> {
        self.buckets.iter().filter_map(Bucket::get)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn finds_what_a_list_finds() {
        for len in [2usize, 3, 7, 30] {
            let buckets: Vec<Bucket> = (0..len).map(|_| Bucket::new()).collect();
            let index = Index::new(&buckets);
            let mut list: Vec<(u32, u32)> = Vec::new();
            let mut seed = 12345u32;
            for step in 0..20_000u32 {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                // Few hashes, so that there are runs, and runs around the end.
                let hash = (seed >> 28).wrapping_mul(0x1111_1111);
                if seed & 0x100 == 0 {
                    let fits = index.insert(hash, step);
                    assert_eq!(fits, list.len() < len);
                    list.extend(fits.then_some((hash, step)));
                } else if !list.is_empty() {
                    let (hash, slot) = list.swap_remove(seed as usize % list.len());
                    index.remove(hash, slot);
                }
                index.remove(hash, u32::MAX - 1);
                let mut found: Vec<u32> = index.candidates(hash).collect();
                let mut expected: Vec<u32> =
                    list.iter().filter(|(tag, _)| *tag == hash).map(|entry| entry.1).collect();
                found.sort_unstable();
                expected.sort_unstable();
                assert_eq!(found, expected);
                assert_eq!(index.entries().count(), list.len());
            }
        }
    }
}
