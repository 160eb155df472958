//! `smf_cache_prefetch*`: files into a cache before they are needed, at once or in the background.
#![allow(unsafe_code)]

use std::collections::HashMap;
use std::ffi::{CStr, OsStr, OsString, c_char};
use std::hash::{BuildHasherDefault, DefaultHasher};
use std::mem::{self, MaybeUninit};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use smf_core::alloc_util::{AllocError, TryArc, UninitArc, try_copy_bytes as copy_of, try_push};

use super::args;
use super::cache_handles::{self, Entered, Lease};
use super::error::{ApiError, keep, or};
use crate::fork::ProcessLock;
use crate::prefetch::{self, Options, Outcome, Prefetch, State, Watch};

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
            try_push(&mut paths, Path::new(OsStr::from_bytes(path.to_bytes())))?;
            try_push(&mut places, place)?;
        }
        Ok(Self { paths, places, total })
    }

    /// Copies of the paths.
    fn owned(&self) -> Result<Vec<PathBuf>, AllocError> {
        let mut owned = Vec::new();
        for path in &self.paths {
            let bytes = copy_of(path.as_os_str().as_bytes())?.into_vec();
            try_push(&mut owned, OsString::from_vec(bytes).into())?;
        }
        Ok(owned)
    }
}

/// What came of the path at a place of a list whose paths stand at `places`: the others are null.
fn result_of(outcome: &Outcome, places: &[usize], place: usize) -> Result<(), ApiError> {
    let index = places.binary_search(&place);
    let index = index.map_err(|_| ApiError::Null { what: "the path" })?;
    let found = outcome.failures.binary_search_by_key(&index, |(index, _)| *index);
    let failure = found.ok().and_then(|found| outcome.failures.get(found));
    failure.map_or(Ok(()), |(_, error)| Err(ApiError::Cache(*error)))
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
    let ready = cache_handles::enter(cache).and_then(|cache| {
        // SAFETY: passed on to the caller.
        let list = unsafe { List::new(paths, count) }?;
        let watch = Watch::new();
        let outcome = prefetch::warm(&cache, &list.paths, options(threads)?, &watch)?;
        if !results.is_null() {
            let room = results.cast::<MaybeUninit<i32>>();
            // SAFETY: room for as many, says the caller; whatever is in it need not be initialised.
            let room = unsafe { std::slice::from_raw_parts_mut(room, list.total) };
            for (place, result) in room.iter_mut().enumerate() {
                result.write(code(&result_of(&outcome, &list.places, place)));
            }
        }
        Ok(i64::try_from(outcome.ready).unwrap_or(i64::MAX))
    });
    or(-1, ready)
}

/// A number of `SmfErrorCode`.
fn code(result: &Result<(), ApiError>) -> i32 {
    result.as_ref().map_or_else(|error| error.code() as i32, |()| 0)
}

/// A prefetch in the background.
pub(super) struct Job {
    /// With what keeps the cache open until all threads have ended; `None` once it is being freed.
    running: Mutex<Option<(Prefetch, Lease)>>,
    state: State,
    places: Vec<usize>,
    total: usize,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while it holds the lock.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// By their numbers, none of which is ever given twice; `None` for one that is being started.
pub(super) static JOBS: ProcessLock<Jobs> =
    ProcessLock::new(HashMap::with_hasher(BuildHasherDefault::new()));

/// The next of these numbers, without the [mark](MARK).
static NEXT: AtomicU64 = AtomicU64::new(1);

/// The first that was not given by a parent of this process.
static FIRST: AtomicU64 = AtomicU64::new(1);

pub(super) type Jobs = HashMap<u64, Option<TryArc<Job>>, BuildHasherDefault<DefaultHasher>>;

/// A lower half that no cache and no file has.
const MARK: u64 = 1 << 30;

fn job(prefetch: u64) -> Result<TryArc<Job>, ApiError> {
    JOBS.lock().get(&prefetch).cloned().flatten().ok_or_else(|| no_prefetch(prefetch))
}

/// The error of a number that is no prefetch of this process.
fn no_prefetch(prefetch: u64) -> ApiError {
    let inherited = 1..FIRST.load(Ordering::Relaxed);
    match prefetch & u64::from(u32::MAX) == MARK && inherited.contains(&(prefetch >> 32)) {
        true => ApiError::InUseAtFork { number: prefetch },
        false => ApiError::NoPrefetch { prefetch },
    }
}

/// Forgets every prefetch. In a child, which has none of their threads.
pub(super) fn begin_child() {
    FIRST.store(NEXT.load(Ordering::Relaxed), Ordering::Relaxed);
    // What they hold may be locked for ever.
    mem::forget(mem::take(&mut *JOBS.lock()));
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
    let started = cache_handles::enter(cache).and_then(|cache| {
        // SAFETY: passed on to the caller.
        let list = unsafe { List::new(paths, count) }?;
        start(&cache, list, options(threads)?)
    });
    or(0, started)
}

fn start(cache: &Entered, list: List<'_>, options: Options) -> Result<u64, ApiError> {
    let number = NEXT.fetch_add(1, Ordering::Relaxed) << 32 | MARK;
    let (job, paths) = (UninitArc::new()?, list.owned()?);
    let mut jobs = JOBS.lock();
    jobs.try_reserve(1).map_err(|_| AllocError)?;
    jobs.insert(number, None);
    drop(jobs);
    let lease = cache.lease();
    let started = prefetch::start(lease.cache(), paths, options);
    let started = started.inspect_err(|AllocError| _ = JOBS.lock().remove(&number))?;
    let (state, running) = (started.state(), Mutex::new(Some((started, lease))));
    let List { places, total, .. } = list;
    let job = job.fill(Job { running, state, places, total });
    JOBS.lock().insert(number, Some(job));
    Ok(number)
}

/// How far a prefetch is.
#[unsafe(no_mangle)]
pub extern "C" fn smf_prefetch_progress(prefetch: u64) -> SmfPrefetchProgress {
    let progress = job(prefetch).map(|job| {
        let now = job.state.progress();
        // The nulls were dealt with before it began.
        let nulls = job.total - job.places.len();
        let count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        SmfPrefetchProgress {
            total: count(job.total),
            done: count(now.done + nulls),
            failed: count(now.failed + nulls),
            bytes: i64::try_from(now.bytes).unwrap_or(i64::MAX),
        }
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
        let is_finished = self.state.wait_until(end);
        // Whoever waits for one that is freed meanwhile learns that it is gone.
        let is_there = lock(&self.running).is_some();
        is_there.then_some(is_finished).ok_or(ApiError::NoPrefetch { prefetch: number })
    }
}

/// What came of the path at `index` of a prefetch that has finished: `SMF_OK`, or why it could not be
/// read, which is the last error then. -1 on failure.
#[unsafe(no_mangle)]
pub extern "C" fn smf_prefetch_result(prefetch: u64, index: i64) -> i32 {
    let result = job(prefetch).and_then(|job| {
        let place = usize::try_from(args::length("the index", index)?).ok();
        let unknown = ApiError::Unknown { what: "index in the list", value: index };
        let place = place.filter(|&place| place < job.total).ok_or(unknown);
        let result = |outcome: &Outcome| Ok(result_of(outcome, &job.places, place?));
        job.state.outcome(result).unwrap_or(Err(ApiError::Unfinished))
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
    let removed = JOBS.lock().remove(&prefetch).ok_or_else(|| no_prefetch(prefetch));
    or(false, removed.map(|job| _ = job.map(|job| job.end())).map(|()| true))
}

impl Job {
    /// Cancels it, and comes back when no thread of it is left.
    fn end(&self) {
        let running = lock(&self.running).take();
        if let Some((prefetch, lease)) = running {
            prefetch.cancel();
            prefetch.join();
            drop(lease);
        }
    }
}
