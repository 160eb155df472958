//! A block of whole pages, which callers identify by address.

use super::super::types::Protection;
use super::allocator::CODE_PAGES;
use super::block::Block;
use super::error::Result;

/// A block of pages.
pub(super) struct PageBlock {
    pub(super) block: Block,
    /// The protection at the code address.
    protection: Protection,
    /// Whether bytes other than zeros may be present.
    is_written: bool,
    pub(super) is_executable: bool,
}

impl PageBlock {
    /// Fills a new block with zeros.
    pub(super) fn new(mut block: Block, is_written: bool) -> Self {
        block.capacity_mut().fill(0);
        let protection = Self::initial_protection(&block);
        Self { block, protection, is_written, is_executable: false }
    }

    /// The protection with which an arena provides pages.
    fn initial_protection(block: &Block) -> Protection {
        if block.is_changing() { Protection::ReadWrite } else { Protection::ReadExecute }
    }

    /// Sets the protection at the code address, and with it whether the block is executable.
    fn set_protection(&mut self, protection: Protection) -> Result<()> {
        let is_executable = protection == Protection::ReadExecute && self.is_written;
        self.is_executable &= is_executable;
        if protection != self.protection {
            self.block.protect(protection)?;
            self.protection = protection;
        }
        if is_executable {
            self.block.record_executable()?;
        }
        self.is_executable = is_executable;
        Ok(())
    }

    /// Sets the protection at the request of a caller, who may write to writable pages.
    pub(super) fn protect(&mut self, protection: Protection) -> Result<()> {
        self.set_protection(protection)?;
        self.is_written |= protection == Protection::ReadWrite;
        Ok(())
    }

    /// Copies `bytes` to `offset`; the caller checked that they fit.
    pub(super) fn write(&mut self, offset: usize, bytes: &[u8]) -> Result<()> {
        let before = self.protection;
        if self.block.is_changing() && before != Protection::ReadWrite {
            self.set_protection(Protection::ReadWrite)?;
        }
        let destination = self.block.capacity_mut().get_mut(offset..);
        if let Some(destination) = destination.and_then(|rest| rest.get_mut(..bytes.len())) {
            destination.copy_from_slice(bytes);
        }
        let is_first = !core::mem::replace(&mut self.is_written, true);
        // The first write makes code executable; pages that a caller made writable stay so.
        let becomes_code = is_first && self.block.shard() == CODE_PAGES;
        let after = if becomes_code { Protection::ReadExecute } else { before };
        self.set_protection(after)
    }

    /// Restores the protection with which the arena provided the pages. On an error, nothing changes.
    pub(super) fn prepare_free(&mut self) -> Result<()> {
        let initial = Self::initial_protection(&self.block);
        let is_written = core::mem::take(&mut self.is_written);
        self.set_protection(initial).inspect_err(|_| self.is_written = is_written)
    }

    /// Frees the block. Dropping it fills the requested bytes with traps, and this the rest of the last page.
    pub(super) fn free(mut self) {
        self.block.erase();
    }
}
