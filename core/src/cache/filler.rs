//! Many files one after another, as whoever fills a cache reads them.

use core::fmt;

use super::entry::Key;
use super::files::FileCache;
use super::ledger::Garbage;
use super::load::ready;
use super::{CacheError, GrowingStorage, Pinned, Storage};
use crate::memory::{
    BLOCK, Blocks, CopyTo, FileBytes, FileRange, LARGEST, MemoryError, Nanoseconds, OpenFile,
    monotonic,
};

/// So many bytes are read into memory of their own before there is a block for those that follow: who reads
/// a few files should not wait for all of its memory.
const BEFORE: usize = BLOCK / 4;

/// For so many files there has to be room in the cache, and for a block of bytes, before a block is begun.
/// Else some of those in it would soon be thrown out for the others.
const FILES: u32 = 128;

/// A thread's way of filling a cache with many files: [`FileCache::filler`].
///
/// It does what [`FileCache::get`] does, in less time: small files share memory that comes in pieces of
/// 2 MiB, as long as nothing has to be thrown out for them; and the clock is asked once a file, for the end
/// of one is the beginning of the next.
///
/// ```
/// use smf_core::cache::{CacheError, Capacity, FileCache, Options};
///
/// let cache = FileCache::new(Capacity { files: 100, bytes: 1 << 20 }, Options::default())?;
/// let mut filler = cache.filler();
/// for path in ["Cargo.toml", "src/lib.rs"] {
///     drop(filler.get(path.as_bytes())?);
/// }
/// assert_eq!(cache.statistics().files, 2);
/// # Ok::<(), CacheError>(())
/// ```
pub struct Filler<'c, S: Storage = GrowingStorage> {
    cache: &'c FileCache<S>,
    blocks: Blocks,
    /// How many bytes were read into memory of their own.
    before: usize,
    /// When the last file was read, unless there was something else since.
    end: Option<Nanoseconds>,
    /// How long that took.
    time: Option<Nanoseconds>,
}

impl<S: Storage> FileCache<S> {
    /// A way to fill the cache, for one thread.
    pub fn filler(&self) -> Filler<'_, S> {
        Filler { cache: self, blocks: Blocks::new(), before: 0, end: None, time: None }
    }
}

impl<'c, S: Storage> Filler<'c, S> {
    /// As [`FileCache::get`]. What counts as the [time](super::Statistics::load_times) of a file that is read
    /// begins where that of the last one ended, so whoever does something else between two files
    /// [says so](Self::pause).
    ///
    /// # Errors
    /// As [`FileCache::get`].
    pub fn get(&mut self, path: &[u8]) -> Result<Pinned<'c>, CacheError> {
        let key = Key { path, module: None };
        let hash = self.cache.hash(&key);
        match self.cache.find_fresh(hash, &key) {
            Some(found) => {
                self.pause();
                Ok(self.cache.pinned(found))
            }
            None => self.load(hash, key),
        }
    }

    /// Something else was done than reading files.
    pub fn pause(&mut self) {
        (self.end, self.time) = (None, None);
    }

    /// How long it took to read the file that was [got](Self::get) last; `None` when it was there already.
    pub fn read_time(&self) -> Option<Nanoseconds> {
        self.time
    }

    /// The file at a path that is not in the cache.
    pub(super) fn load(&mut self, hash: u32, key: Key<'_>) -> Result<Pinned<'c>, CacheError> {
        let begin = self.end.take().unwrap_or_else(monotonic);
        self.time = None;
        self.load_from(begin, hash, key).inspect_err(|_| {
            let mut garbage = Garbage::new();
            let mut ledger = self.cache.lock();
            ledger.count_failure();
            // What can no longer be read should not be found.
            ledger.remove(&self.cache.storage, hash, key, &mut garbage);
            drop(ledger);
        })
    }

    fn load_from(
        &mut self,
        begin: Nanoseconds,
        hash: u32,
        key: Key<'_>,
    ) -> Result<Pinned<'c>, CacheError> {
        let file = OpenFile::open(key.path)?;
        if let Some(known) = self.cache.known_file(hash, &key, &file.stamp()) {
            return Ok(known);
        }
        let (ready, end) = ready(begin, self.copy(&file, key.path))?;
        drop(file);
        (self.end, self.time) = (Some(end), Some(end.saturating_sub(begin)));
        self.cache.insert_hashed(hash, ready)
    }

    fn copy(&mut self, file: &OpenFile, path: &[u8]) -> Result<FileBytes, MemoryError> {
        let limit = self.cache.capacity.bytes;
        if self.shares(file.stamp().size.saturating_add(path.len() as u64)) {
            return file.copy_to_blocks(limit, path, &mut self.blocks);
        }
        let bytes = file.copy(FileRange::WHOLE, limit, path, S::COPY_TO)?;
        self.before = self.before.saturating_add(bytes.len());
        Ok(bytes)
    }

    /// Whether so many bytes go into memory that other files share.
    fn shares(&self, size: u64) -> bool {
        let is_of_many = cfg!(feature = "full") && self.before >= BEFORE;
        let fits = S::COPY_TO == CopyTo::Allocator && size <= LARGEST as u64;
        is_of_many && fits && (self.blocks.have_room_for(size) || self.may_begin())
    }

    /// Whether there is room in the cache for what would be in a block.
    fn may_begin(&self) -> bool {
        self.cache.lock().has_room_for(FILES, BLOCK as u64)
    }
}

impl<S: Storage> fmt::Debug for Filler<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Filler").field("read_time", &self.time).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Capacity, FixedStorage};
    use super::*;
    use crate::memory::MemoryError;
    use std::os::unix::ffi::OsStrExt;
    use std::path::PathBuf;
    use std::vec::Vec;
    use std::{env, format, fs, process, vec};

    const SIZE: usize = 16 << 10;

    /// Files whose bytes are their number, in a directory that is removed in the end.
    struct Files {
        directory: PathBuf,
        paths: Vec<PathBuf>,
    }

    impl Files {
        fn new(test: &str, count: usize) -> Self {
            let directory = env::temp_dir().join(format!("smf-filler-{test}-{}", process::id()));
            fs::create_dir_all(&directory).unwrap();
            let path = |number: usize| {
                let path = directory.join(format!("{number}"));
                fs::write(&path, vec![number as u8; SIZE]).unwrap();
                path
            };
            let paths = (0..count).map(path).collect();
            Self { directory, paths }
        }

        fn path(&self, number: usize) -> &[u8] {
            self.paths[number].as_os_str().as_bytes()
        }
    }

    impl Drop for Files {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.directory);
        }
    }

    /// The blocks that files would be in.
    fn blocks_of<S: Storage>(cache: &FileCache<S>, files: &Files) -> Vec<usize> {
        let mut filler = cache.filler();
        let blocks = (0..files.paths.len()).map(|number| {
            let got = filler.get(files.path(number)).unwrap();
            assert!(*got == *vec![number as u8; SIZE] && got.len() == SIZE, "{number}");
            got.as_ptr().addr() / BLOCK
        });
        blocks.collect()
    }

    #[test]
    fn files_share_a_block_after_the_first_ones() {
        // A few more than stay alone.
        let first = BEFORE / SIZE;
        let count = if cfg!(miri) { first + 4 } else { 100 };
        let files = Files::new("share", count);
        let cache = FileCache::new(Capacity { files: 500, bytes: 8 << 20 }, Default::default());
        let cache = cache.unwrap();
        let blocks = blocks_of(&cache, &files);
        let last = blocks[count - 1];
        assert!(cfg!(not(feature = "full")) || blocks[first..].iter().all(|at| *at == last));
        assert!(blocks[..first].iter().all(|at| *at != last) || cfg!(not(feature = "full")));
        let statistics = cache.statistics();
        let loaded = u32::try_from(count).unwrap();
        let seen = (statistics.files, statistics.misses, statistics.hits);
        assert_eq!(seen, (loaded, loaded.into(), 0));
        assert_eq!(statistics.bytes, (count * SIZE) as u64);
        for number in (0..count).rev() {
            assert_eq!(*cache.get(files.path(number)).unwrap(), *vec![number as u8; SIZE]);
            assert!(cache.evict(files.path(number)));
        }
    }

    #[test]
    fn no_block_is_begun_where_files_would_be_thrown_out_or_no_allocator_is_asked() {
        let files = Files::new("room", 1);
        for (count, bytes, begins) in [
            (FILES - 1, 8 << 20, false),
            (FILES, 8 << 20, true),
            (500, BLOCK as u64 - 1, false),
            (500, BLOCK as u64, true),
        ] {
            let cache = FileCache::new(Capacity { files: count, bytes }, Default::default());
            let cache = cache.unwrap();
            let mut filler = cache.filler();
            assert!(!filler.shares(SIZE as u64), "too early");
            filler.before = BEFORE;
            let is_full = cfg!(feature = "full");
            assert_eq!(filler.shares(SIZE as u64), begins && is_full, "{count} {bytes}");
            assert!(!filler.shares(LARGEST as u64 + 1));
            drop(filler.get(files.path(0)).unwrap());
            // What is left of a block is used to its end.
            assert_eq!(filler.shares(SIZE as u64), begins && is_full, "{count} {bytes}");
            drop(filler);
            let mut other = cache.filler();
            other.before = BEFORE;
            assert!(!other.shares(SIZE as u64), "there is no room for another");
        }
        let fixed = FixedStorage::<100, 25>::new();
        let capacity = Capacity { files: 100, bytes: 8 << 20 };
        let cache = FileCache::with_storage(fixed, capacity, Default::default()).unwrap();
        let mut filler = cache.filler();
        filler.before = BEFORE;
        assert!(!filler.shares(SIZE as u64));
    }

    #[test]
    fn the_clock_goes_on_from_file_to_file_and_not_over_what_was_there() {
        let files = Files::new("clock", 3);
        let cache = FileCache::new(Capacity { files: 9, bytes: 1 << 20 }, Default::default());
        let cache = cache.unwrap();
        let mut filler = cache.filler();
        assert_eq!(filler.read_time(), None);
        drop(filler.get(files.path(0)).unwrap());
        let end = filler.end.unwrap();
        drop(filler.get(files.path(1)).unwrap());
        let (time, next) = (filler.read_time().unwrap(), filler.end.unwrap());
        assert_eq!(time, next - end);
        drop(filler.get(files.path(0)).unwrap());
        assert_eq!((filler.read_time(), filler.end), (None, None));
        let absent = filler.get(b"absent").map(drop).unwrap_err();
        assert!(matches!(absent, CacheError::File(MemoryError::Open { .. })));
        assert_eq!((filler.read_time(), filler.end), (None, None));
        drop(filler.get(files.path(2)).unwrap());
        assert!(filler.read_time().is_some());
        filler.pause();
        assert_eq!((filler.read_time(), filler.end), (None, None));
        let statistics = cache.statistics();
        let counts = (statistics.hits, statistics.misses, statistics.failures);
        assert_eq!((counts, statistics.load_times.count()), ((1, 4, 1), 3));
    }
}
