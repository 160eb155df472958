//! Prefetching in the background.

use std::fmt;
use std::ops::Deref;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::{AcqRel, Relaxed};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
#[cfg(feature = "c-api")]
use std::time::{Duration, Instant};

use smf_core::alloc_util::{AllocError, TryArc};
use smf_core::cache::FileCache;

use super::file_job::Files;
use super::options::{Options, STACK};
use super::queue::{Job, Queue};
use super::report::{Outcome, Report};
use super::thread::spawn;
use super::watch::{Progress, Watch};
use crate::raw_thread::Thread;

/// Starts to read the files at `paths` into `cache` on background threads and returns at once. If no thread
/// can be spawned, it reads the files before it returns.
///
/// The cache is an `Arc<FileCache>` or a `&'static FileCache`.
///
/// ```
/// use std::sync::Arc;
/// use smf_core::cache::{Capacity, FileCache};
/// use smf_loader::prefetch::{self, Options};
///
/// let cache = FileCache::new(Capacity { files: 100, bytes: 1 << 20 }, Default::default())?;
/// let paths = vec!["Cargo.toml".into()];
/// let prefetch = prefetch::start(Arc::new(cache), paths, Options::default()).unwrap();
/// // Other work, and then:
/// assert_eq!(prefetch.wait().ready, 1);
/// # Ok::<(), smf_core::cache::CacheError>(())
/// ```
///
/// # Errors
/// An allocation failed; no file was read.
pub fn start(
    cache: impl Deref<Target = FileCache> + Clone + Send + 'static,
    paths: Vec<PathBuf>,
    options: Options,
) -> Result<Prefetch, AllocError> {
    start_on(cache, paths, options, STACK)
}

fn start_on(
    cache: impl Deref<Target = FileCache> + Clone + Send + 'static,
    paths: Vec<PathBuf>,
    options: Options,
    stack: usize,
) -> Result<Prefetch, AllocError> {
    let count = options.threads_for(paths.len());
    let shared = TryArc::new(State::new(paths, count, options)?)?;
    let start = |_| {
        let (worker_shared, cache) = (shared.clone(), cache.clone());
        shared.running.fetch_add(1, Relaxed);
        let spawned = spawn(stack, move || {
            let job = Files { cache: &cache, paths: &worker_shared.paths };
            worker_shared.queue.work(&job, &worker_shared.watch);
            worker_shared.worker_ended(&job);
        });
        if spawned.is_none() {
            // This thread is counted until all are spawned, so that the count stays above 0.
            shared.running.fetch_sub(1, Relaxed);
        }
        spawned
    };
    let count = if shared.paths.is_empty() { 0 } else { count };
    let mut threads = Vec::new();
    threads.try_reserve_exact(count).map_err(|_| AllocError)?;
    threads.extend((0..count).map_while(start));
    let job = Files { cache: &cache, paths: &shared.paths };
    if threads.is_empty() {
        shared.queue.work(&job, &shared.watch);
    }
    shared.threads.store(threads.len().max(1), Relaxed);
    shared.worker_ended(&job);
    Ok(Prefetch { shared, threads })
}

/// A prefetch on background threads: see [`start`].
///
/// It is a future that any executor can poll; [`wait`](Self::wait) blocks, and [`progress`](Self::progress)
/// does neither. Dropping it cancels it without waiting: each thread ends after its current file, and the
/// files that have been read stay in the cache.
#[must_use = "dropping it cancels it"]
pub struct Prefetch {
    shared: TryArc<State>,
    threads: Vec<Thread>,
}

/// The state of a prefetch, which its threads share.
pub(crate) struct State {
    paths: Vec<PathBuf>,
    queue: Queue,
    pub(crate) watch: Watch,
    threads: AtomicUsize,
    /// Running threads, and the spawning thread until all are spawned.
    running: AtomicUsize,
    completion: Mutex<Completion>,
    completed: Condvar,
}

/// The result of the last thread, and the waker of the task that awaits it.
#[derive(Default)]
struct Completion {
    result: Option<Outcome>,
    waker: Option<Waker>,
}

impl State {
    fn new(paths: Vec<PathBuf>, workers: usize, options: Options) -> Result<Self, AllocError> {
        let queue = Queue::new(paths.len(), workers, options.read_ahead)?;
        let watch = Watch::default();
        watch.begin(paths.len());
        let (threads, running) = (AtomicUsize::new(0), AtomicUsize::new(1));
        let (completion, completed) = (Mutex::default(), Condvar::new());
        Ok(Self { paths, queue, watch, threads, running, completion, completed })
    }

    /// Marks a thread as ended. The last one publishes the result and wakes waiting threads and tasks.
    fn worker_ended(&self, job: &impl Job) {
        if self.running.fetch_sub(1, AcqRel) != 1 {
            return;
        }
        let threads = self.threads.load(Relaxed);
        let outcome = Outcome { threads, ..self.queue.finish(job, &self.watch) };
        let mut completion = self.completion();
        completion.result = Some(outcome);
        let waker = completion.waker.take();
        drop(completion);
        self.completed.notify_all();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn completion(&self) -> MutexGuard<'_, Completion> {
        self.completion.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The report, once the last thread has ended.
    fn report(&self) -> Option<Report> {
        Some(self.completion().result.as_ref()?.report(&self.paths))
    }
}

impl Prefetch {
    /// The current progress. Takes no lock.
    pub fn progress(&self) -> Progress {
        self.shared.watch.progress()
    }

    /// Whether all files have been processed, so that [`wait`](Self::wait) does not block.
    pub fn is_finished(&self) -> bool {
        self.shared.completion().result.is_some()
    }

    /// Cancels the prefetch, as dropping it does, but allows to wait for the threads.
    pub fn cancel(&self) {
        self.shared.queue.cancel();
    }

    /// Waits until all files have been processed and all threads have ended.
    pub fn wait(mut self) -> Report {
        self.join();
        self.shared.report().unwrap_or_default()
    }

    /// Waits until the threads have ended, without a report.
    pub(crate) fn join(&mut self) {
        self.threads.drain(..).for_each(Thread::join);
    }

    /// The shared state, which outlives the prefetch.
    #[cfg(feature = "c-api")]
    pub(crate) fn state(&self) -> TryArc<State> {
        self.shared.clone()
    }
}

/// The methods do not allocate.
#[cfg(feature = "c-api")]
impl State {
    /// Waits until all files have been processed, at most until `deadline`; returns whether they have been.
    pub(crate) fn wait_until(&self, deadline: Option<Instant>) -> bool {
        let mut state = self.completion();
        while state.result.is_none() {
            let rest = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            state = match rest {
                Some(Duration::ZERO) => return false,
                Some(rest) => {
                    let waited = self.completed.wait_timeout(state, rest);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.completed.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
        true
    }

    /// Applies `look` to the outcome; `None` before the end.
    pub(crate) fn outcome<T>(&self, look: impl FnOnce(&Outcome) -> T) -> Option<T> {
        self.completion().result.as_ref().map(look)
    }
}

impl Future for Prefetch {
    type Output = Report;

    /// Ready once all files have been processed. May be polled again afterwards.
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Report> {
        // Cloning and dropping a waker run foreign code: never under the lock.
        let waker = context.waker().clone();
        let mut completion = self.shared.completion();
        let _replaced =
            if completion.result.is_none() { completion.waker.replace(waker) } else { Some(waker) };
        drop(completion);
        self.shared.report().map_or(Poll::Pending, Poll::Ready)
    }
}

impl Drop for Prefetch {
    fn drop(&mut self) {
        self.cancel();
        let _waker = self.shared.completion().waker.take();
    }
}

impl fmt::Debug for Prefetch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prefetch").field("progress", &self.progress()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use smf_core::cache::Capacity;
    use std::sync::Arc;

    #[test]
    fn start_without_threads_reads_before_it_returns() {
        let capacity = Capacity { files: 10, bytes: 1 << 20 };
        let cache = Arc::new(FileCache::new(capacity, Default::default()).unwrap());
        let paths = ["Cargo.toml", "absent", "src/lib.rs"].map(PathBuf::from).to_vec();
        // No address space can hold this stack.
        let prefetch = start_on(Arc::clone(&cache), paths, Options::default(), 1 << 60).unwrap();
        assert!(prefetch.is_finished() && prefetch.progress().is_complete());
        let report = prefetch.wait();
        assert_eq!((report.ready, report.threads, report.failures.len()), (2, 1, 1));
        assert_eq!(cache.statistics().files, 2);
        assert_eq!(Arc::strong_count(&cache), 1);
    }
}
