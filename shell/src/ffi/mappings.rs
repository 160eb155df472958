//! The mappings of C, by address.
//!
//! An address is looked up and never trusted. A reader holds the pages without a lock: an unmapped mapping is no
//! longer found, and its addresses are released when the last reader is done.

use std::ops::Range;

use smf_core::alloc_util::{AllocError, TryArc};
use smf_core::memory::{FfiMapping, PageCount, Protection};

use super::checked_copy;
use super::error::ApiError;
use crate::address_map::AddressMap;
use crate::code_map::CodeRange;
use crate::fork::ProcessLock;

pub(super) struct LiveMapping {
    /// Registered while an executable mapping lives; dropped before it is unmapped.
    _code: Option<CodeRange>,
    pages: TryArc<FfiMapping>,
}

/// By the address of the first byte.
pub(super) static LIVE: ProcessLock<AddressMap<LiveMapping>> = ProcessLock::new(AddressMap::new());

/// A position in a mapping.
pub(super) struct MappedAt {
    pub(super) pages: TryArc<FfiMapping>,
    /// In bytes from the start of the mapping.
    pub(super) offset: usize,
}

impl MappedAt {
    /// The range of `length` bytes from this position, relative to the start of the mapping.
    ///
    /// # Errors
    /// [`ApiError::OutsideMapping`].
    pub(super) fn range(&self, length: u64) -> Result<Range<usize>, ApiError> {
        let Self { pages, offset } = self;
        let outside = ApiError::OutsideMapping { offset: *offset, length, size: pages.len() };
        let end = usize::try_from(length).ok().and_then(|length| offset.checked_add(length));
        end.filter(|&end| end <= pages.len()).map(|end| *offset..end).ok_or(outside)
    }

    /// Fills `into` with bytes from `offset` of the mapping.
    ///
    /// # Errors
    /// [`ApiError::Memory`]; [`ApiError::Unmapped`] if others have unmapped the pages.
    pub(super) fn read(&self, mut offset: usize, mut into: &mut [u8]) -> Result<(), ApiError> {
        while !into.is_empty() {
            let count = self.read_some(offset, into)?;
            into = into.get_mut(count..).unwrap_or_default();
            offset += count;
        }
        Ok(())
    }

    /// As [`read`](Self::read), but may fill only the first bytes; returns their number.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub(super) fn read_some(&self, offset: usize, into: &mut [u8]) -> Result<usize, ApiError> {
        if self.pages.is_private() && self.pages.protection() != Protection::None {
            let copied = checked_copy::copy(self.pages.address() + offset, into)?;
            if let Some(count) = copied {
                return Ok(count);
            }
        }
        Ok(self.pages.read_some(offset, into)?)
    }
}

/// Registers a mapping under its address, and returns its range.
///
/// # Errors
/// [`AllocError`].
pub(super) fn insert(pages: FfiMapping) -> Result<Range<usize>, AllocError> {
    let range = pages.address()..pages.address().saturating_add(pages.len());
    let is_code = pages.protection() == Protection::ReadExecute;
    forget_overlapping(&range);
    let code = is_code.then(|| CodeRange::enter(range.clone())).transpose()?;
    let live = LiveMapping { _code: code, pages: TryArc::new(pages)? };
    LIVE.lock().insert(range.start, live)?;
    Ok(range)
}

/// The position `offset` bytes above `address` in the same mapping, or the end of the mapping.
///
/// # Errors
/// [`ApiError::NotMapped`], [`ApiError::OutsideMapping`].
pub(super) fn find(address: usize, offset: u64) -> Result<MappedAt, ApiError> {
    let live = LIVE.read();
    let nearest = live.at_or_before(address);
    let containing = nearest.filter(|(start, live)| address - start < live.pages.len());
    let (start, live) = containing.ok_or_else(|| ApiError::NotMapped { address })?;
    let found = MappedAt { pages: live.pages.clone(), offset: address - start };
    Ok(MappedAt { offset: found.range(offset)?.end, pages: found.pages })
}

/// Unmaps a whole mapping, given its address and its size in bytes.
///
/// # Errors
/// [`ApiError::NotMapped`], [`ApiError::MappingSize`].
pub(super) fn remove(address: usize, size: u64) -> Result<(), ApiError> {
    let mut all = LIVE.lock();
    let len = all.get(address).ok_or_else(|| ApiError::NotMapped { address })?.pages.len();
    if len as u64 != size {
        return Err(ApiError::MappingSize { address, size, len });
    }
    let removed = all.remove(address);
    drop(all);
    drop(removed);
    Ok(())
}

/// Unmaps the mapping whose pages a range consists of; `false` if the range contains no page of a mapping.
///
/// # Errors
/// [`ApiError::MappingSize`]: the range contains some pages of a mapping, or more than one.
pub(super) fn remove_range(range: &Range<usize>) -> Result<bool, ApiError> {
    let pages = |len: usize| len.next_multiple_of(PageCount::one().bytes());
    let (address, size) = match overlapping(&LIVE.read(), range) {
        None => return Ok(false),
        Some((start, len)) if start == range.start && pages(len) == pages(range.len()) => {
            (start, len as u64)
        }
        Some((address, len)) => {
            return Err(ApiError::MappingSize { address, size: range.len() as u64, len });
        }
    };
    remove(address, size).map(|()| true)
}

/// The last mapping that has a page in a range: its address and length.
fn overlapping(live: &AddressMap<LiveMapping>, range: &Range<usize>) -> Option<(usize, usize)> {
    let (start, last) = live.at_or_before(range.end.checked_sub(1)?)?;
    let len = last.pages.len();
    (range.start < start + len.next_multiple_of(PageCount::one().bytes())).then_some((start, len))
}

/// Forgets mappings whose memory others have unmapped, which shows when the kernel hands out their addresses again.
fn forget_overlapping(range: &Range<usize>) {
    let mut live = LIVE.lock();
    while let Some((start, _)) = overlapping(&live, range) {
        // Dropping it would unmap the new owner's pages.
        let stale = live.remove(start).map(|stale| std::mem::forget(stale.pages));
        if stale.is_none() {
            break;
        }
    }
}

/// Whether `address` is in an executable mapping.
pub(super) fn is_code(address: usize) -> bool {
    find(address, 0).is_ok_and(|found| found.pages.protection() == Protection::ReadExecute)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn live_mapping_is_found_inside_its_range_only() {
        let page = PageCount::one().bytes();
        let pages = FfiMapping::zeroed(page as u64 + 10, Protection::ReadWrite).unwrap();
        let range = insert(pages).unwrap();
        assert_eq!(range.len(), page + 10);
        for (at, offset, expected) in [(0, 0, 0), (0, 10, 10), (page, 10, page + 10), (5, 6, 11)] {
            let found = find(range.start + at, offset).unwrap();
            assert_eq!(found.offset, expected);
            assert_eq!(found.range(0), Ok(expected..expected));
            assert!(found.range((page + 11 - expected) as u64).is_err());
            assert!(found.range(u64::MAX).is_err());
        }
        for outside in [range.start - 1, range.end, range.end + 1, 0, usize::MAX] {
            assert!(matches!(find(outside, 0), Err(ApiError::NotMapped { .. })), "{outside:#x}");
        }
        for offset in [page as u64 + 11, u64::MAX] {
            assert!(matches!(find(range.start, offset), Err(ApiError::OutsideMapping { .. })));
        }
        assert!(!is_code(range.start));
        let size = range.len() as u64;
        assert!(matches!(remove(range.start + 1, size - 1), Err(ApiError::NotMapped { .. })));
        assert!(matches!(remove(range.start, size - 1), Err(ApiError::MappingSize { .. })));
        let reader = find(range.start, 0).unwrap();
        assert_eq!(remove(range.start, size), Ok(()));
        assert!(remove(range.start, size).is_err() && find(range.start, 0).is_err());
        let mut bytes = [1; 4];
        assert_eq!((reader.pages.read_some(0, &mut bytes), bytes), (Ok(4), [0; 4]));
    }
}
