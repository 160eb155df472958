//! `smf_cache_*`: a cache of files by path, whose files C holds by handle.
#![allow(unsafe_code)]

use std::ffi::c_char;
use std::ptr;

use smf_core::cache::{CacheRef, Capacity, FileCache, Options, Policy, Revalidation, Storage};

use super::args::{self, to_i64};
use super::cache_handles::{self, CACHES, CacheGuard, with_held};
use super::constants::*;
use super::cptr::text;
use super::error::{ApiError, ArgumentError, attempt_with, or, succeeded};
use super::versioned_struct::{self, versioned};

/// Options of a cache.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct SmfCacheOptions {
    /// `sizeof(SmfCacheOptions)`.
    pub size: i64,
    /// The most files, 1 to 4,194,304.
    pub files: i64,
    /// The most bytes of files, at least 1.
    pub bytes: i64,
    /// The eviction policy: `SMF_POLICY_*`.
    pub policy: i32,
    /// When files are compared with those on disk: `SMF_FRESHNESS_*`.
    pub freshness: i32,
}

versioned!(SmfCacheOptions, 32);

/// A held file.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct SmfCacheFile {
    /// The handle; 0 on failure.
    pub file: u64,
    /// The contents, valid until the file is released.
    pub bytes: *const u8,
    /// The length in bytes.
    pub length: i64,
}

/// A part of a held file.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct SmfCachePart {
    /// The contents, valid until the file is released; null if the file has no such part.
    pub bytes: *const u8,
    /// The length in bytes; -1 on failure.
    pub length: i64,
}

const NO_FILE: SmfCacheFile = SmfCacheFile { file: 0, bytes: ptr::null(), length: 0 };
const NO_PART: SmfCachePart = SmfCachePart { bytes: ptr::null(), length: -1 };

/// Opens a cache. Returns its handle; 0 on failure.
///
/// # Safety
/// `options` is null or points to the `size` bytes that its first field says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_cache_open(options: *const SmfCacheOptions) -> u64 {
    // SAFETY: the caller's promise.
    let options = unsafe { versioned_struct::read(options, SmfCacheOptions::default()) };
    or(0, options.and_then(open))
}

fn open(options: SmfCacheOptions) -> Result<u64, ApiError> {
    let capacity = Capacity { files: files(options.files)?, bytes: args::size(options.bytes)? };
    let policy = match options.policy {
        SMF_POLICY_LRU => Policy::Lru,
        SMF_POLICY_SIEVE => Policy::Sieve,
        other => return Err(ArgumentError::unknown("cache policy", other).into()),
    };
    let revalidation = match options.freshness {
        SMF_FRESHNESS_ON_REQUEST => Revalidation::Manual,
        SMF_FRESHNESS_EACH_GET => Revalidation::OnGet,
        other => return Err(ArgumentError::unknown("cache freshness", other).into()),
    };
    let options = Options { policy, revalidation, storage: Storage::Growing };
    CACHES.open(FileCache::new(capacity, options)?)
}

/// A valid capacity in files.
fn files(value: i64) -> Result<u32, ArgumentError> {
    const WHAT: &str = "the number of files";
    const LIMIT: u32 = cache_handles::MAX_FILES;
    match u32::try_from(args::length(WHAT, value)?) {
        Ok(0) => Err(ArgumentError::Zero { what: WHAT }),
        Ok(files @ ..=LIMIT) => Ok(files),
        _ => Err(ArgumentError::TooManyFiles { files: value, limit: LIMIT }),
    }
}

/// Closes a cache. Fails while files are held or prefetches not freed. Waits for other threads that are in a function
/// with it.
#[unsafe(no_mangle)]
pub extern "C" fn smf_cache_close(cache: u64) -> bool {
    succeeded(cache_handles::close(cache))
}

/// Holds the file at `path`, which is read unless it is cached.
///
/// # Safety
/// `path` is null or NUL-terminated.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_cache_get(cache: u64, path: *const c_char) -> SmfCacheFile {
    // SAFETY: the caller's promise.
    let path = unsafe { text("the path", path) };
    hold(cache, |cache| Ok(cache.get(path?)?))
}

/// Holds the module called `module` in the archive at `path`.
///
/// # Safety
/// Both are null or NUL-terminated.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_cache_get_module(
    cache: u64,
    path: *const c_char,
    module: *const c_char,
) -> SmfCacheFile {
    // SAFETY: the caller's promise.
    let path = unsafe { text("the path", path) };
    // SAFETY: as above.
    let module = unsafe { text("the name of the module", module) };
    hold(cache, |cache| Ok(cache.get_module(path?, module?)?))
}

/// Holds a file once more, by its handle.
#[unsafe(no_mangle)]
pub extern "C" fn smf_cache_get_again(cache: u64, file: u64) -> SmfCacheFile {
    hold(cache, |cache| Ok(cache.get_by_handle(cache.file_from_raw(file)?)?))
}

fn hold(
    cache: u64,
    get: impl FnOnce(&CacheGuard) -> Result<CacheRef<'_>, ApiError>,
) -> SmfCacheFile {
    attempt_with(NO_FILE, CACHES.enter(cache), |cache| {
        let view = get(&cache)?;
        let file = cache.file_to_raw(view.handle())?;
        cache.retain_ref(&view);
        Ok(SmfCacheFile { file, bytes: view.as_ptr(), length: to_i64(view.len()) })
    })
}

/// Releases a file, once for each time it was held.
#[unsafe(no_mangle)]
pub extern "C" fn smf_cache_release(cache: u64, file: u64) -> bool {
    succeeded(CACHES.enter(cache).and_then(|cache| Ok(cache.release(cache.file_from_raw(file)?)?)))
}

/// The bytes of note.sdn of a held module, decompressed.
#[unsafe(no_mangle)]
pub extern "C" fn smf_cache_note(cache: u64, file: u64) -> SmfCachePart {
    part(cache, file, |view| Ok(view.read_note_sdn()?))
}

/// The bytes of the template section of a held module, decompressed.
#[unsafe(no_mangle)]
pub extern "C" fn smf_cache_template(cache: u64, file: u64) -> SmfCachePart {
    part(cache, file, |view| Ok(view.read_template_bytes()?))
}

/// The bytes of the first section called `name` of a held module, decompressed.
///
/// # Safety
/// `name` is null or NUL-terminated.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_cache_section(
    cache: u64,
    file: u64,
    name: *const c_char,
) -> SmfCachePart {
    part(cache, file, |view| {
        // SAFETY: the caller's promise.
        let name = unsafe { text("the name of the section", name) }?;
        let section = view.smf()?.sections().named(name);
        Ok(section.map(|section| view.section_bytes(&section)).transpose()?)
    })
}

fn part(
    cache: u64,
    file: u64,
    find: impl for<'v> FnOnce(&'v CacheRef<'_>) -> Result<Option<&'v [u8]>, ApiError>,
) -> SmfCachePart {
    let found = with_held(cache, file, |view| {
        let bytes = find(view)?;
        let length = bytes.map_or(0, |bytes| to_i64(bytes.len()));
        Ok(SmfCachePart { bytes: bytes.map_or(ptr::null(), <[u8]>::as_ptr), length })
    });
    or(NO_PART, found)
}

/// Evicts the file at `path`: 1, or 0 if it was not cached; -1 on failure.
///
/// # Safety
/// `path` is null or NUL-terminated.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_cache_evict(cache: u64, path: *const c_char) -> i32 {
    // SAFETY: the caller's promise.
    let path = unsafe { text("the path", path) };
    let evicted = CACHES.enter(cache).and_then(|cache| Ok(cache.evict(path?)));
    or(-1, evicted.map(i32::from))
}

/// Evicts all files.
#[unsafe(no_mangle)]
pub extern "C" fn smf_cache_clear(cache: u64) -> bool {
    succeeded(CACHES.enter(cache).map(|cache| cache.clear()))
}

/// Enables or disables a cache: 1 if it was enabled, 0 if not; -1 on failure.
#[unsafe(no_mangle)]
pub extern "C" fn smf_cache_enable(cache: u64, enabled: bool) -> i32 {
    or(-1, CACHES.enter(cache).map(|cache| i32::from(cache.set_enabled(enabled))))
}

/// Reads the file at `path` again if it is cached and has changed: 1 if it was read, else 0; -1 on failure.
///
/// # Safety
/// `path` is null or NUL-terminated.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_cache_refresh(cache: u64, path: *const c_char) -> i32 {
    // SAFETY: the caller's promise.
    let path = unsafe { text("the path", path) };
    let changed = CACHES.enter(cache).and_then(|cache| Ok(cache.refresh(path?)?));
    or(-1, changed.map(i32::from))
}

/// Evicts every file that has changed or was removed, and returns their number. -1 on failure.
#[unsafe(no_mangle)]
pub extern "C" fn smf_cache_refresh_all(cache: u64) -> i64 {
    or(-1, CACHES.enter(cache).map(|cache| i64::from(cache.refresh_all())))
}
