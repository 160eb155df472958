//! Decompression of sections into the cache.
//!
//! The bytes of a section are reserved in the capacity before memory is allocated, then decompressed without
//! a lock, and then added to the file. Until then they count as reserved, not as bytes of the file.

use core::ops::Range;

use super::decompressed::DecompressedSection;
use super::entry::Entry;
use super::error::CacheError;
use super::file_cache::FileCache;
use super::slot::Place;
use crate::alloc_util::{try_box, try_filled};
use crate::format::FormatError;
use crate::memory::yield_now;

/// Writes the decompressed bytes of a section.
type Fill<'d> = &'d dyn Fn(&mut [u8]) -> Result<(), FormatError>;

impl FileCache {
    /// The `len` decompressed bytes of the section at this range of a file, which the caller holds; from `fill`
    /// unless they are known.
    pub(super) fn decompress<'f>(
        &self,
        file: &'f Entry,
        section: Range<usize>,
        len: usize,
        fill: Fill<'_>,
    ) -> Result<&'f [u8], CacheError> {
        let size = len as u64;
        if self.reserve(file, &section, size)? {
            let make = || -> Result<_, CacheError> {
                let mut bytes = try_filled(len, &0)?;
                fill(&mut bytes)?;
                Ok(try_box(DecompressedSection::new(section.clone(), bytes))?)
            };
            let made = make();
            let mut inventory = self.inventory.lock();
            inventory.reserved -= size;
            let made = made?;
            // Another thread may have added it.
            if file.decompressed.get(&section).is_none() {
                file.decompressed.push(made);
                let state = self.lock_shard(file.handle.slot);
                let slot =
                    state.find_handle(file.handle).and_then(|at| state.slots.get(at as usize));
                match slot.is_some_and(|slot| slot.place == Place::Detached) {
                    true => inventory.detached.bytes += size,
                    false => inventory.used.bytes += size,
                }
            }
        }
        // It was added above or by another thread, and stays.
        file.decompressed.get(&section).ok_or(CacheError::NoCapacity)
    }

    /// Reserves the bytes of a section; `false` if another thread has decompressed it.
    fn reserve(&self, file: &Entry, section: &Range<usize>, size: u64) -> Result<bool, CacheError> {
        loop {
            let mut inventory = self.inventory.lock();
            if file.decompressed.get(section).is_some() {
                return Ok(false);
            }
            let (whole, capacity) = (file.size().saturating_add(size), self.capacity.bytes);
            if whole > capacity {
                return Err(CacheError::TooLarge { size: whole, capacity });
            }
            let made = self.make_space(&mut inventory, file.handle.slot, |inventory| {
                inventory.try_reserve_bytes(size)
            });
            match made {
                Ok(()) => return Ok(true),
                // Another thread's reservation may be for the same section, or come to nothing.
                Err(_) if inventory.reserved != 0 => {}
                Err(error) => return Err(error),
            }
            drop(inventory);
            yield_now();
        }
    }
}
