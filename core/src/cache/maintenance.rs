//! Revalidation, eviction on request, and inspection.

use super::entry::Key;
use super::error::CacheError;
use super::file_cache::{FileCache, detach};
use super::handle::Handle;
use super::lookup::is_fresh;
use super::slot::Place;
use crate::memory::stamp_of;

impl FileCache {
    /// Compares the cached file at `path` with the one on disk and reads it again if it has changed.
    ///
    /// References to the old bytes stay valid. Returns whether the file was read again; false also if it was
    /// not in the cache.
    ///
    /// # Errors
    /// As [`get`](Self::get). A file that can no longer be read is removed from the cache.
    pub fn refresh(&self, path: &[u8]) -> Result<bool, CacheError> {
        let key = Key { path, module: None };
        let hash = self.hash(&key);
        match self.find(hash, &key, false) {
            None => return Ok(false),
            Some(found) if is_fresh(&found, path) => return Ok(false),
            Some(_) => {}
        }
        self.load(hash, key).map(|_| true)
    }

    /// Compares every cached file with the one on disk and removes those that have changed or no longer exist;
    /// returns their number. References to the old bytes stay valid.
    pub fn refresh_all(&self) -> u32 {
        let mut removed = 0;
        for shard in 0..self.shard_count() {
            for handle in (0..).map_while(|at| self.stale_file(shard, at)).flatten() {
                removed += u32::from(self.detach_replaced(&mut self.inventory.lock(), handle));
            }
        }
        removed
    }

    /// The handle of the file in slot `at` of a shard if it has changed on disk; `None` behind the last slot.
    fn stale_file(&self, shard: u32, at: u32) -> Option<Option<Handle>> {
        let mut state = self.lock_shard(shard);
        let is_used = state.slots.get(at as usize)?.place == Place::Used;
        let entry = is_used.then(|| state.hold(at, false)).flatten();
        drop(state);
        // Bytes that come from no file, and links, cannot change.
        let known = entry.and_then(|(entry, _)| Some((entry.stamp()?, entry)));
        let stale =
            known.filter(|(stamp, entry)| stamp_of(entry.bytes.tail()).ok() != Some(*stamp));
        Some(stale.map(|(_, entry)| entry.handle))
    }

    /// Removes the file at `path`; returns whether it was in the cache. References to its bytes stay valid.
    pub fn evict(&self, path: &[u8]) -> bool {
        let key = Key { path, module: None };
        let mut inventory = self.inventory.lock();
        self.detach_key(&mut inventory, self.hash(&key), &key, false)
    }

    /// Removes all files. References to their bytes stay valid.
    pub fn clear(&self) {
        let mut inventory = self.inventory.lock();
        for mut state in self.lock_shards() {
            while let Some(at) = state.newest() {
                detach(&mut state, &mut inventory, at, false);
            }
        }
        self.sweep(&mut inventory);
    }

    /// Calls `visit` with each path in the cache and its handle: within each shard the most recently used first,
    /// with SIEVE the most recently read first. The cache is locked meanwhile: `visit` must not use it.
    pub fn for_each(&self, mut visit: impl FnMut(&[u8], Handle)) {
        let _inventory = self.inventory.lock();
        for state in self.lock_shards() {
            for slot in state.used_slots().filter(|slot| slot.entry.is_file()) {
                visit(slot.entry.bytes.tail(), slot.entry.handle);
            }
        }
    }
}
