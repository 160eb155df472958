//! The state of one shard, which its lock guards: slots, the table of keys, and the order of use.

use alloc::vec::Vec;

use hashbrown::HashTable;

use super::entry::{Entry, Key, Link};
use super::handle::Handle;
use super::list::List;
use super::options::Policy;
use super::slot::{NIL, Place, Slot};
use crate::alloc_util::{AllocError, TryArc, try_push, try_with_capacity};
use crate::memory::FileBytes;

/// How many detached entries a sweep looks at.
const MAX_SWEEP: u32 = 16;

/// The entries of one shard. Entries are inserted, detached and removed while the inventory is locked as
/// well.
// In this order a hit with SIEVE writes to the cache line of the lock only.
#[repr(C)]
pub(super) struct LockedState {
    pub(super) hits: u64,
    pub(super) slots: Vec<Slot>,
    /// The indices of the used slots, by the hash of the key.
    keys: HashTable<u32>,
    used: List,
    policy: Policy,
    keeps_ghosts: bool,
    /// The number of the shard.
    number: u32,
    /// By how many bits the indices of slots are shifted in handles.
    bits: u32,
    /// The slot that SIEVE considers next; [`NIL`] for the oldest.
    hand: u32,
    detached: List,
    /// The first free slot; `older` leads to the next one.
    free: u32,
}

impl LockedState {
    /// An empty shard, with memory for `reserved` entries that are never exceeded.
    pub(super) fn new(
        number: u32,
        bits: u32,
        policy: Policy,
        keeps_ghosts: bool,
        reserved: usize,
    ) -> Result<Self, AllocError> {
        let mut state = Self {
            hits: 0,
            slots: try_with_capacity(reserved)?,
            keys: HashTable::new(),
            used: List::new(Place::Used),
            policy,
            keeps_ghosts: keeps_ghosts && policy == Policy::Sieve,
            number,
            bits,
            hand: NIL,
            detached: List::new(Place::Detached),
            free: NIL,
        };
        (0..reserved).try_for_each(|_| state.add_slot())?;
        // A table that is at most half full rehashes in place and does not allocate.
        let keys = reserved.checked_mul(2).ok_or(AllocError)?;
        state.keys.try_reserve(keys, |_| 0).map_err(|_| AllocError)?;
        Ok(state)
    }

    /// The slot of a handle that is not stale. Detached entries are found as well.
    #[inline]
    pub(super) fn find_handle(&self, handle: Handle) -> Option<u32> {
        let at = handle.slot >> self.bits;
        let slot = self.slots.get(at as usize).filter(|slot| slot.entry.handle == handle)?;
        (slot.place != Place::Free).then_some(at)
    }

    /// The used slot with this hash.
    #[inline]
    pub(super) fn find_hash(&self, hash: u64) -> Option<u32> {
        let slots = &self.slots;
        let has_hash = |at: &u32| slots.get(*at as usize).is_some_and(|slot| slot.hash == hash);
        self.keys.find(hash, has_hash).copied()
    }

    /// The used slot with this key. There is no other one with its hash.
    pub(super) fn find(&self, hash: u64, key: &Key<'_>) -> Option<u32> {
        let at = self.find_hash(hash)?;
        self.slots.get(at as usize).filter(|slot| slot.entry.has_key(key)).map(|_| at)
    }

    /// The entry of slot `at`, for a reference to it, and whether it is retained. With `is_hit` the entry counts as used, and
    /// a file as a hit.
    #[inline]
    pub(super) fn hold(&mut self, at: u32, is_hit: bool) -> Option<(TryArc<Entry>, bool)> {
        if is_hit {
            self.touch(at);
        }
        let slot = self.slots.get_mut(at as usize)?;
        self.hits += u64::from(is_hit && slot.entry.is_file());
        Some((slot.entry.clone(), slot.retained != 0))
    }

    /// Marks the entry of slot `at` as used.
    #[inline]
    fn touch(&mut self, at: u32) {
        match self.policy {
            Policy::Lru => self.used.move_to_front(&mut self.slots, at),
            Policy::Sieve => {
                // A store would take the cache line from the other cores.
                if let Some(slot) = self.slots.get_mut(at as usize).filter(|slot| !slot.visited) {
                    slot.visited = true;
                }
            }
        }
    }

    /// The used slots, the most recently used first; with SIEVE the most recently inserted first.
    pub(super) fn used_slots(&self) -> impl Iterator<Item = &Slot> {
        core::iter::successors(self.slots.get(self.used.newest as usize), |last| {
            self.slots.get(last.older as usize)
        })
    }

    /// The first of the [used slots](Self::used_slots), if any.
    pub(super) fn newest(&self) -> Option<u32> {
        Some(self.used.newest).filter(|at| *at != NIL)
    }

    fn add_slot(&mut self) -> Result<(), AllocError> {
        let at = self.slots.len() as u32;
        if at >= NIL >> self.bits {
            return Err(AllocError);
        }
        try_push(&mut self.slots, Slot::new(at << self.bits | self.number)?)?;
        self.free(at);
        Ok(())
    }

    /// Adds slot `at`, which is vacant and in no list, to the free ones.
    fn free(&mut self, at: u32) {
        if let Some(slot) = self.slots.get_mut(at as usize) {
            (slot.place, slot.older) = (Place::Free, self.free);
            self.free = at;
        }
    }

    /// Ensures that the next [`insert`](Self::insert) succeeds.
    pub(super) fn reserve_one(&mut self) -> Result<(), AllocError> {
        if self.free == NIL {
            self.add_slot()?;
        }
        let slots = &self.slots;
        let hash_of = |at: &u32| slots.get(*at as usize).map_or(0, |slot| slot.hash);
        self.keys.try_reserve(1, hash_of).map_err(|_| AllocError)
    }

    /// Inserts a file, or with `link` a link, whose hash must not be in the table, in the slot that was
    /// [reserved](Self::reserve_one); `None` if none was.
    pub(super) fn insert(
        &mut self,
        hash: u64,
        bytes: FileBytes,
        link: Option<Link>,
    ) -> Option<TryArc<Entry>> {
        let at = self.free;
        let was_evicted = self.ghost(hash).is_some_and(|(ghost, print)| *ghost == print);
        let slot = self.slots.get_mut(at as usize)?;
        slot.entry.get_mut()?.fill(bytes, link);
        let entry = slot.entry.clone();
        (slot.hash, slot.visited) = (hash, was_evicted);
        self.free = slot.older;
        self.used.push_front(&mut self.slots, at);
        self.keys.insert_unique(hash, at, |_| 0);
        Some(entry)
    }

    /// Where SIEVE remembers an evicted entry with this hash, and as which number. An entry that is inserted
    /// while the number is still there was evicted too early and counts as used. There are half as many
    /// places as slots; each is overwritten by the next evicted entry that belongs there.
    fn ghost(&mut self, hash: u64) -> Option<(&mut u16, u16)> {
        if !self.keeps_ghosts {
            return None;
        }
        // Less than the number of slots. The table uses the lowest and the highest bits of the hash.
        let at = ((hash >> 16 & 0xffff_ffff) * (self.slots.len() as u64 / 2)) >> 32;
        Some((&mut self.slots.get_mut(at as usize)?.ghost, (hash as u16).max(1)))
    }

    /// Removes the entry of slot `at` from the table and the order of use.
    fn unlist(&mut self, at: u32) {
        let Some(slot) = self.slots.get(at as usize) else { return };
        let (hash, newer) = (slot.hash, slot.newer);
        if self.hand == at {
            self.hand = newer;
        }
        if let Ok(found) = self.keys.find_entry(hash, |other| *other == at) {
            found.remove();
        }
        self.used.remove(&mut self.slots, at);
    }

    /// Makes a used entry impossible to find; whether it stays in its slot, because it is in use, until it is
    /// [swept](Self::sweep_one).
    pub(super) fn detach(&mut self, at: u32) -> bool {
        self.unlist(at);
        let stays = !self.vacate(at);
        if stays {
            self.detached.push_front(&mut self.slots, at);
        }
        stays
    }

    /// Drops the entry of slot `at`, which is in no list, and frees the slot, unless the entry is in use; whether
    /// it was not.
    fn vacate(&mut self, at: u32) -> bool {
        let slot = self.slots.get_mut(at as usize).filter(|slot| slot.retained == 0);
        let vacated = slot.and_then(|slot| slot.entry.get_mut()).map(Entry::clear).is_some();
        if vacated {
            self.free(at);
        }
        vacated
    }

    /// Drops one detached entry that is no longer in use, after calling `count` with it; whether there was one.
    pub(super) fn sweep_one(&mut self, count: impl FnOnce(&Entry)) -> bool {
        for _ in 0..self.detached.len.min(MAX_SWEEP) {
            let at = self.detached.oldest;
            self.detached.remove(&mut self.slots, at);
            if let Some(slot) = self.slots.get_mut(at as usize)
                && !slot.is_in_use()
            {
                count(&slot.entry);
                return self.vacate(at);
            }
            self.detached.push_front(&mut self.slots, at);
        }
        false
    }

    /// Evicts the entry that the policy selects, after calling `count` with it; whether there was one that is not
    /// in use.
    pub(super) fn evict(&mut self, count: impl FnOnce(&Entry)) -> bool {
        let selected = match self.policy {
            Policy::Lru => self.least_recent(),
            Policy::Sieve => self.sieve(),
        };
        let Some(at) = selected else { return false };
        self.unlist(at);
        let Some(slot) = self.slots.get(at as usize) else { return false };
        count(&slot.entry);
        let hash = slot.hash;
        if let Some((ghost, print)) = self.ghost(hash) {
            *ghost = print;
        }
        self.vacate(at)
    }

    /// An entry in use when it would be evicted counts as used at that moment.
    fn least_recent(&mut self) -> Option<u32> {
        for _ in 0..self.used.len {
            let at = self.used.oldest;
            if !self.slots.get_mut(at as usize)?.is_in_use() {
                return Some(at);
            }
            self.used.move_to_front(&mut self.slots, at);
        }
        None
    }

    fn sieve(&mut self) -> Option<u32> {
        // Once round to clear all marks, and once more.
        for _ in 0..2 * u64::from(self.used.len) {
            let at = if self.hand == NIL { self.used.oldest } else { self.hand };
            let slot = self.slots.get_mut(at as usize)?;
            self.hand = slot.newer;
            if slot.visited {
                slot.visited = false;
            } else if !slot.is_in_use() {
                return Some(at);
            }
        }
        None
    }
}
