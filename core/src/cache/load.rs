//! What is not in the cache yet, and how it gets there.
//!
//! To read a file takes system calls, and to put it in takes the lock. The two are apart: no lock is held
//! while a file is read, and who has read one, or has bytes from elsewhere, may put it in later.

use core::fmt;
use core::ops::{Deref, Range};

use super::entry::{CachedFile, Entry, Handle, Key, Link, NO_FILE, Parts, WHOLE, is_no_file};
use super::files::FileCache;
use super::ledger::{Garbage, Ledger, handle_of};
use super::pin::{Closed, Pin};
use super::pinned::Held;
use super::sections::Sections;
use super::storage::Slots;
use super::{CacheError, Pinned, Storage};
use crate::format::Library;
use crate::format::bytes::offset_in;
use crate::memory::{
    FileBytes, FileRange, FileStamp, MemoryError, Nanoseconds, OpenFile, OwnedBytes, monotonic,
};

/// Bytes with a path that are in no cache yet; see [`FileCache::read`] and [`FileCache::prepare`].
pub struct ReadyFile {
    bytes: FileBytes,
    /// When reading began and ended; `None` when nothing was read.
    read: Option<(Nanoseconds, Nanoseconds)>,
}

impl ReadyFile {
    /// The path under which the bytes will be found.
    pub fn path(&self) -> &[u8] {
        self.bytes.tail()
    }
}

impl Deref for ReadyFile {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl fmt::Debug for ReadyFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadyFile").field("len", &self.len()).finish_non_exhaustive()
    }
}

/// A slot's number and its entry.
type Found<'c> = (u32, Pin<'c, Entry>);
/// A view that does not know its cache yet.
type PinnedFile<'c> = Held<Pin<'c, Entry>>;

impl<S: Storage> FileCache<S> {
    /// Reads a file as [`get`](Self::get) would, into memory of the kind that this cache uses, and does
    /// not put it in: the cache is neither asked nor changed, and nothing is counted before
    /// [`insert`](Self::insert).
    ///
    /// # Errors
    /// [`CacheError::File`] as [`FileBytes::read`]; [`CacheError::TooLarge`].
    pub fn read(&self, path: &[u8]) -> Result<ReadyFile, CacheError> {
        let begin = monotonic();
        let file = OpenFile::open(path)?;
        let bytes = file.copy(FileRange::WHOLE, self.capacity.bytes, path, S::COPY_TO);
        ready(begin, bytes).map(|(ready, _)| ready)
    }

    /// A copy of bytes that come from elsewhere (a program that carries its modules, a network), to be
    /// put in under a path. They count as a file, and no file is compared with them: as long as they
    /// are in the cache they are fresh, and [`Pinned::stamp`] is `None`. Once they have been thrown
    /// out, [`get`](Self::get) looks for a file.
    ///
    /// # Errors
    /// [`CacheError::TooLarge`]; [`CacheError::File`] when there is no memory for the copy.
    pub fn prepare(&self, path: &[u8], bytes: &[u8]) -> Result<ReadyFile, CacheError> {
        let (size, capacity) = (bytes.len() as u64, self.capacity.bytes);
        if size > capacity {
            return Err(CacheError::TooLarge { size, capacity });
        }
        Ok(ReadyFile { bytes: FileBytes::of(bytes, path, NO_FILE, S::COPY_TO)?, read: None })
    }

    /// Puts in what was [read](Self::read), which then counts as a request that missed, or
    /// [prepared](Self::prepare), which counts as none. What was there under the same path is replaced;
    /// of a file that is in the cache in the same state already, the one in the cache stays.
    ///
    /// ```
    /// use smf_core::cache::{CacheError, Capacity, FileCache, Options};
    ///
    /// let cache = FileCache::new(Capacity { files: 100, bytes: 1 << 20 }, Options::default())?;
    /// let built_in = cache.prepare(b"builtin:answer", &[42])?;
    /// drop(cache.insert(built_in)?);
    /// assert_eq!(*cache.get(b"builtin:answer")?, [42]);
    /// # Ok::<(), CacheError>(())
    /// ```
    ///
    /// # Errors
    /// [`CacheError::AllInUse`]; [`CacheError::TooLarge`] for one made for another, larger cache.
    pub fn insert(&self, file: ReadyFile) -> Result<Pinned<'_>, CacheError> {
        self.insert_hashed(self.hash_if_fits(&file)?, file)
    }

    /// The hash of a file's path, unless it is larger than the cache.
    pub(super) fn hash_if_fits(&self, file: &ReadyFile) -> Result<u32, CacheError> {
        let (size, capacity) = (file.len() as u64, self.capacity.bytes);
        if size > capacity {
            return Err(CacheError::TooLarge { size, capacity });
        }
        Ok(self.hash(&Key { path: file.path(), module: None }))
    }

    #[cold]
    pub(super) fn load(&self, hash: u32, key: Key<'_>) -> Result<Pinned<'_>, CacheError> {
        match key.module {
            None => self.filler().load(hash, key),
            Some(module) => self.load_module(hash, key, module),
        }
    }

    /// The file with this stamp, if it is in the cache; `key` leads to it from now on.
    pub(super) fn known_file(
        &self,
        hash: u32,
        key: &Key<'_>,
        stamp: &FileStamp,
    ) -> Option<Pinned<'_>> {
        let mut garbage = Garbage::new();
        let mut ledger = self.lock();
        let at = ledger.find_file(&self.storage, stamp)?;
        let found =
            ledger.pin(self.storage.slot(at)?, false).filter(|pin| has_stamp(pin, stamp))?;
        ledger.count_hit();
        let known = known(&mut ledger, &self.storage, hash, *key, (at, found), &mut garbage);
        drop(ledger);
        known.map(|known| self.pinned(known))
    }

    #[inline(never)]
    pub(super) fn insert_hashed(
        &self,
        hash: u32,
        ready: ReadyFile,
    ) -> Result<Pinned<'_>, CacheError> {
        let mut garbage = Garbage::new();
        let mut ledger = self.lock();
        let inserted = match ready.put(&mut ledger, &self.storage, hash, &mut garbage)? {
            Put::New(at, closed) => view_of(&self.storage, (at, closed.into_pin())),
            Put::Known(known) => Some(known),
        };
        drop(ledger);
        inserted.map(|held| self.pinned(held)).ok_or(CacheError::NoCapacity)
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
        let (file_handle, mut garbage) = (archive.held.file_handle, Garbage::new());
        let mut ledger = self.lock();
        ledger.remove(&self.storage, hash, key, &mut garbage);
        let meant = (file_handle, range.clone());
        let link = link(&mut ledger, &self.storage, hash, key, meant, &mut garbage);
        drop(ledger);
        let (at, link) = link?;
        let handle = handle_of(self.storage.slot(at).ok_or(CacheError::NoCapacity)?, at);
        let file = archive.held.file;
        Ok(self.pinned(Held { file, link: Some(link), range, handle, file_handle }))
    }
}

/// What was copied from a file since `begin`, and when that ended.
pub(super) fn ready(
    begin: Nanoseconds,
    bytes: Result<FileBytes, MemoryError>,
) -> Result<(ReadyFile, Nanoseconds), CacheError> {
    let bytes = bytes.map_err(|error| match error {
        MemoryError::FileTooLarge { size, limit } => CacheError::TooLarge { size, capacity: limit },
        other => other.into(),
    })?;
    let end = monotonic();
    Ok((ReadyFile { bytes, read: Some((begin, end)) }, end))
}

/// What came of putting in a file.
pub(super) enum Put<'c> {
    /// It is in this slot, which is to be opened before anything else.
    New(u32, Closed<'c, Entry>),
    /// The same was there already.
    Known(PinnedFile<'c>),
}

impl ReadyFile {
    #[inline(always)]
    pub(super) fn put<'c, S: Storage>(
        self,
        ledger: &mut Ledger,
        storage: &'c S,
        hash: u32,
        garbage: &mut Garbage,
    ) -> Result<Put<'c>, CacheError> {
        let key = Key { path: self.path(), module: None };
        let size = self.bytes.len() as u64;
        if !is_no_file(&self.bytes.stamp())
            && let Some(known) = make_way(ledger, storage, hash, key, &self.bytes.stamp(), garbage)
        {
            count_load(ledger, self.read);
            return Ok(Put::Known(known));
        }
        if ledger.remove(storage, hash, key, garbage) == Some(true) {
            ledger.count_replacement();
        }
        let slots = Slots::of(storage);
        let room = match ledger.room_for_file(&slots, size, garbage) {
            Ok(room) => room,
            Err(error) => {
                garbage.take(entry_of(self.bytes));
                return Err(error);
            }
        };
        let (at, slot) = (room.at, room.slot);
        let closed = room.fill(entry_of(self.bytes), garbage);
        ledger.enter_file(&slots, hash, (at, slot), (&closed, size));
        count_load(ledger, self.read);
        Ok(Put::New(at, closed))
    }
}

#[inline(always)]
fn entry_of(bytes: FileBytes) -> Entry {
    let (parts, sections) = (Parts::default(), Sections::default());
    Entry::File(CachedFile { bytes, parts, sections })
}

#[inline(always)]
fn count_load(ledger: &mut Ledger, read: Option<(Nanoseconds, Nanoseconds)>) {
    if let Some((begin, end)) = read {
        ledger.count_load(begin, end);
    }
}

/// The view of the file with this stamp, if another thread was faster; an older state of it goes.
#[inline(never)]
fn make_way<'c, S: Storage>(
    ledger: &mut Ledger,
    storage: &'c S,
    hash: u32,
    key: Key<'_>,
    stamp: &FileStamp,
    garbage: &mut Garbage,
) -> Option<PinnedFile<'c>> {
    let at = ledger.find_file(storage, stamp)?;
    match ledger.pin(storage.slot(at)?, false).filter(|pin| has_stamp(pin, stamp)) {
        Some(pin) => known(ledger, storage, hash, key, (at, pin), garbage),
        None => {
            ledger.detach(storage, at, garbage);
            ledger.count_replacement();
            None
        }
    }
}

/// The view of a file that is in the cache, under this key or another.
fn known<'c, S: Storage>(
    ledger: &mut Ledger,
    storage: &'c S,
    hash: u32,
    key: Key<'_>,
    found: Found<'c>,
    garbage: &mut Garbage,
) -> Option<PinnedFile<'c>> {
    ledger.touch(&Slots::of(storage), found.0, storage.slot(found.0)?);
    let mut view = view_of(storage, found)?;
    if !key.is_of(&view.file) {
        if ledger.remove(storage, hash, key, garbage) == Some(true) {
            ledger.count_replacement();
        }
        // Without a slot for it the path is looked up again the next time.
        if let Ok(link) = link(ledger, storage, hash, key, (view.file_handle, WHOLE), garbage) {
            (view.handle, view.link) = (handle_of(storage.slot(link.0)?, link.0), Some(link.1));
        }
    }
    Some(view)
}

/// The view of a file by its first path.
fn view_of<'c, S: Storage>(storage: &S, (at, file): Found<'c>) -> Option<PinnedFile<'c>> {
    let handle = handle_of(storage.slot(at)?, at);
    let range = 0..file.file()?.bytes.len();
    Some(Held { file, link: None, range, handle, file_handle: handle })
}

/// Puts in a link to a part of a file.
fn link<'c, S: Storage>(
    ledger: &mut Ledger,
    storage: &'c S,
    hash: u32,
    key: Key<'_>,
    (target, range): (Handle, Range<usize>),
    garbage: &mut Garbage,
) -> Result<Found<'c>, CacheError> {
    let key = OwnedBytes::of(key.path, key.module.unwrap_or(&[]), S::COPY_TO)?;
    let link = Link { key, target, range, parts: Parts::default() };
    let (at, closed) = ledger.insert_link(storage, hash, link, garbage)?;
    Ok((at, closed.into_pin()))
}

fn has_stamp(entry: &Entry, stamp: &FileStamp) -> bool {
    entry.file().and_then(CachedFile::stamp) == Some(*stamp)
}
