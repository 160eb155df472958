//! Blocks of whole pages that are known by their addresses alone: for callers who hold numbers.
//!
//! An address from outside is an allegation. It is looked up before anything is read, written or
//! changed, under one lock, so that a block cannot be freed while its bytes are written.
//!
//! Two uses: pages for code, which run at the address that was given out as soon as they were
//! written through [`CodeMemory::write_pages`]; and pages for data, which are readable and writable
//! at first. Either may lose its right and gain the other later, a whole block at a time and never
//! both at once.
#![allow(unsafe_code)]

use hashbrown::HashMap;

use super::super::sys;
use super::super::types::Protection;
use super::arena::Kind;
use super::arenas::LARGEST;
use super::block::Block;
use super::error::ExecError;
use super::shared::{CODE_PAGES, DATA_PAGES, Shared};
use super::{CodeMemory, Request};

/// What pages are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageUse {
    /// Code: not writable at its address unless that is asked for.
    Code,
    /// Data, that may become code.
    Data,
}

/// One block of pages.
struct PageBlock {
    block: Block,
    /// What its address allows.
    protection: Protection,
    /// Whether anything but zeros may be there.
    written: bool,
    lane: u16,
}

/// All of them, by address.
pub(super) struct Pages {
    blocks: HashMap<usize, PageBlock>,
}

impl Pages {
    pub(super) fn new() -> Self {
        Self { blocks: HashMap::new() }
    }
}

impl PageBlock {
    /// Zeros everything it may hold.
    fn clear(&mut self) {
        let capacity = self.capacity();
        // SAFETY: no slice is alive: this room makes them for one statement each, under the lock. A
        // new block is writable.
        unsafe { self.block.bytes_mut(capacity) }.fill(0);
    }

    /// What it holds: whole pages.
    fn capacity(&self) -> usize {
        self.block.len().next_multiple_of(sys::page_size())
    }

    /// Sets what the address allows, and whether it may be called.
    fn protect(&mut self, shared: &Shared, protection: Protection) -> Result<(), ExecError> {
        let may_run = protection == Protection::ReadExecute && self.written;
        if !may_run {
            // First, so that nobody finds callable what is not.
            shared.lock(self.lane)?.set_published(self.block.spot(), false);
        }
        if protection != self.protection {
            // SAFETY: whole pages of an arena for pages; no slice is alive, as above.
            unsafe { self.block.protect(protection) }?;
            self.protection = protection;
        }
        if may_run { self.block.announce(self.capacity()) } else { Ok(()) }
    }

    /// Copies `bytes` to `offset`, where there is room for them.
    fn write(&mut self, shared: &Shared, offset: usize, bytes: &[u8]) -> Result<(), ExecError> {
        let before = self.protection;
        let changes = self.block.is_changing() && before != Protection::ReadWrite;
        if changes {
            self.protect(shared, Protection::ReadWrite)?;
        }
        let capacity = self.capacity();
        // SAFETY: no slice is alive, as above; changing pages are writable now, and others always
        // are through their other view.
        let all = unsafe { self.block.bytes_mut(capacity) };
        if let Some(place) = all.get_mut(offset..).and_then(|from| from.get_mut(..bytes.len())) {
            place.copy_from_slice(bytes);
        }
        let first = !core::mem::replace(&mut self.written, true);
        // Code runs once it is written; what was made writable on purpose stays so.
        let runs = first && self.lane == CODE_PAGES;
        self.protect(shared, if runs { Protection::ReadExecute } else { before })
    }
}

impl PageBlock {
    /// Gives it back: the block fills with traps what was asked for, and this the rest.
    fn end(mut self) {
        let capacity = self.capacity();
        // SAFETY: nobody knows the block any more, and it has whole pages.
        unsafe { self.block.erase(capacity) };
    }
}

impl CodeMemory {
    /// A block of zeros that holds at least `size` bytes, rounded up to whole pages, and begins with
    /// one. It lives until it is freed by its address, and its allocator with it.
    ///
    /// [`PageUse::Code`] is readable and executable at its address, unless the system lets no file
    /// be executable; then it becomes so with the first write. [`PageUse::Data`] is readable and
    /// writable.
    ///
    /// # Errors
    ///
    /// As [`allocate_with`](Self::allocate_with).
    pub fn allocate_pages(&self, size: u64, usage: PageUse) -> Result<usize, ExecError> {
        let (lane, kind) = match usage {
            PageUse::Code => (CODE_PAGES, Kind::Open),
            PageUse::Data => (DATA_PAGES, Kind::Changing),
        };
        let shared = &self.shared;
        let mut pages = shared.wait(&shared.pages)?;
        let size = usize::try_from(size).map_err(|_| ExecError::TooLarge { size, limit: LARGEST });
        let room = pages.blocks.try_reserve(1).map_err(|_| ExecError::OutOfMemory);
        let size = room.and(size).inspect_err(|&error| shared.refuse(lane, error, 0, 0))?;
        let request = Request::new(size).aligned_to(sys::page_size());
        let block = shared.allocate(lane, kind, request)?;
        let data = block.is_changing();
        let protection = if data { Protection::ReadWrite } else { Protection::ReadExecute };
        let written = usage == PageUse::Data;
        let mut block = PageBlock { block, protection, written, lane };
        block.clear();
        let address = block.block.address();
        pages.blocks.insert(address, block);
        Ok(address)
    }

    /// Copies `bytes` into the block that begins at `address`, `offset` bytes from there. Code may
    /// run from then on. Returns how many bytes were written: all.
    ///
    /// Where pages have to change for it, code in the same block must not run meanwhile.
    ///
    /// # Errors
    ///
    /// * [`ExecError::Unknown`], [`ExecError::Inside`]: no block of pages begins there.
    /// * [`ExecError::Outside`]: they would reach beyond what the block holds. Nothing was written.
    /// * [`ExecError::Memory`]: the kernel would not change the pages.
    pub fn write_pages(
        &self,
        address: usize,
        offset: u64,
        bytes: &[u8],
    ) -> Result<usize, ExecError> {
        self.with_pages(address, bytes.len() as u64, |blocks| {
            let block = blocks.get_mut(&address)?;
            let capacity = block.capacity();
            let len = bytes.len();
            let start = usize::try_from(offset).ok();
            let inside =
                start.filter(|start| start.checked_add(len).is_some_and(|e| e <= capacity));
            Some(match inside {
                None => Err(ExecError::Outside { offset, len, capacity }),
                Some(_) if len == 0 => Ok(0),
                Some(start) => block.write(&self.shared, start, bytes).map(|()| len),
            })
        })
    }

    /// Sets what the block that begins at `address` allows there. `size` is the size it was asked
    /// for with, or that rounded up to pages. Executable data may be called from then on.
    ///
    /// # Errors
    ///
    /// * [`ExecError::Unknown`], [`ExecError::Inside`], [`ExecError::OtherSize`]: not such a block.
    /// * [`ExecError::Memory`]: the kernel would not change the pages, for example because
    ///   `PR_SET_MDWE` keeps memory that was writable from running.
    pub fn protect_pages(
        &self,
        address: usize,
        size: u64,
        protection: Protection,
    ) -> Result<(), ExecError> {
        self.with_pages(address, size, |blocks| {
            let block = blocks.get_mut(&address)?;
            let (expected, capacity) = (block.block.len(), block.capacity());
            if size != expected as u64 && size != capacity as u64 {
                return Some(Err(ExecError::OtherSize { address, size, expected }));
            }
            let written = block.written || protection == Protection::ReadWrite;
            let result = block.protect(&self.shared, protection);
            block.written = if result.is_ok() { written } else { block.written };
            Some(result)
        })
    }

    /// Frees the block that begins at `address` and was asked for with `size` bytes.
    ///
    /// # Errors
    ///
    /// Nothing is freed. [`ExecError::Unknown`]: no block of pages is there, or not any more.
    /// [`ExecError::Inside`], [`ExecError::OtherSize`]: not the beginning, not the size.
    pub fn free_pages(&self, address: usize, size: u64) -> Result<(), ExecError> {
        let freed = self.with_pages(address, size, |blocks| {
            let block = blocks.get_mut(&address)?;
            let expected = block.block.len();
            if expected as u64 != size {
                return Some(Err(ExecError::OtherSize { address, size, expected }));
            }
            // As the arena gave them out.
            let changing = block.block.is_changing();
            let first = if changing { Protection::ReadWrite } else { Protection::ReadExecute };
            let written = core::mem::take(&mut block.written);
            if let Err(error) = block.protect(&self.shared, first) {
                block.written = written;
                return Some(Err(error));
            }
            blocks.remove(&address).map(Ok)
        })?;
        // Without the lock, because erasing what is large takes time.
        freed.end();
        Ok(())
    }

    /// Does something with the block that begins at `address`, for which `act` returns `None` when
    /// there is none. What is refused is noted.
    fn with_pages<T>(
        &self,
        address: usize,
        size: u64,
        act: impl FnOnce(&mut HashMap<usize, PageBlock>) -> Option<Result<T, ExecError>>,
    ) -> Result<T, ExecError> {
        let shared = &self.shared;
        let mut pages = shared.wait(&shared.pages)?;
        // Fails in a child process.
        drop(shared.lock(CODE_PAGES)?);
        let result = act(&mut pages.blocks).unwrap_or_else(|| {
            let start = shared.around(address)?.map(|around| around.range.start);
            Err(match start.filter(|start| pages.blocks.contains_key(start)) {
                Some(start) => ExecError::Inside { address, start },
                None => ExecError::Unknown { address },
            })
        });
        drop(pages);
        result.inspect_err(|&error| shared.refuse(CODE_PAGES, error, address, size))
    }
}

#[cfg(test)]
impl CodeMemory {
    /// Every block of pages, by address and size.
    pub(super) fn pages_for_tests(&self) -> alloc::vec::Vec<(usize, u64)> {
        let pages = self.shared.pages.lock();
        pages.blocks.iter().map(|(&address, block)| (address, block.block.len() as u64)).collect()
    }
}
