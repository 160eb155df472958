//! Numbers of bytes that are whole pages, as a type of their own.
//!
//! The kernel rounds a length up in some calls and refuses it in others. With this type nothing is
//! rounded behind anybody's back: a length that is no whole number of pages cannot be made into one
//! except by [`PageCount::covering`], which says so.

use super::sys;
use super::types::MemoryError;

/// A whole number of pages. It fits an address space twice over: in bytes it is at most
/// `isize::MAX`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct PageCount {
    /// A multiple of the page size, at most `isize::MAX`.
    bytes: usize,
}

impl PageCount {
    /// No page.
    pub const ZERO: Self = Self { bytes: 0 };

    /// The fewest pages that hold `bytes` bytes.
    ///
    /// # Errors
    ///
    /// [`MemoryError::TooManyBytes`] when the pages would have more than `isize::MAX` bytes.
    pub fn covering(bytes: u64) -> Result<Self, MemoryError> {
        usize::try_from(bytes)
            .ok()
            .and_then(|bytes| bytes.checked_next_multiple_of(sys::page_size()))
            .and_then(Self::bounded)
            .ok_or(MemoryError::TooManyBytes { bytes })
    }

    /// The pages that have exactly `bytes` bytes.
    ///
    /// # Errors
    ///
    /// [`MemoryError::NotWholePages`] when there are none that do, [`MemoryError::TooManyBytes`]
    /// for more than `isize::MAX` bytes.
    pub fn exact(bytes: u64) -> Result<Self, MemoryError> {
        let pages = Self::covering(bytes)?;
        if pages.bytes as u64 == bytes {
            Ok(pages)
        } else {
            Err(MemoryError::NotWholePages { bytes, page_size: sys::page_size() })
        }
    }

    /// The size of one page: 4 KiB on x86-64 and riscv64; 4, 16 or 64 KiB on aarch64.
    pub fn one() -> Self {
        Self { bytes: sys::page_size() }
    }

    /// The number of bytes in the pages.
    #[inline]
    pub const fn bytes(self) -> usize {
        self.bytes
    }

    /// The number of pages.
    pub fn pages(self) -> usize {
        self.bytes / sys::page_size()
    }

    /// Both together, or `None` when that is more than `isize::MAX` bytes.
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.bytes.checked_add(other.bytes).and_then(Self::bounded)
    }

    /// These pages without `other`, or `None` when `other` has more.
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        self.bytes.checked_sub(other.bytes).map(|bytes| Self { bytes })
    }

    fn bounded(bytes: usize) -> Option<Self> {
        isize::try_from(bytes).ok().map(|_| Self { bytes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn covers_with_the_fewest_pages() {
        let page = PageCount::one().bytes() as u64;
        for (bytes, pages) in
            [(0, 0), (1, 1), (page - 1, 1), (page, 1), (page + 1, 2), (7 * page, 7)]
        {
            assert_eq!(PageCount::covering(bytes).unwrap().pages(), pages, "{bytes} bytes");
        }
    }

    #[test]
    fn refuses_what_no_address_space_holds() {
        let most = PageCount::covering(isize::MAX as u64 - PageCount::one().bytes() as u64 + 1);
        assert!(most.is_ok());
        for bytes in [isize::MAX as u64, 1 << 63, u64::MAX - 1, u64::MAX] {
            assert_eq!(
                PageCount::covering(bytes),
                Err(MemoryError::TooManyBytes { bytes }),
                "{bytes:#x}"
            );
        }
        assert_eq!(most.unwrap().checked_add(PageCount::one()), None);
    }

    #[test]
    fn exact_refuses_a_part_of_a_page() {
        let page = PageCount::one().bytes();
        assert_eq!(PageCount::exact(3 * page as u64).unwrap().pages(), 3);
        let bytes = page as u64 + 8;
        assert_eq!(
            PageCount::exact(bytes),
            Err(MemoryError::NotWholePages { bytes, page_size: page })
        );
    }

    #[test]
    fn adds_and_takes_away_without_wrapping() {
        let one = PageCount::one();
        let two = one.checked_add(one).unwrap();
        assert_eq!(two.checked_sub(one), Some(one));
        assert_eq!(one.checked_sub(two), None);
        assert_eq!(one.checked_add(PageCount::ZERO), Some(one));
    }
}
