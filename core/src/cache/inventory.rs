//! What all shards of a cache share: capacity in use, the files by identity, and counters.

use core::hash::{BuildHasher, Hasher};

use hashbrown::{DefaultHashBuilder, HashTable};

use super::entry::Entry;
use super::error::CacheError;
use super::handle::Handle;
use super::options::Capacity;
use super::statistics::{Histogram, SizeHistogram, Statistics, Timeline};
use crate::alloc_util::AllocError;
use crate::memory::{FileStamp, Nanoseconds, monotonic};

/// A number of entries, and the size of the files in bytes.
#[derive(Debug, Default)]
pub(super) struct Amount {
    files: u32,
    links: u32,
    pub(super) bytes: u64,
}

impl Amount {
    pub(super) fn add(&mut self, entry: &Entry) {
        match entry.is_file() {
            true => (self.files, self.bytes) = (self.files + 1, self.bytes + entry.size()),
            false => self.links += 1,
        }
    }

    pub(super) fn subtract(&mut self, entry: &Entry) {
        match entry.is_file() {
            true => (self.files, self.bytes) = (self.files - 1, self.bytes - entry.size()),
            false => self.links -= 1,
        }
    }
}

/// A cached file by device and inode.
struct Identity {
    device: u64,
    inode: u64,
    handle: Handle,
}

/// The accounts of a cache.
///
/// A thread that inserts, detaches or removes entries holds the lock of the inventory, and inside it the lock
/// of one shard at a time.
pub(super) struct Inventory {
    capacity: Capacity,
    /// The limit of files and links together.
    max_entries: u32,
    identities: HashTable<Identity>,
    hasher: DefaultHashBuilder,
    /// The entries that can be found.
    pub(super) used: Amount,
    /// The removed entries that stay in their slots because they are in use.
    pub(super) detached: Amount,
    /// Bytes of sections that are being decompressed.
    pub(super) reserved: u64,
    misses: u64,
    failures: u64,
    evictions: u64,
    replacements: u64,
    peak_bytes: u64,
    load_times: Histogram,
    timeline: Timeline,
}

impl Inventory {
    /// An empty inventory, with memory for `reserved` files that are never exceeded.
    pub(super) fn new(
        capacity: Capacity,
        max_entries: u32,
        hasher: DefaultHashBuilder,
        reserved: usize,
    ) -> Result<Self, AllocError> {
        let mut identities = HashTable::new();
        // A table that is at most half full rehashes in place and does not allocate.
        let files = reserved.checked_mul(2).ok_or(AllocError)?;
        identities.try_reserve(files, |_| 0).map_err(|_| AllocError)?;
        Ok(Self {
            capacity,
            max_entries,
            identities,
            hasher,
            used: Amount::default(),
            detached: Amount::default(),
            reserved: 0,
            misses: 0,
            failures: 0,
            evictions: 0,
            replacements: 0,
            peak_bytes: 0,
            load_times: Histogram::EMPTY,
            timeline: Timeline::new(monotonic()),
        })
    }

    /// The file with the identity of `stamp`, in whatever version.
    pub(super) fn find(&self, stamp: &FileStamp) -> Option<Handle> {
        let hash = hash_of(&self.hasher, stamp.device, stamp.inode);
        let is_it = |known: &Identity| (known.device, known.inode) == (stamp.device, stamp.inode);
        self.identities.find(hash, is_it).map(|known| known.handle)
    }

    /// Ensures that the next [`add`](Self::add) needs no memory.
    pub(super) fn reserve_one(&mut self) -> Result<(), AllocError> {
        let hasher = &self.hasher;
        let rehash = |known: &Identity| hash_of(hasher, known.device, known.inode);
        self.identities.try_reserve(1, rehash).map_err(|_| AllocError)
    }

    /// Counts an entry that has been inserted.
    pub(super) fn add(&mut self, entry: &Entry) {
        self.used.add(entry);
        self.peak_bytes = self.peak_bytes.max(self.all_bytes());
        if let Some(FileStamp { device, inode, .. }) = entry.stamp() {
            let hash = hash_of(&self.hasher, device, inode);
            let identity = Identity { device, inode, handle: entry.handle };
            self.identities.insert_unique(hash, identity, |_| 0);
        }
    }

    /// Counts an entry that can no longer be found.
    pub(super) fn remove(&mut self, entry: &Entry) {
        self.used.subtract(entry);
        if let Some(FileStamp { device, inode, .. }) = entry.stamp() {
            let hash = hash_of(&self.hasher, device, inode);
            let is_it = |known: &Identity| known.handle == entry.handle;
            if let Ok(known) = self.identities.find_entry(hash, is_it) {
                known.remove();
            }
        }
    }

    pub(super) fn has_detached(&self) -> bool {
        self.detached.files != 0 || self.detached.links != 0
    }

    /// Whether another file of this size fits in, or another link.
    pub(super) fn fits(&self, file_size: Option<u64>) -> bool {
        let entries = self.all_files().saturating_add(self.used.links);
        let fits_file = |size| self.all_files() < self.capacity.files && self.fits_bytes(size);
        entries.saturating_add(self.detached.links) < self.max_entries
            && file_size.is_none_or(fits_file)
    }

    fn fits_bytes(&self, size: u64) -> bool {
        self.all_bytes().saturating_add(size) <= self.capacity.bytes
    }

    /// Files in the cache, detached ones included.
    fn all_files(&self) -> u32 {
        self.used.files + self.detached.files
    }

    /// Bytes that count towards the capacity.
    fn all_bytes(&self) -> u64 {
        self.used.bytes + self.detached.bytes + self.reserved
    }

    /// The error of a cache in which nothing can be evicted.
    pub(super) fn all_in_use(&self) -> CacheError {
        CacheError::AllInUse { files: self.all_files(), bytes: self.all_bytes() }
    }

    /// Reserves bytes for a section that is about to be decompressed, if they fit in.
    pub(super) fn try_reserve_bytes(&mut self, size: u64) -> bool {
        let fits = self.fits_bytes(size);
        if fits {
            self.reserved += size;
            self.peak_bytes = self.peak_bytes.max(self.all_bytes());
        }
        fits
    }

    /// Counts an entry that is about to be evicted.
    pub(super) fn evict(&mut self, entry: &Entry) {
        self.remove(entry);
        self.evictions += u64::from(entry.is_file());
    }

    /// Counts an entry that is about to be detached for another version of it.
    pub(super) fn replace(&mut self, entry: &Entry) {
        self.remove(entry);
        self.replacements += u64::from(entry.is_file());
    }

    pub(super) fn count_failure(&mut self) {
        self.misses += 1;
        self.failures += 1;
    }

    /// Counts a file that was read from `begin` to `end`.
    pub(super) fn count_load(&mut self, begin: Nanoseconds, end: Nanoseconds) {
        self.misses += 1;
        self.load_times.record(end.saturating_sub(begin));
        self.timeline.record(end, self.used.bytes);
    }

    /// The statistics, with what the shards count.
    pub(super) fn statistics(
        &self,
        is_enabled: bool,
        hits: u64,
        file_sizes: SizeHistogram,
    ) -> Statistics {
        Statistics {
            files: self.used.files,
            bytes: self.used.bytes,
            links: self.used.links,
            detached_files: self.detached.files,
            detached_bytes: self.detached.bytes,
            file_sizes,
            is_enabled,
            hits,
            misses: self.misses,
            failures: self.failures,
            evictions: self.evictions,
            replacements: self.replacements,
            load_times: self.load_times,
            peak_bytes: self.peak_bytes,
            bytes_over_time: self.timeline.samples.clone(),
        }
    }
}

fn hash_of(hasher: &DefaultHashBuilder, device: u64, inode: u64) -> u64 {
    let mut hasher = hasher.build_hasher();
    hasher.write_u64(device);
    hasher.write_u64(inode);
    hasher.finish()
}
