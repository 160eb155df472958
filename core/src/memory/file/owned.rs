//! Memory of this process alone, filled once and from then on only read.
//!
//! Where the bytes are and how many they are is what every user of a cached file needs first, so it
//! stands here ready, the same for all kinds of memory; which kind it is matters at the end alone.
#![allow(unsafe_code)]

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::mem;
use core::ptr::{self, NonNull};
use core::slice;

use super::super::sys;
use super::block::{Room, Share};
use super::buffer::Buffer;
use super::{CopyTo, MemoryError, PageCount, Placement, WritablePages};

/// Bytes with a tail behind them.
pub(crate) struct OwnedBytes {
    /// Of `len + tail` initialised bytes.
    start: NonNull<u8>,
    len: usize,
    tail: u32,
    kind: Kind,
}

/// Whose memory the bytes are.
// Of 32 bits, as `CopyTo`.
#[derive(Clone, Copy)]
#[repr(u32)]
enum Kind {
    /// The allocator's: they were a `Box<[u8]>`.
    Allocated,
    /// Theirs: they lie at the beginning of one mapping, the smallest that they fit into, or dangle when
    /// there are none.
    Pages,
    /// That of a block, of which they are a share.
    Shared,
}

// SAFETY: it owns the bytes as a box would, and shows them only to be read.
unsafe impl Send for OwnedBytes {}
// SAFETY: as above.
unsafe impl Sync for OwnedBytes {}

impl OwnedBytes {
    /// Copies of both.
    ///
    /// # Errors
    /// [`MemoryError`] when there is no memory for them.
    pub(crate) fn of(bytes: &[u8], tail: &[u8], to: CopyTo) -> Result<Self, MemoryError> {
        let mut buffer = Buffer::with_room(bytes.len() as u64, tail.len(), to)?;
        buffer.append(bytes);
        buffer.finish_with(tail)
    }

    /// `bytes` of which the last `tail` are the tail, all when there are fewer.
    pub(super) fn allocated(bytes: Vec<u8>, tail: u32) -> Self {
        let bytes = Box::leak(bytes.into_boxed_slice());
        let tail = tail.min(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
        let len = bytes.len() - tail as usize;
        Self { start: NonNull::from(bytes).cast(), len, tail, kind: Kind::Allocated }
    }

    /// The first `filled` bytes of `pages`, of which the last `tail` are the tail.
    ///
    /// # Errors
    /// [`MemoryError`] when the pages are more than needed, and there is no memory for fewer.
    pub(super) fn in_pages(
        mut pages: WritablePages,
        filled: usize,
        tail: u32,
    ) -> Result<Self, MemoryError> {
        let needed = PageCount::covering(filled as u64)?;
        if pages.size() != needed {
            // Only for a file that ended before its size.
            let mut fewer = WritablePages::allocate(needed, Placement::Anywhere)?;
            fewer
                .as_mut_slice()
                .iter_mut()
                .zip(pages.as_slice())
                .for_each(|(to, from)| *to = *from);
            pages = fewer;
        }
        let start = NonNull::from(pages.as_mut_slice()).cast();
        // `drop` below gives them back.
        mem::forget(pages);
        let tail = tail.min(u32::try_from(filled).unwrap_or(u32::MAX));
        Ok(Self { start, len: filled - tail as usize, tail, kind: Kind::Pages })
    }

    /// What `room` was filled with, of which the last `tail` bytes are the tail.
    pub(super) fn in_block(room: Room, tail: u32) -> Self {
        let (start, filled) = room.finish();
        let tail = tail.min(u32::try_from(filled).unwrap_or(u32::MAX));
        Self { start, len: filled - tail as usize, tail, kind: Kind::Shared }
    }

    #[cfg_attr(feature = "full", inline(always))]
    pub(crate) fn as_slice(&self) -> &[u8] {
        // SAFETY: so many initialised bytes that nobody else has; they are never written again.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }

    /// What stands behind the bytes.
    #[cfg_attr(feature = "full", inline(always))]
    pub(crate) fn tail(&self) -> &[u8] {
        // SAFETY: the tail begins where the bytes end.
        let start = unsafe { self.start.add(self.len) };
        // SAFETY: as above, of the same memory.
        unsafe { slice::from_raw_parts(start.as_ptr(), self.tail as usize) }
    }
}

impl Drop for OwnedBytes {
    fn drop(&mut self) {
        let all = self.len + self.tail as usize;
        match self.kind {
            Kind::Allocated => {
                let bytes = ptr::slice_from_raw_parts_mut(self.start.as_ptr(), all);
                // SAFETY: it was a box of so many bytes, and nothing refers to them any more.
                drop(unsafe { Box::from_raw(bytes) });
            }
            Kind::Pages => {
                // It could be counted when they were mapped.
                let size = PageCount::covering(all as u64).unwrap_or_default().bytes();
                if size != 0 {
                    // SAFETY: one whole mapping, which is not used any more.
                    unsafe { sys::unmap(self.start, size) };
                }
            }
            // SAFETY: what `in_block` was given, and nothing refers to it any more.
            Kind::Shared => drop(unsafe { Share::from_start(self.start, all) }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_and_tail_are_told_apart_in_either_memory() {
        for (len, tail) in [(0, 0), (0, 5), (5, 0), (4095, 1), (4096, 4095), (10_000, 62)] {
            let bytes: Vec<u8> = (0..len + tail).map(|i| (i % 251) as u8).collect();
            let one = PageCount::one();
            let fitting = PageCount::covering(bytes.len() as u64).unwrap();
            for size in [fitting, fitting.checked_add(one).unwrap()] {
                let mut pages = WritablePages::allocate(size, Placement::Anywhere).unwrap();
                pages.as_mut_slice()[..bytes.len()].copy_from_slice(&bytes);
                let tail_len = tail as u32;
                let in_pages = OwnedBytes::in_pages(pages, bytes.len(), tail_len).unwrap();
                for owned in [OwnedBytes::allocated(bytes.clone(), tail_len), in_pages] {
                    assert_eq!((owned.as_slice(), owned.tail()), bytes.split_at(len));
                }
            }
        }
    }
}
