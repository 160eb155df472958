//! `smf_cache_prefetch*`: files into a cache before they are needed, at once or in the background.
#![allow(unsafe_code)]

use std::collections::HashMap;
use std::ffi::{CStr, OsStr, c_char};
use std::hash::{BuildHasherDefault, DefaultHasher};
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use smf_core::sort::sort_by_key;

use super::args;
use super::caches::{self, Lease};
use super::error::{ApiError, keep, or};
use crate::prefetch::{self, Options, Prefetch, Report};

/// How far a prefetch is.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct SmfPrefetchProgress {
    /// Paths in the list; -1 on failure.
    pub total: i64,
    /// Those that have been dealt with, failures included.
    pub done: i64,
    /// Those that could not be read.
    pub failed: i64,
    /// The bytes of the files that are in the cache now.
    pub bytes: i64,
}

const NO_PROGRESS: SmfPrefetchProgress =
    SmfPrefetchProgress { total: -1, done: 0, failed: 0, bytes: 0 };

/// A list of paths from C, without those that are null.
struct List<'l> {
    paths: Vec<&'l Path>,
    /// Where each of them stood.
    places: Vec<usize>,
    /// With the nulls.
    total: usize,
}

impl<'l> List<'l> {
    /// # Safety
    /// `paths` is null or points to `count` pointers, each of which is null or points to bytes that end
    /// with a NUL and stay as long as the list.
    unsafe fn new(paths: *const *const c_char, count: i64) -> Result<Self, ApiError> {
        const WHAT: &str = "the number of paths";
        let total = usize::try_from(args::length(WHAT, count)?).ok();
        let most = isize::MAX as usize / size_of::<*const c_char>();
        let too_large = ApiError::TooLarge { what: WHAT, value: count };
        let total = total.filter(|&total| total <= most).ok_or(too_large)?;
        if total == 0 {
            return Ok(Self { paths: Vec::new(), places: Vec::new(), total });
        }
        if paths.is_null() {
            return Err(ApiError::Null { what: "the list of paths" });
        }
        // SAFETY: passed on to the caller.
        let pointers = unsafe { std::slice::from_raw_parts(paths, total) };
        let (mut paths, mut places) = (Vec::new(), Vec::new());
        for (place, &pointer) in pointers.iter().enumerate().filter(|(_, path)| !path.is_null()) {
            // SAFETY: not null, so that it ends with a NUL, says the caller.
            let path = unsafe { CStr::from_ptr(pointer) };
            paths.push(Path::new(OsStr::from_bytes(path.to_bytes())));
            places.push(place);
        }
        Ok(Self { paths, places, total })
    }
}

/// What came of each path.
struct Outcome {
    /// In the order of their places.
    failures: Vec<(usize, ApiError)>,
    total: usize,
}

impl Outcome {
    fn new(report: &Report, places: &[usize], total: usize) -> Self {
        let mut failures = Vec::new();
        for failure in &report.failures {
            // A failure of the list that the places are of.
            if let Some(place) = places.get(failure.index) {
                failures.push((*place, ApiError::Cache(failure.error)));
            }
        }
        // Those that were null have no place.
        let mut named = places.iter().peekable();
        for place in 0..total {
            if named.next_if_eq(&&place).is_none() {
                failures.push((place, ApiError::Null { what: "the path" }));
            }
        }
        sort_by_key(&mut failures, |(place, _)| *place);
        Self { failures, total }
    }

    fn result(&self, place: usize) -> Result<(), ApiError> {
        let found = self.failures.binary_search_by_key(&place, |(place, _)| *place);
        let failure = found.ok().and_then(|index| self.failures.get(index));
        failure.map_or(Ok(()), |(_, error)| Err(*error))
    }
}

fn options(threads: i32) -> Result<Options, ApiError> {
    let threads = args::length("the number of threads", i64::from(threads))?;
    let threads = usize::try_from(threads).unwrap_or(usize::MAX);
    Ok(Options { threads, ..Options::default() })
}

/// Reads files into the cache and comes back when each has been read or cannot be. Returns how many are
/// ready; -1 on failure, and then nothing was read.
///
/// # Safety
/// `paths` is null or points to `count` pointers, each of which is null or points to bytes that end with
/// a NUL; `results` is null or points to room for `count` numbers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_cache_prefetch(
    cache: u64,
    paths: *const *const c_char,
    count: i64,
    threads: i32,
    results: *mut i32,
) -> i64 {
    let ready = caches::enter(cache).and_then(|cache| {
        // SAFETY: passed on to the caller.
        let list = unsafe { List::new(paths, count) }?;
        let report = prefetch::warm(&cache, &list.paths, options(threads)?);
        let outcome = Outcome::new(&report, &list.places, list.total);
        if !results.is_null() {
            let room = results.cast::<MaybeUninit<i32>>();
            // SAFETY: room for as many, says the caller; whatever is in it need not be initialised.
            let room = unsafe { std::slice::from_raw_parts_mut(room, list.total) };
            for (place, result) in room.iter_mut().enumerate() {
                result.write(code(&outcome.result(place)));
            }
        }
        Ok(i64::try_from(report.ready).unwrap_or(i64::MAX))
    });
    or(-1, ready)
}

/// A number of `SmfErrorCode`.
fn code(result: &Result<(), ApiError>) -> i32 {
    result.as_ref().map_or_else(|error| error.code() as i32, |()| 0)
}

/// A prefetch in the background.
struct Job {
    /// With what keeps the cache open until all threads have ended; `None` once it is being freed.
    running: Mutex<Option<(Prefetch, Lease)>>,
    outcome: OnceLock<Outcome>,
    places: Vec<usize>,
    total: usize,
    changed: Arc<Changed>,
}

/// Wakes those who wait for a prefetch.
#[derive(Default)]
struct Changed {
    times: Mutex<u64>,
    condition: Condvar,
}

impl Wake for Changed {
    fn wake(self: Arc<Self>) {
        *lock(&self.times) += 1;
        self.condition.notify_all();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while it holds one of these locks.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// By their numbers, none of which is ever given twice.
static JOBS: Mutex<HashMap<u64, Arc<Job>, BuildHasherDefault<DefaultHasher>>> =
    Mutex::new(HashMap::with_hasher(BuildHasherDefault::new()));

/// A lower half that no cache and no file has.
const MARK: u64 = 1 << 30;

fn job(prefetch: u64) -> Result<Arc<Job>, ApiError> {
    lock(&JOBS).get(&prefetch).map(Arc::clone).ok_or(ApiError::NoPrefetch { prefetch })
}

/// Begins to read files into the cache and comes back at once. Returns the number of the prefetch; 0 on
/// failure.
///
/// # Safety
/// As [`smf_cache_prefetch`]; the paths are copied.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_cache_prefetch_start(
    cache: u64,
    paths: *const *const c_char,
    count: i64,
    threads: i32,
) -> u64 {
    let started = caches::enter(cache).and_then(|cache| {
        // SAFETY: passed on to the caller.
        let list = unsafe { List::new(paths, count) }?;
        let (options, lease) = (options(threads)?, cache.lease());
        let prefetch = prefetch::start(lease.cache(), list.paths, options);
        let job = Job {
            running: Mutex::new(Some((prefetch, lease))),
            outcome: OnceLock::new(),
            places: list.places,
            total: list.total,
            changed: Arc::default(),
        };
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let number = NEXT.fetch_add(1, Ordering::Relaxed) << 32 | MARK;
        lock(&JOBS).insert(number, Arc::new(job));
        Ok(number)
    });
    or(0, started)
}

/// How far a prefetch is.
#[unsafe(no_mangle)]
pub extern "C" fn smf_prefetch_progress(prefetch: u64) -> SmfPrefetchProgress {
    let progress = job(prefetch).and_then(|job| {
        let now = lock(&job.running).as_ref().map(|(running, _)| running.progress());
        let now = now.ok_or(ApiError::NoPrefetch { prefetch })?;
        // The nulls were dealt with before it began.
        let nulls = job.total - job.places.len();
        let count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        Ok(SmfPrefetchProgress {
            total: count(job.total),
            done: count(now.done + nulls),
            failed: count(now.failed + nulls),
            bytes: i64::try_from(now.bytes).unwrap_or(i64::MAX),
        })
    });
    or(NO_PROGRESS, progress)
}

/// Waits until a prefetch has dealt with every file, for as many milliseconds at most unless they are
/// negative: 1 when it has, 0 when the time is over, -1 on failure.
#[unsafe(no_mangle)]
pub extern "C" fn smf_prefetch_wait(prefetch: u64, milliseconds: i64) -> i32 {
    let limit = u64::try_from(milliseconds).ok().map(Duration::from_millis);
    // A moment that no clock reaches is none.
    let end = limit.and_then(|limit| Instant::now().checked_add(limit));
    or(-1, job(prefetch).and_then(|job| job.wait(prefetch, end)).map(i32::from))
}

impl Job {
    /// Whether it has finished before `end`.
    fn wait(&self, number: u64, end: Option<Instant>) -> Result<bool, ApiError> {
        loop {
            let seen = *lock(&self.changed.times);
            if self.poll(number)? {
                return Ok(true);
            }
            let mut times = lock(&self.changed.times);
            while *times == seen {
                let rest = end.map(|end| end.saturating_duration_since(Instant::now()));
                times = match rest {
                    Some(Duration::ZERO) => return Ok(false),
                    Some(rest) => {
                        let woken = self.changed.condition.wait_timeout(times, rest);
                        woken.unwrap_or_else(PoisonError::into_inner).0
                    }
                    None => {
                        let woken = self.changed.condition.wait(times);
                        woken.unwrap_or_else(PoisonError::into_inner)
                    }
                };
            }
        }
    }

    /// Whether it has finished; if not, `changed` hears of it.
    fn poll(&self, number: u64) -> Result<bool, ApiError> {
        let waker = Waker::from(Arc::clone(&self.changed));
        let mut running = lock(&self.running);
        if self.outcome.get().is_some() {
            return Ok(true);
        }
        let none = ApiError::NoPrefetch { prefetch: number };
        let (prefetch, _) = running.as_mut().ok_or(none)?;
        let polled = Pin::new(prefetch).poll(&mut Context::from_waker(&waker));
        let Poll::Ready(report) = polled else { return Ok(false) };
        let outcome = Outcome::new(&report, &self.places, self.total);
        Ok(self.outcome.set(outcome).is_ok())
    }
}

/// What came of the path at `index` of a prefetch that has finished: `SMF_OK`, or why it could not be
/// read, which is the last error then. -1 on failure.
#[unsafe(no_mangle)]
pub extern "C" fn smf_prefetch_result(prefetch: u64, index: i64) -> i32 {
    let result = job(prefetch).and_then(|job| {
        let place = usize::try_from(args::length("the index", index)?).ok();
        if !job.poll(prefetch)? {
            return Err(ApiError::Unfinished);
        }
        let outcome = job.outcome.get().ok_or(ApiError::Unfinished)?;
        let place = place.filter(|&place| place < outcome.total);
        let unknown = ApiError::Unknown { what: "index in the list", value: index };
        Ok(outcome.result(place.ok_or(unknown)?))
    });
    let result = or(None, result.map(Some));
    if let Some(Err(error)) = result {
        keep(error);
    }
    result.as_ref().map_or(-1, code)
}

/// Frees a prefetch. One that has not finished is cancelled: the files that are being read are read to
/// the end, and no others. The cache keeps what it has got.
#[unsafe(no_mangle)]
pub extern "C" fn smf_prefetch_free(prefetch: u64) -> bool {
    let removed = lock(&JOBS).remove(&prefetch).ok_or(ApiError::NoPrefetch { prefetch });
    or(false, removed.map(|job| job.end()).map(|()| true))
}

impl Job {
    /// Cancels it, and comes back when no thread of it is left.
    fn end(&self) {
        let running = lock(&self.running).take();
        if let Some((prefetch, lease)) = running {
            prefetch.cancel();
            // Whoever waits for it learns that it is gone.
            Wake::wake(Arc::clone(&self.changed));
            drop(prefetch.wait());
            drop(lease);
        }
    }
}
