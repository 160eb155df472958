//! `smf_cache_statistics` and `smf_cache_samples`.
#![allow(unsafe_code)]

use super::args::to_i64;
use super::cache_handles::{CACHES, CacheGuard};
use super::cptr::slice_mut;
use super::error::{or, succeeded};
use super::versioned_struct::{self, versioned};

/// The statistics of a cache.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct SmfCacheStatistics {
    /// In: `sizeof(SmfCacheStatistics)`. Out: the number of bytes filled in.
    pub size: i64,
    /// Cached files.
    pub files: i64,
    /// Bytes of the cached files.
    pub bytes: i64,
    /// Further paths of the cached files, and modules in cached archives.
    pub links: i64,
    /// Held files that were replaced or evicted on request.
    pub detached_files: i64,
    /// Bytes of the detached files.
    pub detached_bytes: i64,
    /// Holds that have not been released.
    pub held: i64,
    /// The maximum of `bytes` so far.
    pub peak_bytes: i64,
    /// Requests that did not read a file.
    pub hits: i64,
    /// Requests that read a file or failed to.
    pub misses: i64,
    /// Misses that ended in an error.
    pub failures: i64,
    /// Files evicted because the cache was full.
    pub evictions: i64,
    /// Files replaced because they had changed.
    pub replacements: i64,
    /// Files that were read.
    pub loads: i64,
    /// The mean time of reading a file in nanoseconds; 0 before the first.
    pub load_mean: i64,
    /// The 50th percentile of that time in nanoseconds.
    pub load_50: i64,
    /// The 90th percentile in nanoseconds.
    pub load_90: i64,
    /// The 99th percentile in nanoseconds.
    pub load_99: i64,
    /// Hits divided by requests, 0 to 1; -1 before the first request.
    pub hit_rate: f64,
}

versioned!(SmfCacheStatistics, 19 * 8);

/// The bytes in a cache at one time.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct SmfCacheSample {
    /// Nanoseconds since the cache was opened.
    pub nanoseconds: i64,
    /// Bytes of the cached files.
    pub bytes: i64,
}

/// Fills in the statistics.
///
/// # Safety
/// `statistics` is null or points to the `size` bytes that its first field says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_cache_statistics(
    cache: u64,
    statistics: *mut SmfCacheStatistics,
) -> bool {
    succeeded(CACHES.enter(cache).and_then(|cache| {
        // SAFETY: the caller's promise.
        unsafe { versioned_struct::write(statistics, counts(&cache)) }
    }))
}

fn counts(cache: &CacheGuard) -> SmfCacheStatistics {
    let s = cache.statistics();
    let within = |share| s.load_times.percentile(share).map_or(0, to_i64);
    SmfCacheStatistics {
        size: 0,
        files: i64::from(s.files),
        bytes: to_i64(s.bytes),
        links: i64::from(s.links),
        detached_files: i64::from(s.detached_files),
        detached_bytes: to_i64(s.detached_bytes),
        held: to_i64(cache.retained()),
        peak_bytes: to_i64(s.peak_bytes),
        hits: to_i64(s.hits),
        misses: to_i64(s.misses),
        failures: to_i64(s.failures),
        evictions: to_i64(s.evictions),
        replacements: to_i64(s.replacements),
        loads: to_i64(s.load_times.count()),
        // A float is saturated by the conversion.
        load_mean: s.load_times.mean().map_or(0, |mean| mean as i64),
        load_50: within(0.5),
        load_90: within(0.9),
        load_99: within(0.99),
        hit_rate: s.hit_rate().unwrap_or(-1.0),
    }
}

/// Copies up to `count` samples of the bytes in the cache, oldest first, and returns how many exist. -1 on failure.
///
/// # Safety
/// `samples` is null or points to memory for `count` samples.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_cache_samples(
    cache: u64,
    samples: *mut SmfCacheSample,
    count: i64,
) -> i64 {
    let copied = CACHES.enter(cache).and_then(|cache| {
        let all = cache.statistics().bytes_over_time;
        let count = count.min(to_i64(all.len()));
        // SAFETY: the caller's promise.
        let output = unsafe { slice_mut("the array of samples", samples, count) }?;
        for (slot, sample) in output.iter_mut().zip(all.iter()) {
            slot.write(SmfCacheSample { nanoseconds: sample.at, bytes: to_i64(sample.bytes) });
        }
        Ok(to_i64(all.len()))
    });
    or(-1, copied)
}
