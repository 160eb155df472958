//! How a ledger makes room: who may go, and who goes.
#![allow(unsafe_code)]

use core::sync::atomic::Ordering::{Acquire, Relaxed, SeqCst};
use core::sync::atomic::{AtomicU16, fence};

use super::super::CacheError;
use super::super::entry::{CachedFile, Entry};
use super::super::list::Place;
use super::super::options::Policy;
use super::super::pin::Closed;
use super::super::storage::{NOWHERE, Slot, Slots, Storage};
use super::{Garbage, Ledger};
use crate::memory::barrier_in_all_threads;

/// There may be as many links as files, or this many: an archive has many modules.
const LINKS: u32 = 4096;

/// How many detached entries are looked at whenever room is needed.
const SWEEP: u32 = 16;

/// Of fewer slots too few are left to remember what was thrown out.
const GHOSTS_FROM: u32 = 64;

/// A slot and its number, closed, to be [filled](Room::fill).
pub(in super::super) struct Room<'s> {
    pub(in super::super) at: u32,
    pub(in super::super) slot: &'s Slot,
    pub(in super::super) closed: Closed<'s, Entry>,
}

impl<'s> Room<'s> {
    /// Puts in an entry, whose handle is another than that of the one that goes for it.
    #[inline(always)]
    pub(in super::super) fn fill(
        mut self,
        entry: Entry,
        garbage: &mut Garbage,
    ) -> Closed<'s, Entry> {
        replace(self.slot, &mut self.closed, entry, garbage);
        self.closed
    }
}

impl Ledger {
    /// The entry of a slot, the one at `at`, to be changed, unless somebody uses it.
    #[inline(always)]
    pub(super) fn claim<'s, S: Storage>(
        &self,
        storage: &S,
        at: u32,
        slot: &'s Slot,
    ) -> Option<Closed<'s, Entry>> {
        // To look costs less than to close, which readers notice.
        if slot.held.load(Relaxed) != 0 || self.is_noted(storage, at) {
            return None;
        }
        if self.is_alone {
            // SAFETY: nobody else has the cache, and what is closed here is opened before others do.
            return unsafe { slot.cell.close_alone() };
        }
        let closed = slot.cell.close()?;
        // Only who has a pin can retain, and in the word of the slot there is none any more. Who has
        // one in a seat has retained before he gives it back, so the seats are asked first. Those who
        // have released have read what they wanted to.
        let is_in_use = self.is_seated(storage, at) || slot.held.load(Acquire) != 0;
        (!is_in_use).then_some(closed)
    }

    /// Whether some reader has written down a slot, as far as that shows by now.
    #[inline(always)]
    fn is_noted<S: Storage>(&self, storage: &S, at: u32) -> bool {
        self.seated != 0 && storage.seats().hold(self.seated, at)
    }

    /// Whether some reader has written down a slot that has just been closed.
    #[inline(always)]
    fn is_seated<S: Storage>(&self, storage: &S, at: u32) -> bool {
        self.seated != 0 && self.is_seated_for_sure(storage, at)
    }

    #[inline(never)]
    fn is_seated_for_sure<S: Storage>(&self, storage: &S, at: u32) -> bool {
        fence(SeqCst);
        // A kernel that has done it once and does it no more leaves no way to know.
        let unknown = self.fenceless != 0 && !barrier_in_all_threads();
        unknown || storage.seats().hold(self.seated, at)
    }

    /// Empties a slot that is in no list.
    pub(super) fn free<S: Storage>(
        &mut self,
        slots: &Slots<'_, S>,
        at: u32,
        slot: &Slot,
        mut closed: Closed<'_, Entry>,
        garbage: &mut Garbage,
    ) {
        replace(slot, &mut closed, Entry::Vacant, garbage);
        closed.leave();
        self.free.push(slots, at, slot);
    }

    /// Frees some of the detached entries that nobody uses any more; whether there were any.
    #[inline(always)]
    pub(super) fn sweep<S: Storage>(&mut self, storage: &S, garbage: &mut Garbage) -> bool {
        self.detached.len() != 0 && self.sweep_some(storage, garbage)
    }

    #[inline(never)]
    fn sweep_some<S: Storage>(&mut self, storage: &S, garbage: &mut Garbage) -> bool {
        let slots = Slots::of(storage);
        let mut freed = false;
        for _ in 0..self.detached.len().min(SWEEP) {
            let at = self.detached.last();
            let Some(slot) = storage.slot(at) else { break };
            self.detached.unlink(&slots, slot);
            let Some(closed) = self.claim(storage, at, slot) else {
                self.detached.push(&slots, at, slot);
                continue;
            };
            freed = true;
            if let Some(file) = closed.file() {
                self.kept_for_pins.remove(file.size());
            }
            self.free(&slots, at, slot, closed, garbage);
        }
        freed
    }

    /// Throws out the entry whose turn it is, and gives its slot, where it lies until that is filled or
    /// freed; `None` when all are in use.
    #[inline(always)]
    fn evict<'s, S: Storage>(&mut self, slots: &Slots<'s, S>) -> Option<Room<'s>> {
        let room = match self.policy {
            Policy::Lru => self.least_recent(slots),
            Policy::Sieve => self.sieve(slots),
        }?;
        let is_file = self.unlist(slots, room.at, room.slot).is_some();
        self.evictions += u64::from(is_file);
        if let Some((ghost, print)) = self.ghost(slots, room.slot.hash.load(Relaxed)) {
            ghost.store(print, Relaxed);
        }
        Some(room)
    }

    /// Where SIEVE remembers that what has this hash was thrown out, and as what: what is put in again
    /// while that still stands there has been missed, and counts as used. There is room for half as
    /// many as there are slots, of which each is overwritten by the next that belongs there.
    ///
    /// Without it SIEVE, which throws out most of what is new before the rest, hits 1.1 points less often
    /// than `quick_cache`, and with it 0.7; twice as many of them bring less than none at all.
    #[inline(always)]
    pub(super) fn ghost<'s, S: Storage>(
        &self,
        slots: &Slots<'s, S>,
        hash: u32,
    ) -> Option<(&'s AtomicU16, u16)> {
        if self.policy == Policy::Lru || self.untouched < GHOSTS_FROM {
            return None;
        }
        // Below the number of slots.
        let at = (u64::from(hash) * u64::from(self.untouched / 2)) >> 32;
        slots.get(at as u32).map(|slot| (&slot.ghost, (hash as u16).max(1)))
    }

    #[inline(always)]
    fn least_recent<'s, S: Storage>(&mut self, slots: &Slots<'s, S>) -> Option<Room<'s>> {
        for _ in 0..self.used.len() {
            let at = self.used.last();
            let slot = slots.get(at)?;
            if let Some(closed) = self.claim(slots.storage(), at, slot) {
                return Some(Room { at, slot, closed });
            }
            // To be in use is to be used.
            self.used.renew(slots, at, slot);
        }
        None
    }

    fn sieve<'s, S: Storage>(&mut self, slots: &Slots<'s, S>) -> Option<Room<'s>> {
        // Once round to clear all marks, and once more.
        for _ in 0..2 * u64::from(self.used.len()) {
            let at = if self.hand == NOWHERE { self.used.last() } else { self.hand };
            let slot = slots.get(at)?;
            self.hand = slot.before.load(Relaxed);
            if slot.visited.load(Relaxed) {
                slot.visited.store(false, Relaxed);
            } else if let Some(closed) = self.claim(slots.storage(), at, slot) {
                return Some(Room { at, slot, closed });
            }
        }
        None
    }

    /// A slot to be filled, with room for a file of this size; `None` for a link, which counts
    /// as no file.
    #[inline(always)]
    pub(super) fn make_room<'s, S: Storage>(
        &mut self,
        slots: &Slots<'s, S>,
        size: Option<u64>,
        garbage: &mut Garbage,
    ) -> Result<Room<'s>, CacheError> {
        let fits = |ledger: &Self| size.is_none_or(|size| ledger.has_room(size));
        loop {
            if let Some(free) = fits(self).then(|| self.take_free(slots.storage())).flatten() {
                return Ok(free);
            }
            if self.sweep(slots.storage(), garbage) {
                continue;
            }
            let room = self.evict(slots).ok_or_else(|| self.all_in_use())?;
            if fits(self) {
                return Ok(room);
            }
            self.free(slots, room.at, room.slot, room.closed, garbage);
        }
    }

    /// Makes room for bytes of a file that is in the cache, and keeps it until it is
    /// [given back](Self::give_back).
    pub(in super::super) fn reserve<S: Storage>(
        &mut self,
        storage: &S,
        size: u64,
        garbage: &mut Garbage,
    ) -> Result<(), CacheError> {
        let slots = Slots::of(storage);
        while !self.has_bytes(size) {
            if self.sweep(storage, garbage) {
                continue;
            }
            let room = self.evict(&slots).ok_or_else(|| self.all_in_use())?;
            self.free(&slots, room.at, room.slot, room.closed, garbage);
        }
        self.reserved += size;
        self.peak_bytes = self.peak_bytes.max(self.all_bytes());
        Ok(())
    }

    /// What is reserved, in bytes.
    pub(in super::super) fn reserved(&self) -> u64 {
        self.reserved
    }

    pub(in super::super) fn give_back(&mut self, size: u64) {
        self.reserved -= size;
    }

    /// Counts what has been added to the file in a slot, which is pinned.
    pub(in super::super) fn count_section<S: Storage>(&mut self, storage: &S, at: u32, size: u64) {
        let is_used = storage.slot(at).is_some_and(|slot| Place::Used.is_of(slot));
        let amount = if is_used { &mut self.in_use } else { &mut self.kept_for_pins };
        amount.bytes += size;
    }

    fn has_room(&self, size: u64) -> bool {
        self.all_files() < self.capacity.files && self.has_bytes(size)
    }

    /// Whether so many more files fit in, and so many bytes, with nothing thrown out.
    pub(in super::super) fn has_room_for(&self, files: u32, bytes: u64) -> bool {
        self.all_files().saturating_add(files) <= self.capacity.files && self.has_bytes(bytes)
    }

    /// All that count.
    fn all_files(&self) -> u32 {
        self.in_use.files + self.kept_for_pins.files
    }

    fn has_bytes(&self, size: u64) -> bool {
        self.all_bytes().saturating_add(size) <= self.capacity.bytes
    }

    /// All that counts, in bytes.
    pub(super) fn all_bytes(&self) -> u64 {
        self.in_use.bytes + self.kept_for_pins.bytes + self.reserved
    }

    fn all_in_use(&self) -> CacheError {
        CacheError::AllInUse { files: self.all_files(), bytes: self.all_bytes() }
    }

    #[inline(never)]
    pub(super) fn take_free<'s, S: Storage>(&mut self, storage: &'s S) -> Option<Room<'s>> {
        let free = self.free.first();
        let at = if free == NOWHERE { self.take_untouched(storage)? } else { free };
        let slots = Slots::of(storage);
        let slot = slots.get(at)?;
        self.free.unlink(&slots, slot);
        // SAFETY: it was left closed, or is new and closed, and was given to nobody since; in no list
        // and not in the index, it is nothing that `entry` is asked for.
        Some(Room { at, slot, closed: unsafe { slot.cell.reclaim() } })
    }

    /// The next slot that has never been used.
    fn take_untouched<S: Storage>(&mut self, storage: &S) -> Option<u32> {
        let most = self.capacity.files.saturating_add(self.capacity.files.max(LINKS));
        let at = self.untouched;
        if at >= most || (at >= storage.slot_count() && !storage.grow(|slot| self.hashes_of(slot)))
        {
            return None;
        }
        self.untouched += 1;
        Some(at)
    }

    /// What a slot is entered under in the index.
    fn hashes_of(&self, slot: &Slot) -> [Option<u32>; 2] {
        if !Place::Used.is_of(slot) {
            return [None; 2];
        }
        let stamp = self.entry(slot).file().and_then(CachedFile::stamp);
        [Some(slot.hash.load(Relaxed)), stamp.map(|stamp| self.hash_of(&stamp))]
    }
}

/// Puts an entry in the place of another, which its handle is not of any more.
#[inline(always)]
fn replace(slot: &Slot, closed: &mut Closed<'_, Entry>, entry: Entry, garbage: &mut Garbage) {
    let was_vacant = matches!(**closed, Entry::Vacant);
    if !was_vacant {
        let next = slot.generation.load(Relaxed).wrapping_add(1).max(1);
        slot.generation.store(next, Relaxed);
    }
    match was_vacant || garbage.drops_at_once() {
        // Dropped where it lies, and moved nowhere.
        true => **closed = entry,
        false => garbage.take(core::mem::replace(&mut **closed, entry)),
    }
}
