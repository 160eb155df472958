//! Files into a cache before they are needed, on several threads.
//!
//! [`warm`] reads a list of files through a [`FileCache`] and comes back when it is done; [`start`]
//! comes back at once with a [`Prefetch`], a future that can also be looked at, waited for and
//! dropped. Both tell of each file that could not be read, in the order of the list; none of them
//! concerns another.
//!
//! * A path that stands in the list twice is read once and counts twice.
//! * A file that there was no room or no descriptor for while others were being read is tried once
//!   more, alone, before it counts as failed; a thread that met with that leaves the rest to the
//!   others. So any number of threads works with any limit and with a cache of a single file.
//! * A thread that the system or the allocator does not give is done without; so is every one of them.
//! * What else there must be memory for is there before the first file is read: [`try_warm`] and [`try_start`]
//!   return an error otherwise, where [`warm`] and [`start`] end the process.
//! * The list may be longer than the cache has room for: the first files are thrown out again, and
//!   are in the kernel's page cache all the same.
//!
//! # Measured
//!
//! 2,000 files of 16 KiB on two cores, in microseconds of processor time a file, which other programs disturb
//! less than the time on the wall. The page cache has all of them. Least of 60 rounds in turns, by a program
//! of its own; `cargo xtask bench prefetch` has the same on the wall.
//!
//! | | us |
//! |---|---|
//! | `fs::read` of each, all of them kept | 9.2 |
//! | [`FileCache::get`] of each | 9.7 |
//! | [`warm`], one thread | 6.6 |
//! | [`warm`], two threads, their sum | 6.9 |
//! | open, fstat, pread, fstat, close into large pages, and nothing else: one thread; two | 6.2; 6.3 |
//! | the same into one buffer that is used again | 5.1 |
//!
//! Of what `fs::read` takes 4 us are for memory, though half of its pages the allocator has from the round
//! before; a fresh one takes 1.4 us. [A filler](Filler) has a large page for a hundred files, which is 1 us for
//! each. To ask for the pages of a file at once (`MADV_POPULATE_WRITE`) is
//! 12 % slower than to let `read` find them missing. The other 0.4 us are one look at the clock for the
//! statistics, and to look for the file, by path and by inode, and to put it in. To give all files back takes
//! 0.39 us each, with `get` 0.52.
//!
//! Where the allocator has all the memory from before, `fs::read` of each takes 5.1 us on the wall and [`warm`] 6,
//! instead of 12 and 6 (`cargo xtask bench "on one thread"`).
//!
//! On the wall, the least of many rounds, and before there were large pages; on disk means that the page cache
//! has none of them (`POSIX_FADV_DONTNEED`) and only knows where they are:
//!
//! | | cached | on disk |
//! |---|---|---|
//! | open, read, close into one buffer, one thread | 3.7 | 69 |
//! | the same, two threads | 1.9 | 45 |
//! | the same, 16 threads | 2.1 | 22 |
//! | the same with io_uring, 64 files at a time, one thread | 3.8 | 21 |
//! | the same with io_uring, 256 files at a time | 4.6 | 19 |
//! | [`warm`] through a cache of 64 files, one thread | 5.0 | 21 |
//! | the same, two threads | 2.7 | 21 |
//!
//! So there is no io_uring here. With cached files two threads are twice as fast; on disk, where the
//! queue is what counts, telling the kernel of [the next files](ReadAhead) fills it as well as a ring
//! does, to within 11 % at best and with nothing to set up. And many sandboxes forbid io_uring.

mod future;
mod queue;
mod thread;
mod watch;

use std::alloc::{Layout, handle_alloc_error};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use smf_core::alloc_util::{AllocError, try_collect};
use smf_core::cache::{CacheError, FileCache, Filler, Storage};
use smf_core::memory::read_ahead;

#[cfg(feature = "c-api")]
pub(crate) use future::State;
pub use future::{Prefetch, start, try_start};
use queue::{Job, Queue, Read};
pub use watch::{Progress, Watch};

/// The most threads there are, however many are asked for.
pub const MAX_THREADS: usize = 256;

/// Bytes of stack for each thread. A path takes 4 KiB of it, and printing a panic some 100.
const STACK: usize = 256 << 10;

/// How to prefetch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// How many threads read, the caller's own among them if it waits. 0, the default, is one for
    /// each core that this process may use. There are never more than files, or than
    /// [`MAX_THREADS`].
    pub threads: usize,
    /// When the kernel is told of files before their turn.
    pub read_ahead: ReadAhead,
}

/// When the kernel is told that files will be read, so that it begins while others are. That costs
/// another three system calls a file, which is lost on those that are in the page cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReadAhead {
    /// For the next files whenever two took so long that they must have come from the disk.
    #[default]
    WhenSlow,
    /// For no file.
    Never,
    /// For every file but the first.
    Always,
}

/// How a prefetch went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Files that were read, or were in the cache already.
    pub ready: usize,
    /// Their bytes.
    pub bytes: u64,
    /// How many threads took part.
    pub threads: usize,
    /// Those that were not, in the order of the list.
    pub failures: Vec<Failure>,
}

/// How a prefetch went, in numbers.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Files that were read, or were in the cache already.
    pub ready: usize,
    /// Their bytes.
    pub bytes: u64,
    /// How many threads took part.
    pub threads: usize,
    /// Which paths of the list, from 0, could not be read, in their order, and why.
    pub failures: Vec<(usize, CacheError)>,
}

/// A file that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Which path of the list it is, from 0.
    pub index: usize,
    /// The path.
    pub path: PathBuf,
    /// Why.
    pub error: CacheError,
}

/// Reads the files at `paths` into `cache`, and comes back when each has been read or cannot be. The
/// calling thread is one of those that read.
///
/// ```
/// use smf_core::cache::{Capacity, FileCache};
/// use smf_loader::prefetch::{self, Options};
///
/// let cache = FileCache::new(Capacity { files: 100, bytes: 1 << 20 }, Default::default())?;
/// let report = prefetch::warm(&cache, &["Cargo.toml", "absent"], Options::default());
/// assert_eq!(report.ready, 1);
/// assert_eq!(report.failures[0].path.to_str(), Some("absent"));
/// # Ok::<(), smf_core::cache::CacheError>(())
/// ```
pub fn warm<S: Storage, P: AsRef<Path>>(
    cache: &FileCache<S>,
    paths: &[P],
    options: Options,
) -> Report {
    warm_watched(cache, paths, options, &Watch::new())
}

/// As [`warm`]; other threads may look at `watch` meanwhile.
pub fn warm_watched<S: Storage, P: AsRef<Path>>(
    cache: &FileCache<S>,
    paths: &[P],
    options: Options,
    watch: &Watch,
) -> Report {
    let outcome = try_warm(cache, paths, options, watch);
    let outcome = outcome.unwrap_or_else(|AllocError| handle_alloc_error(Layout::for_value(paths)));
    outcome.report(paths)
}

/// As [`warm_watched`]. What comes back names the files by their numbers.
///
/// # Errors
/// No memory; nothing was read.
pub fn try_warm<S: Storage, P: AsRef<Path>>(
    cache: &FileCache<S>,
    paths: &[P],
    options: Options,
    watch: &Watch,
) -> Result<Outcome, AllocError> {
    let paths = try_collect(paths.iter().map(AsRef::as_ref))?;
    let threads = options.threads_for(paths.len());
    let queue = Queue::new(paths.len(), threads, options.read_ahead)?;
    watch.begin(paths.len());
    let job = Files { cache, paths: &paths };
    let started = work_together(&queue, &job, watch, threads, STACK);
    Ok(queue.finish(&job, watch).outcome(started))
}

/// Runs `threads` threads, or as many as there can be; how many that were.
fn work_together(
    queue: &Queue,
    job: &impl Job,
    watch: &Watch,
    threads: usize,
    stack: usize,
) -> usize {
    thread::run_on_many(threads.saturating_sub(1), stack, &|| queue.work(job, watch))
}

impl Outcome {
    /// The same with the names of the files that could not be read.
    fn report(&self, paths: &[impl AsRef<Path>]) -> Report {
        let failure = |&(index, error): &(usize, CacheError)| {
            let path = paths.get(index).map(AsRef::as_ref).unwrap_or(Path::new(""));
            Failure { index, path: path.to_owned(), error }
        };
        let failures = self.failures.iter().map(failure).collect();
        Report { ready: self.ready, bytes: self.bytes, threads: self.threads, failures }
    }
}

impl Options {
    /// At least one.
    fn threads_for(self, files: usize) -> usize {
        let wanted = match self.threads {
            0 => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            threads => threads,
        };
        wanted.min(MAX_THREADS).min(files).max(1)
    }
}

/// The files of a list, and the cache they go through.
struct Files<'f, S: Storage, P> {
    cache: &'f FileCache<S>,
    paths: &'f [P],
}

impl<S: Storage, P: AsRef<Path>> Files<'_, S, P> {
    fn path(&self, index: usize) -> &[u8] {
        self.paths.get(index).map_or(&[], |path| path.as_ref().as_os_str().as_bytes())
    }
}

impl<'f, S: Storage, P: AsRef<Path> + Sync> Job for Files<'f, S, P> {
    type Hand = Filler<'f, S>;

    fn hand(&self) -> Filler<'f, S> {
        self.cache.filler()
    }

    fn announce(&self, filler: &mut Filler<'f, S>, index: usize) {
        // Why it cannot be opened is found out when it is its turn.
        let _ = read_ahead(self.path(index));
        filler.pause();
    }

    fn read(&self, filler: &mut Filler<'f, S>, index: usize) -> Result<Read, CacheError> {
        let bytes = filler.get(self.path(index))?.len() as u64;
        let time = filler.read_time().and_then(|time| u64::try_from(time).ok()).unwrap_or(0);
        Ok(Read { bytes, time: Duration::from_nanos(time) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_one_thread_at_least_and_never_more_than_files() {
        let threads = |threads, files| Options { threads, ..Options::default() }.threads_for(files);
        let cores = std::thread::available_parallelism().unwrap().get();
        assert_eq!(threads(0, 1 << 20), cores.min(MAX_THREADS));
        assert_eq!([threads(0, 0), threads(7, 0), threads(7, 1)], [1; 3]);
        assert_eq!((threads(7, 5), threads(7, 9)), (5, 7));
        assert_eq!(threads(usize::MAX, usize::MAX), MAX_THREADS);
    }

    #[test]
    fn the_caller_does_it_alone_when_there_are_no_threads() {
        struct Nothing;
        impl Job for Nothing {
            type Hand = ();
            fn hand(&self) {}
            fn announce(&self, (): &mut (), _: usize) {}
            fn read(&self, (): &mut (), _: usize) -> Result<Read, CacheError> {
                Ok(Read { bytes: 2, time: Duration::ZERO })
            }
        }
        let (queue, watch) = (Queue::new(100, 8, ReadAhead::Never).unwrap(), Watch::new());
        // No address space has room for such a stack.
        assert_eq!(work_together(&queue, &Nothing, &watch, 8, 1 << 60), 1);
        let results = queue.finish(&Nothing, &watch);
        assert_eq!((results.ready, results.bytes), (100, 200));
    }
}
