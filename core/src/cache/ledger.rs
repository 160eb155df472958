//! What is under the lock of a cache: which slot is in which list, who makes room, and the counts.
//!
//! An entry that is thrown out is not dropped here, where others wait for the lock, but handed to the
//! caller as [`Garbage`].

use core::hash::{BuildHasher, Hasher};
use core::sync::atomic::Ordering::Relaxed;

use arrayvec::ArrayVec;
use hashbrown::DefaultHashBuilder;

use super::CacheError;
use super::entry::{CachedFile, Entry, Handle, Key, Link};
use super::files::{Capacity, Policy};
use super::index::Index;
use super::list::{List, Place};
use super::pin::{Change, Pin};
use super::statistics::{Histogram, Statistics, Timeline};
use super::storage::{NOWHERE, Slot, Storage};
use crate::memory::{FileStamp, Nanoseconds, monotonic};

/// Entries to be dropped when the lock is not held any more; a few, and the rest is dropped at once.
pub(super) type Garbage = ArrayVec<Entry, 4>;

/// There may be as many links as files, or this many: an archive has many modules.
const LINKS: u32 = 4096;

/// How many detached entries are looked at whenever room is needed.
const SWEEP: u32 = 16;

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
    links: u32,
    /// Those that are no longer counted in a slot.
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
            links: 0,
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
    #[inline]
    pub(super) fn touch<S: Storage>(&mut self, storage: &S, at: u32) {
        self.used.renew(storage, at);
    }

    pub(super) fn count_hit(&mut self) {
        self.hits += 1;
    }

    pub(super) fn count_failure(&mut self) {
        self.misses += 1;
        self.failures += 1;
    }

    pub(super) fn count_load(&mut self, begin: Nanoseconds) {
        let now = monotonic();
        self.misses += 1;
        self.load_times.record(now.saturating_sub(begin));
        self.timeline.record(now, self.in_use.bytes);
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
    pub(super) fn find_file<'s, S: Storage>(
        &mut self,
        storage: &'s S,
        stamp: &FileStamp,
    ) -> Option<(u32, Pin<'s, Entry>)> {
        let index = Index::new(storage.buckets());
        index.find(self.hash_of(stamp), |at| {
            let pin = self.pin(storage.slot(at)?)?;
            let found = pin.file()?.stamp();
            let same = (found.device, found.inode) == (stamp.device, stamp.inode);
            same.then_some((at, pin))
        })
    }

    /// A pin that is no hit. Takes the hits of a slot that has no room for more.
    fn pin<'s>(&mut self, slot: &'s Slot) -> Option<Pin<'s, Entry>> {
        if slot.cell.hits() >= 1 << 31 {
            self.hits += slot.cell.take_hits();
        }
        slot.cell.pin(false)
    }

    /// Detaches what is kept under `key`; whether that was a file.
    pub(super) fn remove<S: Storage>(
        &mut self,
        storage: &S,
        hash: u32,
        key: &Key<'_>,
        garbage: &mut Garbage,
    ) -> Option<bool> {
        let index = Index::new(storage.buckets());
        let (at, is_file) = index.find(hash, |at| {
            let pin = self.pin(storage.slot(at)?)?;
            key.is_of(&pin).then(|| (at, pin.file().is_some()))
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
        if self.hand == at {
            self.hand = slot.before.load(Relaxed);
        }
        self.used.unlink(storage, at);
        self.hits += slot.cell.take_hits();
        let index = Index::new(storage.buckets());
        index.remove(slot.hash.load(Relaxed), at);
        // Nobody but who has the lock changes an entry, so there is a pin to be had.
        let file = slot.cell.pin(false).and_then(|entry| {
            let file = entry.file()?;
            index.remove(self.hash_of(&file.stamp()), at);
            Some(file.bytes.len() as u64)
        });
        match file {
            Some(bytes) => self.in_use.remove(bytes),
            None => self.links -= 1,
        }
        if !self.vacate(storage, at, garbage) {
            self.detached.push(storage, at);
            if let Some(bytes) = file {
                self.kept_for_pins.add(bytes);
            }
        }
        true
    }

    /// Frees a slot that is in no list, unless it is in use.
    fn vacate<S: Storage>(&mut self, storage: &S, at: u32, garbage: &mut Garbage) -> bool {
        let Some(slot) = storage.slot(at) else { return false };
        let Some(mut entry) = slot.cell.change() else { return false };
        // Only who has a pin can retain, and there is none.
        if slot.held.load(Relaxed) != 0 {
            return false;
        }
        let old = core::mem::replace(&mut *entry, Entry::Vacant);
        let next = slot.generation.load(Relaxed).wrapping_add(1).max(1);
        slot.generation.store(next, Relaxed);
        drop(entry);
        self.free.push(storage, at);
        // The one that finds no place is dropped here.
        let _ = garbage.try_push(old);
        true
    }

    /// Frees some of the detached entries that nobody uses any more; whether there were any.
    fn sweep<S: Storage>(&mut self, storage: &S, garbage: &mut Garbage) -> bool {
        let mut freed = false;
        for _ in 0..self.detached.len().min(SWEEP) {
            let at = self.detached.last();
            let Some(slot) = storage.slot(at) else { break };
            let bytes = slot.cell.pin(false).and_then(|e| Some(e.file()?.bytes.len() as u64));
            self.detached.unlink(storage, at);
            self.hits += slot.cell.take_hits();
            if self.vacate(storage, at, garbage) {
                freed = true;
                if let Some(bytes) = bytes {
                    self.kept_for_pins.remove(bytes);
                }
            } else {
                self.detached.push(storage, at);
            }
        }
        freed
    }

    /// Throws out the entry whose turn it is; false when all are in use.
    fn evict<S: Storage>(&mut self, storage: &S, garbage: &mut Garbage) -> bool {
        let victim = match self.policy {
            Policy::Lru => self.least_recent(storage),
            Policy::Sieve => self.sieve(storage),
        };
        let Some(at) = victim else { return false };
        let files = self.in_use.files;
        self.detach(storage, at, garbage);
        self.evictions += u64::from(files - self.in_use.files);
        true
    }

    fn least_recent<S: Storage>(&mut self, storage: &S) -> Option<u32> {
        for _ in 0..self.used.len() {
            let at = self.used.last();
            if is_idle(storage.slot(at)?) {
                return Some(at);
            }
            // To be in use is to be used.
            self.used.renew(storage, at);
        }
        None
    }

    fn sieve<S: Storage>(&mut self, storage: &S) -> Option<u32> {
        // Once round to clear all marks, and once more.
        for _ in 0..2 * u64::from(self.used.len()) {
            let at = if self.hand == NOWHERE { self.used.last() } else { self.hand };
            let slot = storage.slot(at)?;
            self.hand = slot.before.load(Relaxed);
            if !slot.visited.swap(false, Relaxed) && is_idle(slot) {
                return Some(at);
            }
        }
        None
    }

    /// A free slot, its entry to be filled, with room for a file of this size; `None` for a link,
    /// which counts as no file.
    fn make_room<'s, S: Storage>(
        &mut self,
        storage: &'s S,
        size: Option<u64>,
        garbage: &mut Garbage,
    ) -> Result<(u32, Change<'s, Entry>), CacheError> {
        loop {
            let fits = size.is_none_or(|size| self.has_room(size));
            if let Some(free) = fits.then(|| self.take_free(storage)).flatten() {
                return Ok(free);
            }
            if !self.sweep(storage, garbage) && !self.evict(storage, garbage) {
                let files = self.in_use.files + self.kept_for_pins.files;
                let bytes = self.in_use.bytes + self.kept_for_pins.bytes;
                return Err(CacheError::AllInUse { files, bytes });
            }
        }
    }

    fn has_room(&self, size: u64) -> bool {
        let files = self.in_use.files + self.kept_for_pins.files;
        let bytes = self.in_use.bytes + self.kept_for_pins.bytes;
        files < self.capacity.files && bytes + size <= self.capacity.bytes
    }

    fn take_free<'s, S: Storage>(&mut self, storage: &'s S) -> Option<(u32, Change<'s, Entry>)> {
        let at = self.free.first();
        // A reader on the wrong track may have a pin for a moment: then another slot.
        if let Some(change) = storage.slot(at).and_then(|slot| slot.cell.change()) {
            self.free.unlink(storage, at);
            return Some((at, change));
        }
        let most = self.capacity.files.saturating_add(self.capacity.files.max(LINKS));
        let at = self.untouched;
        if at >= most || (at >= storage.slot_count() && !storage.grow()) {
            return None;
        }
        let change = storage.slot(at)?.cell.change()?;
        self.untouched += 1;
        Some((at, change))
    }

    /// Puts in a file. What was known under its key or of the same file must have been removed.
    pub(super) fn insert_file<S: Storage>(
        &mut self,
        storage: &S,
        hash: u32,
        file: CachedFile,
        garbage: &mut Garbage,
    ) -> Result<u32, CacheError> {
        let (size, stamp) = (file.bytes.len() as u64, file.stamp());
        let (at, mut entry) = self.make_room(storage, Some(size), garbage)?;
        *entry = Entry::File(file);
        drop(entry);
        self.in_use.add(size);
        let total = self.in_use.bytes + self.kept_for_pins.bytes;
        self.peak_bytes = self.peak_bytes.max(total);
        self.enter(storage, hash, at);
        Index::new(storage.buckets()).insert(self.hash_of(&stamp), at);
        Ok(at)
    }

    /// Puts in a link. What was known under its key must have been removed.
    pub(super) fn insert_link<S: Storage>(
        &mut self,
        storage: &S,
        hash: u32,
        link: Link,
        garbage: &mut Garbage,
    ) -> Result<u32, CacheError> {
        let (at, mut entry) = if link.is_module {
            self.make_room(storage, None, garbage)?
        } else {
            // A second path is a convenience, for which nothing is thrown out.
            let (files, bytes) = (self.in_use.files, self.in_use.bytes);
            self.take_free(storage).ok_or(CacheError::AllInUse { files, bytes })?
        };
        *entry = Entry::Link(link);
        drop(entry);
        self.links += 1;
        self.enter(storage, hash, at);
        Ok(at)
    }

    fn enter<S: Storage>(&mut self, storage: &S, hash: u32, at: u32) {
        let Some(slot) = storage.slot(at) else { return };
        slot.hash.store(hash, Relaxed);
        slot.visited.store(false, Relaxed);
        self.used.push(storage, at);
        // Two buckets for each slot are always there.
        Index::new(storage.buckets()).insert(hash, at);
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
            hits: self.hits + slots.map(|slot| slot.cell.hits()).sum::<u64>(),
            misses: self.misses,
            failures: self.failures,
            evictions: self.evictions,
            replacements: self.replacements,
            load_times: self.load_times,
            peak_bytes: self.peak_bytes,
            bytes_over_time: self.timeline.samples(),
        }
    }

    pub(super) fn policy(&self) -> Policy {
        self.policy
    }
}

fn is_idle(slot: &Slot) -> bool {
    !slot.cell.is_pinned() && slot.held.load(Relaxed) == 0
}

/// The handle of what is in a slot now.
pub(super) fn handle_of(slot: &Slot, at: u32) -> Handle {
    Handle { slot: at, generation: slot.generation.load(Relaxed) }
}
