//! The cache: files by path.
#![allow(unsafe_code)]

use core::fmt;
use core::hash::BuildHasher;
use core::ops::Range;
use core::sync::atomic::Ordering::Relaxed;

use hashbrown::DefaultHashBuilder;
use spin::{Mutex, MutexGuard};

use super::entry::{CachedFile, Entry, Handle, Key, Link, Parts};
use super::index::Index;
use super::ledger::{Garbage, Ledger, handle_of};
use super::list::Place;
use super::pin::Pin;
use super::{CacheError, GrowingStorage, Pinned, Slot, Statistics, Storage};
use crate::format::Library;
use crate::format::bytes::offset_in;
use crate::memory::{
    FileBytes, FileRange, FileStamp, MemoryError, Nanoseconds, OpenFile, OwnedBytes, monotonic,
    read_ahead, stamp_of, yield_now,
};

/// How much a cache holds at most. Files in use count, also those that have been replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Files; at least 1. Further paths and modules of archives do not count; there are at most as
    /// many of them as files, or 4,096.
    pub files: u32,
    /// Bytes of files; at least 1.
    pub bytes: u64,
}

/// Who is thrown out first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// Exactly the one that has not been used for the longest time. Each hit takes the lock.
    #[default]
    Lru,
    /// The oldest that has not been used since it was last looked at. Hits take no lock.
    Sieve,
}

/// When a file in the cache is compared with the file on disk: size, time of modification in
/// nanoseconds, device and inode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Freshness {
    /// When [`FileCache::refresh`] asks for it.
    #[default]
    OnRequest,
    /// Whenever it is asked for by path: one system call each time.
    EachGet,
}

/// What a cache may be told beside its capacity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Who is thrown out first.
    pub policy: Policy,
    /// When files are compared with those on disk.
    pub freshness: Freshness,
}

/// How [`FileCache::prefetch`] went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Prefetched {
    /// Files that are in the cache now.
    pub ready: u32,
    /// Files that are not.
    pub failed: u32,
}

/// Files by path. Used by reference, from any thread.
///
/// ```
/// use smf_core::cache::{CacheError, Capacity, FileCache, Options};
///
/// let cache = FileCache::new(Capacity { files: 100, bytes: 1 << 20 }, Options::default())?;
/// let file = cache.get(b"Cargo.toml")?;
/// let again = cache.get_by_handle(file.handle())?;
/// assert_eq!(file.as_ptr(), again.as_ptr());
/// # Ok::<(), CacheError>(())
/// ```
pub struct FileCache<S: Storage = GrowingStorage> {
    pub(super) storage: S,
    hasher: DefaultHashBuilder,
    ledger: Mutex<Ledger>,
    capacity: Capacity,
    options: Options,
}

/// A slot's number and its entry.
type Found<'c> = (u32, Pin<'c, Entry>);

impl FileCache {
    /// An empty cache whose room grows with what is in it.
    ///
    /// # Errors
    /// [`CacheError::NoCapacity`].
    pub fn new(capacity: Capacity, options: Options) -> Result<Self, CacheError> {
        Self::with_storage(GrowingStorage::new(capacity.files), capacity, options)
    }
}

impl<S: Storage> FileCache<S> {
    /// An empty cache with its entries in `storage`. Of a fixed one each further path and each module
    /// takes a slot as well.
    ///
    /// # Errors
    /// [`CacheError::NoCapacity`].
    pub fn with_storage(
        storage: S,
        capacity: Capacity,
        options: Options,
    ) -> Result<Self, CacheError> {
        let has_slot = storage.slot_count() != 0 || storage.grow();
        if capacity.files == 0 || capacity.bytes == 0 || !has_slot {
            return Err(CacheError::NoCapacity);
        }
        let hasher = DefaultHashBuilder::default();
        let ledger = Mutex::new(Ledger::new(capacity, options.policy, hasher.clone()));
        Ok(Self { storage, hasher, ledger, capacity, options })
    }

    /// The bytes of the file at `path`, from the cache or else from the disk.
    ///
    /// # Errors
    /// [`CacheError::File`] as [`FileBytes::read`]; [`CacheError::TooLarge`]; [`CacheError::AllInUse`].
    #[inline]
    pub fn get(&self, path: &[u8]) -> Result<Pinned<'_>, CacheError> {
        self.get_key(Key { path, module: None })
    }

    /// The module called `module` in the archive at `path`. It shares the bytes of the archive, which
    /// stays as long as the module is held.
    ///
    /// # Errors
    /// As [`get`](Self::get); [`CacheError::Format`] when the file is no archive;
    /// [`CacheError::NoSuchModule`].
    pub fn get_module(&self, path: &[u8], module: &[u8]) -> Result<Pinned<'_>, CacheError> {
        self.get_key(Key { path, module: Some(module) })
    }

    #[inline]
    fn get_key(&self, key: Key<'_>) -> Result<Pinned<'_>, CacheError> {
        let hash = key.hash(self.hasher.build_hasher());
        if let Some(found) = self.find(hash, &key) {
            if self.options.freshness == Freshness::OnRequest || is_fresh(&found, key.path) {
                self.touch(&found);
                return Ok(found);
            }
            found.cancel_hit();
        }
        self.load(hash, key)
    }

    /// The lock is held for some 20 ns at a time. Who does not get it soon waits for a thread that was
    /// interrupted while it had it, and had better let that run.
    #[inline]
    pub(super) fn lock(&self) -> MutexGuard<'_, Ledger> {
        loop {
            for _ in 0..100 {
                if let Some(guard) = self.ledger.try_lock() {
                    return guard;
                }
                core::hint::spin_loop();
            }
            yield_now();
        }
    }

    /// What is kept under `key`; counts as a hit.
    #[inline]
    fn find(&self, hash: u32, key: &Key<'_>) -> Option<Pinned<'_>> {
        let index = Index::new(self.storage.buckets());
        index.find(hash, |at| {
            let slot = self.storage.slot(at)?;
            let pin = slot.cell.pin(true)?;
            if !key.is_of(&pin) {
                pin.cancel();
                return None;
            }
            self.view(at, slot, pin)
        })
    }

    /// The view of an entry that was pinned as a hit, if what it leads to is still there.
    #[inline]
    fn view<'c>(&'c self, at: u32, slot: &'c Slot, pin: Pin<'c, Entry>) -> Option<Pinned<'c>> {
        let handle = handle_of(slot, at);
        let (target, range) = match &*pin {
            Entry::File(file) => {
                let range = 0..file.bytes.len();
                return Some(Pinned { file: pin, link: None, range, handle, file_handle: handle });
            }
            Entry::Link(link) => (link.target, link.range.clone()),
            Entry::Vacant => {
                pin.cancel();
                return None;
            }
        };
        let is_held = slot.held.load(Relaxed) != 0;
        match self.pin_target(target, is_held) {
            Some(file) => {
                Some(Pinned { file, link: Some(pin), range, handle, file_handle: target })
            }
            None => {
                pin.cancel();
                None
            }
        }
    }

    /// The file of a link, if it is the one that is meant. A link that is held keeps the old one.
    fn pin_target(&self, target: Handle, is_held: bool) -> Option<Pin<'_, Entry>> {
        let slot = self.storage.slot(target.slot)?;
        let pin = slot.cell.pin(false)?;
        // With a pin the generation stays.
        let is_meant = handle_of(slot, target.slot) == target;
        (is_meant && (is_held || Place::Used.is_of(slot))).then_some(pin)
    }

    #[inline]
    fn touch(&self, found: &Pinned<'_>) {
        let (slots, links) = ([found.handle.slot, found.file_handle.slot], found.link.is_some());
        let touched = slots.into_iter().take(1 + usize::from(links));
        match self.options.policy {
            Policy::Lru => {
                let mut ledger = self.lock();
                touched.rev().for_each(|at| ledger.touch(&self.storage, at));
            }
            Policy::Sieve => touched.filter_map(|at| self.storage.slot(at)).for_each(|slot| {
                if !slot.visited.load(Relaxed) {
                    slot.visited.store(true, Relaxed);
                }
            }),
        }
    }

    #[cold]
    fn load(&self, hash: u32, key: Key<'_>) -> Result<Pinned<'_>, CacheError> {
        match key.module {
            None => self.load_file(hash, key).inspect_err(|_| {
                let mut garbage = Garbage::new();
                let mut ledger = self.lock();
                ledger.count_failure();
                // What can no longer be read should not be found.
                ledger.remove(&self.storage, hash, &key, &mut garbage);
                drop(ledger);
            }),
            Some(module) => self.load_module(hash, key, module),
        }
    }

    fn load_file(&self, hash: u32, key: Key<'_>) -> Result<Pinned<'_>, CacheError> {
        let begin = monotonic();
        let file = OpenFile::open(key.path)?;
        if let Some(known) = self.known_file(hash, &key, &file.stamp())? {
            return Ok(known);
        }
        let limit = self.capacity.bytes;
        let bytes =
            file.copy(FileRange::WHOLE, limit, key.parts(), S::COPY_TO).map_err(|e| match e {
                MemoryError::FileTooLarge { size, limit } => {
                    CacheError::TooLarge { size, capacity: limit }
                }
                other => other.into(),
            })?;
        drop(file);
        self.insert(hash, &key, bytes, begin)
    }

    /// The file with this stamp, if it is in the cache; `key` leads to it from now on.
    fn known_file(
        &self,
        hash: u32,
        key: &Key<'_>,
        stamp: &FileStamp,
    ) -> Result<Option<Pinned<'_>>, CacheError> {
        let mut garbage = Garbage::new();
        let mut ledger = self.lock();
        let found = ledger.find_file(&self.storage, stamp);
        let Some(found) = found.filter(|(_, pin)| has_stamp(pin, stamp)) else { return Ok(None) };
        ledger.count_hit();
        Ok(self.known(&mut ledger, hash, key, found, &mut garbage))
    }

    /// The view of a file that is in the cache, under this key or another.
    fn known<'c>(
        &'c self,
        ledger: &mut Ledger,
        hash: u32,
        key: &Key<'_>,
        (at, file): Found<'c>,
        garbage: &mut Garbage,
    ) -> Option<Pinned<'c>> {
        ledger.touch(&self.storage, at);
        let file_handle = handle_of(self.storage.slot(at)?, at);
        let range = 0..file.file()?.bytes.len();
        let mut view = Pinned { file, link: None, range, handle: file_handle, file_handle };
        if !key.is_of(&view.file) {
            if ledger.remove(&self.storage, hash, key, garbage) == Some(true) {
                ledger.count_replacement();
            }
            // Without a slot for it the path is looked up again the next time.
            let range = view.range.clone();
            if let Ok(link) = self.link(ledger, hash, key, file_handle, range, garbage) {
                (view.handle, view.link) =
                    (handle_of(self.storage.slot(link.0)?, link.0), Some(link.1));
            }
        }
        Some(view)
    }

    fn insert(
        &self,
        hash: u32,
        key: &Key<'_>,
        bytes: FileBytes,
        begin: Nanoseconds,
    ) -> Result<Pinned<'_>, CacheError> {
        let stamp = bytes.stamp();
        let key_len = u32::try_from(key.path.len()).unwrap_or(0);
        let file = CachedFile { bytes, key_len, parts: Parts::default() };
        let mut garbage = Garbage::new();
        let mut ledger = self.lock();
        if let Some((at, pin)) = ledger.find_file(&self.storage, &stamp) {
            // Another thread was faster.
            if has_stamp(&pin, &stamp) {
                ledger.count_load(begin);
                let known = self.known(&mut ledger, hash, key, (at, pin), &mut garbage);
                drop(ledger);
                return known.ok_or(CacheError::NoCapacity);
            }
            drop(pin);
            ledger.detach(&self.storage, at, &mut garbage);
            ledger.count_replacement();
        }
        if ledger.remove(&self.storage, hash, key, &mut garbage) == Some(true) {
            ledger.count_replacement();
        }
        let at = ledger.insert_file(&self.storage, hash, file, &mut garbage)?;
        ledger.count_load(begin);
        let slot = self.storage.slot(at).ok_or(CacheError::NoCapacity)?;
        // Under the lock nobody changes it.
        let file = slot.cell.pin(false).ok_or(CacheError::NoCapacity)?;
        drop(ledger);
        let (handle, range) = (handle_of(slot, at), 0..file.file().map_or(0, |f| f.bytes.len()));
        Ok(Pinned { file, link: None, range, handle, file_handle: handle })
    }

    fn link<'c>(
        &'c self,
        ledger: &mut Ledger,
        hash: u32,
        key: &Key<'_>,
        target: Handle,
        range: Range<usize>,
        garbage: &mut Garbage,
    ) -> Result<Found<'c>, CacheError> {
        let parts = key.parts();
        let link = Link {
            key: OwnedBytes::of(parts, S::COPY_TO)?,
            key_len: u32::try_from(parts[0].len() + parts[1].len()).unwrap_or(0),
            is_module: key.module.is_some(),
            target,
            range,
            parts: Parts::default(),
        };
        let at = ledger.insert_link(&self.storage, hash, link, garbage)?;
        let slot = self.storage.slot(at).ok_or(CacheError::NoCapacity)?;
        Ok((at, slot.cell.pin(false).ok_or(CacheError::NoCapacity)?))
    }

    /// Counts as one request: the one for the archive.
    fn load_module(
        &self,
        hash: u32,
        key: Key<'_>,
        module: &[u8],
    ) -> Result<Pinned<'_>, CacheError> {
        let archive = self.get(key.path)?;
        let name = core::str::from_utf8(module).map_err(|_| CacheError::NoSuchModule)?;
        let found = Library::parse(&archive)?.find(name).ok_or(CacheError::NoSuchModule)??;
        let start = usize::try_from(offset_in(&archive, found.data)).unwrap_or(0);
        let range = start..start + found.data.len();
        let (file_handle, mut garbage) = (archive.file_handle, Garbage::new());
        let mut ledger = self.lock();
        ledger.remove(&self.storage, hash, &key, &mut garbage);
        let link = self.link(&mut ledger, hash, &key, file_handle, range.clone(), &mut garbage);
        drop(ledger);
        let (at, link) = link?;
        let handle = handle_of(self.storage.slot(at).ok_or(CacheError::NoCapacity)?, at);
        Ok(Pinned { file: archive.file, link: Some(link), range, handle, file_handle })
    }

    /// The bytes that a handle is of.
    ///
    /// # Errors
    /// [`CacheError::Stale`] when they have been thrown out or replaced, and for what never was a
    /// handle.
    #[inline]
    pub fn get_by_handle(&self, handle: Handle) -> Result<Pinned<'_>, CacheError> {
        let stale = CacheError::Stale { handle };
        let slot = self.storage.slot(handle.slot).ok_or(stale)?;
        let pin = slot.cell.pin(true).ok_or(stale)?;
        if handle_of(slot, handle.slot) != handle || !is_alive(slot) {
            pin.cancel();
            return Err(stale);
        }
        let found = self.view(handle.slot, slot, pin).ok_or(stale)?;
        self.touch(&found);
        Ok(found)
    }

    /// Holds the bytes of a handle without a view, until [`release`](Self::release): for callers that
    /// cannot keep one, such as those across the C boundary. Counts as a request.
    ///
    /// # Errors
    /// [`CacheError::Stale`].
    pub fn retain(&self, handle: Handle) -> Result<(), CacheError> {
        self.get_by_handle(handle).map(|view| self.retain_view(&view))
    }

    /// Gives back what was [`retain`](Self::retain)ed, as often as it was.
    ///
    /// # Errors
    /// [`CacheError::Stale`]; [`CacheError::NotRetained`].
    pub fn release(&self, handle: Handle) -> Result<(), CacheError> {
        let slot = self.storage.slot(handle.slot).ok_or(CacheError::Stale { handle })?;
        let pin = slot.cell.pin(false).ok_or(CacheError::Stale { handle })?;
        if handle_of(slot, handle.slot) != handle {
            return Err(CacheError::Stale { handle });
        }
        let less =
            |slot: &Slot| slot.held.fetch_update(Relaxed, Relaxed, |held| held.checked_sub(1));
        less(slot).map_err(|_| CacheError::NotRetained { handle })?;
        if let Entry::Link(link) = &*pin {
            // It was held as well, so it is there.
            let _ = self.storage.slot(link.target.slot).map(less);
        }
        Ok(())
    }

    /// The bytes of a file that is in the cache, without a pin and without a lock, for a caller who
    /// has the cache for himself. Counts as a hit. Files on disk are not looked at.
    #[inline]
    pub fn get_exclusive(&mut self, path: &[u8]) -> Option<&[u8]> {
        let key = Key { path, module: None };
        let hash = key.hash(self.hasher.build_hasher());
        let index = Index::new(self.storage.buckets());
        let (at, entry) = index.find(hash, |at| {
            // SAFETY: entries are changed by methods of the cache alone, and as long as the reference
            // lives it borrows the cache mutably.
            let entry = unsafe { self.storage.slot(at)?.cell.get_unpinned() };
            key.is_of(entry).then_some((at, entry))
        })?;
        let (file_at, file) = match entry {
            Entry::File(file) => (at, file),
            Entry::Link(link) => {
                let target = self.storage.slot(link.target.slot)?;
                let is_meant = handle_of(target, link.target.slot) == link.target;
                if !is_meant || !Place::Used.is_of(target) {
                    return None;
                }
                // SAFETY: as above.
                (link.target.slot, unsafe { target.cell.get_unpinned() }.file()?)
            }
            Entry::Vacant => return None,
        };
        let ledger = self.ledger.get_mut();
        ledger.count_hit();
        for touched in [Some(file_at), Some(at).filter(|at| *at != file_at)].into_iter().flatten() {
            match ledger.policy() {
                Policy::Lru => ledger.touch(&self.storage, touched),
                Policy::Sieve => self.storage.slot(touched)?.visited.store(true, Relaxed),
            }
        }
        Some(&file.bytes)
    }

    /// Compares the file at `path` with the one in the cache, and reads it again if it has changed.
    /// Whoever holds the old bytes keeps them. Returns whether there is something new; false also
    /// when it was not in the cache.
    ///
    /// # Errors
    /// As [`get`](Self::get); what cannot be read any more is not in the cache afterwards.
    pub fn refresh(&self, path: &[u8]) -> Result<bool, CacheError> {
        let key = Key { path, module: None };
        let hash = key.hash(self.hasher.build_hasher());
        let Some(found) = self.find(hash, &key) else { return Ok(false) };
        let fresh = is_fresh(&found, path);
        found.cancel_hit();
        if fresh {
            return Ok(false);
        }
        self.load(hash, key).map(|_| true)
    }

    /// Compares every file with the one on disk and throws out those that have changed or are gone;
    /// returns how many. Whoever holds the old bytes keeps them.
    pub fn refresh_all(&self) -> u32 {
        let mut dropped = 0;
        let touched = self.lock().touched();
        for (at, slot) in (0..touched).filter_map(|at| Some((at, self.storage.slot(at)?))) {
            let Some(pin) = slot.cell.pin(false) else { continue };
            let Some(file) = pin.file().filter(|_| Place::Used.is_of(slot)) else { continue };
            if stamp_of(file.key()).is_ok_and(|stamp| stamp == file.stamp()) {
                continue;
            }
            // The pin keeps the slot from getting another file meanwhile.
            let mut garbage = Garbage::new();
            let mut ledger = self.lock();
            drop(pin);
            if ledger.detach(&self.storage, at, &mut garbage) {
                ledger.count_replacement();
                dropped += 1;
            }
            drop(ledger);
        }
        dropped
    }

    /// Throws out the file at `path`; whether it was there. Whoever holds it keeps the bytes.
    pub fn evict(&self, path: &[u8]) -> bool {
        let key = Key { path, module: None };
        let hash = key.hash(self.hasher.build_hasher());
        let mut garbage = Garbage::new();
        let mut ledger = self.lock();
        let found = ledger.remove(&self.storage, hash, &key, &mut garbage).is_some();
        drop(ledger);
        found
    }

    /// Throws out everything. Whoever holds bytes keeps them.
    pub fn clear(&self) {
        let mut garbage = Garbage::new();
        let mut ledger = self.lock();
        ledger.clear(&self.storage, &mut garbage);
        drop(ledger);
    }

    /// Reads files before they are needed, one after another. `report` hears of each, in order; one
    /// that fails does not concern the others. The kernel is told of each file `ahead` files before
    /// its turn, which pays for files that are not in its own cache; 0 tells it nothing.
    pub fn prefetch<P: AsRef<[u8]>>(
        &self,
        paths: &[P],
        ahead: usize,
        mut report: impl FnMut(&P, Result<(), CacheError>),
    ) -> Prefetched {
        let mut announced = paths.iter().take(if ahead == 0 { 0 } else { usize::MAX });
        let announce = |path: &P| {
            // Why it cannot be opened is found out when it is its turn.
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

    /// What has happened so far. Takes the lock, and time in proportion to the files.
    pub fn statistics(&self) -> Statistics {
        self.lock().statistics(&self.storage)
    }

    /// Calls `visit` with each path in the cache and its handle, the most recently used first (with
    /// SIEVE: the most recently read). The lock is held meanwhile: `visit` must not use the cache.
    pub fn for_each(&self, mut visit: impl FnMut(&[u8], Handle)) {
        let ledger = self.lock();
        for at in ledger.used_slots(&self.storage) {
            let Some(slot) = self.storage.slot(at) else { continue };
            let Some(pin) = slot.cell.pin(false) else { continue };
            if let Some(file) = pin.file() {
                visit(file.key(), handle_of(slot, at));
            }
        }
    }
}

impl<S: Storage> fmt::Debug for FileCache<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileCache").field("options", &self.options).finish_non_exhaustive()
    }
}

/// Whether an entry may be used by whoever has its handle.
#[inline]
fn is_alive(slot: &Slot) -> bool {
    Place::Used.is_of(slot) || slot.held.load(Relaxed) != 0
}

fn has_stamp(entry: &Entry, stamp: &FileStamp) -> bool {
    entry.file().is_some_and(|file| file.stamp() == *stamp)
}

fn is_fresh(found: &Pinned<'_>, path: &[u8]) -> bool {
    stamp_of(path).is_ok_and(|stamp| found.stamp() == Some(stamp))
}
