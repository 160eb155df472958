//! A prefetch that goes on by itself.

use std::alloc::{Layout, handle_alloc_error};
use std::any::Any;
use std::fmt;
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::{AcqRel, Relaxed};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
#[cfg(feature = "c-api")]
use std::time::{Duration, Instant};

use smf_core::alloc_util::{AllocError, TryArc};
use smf_core::cache::{FileCache, Storage};

use super::queue::{Job, Queue};
use super::thread::Thread;
use super::watch::{Progress, Watch};
use super::{Files, Options, Outcome, Report, STACK};

/// Begins to read the files at `paths` into `cache` on threads of its own and comes back at once. If
/// the system gives not a single thread, the files are read before this comes back.
///
/// The cache is an `Arc<FileCache>` or a `&'static FileCache`.
///
/// ```
/// use std::sync::Arc;
/// use smf_core::cache::{Capacity, FileCache};
/// use smf_loader::prefetch::{self, Options};
///
/// let cache = FileCache::new(Capacity { files: 100, bytes: 1 << 20 }, Default::default())?;
/// let prefetch = prefetch::start(Arc::new(cache), ["Cargo.toml"], Options::default());
/// // Something else, and then:
/// assert_eq!(prefetch.wait().ready, 1);
/// # Ok::<(), smf_core::cache::CacheError>(())
/// ```
pub fn start<C, S>(
    cache: C,
    paths: impl IntoIterator<Item = impl Into<PathBuf>>,
    options: Options,
) -> Prefetch
where
    C: Deref<Target = FileCache<S>> + Clone + Send + 'static,
    S: Storage + 'static,
{
    let started = try_start(cache, paths.into_iter().map(Into::into).collect(), options);
    started.unwrap_or_else(|AllocError| handle_alloc_error(Layout::new::<Shared>()))
}

/// As [`start`].
///
/// # Errors
/// No memory; nothing was read.
pub fn try_start<C, S>(
    cache: C,
    paths: Vec<PathBuf>,
    options: Options,
) -> Result<Prefetch, AllocError>
where
    C: Deref<Target = FileCache<S>> + Clone + Send + 'static,
    S: Storage + 'static,
{
    start_on(cache, paths, options, STACK)
}

fn start_on<C, S>(
    cache: C,
    paths: Vec<PathBuf>,
    options: Options,
    stack: usize,
) -> Result<Prefetch, AllocError>
where
    C: Deref<Target = FileCache<S>> + Clone + Send + 'static,
    S: Storage + 'static,
{
    let wanted = options.threads_for(paths.len());
    let shared = TryArc::new(Shared::new(paths, wanted, options)?)?;
    let spawn = |_| {
        let (in_thread, cache) = (shared.clone(), cache.clone());
        shared.at_work.fetch_add(1, Relaxed);
        let spawned = Thread::spawn(stack, move || {
            let job = Files { cache: &cache, paths: &in_thread.paths };
            in_thread.queue.work(&job, &in_thread.watch);
            in_thread.leave(&job);
        });
        if spawned.is_none() {
            // Whoever starts the threads has not left, so this is not the last one.
            shared.at_work.fetch_sub(1, Relaxed);
        }
        spawned
    };
    let wanted = if shared.paths.is_empty() { 0 } else { wanted };
    let mut threads = Vec::new();
    threads.try_reserve_exact(wanted).map_err(|_| AllocError)?;
    threads.extend((0..wanted).map_while(spawn));
    let job = Files { cache: &cache, paths: &shared.paths };
    if threads.is_empty() {
        shared.queue.work(&job, &shared.watch);
    }
    shared.threads.store(threads.len().max(1), Relaxed);
    shared.leave(&job);
    Ok(Prefetch { shared, threads })
}

/// A prefetch on threads of its own: see [`start`].
///
/// It can be awaited in any executor; [`wait`](Self::wait) is for threads without one, and
/// [`progress`](Self::progress) for those who would rather look. Dropping it cancels it: each thread
/// stops after the file that it is at, nobody waits for that, and the cache keeps what it has got.
#[must_use = "dropping it cancels it"]
pub struct Prefetch {
    shared: TryArc<Shared>,
    threads: Vec<Thread>,
}

struct Shared {
    paths: Vec<PathBuf>,
    queue: Queue,
    watch: Watch,
    threads: AtomicUsize,
    /// Threads that have not left, and whoever has not yet started them all.
    at_work: AtomicUsize,
    end: Mutex<End>,
    ended: Condvar,
}

/// What the last thread leaves, and who is told.
#[derive(Default)]
struct End {
    last: Option<Last>,
    waker: Option<Waker>,
}

enum Last {
    Finished(Outcome),
    Panicked(Box<dyn Any + Send>),
}

impl Shared {
    fn new(paths: Vec<PathBuf>, crew: usize, options: Options) -> Result<Self, AllocError> {
        let queue = Queue::new(paths.len(), crew, options.read_ahead)?;
        let watch = Watch::new();
        watch.begin(paths.len());
        let (threads, at_work) = (AtomicUsize::new(0), AtomicUsize::new(1));
        let (end, ended) = (Mutex::default(), Condvar::new());
        Ok(Self { paths, queue, watch, threads, at_work, end, ended })
    }

    /// The last one finishes and tells who waits.
    fn leave(&self, job: &impl Job) {
        if self.at_work.fetch_sub(1, AcqRel) != 1 {
            return;
        }
        let finish = || self.queue.finish(job, &self.watch);
        let last = match catch_unwind(AssertUnwindSafe(finish)) {
            Ok(results) => Last::Finished(results.outcome(self.threads.load(Relaxed))),
            Err(payload) => Last::Panicked(payload),
        };
        let mut end = self.end();
        end.last = Some(last);
        let waker = end.waker.take();
        drop(end);
        self.ended.notify_all();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn end(&self) -> MutexGuard<'_, End> {
        self.end.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The report, once the last thread has left what it is made of.
    fn report(&self) -> Option<Report> {
        let mut end = self.end();
        match &end.last {
            None => return None,
            Some(Last::Finished(outcome)) => return Some(outcome.report(&self.paths)),
            Some(Last::Panicked(_)) => {}
        }
        let last = end.last.replace(Last::Finished(Outcome::default()));
        drop(end);
        match last {
            Some(Last::Panicked(payload)) => resume_unwind(payload),
            _ => None,
        }
    }
}

impl Prefetch {
    /// How far it is now. Takes no lock.
    pub fn progress(&self) -> Progress {
        self.shared.watch.progress()
    }

    /// Whether the report is there, so that [`wait`](Self::wait) would not.
    pub fn is_finished(&self) -> bool {
        self.shared.end().last.is_some()
    }

    /// Cancels it as dropping it does, for those who want to wait for the threads nevertheless.
    pub fn cancel(&self) {
        self.shared.queue.stop();
    }

    /// Waits until every file has been read or cannot be, and until the threads have ended.
    ///
    /// # Panics
    /// When reading a file panicked twice, with the payload of the second time.
    pub fn wait(mut self) -> Report {
        self.threads.drain(..).for_each(Thread::join);
        self.shared.report().unwrap_or_default()
    }

    /// Waits until the threads have ended, and asks for no report.
    #[cfg(feature = "c-api")]
    pub(crate) fn join(mut self) {
        self.threads.drain(..).for_each(Thread::join);
    }

    /// What there is to be known of it, also when it has been dropped.
    #[cfg(feature = "c-api")]
    pub(crate) fn state(&self) -> State {
        State(self.shared.clone())
    }
}

/// How a prefetch stands, for who asks for no memory.
#[cfg(feature = "c-api")]
pub(crate) struct State(TryArc<Shared>);

#[cfg(feature = "c-api")]
impl State {
    pub(crate) fn progress(&self) -> Progress {
        self.0.watch.progress()
    }

    /// Waits until every file has been read or cannot be, but not after `end`; whether they have been.
    pub(crate) fn wait_until(&self, end: Option<Instant>) -> bool {
        let mut state = self.0.end();
        while state.last.is_none() {
            let rest = end.map(|end| end.saturating_duration_since(Instant::now()));
            let ended = &self.0.ended;
            state = match rest {
                Some(Duration::ZERO) => return false,
                Some(rest) => {
                    ended.wait_timeout(state, rest).unwrap_or_else(PoisonError::into_inner).0
                }
                None => ended.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
        true
    }

    /// What `look` makes of the outcome; `None` while there is none, and after a panic.
    pub(crate) fn outcome<T>(&self, look: impl FnOnce(&Outcome) -> T) -> Option<T> {
        match &self.0.end().last {
            Some(Last::Finished(outcome)) => Some(look(outcome)),
            _ => None,
        }
    }
}

impl Future for Prefetch {
    type Output = Report;

    /// Ready as soon as the last file is dealt with; then again each time it is asked.
    ///
    /// # Panics
    /// As [`wait`](Prefetch::wait).
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Report> {
        // A waker is foreign code, also when it is cloned or dropped: never under the lock.
        let waker = context.waker().clone();
        let mut end = self.shared.end();
        let _replaced = if end.last.is_none() { end.waker.replace(waker) } else { Some(waker) };
        drop(end);
        self.shared.report().map_or(Poll::Pending, Poll::Ready)
    }
}

impl Drop for Prefetch {
    fn drop(&mut self) {
        self.cancel();
        let _waker = self.shared.end().waker.take();
    }
}

impl fmt::Debug for Prefetch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prefetch").field("progress", &self.progress()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::super::queue::Read;
    use super::*;
    use smf_core::cache::{CacheError, Capacity};
    use std::sync::Arc;

    #[test]
    fn what_no_thread_can_be_had_for_is_done_before_it_comes_back() {
        let capacity = Capacity { files: 10, bytes: 1 << 20 };
        let cache = Arc::new(FileCache::new(capacity, Default::default()).unwrap());
        let paths = ["Cargo.toml", "absent", "src/lib.rs"].map(PathBuf::from).to_vec();
        // No address space has room for such a stack.
        let prefetch = start_on(Arc::clone(&cache), paths, Options::default(), 1 << 60).unwrap();
        assert!(prefetch.is_finished() && prefetch.progress().is_complete());
        let report = prefetch.wait();
        assert_eq!((report.ready, report.threads, report.failures.len()), (2, 1, 1));
        assert_eq!(cache.statistics().files, 2);
        assert_eq!(Arc::strong_count(&cache), 1);
    }

    #[test]
    fn a_file_that_always_panics_is_told_to_the_one_who_waits() {
        struct Broken;
        impl Job for Broken {
            type Hand = ();
            fn hand(&self) {}
            fn announce(&self, (): &mut (), _: usize) {}
            fn read(&self, (): &mut (), _: usize) -> Result<Read, CacheError> {
                resume_unwind(Box::new("broken"))
            }
        }
        let shared = Shared::new(vec!["one".into()], 1, Options::default()).unwrap();
        shared.queue.work(&Broken, &shared.watch);
        shared.leave(&Broken);
        let mut prefetch = Prefetch { shared: TryArc::new(shared).unwrap(), threads: Vec::new() };
        let mut context = Context::from_waker(Waker::noop());
        let polled = catch_unwind(AssertUnwindSafe(|| Pin::new(&mut prefetch).poll(&mut context)));
        assert_eq!(polled.unwrap_err().downcast_ref(), Some(&"broken"));
        assert_eq!(prefetch.wait(), Report::default(), "once is enough");
    }
}
