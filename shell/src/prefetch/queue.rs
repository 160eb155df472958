//! The work queue of a prefetch, and its results.
//!
//! Threads take files one at a time: batches could leave one thread with several large files while the
//! others are idle.
//!
//! Unless the queue is stopped, each file is read, or its error recorded, exactly once.

use std::mem;
use std::ops::Range;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::io::Errno;
use smf_core::alloc_util::AllocError;
use smf_core::alloc_util::sort::{sort, sort_by_key};
use smf_core::cache::CacheError;
use smf_core::memory::MemoryError;

use super::options::ReadAhead;
use super::report::Outcome;
use super::watch::Watch;

/// How many files ahead of a read the kernel is asked to read.
const READAHEAD_WINDOW: usize = 32;

/// For how many files a thread reads ahead after slow reads. Fast reads meanwhile do not end it, because
/// they are its effect.
const READAHEAD_RUN: usize = 4 * READAHEAD_WINDOW;

/// The operations on a file of the list, which an index denotes.
pub(super) trait Job: Sync {
    /// Asks the kernel to read a file ahead.
    fn readahead(&self, index: usize);
    /// Reads a file.
    fn read(&self, index: usize) -> Result<FileRead, CacheError>;
}

/// A file that was read.
#[derive(Clone, Copy)]
pub(super) struct FileRead {
    pub(super) bytes: u64,
    /// How long the read took.
    pub(super) time: Duration,
}

#[derive(Default)]
pub(super) struct Queue {
    total: usize,
    read_ahead: ReadAhead,
    /// Intended number of threads.
    workers: usize,
    /// Threads that have started and have not left early.
    working: AtomicUsize,
    next: AtomicUsize,
    /// The end of the files that the kernel was asked to read ahead.
    readahead_end: AtomicUsize,
    cancelled: AtomicBool,
    results: Mutex<Results>,
}

/// The results of all threads.
#[derive(Debug, Default)]
struct Results {
    /// With failures in order of occurrence.
    outcome: Outcome,
    /// Files to be retried by one thread alone.
    retry: Vec<usize>,
}

impl Queue {
    /// Allocates the space for all results, so that no thread has to.
    pub(super) fn new(
        total: usize,
        workers: usize,
        read_ahead: ReadAhead,
    ) -> Result<Self, AllocError> {
        let mut results = Results::default();
        results.outcome.failures.try_reserve_exact(total).map_err(|_| AllocError)?;
        results.retry.try_reserve_exact(total).map_err(|_| AllocError)?;
        Ok(Self { total, read_ahead, workers, results: Mutex::new(results), ..Self::default() })
    }

    /// Makes every thread end after its current file.
    pub(super) fn cancel(&self) {
        self.cancelled.store(true, Relaxed);
    }

    fn is_cancelled(&self) -> bool {
        self.cancelled.load(Relaxed)
    }

    /// The loop of one thread. It returns when no file is left, or when a read fails for lack of resources that
    /// other threads hold.
    pub(super) fn work(&self, job: &impl Job, watch: &Watch) {
        let (mut ready, mut bytes) = (0, 0);
        let mut disk = DiskDetector { read_ahead: self.read_ahead, ..DiskDetector::default() };
        self.working.fetch_add(1, Relaxed);
        while let Some(index) = self.next_file() {
            let ahead = self.to_read_ahead(index, disk.reads_ahead());
            ahead.for_each(|index| job.readahead(index));
            match job.read(index) {
                Ok(read) => {
                    disk.record(read);
                    ready += 1;
                    bytes += read.bytes;
                    watch.count_ready(read.bytes);
                }
                Err(error) if !(self.workers > 1 && is_shared_resource_error(&error)) => {
                    self.results().outcome.failures.push((index, error));
                    watch.count_failed();
                }
                Err(_) => {
                    self.results().retry.push(index);
                    if self.leave_early() {
                        break;
                    }
                }
            }
        }
        let mut results = self.results();
        results.outcome.ready += ready;
        results.outcome.bytes += bytes;
    }

    /// Retries alone the files that failed while several threads were reading. To be called after all threads
    /// have returned.
    pub(super) fn finish(&self, job: &impl Job, watch: &Watch) -> Outcome {
        let Results { outcome: mut results, retry: mut again } = mem::take(&mut *self.results());
        sort(&mut again);
        for index in again.into_iter().take_while(|_| !self.is_cancelled()) {
            match job.read(index) {
                Ok(read) => {
                    results.ready += 1;
                    results.bytes += read.bytes;
                    watch.count_ready(read.bytes);
                }
                Err(error) => {
                    results.failures.push((index, error));
                    watch.count_failed();
                }
            }
        }
        sort_by_key(&mut results.failures, |(index, _)| *index);
        results
    }

    fn next_file(&self) -> Option<usize> {
        // This check stops `next` from growing with each thread that comes late.
        let is_left = self.next.load(Relaxed) < self.total && !self.is_cancelled();
        let index = is_left.then(|| self.next.fetch_add(1, Relaxed))?;
        (index < self.total).then_some(index)
    }

    /// The files to announce to the kernel before reading `index`.
    fn to_read_ahead(&self, index: usize, reads_ahead: bool) -> Range<usize> {
        if !reads_ahead {
            return 0..0;
        }
        let behind = index.saturating_add(1);
        let end = behind.saturating_add(READAHEAD_WINDOW).min(self.total);
        let announced_end = self.readahead_end.fetch_max(end, Relaxed);
        announced_end.max(behind)..end
    }

    /// Whether this thread may end because another one continues.
    fn leave_early(&self) -> bool {
        let others = |working: usize| working.checked_sub(1).filter(|others| *others != 0);
        self.working.fetch_update(Relaxed, Relaxed, others).is_ok()
    }

    #[inline(never)]
    fn results(&self) -> MutexGuard<'_, Results> {
        self.results.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether an error may be due to resources that other reading threads hold.
fn is_shared_resource_error(error: &CacheError) -> bool {
    match *error {
        CacheError::AllInUse { .. } | CacheError::OutOfMemory(_) => true,
        CacheError::File(MemoryError::Open { errno }) => {
            errno == Errno::MFILE || errno == Errno::NFILE || errno == Errno::NOMEM
        }
        CacheError::File(
            MemoryError::OutOfMemory { .. }
            | MemoryError::Map { .. }
            | MemoryError::Prefault { .. },
        ) => true,
        _ => false,
    }
}

/// Detects reads from the disk.
#[derive(Default)]
struct DiskDetector {
    read_ahead: ReadAhead,
    /// The number of files for which reading ahead continues.
    remaining: usize,
    /// Whether the last read was slow. A single slow read may be an interrupt, or growth of the cache.
    was_slow: bool,
}

impl DiskDetector {
    fn reads_ahead(&mut self) -> bool {
        match self.read_ahead {
            ReadAhead::Never => false,
            ReadAhead::Always => true,
            ReadAhead::WhenSlow => {
                let patient = self.remaining != 0;
                self.remaining = self.remaining.saturating_sub(1);
                patient
            }
        }
    }

    /// Records the duration of a read.
    fn record(&mut self, read: FileRead) {
        let is_slow = read.time > cached_read_bound(read.bytes);
        if is_slow && (self.was_slow || self.remaining != 0) {
            self.remaining = READAHEAD_RUN;
        }
        self.was_slow = is_slow;
    }
}

/// An upper bound for reading `size` bytes from the page cache: 25 us and 1 ns a byte. Reading one block from
/// a disk takes longer.
fn cached_read_bound(size: u64) -> Duration {
    Duration::from_nanos(size.saturating_add(25_000))
}

#[cfg(test)]
mod tests {
    use super::*;
    use smf_core::format::FormatError;
    use smf_core::format::error::HeaderError;
    use std::sync::atomic::AtomicU32;
    use std::thread;
    use std::time::Instant;

    const FAILURE: CacheError = CacheError::NoSuchModule;
    const BUSY: CacheError = CacheError::AllInUse { files: 1, bytes: 1 };

    /// A scripted job, which counts how often each file was read and announced.
    struct Script<F> {
        at: F,
        reads: Vec<AtomicU32>,
        readahead_calls: Vec<AtomicU32>,
    }

    impl<F: Fn(usize, u32) -> Result<u64, CacheError> + Sync> Script<F> {
        /// `at` receives the index of a file and how often it has been read before.
        fn new(total: usize, at: F) -> Self {
            let zeroes = || (0..total).map(|_| AtomicU32::new(0)).collect();
            Self { at, reads: zeroes(), readahead_calls: zeroes() }
        }

        fn run(
            &self,
            workers: usize,
            read_ahead: ReadAhead,
        ) -> (Outcome, super::super::watch::Progress) {
            let queue = Queue::new(self.reads.len(), workers, read_ahead).unwrap();
            let watch = Watch::default();
            watch.begin(self.reads.len());
            thread::scope(|scope| {
                for _ in 0..workers {
                    scope.spawn(|| queue.work(self, &watch));
                }
            });
            (queue.finish(self, &watch), watch.progress())
        }

        fn reads(&self) -> Vec<u32> {
            self.reads.iter().map(|count| count.load(Relaxed)).collect()
        }
    }

    impl<F: Fn(usize, u32) -> Result<u64, CacheError> + Sync> Job for Script<F> {
        fn readahead(&self, index: usize) {
            self.readahead_calls[index].fetch_add(1, Relaxed);
        }

        fn read(&self, index: usize) -> Result<FileRead, CacheError> {
            let begin = Instant::now();
            let bytes = (self.at)(index, self.reads[index].fetch_add(1, Relaxed))?;
            Ok(FileRead { bytes, time: begin.elapsed() })
        }
    }

    #[test]
    fn each_file_is_read_once_for_any_number_of_threads() {
        for total in [0, 1, 2, 7, 1000] {
            for workers in [1, 2, 3, 16] {
                let script = Script::new(total, |index, _| Ok(index as u64));
                let (results, progress) = script.run(workers, ReadAhead::WhenSlow);
                assert_eq!(script.reads(), vec![1; total]);
                let bytes = (0..total as u64).sum();
                assert_eq!((results.ready, results.bytes), (total, bytes));
                assert!(results.failures.is_empty());
                assert_eq!((progress.done, progress.failed, progress.bytes), (total, 0, bytes));
            }
        }
    }

    #[test]
    fn failures_are_reported_in_list_order_and_not_retried() {
        let script = Script::new(500, |i, _| if i % 2 == 0 { Err(FAILURE) } else { Ok(1) });
        let (results, progress) = script.run(4, ReadAhead::Never);
        let expected: Vec<_> = (0..500).step_by(2).map(|index| (index, FAILURE)).collect();
        assert_eq!((results.failures, results.ready), (expected, 250));
        assert_eq!((progress.done, progress.failed), (500, 250));
        assert_eq!(script.reads(), vec![1; 500], "permanent failures are not retried");
    }

    #[test]
    fn file_that_lacks_resources_is_retried_alone() {
        let script = Script::new(300, |index, before| match (index % 5, before) {
            (0, 0) => Err(BUSY),
            (1, _) => Err(BUSY),
            _ => Ok(1),
        });
        let (results, progress) = script.run(4, ReadAhead::Never);
        let expected: Vec<_> = (1..300).step_by(5).map(|index| (index, BUSY)).collect();
        assert_eq!((results.failures, results.ready, progress.done), (expected, 240, 300));
        let alone = Script::new(10, |_, _| Err(BUSY));
        assert_eq!(alone.run(1, ReadAhead::Never).0.failures.len(), 10);
        assert_eq!(alone.reads(), [1; 10], "a single thread does not retry");
    }

    #[test]
    fn last_thread_cannot_leave_early() {
        let queue = Queue::new(9, 3, ReadAhead::Never).unwrap();
        queue.working.store(3, Relaxed);
        assert!(queue.leave_early() && queue.leave_early());
        assert!(!queue.leave_early() && !queue.leave_early());
    }

    #[test]
    fn only_started_thread_reads_all_files() {
        let queue = Queue::new(50, 8, ReadAhead::Never).unwrap();
        let script = Script::new(50, |_, before| if before == 0 { Err(BUSY) } else { Ok(1) });
        let watch = Watch::default();
        queue.work(&script, &watch);
        assert_eq!(queue.finish(&script, &watch).ready, 50);
    }

    #[test]
    fn only_shared_resource_errors_are_retried() {
        let open = |errno: Errno| CacheError::File(MemoryError::Open { errno: errno.into() });
        let prefault =
            MemoryError::Prefault { address: 0x1000, size: 4096, errno: Errno::NOMEM.into() };
        for error in [open(Errno::MFILE), open(Errno::NFILE), BUSY, prefault.into()] {
            assert!(is_shared_resource_error(&error), "{error}");
        }
        let too_large = CacheError::TooLarge { size: 2, capacity: 1 };
        for error in [
            open(Errno::NOENT),
            too_large,
            CacheError::Format(FormatError::Header(HeaderError::Empty)),
        ] {
            assert!(!is_shared_resource_error(&error), "{error}");
        }
    }

    #[test]
    fn read_ahead_always_announces_each_file_once() {
        let script = Script::new(200, |_, _| Ok(1));
        script.run(1, ReadAhead::Always);
        let readahead_calls: Vec<_> =
            script.readahead_calls.iter().map(|count| count.load(Relaxed)).collect();
        assert_eq!(
            (readahead_calls[0], &readahead_calls[1..]),
            (0, &[1; 199][..]),
            "the first one is read directly"
        );
        let script = Script::new(200, |_, _| Ok(1));
        script.run(3, ReadAhead::Always);
        assert!(script.readahead_calls.iter().all(|count| count.load(Relaxed) <= 1));
        let script = Script::new(200, |_, _| Ok(1));
        script.run(2, ReadAhead::Never);
        assert!(script.readahead_calls.iter().all(|count| count.load(Relaxed) == 0));
    }

    #[test]
    fn slow_reads_start_read_ahead_of_the_next_files() {
        let script = Script::new(300, |index, _| {
            if index == 9 || index == 10 {
                thread::sleep(Duration::from_millis(2));
            }
            Ok(1)
        });
        script.run(1, ReadAhead::WhenSlow);
        let readahead_calls = |index: usize| script.readahead_calls[index].load(Relaxed);
        assert_eq!(
            (12..=10 + READAHEAD_RUN).map(readahead_calls).sum::<u32>(),
            READAHEAD_RUN as u32 - 1
        );
    }

    #[test]
    fn stopped_queue_hands_out_no_files() {
        let queue = Queue::new(10, 1, ReadAhead::Never).unwrap();
        let script = Script::new(10, |index, _| {
            if index == 3 {
                queue.cancel();
            }
            Ok(1)
        });
        let watch = Watch::default();
        queue.work(&script, &watch);
        assert_eq!(queue.finish(&script, &watch).ready, 4);
    }
}
