//! Compressed sections on their way into the cache: the room that they take, and who gives it.
//!
//! Room for a section is reserved under the lock before its memory is asked for; it is decompressed
//! without the lock; and what came of it is put to the file, and counted with it, under the lock again.
//! Until then it is nobody's, so what is counted as the file's is at any time what the file has.

use core::ops::Range;

use super::entry::CachedFile;
use super::ledger::Garbage;
use super::sections::Block;
use super::{CacheError, FileCache, Storage};
use crate::format::FormatError;
use crate::memory::yield_now;

/// What is to be put to a file.
pub(super) struct Unpacked<'f> {
    /// Whoever asks has a pin on it.
    pub(super) file: &'f CachedFile,
    /// Of the file.
    pub(super) slot: u32,
    /// Where in the file the compressed section is.
    pub(super) section: Range<usize>,
    /// How many bytes it decompresses to.
    pub(super) len: usize,
}

/// Writes what a section decompresses to.
pub(super) type Fill<'d> = &'d dyn Fn(&mut [u8]) -> Result<(), FormatError>;

/// A cache whatever its storage, as its views know it.
pub(super) trait Keeper: Sync {
    /// The bytes of a section, from `fill` unless another thread was faster.
    fn keep<'f>(&self, unpacked: Unpacked<'f>, fill: Fill<'_>) -> Result<&'f [u8], CacheError>;
}

impl<S: Storage> Keeper for FileCache<S> {
    fn keep<'f>(&self, unpacked: Unpacked<'f>, fill: Fill<'_>) -> Result<&'f [u8], CacheError> {
        let (section, len) = (unpacked.section.clone(), unpacked.len);
        let size = Block::size(len, S::COPY_TO)?;
        let Some(reserved) = self.reserve(&unpacked, size)? else {
            return found(&unpacked);
        };
        let mut block = Block::zeroed(section, len, S::COPY_TO)?;
        fill(block.bytes_mut())?;
        reserved.settle(&unpacked, block);
        found(&unpacked)
    }
}

fn found<'f>(unpacked: &Unpacked<'f>) -> Result<&'f [u8], CacheError> {
    // It was put in or seen there, and stays.
    unpacked.file.sections.get(&unpacked.section).ok_or(CacheError::NoCapacity)
}

impl<S: Storage> FileCache<S> {
    /// Room for what counts for `size`; `None` when another thread was faster.
    fn reserve(
        &self,
        unpacked: &Unpacked<'_>,
        size: u64,
    ) -> Result<Option<Reserved<'_, S>>, CacheError> {
        loop {
            let mut garbage = Garbage::new();
            let mut ledger = self.lock();
            if unpacked.file.sections.get(&unpacked.section).is_some() {
                return Ok(None);
            }
            let (whole, capacity) =
                (unpacked.file.size().saturating_add(size), self.capacity.bytes);
            if whole > capacity {
                return Err(CacheError::TooLarge { size: whole, capacity });
            }
            match ledger.reserve(&self.storage, size, &mut garbage) {
                Ok(()) => return Ok(Some(Reserved { cache: self, size })),
                // What another thread has reserved may be for the same section, or come to nothing.
                Err(error) if ledger.reserved() == 0 => return Err(error),
                Err(_) => {}
            }
            drop(ledger);
            yield_now();
        }
    }
}

/// Room that is given back unless something is put there.
struct Reserved<'c, S: Storage> {
    cache: &'c FileCache<S>,
    size: u64,
}

impl<S: Storage> Reserved<'_, S> {
    /// Puts a block to its file, unless another thread was faster.
    fn settle(mut self, unpacked: &Unpacked<'_>, block: Block) {
        let mut ledger = self.cache.lock();
        let size = core::mem::take(&mut self.size);
        ledger.give_back(size);
        if unpacked.file.sections.get(&unpacked.section).is_none() {
            unpacked.file.sections.push(block);
            ledger.count_section(&self.cache.storage, unpacked.slot, size);
        }
    }
}

impl<S: Storage> Drop for Reserved<'_, S> {
    fn drop(&mut self) {
        if self.size != 0 {
            self.cache.lock().give_back(self.size);
        }
    }
}
