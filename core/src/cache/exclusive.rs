//! Hits for a caller who has the cache for himself.
#![allow(unsafe_code)]

use super::entry::{CachedFile, Entry, Key, Link};
use super::files::{FileCache, mark};
use super::index::Index;
use super::ledger::{Ledger, handle_of};
use super::list::Place;
use super::{Policy, Storage};

impl<S: Storage> FileCache<S> {
    /// The bytes of a file that is in the cache, without a pin and without a lock, for a caller who
    /// has the cache for himself. Counts as a hit. Files on disk are not looked at.
    #[inline]
    pub fn get_exclusive(&mut self, path: &[u8]) -> Option<&[u8]> {
        let key = Key { path, module: None };
        let hash = self.hash(&key);
        let index = Index::new(self.storage.buckets());
        let (at, entry) = index.find(hash, |at| {
            // SAFETY: entries are changed by methods of the cache alone, and as long as the reference
            // lives it borrows the cache mutably.
            let entry = unsafe { self.storage.slot(at)?.cell.get_unpinned() };
            key.is_of(entry).then_some((at, entry))
        })?;
        let ledger = self.ledger.get_mut();
        let file = match entry {
            Entry::File(file) => file,
            Entry::Link(link) => target(ledger, &self.storage, link)?,
            Entry::Vacant => return None,
        };
        ledger.count_hit();
        touch(ledger, &self.storage, at);
        Some(&file.bytes)
    }
}

/// The file of a link, touched.
#[cold]
fn target<'s, S: Storage>(
    ledger: &mut Ledger,
    storage: &'s S,
    link: &Link,
) -> Option<&'s CachedFile> {
    let at = link.target.slot;
    let slot = storage.slot(at)?;
    if handle_of(slot, at) != link.target || !Place::Used.is_of(slot) {
        return None;
    }
    touch(ledger, storage, at);
    // SAFETY: as above; the caller keeps the cache borrowed.
    unsafe { slot.cell.get_unpinned() }.file()
}

#[inline(always)]
fn touch<S: Storage>(ledger: &mut Ledger, storage: &S, at: u32) {
    match ledger.policy() {
        Policy::Lru => ledger.touch(storage, at),
        Policy::Sieve => storage.slot(at).into_iter().for_each(mark),
    }
}
