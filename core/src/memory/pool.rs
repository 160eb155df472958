//! A pool of mapped pages, because page faults on fresh pages dominate the time of loading a small module.
//!
//! The pool holds the pages of unloaded modules, writable and not executable. The next module overwrites their bytes.
//! The pool is bounded in bytes; pages beyond the bound are unmapped.

use core::ops::Range;

use arrayvec::ArrayVec;
use spin::Mutex;

use super::page_count::PageCount;
use super::pages::{PublishedPages, WritablePages};
use super::placement::{Placement, lies_within};
use super::types::MemoryError;

/// The maximum number of mappings in a pool.
const MAX_MAPPINGS: usize = 8;

/// Pages of unloaded modules for reuse. Any thread may use a shared reference.
#[derive(Debug)]
pub struct PagePool {
    cached: Mutex<ArrayVec<WritablePages, MAX_MAPPINGS>>,
    limit: usize,
}

impl PagePool {
    /// An empty pool of at most `limit` bytes in at most eight mappings.
    pub const fn new(limit: usize) -> Self {
        Self { cached: Mutex::new(ArrayVec::new_const()), limit }
    }

    /// Takes pages of at least `size`: pages of the pool of less than twice the size, which hold the bytes of their
    /// [previous use](WritablePages::is_reused), otherwise new ones. The addresses satisfy `placement`, or its preference.
    ///
    /// # Errors
    /// As [`WritablePages::allocate`].
    pub fn take(
        &self,
        size: PageCount,
        placement: Placement,
    ) -> Result<WritablePages, MemoryError> {
        let cached = self.take_cached(size, &placement.window());
        cached.map_or_else(|| WritablePages::allocate(size, placement), Ok)
    }

    fn take_cached(&self, size: PageCount, window: &Range<usize>) -> Option<WritablePages> {
        let end = size.bytes().saturating_mul(2);
        let mut cached = self.cached.lock();
        let fitting = cached.iter().enumerate().filter(|(_, pages)| {
            let bytes = pages.size().bytes();
            size.bytes() <= bytes && bytes < end && lies_within(pages.address(), size, window)
        });
        let (best, _) = fitting.min_by_key(|(_, pages)| pages.size().bytes())?;
        cached.swap_pop(best)
    }

    /// Puts unused pages into the pool, or unmaps them if they exceed its limit.
    ///
    /// As when they are dropped, no code in them may be running, and their addresses become invalid.
    pub fn put(&self, pages: PublishedPages) {
        let size = pages.size().bytes();
        if size == 0 || !self.fits(&self.cached.lock(), size) {
            return;
        }
        // A system call, so outside of the lock. Pages that cannot be made writable are unmapped.
        let Ok(pages) = pages.reclaim() else { return };
        let mut cached = self.cached.lock();
        if self.fits(&cached, size) {
            cached.push(pages);
        }
    }

    fn fits(&self, cached: &ArrayVec<WritablePages, MAX_MAPPINGS>, size: usize) -> bool {
        let used: usize = cached.iter().map(|pages| pages.size().bytes()).sum();
        !cached.is_full() && used.checked_add(size).is_some_and(|bytes| bytes <= self.limit)
    }

    /// The number of bytes in the pool.
    pub fn cached_bytes(&self) -> usize {
        self.cached.lock().iter().map(|pages| pages.size().bytes()).sum()
    }

    /// Unmaps all pages of the pool.
    pub fn trim(&self) {
        let cached = core::mem::take(&mut *self.cached.lock());
        drop(cached);
    }
}

#[cfg(test)]
mod tests {
    use super::super::pages::Segment;
    use super::super::types::Protection;
    use super::*;

    fn pages(count: usize) -> PageCount {
        PageCount::exact((count * PageCount::one().bytes()) as u64).unwrap()
    }

    /// Published pages whose bytes are all 0xcc.
    fn used(pool: &PagePool, count: usize) -> PublishedPages {
        let mut used = pool.take(pages(count), Placement::Anywhere).unwrap();
        used.as_mut_slice().fill(0xcc);
        let all = Segment {
            offset: PageCount::ZERO,
            size: used.size(),
            protection: Protection::ReadExecute,
        };
        used.publish(&[all]).unwrap()
    }

    #[test]
    fn pages_from_the_pool_hold_old_bytes_and_are_marked_reused() {
        let pool = PagePool::new(64 << 10);
        let fresh = pool.take(pages(2), Placement::Anywhere).unwrap();
        assert!(!fresh.is_reused() && fresh.as_slice().iter().all(|byte| *byte == 0));
        pool.put(used(&pool, 2));
        let mut reused = pool.take(pages(2), Placement::Anywhere).unwrap();
        assert!(reused.is_reused() && reused.as_slice().iter().all(|byte| *byte == 0xcc));
        reused.as_mut_slice().fill(1);
    }

    #[test]
    #[cfg_attr(miri, ignore = "asks for addresses, which the allocator does not give")]
    fn pages_outside_of_the_placement_stay_in_the_pool() {
        let pool = PagePool::new(64 << 10);
        let first = used(&pool, 2);
        let here = first.address();
        pool.put(first);
        let far = here - (16 << 30);
        let fresh = pool.take(pages(2), Placement::PreferNear(far)).unwrap();
        assert!(!fresh.is_reused() && fresh.address().abs_diff(far) < 2 << 30);
        assert_eq!(pool.cached_bytes(), pages(2).bytes());
        let reused = pool.take(pages(2), Placement::PreferNear(here)).unwrap();
        assert_eq!((reused.address(), pool.cached_bytes()), (here, 0));
    }

    #[test]
    fn pages_are_reused_for_more_than_half_of_their_size_only() {
        let pool = PagePool::new(64 << 10);
        pool.put(used(&pool, 4));
        for count in [1, 2, 5] {
            assert_eq!(pool.take(pages(count), Placement::Anywhere).unwrap().size(), pages(count));
        }
        assert_eq!(pool.cached_bytes(), pages(4).bytes());
    }

    #[test]
    fn smallest_fitting_pages_are_taken() {
        let pool = PagePool::new(1 << 20);
        let all = [7, 5, 6].map(|count| used(&pool, count));
        all.into_iter().for_each(|pages| pool.put(pages));
        assert_eq!(pool.take(pages(4), Placement::Anywhere).unwrap().size(), pages(5));
        assert_eq!(pool.take(pages(4), Placement::Anywhere).unwrap().size(), pages(6));
    }

    #[test]
    fn pages_beyond_the_limit_are_unmapped() {
        let pool = PagePool::new(pages(5).bytes());
        let all = [3, 3, 2].map(|count| used(&pool, count));
        all.into_iter().for_each(|pages| pool.put(pages));
        assert_eq!(pool.cached_bytes(), pages(5).bytes());
        pool.trim();
        assert_eq!(pool.cached_bytes(), 0);
        let none = PagePool::new(0);
        none.put(used(&none, 1));
        assert_eq!(none.cached_bytes(), 0);
    }
}
