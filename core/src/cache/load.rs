//! Misses: files are read without a lock and inserted under the lock of the inventory.

use core::ops::Range;

use super::cache_ref::CacheRef;
use super::entry::{Entry, Key, Link, NO_FILE};
use super::error::CacheError;
use super::file_cache::FileCache;
use super::handle::Handle;
use super::inventory::Inventory;
use super::options::Prefetched;
use super::slot::Place;
use crate::alloc_util::TryArc;
use crate::format::Library;
use crate::format::bytes::offset_in;
use crate::memory::{
    FileBytes, FileRange, FileStamp, MemoryError, Nanoseconds, OpenFile, monotonic, read_ahead,
};

impl FileCache {
    /// Inserts a copy of bytes that come from no file (embedded modules, a network) under `path`.
    ///
    /// They count as a file, but are never compared with one: they stay fresh as long as they are in the
    /// cache, and [`CacheRef::stamp`] is `None`. Counts as no request. Replaces the file that was cached
    /// under this path. After the eviction of the bytes, [`get`](Self::get) looks for a file.
    ///
    /// ```
    /// use smf_core::cache::{CacheError, Capacity, FileCache, Options};
    ///
    /// let cache = FileCache::new(Capacity { files: 100, bytes: 1 << 20 }, Options::default())?;
    /// drop(cache.insert(b"builtin:answer", &[42])?);
    /// assert_eq!(*cache.get(b"builtin:answer")?, [42]);
    /// # Ok::<(), CacheError>(())
    /// ```
    ///
    /// # Errors
    /// [`CacheError::TooLarge`]; [`CacheError::AllInUse`]; [`CacheError::File`] and
    /// [`CacheError::OutOfMemory`] if there is no memory for the copy.
    pub fn insert(&self, path: &[u8], bytes: &[u8]) -> Result<CacheRef<'_>, CacheError> {
        let (size, capacity) = (bytes.len() as u64, self.capacity.bytes);
        if size > capacity {
            return Err(CacheError::TooLarge { size, capacity });
        }
        let key = Key { path, module: None };
        let hash = self.hash(&key);
        let bytes = FileBytes::copy_of(bytes, path, NO_FILE, self.copy_to())?;
        let file = self.insert_entry(&mut self.inventory.lock(), hash, &key, bytes, None)?;
        Ok(CacheRef { file, link: None, cache: self })
    }

    /// Reads files before they are requested, one after another.
    ///
    /// `report` is called with each path and its result, in order. The kernel is asked to read each file into
    /// the page cache `ahead` files before its turn, which pays for files that are not there yet; 0
    /// disables this.
    pub fn prefetch<P: AsRef<[u8]>>(
        &self,
        paths: &[P],
        ahead: usize,
        mut report: impl FnMut(&P, Result<(), CacheError>),
    ) -> Prefetched {
        let mut announced = paths.iter().take(if ahead == 0 { 0 } else { usize::MAX });
        let announce = |path: &P| {
            // `get` returns the error if the file cannot be opened.
            let _ = read_ahead(path.as_ref());
        };
        announced.by_ref().take(ahead).for_each(announce);
        let mut done = Prefetched::default();
        for path in paths {
            announced.by_ref().take(1).for_each(announce);
            let result = self.get(path.as_ref()).map(drop);
            let count = if result.is_ok() { &mut done.ready } else { &mut done.failed };
            *count += 1;
            report(path, result);
        }
        done
    }

    /// Reads and inserts what a request did not find.
    #[cold]
    pub(super) fn load(&self, hash: u64, key: Key<'_>) -> Result<CacheRef<'_>, CacheError> {
        if let Some(module) = key.module {
            return self.load_module(hash, &key, module);
        }
        self.load_file(hash, &key).inspect_err(|_| {
            let mut inventory = self.inventory.lock();
            inventory.count_failure();
            // A file that can no longer be read is not served from the cache.
            self.detach_key(&mut inventory, hash, &key, false);
        })
    }

    fn load_file(&self, hash: u64, key: &Key<'_>) -> Result<CacheRef<'_>, CacheError> {
        let begin = monotonic();
        let file = OpenFile::open(key.path)?;
        let known = self.find_by_stamp(&mut self.inventory.lock(), hash, key, &file.stamp(), true);
        if let Some(known) = known {
            return Ok(known);
        }
        let bytes = file
            .copy(FileRange::WHOLE, self.capacity.bytes, key.path, self.copy_to())
            .map_err(too_large)?;
        let end = monotonic();
        drop(file);
        self.insert_read(hash, key, bytes, begin, end)
    }

    /// Inserts a file that was read from `begin` to `end`, unless another thread has inserted it meanwhile.
    fn insert_read(
        &self,
        hash: u64,
        key: &Key<'_>,
        bytes: FileBytes,
        begin: Nanoseconds,
        end: Nanoseconds,
    ) -> Result<CacheRef<'_>, CacheError> {
        let stamp = bytes.stamp();
        let mut inventory = self.inventory.lock();
        let loaded = match self.find_by_stamp(&mut inventory, hash, key, &stamp, false) {
            Some(known) => known,
            None => {
                if let Some(handle) = inventory.find(&stamp) {
                    self.detach_replaced(&mut inventory, handle);
                }
                let file = self.insert_entry(&mut inventory, hash, key, bytes, None)?;
                CacheRef { file, link: None, cache: self }
            }
        };
        inventory.count_load(begin, end);
        Ok(loaded)
    }

    /// The file with this stamp if it is cached under whatever path. From now on `key` leads to it.
    fn find_by_stamp(
        &self,
        inventory: &mut Inventory,
        hash: u64,
        key: &Key<'_>,
        stamp: &FileStamp,
        is_hit: bool,
    ) -> Option<CacheRef<'_>> {
        let handle = inventory.find(stamp)?;
        let mut state = self.lock_shard(handle.slot);
        let at = state.find_handle(handle)?;
        let slot = state.slots.get(at as usize).filter(|slot| slot.place == Place::Used)?;
        slot.entry.stamp().filter(|known| known == stamp)?;
        let (file, _) = state.hold(at, is_hit)?;
        drop(state);
        let found = CacheRef { file, link: None, cache: self };
        Some(self.link_to(inventory, hash, key, found))
    }

    /// The same file as found by `key`, which becomes a link to it unless it is the file's own path.
    fn link_to<'c>(
        &'c self,
        inventory: &mut Inventory,
        hash: u64,
        key: &Key<'_>,
        found: CacheRef<'c>,
    ) -> CacheRef<'c> {
        if found.file.has_key(key) {
            return found;
        }
        self.detach_key(inventory, hash, key, true);
        // A link to a file only saves time, so nothing is evicted for it.
        if inventory.fits(None)
            && let Ok(link) = self.insert_link(inventory, hash, key, found.file.handle, None)
        {
            return CacheRef { link: Some(link), ..found };
        }
        found
    }

    fn insert_link(
        &self,
        inventory: &mut Inventory,
        hash: u64,
        key: &Key<'_>,
        target: Handle,
        range: Option<Range<usize>>,
    ) -> Result<TryArc<Entry>, CacheError> {
        let name = key.module.unwrap_or(&[]);
        let bytes = FileBytes::copy_of(name, key.path, NO_FILE, self.copy_to())?;
        self.insert_entry(inventory, hash, key, bytes, Some(Link { target, range }))
    }

    /// Counts as one request: that for the archive.
    fn load_module(
        &self,
        hash: u64,
        key: &Key<'_>,
        module: &[u8],
    ) -> Result<CacheRef<'_>, CacheError> {
        let archive = self.get(key.path)?;
        let name = core::str::from_utf8(module).map_err(|_| CacheError::NoSuchModule)?;
        let found = Library::parse(&archive)?.find(name).ok_or(CacheError::NoSuchModule)??;
        let start = usize::try_from(offset_in(&archive, found.data)).unwrap_or(0);
        let range = start..start + found.data.len();
        let mut inventory = self.inventory.lock();
        let target = archive.file.handle;
        let link = self.insert_link(&mut inventory, hash, key, target, Some(range))?;
        Ok(CacheRef { file: archive.file, link: Some(link), cache: self })
    }
}

/// The limit of a read is the capacity of the cache.
fn too_large(error: MemoryError) -> CacheError {
    match error {
        MemoryError::FileTooLarge { size, limit } => CacheError::TooLarge { size, capacity: limit },
        other => other.into(),
    }
}
