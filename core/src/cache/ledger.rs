//! What is under the lock of a cache: which slot is in which list, who makes room, and the counts.
//!
//! An entry that is thrown out is not dropped here, where others wait for the lock, but handed to the
//! caller as [`Garbage`].
#![allow(unsafe_code)]

mod room;

use core::hash::{BuildHasher, Hasher};
use core::sync::atomic::Ordering::Relaxed;

use arrayvec::ArrayVec;
use hashbrown::DefaultHashBuilder;

use self::room::Room;
use super::CacheError;
use super::entry::{CachedFile, Entry, Handle, Key, Link};
use super::list::{List, Place};
use super::options::{Capacity, Policy};
use super::pin::{Closed, Pin};
use super::seat::{Fence, SEATS};
use super::statistics::{Histogram, Statistics, Timeline};
use super::storage::{NOWHERE, Slot, Slots, Storage};
use crate::memory::{FileStamp, Nanoseconds, monotonic};

/// Entries to be dropped when the lock is not held any more; a few, and the rest is dropped at once.
pub(super) struct Garbage {
    entries: ArrayVec<Entry, 4>,
    has_lock: bool,
}

impl Garbage {
    pub(super) const fn new() -> Self {
        Self { entries: ArrayVec::new_const(), has_lock: true }
    }

    /// That of who has no lock to give back, so that nothing has to be moved here first.
    pub(super) const fn without_lock() -> Self {
        Self { entries: ArrayVec::new_const(), has_lock: false }
    }

    /// Whether what is taken need not be kept until a lock is given back.
    #[inline(always)]
    fn drops_at_once(&self) -> bool {
        !self.has_lock
    }

    #[inline(always)]
    pub(super) fn take(&mut self, entry: Entry) {
        if !self.has_lock {
            drop(entry);
        } else if self.entries.is_full() {
            drop_at_once(entry);
        } else {
            self.entries.push(entry);
        }
    }
}

/// What finds no place among the garbage.
#[cold]
#[inline(never)]
fn drop_at_once(_: Entry) {}

/// A number of files and their bytes.
#[derive(Debug, Default)]
struct Amount {
    files: u32,
    bytes: u64,
}

impl Amount {
    fn add(&mut self, bytes: u64) {
        self.files += 1;
        self.bytes += bytes;
    }

    fn remove(&mut self, bytes: u64) {
        self.files -= 1;
        self.bytes -= bytes;
    }
}

#[derive(Debug)]
pub(super) struct Ledger {
    capacity: Capacity,
    policy: Policy,
    hasher: DefaultHashBuilder,
    used: List,
    detached: List,
    free: List,
    /// Slots from this one on have never been used and are in no list.
    untouched: u32,
    /// Where SIEVE goes on.
    hand: u32,
    in_use: Amount,
    kept_for_pins: Amount,
    /// Bytes that are nobody's yet: of sections that are being decompressed.
    reserved: u64,
    links: u32,
    /// The seats that are taken, a bit for each.
    seated: u32,
    /// Those whose readers have [`Fence::Theirs`].
    fenceless: u32,
    /// Whether who uses the ledger now has the whole cache for himself.
    pub(super) is_alone: bool,
    /// Those that are not counted in a slot or in a seat.
    hits: u64,
    misses: u64,
    failures: u64,
    evictions: u64,
    replacements: u64,
    peak_bytes: u64,
    load_times: Histogram,
    timeline: Timeline,
}

impl Ledger {
    pub(super) fn new(capacity: Capacity, policy: Policy, hasher: DefaultHashBuilder) -> Self {
        Self {
            capacity,
            policy,
            hasher,
            used: List::new(Place::Used),
            detached: List::new(Place::Detached),
            free: List::new(Place::Free),
            untouched: 0,
            hand: NOWHERE,
            in_use: Amount::default(),
            kept_for_pins: Amount::default(),
            reserved: 0,
            links: 0,
            seated: 0,
            fenceless: 0,
            is_alone: false,
            hits: 0,
            misses: 0,
            failures: 0,
            evictions: 0,
            replacements: 0,
            peak_bytes: 0,
            load_times: Histogram::EMPTY,
            timeline: Timeline::new(monotonic()),
        }
    }

    /// Marks a slot as the most recently used, if it can still be found.
    #[inline(always)]
    pub(super) fn touch<S: Storage>(&mut self, slots: &Slots<'_, S>, at: u32, slot: &Slot) {
        self.used.renew(slots, at, slot);
    }

    /// As [`touch`](Self::touch), of a slot that can be found.
    #[inline(always)]
    pub(super) fn touch_used<S: Storage>(&mut self, slots: &Slots<'_, S>, at: u32, slot: &Slot) {
        self.used.renew_known(slots, at, slot);
    }

    pub(super) fn count_hit(&mut self) {
        self.hits += 1;
    }

    pub(super) fn count_failure(&mut self) {
        self.misses += 1;
        self.failures += 1;
    }

    /// Counts a file that was read from `begin` to `end`.
    #[inline(never)]
    pub(super) fn count_load(&mut self, begin: Nanoseconds, end: Nanoseconds) {
        self.misses += 1;
        self.load_times.record(end.saturating_sub(begin));
        self.timeline.record(end, self.in_use.bytes);
    }

    /// The number of a seat for a reader, if one is free.
    pub(super) fn take_seat(&mut self, fence: Fence) -> Option<u32> {
        const { assert!(SEATS == 32) };
        let number = self.seated.trailing_ones();
        let seat = 1u32.checked_shl(number)?;
        self.seated |= seat;
        if fence == Fence::Theirs {
            self.fenceless |= seat;
        }
        Some(number)
    }

    pub(super) fn leave_seat(&mut self, number: u32) {
        let others = !1u32.checked_shl(number).unwrap_or(0);
        self.seated &= others;
        self.fenceless &= others;
    }

    /// The entry of a slot, without a pin: it is changed under the lock alone.
    fn entry<'l>(&'l self, slot: &'l Slot) -> &'l Entry {
        // SAFETY: a `Closed` is only made by methods that borrow the ledger mutably. Those that hand
        // one on (`make_room`, `insert_link`) do so to callers that use it up before anything else.
        unsafe { slot.cell.get_unpinned() }
    }

    /// The slots that may hold an entry: all that ever did.
    pub(super) fn touched(&self) -> u32 {
        self.untouched
    }

    fn hash_of(&self, stamp: &FileStamp) -> u32 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write_u64(stamp.device);
        hasher.write_u64(stamp.inode);
        (hasher.finish() >> 32) as u32
    }

    /// The slot with the file that `stamp` is of, in whatever state it was.
    pub(super) fn find_file<S: Storage>(&self, storage: &S, stamp: &FileStamp) -> Option<u32> {
        storage.files().find(self.hash_of(stamp), |at| {
            let found = self.entry(storage.slot(at)?).file()?.stamp()?;
            let same = (found.device, found.inode) == (stamp.device, stamp.inode);
            same.then_some(at)
        })
    }

    /// A pin on an entry that can be found, which under the lock is open.
    pub(super) fn pin<'s>(&mut self, slot: &'s Slot, is_hit: bool) -> Option<Pin<'s, Entry>> {
        self.relieve(slot);
        slot.cell.pin(is_hit)
    }

    /// Takes the hits of a slot that has no room for more.
    pub(super) fn relieve(&mut self, slot: &Slot) {
        self.hits += slot.cell.relieve();
    }

    /// Detaches what is kept under `key`; whether that was a file.
    #[inline(always)]
    pub(super) fn remove<S: Storage>(
        &mut self,
        storage: &S,
        hash: u32,
        key: Key<'_>,
        garbage: &mut Garbage,
    ) -> Option<bool> {
        // What is put in is not there as a rule.
        if !storage.keys().may_have(hash) {
            return None;
        }
        self.search_and_remove(storage, hash, key, garbage)
    }

    #[inline(never)]
    fn search_and_remove<S: Storage>(
        &mut self,
        storage: &S,
        hash: u32,
        key: Key<'_>,
        garbage: &mut Garbage,
    ) -> Option<bool> {
        let slots = Slots::of(storage);
        let (at, is_file) = storage.keys().find(hash, |at| {
            let entry = self.entry(slots.get(at)?);
            key.is_of(entry).then(|| (at, entry.file().is_some()))
        })?;
        self.detach(storage, at, garbage);
        Some(is_file)
    }

    pub(super) fn count_replacement(&mut self) {
        self.replacements += 1;
    }

    /// Makes an entry one that cannot be found; it is gone as soon as nobody uses it. False when it
    /// was one already.
    pub(super) fn detach<S: Storage>(
        &mut self,
        storage: &S,
        at: u32,
        garbage: &mut Garbage,
    ) -> bool {
        let used = storage.slot(at).filter(|slot| Place::Used.is_of(slot));
        let Some(slot) = used else { return false };
        let slots = Slots::of(storage);
        let bytes = self.unlist(&slots, at, slot);
        match self.claim(storage, at, slot) {
            Some(closed) => self.free(&slots, at, slot, closed, garbage),
            None => {
                self.detached.push(&slots, at, slot);
                if let Some(bytes) = bytes {
                    self.kept_for_pins.add(bytes);
                }
            }
        }
        true
    }

    /// Takes an entry out of the index, the list and the counts; the bytes if it was a file.
    #[inline(always)]
    fn unlist<S: Storage>(&mut self, slots: &Slots<'_, S>, at: u32, slot: &Slot) -> Option<u64> {
        if self.hand == at {
            self.hand = slot.before.load(Relaxed);
        }
        self.used.unlink(slots, slot);
        let storage = slots.storage();
        storage.keys().remove(slot.hash.load(Relaxed), at);
        let Some(file) = self.entry(slot).file() else {
            self.links -= 1;
            return None;
        };
        let (bytes, stamp) = (file.size(), file.stamp());
        if let Some(stamp) = stamp {
            storage.files().remove(self.hash_of(&stamp), at);
        }
        self.in_use.remove(bytes);
        Some(bytes)
    }

    /// A slot for a file of this size, to be [filled](Room::fill) and [entered](Self::enter_file).
    #[inline(always)]
    pub(super) fn room_for_file<'s, S: Storage>(
        &mut self,
        slots: &Slots<'s, S>,
        size: u64,
        garbage: &mut Garbage,
    ) -> Result<Room<'s>, CacheError> {
        self.make_room(slots, Some(size), garbage)
    }

    /// Enters a file of this size that a slot was filled with. What was known under its key or of the same file must
    /// have been removed. Nobody has it before the caller opens its slot.
    #[inline(always)]
    pub(super) fn enter_file<S: Storage>(
        &mut self,
        slots: &Slots<'_, S>,
        hash: u32,
        (at, slot): (u32, &Slot),
        (entry, size): (&Entry, u64),
    ) {
        self.in_use.add(size);
        self.peak_bytes = self.peak_bytes.max(self.all_bytes());
        self.enter(slots, hash, at, slot);
        if let Some(stamp) = entry.file().and_then(CachedFile::stamp) {
            slots.storage().files().insert(self.hash_of(&stamp), at);
        }
    }

    /// Puts in a link. What was known under its key must have been removed. As with a file.
    pub(super) fn insert_link<'s, S: Storage>(
        &mut self,
        storage: &'s S,
        hash: u32,
        link: Link,
        garbage: &mut Garbage,
    ) -> Result<(u32, Closed<'s, Entry>), CacheError> {
        let slots = Slots::of(storage);
        let room = if link.module().is_some() {
            self.make_room(&slots, None, garbage)?
        } else {
            // A second path is a convenience, for which nothing is thrown out.
            let (files, bytes) = (self.in_use.files, self.in_use.bytes);
            self.take_free(storage).ok_or(CacheError::AllInUse { files, bytes })?
        };
        let (at, slot) = (room.at, room.slot);
        let closed = room.fill(Entry::Link(link), garbage);
        self.links += 1;
        self.enter(&slots, hash, at, slot);
        Ok((at, closed))
    }

    #[inline(always)]
    fn enter<S: Storage>(&mut self, slots: &Slots<'_, S>, hash: u32, at: u32, slot: &Slot) {
        slot.hash.store(hash, Relaxed);
        let is_back =
            self.ghost(slots, hash).is_some_and(|(ghost, print)| ghost.load(Relaxed) == print);
        slot.visited.store(is_back, Relaxed);
        self.used.push(slots, at, slot);
        // An entry for each slot is always there.
        slots.storage().keys().insert(hash, at);
    }

    /// The slots that can be found, the most recently used (or, with SIEVE, put in) first.
    pub(super) fn used_slots<'s, S: Storage>(
        &self,
        storage: &'s S,
    ) -> impl Iterator<Item = u32> + use<'s, S> {
        let slot = |at: u32| storage.slot(at).map(|_| at);
        core::iter::successors(slot(self.used.first()), move |at| {
            slot(storage.slot(*at)?.behind.load(Relaxed))
        })
    }

    /// Detaches everything.
    pub(super) fn clear<S: Storage>(&mut self, storage: &S, garbage: &mut Garbage) {
        while self.used.len() != 0 {
            let at = self.used.first();
            self.detach(storage, at, garbage);
        }
        self.sweep(storage, garbage);
    }

    pub(super) fn statistics<S: Storage>(&self, storage: &S) -> Statistics {
        let slots = (0..self.untouched).filter_map(|at| storage.slot(at));
        Statistics {
            files: self.in_use.files,
            bytes: self.in_use.bytes,
            links: self.links,
            detached_files: self.kept_for_pins.files,
            detached_bytes: self.kept_for_pins.bytes,
            hits: self.hits
                + storage.seats().hits()
                + slots.map(|slot| slot.cell.hits()).sum::<u64>(),
            misses: self.misses,
            failures: self.failures,
            evictions: self.evictions,
            replacements: self.replacements,
            load_times: self.load_times,
            peak_bytes: self.peak_bytes,
            bytes_over_time: self.timeline.samples(),
        }
    }

    #[inline(always)]
    pub(super) fn policy(&self) -> Policy {
        self.policy
    }
}

/// The handle of what is in a slot now.
pub(super) fn handle_of(slot: &Slot, at: u32) -> Handle {
    Handle { slot: at, generation: slot.generation.load(Relaxed) }
}
