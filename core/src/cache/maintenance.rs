//! Revalidation, eviction on request, and inspection.

use super::entry::Key;
use super::error::CacheError;
use super::file_cache::FileCache;
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
                let mut inventory = self.lock_inventory();
                if self.detach_handle(&mut inventory, handle) {
                    inventory.count_replacement();
                    removed += 1;
                }
            }
        }
        removed
    }

    /// The handle of the file in slot `at` of a shard if it has changed on disk; `None` behind the last slot.
    fn stale_file(&self, shard: u32, at: u32) -> Option<Option<Handle>> {
        let state = self.lock_shard(shard);
        let slot = state.slot(at)?;
        let entry = (slot.place == Place::Used).then(|| slot.entry.clone());
        let handle = state.handle_of(at);
        drop(state);
        let is_stale = entry.is_some_and(|entry| {
            // Bytes that come from no file cannot change.
            let known = entry.file().and_then(|file| Some((file, file.stamp()?)));
            known.is_some_and(|(file, known)| stamp_of(file.path()).ok() != Some(known))
        });
        Some(handle.filter(|_| is_stale))
    }

    /// Removes the file at `path`; returns whether it was in the cache. References to its bytes stay valid.
    pub fn evict(&self, path: &[u8]) -> bool {
        let key = Key { path, module: None };
        let mut inventory = self.lock_inventory();
        self.detach_key(&mut inventory, self.hash(&key), &key).is_some()
    }

    /// Removes all files. References to their bytes stay valid.
    pub fn clear(&self) {
        let mut inventory = self.lock_inventory();
        for shard in 0..self.shard_count() {
            while let Some(handle) = self.newest(shard) {
                self.detach_handle(&mut inventory, handle);
            }
        }
        self.sweep(&mut inventory);
    }

    fn newest(&self, shard: u32) -> Option<Handle> {
        let state = self.lock_shard(shard);
        let newest = state.used_slots().next().map(|(at, _)| at);
        newest.and_then(|at| state.handle_of(at))
    }

    /// Calls `visit` with each path in the cache and its handle: within each shard the most recently used first,
    /// with SIEVE the most recently read first. The cache is locked meanwhile: `visit` must not use it.
    pub fn for_each(&self, mut visit: impl FnMut(&[u8], Handle)) {
        let _inventory = self.lock_inventory();
        for state in self.lock_shards() {
            for (at, slot) in state.used_slots() {
                if let Some((file, handle)) = slot.entry.file().zip(state.handle_of(at)) {
                    visit(file.path(), handle);
                }
            }
        }
    }
}
