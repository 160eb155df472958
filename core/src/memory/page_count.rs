//! Sizes in whole pages.
//!
//! The kernel rounds a length up in some calls and refuses it in others. A [`PageCount`] is always a multiple of the
//! page size; only [`PageCount::covering`] rounds.

use super::sys;
use super::types::{MemoryError, Result};

/// A size in whole pages, at most `isize::MAX` bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct PageCount {
    /// A multiple of the page size, at most `isize::MAX`.
    bytes: usize,
}

impl PageCount {
    /// Zero pages.
    pub const ZERO: Self = Self { bytes: 0 };

    /// The fewest pages that contain `bytes` bytes.
    ///
    /// # Errors
    /// [`MemoryError::TooManyBytes`] if the pages have more than `isize::MAX` bytes.
    pub fn covering(bytes: u64) -> Result<Self> {
        usize::try_from(bytes)
            .ok()
            .and_then(|bytes| bytes.checked_next_multiple_of(sys::page_size()))
            .and_then(Self::bounded)
            .ok_or(MemoryError::TooManyBytes { bytes })
    }

    /// The pages of exactly `bytes` bytes.
    ///
    /// # Errors
    /// [`MemoryError::NotWholePages`] if `bytes` is not a multiple of the page size,
    /// [`MemoryError::TooManyBytes`] for more than `isize::MAX` bytes.
    pub fn exact(bytes: u64) -> Result<Self> {
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

    /// The size in bytes.
    pub const fn bytes(self) -> usize {
        self.bytes
    }

    /// The number of pages.
    pub fn pages(self) -> usize {
        self.bytes / sys::page_size()
    }

    /// The sum, or `None` if it exceeds `isize::MAX` bytes.
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.bytes.checked_add(other.bytes).and_then(Self::bounded)
    }

    fn bounded(bytes: usize) -> Option<Self> {
        isize::try_from(bytes).ok().map(|_| Self { bytes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn covering_rounds_up_to_pages() {
        let page = PageCount::one().bytes() as u64;
        for (bytes, pages) in
            [(0, 0), (1, 1), (page - 1, 1), (page, 1), (page + 1, 2), (7 * page, 7)]
        {
            assert_eq!(PageCount::covering(bytes).unwrap().pages(), pages, "{bytes} bytes");
        }
    }

    #[test]
    fn sizes_beyond_the_address_space_are_refused() {
        let largest = PageCount::covering(isize::MAX as u64 - PageCount::one().bytes() as u64 + 1);
        assert!(largest.is_ok());
        for bytes in [isize::MAX as u64, 1 << 63, u64::MAX - 1, u64::MAX] {
            assert_eq!(
                PageCount::covering(bytes),
                Err(MemoryError::TooManyBytes { bytes }),
                "{bytes:#x}"
            );
        }
        assert_eq!(largest.unwrap().checked_add(PageCount::one()), None);
    }

    #[test]
    fn exact_refuses_partial_pages() {
        let page = PageCount::one().bytes();
        assert_eq!(PageCount::exact(3 * page as u64).unwrap().pages(), 3);
        let bytes = page as u64 + 8;
        assert_eq!(
            PageCount::exact(bytes),
            Err(MemoryError::NotWholePages { bytes, page_size: page })
        );
    }

    #[test]
    fn checked_arithmetic_does_not_wrap() {
        let one = PageCount::one();
        let two = one.checked_add(one).unwrap();
        assert_eq!(two.bytes(), 2 * one.bytes());
        assert_eq!(one.checked_add(PageCount::ZERO), Some(one));
    }
}
