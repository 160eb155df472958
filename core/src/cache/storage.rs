//! Where the entries of a cache lie: in the cache itself, in memory of the caller, or in memory that
//! grows.
//!
//! Slots never move, which is what allows a reader to look at one without a lock.

use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU16, AtomicU32, AtomicUsize, Ordering};

use spin::Once;

use super::entry::Entry;
use super::index::{Bucket, ENTRIES, Index, buckets_for_keys};
use super::pin::PinCell;
use super::seat::Seats;
use crate::memory::CopyTo;

/// The link that leads nowhere.
pub(super) const NOWHERE: u32 = u32::MAX;

/// Room for one file, with the links that keep it in its list. A slot and a quarter of a bucket of the
/// index, 128 bytes, are what a cached file costs beside its bytes and its path.
// In this order what a hit looks at is together: the end of the cell, and all that follows it.
#[repr(C)]
pub struct Slot {
    pub(super) hash: AtomicU32,
    /// Pins without a guard: see `FileCache::retain`.
    pub(super) held: AtomicU32,
    pub(super) cell: PinCell<Entry>,
    pub(super) list: AtomicU8,
    /// Used since the hand of SIEVE last came by.
    pub(super) visited: AtomicBool,
    /// What is left of an entry that was thrown out, whichever slot it had: see `Ledger::ghost`.
    pub(super) ghost: AtomicU16,
    /// Counts the entries that have been here; never 0.
    pub(super) generation: AtomicU32,
    /// Towards the more recently used.
    pub(super) before: AtomicU32,
    /// Towards the less recently used.
    pub(super) behind: AtomicU32,
}

impl Slot {
    /// A slot with nothing in it.
    pub const fn new() -> Self {
        Self {
            // Without a value it is closed.
            cell: PinCell::new(Entry::Vacant),
            generation: AtomicU32::new(1),
            before: AtomicU32::new(NOWHERE),
            behind: AtomicU32::new(NOWHERE),
            hash: AtomicU32::new(0),
            held: AtomicU32::new(0),
            list: AtomicU8::new(0),
            visited: AtomicBool::new(false),
            ghost: AtomicU16::new(0),
        }
    }
}

/// What `Slot` says of itself.
const _: () = assert!(size_of::<Slot>() + size_of::<Bucket>() / SLOTS <= 128);

impl Default for Slot {
    fn default() -> Self {
        Self::new()
    }
}

impl core::fmt::Debug for Slot {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Slot").field("generation", &self.generation).finish_non_exhaustive()
    }
}

/// The slots and the index of a cache.
///
/// Beside them the seats of readers.
///
/// Sealed: a cache relies on slots that never move and that no other cache has.
pub trait Storage: sealed::Sealed + Send + Sync {
    #[doc(hidden)]
    #[inline]
    fn slot(&self, at: u32) -> Option<&Slot> {
        Slots::of(self).get(at)
    }
    /// Those that a slot is looked for among first.
    #[doc(hidden)]
    fn first_slots(&self) -> &[Slot];
    /// A slot that is not among the first.
    #[doc(hidden)]
    fn later_slot(&self, _: u32) -> Option<&Slot> {
        None
    }
    #[doc(hidden)]
    fn slot_count(&self) -> u32;
    /// What leads to slots by the hashes of keys.
    #[doc(hidden)]
    fn keys(&self) -> Index<'_>;
    /// What leads to slots by the hashes of stamps; perhaps the same.
    #[doc(hidden)]
    fn files(&self) -> Index<'_>;
    #[doc(hidden)]
    fn seats(&self) -> &Seats;
    /// Makes the first slots, before there is a cache; whether there are any.
    #[doc(hidden)]
    fn begin(&mut self) -> bool {
        self.slot_count() != 0
    }
    /// Adds slots; false when there can be no more. One thread at a time. `hashes` are those under
    /// which a slot is entered, in the index of keys and in that of files.
    #[doc(hidden)]
    fn grow(&self, hashes: impl Fn(&Slot) -> [Option<u32>; 2]) -> bool;
    /// Where the bytes of files go.
    #[doc(hidden)]
    const COPY_TO: CopyTo;
}

mod sealed {
    pub trait Sealed {}
}

/// The slots of a storage for whoever needs several: where the first ones are is asked once.
pub(super) struct Slots<'s, S: ?Sized> {
    first: &'s [Slot],
    storage: &'s S,
}

impl<'s, S: Storage + ?Sized> Slots<'s, S> {
    #[inline(always)]
    pub(super) fn of(storage: &'s S) -> Self {
        Self { first: storage.first_slots(), storage }
    }

    #[inline(always)]
    pub(super) fn storage(&self) -> &'s S {
        self.storage
    }

    /// One of the first.
    #[inline(always)]
    pub(super) fn first(&self, at: u32) -> Option<&'s Slot> {
        self.first.get(at as usize)
    }

    #[inline(always)]
    pub(super) fn get(&self, at: u32) -> Option<&'s Slot> {
        match self.first(at) {
            Some(slot) => Some(slot),
            None => self.storage.later_slot(at),
        }
    }

    /// Where a link leads to. That it leads nowhere is foreseen better than found out.
    #[inline(always)]
    pub(super) fn neighbour(&self, link: u32) -> Option<&'s Slot> {
        if link == NOWHERE { None } else { self.get(link) }
    }
}

/// Room for `SLOTS` files, in the value itself. `BUCKETS` should be a quarter of them and must be a
/// sixth. No allocator is ever asked: the bytes of files lie in pages of their own.
#[derive(Debug)]
pub struct FixedStorage<const SLOTS: usize, const BUCKETS: usize> {
    seats: Seats,
    buckets: [Bucket; BUCKETS],
    slots: [Slot; SLOTS],
}

impl<const SLOTS: usize, const BUCKETS: usize> FixedStorage<SLOTS, BUCKETS> {
    const FOR_KEYS: Option<usize> = buckets_for_keys(BUCKETS, SLOTS);

    /// Empty.
    pub const fn new() -> Self {
        const { assert!(BUCKETS * ENTRIES >= 2 * SLOTS && SLOTS < NOWHERE as usize) };
        Self {
            seats: Seats::new(),
            buckets: [const { Bucket::new() }; BUCKETS],
            slots: [const { Slot::new() }; SLOTS],
        }
    }
}

impl<const SLOTS: usize, const BUCKETS: usize> Default for FixedStorage<SLOTS, BUCKETS> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const SLOTS: usize, const BUCKETS: usize> sealed::Sealed for FixedStorage<SLOTS, BUCKETS> {}

impl<const SLOTS: usize, const BUCKETS: usize> Storage for FixedStorage<SLOTS, BUCKETS> {
    const COPY_TO: CopyTo = CopyTo::Pages;

    #[inline(always)]
    fn first_slots(&self) -> &[Slot] {
        &self.slots
    }

    fn slot_count(&self) -> u32 {
        // `new` has compared it.
        SLOTS as u32
    }

    #[inline(always)]
    fn keys(&self) -> Index<'_> {
        Index::before(&self.buckets, Self::FOR_KEYS)
    }

    #[inline]
    fn files(&self) -> Index<'_> {
        Index::behind(&self.buckets, Self::FOR_KEYS)
    }

    fn seats(&self) -> &Seats {
        &self.seats
    }

    fn grow(&self, _: impl Fn(&Slot) -> [Option<u32>; 2]) -> bool {
        false
    }
}

/// Room for as many files as the caller has given slots. No allocator is ever asked: the bytes of
/// files lie in pages of their own.
#[derive(Debug)]
pub struct SliceStorage<'s> {
    seats: Seats,
    slots: &'s mut [Slot],
    buckets: &'s mut [Bucket],
    for_keys: Option<usize>,
}

impl<'s> SliceStorage<'s> {
    /// Uses `slots` and `buckets`, of which one for four slots is best, and one for six must be, else
    /// slots are left unused. What they held is thrown away.
    pub fn new(slots: &'s mut [Slot], buckets: &'s mut [Bucket]) -> Self {
        let most = (buckets.len().saturating_mul(ENTRIES) / 2).min(NOWHERE as usize - 1);
        let used = slots.len().min(most);
        let (slots, _) = slots.split_at_mut_checked(used).unwrap_or_default();
        slots.fill_with(Slot::new);
        buckets.fill_with(Bucket::new);
        let for_keys = buckets_for_keys(buckets.len(), slots.len());
        Self { seats: Seats::new(), slots, buckets, for_keys }
    }
}

impl sealed::Sealed for SliceStorage<'_> {}

impl Storage for SliceStorage<'_> {
    const COPY_TO: CopyTo = CopyTo::Pages;

    #[inline(always)]
    fn first_slots(&self) -> &[Slot] {
        self.slots
    }

    fn slot_count(&self) -> u32 {
        // `new` has cut it.
        self.slots.len() as u32
    }

    #[inline(always)]
    fn keys(&self) -> Index<'_> {
        Index::before(self.buckets, self.for_keys)
    }

    #[inline]
    fn files(&self) -> Index<'_> {
        Index::behind(self.buckets, self.for_keys)
    }

    fn seats(&self) -> &Seats {
        &self.seats
    }

    fn grow(&self, _: impl Fn(&Slot) -> [Option<u32>; 2]) -> bool {
        false
    }
}

/// Enough blocks behind the first for more slots than there are numbers.
const BLOCKS: usize = 25;

/// The least and the most slots of the first block, as powers of two. A slot of the first block is
/// found 3 ns sooner than one of the others.
const FIRST: core::ops::RangeInclusive<u32> = 6..=10;

/// Slots for each bucket of storage that grows: two of three entries are used when it is full, of which
/// one in 60 stands further back than in the bucket that its hash says.
const SLOTS: usize = 4;

/// Room that grows with the files, block by block, up to the capacity of the cache. The first block
/// has as many slots as the cache may have files, at least 64 and at most 1,024; each further one as
/// many as all before it, and one first block more.
pub struct GrowingStorage {
    seats: Seats,
    /// How many slots the first block has, as a power of two.
    first: u32,
    /// The first block and its index, which are there before anybody looks.
    first_slots: Vec<Slot>,
    first_indices: Indices,
    later_blocks: [Once<Vec<Slot>>; BLOCKS],
    /// Those for each number of blocks. Readers may still look at older ones, so all are kept: together
    /// the older ones are as large as the last.
    later_indices: [Once<Indices>; BLOCKS],
    /// How many of the later blocks there are.
    later: AtomicUsize,
}

impl GrowingStorage {
    /// Without a slot, and without memory, for about `files` files.
    pub fn new(files: u32) -> Self {
        let wanted = files.max(1).ilog2() + u32::from(!files.is_power_of_two());
        Self {
            seats: Seats::new(),
            first: wanted.clamp(*FIRST.start(), *FIRST.end()),
            first_slots: Vec::new(),
            first_indices: Indices::default(),
            later_blocks: [const { Once::new() }; BLOCKS],
            later_indices: [const { Once::new() }; BLOCKS],
            later: AtomicUsize::new(0),
        }
    }

    /// How many slots so many blocks have.
    fn slots_in(&self, blocks: usize) -> u64 {
        ((1 << blocks) - 1) << self.first
    }

    #[inline(always)]
    fn indices(&self) -> &Indices {
        match self.later.load(Ordering::Acquire) {
            // A branch that is foreseen costs less than an address that is not.
            0 => &self.first_indices,
            later => self.later_indices(later),
        }
    }

    /// Those of so many later blocks, which are there.
    #[cold]
    #[inline(never)]
    fn later_indices(&self, later: usize) -> &Indices {
        let indices = self.later_indices.get(later.wrapping_sub(1)).and_then(Once::get);
        indices.unwrap_or(&self.first_indices)
    }
}

/// The index of keys and that of files.
#[derive(Default)]
struct Indices {
    keys: Vec<Bucket>,
    files: Vec<Bucket>,
}

impl Indices {
    /// For so many slots, if there is memory.
    fn of(slots: usize) -> Option<Self> {
        let all = slots / SLOTS;
        let keys = buckets_for_keys(all, slots)?;
        Some(Self { keys: filled(keys, Bucket::new)?, files: filled(all - keys, Bucket::new)? })
    }

    /// Enters a slot; false when there is no room.
    fn insert(&self, [key, file]: [Option<u32>; 2], at: u32) -> bool {
        let insert = |buckets, hash| Index::new(buckets).insert(hash, at);
        key.is_none_or(|hash| insert(&self.keys, hash))
            && file.is_none_or(|hash| insert(&self.files, hash))
    }
}

impl core::fmt::Debug for GrowingStorage {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("GrowingStorage").field("slots", &self.slot_count()).finish()
    }
}

/// `count` of them, if there is memory.
fn filled<T>(count: usize, value: impl FnMut() -> T) -> Option<Vec<T>> {
    let mut all = Vec::new();
    all.try_reserve_exact(count).ok()?;
    all.resize_with(count, value);
    Some(all)
}

impl sealed::Sealed for GrowingStorage {}

impl Storage for GrowingStorage {
    const COPY_TO: CopyTo = CopyTo::Allocator;

    #[inline(always)]
    fn first_slots(&self) -> &[Slot] {
        &self.first_slots
    }

    #[cold]
    #[inline(never)]
    fn later_slot(&self, at: u32) -> Option<&Slot> {
        let number = (u64::from(at) >> self.first) + 1;
        let block = number.ilog2() as usize;
        let offset = u64::from(at) - self.slots_in(block);
        let slots = self.later_blocks.get(block.checked_sub(1)?)?.get()?;
        slots.get(usize::try_from(offset).ok()?)
    }

    fn slot_count(&self) -> u32 {
        let later = self.later.load(Ordering::Relaxed);
        let blocks = if self.first_slots.is_empty() { 0 } else { later + 1 };
        u32::try_from(self.slots_in(blocks)).unwrap_or(NOWHERE)
    }

    #[inline(always)]
    fn keys(&self) -> Index<'_> {
        Index::new(&self.indices().keys)
    }

    #[inline]
    fn files(&self) -> Index<'_> {
        Index::new(&self.indices().files)
    }

    fn seats(&self) -> &Seats {
        &self.seats
    }

    fn begin(&mut self) -> bool {
        let count = 1 << self.first;
        let made = filled(count, Slot::new).zip(Indices::of(count));
        made.map(|made| (self.first_slots, self.first_indices) = made).is_some()
    }

    fn grow(&self, hashes: impl Fn(&Slot) -> [Option<u32>; 2]) -> bool {
        let later = self.later.load(Ordering::Relaxed);
        let places = self.later_blocks.get(later).zip(self.later_indices.get(later));
        let Some((block, indices)) = places else { return false };
        let (old, new) = (self.slots_in(later + 1), self.slots_in(later + 2));
        let (Ok(slots), Ok(all)) = (usize::try_from(new - old), usize::try_from(new)) else {
            return false;
        };
        let made = filled(slots, Slot::new).zip(Indices::of(all));
        let Some((slots, larger)) = made else { return false };
        let mut earlier = (0..self.slot_count()).filter_map(|at| Some((at, self.slot(at)?)));
        let moved = earlier.all(|(at, slot)| larger.insert(hashes(slot), at));
        if moved && new < u64::from(NOWHERE) {
            block.call_once(|| slots);
            indices.call_once(|| larger);
            self.later.store(later + 1, Ordering::Release);
        }
        moved && new < u64::from(NOWHERE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;

    #[test]
    fn growing_keeps_what_was_entered_and_gives_every_slot_once() {
        let all = [(0, 64), (1, 64), (65, 128), (128, 128), (u32::MAX, 1024)];
        for (files, first) in all.into_iter().take(if cfg!(miri) { 1 } else { all.len() }) {
            let mut storage = GrowingStorage::new(files);
            assert!(storage.slot(0).is_none() && !storage.keys().insert(0, 0));
            assert!(storage.slot_count() == 0 && storage.begin());
            check_growing(&storage, first);
        }
    }

    fn check_growing(storage: &GrowingStorage, first: u32) {
        for round in 0..4 {
            // Entered so far: the slot `n` under the hash `77 n`.
            let hash = |slot: &Slot| storage_hash(storage, round, slot);
            assert!(round == 0 || storage.grow(|slot| [hash(slot); 2]));
            let count = storage.slot_count();
            assert_eq!(count, (first << (round + 1)) - first);
            assert!(storage.slot(count - 1).is_some() && storage.slot(count).is_none());
            assert!(
                [storage.keys(), storage.files()].map(|index| index.insert(round * 77, round))
                    == [true; 2]
            );
            for earlier in 0..=round {
                let found =
                    [storage.keys(), storage.files()].map(|index| index.find(earlier * 77, Some));
                assert_eq!(found, [Some(earlier); 2]);
            }
        }
        for at in 0..storage.slot_count() {
            let slot = storage.slot(at).unwrap();
            assert_eq!(slot.hash.swap(1, Ordering::Relaxed), 0, "slot {at} was given twice");
        }
    }

    fn storage_hash(storage: &GrowingStorage, entered: u32, slot: &Slot) -> Option<u32> {
        let is_it = |at: &u32| storage.slot(*at).is_some_and(|one| core::ptr::eq(one, slot));
        (0..entered).find(is_it).map(|at| at * 77)
    }

    #[test]
    fn slices_are_used_as_far_as_there_are_buckets() {
        for (slots, buckets, used) in [(9, 1, 6), (4, 1, 4), (19, 3, 18), (4, 0, 0), (0, 9, 0)] {
            let mut slots: vec::Vec<Slot> = (0..slots).map(|_| Slot::new()).collect();
            let mut buckets: vec::Vec<Bucket> = (0..buckets).map(|_| Bucket::new()).collect();
            assert_eq!(SliceStorage::new(&mut slots, &mut buckets).slot_count(), used);
        }
    }
}
