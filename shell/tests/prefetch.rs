//! Prefetching: comparison with a naive loop, invalid files, tight limits, executors and cancellation.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails loudly"
)]

#[path = "../../tests/src/alone.rs"]
mod alone;

use std::fs;
use std::future::Future;
use std::ops::Deref;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use alone::alone;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use smf_core::cache::{CacheError, Capacity, FileCache};
use smf_loader::prefetch::{
    self, Failure, MAX_THREADS, Options, Prefetch, Progress, ReadAhead, Report, Watch,
};

const LARGE: Capacity = Capacity { files: 20_000, bytes: 1 << 30 };

fn cache(capacity: Capacity) -> FileCache {
    FileCache::new(capacity, Default::default()).unwrap()
}

fn on(threads: usize) -> Options {
    Options { threads, ..Options::default() }
}

fn bytes(path: &Path) -> &[u8] {
    path.as_os_str().as_bytes()
}

/// A directory of one test, removed at its end.
struct Directory(PathBuf);

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// An empty directory for one test, with `count` files in it.
fn files(test: &str, count: usize) -> (Directory, Vec<PathBuf>) {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("prefetch-{test}"));
    let _ = fs::remove_dir_all(&directory);
    fs::create_dir_all(&directory).unwrap();
    let file = |number: usize| {
        let path = directory.join(format!("{number}.smf"));
        fs::write(&path, contents(number)).unwrap();
        path
    };
    let files = (0..count).map(file).collect();
    (Directory(directory), files)
}

fn contents(number: usize) -> Vec<u8> {
    vec![number as u8; number % 5000]
}

fn warm(cache: &FileCache, paths: &[PathBuf], options: Options) -> Report {
    prefetch::warm(cache, paths, options, &Watch::default()).unwrap().report(paths)
}

fn start<C>(cache: C, paths: &[PathBuf], options: Options) -> Prefetch
where
    C: Deref<Target = FileCache> + Clone + Send + 'static,
{
    prefetch::start(cache, paths.to_vec(), options).unwrap()
}

/// The report of a loop that reads one path after the other.
fn naive(paths: &[PathBuf]) -> Report {
    let cache = cache(LARGE);
    let mut report = Report::default();
    for (index, path) in paths.iter().enumerate() {
        match cache.get(bytes(path)) {
            Ok(found) => {
                report.ready += 1;
                report.bytes += found.len() as u64;
            }
            Err(error) => report.failures.push(Failure { index, path: path.clone(), error }),
        }
    }
    report
}

/// A report without its machine-dependent part.
fn normalized(report: Report) -> Report {
    Report { threads: 0, ..report }
}

#[test]
fn prefetch_with_any_number_of_threads_equals_a_loop() {
    let (directory, good) = files("loop", 300);
    let odd = ["", "absent", "nul\0inside", "/dev/zero"].map(PathBuf::from);
    let mut mixed: Vec<PathBuf> = Vec::new();
    for (number, path) in good.iter().enumerate() {
        let bad = odd.get(number % 6).map_or(&*directory.0, PathBuf::as_path);
        mixed.extend([path.clone(), bad.to_owned()]);
    }
    let twice: Vec<_> = good.iter().chain(good.iter().rev()).cloned().collect();
    for list in [vec![], good[..1].to_vec(), good, mixed, twice] {
        let expected = naive(&list);
        for threads in [0, 1, 2, 7, MAX_THREADS, usize::MAX] {
            for read_ahead in [ReadAhead::WhenSlow, ReadAhead::Never, ReadAhead::Always] {
                let (cache, options) = (cache(LARGE), Options { threads, read_ahead });
                let report = warm(&cache, &list, options);
                assert!((1..=MAX_THREADS.min(list.len().max(1))).contains(&report.threads));
                check_statistics(&cache, &list, &report);
                assert_eq!(normalized(report), expected, "{threads} threads, {read_ahead:?}");
            }
        }
        let shared = Arc::new(cache(LARGE));
        let report = start(Arc::clone(&shared), &list, on(3)).wait();
        check_statistics(&shared, &list, &report);
        assert_eq!(normalized(report), expected);
    }
}

fn check_statistics(cache: &FileCache, list: &[PathBuf], report: &Report) {
    let statistics = cache.statistics();
    assert_eq!(statistics.hits + statistics.misses, list.len() as u64);
    assert_eq!(statistics.failures, report.failures.len() as u64);
    assert_eq!((statistics.detached_files, statistics.evictions), (0, 0));
    let mut unique: Vec<_> = list.iter().filter(|path| path.is_file()).collect();
    unique.sort();
    unique.dedup();
    assert_eq!(statistics.files as usize, unique.len());
    for path in unique {
        assert!(*cache.get(bytes(path)).unwrap() == *fs::read(path).unwrap());
    }
    assert_eq!(cache.statistics().misses, statistics.misses, "all files were cached");
}

#[test]
fn cache_of_one_file_serves_any_number_of_threads() {
    let (_directory, list) = files("one", 400);
    for capacity in [Capacity { files: 1, bytes: 1 << 20 }, Capacity { files: 9, bytes: 5000 }] {
        let cache = cache(capacity);
        let report = warm(&cache, &list, on(16));
        assert_eq!(normalized(report), naive(&list));
        let statistics = cache.statistics();
        let reads = statistics.hits + statistics.misses - statistics.failures;
        assert_eq!(reads, 400, "retried files failed the first time");
        assert!(statistics.files <= capacity.files && statistics.bytes <= capacity.bytes);
        assert!(statistics.peak_bytes <= capacity.bytes);
    }
}

#[test]
fn files_that_the_caller_holds_are_reported_as_in_use() {
    let (_directory, list) = files("held", 20);
    let cache = cache(Capacity { files: 1, bytes: 1 << 20 });
    let held = cache.get(bytes(&list[7])).unwrap();
    for threads in [1, 4] {
        let report = warm(&cache, &list, on(threads));
        assert_eq!((report.ready, report.bytes), (1, 7));
        let indices: Vec<_> = report.failures.iter().map(|failure| failure.index).collect();
        let all = (0..20).filter(|index| *index != 7);
        assert_eq!(indices, all.collect::<Vec<_>>());
        let in_use = CacheError::AllInUse { files: 1, bytes: 7 };
        assert!(report.failures.iter().all(|failure| failure.error == in_use));
    }
    assert_eq!(*held, contents(7));
}

fn count(directory: &str) -> usize {
    fs::read_dir(directory).unwrap().count()
}

fn mappings() -> usize {
    fs::read_to_string("/proc/self/maps").unwrap().lines().count()
}

#[test]
fn descriptors_are_limited_by_threads_not_files() {
    if !alone("descriptors_are_limited_by_threads_not_files") {
        return;
    }
    let (_directory, mut list) = files("many", 10_000);
    for (number, path) in list.iter_mut().enumerate().filter(|(number, _)| number % 2 == 1) {
        *path = path.with_extension(format!("absent-{number}"));
    }
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(64), ..limit }).unwrap();
    let run = |threads, list: &[PathBuf]| {
        let shared = Arc::new(cache(LARGE));
        let options = Options { threads, read_ahead: ReadAhead::Always };
        let reports =
            [warm(&shared, list, options), start(Arc::clone(&shared), list, options).wait()];
        let half = list.len() / 2;
        for report in reports {
            assert_eq!((report.ready, report.failures.len()), (half, half), "{threads}");
            assert!(report.failures.iter().all(|failure| failure.path == list[failure.index]));
        }
    };
    let tasks = count("/proc/self/task");
    let threads_are_gone = || {
        // The kernel lists a thread for a moment after it was joined.
        while count("/proc/self/task") != tasks {
            thread::yield_now();
        }
    };
    // The allocator caches memory for each thread; allocate it first.
    run(200, &list[..1000]);
    threads_are_gone();
    let (descriptors, mappings_before) = (count("/proc/self/fd"), mappings());
    run(0, &list);
    for threads in [1, 2, 200] {
        run(threads, &list[..1000]);
    }
    threads_are_gone();
    assert_eq!(count("/proc/self/fd"), descriptors);
    let after = mappings();
    assert!(after <= mappings_before + 100, "{mappings_before} mappings before, {after} after");
}

#[test]
fn watch_progress_never_decreases() {
    let (_directory, mut list) = files("watch", 3000);
    list.extend((0..500).map(|number| PathBuf::from(format!("absent-{number}"))));
    let (cache, watch) = (cache(LARGE), Watch::default());
    assert_eq!(watch.progress(), Progress::default());
    let look = || {
        let mut last = watch.progress();
        while last.done != 3500 {
            let now = watch.progress();
            assert!(now.failed <= now.done && now.done <= 3500, "{now:?}");
            assert!(last.done <= now.done && last.bytes <= now.bytes, "{last:?} {now:?}");
            last = now;
            thread::yield_now();
        }
        assert!(last.is_complete());
    };
    thread::scope(|scope| {
        scope.spawn(look);
        scope.spawn(look);
        let report = prefetch::warm(&cache, &list, Options::default(), &watch).unwrap();
        let done = watch.progress();
        assert_eq!((done.done, done.failed, done.total), (3500, 500, 3500));
        assert_eq!(done.bytes, report.bytes);
    });
}

/// A waker that unparks a thread and counts.
struct Unpark {
    thread: Thread,
    times: AtomicU32,
}

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.times.fetch_add(1, Ordering::SeqCst);
        self.thread.unpark();
    }
}

fn unpark() -> Arc<Unpark> {
    Arc::new(Unpark { thread: thread::current(), times: AtomicU32::new(0) })
}

/// A minimal executor: one future on one thread, polled when it is woken.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    let unpark = unpark();
    let waker = Waker::from(Arc::clone(&unpark));
    let (mut future, mut polls) = (pin!(future), 0);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        polls += 1;
        while unpark.times.load(Ordering::SeqCst) < polls {
            thread::park();
        }
    }
}

#[test]
fn prefetch_can_be_awaited() {
    let (_directory, list) = files("await", 200);
    let cache = Arc::new(cache(LARGE));
    let all = async {
        let mut ready = 0;
        for threads in [0, 1, 2, 50] {
            ready += start(Arc::clone(&cache), &list, on(threads)).await.ready;
        }
        ready + start(Arc::clone(&cache), &[], on(2)).await.ready
    };
    assert_eq!(block_on(all), 800);
    let leaked: &'static FileCache = Box::leak(Box::new(self::cache(LARGE)));
    assert_eq!(block_on(start(leaked, &list, on(2))).ready, 200);
}

/// Starts a prefetch whose threads block while `look` runs, because the cache is locked.
fn while_blocked<T>(
    test: &str,
    threads: usize,
    look: impl FnOnce(Prefetch) -> T,
) -> (T, Arc<FileCache>, Directory) {
    let (directory, list) = files(test, 500);
    let cache = Arc::new(cache(LARGE));
    cache.get(bytes(&list[0])).unwrap();
    let (mut look, mut seen) = (Some(look), None);
    cache.for_each(|_, _| {
        let prefetch = start(Arc::clone(&cache), &list[1..], on(threads));
        seen = Some(look.take().unwrap()(prefetch));
    });
    (seen.unwrap(), cache, directory)
}

#[test]
fn last_waker_is_woken_on_any_thread() {
    let (first, second) = (unpark(), unpark());
    let poll = |prefetch: &mut Prefetch, unpark: &Arc<Unpark>| {
        let waker = Waker::from(Arc::clone(unpark));
        Pin::new(prefetch).poll(&mut Context::from_waker(&waker))
    };
    let look = |mut prefetch: Prefetch| {
        assert!(poll(&mut prefetch, &first).is_pending());
        let progress = prefetch.progress();
        assert_eq!((progress.done, progress.total, prefetch.is_finished()), (0, 499, false));
        let second = Arc::clone(&second);
        let elsewhere = thread::spawn(move || {
            assert!(poll(&mut prefetch, &second).is_pending());
            prefetch
        });
        elsewhere.join().unwrap()
    };
    let (mut prefetch, cache, _directory) = while_blocked("poll", 2, look);
    while second.times.load(Ordering::SeqCst) == 0 {
        thread::park();
    }
    let Poll::Ready(report) = poll(&mut prefetch, &second) else { panic!("woken too early") };
    assert_eq!((report.ready, report.threads, prefetch.is_finished()), (499, 2, true));
    assert_eq!(poll(&mut prefetch, &first), Poll::Ready(report.clone()), "polled again");
    assert_eq!(prefetch.wait(), report);
    let times = [&first, &second].map(|unpark| unpark.times.load(Ordering::SeqCst));
    assert_eq!(times, [0, 1]);
    assert_eq!([Arc::strong_count(&first), Arc::strong_count(&second)], [1, 1]);
    assert_eq!(Arc::strong_count(&cache), 1);
}

#[test]
fn dropped_prefetch_ends_after_the_current_files() {
    let unpark = unpark();
    let look = |mut prefetch: Prefetch| {
        let waker = Waker::from(Arc::clone(&unpark));
        assert!(Pin::new(&mut prefetch).poll(&mut Context::from_waker(&waker)).is_pending());
        drop((waker, prefetch));
        assert_eq!(Arc::strong_count(&unpark), 1, "the waker is dropped");
    };
    let ((), cache, _directory) = while_blocked("drop", 3, look);
    while Arc::strong_count(&cache) != 1 {
        thread::yield_now();
    }
    let statistics = cache.statistics();
    assert!(statistics.misses <= 1 + 3, "{} files were read", statistics.misses);
    assert_eq!(u64::from(statistics.files), statistics.misses);
    assert_eq!(unpark.times.load(Ordering::SeqCst), 0);
}

#[test]
fn concurrent_prefetches_share_a_cache_while_some_are_dropped() {
    let (_directory, list) = files("many-at-once", 100);
    let cache = Arc::new(cache(Capacity { files: 30, bytes: 100_000 }));
    let expected = naive(&list);
    for round in 0..20 {
        let mut all: Vec<_> = (0..6)
            .map(|number| start(Arc::clone(&cache), &list, on(1 + (round + number) % 3)))
            .collect();
        drop(all.drain(..2));
        for prefetch in all {
            // Another prefetch may hold the only file that could be evicted.
            let report = prefetch.wait();
            assert_eq!(report.ready + report.failures.len(), 100);
            let in_use = |failure: &Failure| matches!(failure.error, CacheError::AllInUse { .. });
            assert!(report.failures.iter().all(in_use));
            assert!(report.bytes <= expected.bytes);
        }
    }
    while Arc::strong_count(&cache) != 1 {
        thread::yield_now();
    }
    let statistics = cache.statistics();
    assert_eq!((statistics.detached_files, statistics.detached_bytes), (0, 0));
    assert!(statistics.bytes <= 100_000);
}
