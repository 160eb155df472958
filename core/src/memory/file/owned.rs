//! Memory that is filled once, with the bytes of a file and a tail behind them, and from then on only read.

use alloc::vec::Vec;

use rustix::fd::OwnedFd;

use super::super::page_count::PageCount;
use super::super::pages::WritablePages;
use super::super::placement::Placement;
use super::super::sys;
use super::super::types::{Errno, MemoryError, Result};

/// Where a copy of a file goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyTo {
    /// Memory of the global allocator.
    Allocator,
    /// Pages mapped for this copy alone; the global allocator is not asked.
    Pages,
}

/// Memory that is being filled.
#[derive(Debug)]
pub(super) enum Buffer {
    Allocated(Vec<u8>),
    /// `len` bytes of the pages are filled.
    Pages {
        pages: WritablePages,
        len: usize,
    },
}

impl Buffer {
    /// An empty buffer for `size` bytes of a file and `tail` bytes behind them.
    pub(super) fn new(size: u64, tail: usize, to: CopyTo) -> Result<Self> {
        let refused = MemoryError::OutOfMemory { size };
        let capacity = size.checked_add(tail as u64).ok_or(refused)?;
        match to {
            CopyTo::Allocator => {
                let mut bytes = Vec::new();
                let capacity = usize::try_from(capacity).map_err(|_| refused)?;
                bytes.try_reserve_exact(capacity).map_err(|_| refused)?;
                Ok(Buffer::Allocated(bytes))
            }
            CopyTo::Pages => {
                let size = PageCount::covering(capacity)?;
                let mut pages = WritablePages::allocate(size, Placement::Anywhere)?;
                pages.prefault(size.bytes())?;
                Ok(Buffer::Pages { pages, len: 0 })
            }
        }
    }

    /// Reads `size` bytes at `offset` of `file`, or fewer if the file ends before.
    pub(super) fn fill(&mut self, file: &OwnedFd, offset: u64, size: u64) -> Result<()> {
        let size = usize::try_from(size).map_err(|_| MemoryError::OutOfMemory { size })?;
        while let Some(missing @ 1..) = size.checked_sub(self.as_slice().len()) {
            let at = offset.saturating_add(self.as_slice().len() as u64);
            let count = self.read(file, at, missing);
            if count.map_err(|errno| MemoryError::Read { at, errno })? == 0 {
                break;
            }
        }
        Ok(())
    }

    fn read(&mut self, file: &OwnedFd, at: u64, missing: usize) -> Result<usize, Errno> {
        match self {
            Buffer::Allocated(bytes) => sys::read(file, at, bytes, missing),
            Buffer::Pages { pages, len } => {
                let rest = pages.as_mut_slice().get_mut(*len..).unwrap_or(&mut []);
                let limit = missing.min(rest.len());
                let count = sys::read_at(file, at, rest.get_mut(..limit).unwrap_or(&mut []))?;
                *len += count;
                Ok(count)
            }
        }
    }

    /// The bytes that have been filled.
    pub(super) fn as_slice(&self) -> &[u8] {
        match self {
            Buffer::Allocated(bytes) => bytes,
            Buffer::Pages { pages, len } => pages.as_slice().get(..*len).unwrap_or(&[]),
        }
    }

    /// Appends `more`, which must fit into the capacity.
    pub(super) fn append(&mut self, more: &[u8]) {
        match self {
            Buffer::Allocated(bytes) => bytes.extend_from_slice(more),
            Buffer::Pages { pages, len } => {
                let rest = pages.as_mut_slice().get_mut(*len..);
                if let Some(rest) = rest.and_then(|rest| rest.get_mut(..more.len())) {
                    rest.copy_from_slice(more);
                    *len += more.len();
                }
            }
        }
    }
}
