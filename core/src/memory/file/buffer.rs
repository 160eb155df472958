//! Memory that is being filled with the bytes of a file, and with a tail in the end.

use alloc::vec::Vec;

use rustix::fd::OwnedFd;

use super::super::sys;
use super::block::Room;
use super::{CopyTo, Errno, MemoryError, OwnedBytes, PageCount, Placement, WritablePages};

/// Memory that is being filled.
pub(super) enum Buffer {
    Allocated(Vec<u8>),
    Pages { pages: WritablePages, len: usize },
    Shared(Room),
}

impl Buffer {
    /// Room for `size` bytes of a file and a tail.
    pub(super) fn with_room(size: u64, tail: usize, to: CopyTo) -> Result<Self, MemoryError> {
        let no_room = MemoryError::OutOfMemory { size };
        let room = size.checked_add(tail as u64).ok_or(no_room)?;
        match to {
            CopyTo::Allocator => {
                let mut bytes = Vec::new();
                let room = usize::try_from(room).map_err(|_| no_room)?;
                bytes.try_reserve_exact(room).map_err(|_| no_room)?;
                Ok(Buffer::Allocated(bytes))
            }
            CopyTo::Pages => {
                let size = PageCount::covering(room)?;
                let mut pages = WritablePages::allocate(size, Placement::Anywhere)?;
                pages.prefault(size.bytes())?;
                Ok(Buffer::Pages { pages, len: 0 })
            }
        }
    }

    /// Reads the `size` bytes of `file` at `offset`, or as many as there are.
    pub(super) fn fill(
        &mut self,
        file: &OwnedFd,
        offset: u64,
        size: u64,
    ) -> Result<(), MemoryError> {
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
                let room = pages.as_mut_slice().get_mut(*len..).unwrap_or(&mut []);
                let limit = missing.min(room.len());
                let count = sys::read_at(file, at, room.get_mut(..limit).unwrap_or(&mut []))?;
                *len += count;
                Ok(count)
            }
            Buffer::Shared(room) => {
                let rest = room.rest();
                let limit = missing.min(rest.len());
                let count = sys::read_at(file, at, rest.get_mut(..limit).unwrap_or(&mut []))?;
                room.fill(count);
                Ok(count)
            }
        }
    }

    pub(super) fn as_slice(&self) -> &[u8] {
        match self {
            Buffer::Allocated(bytes) => bytes,
            Buffer::Pages { pages, len } => pages.as_slice().get(..*len).unwrap_or(&[]),
            Buffer::Shared(room) => room.as_slice(),
        }
    }

    /// Puts `more` behind the bytes; there is room for it.
    pub(super) fn append(&mut self, more: &[u8]) {
        match self {
            Buffer::Allocated(bytes) => bytes.extend_from_slice(more),
            Buffer::Pages { pages, len } => {
                let room = pages.as_mut_slice().get_mut(*len..);
                if let Some(room) = room.and_then(|room| room.get_mut(..more.len())) {
                    room.copy_from_slice(more);
                    *len += more.len();
                }
            }
            Buffer::Shared(room) => {
                if let Some(rest) = room.rest().get_mut(..more.len()) {
                    rest.copy_from_slice(more);
                    room.fill(more.len());
                }
            }
        }
    }

    /// The bytes with `tail` behind them, for which there is room.
    ///
    /// # Errors
    /// [`MemoryError::OutOfMemory`] for a tail of 4 GiB; with pages those of memory for them.
    pub(super) fn finish_with(mut self, tail: &[u8]) -> Result<OwnedBytes, MemoryError> {
        let size = tail.len() as u64;
        let tail_len = u32::try_from(size).map_err(|_| MemoryError::OutOfMemory { size })?;
        self.append(tail);
        match self {
            Buffer::Allocated(bytes) => Ok(OwnedBytes::allocated(bytes, tail_len)),
            Buffer::Pages { pages, len } => OwnedBytes::in_pages(pages, len, tail_len),
            Buffer::Shared(room) => Ok(OwnedBytes::in_block(room, tail_len)),
        }
    }
}
