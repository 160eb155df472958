//! Requests, and hits.

use super::cache_ref::CacheRef;
use super::entry::{Entry, Key};
use super::error::CacheError;
use super::file_cache::FileCache;
use super::handle::Handle;
use super::options::Revalidation;
use super::slot::Place;
use super::state::LockedState;
use crate::alloc_util::TryArc;
use crate::memory::lock::LockGuard;
use crate::memory::stamp_of;

impl FileCache {
    /// The bytes of the file at `path`, from the cache or else from the disk.
    ///
    /// # Errors
    /// [`CacheError::File`] as [`FileBytes::read`](crate::memory::FileBytes::read);
    /// [`CacheError::TooLarge`]; [`CacheError::AllInUse`]; [`CacheError::OutOfMemory`].
    #[inline]
    pub fn get(&self, path: &[u8]) -> Result<CacheRef<'_>, CacheError> {
        self.get_key(Key { path, module: None })
    }

    /// The module called `module` in the archive at `path`. It shares the bytes of the archive.
    ///
    /// # Errors
    /// As [`get`](Self::get); [`CacheError::Format`] if the file is not an archive;
    /// [`CacheError::NoSuchModule`].
    pub fn get_module(&self, path: &[u8], module: &[u8]) -> Result<CacheRef<'_>, CacheError> {
        self.get_key(Key { path, module: Some(module) })
    }

    #[inline]
    fn get_key(&self, key: Key<'_>) -> Result<CacheRef<'_>, CacheError> {
        let hash = self.hash(&key);
        match self.find_fresh(hash, &key) {
            Some(found) => Ok(found),
            None => self.load(hash, key),
        }
    }

    /// The bytes of a handle.
    ///
    /// # Errors
    /// [`CacheError::Stale`] if they have been evicted or replaced, and for a number that is no handle.
    #[inline]
    pub fn get_by_handle(&self, handle: Handle) -> Result<CacheRef<'_>, CacheError> {
        let state = self.lock_shard_of(handle);
        let at = state.find_handle(handle).filter(|&at| is_available(&state, at));
        at.and_then(|at| self.resolve(state, at, true)).ok_or(CacheError::Stale { handle })
    }

    /// Finds a key, as a hit, unless its file must be read again.
    #[inline]
    fn find_fresh(&self, hash: u64, key: &Key<'_>) -> Option<CacheRef<'_>> {
        if self.options.revalidation == Revalidation::Manual {
            return self.find(hash, key, true);
        }
        let found = self.find(hash, key, false).filter(|found| is_fresh(found, key.path))?;
        self.count_hit(&found);
        Some(found)
    }

    /// Counts a hit that was found without counting it.
    fn count_hit(&self, found: &CacheRef<'_>) {
        let file = found.file_handle();
        let mut state = self.lock_shard_of(file);
        if let Some(at) = state.find_handle(file) {
            state.touch(at);
            state.count_hit(true);
        }
        drop(state);
        if found.handle() != file {
            let mut state = self.lock_shard_of(found.handle());
            if let Some(at) = state.find_handle(found.handle()) {
                state.touch(at);
            }
        }
    }

    /// Finds a key; with `is_hit` it counts as a hit and as used.
    #[inline]
    pub(super) fn find(&self, hash: u64, key: &Key<'_>, is_hit: bool) -> Option<CacheRef<'_>> {
        let state = self.lock_shard_of_hash(hash);
        let at = state.find(hash, key)?;
        self.resolve(state, at, is_hit)
    }

    /// A reference to the entry of slot `at`, or to the file to which it links.
    #[inline]
    fn resolve<'c>(
        &'c self,
        mut state: LockGuard<'c, LockedState>,
        at: u32,
        is_hit: bool,
    ) -> Option<CacheRef<'c>> {
        if is_hit {
            // Before the entry is cloned: the processor does not load the neighbours in the list ahead of an atomic access.
            state.touch(at);
        }
        let (handle, slot) = state.handle_and_slot(at)?;
        let (file, is_retained) = (slot.entry.clone(), slot.retained != 0);
        if file.link().is_some() {
            drop(state);
            return self.follow(handle, file, is_retained, is_hit);
        }
        state.count_hit(is_hit);
        Some(CacheRef { file, link: None, handle, cache: self })
    }

    /// A reference to the file of a link.
    fn follow(
        &self,
        handle: Handle,
        link: TryArc<Entry>,
        is_retained: bool,
        is_hit: bool,
    ) -> Option<CacheRef<'_>> {
        let target = link.link()?.target();
        let mut state = self.lock_shard_of(target);
        // A link that is retained keeps the file that it was made for.
        let is_valid = |at: &u32| is_retained || is_available(&state, *at);
        let at = state.find_handle(target).filter(is_valid)?;
        let file = state.slot(at)?.entry.clone();
        if is_hit {
            state.touch(at);
        }
        state.count_hit(is_hit);
        Some(CacheRef { file, link: Some(link), handle, cache: self })
    }
}

/// Whether the entry of slot `at` may be used: it was not detached, or is retained.
fn is_available(state: &LockedState, at: u32) -> bool {
    state.slot(at).is_some_and(|slot| slot.place == Place::Used || slot.retained != 0)
}

/// Whether the file at `path` is still the version that was found; bytes that come from no file always are.
pub(super) fn is_fresh(found: &CacheRef<'_>, path: &[u8]) -> bool {
    found.stamp().is_none_or(|known| stamp_of(path).is_ok_and(|stamp| stamp == known))
}
