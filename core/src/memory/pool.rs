//! Pages kept for the next module, because fresh ones are dear.
//!
//! The kernel takes 1.2 us to find, clear and map each fresh page, and as long again for a handful of
//! them to take them back: for a module of 64 KiB that is half of all the time it takes to load and
//! unload. A pool keeps the pages of unloaded modules, writable and not executable, and gives them to the
//! next, which overwrites what they held. What it keeps is bounded; what it does not keep is unmapped at
//! once.

use core::ops::Range;

use arrayvec::ArrayVec;
use spin::Mutex;

use super::page_count::PageCount;
use super::pages::{PublishedPages, WritablePages};
use super::placement::lies_within;
use super::types::{MemoryError, Placement};

/// The greatest number of mappings a pool keeps.
const MOST: usize = 8;

/// Pages of unloaded modules, for the next ones. Used by reference, from any thread.
#[derive(Debug)]
pub struct PagePool {
    kept: Mutex<ArrayVec<WritablePages, MOST>>,
    limit: usize,
}

impl PagePool {
    /// A pool that keeps at most `limit` bytes, in at most eight mappings. 0 keeps nothing.
    pub const fn new(limit: usize) -> Self {
        Self { kept: Mutex::new(ArrayVec::new_const()), limit }
    }

    /// At least `size` zero-filled pages: kept ones, when there are some that are not twice as many as
    /// asked for, else fresh ones.
    ///
    /// # Errors
    ///
    /// As [`WritablePages::allocate`].
    pub fn take(&self, size: PageCount) -> Result<WritablePages, MemoryError> {
        let mut pages = self.take_used(size, Placement::Anywhere)?;
        if pages.is_used() {
            pages.as_mut_slice().fill(0);
        }
        Ok(pages)
    }

    /// As [`take`](Self::take), for who overwrites all that will be looked at: kept pages still hold what
    /// they held, and [say so](WritablePages::is_used); and where `placement` asks, or would rather have
    /// them.
    ///
    /// # Errors
    ///
    /// As [`WritablePages::allocate`].
    pub fn take_used(
        &self,
        size: PageCount,
        placement: Placement,
    ) -> Result<WritablePages, MemoryError> {
        let kept = self.take_kept(size, &placement.window());
        kept.map_or_else(|| WritablePages::allocate(size, placement), Ok)
    }

    fn take_kept(&self, size: PageCount, window: &Range<usize>) -> Option<WritablePages> {
        let most = size.bytes().saturating_mul(2);
        let mut kept = self.kept.lock();
        let fitting = kept.iter().enumerate().filter(|(_, pages)| {
            let bytes = pages.size().bytes();
            size.bytes() <= bytes && bytes < most && lies_within(pages.address(), size, window)
        });
        let (best, _) = fitting.min_by_key(|(_, pages)| pages.size().bytes())?;
        kept.swap_pop(best)
    }

    /// Keeps pages that nobody uses any more, or unmaps them when that would exceed the limit.
    ///
    /// As with dropping them, no code in them may be running, and no address of them is good any more.
    pub fn keep(&self, pages: PublishedPages) {
        let size = pages.size().bytes();
        if size == 0 || !self.has_room(&self.kept.lock(), size) {
            return;
        }
        // Outside the lock: it takes a system call. Pages that cannot be had back are unmapped.
        let Ok(pages) = pages.reclaim() else { return };
        let mut kept = self.kept.lock();
        if self.has_room(&kept, size) {
            kept.push(pages);
        }
    }

    fn has_room(&self, kept: &ArrayVec<WritablePages, MOST>, size: usize) -> bool {
        let held: usize = kept.iter().map(|pages| pages.size().bytes()).sum();
        !kept.is_full() && held.checked_add(size).is_some_and(|bytes| bytes <= self.limit)
    }

    /// Bytes that are kept now.
    pub fn held(&self) -> usize {
        self.kept.lock().iter().map(|pages| pages.size().bytes()).sum()
    }

    /// Unmaps everything that is kept.
    pub fn trim(&self) {
        let kept = core::mem::take(&mut *self.kept.lock());
        drop(kept);
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

    /// Pages of a module that has been loaded and written into all over.
    fn used(pool: &PagePool, count: usize) -> PublishedPages {
        let mut used = pool.take(pages(count)).unwrap();
        assert!(used.as_slice().iter().all(|byte| *byte == 0));
        used.as_mut_slice().fill(0xcc);
        let all = Segment {
            offset: PageCount::ZERO,
            size: used.size(),
            protection: Protection::ReadExecute,
        };
        used.publish(&[all]).unwrap()
    }

    #[test]
    fn kept_pages_come_back_zeroed_and_writable() {
        let pool = PagePool::new(64 << 10);
        let first = used(&pool, 3);
        let address = first.address();
        pool.keep(first);
        assert_eq!(pool.held(), pages(3).bytes());
        let mut second = pool.take(pages(2)).unwrap();
        assert_eq!((second.address(), second.size(), pool.held()), (address, pages(3), 0));
        assert!(second.as_slice().iter().all(|byte| *byte == 0));
        second.as_mut_slice().fill(1);
    }

    #[test]
    fn pages_for_who_overwrites_them_say_whether_they_have_been_used() {
        let pool = PagePool::new(64 << 10);
        let fresh = pool.take_used(pages(2), Placement::Anywhere).unwrap();
        assert!(!fresh.is_used() && fresh.as_slice().iter().all(|byte| *byte == 0));
        pool.keep(used(&pool, 2));
        let mut kept = pool.take_used(pages(2), Placement::Anywhere).unwrap();
        assert!(kept.is_used() && kept.as_slice().iter().all(|byte| *byte == 0xcc));
        kept.as_mut_slice().fill(1);
    }

    #[test]
    #[cfg_attr(miri, ignore = "asks for places, which the allocator does not give")]
    fn pages_that_lie_elsewhere_than_they_are_wanted_stay() {
        let pool = PagePool::new(64 << 10);
        let first = used(&pool, 2);
        let here = first.address();
        pool.keep(first);
        let far = here - (16 << 30);
        let fresh = pool.take_used(pages(2), Placement::PreferNear(far)).unwrap();
        assert!(!fresh.is_used() && fresh.address().abs_diff(far) < 2 << 30);
        assert_eq!(pool.held(), pages(2).bytes());
        let kept = pool.take_used(pages(2), Placement::PreferNear(here)).unwrap();
        assert_eq!((kept.address(), pool.held()), (here, 0));
    }

    #[test]
    fn pages_are_not_given_for_less_than_half_of_them_or_more() {
        let pool = PagePool::new(64 << 10);
        pool.keep(used(&pool, 4));
        for count in [1, 2, 5] {
            assert_eq!(pool.take(pages(count)).unwrap().size(), pages(count));
        }
        assert_eq!(pool.held(), pages(4).bytes());
    }

    #[test]
    fn the_smallest_that_fits_is_given() {
        let pool = PagePool::new(1 << 20);
        let all = [7, 5, 6].map(|count| used(&pool, count));
        all.into_iter().for_each(|pages| pool.keep(pages));
        assert_eq!(pool.take(pages(4)).unwrap().size(), pages(5));
        assert_eq!(pool.take(pages(4)).unwrap().size(), pages(6));
    }

    #[test]
    fn what_exceeds_the_limit_is_not_kept() {
        let pool = PagePool::new(pages(5).bytes());
        let all = [3, 3, 2].map(|count| used(&pool, count));
        all.into_iter().for_each(|pages| pool.keep(pages));
        assert_eq!(pool.held(), pages(5).bytes());
        pool.trim();
        assert_eq!(pool.held(), 0);
        let none = PagePool::new(0);
        none.keep(used(&none, 1));
        assert_eq!(none.held(), 0);
    }
}
