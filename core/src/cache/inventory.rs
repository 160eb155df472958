//! What all shards of a cache share: capacity in use, the files by identity, and counters.

use core::hash::{BuildHasher, Hasher};

use hashbrown::{DefaultHashBuilder, HashTable};

use super::entry::Entry;
use super::error::CacheError;
use super::handle::Handle;
use super::options::Capacity;
use super::statistics::{Histogram, Statistics, Timeline};
use crate::alloc_util::AllocError;
use crate::memory::{FileStamp, Nanoseconds, monotonic};

/// A number of files and their size in bytes.
#[derive(Debug, Default)]
struct Amount {
    files: u32,
    bytes: u64,
}

impl Amount {
    fn add(&mut self, bytes: u64) {
        self.files += 1;
        self.bytes += bytes;
    }

    fn subtract(&mut self, bytes: u64) {
        self.files -= 1;
        self.bytes -= bytes;
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
    used: Amount,
    detached: Amount,
    links: u32,
    detached_links: u32,
    /// Bytes of sections that are being decompressed.
    reserved: u64,
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
            links: 0,
            detached_links: 0,
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
    pub(super) fn add(&mut self, entry: &Entry, handle: Handle) {
        let Some(file) = entry.file() else {
            self.links += 1;
            return;
        };
        self.used.add(file.size());
        self.peak_bytes = self.peak_bytes.max(self.all_bytes());
        if let Some(FileStamp { device, inode, .. }) = file.stamp() {
            let hash = hash_of(&self.hasher, device, inode);
            self.identities.insert_unique(hash, Identity { device, inode, handle }, |_| 0);
        }
    }

    /// Counts an entry that can no longer be found.
    pub(super) fn remove(&mut self, entry: &Entry, handle: Handle) {
        let Some(file) = entry.file() else {
            self.links -= 1;
            return;
        };
        self.used.subtract(file.size());
        if let Some(FileStamp { device, inode, .. }) = file.stamp() {
            let hash = hash_of(&self.hasher, device, inode);
            if let Ok(known) = self.identities.find_entry(hash, |known| known.handle == handle) {
                known.remove();
            }
        }
    }

    /// Counts a removed entry that stays in its slot because it is in use.
    pub(super) fn add_detached(&mut self, entry: &Entry) {
        match entry.file() {
            Some(file) => self.detached.add(file.size()),
            None => self.detached_links += 1,
        }
    }

    /// Counts a detached entry that has left its slot.
    pub(super) fn remove_detached(&mut self, entry: &Entry) {
        match entry.file() {
            Some(file) => self.detached.subtract(file.size()),
            None => self.detached_links -= 1,
        }
    }

    pub(super) fn has_detached(&self) -> bool {
        self.detached.files != 0 || self.detached_links != 0
    }

    /// Whether another file of this size fits in.
    pub(super) fn fits_file(&self, size: u64) -> bool {
        self.all_files() < self.capacity.files && self.fits_bytes(size) && self.fits_link()
    }

    /// Whether another link fits in.
    pub(super) fn fits_link(&self) -> bool {
        self.all_files().saturating_add(self.links).saturating_add(self.detached_links)
            < self.max_entries
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

    /// Whether any bytes are reserved.
    pub(super) fn has_reserved_bytes(&self) -> bool {
        self.reserved != 0
    }

    pub(super) fn release_bytes(&mut self, size: u64) {
        self.reserved -= size;
    }

    /// Counts a decompressed section of a file.
    pub(super) fn add_section(&mut self, size: u64, is_detached: bool) {
        let amount = if is_detached { &mut self.detached } else { &mut self.used };
        amount.bytes += size;
    }

    /// Counts an entry that is about to be evicted.
    pub(super) fn evict(&mut self, entry: &Entry, handle: Handle) {
        self.remove(entry, handle);
        self.evictions += u64::from(entry.file().is_some());
    }

    pub(super) fn count_replacement(&mut self) {
        self.replacements += 1;
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

    pub(super) fn statistics(&self, hits: u64) -> Statistics {
        Statistics {
            files: self.used.files,
            bytes: self.used.bytes,
            links: self.links,
            detached_files: self.detached.files,
            detached_bytes: self.detached.bytes,
            hits,
            misses: self.misses,
            failures: self.failures,
            evictions: self.evictions,
            replacements: self.replacements,
            load_times: self.load_times,
            peak_bytes: self.peak_bytes,
            bytes_over_time: self.timeline.samples(),
        }
    }
}

fn hash_of(hasher: &DefaultHashBuilder, device: u64, inode: u64) -> u64 {
    let mut hasher = hasher.build_hasher();
    hasher.write_u64(device);
    hasher.write_u64(inode);
    hasher.finish()
}
