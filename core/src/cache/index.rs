//! From a hash to the slots that may hold what is looked for: open addressing by buckets of entries.
//!
//! One thread at a time changes the index; any number reads it meanwhile, without a lock. What a reader
//! gets may be gone, so it has to compare it anyway, and what it misses because it came just now it
//! looks for again under the lock.
//!
//! There are two of them, for keys and for files by device and inode. Who hits asks that of keys alone, so it
//! has the larger share of the buckets: the fewer entries stand together, the more often the first one with
//! the right tag is the right one.
//!
//! A bucket is a cache line of 12 entries, each a tag of 8 bits from the hash and the number of a slot.
//! The tags are compared together and without a branch, because a search of varying length is foreseen
//! wrongly every other time (5 ns a hit with probing one by one). An entry stands in the bucket that
//! its hash says, or when that is full in one of those behind. Each bucket counts the entries that had
//! to go further because of it, so that a search knows where to end; entries never move.

#[cfg(all(target_feature = "sse2", not(miri)))]
mod sse2;
#[cfg(any(test, not(target_feature = "sse2"), miri))]
mod words;

use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use core::sync::atomic::{AtomicU32, AtomicU64};

#[cfg(all(target_feature = "sse2", not(miri)))]
use self::sse2::tagged;
#[cfg(any(not(target_feature = "sse2"), miri))]
use self::words::tagged;
use super::storage::NOWHERE;

/// A part of the index of a cache: 12 entries, of which each file needs two, in a cache line.
#[derive(Debug)]
#[repr(align(64))]
pub struct Bucket {
    tags: Tags,
    /// [`NOWHERE`] for an entry that is empty.
    slots: [AtomicU32; ENTRIES],
}

/// The tags of the entries of a bucket, of one that is empty 0, and above them how many entries went further.
#[derive(Debug)]
#[repr(align(16))]
struct Tags([AtomicU64; 2]);

impl Default for Bucket {
    fn default() -> Self {
        Self::new()
    }
}

impl Bucket {
    /// One without entries.
    pub const fn new() -> Self {
        Self {
            tags: Tags([const { AtomicU64::new(0) }; 2]),
            slots: [const { AtomicU32::new(NOWHERE) }; ENTRIES],
        }
    }

    /// The entries with this tag; the empty ones are among those with the tag 0.
    #[inline(always)]
    fn tagged(&self, tag: u8) -> Entries {
        Entries(tagged(&self.tags, tag) & ((1 << ENTRIES) - 1))
    }

    /// The first entry with this tag, if there is one.
    #[inline(always)]
    fn first_tagged(&self, tag: u8) -> Option<u32> {
        // What comes from behind the last tag is no entry.
        self.slot(tagged(&self.tags, tag).trailing_zeros() as usize)
    }

    #[inline(always)]
    fn slot(&self, entry: usize) -> Option<u32> {
        Some(self.slots.get(entry)?.load(Relaxed))
    }

    /// An entry that is empty.
    #[inline(always)]
    fn empty(&self) -> Option<usize> {
        self.tagged(0).find(|entry| self.slot(*entry) == Some(NOWHERE))
    }

    /// Fills an entry, the tag last, or with the tag 0 and [`NOWHERE`] empties it.
    fn set(&self, entry: usize, tag: u8, slot: u32) {
        if let Some(place) = self.slots.get(entry) {
            place.store(slot, Relaxed);
        }
        let Tags([first, second]) = &self.tags;
        let word = if entry < FIRST { first } else { second };
        let shift = entry % FIRST * 8;
        update(word, |word| word & !(0xff << shift) | u64::from(tag) << shift);
    }

    /// How many entries went further.
    #[inline(always)]
    fn further(&self) -> u64 {
        self.tags.0[1].load(Acquire) / FURTHER
    }
}

/// For whoever changes the index: nobody else stores.
fn update(word: &AtomicU64, change: impl FnOnce(u64) -> u64) {
    word.store(change(word.load(Relaxed)), Release);
}

/// Entries in a bucket.
pub(super) const ENTRIES: usize = 12;
/// How many of the tags are in the first word.
const FIRST: usize = 8;
/// The unit of the count in the second word.
const FURTHER: u64 = 1 << 32;
/// The buckets. The fewer entries there are for their number, the shorter the search.
#[derive(Clone, Copy, Debug)]
pub struct Index<'i> {
    buckets: &'i [Bucket],
}

/// How many of so many buckets are for the keys of so many slots; the others are for files. `None` when
/// they are too few to be divided: then all are for both.
pub(super) const fn buckets_for_keys(buckets: usize, slots: usize) -> Option<usize> {
    let least = slots.div_ceil(ENTRIES);
    match buckets.checked_sub(2 * least) {
        Some(more) => Some(least + more - more / 5),
        None => None,
    }
}

#[inline(always)]
fn tag_of(hash: u32) -> u8 {
    // The buckets are chosen by the upper bits.
    hash as u8
}

/// Entries of a bucket, a bit for each.
#[derive(Clone, Copy)]
struct Entries(u32);

impl Iterator for Entries {
    /// The number of an entry.
    type Item = usize;

    #[inline(always)]
    fn next(&mut self) -> Option<usize> {
        let entry = self.0.trailing_zeros() as usize;
        let found = (self.0 != 0).then_some(entry);
        self.0 &= self.0.wrapping_sub(1);
        found
    }
}

impl<'i> Index<'i> {
    #[inline(always)]
    pub(super) fn new(buckets: &'i [Bucket]) -> Self {
        Self { buckets }
    }

    /// Those buckets that come first, if they are divided.
    #[inline(always)]
    pub(super) fn before(buckets: &'i [Bucket], border: Option<usize>) -> Self {
        Self::new(border.and_then(|border| buckets.get(..border)).unwrap_or(buckets))
    }

    /// The others, if they are divided.
    #[inline]
    pub(super) fn behind(buckets: &'i [Bucket], border: Option<usize>) -> Self {
        Self::new(border.and_then(|border| buckets.get(border..)).unwrap_or(buckets))
    }

    /// Where the search for a hash begins: its share of all buckets.
    #[inline(always)]
    fn home(&self, hash: u32) -> usize {
        // Below the number of buckets, which is a usize.
        ((u64::from(hash) * self.buckets.len() as u64) >> 32) as usize
    }

    #[inline(always)]
    fn next(&self, at: usize) -> usize {
        if at + 1 < self.buckets.len() { at + 1 } else { 0 }
    }

    /// The first slot that may be entered under `hash`, if it stands where the search begins: 99 of 100
    /// times it is the one that is looked for, and what is done with it needs no loop around it.
    #[inline(always)]
    pub(super) fn first(self, hash: u32) -> Option<u32> {
        let bucket = self.buckets.get(self.home(hash))?;
        bucket.first_tagged(tag_of(hash))
    }

    /// Whether there may be a slot under `hash`. Of what is not there, 95 of 100 times there may not.
    #[inline(always)]
    pub(super) fn may_have(self, hash: u32) -> bool {
        let home = self.buckets.get(self.home(hash));
        home.is_some_and(|bucket| bucket.tagged(tag_of(hash)).0 != 0 || bucket.further() != 0)
    }

    /// What `look` makes of the first slot that may be entered under `hash` of which it makes
    /// something.
    #[inline(always)]
    pub(super) fn find<T>(self, hash: u32, mut look: impl FnMut(u32) -> Option<T>) -> Option<T> {
        let home = self.home(hash);
        let mut at = home;
        loop {
            let bucket = self.buckets.get(at)?;
            for entry in bucket.tagged(tag_of(hash)) {
                if let Some(found) = bucket.slot(entry).and_then(&mut look) {
                    return Some(found);
                }
            }
            at = self.next(at);
            if bucket.further() == 0 || at == home {
                return None;
            }
        }
    }

    /// Enters a slot; false when there is no room.
    #[inline]
    pub(super) fn insert(self, hash: u32, slot: u32) -> bool {
        let home = self.home(hash);
        let mut at = home;
        while let Some(bucket) = self.buckets.get(at) {
            if let Some(entry) = bucket.empty() {
                // Who looks for it has to get here from the moment it is here.
                self.count_further(home, at, |count| count + FURTHER);
                bucket.set(entry, tag_of(hash), slot);
                return true;
            }
            at = self.next(at);
            if at == home {
                break;
            }
        }
        false
    }

    /// Removes a slot from under `hash`.
    #[inline]
    pub(super) fn remove(self, hash: u32, slot: u32) {
        let home = self.home(hash);
        let mut at = home;
        while let Some(bucket) = self.buckets.get(at) {
            let mut tagged = bucket.tagged(tag_of(hash));
            if let Some(entry) = tagged.find(|entry| bucket.slot(*entry) == Some(slot)) {
                bucket.set(entry, 0, NOWHERE);
                return self.count_further(home, at, |count| count - FURTHER);
            }
            at = self.next(at);
            if bucket.further() == 0 || at == home {
                return;
            }
        }
    }

    /// Changes the counts of the buckets from `home` to before `end`.
    #[inline]
    fn count_further(self, home: usize, end: usize, change: impl Fn(u64) -> u64) {
        let mut at = home;
        while at != end {
            let Some(bucket) = self.buckets.get(at) else { return };
            update(&bucket.tags.0[1], &change);
            at = self.next(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn finds_what_a_list_finds() {
        for len in [0, 1, 2, 4, 8] {
            let buckets: Vec<Bucket> = (0..len).map(|_| Bucket::new()).collect();
            let index = Index::new(&buckets);
            let len = len * ENTRIES;
            let mut list: Vec<(u32, u32)> = Vec::new();
            let mut seed = 12345u32;
            for step in 0..if cfg!(miri) { 300 } else { 20_000u32 } {
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
                    found.extend((slot != NOWHERE).then_some(slot));
                    None::<()>
                });
                // Under one tag there may be others, but each once.
                let same = |tag: u32| tag_of(tag) == tag_of(hash);
                let expected = list.iter().filter(|(tag, _)| *tag == hash).map(|entry| entry.1);
                assert!(expected.clone().all(|slot| found.contains(&slot)), "{hash:x}");
                let all = |slot: &u32| list.iter().any(|entry| entry.1 == *slot && same(entry.0));
                assert!(found.iter().all(all), "{found:?}");
                assert!(index.may_have(hash) || found.is_empty());
                found.sort_unstable();
                assert!(found.windows(2).all(|pair| pair[0] != pair[1]), "{found:?}");
            }
            for (hash, slot) in list {
                index.remove(hash, slot);
            }
            let is_vacant =
                |entry: usize| move |bucket: &Bucket| bucket.slot(entry) == Some(NOWHERE);
            let is_empty = |bucket: &Bucket| {
                bucket.tagged(0).count() == ENTRIES
                    && (0..ENTRIES).all(|entry| is_vacant(entry)(bucket))
            };
            assert!(buckets.iter().all(is_empty), "entries are left");
            assert!(buckets.iter().all(|bucket| bucket.further() == 0), "counts are left");
        }
    }

    #[test]
    fn both_parts_of_the_buckets_have_room_for_all_slots() {
        for slots in 0..500usize {
            for buckets in (2 * slots).div_ceil(ENTRIES)..slots + 3 {
                let Some(keys) = buckets_for_keys(buckets, slots) else {
                    assert!(buckets < 2 * slots.div_ceil(ENTRIES));
                    continue;
                };
                assert!(keys * ENTRIES >= slots && (buckets - keys) * ENTRIES >= slots);
                assert!(2 * keys >= buckets, "those for keys are not the fewer ones");
            }
        }
    }

    #[test]
    fn tags_are_found_as_one_by_one() {
        let mut seed = 1u64;
        for _ in 0..if cfg!(miri) { 50 } else { 20_000 } {
            // Few values, so that neighbours are equal or differ by one.
            let words = [0; 2].map(|_| {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (seed >> 11) & 0x0103_0103_8103_0180
            });
            let tags: Vec<u8> = words.into_iter().flat_map(u64::to_le_bytes).collect();
            let words = Tags(words.map(AtomicU64::new));
            for tag in [0, 1, 2, 3, 0x80, 0x81] {
                let same = (0..ENTRIES).filter(|entry| tags[*entry] == tag);
                let expected = same.fold(0, |mask, entry| mask | 1 << entry);
                for found in [super::tagged(&words, tag), words::tagged(&words, tag)] {
                    assert_eq!(found & ((1 << ENTRIES) - 1), expected);
                }
            }
        }
    }
}
