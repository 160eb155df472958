//! The state of one shard, which its lock guards: slots, the table of keys, and the order of use.

use alloc::vec::Vec;

use hashbrown::HashTable;

use super::entry::{Entry, Key};
use super::handle::Handle;
use super::list::List;
use super::options::Policy;
use super::slot::{NIL, Place, Slot};
use crate::alloc_util::{AllocError, TryArc, try_push, try_with_capacity};

/// How many detached entries a sweep looks at.
const MAX_SWEEP: u32 = 16;

/// The number of a shard, and by how many bits it shifts the indices of its slots in handles.
#[derive(Clone, Copy, Debug)]
pub(super) struct ShardId {
    pub(super) number: u32,
    pub(super) bits: u32,
}

/// The entries of one shard. Entries are inserted, detached and removed while the inventory is locked as
/// well.
// In this order a hit writes the end only, next to the lock.
#[repr(C)]
pub(super) struct LockedState {
    id: ShardId,
    policy: Policy,
    keeps_ghosts: bool,
    /// The slot that SIEVE considers next; [`NIL`] for the oldest.
    hand: u32,
    slots: Vec<Slot>,
    /// The indices of the used slots, by the hash of the key.
    keys: HashTable<u32>,
    detached: List,
    free: List,
    used: List,
    hits: u64,
}

impl LockedState {
    /// An empty shard, with memory for `reserved` entries that are never exceeded.
    pub(super) fn new(
        id: ShardId,
        policy: Policy,
        keeps_ghosts: bool,
        reserved: usize,
    ) -> Result<Self, AllocError> {
        let mut state = Self {
            id,
            policy,
            slots: try_with_capacity(reserved)?,
            keys: HashTable::new(),
            used: List::new(Place::Used),
            detached: List::new(Place::Detached),
            free: List::new(Place::Free),
            hand: NIL,
            keeps_ghosts: keeps_ghosts && policy == Policy::Sieve,
            hits: 0,
        };
        (0..reserved).try_for_each(|_| state.add_slot())?;
        // A table that is at most half full rehashes in place and does not allocate.
        let keys = reserved.checked_mul(2).ok_or(AllocError)?;
        state.keys.try_reserve(keys, |_| 0).map_err(|_| AllocError)?;
        Ok(state)
    }

    #[inline]
    pub(super) fn slot(&self, at: u32) -> Option<&Slot> {
        self.slots.get(at as usize)
    }

    #[inline]
    pub(super) fn slot_mut(&mut self, at: u32) -> Option<&mut Slot> {
        self.slots.get_mut(at as usize)
    }

    /// The number of slots.
    pub(super) fn slot_count(&self) -> u32 {
        // `add_slot` limits it.
        self.slots.len() as u32
    }

    pub(super) fn hits(&self) -> u64 {
        self.hits
    }

    /// Slot `at` and the handle of its entry.
    #[inline]
    pub(super) fn handle_and_slot(&self, at: u32) -> Option<(Handle, &Slot)> {
        let slot = self.slot(at)?;
        let number = at << self.id.bits | self.id.number;
        Some((Handle { slot: number, generation: slot.generation }, slot))
    }

    /// The handle of the entry in slot `at`.
    pub(super) fn handle_of(&self, at: u32) -> Option<Handle> {
        self.handle_and_slot(at).map(|(handle, _)| handle)
    }

    /// The slot of a handle that is not stale. Detached entries are found as well.
    #[inline]
    pub(super) fn find_handle(&self, handle: Handle) -> Option<u32> {
        let at = handle.slot >> self.id.bits;
        let slot = self.slot(at).filter(|slot| slot.generation == handle.generation)?;
        (slot.place != Place::Free).then_some(at)
    }

    /// The used slot with this key.
    #[inline]
    pub(super) fn find(&self, hash: u64, key: &Key<'_>) -> Option<u32> {
        let slots = &self.slots;
        let is_it = |at: &u32| slots.get(*at as usize).is_some_and(|slot| key.is_of(&slot.entry));
        self.keys.find(hash, is_it).copied()
    }

    /// Marks the entry of slot `at` as used.
    #[inline]
    pub(super) fn touch(&mut self, at: u32) {
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

    #[inline]
    pub(super) fn count_hit(&mut self, is_hit: bool) {
        self.hits += u64::from(is_hit);
    }

    /// The used slots, the most recently used first; with SIEVE the most recently inserted first.
    pub(super) fn used_slots(&self) -> impl Iterator<Item = (u32, &Slot)> {
        let slot = |at: u32| self.slot(at).map(|slot| (at, slot));
        core::iter::successors(slot(self.used.newest()), move |(_, last)| slot(last.older))
    }

    fn add_slot(&mut self) -> Result<(), AllocError> {
        let at = self.slots.len() as u32;
        if self.slots.len() >= (NIL >> self.id.bits) as usize {
            return Err(AllocError);
        }
        try_push(&mut self.slots, Slot::new()?)?;
        self.free.push_front(&mut self.slots, at);
        Ok(())
    }

    /// Ensures that the next [`insert`](Self::insert) succeeds.
    pub(super) fn reserve_one(&mut self) -> Result<(), AllocError> {
        if self.free.len() == 0 {
            self.add_slot()?;
        }
        let slots = &self.slots;
        let hash_of = |at: &u32| slots.get(*at as usize).map_or(0, |slot| slot.hash);
        self.keys.try_reserve(1, hash_of).map_err(|_| AllocError)
    }

    /// Stores an entry, whose key must not be in the table, in the slot that was
    /// [reserved](Self::reserve_one); `None` if none was. The entry is in use until the caller drops the
    /// reference.
    pub(super) fn insert(&mut self, hash: u64, entry: Entry) -> Option<(Handle, TryArc<Entry>)> {
        let at = self.free.newest();
        let was_evicted = self.ghost(hash).is_some_and(|(ghost, print)| *ghost == print);
        self.free.remove(&mut self.slots, at);
        let slot = self.slots.get_mut(at as usize)?;
        *slot.entry.get_mut()? = entry;
        (slot.hash, slot.visited) = (hash, was_evicted);
        let entry = slot.entry.clone();
        self.used.push_front(&mut self.slots, at);
        self.keys.insert_unique(hash, at, |_| 0);
        self.handle_of(at).map(|handle| (handle, entry))
    }

    /// Where SIEVE remembers an evicted entry with this hash, and as which number. An entry that is inserted
    /// while the number is still there was evicted too early and counts as used. There are half as many
    /// places as slots; each is overwritten by the next evicted entry that belongs there.
    fn ghost(&mut self, hash: u64) -> Option<(&mut u16, u16)> {
        if !self.keeps_ghosts {
            return None;
        }
        // Less than the number of slots. The table uses the lowest and the highest bits of the hash.
        let at = ((hash >> 16 & 0xffff_ffff) * u64::from(self.slot_count() / 2)) >> 32;
        Some((&mut self.slots.get_mut(at as usize)?.ghost, (hash as u16).max(1)))
    }

    /// Removes the entry of slot `at` from the table and the order of use.
    fn unlist(&mut self, at: u32) {
        let Some(slot) = self.slot(at) else { return };
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
        let vacated = self.slot_mut(at).is_some_and(Slot::vacate);
        if vacated {
            self.free.push_front(&mut self.slots, at);
        }
        vacated
    }

    /// Drops one detached entry that is no longer in use, after calling `count` with it; whether there was one.
    pub(super) fn sweep_one(&mut self, count: impl FnOnce(&Entry)) -> bool {
        for _ in 0..self.detached.len().min(MAX_SWEEP) {
            let at = self.detached.oldest();
            self.detached.remove(&mut self.slots, at);
            if let Some(slot) = self.slot_mut(at)
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
    pub(super) fn evict(&mut self, count: impl FnOnce(&Entry, Handle)) -> bool {
        let selected = match self.policy {
            Policy::Lru => self.least_recent(),
            Policy::Sieve => self.sieve(),
        };
        let Some((at, handle)) = selected.and_then(|at| Some((at, self.handle_of(at)?))) else {
            return false;
        };
        self.unlist(at);
        let Some(slot) = self.slot(at) else { return false };
        count(&slot.entry, handle);
        let hash = slot.hash;
        if let Some((ghost, print)) = self.ghost(hash) {
            *ghost = print;
        }
        self.vacate(at)
    }

    /// An entry in use when it would be evicted counts as used at that moment.
    fn least_recent(&mut self) -> Option<u32> {
        for _ in 0..self.used.len() {
            let at = self.used.oldest();
            if !self.slot_mut(at)?.is_in_use() {
                return Some(at);
            }
            self.used.move_to_front(&mut self.slots, at);
        }
        None
    }

    fn sieve(&mut self) -> Option<u32> {
        // Once round to clear all marks, and once more.
        for _ in 0..2 * u64::from(self.used.len()) {
            let at = if self.hand == NIL { self.used.oldest() } else { self.hand };
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
