//! What compressed sections of a file decompress to, kept with the file.
//!
//! Each section is one block of memory, with its head in front of its bytes, so that storage that never
//! asks the allocator need not do so here: a block of its is pages of their own. The blocks of a file are
//! a chain that only grows, at its front, until the file itself goes; so whoever has a pin on the file
//! reads the chain without a lock, and what he has found stays.
#![allow(unsafe_code)]

use alloc::alloc::{alloc_zeroed, dealloc};
use core::alloc::Layout;
use core::ops::Range;
use core::ptr::{self, NonNull};
use core::slice;
use core::sync::atomic::AtomicPtr;
use core::sync::atomic::Ordering::{Acquire, Release};

use crate::memory::{CopyTo, MemoryError, PageCount, Placement, WritablePages};

/// What stands in front of the bytes; they are aligned as it is.
#[repr(C, align(16))]
struct Head {
    /// Null at the end.
    next: *mut Head,
    /// Where in the file the compressed section is.
    section: Range<usize>,
    /// How many bytes stand behind the head.
    len: usize,
    /// What this block counts for, and all behind it in the chain.
    size: u64,
    /// Those that the block is in; `None` for memory of the allocator.
    pages: Option<WritablePages>,
}

/// A block that is in no chain yet.
pub(super) struct Block(NonNull<Head>);

impl Block {
    /// What `len` bytes count for in the capacity: pages count whole.
    pub(super) fn size(len: usize, to: CopyTo) -> Result<u64, MemoryError> {
        match to {
            CopyTo::Allocator => Ok(len as u64),
            CopyTo::Pages => Ok(Self::pages(Self::layout(len)?)?.bytes() as u64),
        }
    }

    fn pages(layout: Layout) -> Result<PageCount, MemoryError> {
        PageCount::covering(layout.size() as u64)
    }

    fn layout(len: usize) -> Result<Layout, MemoryError> {
        let bytes = Layout::array::<u8>(len);
        let whole = bytes.and_then(|bytes| Layout::new::<Head>().extend(bytes));
        whole.map(|(whole, _)| whole).map_err(|_| no_room(len))
    }

    /// `len` zeroes for what the section at this place in its file decompresses to.
    ///
    /// # Errors
    /// [`MemoryError`] when there is no memory for them.
    pub(super) fn zeroed(
        section: Range<usize>,
        len: usize,
        to: CopyTo,
    ) -> Result<Self, MemoryError> {
        let layout = Self::layout(len)?;
        let (start, pages) = match to {
            CopyTo::Allocator => {
                // SAFETY: a head at least, so not of size 0.
                let start = unsafe { alloc_zeroed(layout) };
                (NonNull::new(start).ok_or(no_room(len))?, None)
            }
            CopyTo::Pages => {
                let mut pages = WritablePages::allocate(Self::pages(layout)?, Placement::Anywhere)?;
                pages.prefault(layout.size())?;
                (NonNull::from(pages.as_mut_slice()).cast(), Some(pages))
            }
        };
        let (start, size) = (start.cast(), Self::size(len, to)?);
        let head = Head { next: ptr::null_mut(), section, len, size, pages };
        // SAFETY: room for a head, aligned by the layout or as a page is, that nobody else has.
        unsafe { start.write(head) };
        Ok(Self(start))
    }

    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: a block has a head, which nobody else has as long as it is in no chain.
        let len = unsafe { self.0.as_ref() }.len;
        let bytes = self.0.as_ptr().wrapping_add(1).cast();
        // SAFETY: so many bytes, which were zeroes at first, stand behind the head.
        unsafe { slice::from_raw_parts_mut(bytes, len) }
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        // SAFETY: the block is not used any more, and what its head owns is taken from it but once.
        let head = unsafe { self.0.read() };
        match (head.pages, Self::layout(head.len)) {
            (None, Ok(layout)) => {
                // SAFETY: allocated so, for the same number of bytes.
                unsafe { dealloc(self.0.as_ptr().cast(), layout) }
            }
            // The pages, of which one holds the head that says so, were moved out of it.
            (pages, _) => drop(pages),
        }
    }
}

fn no_room(len: usize) -> MemoryError {
    MemoryError::OutOfMemory { size: len as u64 }
}

/// The blocks of one file: those that were asked for.
#[derive(Default)]
pub(super) struct Sections(AtomicPtr<Head>);

impl Sections {
    /// What the section at this place in the file decompresses to, if that is here.
    pub(super) fn get(&self, section: &Range<usize>) -> Option<&[u8]> {
        let mut block = self.0.load(Acquire);
        // SAFETY: null or a block, which was finished before it came into the chain, is not changed
        // since and goes with the chain.
        while let Some(head) = unsafe { block.as_ref() } {
            if head.section == *section {
                let bytes = block.wrapping_add(1).cast_const().cast();
                // SAFETY: so many bytes, as long as the chain is there.
                return Some(unsafe { slice::from_raw_parts(bytes, head.len) });
            }
            block = head.next;
        }
        None
    }

    /// What all of them count for in the capacity, in bytes.
    pub(super) fn size(&self) -> u64 {
        // SAFETY: as above.
        unsafe { self.0.load(Acquire).as_ref() }.map_or(0, |head| head.size)
    }

    /// Puts a block into the chain, for good. One thread at a time, under the lock of the cache.
    pub(super) fn push(&self, block: Block) {
        let (mut start, size) = (block.0, self.size());
        core::mem::forget(block);
        // SAFETY: nobody else knows the block yet.
        let head = unsafe { start.as_mut() };
        head.next = self.0.load(Acquire);
        head.size += size;
        self.0.store(start.as_ptr(), Release);
    }
}

impl Drop for Sections {
    fn drop(&mut self) {
        let mut first = *self.0.get_mut();
        while let Some(block) = NonNull::new(first) {
            // SAFETY: a block of the chain, which nobody reads any more.
            first = unsafe { block.as_ref() }.next;
            drop(Block(block));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;
    use std::vec::Vec;

    fn block(number: usize, len: usize, to: CopyTo) -> Block {
        let mut block = Block::zeroed(number..number + 5, len, to).unwrap();
        assert!(block.bytes_mut().iter().all(|byte| *byte == 0));
        block.bytes_mut().fill(number as u8);
        block
    }

    #[test]
    fn blocks_of_either_memory_are_found_and_counted() {
        let page = PageCount::one().bytes();
        for to in [CopyTo::Allocator, CopyTo::Pages] {
            let (sections, mut size) = (Sections::default(), 0);
            let long = if cfg!(miri) { 2 * page } else { 70_000 };
            let lens = [0, 1, 15, page - size_of::<Head>(), page - size_of::<Head>() + 1, long];
            for (number, len) in lens.into_iter().enumerate() {
                assert_eq!((sections.get(&(number..number + 5)), sections.size()), (None, size));
                drop(block(number, len, to));
                sections.push(block(number, len, to));
                size += match to {
                    CopyTo::Allocator => len,
                    CopyTo::Pages => (len + size_of::<Head>()).next_multiple_of(page),
                } as u64;
                assert_eq!(sections.size(), size);
            }
            for (number, len) in lens.into_iter().enumerate() {
                let bytes = sections.get(&(number..number + 5)).unwrap();
                assert!(bytes.len() == len && bytes.iter().all(|byte| *byte == number as u8));
                assert_eq!(bytes.as_ptr() as usize % 16, 0);
                assert!(sections.get(&(number..number + 4)).is_none());
            }
        }
    }

    #[test]
    fn readers_see_whole_blocks_while_others_come() {
        let sections = Sections::default();
        thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let mut seen = 0;
                while seen < 200 {
                    let found: Vec<_> =
                        (0..200).filter_map(|n| Some((n, sections.get(&(n..n + 5))?))).collect();
                    let whole = |(n, bytes): &(usize, &[u8])| {
                        bytes.len() == n + 1 && bytes.iter().all(|byte| *byte == *n as u8)
                    };
                    assert!(found.len() >= seen && found.iter().all(whole));
                    seen = found.len();
                }
            });
            (0..200).for_each(|n| sections.push(block(n, n + 1, CopyTo::Allocator)));
            reader.join().unwrap();
        });
        assert_eq!(sections.size(), (1..=200).sum());
    }

    #[test]
    #[cfg_attr(miri, ignore = "asks for more memory than there is")]
    fn what_no_memory_can_hold_is_an_error() {
        for to in [CopyTo::Allocator, CopyTo::Pages] {
            for len in [usize::MAX, usize::MAX / 2, 1 << 60] {
                assert!(Block::zeroed(0..1, len, to).is_err(), "{len}");
            }
        }
    }
}
