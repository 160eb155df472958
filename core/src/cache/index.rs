//! From a hash to the slots that may hold what is looked for: open addressing by groups of buckets.
//!
//! One thread at a time changes the index; any number reads it meanwhile, without a lock. A reader may
//! then miss an entry that is being moved, or get one that is gone: what it gets it has to compare
//! anyway, and what it misses it looks for again under the lock.
//!
//! A bucket is one word: 0 when empty, else the hash above and the slot's number plus one below. Eight
//! of them, a cache line, are looked at together and without a branch, because a search of varying
//! length is foreseen wrongly every other time (5 ns a hit with probing one by one). An entry stands
//! in the group that its hash says, or when that is full in one of those behind, all before it being
//! full too. So a search ends at a group with an empty bucket, and an entry that is removed from a full
//! group has to be replaced by one from behind.

use core::sync::atomic::{AtomicU64, Ordering};

/// A bucket of the index.
#[derive(Debug, Default)]
pub struct Bucket(AtomicU64);

impl Bucket {
    /// An empty one.
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    #[inline(always)]
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

/// Buckets that are looked at together.
pub(super) const GROUP: usize = 8;

type Group = [Bucket; GROUP];

/// The groups of buckets. The more buckets are empty, the shorter the search; those that make no
/// whole group are not used.
#[derive(Clone, Copy)]
pub(super) struct Index<'i> {
    groups: &'i [Group],
}

/// The bits of the buckets entered under `hash`, and of empty ones if it is 0.
#[inline(always)]
fn matches(group: &Group, hash: u32) -> u32 {
    let tags = group.iter().map(|bucket| (bucket.0.load(Ordering::Acquire) >> 32) as u32);
    tags.zip(0..).fold(0, |mask, (tag, bit)| mask | u32::from(tag == hash) << bit)
}

fn is_full(group: &Group) -> bool {
    group.iter().all(|bucket| bucket.get().is_some())
}

impl<'i> Index<'i> {
    #[inline]
    pub(super) fn new(buckets: &'i [Bucket]) -> Self {
        let (groups, _) = buckets.as_chunks();
        Self { groups }
    }

    /// Where the search for a hash begins: its share of all groups.
    #[inline(always)]
    fn home(&self, hash: u32) -> usize {
        // Below the number of groups, which is a usize.
        ((u64::from(hash) * self.groups.len() as u64) >> 32) as usize
    }

    #[inline]
    fn next(&self, at: usize) -> usize {
        if at + 1 < self.groups.len() { at + 1 } else { 0 }
    }

    /// The groups from the one of a hash on, each once.
    fn groups_from(self, hash: u32) -> impl Iterator<Item = (usize, &'i Group)> + use<'i> {
        let (behind, first) = self.groups.split_at_checked(self.home(hash)).unwrap_or_default();
        let skipped = behind.len();
        (skipped..).zip(first).chain((0..).zip(behind))
    }

    /// What `look` makes of the first slot entered under `hash` of which it makes something.
    #[inline(always)]
    pub(super) fn find<T>(self, hash: u32, mut look: impl FnMut(u32) -> Option<T>) -> Option<T> {
        let mut at = self.home(hash);
        for _ in 0..self.groups.len() {
            let group = self.groups.get(at)?;
            let mut mask = matches(group, hash);
            while mask != 0 {
                let bit = mask.trailing_zeros() as usize;
                mask &= mask - 1;
                // Under the hash 0 there are the empty buckets as well.
                let slot = group.get(bit).and_then(Bucket::get).map(|(_, slot)| slot);
                if let Some(found) = slot.and_then(&mut look) {
                    return Some(found);
                }
            }
            if !is_full(group) {
                return None;
            }
            at = self.next(at);
        }
        None
    }

    /// Enters a slot; false when no bucket is empty.
    pub(super) fn insert(self, hash: u32, slot: u32) -> bool {
        let mut buckets = self.groups_from(hash).flat_map(|(_, group)| group);
        let empty = buckets.find(|bucket| bucket.get().is_none());
        if let Some(bucket) = empty {
            bucket.set(hash, slot);
        }
        empty.is_some()
    }

    /// Removes a slot from under `hash`.
    pub(super) fn remove(self, hash: u32, slot: u32) {
        for (at, group) in self.groups_from(hash) {
            let found = group.iter().find(|bucket| bucket.get() == Some((hash, slot)));
            match found {
                Some(hole) => return self.close(at, group, hole),
                None if is_full(group) => {}
                None => return,
            }
        }
    }

    /// Empties a bucket. One of a full group is filled with an entry that had to go further because of
    /// it, and so on with the bucket of that.
    fn close(self, mut at: usize, group: &Group, mut hole: &'i Bucket) {
        let mut behind = at;
        let mut is_open = !is_full(group);
        for _ in 1..self.groups.len() {
            if is_open {
                break;
            }
            behind = self.next(behind);
            let Some(from) = self.groups.get(behind) else { break };
            is_open = !is_full(from);
            let moved = from.iter().find_map(|bucket| {
                let (hash, slot) = bucket.get()?;
                let came = self.distance(self.home(hash), behind);
                (came >= self.distance(at, behind)).then_some((bucket, hash, slot))
            });
            if let Some((bucket, hash, slot)) = moved {
                hole.set(hash, slot);
                (at, hole) = (behind, bucket);
            }
        }
        hole.clear();
    }

    fn distance(&self, from: usize, to: usize) -> usize {
        if to >= from { to - from } else { to + self.groups.len() - from }
    }

    /// Every entry: hash and slot.
    pub(super) fn entries(self) -> impl Iterator<Item = (u32, u32)> + use<'i> {
        self.groups.as_flattened().iter().filter_map(Bucket::get)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn finds_what_a_list_finds() {
        for len in [0usize, 7, 8, 16, 30, 64] {
            let buckets: Vec<Bucket> = (0..len).map(|_| Bucket::new()).collect();
            let index = Index::new(&buckets);
            let len = len / GROUP * GROUP;
            let mut list: Vec<(u32, u32)> = Vec::new();
            let mut seed = 12345u32;
            for step in 0..20_000u32 {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                // Few hashes, so that there are runs, and runs around the end.
                let hash = (seed >> 28).wrapping_mul(0x1111_1111);
                let fill = seed >> 9 & 1 == step >> 11 & 1;
                if seed & 0x100 == 0 || fill {
                    let fits = index.insert(hash, step);
                    assert_eq!(fits, list.len() < len);
                    list.extend(fits.then_some((hash, step)));
                } else if !list.is_empty() {
                    let (hash, slot) = list.swap_remove(seed as usize % list.len());
                    index.remove(hash, slot);
                }
                index.remove(hash, u32::MAX - 1);
                let mut found: Vec<u32> = Vec::new();
                index.find(hash, |slot| {
                    found.push(slot);
                    None::<()>
                });
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
