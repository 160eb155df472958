//! From a hash to the slots that may hold what is looked for: open addressing by groups of entries.
//!
//! One thread at a time changes the index; any number reads it meanwhile, without a lock. What a reader
//! gets may be gone, so it has to compare it anyway, and what it misses because it came just now it
//! looks for again under the lock.
//!
//! A group is a cache line: 12 entries, each a tag of 8 bits from the hash, never 0, and the number of
//! a slot. The tags are compared together and without a branch, because a search of varying length is
//! foreseen wrongly every other time (5 ns a hit with probing one by one). An entry stands in the group
//! that its hash says, or when that is full in one of those behind. Each group counts the entries that
//! had to go further because of it, so that a search knows where to end; entries never move.
//!
//! The words of a group:
//!
//! | word | bits                                                           |
//! |------|----------------------------------------------------------------|
//! | 0    | the tags of the entries 0 to 7                                 |
//! | 1    | the tags of the entries 8 to 11; above, how many went further  |
//! | 2..8 | the slots of two entries each                                  |

use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};

/// A word of the index of a cache.
#[derive(Debug, Default)]
pub struct Bucket(AtomicU64);

impl Bucket {
    /// One of an index without entries.
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// For whoever changes the index: nobody else stores.
    fn update(&self, change: impl FnOnce(u64) -> u64) {
        self.0.store(change(self.0.load(Relaxed)), Release);
    }
}

/// Words that make a group.
pub(super) const GROUP: usize = 8;
/// Entries in a group.
const ENTRIES: u32 = 12;
/// How many of the tags are in the first word.
const FIRST: u32 = 8;
/// The unit of the count in the second word.
const FURTHER: u64 = 1 << 32;
/// The highest bit of each lane.
const LANES: u64 = 0x8080_8080_8080_8080;
/// The same, of the lanes of the second word.
const LANES_BEHIND: u64 = 0x8080_8080;

/// How many entries there is room for in so many words.
pub(super) const fn room(words: usize) -> usize {
    words / GROUP * ENTRIES as usize
}

type Group = [Bucket; GROUP];

/// The groups. The fewer entries there are for their number, the shorter the search; words that make no
/// whole group are not used.
#[derive(Clone, Copy)]
pub(super) struct Index<'i> {
    groups: &'i [Group],
}

/// The lanes of `word` that are `tag`, each by its highest bit, and no others.
#[inline(always)]
fn lanes(word: u64, tag: u8) -> u64 {
    const REST: u64 = !LANES;
    let differing = word ^ (u64::from(tag) * 0x0101_0101_0101_0101);
    // No lane carries into the next, so what is found is exact.
    !(((differing & REST) + REST) | differing) & LANES
}

#[inline(always)]
fn tag_of(hash: u32) -> u8 {
    // The groups are chosen by the upper bits.
    (hash as u8).max(1)
}

/// Entries of a group, a bit for each.
#[derive(Clone, Copy)]
struct Entries(u64);

impl Entries {
    /// Those with this tag; the empty ones for 0.
    #[inline(always)]
    fn tagged(group: &Group, tag: u8) -> Self {
        let [first, second, ..] = group;
        let behind = lanes(second.0.load(Acquire), tag) & LANES_BEHIND;
        Self(lanes(first.0.load(Acquire), tag) | behind >> 4)
    }
}

impl Iterator for Entries {
    /// The number of an entry.
    type Item = u32;

    #[inline(always)]
    fn next(&mut self) -> Option<u32> {
        let bit = self.0.trailing_zeros();
        self.0 &= self.0.wrapping_sub(1);
        let behind = if bit & 4 == 0 { FIRST } else { 0 };
        (bit < u64::BITS).then_some((bit >> 3) + behind)
    }
}

#[inline(always)]
fn slot_of(group: &Group, entry: u32) -> Option<u32> {
    let word = group.get(2 + (entry >> 1) as usize)?;
    Some((word.0.load(Relaxed) >> ((entry & 1) * 32)) as u32)
}

/// Fills an entry, the tag last, or with the tag 0 empties it.
fn set(group: &Group, entry: u32, tag: u8, slot: u32) {
    if let Some(word) = group.get(2 + (entry >> 1) as usize) {
        let shift = (entry & 1) * 32;
        word.update(|word| word & !(u64::from(u32::MAX) << shift) | u64::from(slot) << shift);
    }
    if let Some(word) = group.get((entry / FIRST) as usize) {
        let shift = entry % FIRST * 8;
        word.update(|word| word & !(0xff << shift) | u64::from(tag) << shift);
    }
}

/// How many entries went further.
#[inline(always)]
fn further(group: &Group) -> u64 {
    let [_, second, ..] = group;
    second.0.load(Acquire) / FURTHER
}

impl<'i> Index<'i> {
    #[inline]
    pub(super) fn new(words: &'i [Bucket]) -> Self {
        let (groups, _) = words.as_chunks();
        Self { groups }
    }

    /// Where the search for a hash begins: its share of all groups.
    #[inline(always)]
    fn home(&self, hash: u32) -> usize {
        // Below the number of groups, which is a usize.
        ((u64::from(hash) * self.groups.len() as u64) >> 32) as usize
    }

    /// The groups from the one of a hash on, each once.
    fn groups_from(self, hash: u32) -> impl Iterator<Item = &'i Group> + Clone + use<'i> {
        let (behind, first) = self.groups.split_at_checked(self.home(hash)).unwrap_or_default();
        first.iter().chain(behind)
    }

    /// What `look` makes of the first slot that may be entered under `hash` of which it makes
    /// something.
    #[inline(always)]
    pub(super) fn find<T>(self, hash: u32, mut look: impl FnMut(u32) -> Option<T>) -> Option<T> {
        let mut at = self.home(hash);
        for _ in 0..self.groups.len() {
            let group = self.groups.get(at)?;
            for entry in Entries::tagged(group, tag_of(hash)) {
                if let Some(found) = slot_of(group, entry).and_then(&mut look) {
                    return Some(found);
                }
            }
            if further(group) == 0 {
                return None;
            }
            at = if at + 1 < self.groups.len() { at + 1 } else { 0 };
        }
        None
    }

    /// Enters a slot; false when there is no room.
    pub(super) fn insert(self, hash: u32, slot: u32) -> bool {
        let groups = self.groups_from(hash);
        for (passed, group) in groups.clone().enumerate() {
            if let Some(entry) = Entries::tagged(group, 0).next() {
                // Who looks for it has to get here from the moment it is here.
                let full = groups.take(passed);
                full.for_each(|group| group[1].update(|word| word + FURTHER));
                set(group, entry, tag_of(hash), slot);
                return true;
            }
        }
        false
    }

    /// Removes a slot from under `hash`.
    pub(super) fn remove(self, hash: u32, slot: u32) {
        let groups = self.groups_from(hash);
        for (passed, group) in groups.clone().enumerate() {
            let mut tagged = Entries::tagged(group, tag_of(hash));
            if let Some(entry) = tagged.find(|entry| slot_of(group, *entry) == Some(slot)) {
                set(group, entry, 0, 0);
                let full = groups.take(passed);
                return full.for_each(|group| group[1].update(|word| word - FURTHER));
            }
            if further(group) == 0 {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn finds_what_a_list_finds() {
        for len in [0usize, 7, 8, 16, 30, 64] {
            let words: Vec<Bucket> = (0..len).map(|_| Bucket::new()).collect();
            let index = Index::new(&words);
            let len = room(len);
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
                // Under one tag there may be others, but each once.
                let same = |tag: u32| tag_of(tag) == tag_of(hash);
                let expected = list.iter().filter(|(tag, _)| *tag == hash).map(|entry| entry.1);
                assert!(expected.clone().all(|slot| found.contains(&slot)), "{hash:x}");
                let all = |slot: &u32| list.iter().any(|entry| entry.1 == *slot && same(entry.0));
                assert!(found.iter().all(all), "{found:?}");
                found.sort_unstable();
                assert!(found.windows(2).all(|pair| pair[0] != pair[1]), "{found:?}");
            }
            for (hash, slot) in list {
                index.remove(hash, slot);
            }
            assert!(words.iter().all(|word| word.0.load(Relaxed) & LANES == 0));
            assert!(index.groups.iter().all(|group| further(group) == 0), "counts are left");
        }
    }

    #[test]
    fn lanes_are_found_exactly() {
        let mut seed = 1u64;
        for _ in 0..20_000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            // Few values, so that neighbours are equal or differ by one.
            let word = (seed >> 20) & 0x0103_0103_8103_0180;
            for tag in [0, 1, 2, 3, 0x80, 0x81] {
                let expected = (0..8).filter(|lane| (word >> (lane * 8)) as u8 == tag);
                let expected = expected.fold(0, |mask, lane| mask | 0x80u64 << (lane * 8));
                assert_eq!(lanes(word, tag), expected);
            }
        }
    }
}
