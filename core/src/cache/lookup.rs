//! Requests, and hits.

use super::cache_ref::CacheRef;
use super::entry::{Entry, Key};
use super::error::CacheError;
use super::file_cache::{FileCache, shard_of};
use super::handle::Handle;
use super::options::Revalidation;
use super::slot::Place;
use super::state::LockedState;
use crate::alloc_util::TryArc;
use crate::memory::stamp_of;

impl FileCache {
    /// The bytes of the file at `path`, from the cache or else from the disk.
    ///
    /// # Errors
    /// [`CacheError::File`] as [`FileBytes::read`](crate::memory::FileBytes::read);
    /// [`CacheError::TooLarge`]; [`CacheError::AllInUse`]; [`CacheError::OutOfMemory`].
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
        let is_hit = self.options.revalidation == Revalidation::Manual;
        match self.find_entry(hash, &key, is_hit) {
            Some((file, _)) if is_hit && file.is_file() => {
                Ok(CacheRef { file, link: None, cache: self })
            }
            // Taken apart, so that the compiler keeps the reference above in registers.
            found => match self.resolve_or_load(hash, key, found) {
                Ok(found) => Ok(found),
                Err(error) => Err(error),
            },
        }
    }

    /// The rest of [`get`](Self::get), if `found` is not simply a hit of a file.
    #[inline(never)]
    fn resolve_or_load(
        &self,
        hash: u64,
        key: Key<'_>,
        found: Option<(TryArc<Entry>, bool)>,
    ) -> Result<CacheRef<'_>, CacheError> {
        let is_hit = self.options.revalidation == Revalidation::Manual;
        let found = found.and_then(|found| self.resolve(found, is_hit));
        let Some(found) = found.filter(|found| is_hit || is_fresh(found, key.path)) else {
            return self.load(hash, key);
        };
        if !is_hit {
            for entry in [Some(&found.file), found.link.as_ref()].into_iter().flatten() {
                let mut state = self.lock_shard(entry.handle.slot);
                // The reference keeps the entry in its slot.
                drop(state.find_handle(entry.handle).and_then(|at| state.hold(at, true)));
            }
        }
        Ok(found)
    }

    /// The bytes of a handle.
    ///
    /// # Errors
    /// [`CacheError::Stale`] if they have been evicted or replaced, and for a number that is no handle.
    pub fn get_by_handle(&self, handle: Handle) -> Result<CacheRef<'_>, CacheError> {
        let found = self.find_by_handle(handle, true);
        found.map(|(found, _)| found).ok_or(CacheError::Stale { handle })
    }

    /// The bytes of a handle that is [retained](Self::retain). Counts as no request.
    ///
    /// # Errors
    /// [`CacheError::Stale`]; [`CacheError::NotRetained`].
    pub fn get_retained(&self, handle: Handle) -> Result<CacheRef<'_>, CacheError> {
        match self.find_by_handle(handle, false) {
            Some((found, true)) => Ok(found),
            Some((_, false)) => Err(CacheError::NotRetained { handle }),
            None => Err(CacheError::Stale { handle }),
        }
    }

    /// The bytes of a handle, and whether it is retained; with `is_hit` this counts as a hit and as used.
    #[inline]
    fn find_by_handle(&self, handle: Handle, is_hit: bool) -> Option<(CacheRef<'_>, bool)> {
        let mut state = self.lock_shard(handle.slot);
        let at = state.find_handle(handle).filter(|&at| is_available(&state, at));
        let found = at.and_then(|at| state.hold(at, is_hit));
        drop(state);
        let (entry, is_retained) = found?;
        Some((self.resolve((entry, is_retained), is_hit)?, is_retained))
    }

    /// Finds a file or the file of a link; with `is_hit` it counts as a hit and as used.
    pub(super) fn find(&self, hash: u64, key: &Key<'_>, is_hit: bool) -> Option<CacheRef<'_>> {
        self.resolve(self.find_entry(hash, key, is_hit)?, is_hit)
    }

    /// As [`LockedState::hold`] of the entry of a key.
    fn find_entry(&self, hash: u64, key: &Key<'_>, is_hit: bool) -> Option<(TryArc<Entry>, bool)> {
        let mut state = self.lock_shard(shard_of(hash));
        let at = state.find(hash, key)?;
        state.hold(at, is_hit)
    }

    /// A reference to a file, or to the file of a link.
    #[inline]
    fn resolve(
        &self,
        (entry, is_retained): (TryArc<Entry>, bool),
        is_hit: bool,
    ) -> Option<CacheRef<'_>> {
        match entry.is_file() {
            true => Some(CacheRef { file: entry, link: None, cache: self }),
            false => self.follow(entry, is_retained, is_hit),
        }
    }

    fn follow(&self, link: TryArc<Entry>, is_retained: bool, is_hit: bool) -> Option<CacheRef<'_>> {
        let target = link.link.as_ref()?.target;
        let mut state = self.lock_shard(target.slot);
        // A link that is retained keeps the file that it was made for.
        let is_valid = |at: &u32| is_retained || is_available(&state, *at);
        let at = state.find_handle(target).filter(is_valid)?;
        let (file, _) = state.hold(at, is_hit)?;
        Some(CacheRef { file, link: Some(link), cache: self })
    }
}

/// Whether the entry of slot `at` may be used: it was not detached, or is retained.
fn is_available(state: &LockedState, at: u32) -> bool {
    state.slots.get(at as usize).is_some_and(|slot| slot.place == Place::Used || slot.retained != 0)
}

/// Whether the file at `path` is still the version that was found; bytes that come from no file always are.
pub(super) fn is_fresh(found: &CacheRef<'_>, path: &[u8]) -> bool {
    found.stamp().is_none_or(|known| stamp_of(path).is_ok_and(|stamp| stamp == known))
}
