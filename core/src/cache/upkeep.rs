//! Keeping a cache in step with the disk, and looking at it.

use super::entry::Key;
use super::files::{FileCache, Wanted, is_fresh};
use super::ledger::{Garbage, handle_of};
use super::list::Place;
use super::pin::Cancel;
use super::{CacheError, Handle, Statistics, Storage};
use crate::memory::stamp_of;

impl<S: Storage> FileCache<S> {
    /// Compares the file at `path` with the one in the cache, and reads it again if it has changed.
    /// Whoever holds the old bytes keeps them. Returns whether there is something new; false also
    /// when it was not in the cache.
    ///
    /// # Errors
    /// As [`get`](Self::get); what cannot be read any more is not in the cache afterwards.
    pub fn refresh(&self, path: &[u8]) -> Result<bool, CacheError> {
        let key = Key { path, module: None };
        let hash = self.hash(&key);
        let Some(found) = self.find(&Wanted::Key(hash, key)) else { return Ok(false) };
        let fresh = is_fresh(&found, path);
        found.cancel();
        if fresh {
            return Ok(false);
        }
        self.load(hash, key).map(|_| true)
    }

    /// Compares every file with the one on disk and throws out those that have changed or are gone;
    /// returns how many. Whoever holds the old bytes keeps them.
    pub fn refresh_all(&self) -> u32 {
        let mut dropped = 0;
        let touched = self.lock().touched();
        for (at, slot) in (0..touched).filter_map(|at| Some((at, self.storage.slot(at)?))) {
            let Some(pin) = slot.cell.pin(false) else { continue };
            let Some(file) = pin.file().filter(|_| Place::Used.is_of(slot)) else { continue };
            // What came from no file cannot change.
            let Some(known) = file.stamp() else { continue };
            if stamp_of(file.key()).is_ok_and(|stamp| stamp == known) {
                continue;
            }
            // The pin keeps the slot from getting another file meanwhile.
            let mut garbage = Garbage::new();
            let mut ledger = self.lock();
            drop(pin);
            if ledger.detach(&self.storage, at, &mut garbage) {
                ledger.count_replacement();
                dropped += 1;
            }
            drop(ledger);
        }
        dropped
    }

    /// Throws out the file at `path`; whether it was there. Whoever holds it keeps the bytes.
    pub fn evict(&self, path: &[u8]) -> bool {
        let key = Key { path, module: None };
        let hash = self.hash(&key);
        let mut garbage = Garbage::new();
        let mut ledger = self.lock();
        let found = ledger.remove(&self.storage, hash, key, &mut garbage).is_some();
        drop(ledger);
        found
    }

    /// Throws out everything. Whoever holds bytes keeps them.
    pub fn clear(&self) {
        let mut garbage = Garbage::new();
        let mut ledger = self.lock();
        ledger.clear(&self.storage, &mut garbage);
        drop(ledger);
    }

    /// What has happened so far. Takes the lock, and time in proportion to the files.
    pub fn statistics(&self) -> Statistics {
        self.lock().statistics(&self.storage)
    }

    /// Calls `visit` with each path in the cache and its handle, the most recently used first (with
    /// SIEVE: the most recently read). The lock is held meanwhile: `visit` must not use the cache.
    pub fn for_each(&self, mut visit: impl FnMut(&[u8], Handle)) {
        let ledger = self.lock();
        for at in ledger.used_slots(&self.storage) {
            let Some(slot) = self.storage.slot(at) else { continue };
            let Some(pin) = slot.cell.pin(false) else { continue };
            if let Some(file) = pin.file() {
                visit(file.key(), handle_of(slot, at));
            }
        }
    }
}
