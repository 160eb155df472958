//! The open caches of C, and the handles of their files.

use std::sync::atomic::{AtomicU64, Ordering};

use smf_core::cache::{CacheRef, FileCache, Handle};

use super::error::ApiError;
use super::handle_table::{self, HandleTable, ITEM_SLOT_BITS, Item, Object};

/// The most files of a cache of C: the cache has slots for as many files, and for links beside them, and slots have
/// 24 bits in a handle.
pub(super) const MAX_FILES: u32 = 1 << (ITEM_SLOT_BITS - 2);

pub(super) static CACHES: HandleTable<FileCache> = HandleTable::new();

impl Object for FileCache {
    const TAG: u32 = 0;
    const NAME: &'static str = "cache";
}

/// A use of a cache.
pub(super) type CacheGuard = handle_table::Guard<FileCache>;

impl CacheGuard {
    /// The handle of a file in C.
    ///
    /// # Errors
    /// [`ApiError::TooManyOpen`] for a slot that has no number in a handle.
    pub(super) fn file_to_raw(&self, handle: Handle) -> Result<u64, ApiError> {
        let file = self.handle.item_to_raw(Item::File, handle.to_raw());
        file.ok_or_else(|| ApiError::TooManyOpen {
            object: "file",
            limit: (1 << ITEM_SLOT_BITS) - 1,
        })
    }

    /// The handle of a file in the cache, which checks whether the file exists.
    ///
    /// # Errors
    /// [`ApiError::Handle`] for a handle that this cache never issued.
    pub(super) fn file_from_raw(&self, file: u64) -> Result<Handle, ApiError> {
        let found = self.handle.item_from_raw(Item::File, file).map(Handle::from_raw);
        found.ok_or_else(|| ApiError::Handle { what: "a file of this cache", handle: file })
    }
}

/// The handle of the cache through which a loader or an instantiator reads files; 0 for none. A handle, so that each use
/// is counted and checked.
#[derive(Default)]
pub(super) struct CacheHandle(AtomicU64);

impl CacheHandle {
    /// # Errors
    /// [`ApiError::NotOpen`], [`ApiError::InUseAtFork`].
    pub(super) fn set(&self, cache: u64) -> Result<(), ApiError> {
        if cache != 0 {
            CACHES.enter(cache)?;
        }
        self.0.store(cache, Ordering::Relaxed);
        Ok(())
    }

    /// Starts a use of the cache; `None` without one.
    ///
    /// # Errors
    /// As for [`set`](Self::set).
    pub(super) fn enter(&self) -> Result<Option<CacheGuard>, ApiError> {
        match self.0.load(Ordering::Relaxed) {
            0 => Ok(None),
            cache => CACHES.enter(cache).map(Some),
        }
    }
}

/// Calls `read` with a file that C holds: its bytes stay valid until it is released.
///
/// # Errors
/// As for [`CacheGuard::file_from_raw`] and [`FileCache::get_retained`], and those of `read`.
pub(super) fn with_held<T>(
    cache: u64,
    file: u64,
    read: impl FnOnce(&CacheRef<'_>) -> Result<T, ApiError>,
) -> Result<T, ApiError> {
    let cache = CACHES.enter(cache)?;
    let handle = cache.file_from_raw(file)?;
    read(&cache.get_retained(handle)?)
}

/// Closes a cache, which must not be in use. Waits for the guards of other threads.
///
/// # Errors
/// [`ApiError::NotOpen`], [`ApiError::Held`], [`ApiError::Prefetching`].
pub(super) fn close(cache: u64) -> Result<(), ApiError> {
    CACHES.close(cache, |cache, prefetches| match (cache.retained(), prefetches) {
        (0, 0) => None,
        (0, _) => Some(ApiError::Prefetching { prefetches }),
        (holds, _) => Some(ApiError::Held { what: "files of the cache", holds }),
    })
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::super::handle_table::MAX_OPEN;
    use super::*;
    use crate::fork::tests::{in_child, while_held};
    use smf_core::cache::{Capacity, Options};

    fn new() -> u64 {
        let capacity = Capacity { files: 4, bytes: 1 << 20 };
        CACHES.open(FileCache::new(capacity, Options::default()).unwrap()).unwrap()
    }

    #[test]
    fn handle_is_valid_until_cache_is_closed() {
        let first = new();
        assert!(CACHES.enter(first).is_ok() && close(first).is_ok());
        for _ in 0..100 {
            let next = new();
            assert!(next != first && CACHES.enter(next).is_ok());
            assert!(CACHES.enter(first).is_err() && close(first).is_err());
            close(next).unwrap();
        }
        for none in [0, 1, u64::MAX, 1 << 32, MAX_OPEN as u64 + 1, 1 << 63 | 1, first + (1 << 32)] {
            assert!(CACHES.enter(none).is_err() && close(none).is_err(), "{none:#x}");
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "forks")]
    fn cache_in_use_at_fork_is_refused_in_the_child_alone() {
        let [used, leased, idle] = [(); 3].map(|()| new());
        let refused = |handle| Err(ApiError::InUseAtFork { handle });
        let is_refused = |cache| {
            (0..2).all(|_| {
                CACHES.enter(cache).map(|_| ()) == refused(cache) && close(cache) == refused(cache)
            })
        };
        while_held(
            || (CACHES.enter(used).unwrap(), CACHES.enter(leased).unwrap().lease()),
            || {
                assert!(in_child(|| {
                    let own = new();
                    let works = CACHES.enter(idle).is_ok() && CACHES.enter(own).is_ok();
                    let again = in_child(|| {
                        is_refused(used) && is_refused(leased) && CACHES.enter(own).is_ok()
                    });
                    is_refused(used)
                        && is_refused(leased)
                        && works
                        && again
                        && close(own).is_ok()
                        && close(idle).is_ok()
                        && CACHES.enter(idle).is_err()
                }));
            },
        );
        assert!([used, leased, idle].into_iter().all(|cache| CACHES.enter(cache).is_ok()));
        // The thread that forks uses the cache itself, and continues to.
        let here = CACHES.enter(used).unwrap();
        assert!(in_child(|| is_refused(used) && here.statistics().files == 0));
        drop(here);
        assert!([used, leased, idle].into_iter().all(|cache| close(cache).is_ok()));
    }

    #[test]
    fn file_handle_is_refused_by_other_caches() {
        let (one, two) = (new(), new());
        for raw in [0, 1, 1 << 32 | 5, u64::from(u32::MAX) << 32 | 0xff_fffe] {
            let handle = Handle::from_raw(raw);
            let (in_one, in_two) = (CACHES.enter(one).unwrap(), CACHES.enter(two).unwrap());
            let file = in_one.file_to_raw(handle).unwrap();
            assert_eq!(in_one.file_from_raw(file), Ok(handle));
            assert_eq!(
                in_two.file_from_raw(file),
                Err(ApiError::Handle { what: "a file of this cache", handle: file })
            );
            assert!(CACHES.enter(file).is_err() && in_one.file_from_raw(one).is_err());
        }
        let outside =
            CACHES.enter(one).unwrap().file_to_raw(Handle::from_raw((1 << ITEM_SLOT_BITS) - 1));
        assert!(outside.is_err());
        let handle = Handle::from_raw(1 << 32);
        let file = CACHES.enter(one).unwrap().file_to_raw(handle).unwrap();
        close(one).unwrap();
        let again = new();
        // Whichever slot it has.
        assert_ne!(CACHES.enter(again).unwrap().file_from_raw(file), Ok(handle));
        close(again).unwrap();
        close(two).unwrap();
    }

    #[test]
    fn close_waits_for_threads_that_use_the_cache() {
        for _ in 0..50 {
            let cache = new();
            thread::scope(|scope| {
                for _ in 0..3 {
                    scope.spawn(|| {
                        let mut uses = 0;
                        while let Ok(guard) = CACHES.enter(cache) {
                            assert_eq!(guard.statistics().files, 0);
                            uses += 1;
                        }
                        assert!(uses < 10_000_000);
                    });
                }
                scope.spawn(|| {
                    // With a lease closing is refused, and the cache stays open.
                    let lease = CACHES.enter(cache).unwrap().lease();
                    let prefetching = ApiError::Prefetching { prefetches: 1 };
                    assert_eq!(close(cache), Err(prefetching));
                    drop(lease);
                    assert_eq!(close(cache), Ok(()));
                });
            });
        }
    }
}
