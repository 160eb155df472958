//! `smf_cache_*`: files by path, kept in bounded memory and held by their numbers.
#![allow(unsafe_code)]

use std::ffi::c_char;
use std::ptr;

use smf_core::cache::{
    CacheError, CacheRef, Capacity, FileCache, Options, Policy, Revalidation, Storage,
};

use super::args;
use super::cache_handles::{self, Entered};
use super::cptr::text;
use super::error::{ApiError, or};
use super::versioned_struct::{self, sized};

/// What a cache is opened with.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct SmfCacheOptions {
    /// `sizeof(SmfCacheOptions)`, so that a later library knows what there is.
    pub size: i64,
    /// The most files, 1 to 4,194,304.
    pub files: i64,
    /// The most bytes of files, at least 1.
    pub bytes: i64,
    /// Which file is evicted first: 0 LRU, 1 SIEVE.
    pub policy: i32,
    /// When files are compared with those on disk: 0 on request, 1 at each get.
    pub freshness: i32,
}

const NO_OPTIONS: SmfCacheOptions =
    SmfCacheOptions { size: 0, files: 0, bytes: 0, policy: 0, freshness: 0 };

sized!(SmfCacheOptions, 32);

/// A file that is held.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct SmfCacheFile {
    /// Its number; 0 on failure.
    pub file: u64,
    /// Its bytes, good until it is released.
    pub bytes: *const u8,
    /// Their number.
    pub length: i64,
}

/// A part of a file that is held.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct SmfCachePart {
    /// Its bytes, good until the file is released; null when the file has no such part.
    pub bytes: *const u8,
    /// Their number; -1 on failure.
    pub length: i64,
}

const NO_FILE: SmfCacheFile = SmfCacheFile { file: 0, bytes: ptr::null(), length: 0 };
const NO_PART: SmfCachePart = SmfCachePart { bytes: ptr::null(), length: -1 };

/// Opens a cache. Returns its number; 0 on failure.
///
/// # Safety
/// `options` is null or points to the `size` bytes that its first field says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_cache_open(options: *const SmfCacheOptions) -> u64 {
    // SAFETY: passed on to the caller.
    or(0, unsafe { open(options) })
}

unsafe fn open(options: *const SmfCacheOptions) -> Result<u64, ApiError> {
    // SAFETY: passed on to the caller.
    let options = unsafe { versioned_struct::read(options, NO_OPTIONS) }?;
    let capacity = Capacity { files: files(options.files)?, bytes: args::size(options.bytes)? };
    let unknown = |what, value| ApiError::Unknown { what, value: i64::from(value) };
    let policy = match options.policy {
        0 => Policy::Lru,
        1 => Policy::Sieve,
        other => return Err(unknown("policy of a cache", other)),
    };
    let revalidation = match options.freshness {
        0 => Revalidation::Manual,
        1 => Revalidation::OnGet,
        other => return Err(unknown("freshness of a cache", other)),
    };
    let options = Options { policy, revalidation, storage: Storage::Growing };
    cache_handles::open(FileCache::new(capacity, options)?)
}

/// A number of files that a cache may have.
fn files(value: i64) -> Result<u32, ApiError> {
    const WHAT: &str = "the number of files";
    match u32::try_from(args::length(WHAT, value)?) {
        Ok(0) => Err(ApiError::Zero { what: WHAT }),
        Ok(files @ ..=cache_handles::MOST_FILES) => Ok(files),
        _ => Err(ApiError::TooManyFiles { files: value, limit: cache_handles::MOST_FILES }),
    }
}

/// Closes a cache. Fails while files are held or prefetches not freed; waits for other threads that are
/// in a function with it.
#[unsafe(no_mangle)]
pub extern "C" fn smf_cache_close(cache: u64) -> bool {
    or(false, cache_handles::close(cache).map(|()| true))
}

/// Holds the file at `path`, from the cache or else from the disk.
///
/// # Safety
/// `path` is null or points to bytes that end with a NUL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_cache_get(cache: u64, path: *const c_char) -> SmfCacheFile {
    // SAFETY: passed on to the caller.
    let path = unsafe { text("the path", path) };
    hold(cache, |cache| Ok(cache.get(path?.to_bytes())?))
}

/// Holds the module called `module` in the archive at `path`.
///
/// # Safety
/// Both are null or point to bytes that end with a NUL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_cache_get_module(
    cache: u64,
    path: *const c_char,
    module: *const c_char,
) -> SmfCacheFile {
    // SAFETY: passed on to the caller.
    let path = unsafe { text("the path", path) };
    // SAFETY: as above.
    let module = unsafe { text("the name of the module", module) };
    hold(cache, |cache| Ok(cache.get_module(path?.to_bytes(), module?.to_bytes())?))
}

/// Holds a file once more, by its number.
#[unsafe(no_mangle)]
pub extern "C" fn smf_cache_get_again(cache: u64, file: u64) -> SmfCacheFile {
    hold(cache, |cache| Ok(cache.get_by_handle(cache.handle_of(file)?)?))
}

#[inline]
fn hold(cache: u64, find: impl FnOnce(&Entered) -> Result<CacheRef<'_>, ApiError>) -> SmfCacheFile {
    let held = cache_handles::enter(cache).and_then(|cache| {
        let view = find(&cache)?;
        let file = cache.number_of(view.handle())?;
        cache.retain_ref(&view);
        // Of a slice, so it fits.
        let length = i64::try_from(view.len()).unwrap_or(i64::MAX);
        Ok(SmfCacheFile { file, bytes: view.as_ptr(), length })
    });
    or(NO_FILE, held)
}

/// Gives back a file, once for each time it was got.
#[unsafe(no_mangle)]
pub extern "C" fn smf_cache_release(cache: u64, file: u64) -> bool {
    let released =
        cache_handles::enter(cache).and_then(|cache| Ok(cache.release(cache.handle_of(file)?)?));
    or(false, released.map(|()| true))
}

/// The bytes of note.sdn of a module that is held, decompressed when it is compressed.
#[unsafe(no_mangle)]
pub extern "C" fn smf_cache_note(cache: u64, file: u64) -> SmfCachePart {
    part(cache, file, |view| view.read_note_sdn())
}

/// The bytes of the template section of a module that is held, decompressed when it is compressed.
#[unsafe(no_mangle)]
pub extern "C" fn smf_cache_template(cache: u64, file: u64) -> SmfCachePart {
    part(cache, file, |view| view.read_template_bytes())
}

/// The bytes of the first section called `name` of a module that is held, decompressed when it is
/// compressed.
///
/// # Safety
/// `name` is null or points to bytes that end with a NUL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_cache_section(
    cache: u64,
    file: u64,
    name: *const c_char,
) -> SmfCachePart {
    // SAFETY: passed on to the caller.
    let name = unsafe { text("the name of the section", name) };
    match name {
        Ok(name) => part(cache, file, |view| {
            let section = view.smf()?.sections().named(name.to_bytes());
            section.map(|section| view.section_bytes(&section)).transpose()
        }),
        Err(error) => or(NO_PART, Err(error)),
    }
}

fn part(
    cache: u64,
    file: u64,
    find: impl for<'v> FnOnce(&'v CacheRef<'_>) -> Result<Option<&'v [u8]>, CacheError>,
) -> SmfCachePart {
    let found = cache_handles::enter(cache).and_then(|cache| {
        let handle = cache.handle_of(file)?;
        let view = cache.get_by_handle(handle)?;
        if !cache.is_retained(handle) {
            // The bytes would be good for nobody.
            return Err(CacheError::NotRetained { handle }.into());
        }
        Ok(match find(&view)? {
            Some(bytes) => SmfCachePart {
                bytes: bytes.as_ptr(),
                length: i64::try_from(bytes.len()).unwrap_or(i64::MAX),
            },
            None => SmfCachePart { bytes: ptr::null(), length: 0 },
        })
    });
    or(NO_PART, found)
}

/// Throws out the file at `path`: 1, or 0 when it was not there; -1 on failure.
///
/// # Safety
/// `path` is null or points to bytes that end with a NUL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_cache_evict(cache: u64, path: *const c_char) -> i32 {
    // SAFETY: passed on to the caller.
    let path = unsafe { text("the path", path) };
    let evicted = cache_handles::enter(cache).and_then(|cache| Ok(cache.evict(path?.to_bytes())));
    or(-1, evicted.map(i32::from))
}

/// Throws out everything.
#[unsafe(no_mangle)]
pub extern "C" fn smf_cache_clear(cache: u64) -> bool {
    or(false, cache_handles::enter(cache).map(|cache| cache.clear()).map(|()| true))
}

/// Reads the file at `path` again if it is in the cache and has changed: 1, or 0 when there was nothing
/// to do; -1 on failure.
///
/// # Safety
/// `path` is null or points to bytes that end with a NUL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_cache_refresh(cache: u64, path: *const c_char) -> i32 {
    // SAFETY: passed on to the caller.
    let path = unsafe { text("the path", path) };
    let changed =
        cache_handles::enter(cache).and_then(|cache| Ok(cache.refresh(path?.to_bytes())?));
    or(-1, changed.map(i32::from))
}

/// Throws out every file that has changed or is gone; how many. -1 on failure.
#[unsafe(no_mangle)]
pub extern "C" fn smf_cache_refresh_all(cache: u64) -> i64 {
    or(-1, cache_handles::enter(cache).map(|cache| i64::from(cache.refresh_all())))
}
