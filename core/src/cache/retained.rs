//! Files that are kept without a [`CacheRef`], for callers that cannot store one, such as those of the C API.

use super::cache_ref::CacheRef;
use super::error::CacheError;
use super::file_cache::FileCache;
use super::handle::Handle;

impl FileCache {
    /// Keeps the bytes of a handle in memory until [`release`](Self::release). Counts as a request.
    ///
    /// # Errors
    /// [`CacheError::Stale`].
    pub fn retain(&self, handle: Handle) -> Result<(), CacheError> {
        self.get_by_handle(handle).map(|found| self.retain_ref(&found))
    }

    /// As [`retain`](Self::retain) with the handle of a reference. Counts as no request.
    pub fn retain_ref(&self, found: &CacheRef<'_>) {
        for entry in [Some(&found.file), found.link.as_ref()].into_iter().flatten() {
            let mut state = self.lock_shard(entry.handle.slot);
            // The reference keeps the entry in its slot.
            let at = state.find_handle(entry.handle);
            if let Some(slot) = at.and_then(|at| state.slots.get_mut(at as usize)) {
                slot.retained = slot.retained.saturating_add(1);
            }
        }
    }

    /// Ends one [`retain`](Self::retain).
    ///
    /// # Errors
    /// [`CacheError::Stale`]; [`CacheError::NotRetained`].
    pub fn release(&self, handle: Handle) -> Result<(), CacheError> {
        let target = self.release_slot(handle)?;
        // The link kept its file, so that the handle is not stale.
        target.map_or(Ok(()), |target| self.release_slot(target).map(drop))
    }

    /// Releases one slot; if it holds a link, returns the file's handle.
    fn release_slot(&self, handle: Handle) -> Result<Option<Handle>, CacheError> {
        let mut state = self.lock_shard(handle.slot);
        let at = state.find_handle(handle).ok_or(CacheError::Stale { handle })?;
        let slot = state.slots.get_mut(at as usize).ok_or(CacheError::Stale { handle })?;
        slot.retained = slot.retained.checked_sub(1).ok_or(CacheError::NotRetained { handle })?;
        Ok(slot.entry.link.as_ref().map(|link| link.target))
    }

    /// Whether the bytes of a handle are retained.
    pub fn is_retained(&self, handle: Handle) -> bool {
        let state = self.lock_shard(handle.slot);
        let slot = state.find_handle(handle).and_then(|at| state.slots.get(at as usize));
        slot.is_some_and(|slot| slot.retained != 0)
    }

    /// How many times files were retained and not released. Takes time in proportion to the slots of the cache;
    /// exact if no other thread uses the cache meanwhile.
    pub fn retained(&self) -> u64 {
        let retained = self.lock_shards().map(|state| {
            // Retaining a link retains its file as well.
            let files = state.slots.iter().filter(|slot| slot.entry.is_file());
            files.map(|slot| u64::from(slot.retained)).sum::<u64>()
        });
        retained.sum()
    }
}

#[cfg(test)]
mod tests {
    use crate::cache::{CacheError, Capacity, FileCache, Options};
    use std::os::unix::ffi::OsStrExt;
    use std::{env, fs, process};

    #[test]
    #[cfg_attr(miri, ignore = "makes a link")]
    fn file_retained_by_path_and_by_link_is_counted_once_each() {
        let directory = env::temp_dir().join(std::format!("smf-retained-{}", process::id()));
        fs::create_dir_all(&directory).unwrap();
        let (path, other) = (directory.join("file"), directory.join("other"));
        fs::write(&path, b"held").unwrap();
        fs::hard_link(&path, &other).unwrap();
        let capacity = Capacity { files: 4, bytes: 100 };
        let cache = FileCache::new(capacity, Options::default()).unwrap();
        let (first, second) = (path.as_os_str().as_bytes(), other.as_os_str().as_bytes());
        let (file, link) = (cache.get(first).unwrap(), cache.get(second).unwrap());
        let handles = [file.handle(), link.handle()];
        assert!(handles[0] != handles[1] && cache.retained() == 0);
        assert!(handles.iter().all(|handle| !cache.is_retained(*handle)));
        cache.retain_ref(&link);
        assert_eq!((cache.retained(), cache.is_retained(handles[1])), (1, true));
        cache.retain_ref(&file);
        cache.retain_ref(&file);
        let requests = cache.statistics();
        drop((file, link));
        assert_eq!((cache.retained(), requests.hits + requests.misses), (3, 2));
        cache.clear();
        assert!(cache.is_retained(handles[0]) && cache.is_retained(handles[1]));
        for handle in [handles[0], handles[1], handles[0]] {
            cache.release(handle).unwrap();
        }
        assert_eq!(cache.retained(), 0);
        assert!(matches!(cache.release(handles[0]), Err(CacheError::NotRetained { .. })));
        fs::remove_dir_all(directory).unwrap();
    }
}
