//! For a caller who has the cache for himself: without locks and without pins.
#![allow(unsafe_code)]

use super::entry::{CachedFile, Entry, Key, Link};
use super::files::{FileCache, mark};
use super::hash::{KeyHasher, ShortPath};
use super::ledger::{Garbage, Ledger, handle_of};
use super::list::Place;
use super::load::{Put, ReadyFile};
use super::storage::Slots;
use super::{CacheError, Policy, Slot, Storage};

impl<S: Storage> FileCache<S> {
    /// The bytes of a file that is in the cache, without a pin and without a lock, for a caller who
    /// has the cache for himself. Counts as a hit. Files on disk are not looked at.
    #[inline]
    pub fn get_exclusive(&mut self, path: &[u8]) -> Option<&[u8]> {
        match ShortPath::of(path) {
            Some(short) => self.hit_exclusive(short, path),
            None => self.find_exclusive(path),
        }
    }

    /// Most of all hits: a file by its first path, at the place where it is looked for first.
    #[inline(always)]
    fn hit_exclusive(&mut self, short: ShortPath, path: &[u8]) -> Option<&[u8]> {
        let (storage, ledger) = (&self.storage, self.ledger.get_mut());
        let slots = Slots::of(storage);
        let hit = storage.keys().first(self.hasher.hash_short(short)).and_then(|at| {
            let slot = slots.get(at)?;
            // SAFETY: entries are changed by methods of the cache alone, and as long as the reference
            // lives it borrows the cache mutably.
            let file = unsafe { slot.cell.get_unpinned() }.file()?;
            short.is(file.key()).then_some((at, slot, &*file.bytes))
        });
        match hit {
            Some((at, slot, bytes)) => {
                count(ledger, &slots, at, slot);
                Some(bytes)
            }
            None => find(ledger, storage, &self.hasher, path),
        }
    }

    #[inline(never)]
    fn find_exclusive(&mut self, path: &[u8]) -> Option<&[u8]> {
        find(self.ledger.get_mut(), &self.storage, &self.hasher, path)
    }

    /// As [`insert`](Self::insert), without a pin and without a lock, for a caller who has the cache
    /// for himself.
    ///
    /// # Errors
    /// As [`insert`](Self::insert).
    // In a caller the file would be moved field by field, and then be waited for as a whole.
    #[inline(never)]
    pub fn insert_exclusive(&mut self, file: ReadyFile) -> Result<&[u8], CacheError> {
        let hash = self.hash_if_fits(&file)?;
        let mut garbage = Garbage::without_lock();
        let ledger = self.ledger.get_mut();
        ledger.is_alone = true;
        let put = file.put(ledger, &self.storage, hash, &mut garbage);
        ledger.is_alone = false;
        let entry = match put? {
            // SAFETY: as above.
            Put::New(_, closed) => unsafe { closed.open_alone() },
            Put::Known(known) => {
                let slot = self.storage.slot(known.file_handle.slot);
                // SAFETY: as above.
                unsafe { slot.ok_or(CacheError::NoCapacity)?.cell.get_unpinned() }
            }
        };
        entry.file().map(|file| &*file.bytes).ok_or(CacheError::NoCapacity)
    }
}

/// What stands further back in the index, or is there by another path, or is not there at all.
#[cold]
#[inline(never)]
fn find<'s, S: Storage>(
    ledger: &mut Ledger,
    storage: &'s S,
    hasher: &KeyHasher,
    path: &[u8],
) -> Option<&'s [u8]> {
    let (slots, key) = (Slots::of(storage), Key { path, module: None });
    let (at, slot, entry) = storage.keys().find(hasher.hash(&key), |at| {
        let slot = slots.get(at)?;
        // SAFETY: as above; the caller keeps the cache borrowed.
        let entry = unsafe { slot.cell.get_unpinned() };
        key.is_of(entry).then_some((at, slot, entry))
    })?;
    let file = match entry {
        Entry::File(file) => file,
        Entry::Link(link) => target(ledger, &slots, link)?,
        Entry::Vacant => return None,
    };
    count(ledger, &slots, at, slot);
    Some(&file.bytes)
}

/// Counts a hit, and marks it as used.
#[inline(always)]
fn count<S: Storage>(ledger: &mut Ledger, slots: &Slots<'_, S>, at: u32, slot: &Slot) {
    ledger.count_hit();
    touch(ledger, slots, at, slot);
}

/// The file of a link, touched.
#[cold]
fn target<'s, S: Storage>(
    ledger: &mut Ledger,
    slots: &Slots<'s, S>,
    link: &Link,
) -> Option<&'s CachedFile> {
    let at = link.target.slot;
    let slot = slots.get(at)?;
    if handle_of(slot, at) != link.target || !Place::Used.is_of(slot) {
        return None;
    }
    touch(ledger, slots, at, slot);
    // SAFETY: as above; the caller keeps the cache borrowed.
    unsafe { slot.cell.get_unpinned() }.file()
}

#[inline(always)]
fn touch<S: Storage>(ledger: &mut Ledger, slots: &Slots<'_, S>, at: u32, slot: &Slot) {
    match ledger.policy() {
        // What is in the index is in the list.
        Policy::Lru => ledger.touch_used(slots, at, slot),
        Policy::Sieve => mark(slot),
    }
}
