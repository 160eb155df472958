//! Blocks of whole pages that callers identify by address.
//!
//! An address from a caller is untrusted. It is looked up before any byte is read, written or protected, under one
//! lock, so that a block is not freed while its bytes are written.
//!
//! There are pages for code, which are executable at their address once they were written by
//! [`CodeMemory::write_pages`], and pages for data, which are initially readable and writable. Either can change between
//! writable and executable, a whole block at a time and never both at once.

use hashbrown::HashMap;

use super::super::lock::LockGuard;
use super::super::sys;
use super::super::types::Protection;
use super::alloc_request::{ArenaKind, MAX_BLOCK_SIZE};
use super::allocator::{CODE_PAGES, DATA_PAGES};
use super::code_memory::CodeMemory;
use super::error::{ExecError, Result};
use super::options::Request;
use super::page_table::PageBlock;

/// The use of pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageUse {
    /// Code: not writable at its address unless requested.
    Code,
    /// Data, which may become code.
    Data,
}

impl CodeMemory {
    /// Allocates zero-filled pages of at least `size` bytes and returns their address. They live, and keep the
    /// allocator alive, until they are freed by address.
    ///
    /// [`PageUse::Code`] is readable and executable at its address; with [`Backing::ChangingPages`](super::Backing) it
    /// becomes so with the first write. [`PageUse::Data`] is readable and writable.
    ///
    /// # Errors
    /// As [`allocate_with`](Self::allocate_with).
    pub fn allocate_pages(&self, size: u64, usage: PageUse) -> Result<usize> {
        let (shard, kind) = match usage {
            PageUse::Code => (CODE_PAGES, ArenaKind::Open),
            PageUse::Data => (DATA_PAGES, ArenaKind::Changing),
        };
        let allocator = self.allocator();
        let mut pages = self.pages()?;
        let too_large = ExecError::TooLarge { size, limit: MAX_BLOCK_SIZE };
        let reserved = pages.try_reserve(1).map_err(|_| ExecError::OutOfMemory);
        let len = reserved.and_then(|()| usize::try_from(size).map_err(|_| too_large));
        let len = len.inspect_err(|error| allocator.refuse(*error, 0, size))?;
        let request = Request::new(len).aligned_to(sys::page_size());
        let block = self.allocate_block(shard, kind, request)?;
        let address = block.address();
        pages.insert(address, PageBlock::new(block, usage == PageUse::Data));
        Ok(address)
    }

    /// Copies `bytes` to `offset` in the block that starts at `address`, which makes code executable. Returns the
    /// number of bytes written, all of them.
    ///
    /// Where this changes the protection of pages, code in the block must not run meanwhile.
    ///
    /// # Errors
    /// * [`ExecError::Unknown`], [`ExecError::Inside`]: no block of pages starts there.
    /// * [`ExecError::Outside`]: the bytes exceed the block. Nothing was written.
    /// * [`ExecError::Memory`]: the kernel refused to change the protection.
    pub fn write_pages(&self, address: usize, offset: u64, bytes: &[u8]) -> Result<usize> {
        let written = self.with_block(address, |block| {
            let (capacity, len) = (block.block.capacity(), bytes.len());
            let start = usize::try_from(offset).ok();
            let inside =
                start.filter(|start| start.checked_add(len).is_some_and(|end| end <= capacity));
            match inside {
                None => Err(ExecError::Outside { offset, len, capacity }),
                Some(_) if len == 0 => Ok(0),
                Some(start) => block.write(start, bytes).map(|()| len),
            }
        });
        Ok(written?.1)
    }

    /// Sets the protection of the block that starts at `address`. `size` is its requested size, or that rounded up to
    /// pages. Executable data is an entry point from then on.
    ///
    /// # Errors
    /// * [`ExecError::Unknown`], [`ExecError::Inside`], [`ExecError::OtherSize`]: no such block.
    /// * [`ExecError::Memory`]: the kernel refused, for example because `PR_SET_MDWE` forbids that memory which was writable
    ///   becomes executable.
    pub fn protect_pages(&self, address: usize, size: u64, protection: Protection) -> Result<()> {
        let protected = self.with_block(address, |block| {
            let (expected, capacity) = (block.block.len(), block.block.capacity());
            if size != expected as u64 && size != capacity as u64 {
                return Err(ExecError::OtherSize { address, size, expected });
            }
            block.protect(protection)
        });
        protected.map(|_| ())
    }

    /// Frees the block that starts at `address` and was requested with `size` bytes.
    ///
    /// # Errors
    /// Nothing is freed. [`ExecError::Unknown`]: no block of pages contains the address. [`ExecError::Inside`],
    /// [`ExecError::OtherSize`]: not its start, not its size. [`ExecError::Memory`]: the kernel refused to change the
    /// protection.
    pub fn free_pages(&self, address: usize, size: u64) -> Result<()> {
        let (mut pages, ()) = self.with_block(address, |block| {
            let expected = block.block.len();
            if expected as u64 != size {
                return Err(ExecError::OtherSize { address, size, expected });
            }
            block.prepare_free()
        })?;
        let freed = pages.remove(&address);
        drop(pages);
        // Outside of the lock, because large blocks take long to erase.
        freed.into_iter().for_each(PageBlock::free);
        Ok(())
    }

    /// Returns `address` if executable code is there, in a live block of executable pages.
    ///
    /// # Errors
    /// [`ExecError::Unknown`] if no block contains the address, [`ExecError::NotExecutable`] if the block has no pages of its
    /// own, was freed recently or is not executable now; [`ExecError::Forked`] in a child process.
    pub fn entry_point(&self, address: usize) -> Result<usize> {
        let pages = self.pages()?;
        let range = self.allocator().block_range(address)?.ok_or(ExecError::Unknown { address })?;
        let is_executable = pages.get(&range.start).is_some_and(|block| block.is_executable);
        if is_executable { Ok(address) } else { Err(ExecError::NotExecutable { address }) }
    }

    /// Calls `operation` with the block that starts at `address`, and counts a refusal. Returns the locked table too.
    fn with_block<T>(
        &self,
        address: usize,
        operation: impl FnOnce(&mut PageBlock) -> Result<T>,
    ) -> Result<(LockGuard<'_, HashMap<usize, PageBlock>>, T)> {
        let allocator = self.allocator();
        let mut pages = self.pages()?;
        // Fails in a child process.
        drop(allocator.lock()?);
        let result = match pages.get_mut(&address) {
            Some(block) => operation(block),
            None => {
                let start = allocator.block_range(address)?.map(|range| range.start);
                Err(match start.filter(|start| pages.contains_key(start)) {
                    Some(start) => ExecError::Inside { address, start },
                    None => ExecError::Unknown { address },
                })
            }
        };
        let refused = |error: &ExecError| allocator.refuse(*error, address, 0);
        Ok((pages, result.inspect_err(refused)?))
    }
}
