//! Files that are held without a view, for callers that can keep no view: those across the C boundary.

use core::sync::atomic::Ordering::{Relaxed, Release};

use super::entry::Entry;
use super::ledger::handle_of;
use super::pin::Pin;
use super::{CacheError, FileCache, Handle, Pinned, Slot, Storage};

impl<S: Storage> FileCache<S> {
    /// Holds the bytes of a handle without a view, until [`release`](Self::release): for callers that
    /// cannot keep one, such as those across the C boundary. Counts as a request.
    ///
    /// # Errors
    /// [`CacheError::Stale`].
    pub fn retain(&self, handle: Handle) -> Result<(), CacheError> {
        self.get_by_handle(handle).map(|view| self.retain_view(&view))
    }

    /// As [`retain`](Self::retain) with the handle of a view that is at hand, which was a request
    /// already: counts as none.
    #[inline]
    pub fn retain_view(&self, Pinned { held: view, .. }: &Pinned<'_>) {
        let file = view.link.as_ref().map(|_| view.file_handle);
        for held in [Some(view.handle), file].into_iter().flatten() {
            if let Some(slot) = self.storage.slot(held.slot) {
                slot.held.fetch_add(1, Relaxed);
            }
        }
    }

    /// Gives back what was [`retain`](Self::retain)ed, as often as it was.
    ///
    /// # Errors
    /// [`CacheError::Stale`]; [`CacheError::NotRetained`].
    #[inline]
    pub fn release(&self, handle: Handle) -> Result<(), CacheError> {
        let (slot, entry) = self.entry(handle).ok_or(CacheError::Stale { handle })?;
        // Who frees the memory sees that everything before this has been read.
        let less =
            |slot: &Slot| slot.held.fetch_update(Release, Relaxed, |held| held.checked_sub(1));
        less(slot).map_err(|_| CacheError::NotRetained { handle })?;
        if let Entry::Link(link) = &*entry {
            // It was held as well, so it is there.
            let _ = self.storage.slot(link.target.slot).map(less);
        }
        Ok(())
    }

    /// Whether the bytes of a handle are retained, by whomever.
    #[inline]
    pub fn is_retained(&self, handle: Handle) -> bool {
        self.entry(handle).is_some_and(|(slot, _entry)| slot.held.load(Relaxed) != 0)
    }

    /// What a handle is of, whether or not it can still be found.
    #[inline]
    fn entry(&self, handle: Handle) -> Option<(&Slot, Pin<'_, Entry>)> {
        let slot = self.storage.slot(handle.slot)?;
        // With a pin the generation stays.
        let entry = slot.cell.pin(false).or_else(|| self.entry_under_lock(slot))?;
        (handle_of(slot, handle.slot) == handle).then_some((slot, entry))
    }

    /// An entry is closed for a moment also when it is not changed in the end, which is how whoever looks
    /// for room finds out that it is held. Not under the lock.
    #[cold]
    fn entry_under_lock<'c>(&self, slot: &'c Slot) -> Option<Pin<'c, Entry>> {
        self.lock().pin(slot, false)
    }

    /// How often something was retained and has not been released yet. Takes time in proportion to the
    /// files; exact when nobody uses the cache meanwhile.
    pub fn retained(&self) -> u64 {
        let touched = self.lock().touched();
        let slots = (0..touched).filter_map(|at| self.storage.slot(at));
        // What leads to a file, or to a part of one, holds the file as well.
        let files = slots.filter(|slot| slot.cell.pin(false).is_some_and(|e| e.file().is_some()));
        files.map(|slot| u64::from(slot.held.load(Relaxed))).sum()
    }
}

#[cfg(test)]
mod tests {
    use crate::cache::{CacheError, Capacity, FileCache, Options};
    use std::os::unix::ffi::OsStrExt;
    use std::{env, fs, process};

    #[test]
    #[cfg_attr(miri, ignore = "makes a link")]
    fn what_is_retained_is_counted_once_however_it_was_found() {
        let directory = env::temp_dir().join(std::format!("smf-held-{}", process::id()));
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
        cache.retain_view(&link);
        assert_eq!((cache.retained(), cache.is_retained(handles[1])), (1, true));
        cache.retain_view(&file);
        cache.retain_view(&file);
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
