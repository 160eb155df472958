//! Who reads which file: the work of all threads, and what came of it.
//!
//! Files are handed out one at a time. That costs a thread 20 ns of the 8 us that a file of 16 KiB
//! takes; a handful at a time would leave a thread with several large files while the others have
//! nothing left to do.
//!
//! Promises, whatever happens on a thread: each file is read, or its error known, exactly once, unless
//! the whole is stopped. A panic takes the file that it happened at to the end of the queue, where the
//! one who finishes sees it again.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::io::Errno;
use smf_core::alloc_util::AllocError;
use smf_core::alloc_util::sort::{sort, sort_by_key};
use smf_core::cache::CacheError;
use smf_core::memory::MemoryError;

use super::{Outcome, ReadAhead, Watch};

/// How many files before its turn the kernel is told of one.
const AHEAD: usize = 32;

/// For how many files a thread that had to wait for the disk tells the kernel what comes next. That
/// reading is fast meanwhile says nothing: it is what telling is for.
const PATIENCE: usize = 4 * AHEAD;

/// What is done with each file. Files are numbers here.
pub(super) trait Job: Sync {
    /// What a thread has at hand from one file to the next. After a panic it gets another.
    type Hand;
    fn hand(&self) -> Self::Hand;
    /// Tells the kernel that a file will be read.
    fn announce(&self, hand: &mut Self::Hand, index: usize);
    /// Reads a file.
    fn read(&self, hand: &mut Self::Hand, index: usize) -> Result<Read, CacheError>;
}

/// A file that is ready.
#[derive(Clone, Copy)]
pub(super) struct Read {
    pub(super) bytes: u64,
    /// How long it took to read it, if it was not there already.
    pub(super) time: Duration,
}

pub(super) struct Queue {
    total: usize,
    read_ahead: ReadAhead,
    /// Threads that were meant to work.
    crew: usize,
    /// Threads that have begun and have not left early.
    working: AtomicUsize,
    next: AtomicUsize,
    /// The kernel has been told of the files before this one.
    announced: AtomicUsize,
    stopped: AtomicBool,
    results: Mutex<Results>,
}

/// What came of it, added up.
#[derive(Debug, Default)]
pub(super) struct Results {
    pub(super) ready: usize,
    pub(super) bytes: u64,
    /// In the order in which they happened.
    pub(super) failures: Vec<(usize, CacheError)>,
    /// To be tried again by one thread alone.
    set_aside: Vec<usize>,
}

impl Results {
    pub(super) fn outcome(self, threads: usize) -> Outcome {
        let Self { ready, bytes, failures, .. } = self;
        Outcome { ready, bytes, threads, failures }
    }
}

impl Queue {
    /// With room for everything that may come of it, so that no thread has to ask for any.
    pub(super) fn new(
        total: usize,
        crew: usize,
        read_ahead: ReadAhead,
    ) -> Result<Self, AllocError> {
        let mut results = Results::default();
        results.failures.try_reserve_exact(total).map_err(|_| AllocError)?;
        // A thread alone sets aside what it panics at.
        results.set_aside.try_reserve_exact(total).map_err(|_| AllocError)?;
        Ok(Self {
            total,
            read_ahead,
            crew,
            working: AtomicUsize::new(0),
            next: AtomicUsize::new(0),
            announced: AtomicUsize::new(0),
            stopped: AtomicBool::new(false),
            results: Mutex::new(results),
        })
    }

    /// Lets every thread end after the file that it is at.
    pub(super) fn stop(&self) {
        self.stopped.store(true, Relaxed);
    }

    fn is_stopped(&self) -> bool {
        self.stopped.load(Relaxed)
    }

    /// What one thread does. It comes back when there is nothing left to take, or when there are more
    /// threads than the system or the cache has room for.
    pub(super) fn work(&self, job: &impl Job, watch: &Watch) {
        let (mut ready, mut bytes) = (0, 0);
        let (mut pace, mut hand) = (Pace::new(self.read_ahead), job.hand());
        self.working.fetch_add(1, Relaxed);
        while let Some(index) = self.take() {
            let ahead = self.to_announce(index, pace.reads_ahead());
            let read = catch_unwind(AssertUnwindSafe(|| {
                ahead.for_each(|index| job.announce(&mut hand, index));
                job.read(&mut hand, index)
            }));
            match read {
                Ok(Ok(read)) => {
                    pace.keep(read);
                    ready += 1;
                    bytes += read.bytes;
                    watch.count_ready(read.bytes);
                }
                Ok(Err(error)) if !(self.crew > 1 && may_be_for_others(&error)) => {
                    self.results().failures.push((index, error));
                    watch.count_failed();
                }
                Ok(Err(_)) => {
                    self.results().set_aside.push(index);
                    if self.leave_early() {
                        break;
                    }
                }
                Err(_panic) => {
                    hand = job.hand();
                    self.results().set_aside.push(index);
                }
            }
        }
        let mut results = self.results();
        results.ready += ready;
        results.bytes += bytes;
    }

    /// Tries again, alone, what failed because there were several threads; then nothing is left. To be
    /// called when all threads have come back.
    pub(super) fn finish(&self, job: &impl Job, watch: &Watch) -> Results {
        let mut results = std::mem::take(&mut *self.results());
        let mut again = std::mem::take(&mut results.set_aside);
        sort(&mut again);
        let mut hand = job.hand();
        for index in again.into_iter().take_while(|_| !self.is_stopped()) {
            match job.read(&mut hand, index) {
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

    fn take(&self) -> Option<usize> {
        // Without the first look the number would grow with each thread that comes too late.
        let is_left = self.next.load(Relaxed) < self.total && !self.is_stopped();
        let index = is_left.then(|| self.next.fetch_add(1, Relaxed))?;
        (index < self.total).then_some(index)
    }

    /// The files that the kernel should be told of by the thread that is about to read `index`.
    fn to_announce(&self, index: usize, reads_ahead: bool) -> Range<usize> {
        if !reads_ahead {
            return 0..0;
        }
        let behind = index.saturating_add(1);
        let end = behind.saturating_add(AHEAD).min(self.total);
        let told = self.announced.fetch_max(end, Relaxed);
        told.max(behind)..end
    }

    /// Whether this thread may go because another one stays.
    fn leave_early(&self) -> bool {
        let others = |working: usize| working.checked_sub(1).filter(|others| *others != 0);
        self.working.fetch_update(Relaxed, Relaxed, others).is_ok()
    }

    #[inline(never)]
    fn results(&self) -> MutexGuard<'_, Results> {
        self.results.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the fault may be that other threads are reading too: what they hold will be there for one
/// that is alone.
fn may_be_for_others(error: &CacheError) -> bool {
    match *error {
        CacheError::AllInUse { .. } => true,
        CacheError::File(MemoryError::Open { errno }) => {
            errno == Errno::MFILE || errno == Errno::NFILE || errno == Errno::NOMEM
        }
        CacheError::File(MemoryError::OutOfMemory { .. } | MemoryError::Map { .. }) => true,
        _ => false,
    }
}

/// Whether a thread waits for the disk.
struct Pace {
    read_ahead: ReadAhead,
    /// For so many more files the kernel is told ahead.
    patience: usize,
    /// Whether the last file was slow. One alone may be an interrupt, or the cache growing.
    was_slow: bool,
}

impl Pace {
    fn new(read_ahead: ReadAhead) -> Self {
        Self { read_ahead, patience: 0, was_slow: false }
    }

    fn reads_ahead(&mut self) -> bool {
        match self.read_ahead {
            ReadAhead::Never => false,
            ReadAhead::Always => true,
            ReadAhead::WhenSlow => {
                let patient = self.patience != 0;
                self.patience = self.patience.saturating_sub(1);
                patient
            }
        }
    }

    /// Learns how long a file took.
    fn keep(&mut self, read: Read) {
        let is_slow = read.time > usual(read.bytes);
        if is_slow && (self.was_slow || self.patience != 0) {
            self.patience = PATIENCE;
        }
        self.was_slow = is_slow;
    }
}

/// At least as long as it takes to read so many bytes that the kernel has: 25 us and 1 ns a byte, some
/// three times what was measured. From a disk a block alone takes longer.
fn usual(size: u64) -> Duration {
    Duration::from_nanos(size.saturating_add(25_000))
}

#[cfg(test)]
mod tests {
    use super::*;
    use smf_core::format::FormatError;
    use std::sync::atomic::AtomicU32;
    use std::thread;
    use std::time::Instant;

    const FAILURE: CacheError = CacheError::NoSuchModule;
    const CROWDED: CacheError = CacheError::AllInUse { files: 1, bytes: 1 };

    /// What happens at each file, and how often it was read and announced.
    struct Script<F> {
        at: F,
        reads: Vec<AtomicU32>,
        announced: Vec<AtomicU32>,
    }

    impl<F: Fn(usize, u32) -> Result<u64, CacheError> + Sync> Script<F> {
        /// `at` gets the number of a file and how often it has been read before.
        fn new(total: usize, at: F) -> Self {
            let zeroes = || (0..total).map(|_| AtomicU32::new(0)).collect();
            Self { at, reads: zeroes(), announced: zeroes() }
        }

        fn run(&self, crew: usize, read_ahead: ReadAhead) -> (Results, super::super::Progress) {
            let queue = Queue::new(self.reads.len(), crew, read_ahead).unwrap();
            let watch = Watch::new();
            watch.begin(self.reads.len());
            thread::scope(|scope| {
                for _ in 0..crew {
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
        type Hand = ();

        fn hand(&self) {}

        fn announce(&self, (): &mut (), index: usize) {
            self.announced[index].fetch_add(1, Relaxed);
        }

        fn read(&self, (): &mut (), index: usize) -> Result<Read, CacheError> {
            let begin = Instant::now();
            let bytes = (self.at)(index, self.reads[index].fetch_add(1, Relaxed))?;
            Ok(Read { bytes, time: begin.elapsed() })
        }
    }

    #[test]
    fn each_file_is_read_once_whatever_the_number_of_threads() {
        for total in [0, 1, 2, 7, 1000] {
            for crew in [1, 2, 3, 16] {
                let script = Script::new(total, |index, _| Ok(index as u64));
                let (results, progress) = script.run(crew, ReadAhead::WhenSlow);
                assert_eq!(script.reads(), vec![1; total]);
                let bytes = (0..total as u64).sum();
                assert_eq!((results.ready, results.bytes), (total, bytes));
                assert!(results.failures.is_empty());
                assert_eq!((progress.done, progress.failed, progress.bytes), (total, 0, bytes));
            }
        }
    }

    #[test]
    fn failures_are_in_the_order_of_the_files_and_concern_no_other() {
        let script = Script::new(500, |i, _| if i % 2 == 0 { Err(FAILURE) } else { Ok(1) });
        let (results, progress) = script.run(4, ReadAhead::Never);
        let expected: Vec<_> = (0..500).step_by(2).map(|index| (index, FAILURE)).collect();
        assert_eq!((results.failures, results.ready), (expected, 250));
        assert_eq!((progress.done, progress.failed), (500, 250));
        assert_eq!(script.reads(), vec![1; 500], "nothing is tried again for nothing");
    }

    #[test]
    fn a_file_that_a_thread_panics_at_is_read_all_the_same() {
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(|_| {}));
        for crew in [1, 3] {
            let script = Script::new(60, |index, before| {
                assert!(index % 10 != 3 || before != 0, "as asked");
                Ok(1)
            });
            let (results, progress) = script.run(crew, ReadAhead::Never);
            assert_eq!((results.ready, progress.done), (60, 60));
            let twice = script.reads().iter().filter(|count| **count == 2).count();
            assert_eq!(twice, 6);
        }
        std::panic::set_hook(hook);
    }

    #[test]
    fn what_fails_for_the_crowd_is_tried_again_alone() {
        let script = Script::new(300, |index, before| match (index % 5, before) {
            (0, 0) => Err(CROWDED),
            (1, _) => Err(CROWDED),
            _ => Ok(1),
        });
        let (results, progress) = script.run(4, ReadAhead::Never);
        let expected: Vec<_> = (1..300).step_by(5).map(|index| (index, CROWDED)).collect();
        assert_eq!((results.failures, results.ready, progress.done), (expected, 240, 300));
        let alone = Script::new(10, |_, _| Err(CROWDED));
        assert_eq!(alone.run(1, ReadAhead::Never).0.failures.len(), 10);
        assert_eq!(alone.reads(), [1; 10], "there was no crowd");
    }

    #[test]
    fn one_thread_stays_when_all_would_leave() {
        let queue = Queue::new(9, 3, ReadAhead::Never).unwrap();
        queue.working.store(3, Relaxed);
        assert!(queue.leave_early() && queue.leave_early());
        assert!(!queue.leave_early() && !queue.leave_early());
    }

    #[test]
    fn the_only_thread_that_could_be_started_leaves_nothing_to_the_others() {
        let queue = Queue::new(50, 8, ReadAhead::Never).unwrap();
        let script = Script::new(50, |_, before| if before == 0 { Err(CROWDED) } else { Ok(1) });
        let watch = Watch::new();
        queue.work(&script, &watch);
        assert_eq!(queue.finish(&script, &watch).ready, 50);
    }

    #[test]
    fn only_what_others_may_hold_is_worth_another_try() {
        let open = |errno: Errno| CacheError::File(MemoryError::Open { errno: errno.into() });
        for error in [open(Errno::MFILE), open(Errno::NFILE), CROWDED] {
            assert!(may_be_for_others(&error), "{error}");
        }
        let too_large = CacheError::TooLarge { size: 2, capacity: 1 };
        for error in [open(Errno::NOENT), too_large, CacheError::Format(FormatError::Empty)] {
            assert!(!may_be_for_others(&error), "{error}");
        }
    }

    #[test]
    fn the_kernel_is_told_of_each_file_once_and_before_its_turn() {
        let script = Script::new(200, |_, _| Ok(1));
        script.run(1, ReadAhead::Always);
        let told: Vec<_> = script.announced.iter().map(|count| count.load(Relaxed)).collect();
        assert_eq!((told[0], &told[1..]), (0, &[1; 199][..]), "the first one is read at once");
        let script = Script::new(200, |_, _| Ok(1));
        script.run(3, ReadAhead::Always);
        assert!(script.announced.iter().all(|count| count.load(Relaxed) <= 1));
        let script = Script::new(200, |_, _| Ok(1));
        script.run(2, ReadAhead::Never);
        assert!(script.announced.iter().all(|count| count.load(Relaxed) == 0));
    }

    #[test]
    fn slow_files_have_the_kernel_told_of_the_next_ones() {
        let script = Script::new(300, |index, _| {
            if index == 9 || index == 10 {
                thread::sleep(Duration::from_millis(2));
            }
            Ok(1)
        });
        script.run(1, ReadAhead::WhenSlow);
        let told = |index: usize| script.announced[index].load(Relaxed);
        assert_eq!((12..=10 + PATIENCE).map(told).sum::<u32>(), PATIENCE as u32 - 1);
    }

    #[test]
    fn nothing_more_is_taken_once_it_is_stopped() {
        let queue = Queue::new(10, 1, ReadAhead::Never).unwrap();
        let script = Script::new(10, |index, _| {
            if index == 3 {
                queue.stop();
            }
            Ok(1)
        });
        let watch = Watch::new();
        queue.work(&script, &watch);
        assert_eq!(queue.finish(&script, &watch).ready, 4);
    }
}
