//! The mappings that C holds by their addresses.
//!
//! An address is looked up and never trusted. Who reads holds the pages meanwhile, without a lock: a
//! mapping that is given back at that moment cannot be found any more, and its addresses are free for
//! others when the last reader is done.

use std::ops::Range;

use smf_core::alloc_util::{AllocError, TryArc};
use smf_core::memory::{FfiMapping, Protection};

use super::by_address::ByAddress;
use super::error::ApiError;
use crate::code_map::CodeRange;
use crate::fork::SharedProcessLock;

pub(super) struct Live {
    /// Held while its code may be called.
    code: Option<CodeRange>,
    pages: TryArc<FfiMapping>,
}

/// By the address of the first byte.
pub(super) static LIVE: SharedProcessLock<ByAddress<Live>> =
    SharedProcessLock::new(ByAddress::new());

/// A place in a mapping.
pub(super) struct Found {
    pub(super) pages: TryArc<FfiMapping>,
    /// Bytes from the first one.
    pub(super) offset: usize,
}

impl Found {
    /// So many bytes from the place on, counted from the first byte of the mapping.
    ///
    /// # Errors
    /// [`ApiError::OutsideMapping`].
    pub(super) fn range(&self, length: u64) -> Result<Range<usize>, ApiError> {
        let length_here = usize::try_from(length).ok();
        let end = length_here.and_then(|length| self.offset.checked_add(length));
        let outside =
            ApiError::OutsideMapping { offset: self.offset, length, size: self.pages.len() };
        end.filter(|&end| end <= self.pages.len()).map(|end| self.offset..end).ok_or(outside)
    }
}

/// Gives a mapping away; it is found by its address from now on.
///
/// # Errors
/// [`AllocError`].
pub(super) fn keep(pages: FfiMapping) -> Result<Range<usize>, AllocError> {
    let range = pages.address()..pages.address().saturating_add(pages.len());
    let code = pages.protection() == Protection::ReadExecute;
    let code = code.then(|| CodeRange::enter(range.clone())).transpose()?;
    let live = Live { code, pages: TryArc::new(pages)? };
    LIVE.write().insert(range.start, live)?;
    Ok(range)
}

/// The byte `offset` bytes behind `address`, both in one mapping, or the end of that.
///
/// # Errors
/// [`ApiError::NotMapped`], [`ApiError::OutsideMapping`].
pub(super) fn find(address: usize, offset: u64) -> Result<Found, ApiError> {
    let live = LIVE.read();
    let nearest = live.before(address);
    let around = nearest.filter(|(start, live)| address - start < live.pages.len());
    let (start, pages) =
        around.map(|(start, live)| (start, &live.pages)).ok_or(ApiError::NotMapped { address })?;
    let found = Found { pages: pages.clone(), offset: address - start };
    Ok(Found { offset: found.range(offset)?.end, pages: found.pages })
}

/// Unmaps a whole mapping: its address, and its size in bytes.
///
/// # Errors
/// [`ApiError::NotMapped`], [`ApiError::MappingSize`].
pub(super) fn remove(address: usize, size: u64) -> Result<(), ApiError> {
    let mut all = LIVE.write();
    let len = all.get(address).map(|live| live.pages.len());
    match len {
        None => return Err(ApiError::NotMapped { address }),
        Some(len) if len as u64 != size => {
            return Err(ApiError::MappingSize { address, size, len });
        }
        Some(_) => {}
    }
    let removed = all.remove(address);
    drop(all);
    if let Some(Live { code, pages }) = removed {
        // No longer callable before it is no longer there.
        drop(code);
        drop(pages);
    }
    Ok(())
}

/// Whether `address` is that of code that may be called.
pub(super) fn is_code(address: usize) -> bool {
    find(address, 0).is_ok_and(|found| found.pages.protection() == Protection::ReadExecute)
}

#[cfg(test)]
mod tests {
    use super::*;
    use smf_core::memory::PageCount;

    #[test]
    fn only_what_is_live_is_found_and_only_inside() {
        let page = PageCount::one().bytes();
        let pages = FfiMapping::zeroed(page as u64 + 10, Protection::ReadWrite).unwrap();
        let range = keep(pages).unwrap();
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
        assert_eq!((reader.pages.read(0, &mut bytes), bytes), (Ok(()), [0; 4]));
    }
}
