//! `smf_cache_prefetch*`: reads files into a cache in advance, synchronously or in the background.
#![allow(unsafe_code)]

use std::ffi::{OsString, c_char};
use std::mem;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use smf_core::alloc_util::{AllocError, TryArc, UninitArc, try_copy_bytes, try_push};

use super::args::{self, to_i64};
use super::cache_handles::{CACHES, CacheGuard};
use super::cptr::{slice, slice_mut, text};
use super::error::{ApiError, ArgumentError, attempt_with, or, record, succeeded};
use crate::address_map::AddressMap;
use crate::fork::ProcessLock;
use crate::prefetch::{self, Options, Outcome, Prefetch, State, Watch};

/// The progress of a prefetch.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct SmfPrefetchProgress {
    /// Paths in the list; -1 on failure.
    pub total: i64,
    /// Paths that were read or failed.
    pub done: i64,
    /// Paths that could not be read.
    pub failed: i64,
    /// Bytes of the files that are ready.
    pub bytes: i64,
}

const NO_PROGRESS: SmfPrefetchProgress =
    SmfPrefetchProgress { total: -1, done: 0, failed: 0, bytes: 0 };

/// A copy of a list of paths from C.
struct PathList {
    /// The paths that are not null.
    paths: Vec<PathBuf>,
    /// The index of each path in the list of C.
    indices: Vec<usize>,
    /// The length of the list of C.
    total: usize,
}

impl PathList {
    /// # Safety
    /// `paths` is null or points to `count` pointers, each of which is null or NUL-terminated.
    unsafe fn new(paths: *const *const c_char, count: i64) -> Result<Self, ApiError> {
        // SAFETY: the caller's promise.
        let pointers = unsafe { slice("the list of paths", paths, count) }?;
        let mut list = Self { paths: Vec::new(), indices: Vec::new(), total: pointers.len() };
        for (index, &pointer) in pointers.iter().enumerate() {
            // SAFETY: the caller's promise.
            let Ok(path) = (unsafe { text("the path", pointer) }) else { continue };
            let path = OsString::from_vec(try_copy_bytes(path)?.into_vec());
            try_push(&mut list.paths, path.into())?;
            try_push(&mut list.indices, index)?;
        }
        Ok(list)
    }
}

/// The result for the path at `position` in the list of C; `indices` are the positions of the paths that are not
/// null.
fn result_of(outcome: &Outcome, indices: &[usize], position: usize) -> Result<(), ApiError> {
    let index = indices.binary_search(&position);
    let index = index.map_err(|_| ArgumentError::Null { what: "the path" })?;
    let found = outcome.failures.binary_search_by_key(&index, |(index, _)| *index);
    let failure = found.ok().and_then(|found| outcome.failures.get(found));
    failure.map_or(Ok(()), |(_, error)| Err(ApiError::Cache(*error)))
}

fn options(threads: i32) -> Result<Options, ApiError> {
    let threads = args::length("the number of threads", i64::from(threads))?;
    let threads = usize::try_from(threads).unwrap_or(usize::MAX);
    Ok(Options { threads, ..Options::default() })
}

/// Reads files into the cache and returns when each was read or failed. Returns how many are ready; -1 on failure,
/// when none was read.
///
/// # Safety
/// `paths` is null or points to `count` pointers, each of which is null or NUL-terminated; `results` is null or points
/// to memory for `count` numbers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_cache_prefetch(
    cache: u64,
    paths: *const *const c_char,
    count: i64,
    threads: i32,
    results: *mut i32,
) -> i64 {
    attempt_with(-1, CACHES.enter(cache), |cache| {
        // SAFETY: the caller's promise.
        let list = unsafe { PathList::new(paths, count) }?;
        let outcome = prefetch::warm(&cache, &list.paths, options(threads)?, &Watch::default())?;
        if !results.is_null() {
            // SAFETY: the caller's promise.
            let results = unsafe { slice_mut("the array of results", results, count) }?;
            for (position, result) in results.iter_mut().enumerate() {
                result.write(code(&result_of(&outcome, &list.indices, position)));
            }
        }
        Ok(to_i64(outcome.ready))
    })
}

/// A number of `SmfErrorCode`.
fn code(result: &Result<(), ApiError>) -> i32 {
    result.as_ref().map_or_else(|error| error.code() as i32, |()| 0)
}

/// A prefetch in the background.
pub(super) struct Job {
    /// With the lease of the cache until all threads have ended; `None` once it is being freed.
    running: Mutex<Option<(Prefetch, CacheGuard)>>,
    state: TryArc<State>,
    /// As [`PathList::indices`].
    indices: Vec<usize>,
    total: usize,
}

impl Job {
    fn running(&self) -> MutexGuard<'_, Option<(Prefetch, CacheGuard)>> {
        // No code panics while it holds the lock.
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// By handle, which is never reused; `None` for a prefetch that is being started.
pub(super) static JOBS: ProcessLock<AddressMap<Option<TryArc<Job>>>> =
    ProcessLock::new(AddressMap::new());

/// The upper half of the next handle.
static NEXT: AtomicU64 = AtomicU64::new(1);

/// The upper half of the first handle that this process issued rather than its parents.
static FIRST: AtomicU64 = AtomicU64::new(1);

/// The lower half of the handles, which no cache and no file has.
const TAG: u64 = 1 << 30;

fn job(prefetch: u64) -> Result<TryArc<Job>, ApiError> {
    JOBS.lock().get(prefetch as usize).cloned().flatten().ok_or_else(|| unknown(prefetch))
}

/// The error for a handle that is not a prefetch of this process.
fn unknown(prefetch: u64) -> ApiError {
    let inherited = 1..FIRST.load(Ordering::Relaxed);
    match prefetch & u64::from(u32::MAX) == TAG && inherited.contains(&(prefetch >> 32)) {
        true => ApiError::InUseAtFork { handle: prefetch },
        false => ApiError::Handle { what: "a prefetch, or was freed", handle: prefetch },
    }
}

/// Removes every prefetch. Called in a child, which has none of their threads.
pub(super) fn begin_child() {
    FIRST.store(NEXT.load(Ordering::Relaxed), Ordering::Relaxed);
    // Leaked: their locks may be locked for ever.
    mem::forget(mem::replace(&mut *JOBS.lock(), AddressMap::new()));
}

/// Starts to read files into the cache in the background. Returns the handle of the prefetch; 0 on failure.
///
/// # Safety
/// As for [`smf_cache_prefetch`]; the paths are copied.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_cache_prefetch_start(
    cache: u64,
    paths: *const *const c_char,
    count: i64,
    threads: i32,
) -> u64 {
    attempt_with(0, CACHES.enter(cache), |cache| {
        // SAFETY: the caller's promise.
        let list = unsafe { PathList::new(paths, count) }?;
        start(&cache, list, options(threads)?)
    })
}

fn start(cache: &CacheGuard, list: PathList, options: Options) -> Result<u64, ApiError> {
    let handle = NEXT.fetch_add(1, Ordering::Relaxed) << 32 | TAG;
    let PathList { paths, indices, total } = list;
    let job = UninitArc::new()?;
    JOBS.lock().insert(handle as usize, None)?;
    let lease = cache.lease();
    let started = prefetch::start(TryArc::clone(&lease), paths, options);
    let started = started.inspect_err(|AllocError| _ = JOBS.lock().remove(handle as usize))?;
    let (state, running) = (started.state(), Mutex::new(Some((started, lease))));
    let job = job.fill(Job { running, state, indices, total });
    // Replaces the entry without an allocation.
    JOBS.lock().insert(handle as usize, Some(job))?;
    Ok(handle)
}

/// The progress of a prefetch.
#[unsafe(no_mangle)]
pub extern "C" fn smf_prefetch_progress(prefetch: u64) -> SmfPrefetchProgress {
    attempt_with(NO_PROGRESS, job(prefetch), |job| {
        let now = job.state.watch.progress();
        // Null paths count as failed from the start.
        let nulls = job.total - job.indices.len();
        Ok(SmfPrefetchProgress {
            total: to_i64(job.total),
            done: to_i64(now.done + nulls),
            failed: to_i64(now.failed + nulls),
            bytes: to_i64(now.bytes),
        })
    })
}

/// Waits until a prefetch has finished, for at most as many milliseconds unless they are negative: 1 if it has
/// finished, 0 after the timeout, -1 on failure.
#[unsafe(no_mangle)]
pub extern "C" fn smf_prefetch_wait(prefetch: u64, milliseconds: i64) -> i32 {
    let limit = u64::try_from(milliseconds).ok().map(Duration::from_millis);
    // Without a limit where the clock cannot represent it.
    let end = limit.and_then(|limit| Instant::now().checked_add(limit));
    attempt_with(-1, job(prefetch), |job| {
        let is_finished = job.state.wait_until(end);
        // Another thread may have freed the prefetch during the wait.
        let is_open = job.running().is_some();
        is_open.then_some(i32::from(is_finished)).ok_or_else(|| unknown(prefetch))
    })
}

/// The result for the path at `index` of a finished prefetch: `SMF_OK`, or the error, which becomes the last error.
/// -1 on failure.
#[unsafe(no_mangle)]
pub extern "C" fn smf_prefetch_result(prefetch: u64, index: i64) -> i32 {
    let result = job(prefetch).and_then(|job| {
        let position = usize::try_from(args::length("the index", index)?).ok();
        let unknown = ArgumentError::unknown("index in the list", index);
        let position = position.filter(|&position| position < job.total).ok_or(unknown);
        let result = |outcome: &Outcome| Ok(result_of(outcome, &job.indices, position?));
        job.state.outcome(result).unwrap_or(Err(ApiError::State("the prefetch has not finished")))
    });
    let Some(result) = or(None, result.map(Some)) else { return -1 };
    let code = code(&result);
    if let Err(error) = result {
        record(error);
    }
    code
}

/// Frees a prefetch. An unfinished one is cancelled: it finishes the files that it is reading, and starts no others.
/// Files that were read stay cached.
#[unsafe(no_mangle)]
pub extern "C" fn smf_prefetch_free(prefetch: u64) -> bool {
    let removed = JOBS.lock().remove(prefetch as usize).ok_or_else(|| unknown(prefetch));
    succeeded(removed.map(|job| {
        let running = job.and_then(|job| job.running().take());
        if let Some((mut prefetch, lease)) = running {
            prefetch.cancel();
            prefetch.join();
            drop(lease);
        }
    }))
}
