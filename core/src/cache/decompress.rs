//! Decompression of sections into the cache.
//!
//! The bytes of a section are reserved in the capacity before memory is allocated, then decompressed without
//! a lock, and then added to the file. Until then they count as reserved, not as bytes of the file.

use alloc::boxed::Box;
use core::mem;
use core::ops::Range;

use super::decompressed::DecompressedSection;
use super::entry::CachedFile;
use super::error::CacheError;
use super::file_cache::FileCache;
use super::handle::Handle;
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
        file: &'f CachedFile,
        handle: Handle,
        section: Range<usize>,
        len: usize,
        fill: Fill<'_>,
    ) -> Result<&'f [u8], CacheError> {
        if let Some(reservation) = self.reserve(file, handle, &section, len as u64)? {
            let mut bytes = try_filled(len, &0)?;
            fill(&mut bytes)?;
            let decompressed = try_box(DecompressedSection::new(section.clone(), bytes))?;
            reservation.commit(file, handle, &section, decompressed);
        }
        // It was added above or by another thread, and stays.
        file.decompressed.get(&section).ok_or(CacheError::NoCapacity)
    }

    /// Reserves the bytes of a section; `None` if another thread has decompressed it.
    fn reserve(
        &self,
        file: &CachedFile,
        handle: Handle,
        section: &Range<usize>,
        size: u64,
    ) -> Result<Option<Reservation<'_>>, CacheError> {
        loop {
            let mut inventory = self.lock_inventory();
            if file.decompressed.get(section).is_some() {
                return Ok(None);
            }
            let (whole, capacity) = (file.size().saturating_add(size), self.capacity.bytes);
            if whole > capacity {
                return Err(CacheError::TooLarge { size: whole, capacity });
            }
            let made = self.make_space(&mut inventory, handle.slot, |inventory| {
                inventory.try_reserve_bytes(size)
            });
            match made {
                Ok(()) => return Ok(Some(Reservation { cache: self, size })),
                // Another thread's reservation may be for the same section, or come to nothing.
                Err(_) if inventory.has_reserved_bytes() => {}
                Err(error) => return Err(error),
            }
            drop(inventory);
            yield_now();
        }
    }
}

/// Bytes of the capacity that are released unless a section is added.
struct Reservation<'c> {
    cache: &'c FileCache,
    size: u64,
}

impl Reservation<'_> {
    /// Adds a section to its file, unless another thread has done so.
    fn commit(
        mut self,
        file: &CachedFile,
        handle: Handle,
        section: &Range<usize>,
        decompressed: Box<DecompressedSection>,
    ) {
        let mut inventory = self.cache.lock_inventory();
        let size = mem::take(&mut self.size);
        inventory.release_bytes(size);
        if file.decompressed.get(section).is_none() {
            file.decompressed.push(decompressed);
            let state = self.cache.lock_shard_of(handle);
            let slot = state.find_handle(handle).and_then(|at| state.slot(at));
            inventory.add_section(size, slot.is_some_and(|slot| slot.place == Place::Detached));
        }
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        if self.size != 0 {
            self.cache.lock_inventory().release_bytes(self.size);
        }
    }
}
