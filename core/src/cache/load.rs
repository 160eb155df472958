//! Misses: files are read without a lock and inserted under the lock of the inventory.

use core::ops::Range;

use super::cache_ref::CacheRef;
use super::entry::{CachedFile, Entry, Key, Link, NO_FILE};
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
    FileBytes, FileRange, FileStamp, MemoryError, Nanoseconds, OpenFile, OwnedBytes, monotonic,
    read_ahead,
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
        let bytes = FileBytes::copy_of(bytes, path, NO_FILE, self.copy_to())?;
        let mut inventory = self.lock_inventory();
        self.insert_file(&mut inventory, self.hash(&key), &key, bytes)
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
            let mut inventory = self.lock_inventory();
            inventory.count_failure();
            // A file that can no longer be read is not served from the cache.
            self.detach_key(&mut inventory, hash, &key);
        })
    }

    fn load_file(&self, hash: u64, key: &Key<'_>) -> Result<CacheRef<'_>, CacheError> {
        let begin = monotonic();
        let file = OpenFile::open(key.path)?;
        if let Some(known) = self.find_by_stamp(hash, key, &file.stamp()) {
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
        let mut inventory = self.lock_inventory();
        if let Some(handle) = inventory.find(&stamp) {
            if let Some(file) = self.reuse(handle, &stamp, false) {
                inventory.count_load(begin, end);
                return Ok(self.link_to(&mut inventory, hash, key, file));
            }
            if self.detach_handle(&mut inventory, handle) {
                inventory.count_replacement();
            }
        }
        let inserted = self.insert_file(&mut inventory, hash, key, bytes)?;
        inventory.count_load(begin, end);
        Ok(inserted)
    }

    /// Inserts a file and replaces the entry under its path.
    fn insert_file(
        &self,
        inventory: &mut Inventory,
        hash: u64,
        key: &Key<'_>,
        bytes: FileBytes,
    ) -> Result<CacheRef<'_>, CacheError> {
        self.replace(inventory, hash, key);
        let entry = Entry::File(CachedFile::new(bytes));
        let (handle, file) = self.insert_entry(inventory, hash, entry)?;
        Ok(CacheRef { file, link: None, handle, cache: self })
    }

    /// Detaches the entry under a key for another one.
    fn replace(&self, inventory: &mut Inventory, hash: u64, key: &Key<'_>) {
        if self.detach_key(inventory, hash, key) == Some(true) {
            inventory.count_replacement();
        }
    }

    /// The file with this stamp if it is cached under whatever path, as a hit. From now on `key` leads to it.
    fn find_by_stamp(&self, hash: u64, key: &Key<'_>, stamp: &FileStamp) -> Option<CacheRef<'_>> {
        let mut inventory = self.lock_inventory();
        let file = self.reuse(inventory.find(stamp)?, stamp, true)?;
        Some(self.link_to(&mut inventory, hash, key, file))
    }

    /// The file of a handle if it has this stamp, as used.
    fn reuse(&self, handle: Handle, stamp: &FileStamp, is_hit: bool) -> Option<CacheRef<'_>> {
        let mut state = self.lock_shard_of(handle);
        let at = state.find_handle(handle)?;
        let slot = state.slot(at).filter(|slot| slot.place == Place::Used)?;
        let file = slot.entry.clone();
        file.file()?.stamp().filter(|known| known == stamp)?;
        state.touch(at);
        state.count_hit(is_hit);
        Some(CacheRef { file, link: None, handle, cache: self })
    }

    /// The same file as found by `key`, which becomes a link to it unless it is the file's own path.
    fn link_to<'c>(
        &'c self,
        inventory: &mut Inventory,
        hash: u64,
        key: &Key<'_>,
        file: CacheRef<'c>,
    ) -> CacheRef<'c> {
        if key.is_of(&file.file) {
            return file;
        }
        self.replace(inventory, hash, key);
        // A link to a file only saves time, so nothing is evicted for it.
        let linked = inventory
            .fits_link()
            .then(|| self.insert_link(inventory, hash, key, (file.handle, None)).ok());
        match linked.flatten() {
            Some((handle, link)) => CacheRef { link: Some(link), handle, ..file },
            None => file,
        }
    }

    fn insert_link(
        &self,
        inventory: &mut Inventory,
        hash: u64,
        key: &Key<'_>,
        (target, range): (Handle, Option<Range<usize>>),
    ) -> Result<(Handle, TryArc<Entry>), CacheError> {
        let key = OwnedBytes::copy_of(key.path, key.module.unwrap_or(&[]), self.copy_to())?;
        let link = Entry::Link(Link::new(key, target, range));
        self.insert_entry(inventory, hash, link)
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
        let target = (archive.file_handle(), Some(start..start + found.data.len()));
        let mut inventory = self.lock_inventory();
        self.detach_key(&mut inventory, hash, key);
        let (handle, link) = self.insert_link(&mut inventory, hash, key, target)?;
        let file = archive.file;
        Ok(CacheRef { file, link: Some(link), handle, cache: self })
    }
}

/// The limit of a read is the capacity of the cache.
fn too_large(error: MemoryError) -> CacheError {
    match error {
        MemoryError::FileTooLarge { size, limit } => CacheError::TooLarge { size, capacity: limit },
        other => other.into(),
    }
}
