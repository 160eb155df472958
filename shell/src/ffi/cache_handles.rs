//! The caches that C has opened, and the numbers of their files.

use smf_core::alloc_util::TryArc;
use smf_core::cache::{CacheError, FileCache, Handle};

use super::error::ApiError;
use super::handle_table::{self, HandleTable, Part, SEATS, SLOT_BITS, Table};

/// The most files that a cache of C may have: with as many links, slots have numbers of 24 bits.
pub(super) const MOST_FILES: u32 = 1 << (SLOT_BITS - 2);

static TABLE: Table<FileCache> = Table::new();
static CACHES: HandleTable<FileCache> =
    HandleTable::new(&TABLE, 0, |cache| ApiError::NoCache { cache });

/// A cache that is not closed as long as this lives.
pub(super) type Entered = handle_table::Entered<FileCache>;

/// A cache that cannot be closed as long as this lives.
pub(super) type Lease = handle_table::Lease<FileCache>;

/// Begins to use a cache.
///
/// # Errors
/// [`ApiError::NoCache`].
#[inline]
pub(super) fn enter(cache: u64) -> Result<Entered, ApiError> {
    CACHES.enter(cache)
}

impl Entered {
    /// The number of a file as C has it.
    ///
    /// # Errors
    /// [`CacheError::NoCapacity`] for a slot beyond what [`MOST_FILES`] explains.
    #[inline]
    pub(super) fn number_of(&self, handle: Handle) -> Result<u64, ApiError> {
        let raw = handle.to_raw();
        let number = self.number().of_part(Part::File, raw as u32, (raw >> 32) as u32);
        number.ok_or_else(|| CacheError::NoCapacity.into())
    }

    /// The file that C means by a number. Whether there is one is for the cache to find out.
    ///
    /// # Errors
    /// [`ApiError::ForeignFile`] when the number cannot come from this cache.
    #[inline]
    pub(super) fn handle_of(&self, file: u64) -> Result<Handle, ApiError> {
        let (slot, generation) =
            self.number().part(Part::File, file).ok_or(ApiError::ForeignFile { file })?;
        Ok(Handle::from_raw(u64::from(generation) << 32 | u64::from(slot)))
    }
}

impl Lease {
    /// The cache for those who need it for longer than a borrow.
    pub(super) fn cache(&self) -> TryArc<FileCache> {
        (**self).clone()
    }
}

/// In a child process: puts aside the caches that a thread was using at the fork.
pub(super) fn begin_child() {
    CACHES.begin_child();
}

/// Gives a cache a seat and a number.
///
/// # Errors
/// [`ApiError::TooManyCaches`].
pub(super) fn open(cache: FileCache) -> Result<u64, ApiError> {
    CACHES.open(cache)?.ok_or(ApiError::TooManyCaches { limit: SEATS })
}

/// Closes a cache, which must not be in use; waits for those who are at it in other threads.
///
/// # Errors
/// [`ApiError::NoCache`], [`ApiError::CacheHeld`], [`ApiError::Prefetching`].
pub(super) fn close(cache: u64) -> Result<(), ApiError> {
    CACHES.close(cache, |cache, prefetches| match (cache.retained(), prefetches) {
        (0, 0) => None,
        (0, _) => Some(ApiError::Prefetching { prefetches }),
        (holds, _) => Some(ApiError::CacheHeld { holds }),
    })
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::fork::tests::{in_child, while_held};
    use smf_core::cache::{Capacity, Options};

    fn new() -> u64 {
        let capacity = Capacity { files: 4, bytes: 1 << 20 };
        open(FileCache::new(capacity, Options::default()).unwrap()).unwrap()
    }

    #[test]
    fn a_number_is_good_until_its_cache_is_closed() {
        let first = new();
        assert!(enter(first).is_ok() && close(first).is_ok());
        for _ in 0..100 {
            let next = new();
            assert!(next != first && enter(next).is_ok());
            assert!(enter(first).is_err() && close(first).is_err());
            close(next).unwrap();
        }
        for none in [0, 1, u64::MAX, 1 << 32, SEATS as u64 + 1, 1 << 63 | 1, first + (1 << 32)] {
            assert!(enter(none).is_err() && close(none).is_err(), "{none:#x}");
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "forks")]
    fn cache_in_use_at_fork_is_refused_in_the_child_alone() {
        let [entered, leased, idle] = [(); 3].map(|()| new());
        let refused = |number| Err(ApiError::InUseAtFork { number });
        let is_refused = |number| {
            (0..2).all(|_| {
                enter(number).map(|_| ()) == refused(number) && close(number) == refused(number)
            })
        };
        while_held(
            || (enter(entered).unwrap(), enter(leased).unwrap().lease()),
            || {
                assert!(in_child(|| {
                    let own = new();
                    let works = enter(idle).is_ok() && enter(own).is_ok();
                    let again = in_child(|| {
                        is_refused(entered) && is_refused(leased) && enter(own).is_ok()
                    });
                    is_refused(entered)
                        && is_refused(leased)
                        && works
                        && again
                        && close(own).is_ok()
                        && close(idle).is_ok()
                        && enter(idle).is_err()
                }));
            },
        );
        assert!([entered, leased, idle].into_iter().all(|cache| enter(cache).is_ok()));
        // The thread that forks is one that uses it, and may go on.
        let here = enter(entered).unwrap();
        assert!(in_child(|| is_refused(entered) && here.statistics().files == 0));
        drop(here);
        assert!([entered, leased, idle].into_iter().all(|cache| close(cache).is_ok()));
    }

    #[test]
    fn a_file_is_told_from_those_of_every_other_cache() {
        let (one, two) = (new(), new());
        for raw in [0, 1, 1 << 32 | 5, u64::from(u32::MAX) << 32 | 0xff_ffff] {
            let handle = Handle::from_raw(raw);
            let (in_one, in_two) = (enter(one).unwrap(), enter(two).unwrap());
            let file = in_one.number_of(handle).unwrap();
            assert_eq!(in_one.handle_of(file), Ok(handle));
            assert_eq!(in_two.handle_of(file), Err(ApiError::ForeignFile { file }));
            assert!(enter(file).is_err() && in_one.handle_of(one).is_err());
        }
        let outside = enter(one).unwrap().number_of(Handle::from_raw(1 << SLOT_BITS));
        assert!(outside.is_err());
        let handle = Handle::from_raw(1 << 32);
        let file = enter(one).unwrap().number_of(handle).unwrap();
        close(one).unwrap();
        let again = new();
        // Whether or not it has the same seat.
        assert_ne!(enter(again).unwrap().handle_of(file), Ok(handle));
        close(again).unwrap();
        close(two).unwrap();
    }

    #[test]
    fn a_cache_is_closed_under_the_feet_of_nobody() {
        for _ in 0..50 {
            let cache = new();
            thread::scope(|scope| {
                for _ in 0..3 {
                    scope.spawn(|| {
                        let mut uses = 0;
                        while let Ok(entered) = enter(cache) {
                            assert_eq!(entered.statistics().files, 0);
                            uses += 1;
                        }
                        assert!(uses < 10_000_000);
                    });
                }
                scope.spawn(|| {
                    // In use by a prefetch: refused, and open as before.
                    let lease = enter(cache).unwrap().lease();
                    let prefetching = ApiError::Prefetching { prefetches: 1 };
                    assert_eq!(close(cache), Err(prefetching));
                    drop(lease);
                    assert_eq!(close(cache), Ok(()));
                });
            });
        }
    }
}
