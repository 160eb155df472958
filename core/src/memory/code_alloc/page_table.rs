//! Blocks of whole pages, found by address.

use hashbrown::HashMap;

use super::super::types::Protection;
use super::allocator::{Allocator, CODE_PAGES};
use super::block::Block;
use super::error::ExecError;

/// A block of pages.
pub(super) struct PageBlock {
    pub(super) block: Block,
    /// The protection at the code address.
    protection: Protection,
    /// Whether bytes other than zeros may be present.
    is_written: bool,
    shard: u16,
}

/// All blocks of pages, by address.
pub(super) struct PageTable {
    pub(super) blocks: HashMap<usize, PageBlock>,
}

impl PageTable {
    pub(super) fn new() -> Self {
        Self { blocks: HashMap::new() }
    }
}

impl PageBlock {
    /// Fills a new block of shard `shard` with zeros.
    pub(super) fn new(mut block: Block, shard: u16, is_written: bool) -> Self {
        block.capacity_mut().fill(0);
        let protection = Self::initial_protection(&block);
        Self { block, protection, is_written, shard }
    }

    /// The protection with which an arena provides pages.
    fn initial_protection(block: &Block) -> Protection {
        if block.is_changing() { Protection::ReadWrite } else { Protection::ReadExecute }
    }

    /// The size in bytes, whole pages.
    pub(super) fn capacity(&self) -> usize {
        self.block.capacity()
    }

    /// Sets the protection at the code address, and with it whether the block is executable.
    fn set_protection(
        &mut self,
        allocator: &Allocator,
        protection: Protection,
    ) -> Result<(), ExecError> {
        let is_executable = protection == Protection::ReadExecute && self.is_written;
        if !is_executable {
            // First, so that no thread finds an entry point that is not executable.
            allocator.lock(self.shard)?.set_published(self.block.first_unit(), false);
        }
        if protection != self.protection {
            self.block.protect(protection)?;
            self.protection = protection;
        }
        if is_executable { self.block.record_executable() } else { Ok(()) }
    }

    /// Sets the protection at the request of a caller, who may write to writable pages.
    pub(super) fn protect(
        &mut self,
        allocator: &Allocator,
        protection: Protection,
    ) -> Result<(), ExecError> {
        self.set_protection(allocator, protection)?;
        self.is_written |= protection == Protection::ReadWrite;
        Ok(())
    }

    /// Copies `bytes` to `offset`; the caller checked that they fit.
    pub(super) fn write(
        &mut self,
        allocator: &Allocator,
        offset: usize,
        bytes: &[u8],
    ) -> Result<(), ExecError> {
        let before = self.protection;
        if self.block.is_changing() && before != Protection::ReadWrite {
            self.set_protection(allocator, Protection::ReadWrite)?;
        }
        let destination = self.block.capacity_mut().get_mut(offset..);
        if let Some(destination) = destination.and_then(|rest| rest.get_mut(..bytes.len())) {
            destination.copy_from_slice(bytes);
        }
        let is_first = !core::mem::replace(&mut self.is_written, true);
        // The first write makes code executable; pages that a caller made writable stay so.
        let becomes_code = is_first && self.shard == CODE_PAGES;
        let after = if becomes_code { Protection::ReadExecute } else { before };
        self.set_protection(allocator, after)
    }

    /// Restores the protection with which the arena provided the pages. On an error, nothing changes.
    pub(super) fn prepare_free(&mut self, allocator: &Allocator) -> Result<(), ExecError> {
        let initial = Self::initial_protection(&self.block);
        let is_written = core::mem::take(&mut self.is_written);
        self.set_protection(allocator, initial).inspect_err(|_| self.is_written = is_written)
    }

    /// Frees the block. Dropping it fills the requested bytes with traps, and this the rest of the last page.
    pub(super) fn free(mut self) {
        self.block.erase();
    }
}
