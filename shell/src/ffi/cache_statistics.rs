//! `smf_cache_*`: the statistics of a cache, as numbers, histograms and text.
#![allow(unsafe_code)]

use std::ffi::c_char;
use std::fmt::{self, Write};
use std::mem::MaybeUninit;
use std::ops::RangeInclusive;

use super::args::to_i64;
use super::cache_handles::{CACHES, CacheGuard};
use super::constants::*;
use super::cptr::slice_mut;
use super::error::{ApiError, ArgumentError, attempt_with, succeeded};
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
    /// Requests, by path or by handle, that found a file in the cache.
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
    /// The mean size of the cached files in bytes, without decompressed sections; 0 without files.
    pub mean_file_size: i64,
    /// 1 if the cache is enabled, else 0.
    pub enabled: i64,
}

versioned!(SmfCacheStatistics, 19 * 8, 21 * 8);

/// A bucket of a histogram.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct SmfCacheBucket {
    /// The least value in the bucket, in bytes or nanoseconds.
    pub first: i64,
    /// The greatest value in the bucket; `INT64_MAX` for any greater one.
    pub last: i64,
    /// How many values are in the bucket, at least 1.
    pub count: i64,
}

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
        mean_file_size: s.file_sizes.mean().map_or(0, |mean| mean as i64),
        enabled: i64::from(s.is_enabled),
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
    attempt_with(-1, CACHES.enter(cache), |cache| {
        let all = cache.statistics().bytes_over_time;
        let count = count.min(to_i64(all.len()));
        // SAFETY: the caller's promise.
        let output = unsafe { slice_mut("the array of samples", samples, count) }?;
        for (slot, sample) in output.iter_mut().zip(all.iter()) {
            slot.write(SmfCacheSample { nanoseconds: sample.at, bytes: to_i64(sample.bytes) });
        }
        Ok(to_i64(all.len()))
    })
}

/// Copies up to `count` buckets of a histogram that are not empty, in ascending order, and returns how many exist. -1 on
/// failure.
///
/// # Safety
/// `buckets` is null or points to memory for `count` buckets.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_cache_histogram(
    cache: u64,
    histogram: i32,
    buckets: *mut SmfCacheBucket,
    count: i64,
) -> i64 {
    attempt_with(-1, CACHES.enter(cache), |cache| {
        let statistics = cache.statistics();
        let copy = |all: &mut dyn Iterator<Item = (RangeInclusive<u64>, u32)>| {
            let count = count.min(MAX_BUCKETS);
            // SAFETY: the caller's promise.
            let output = unsafe { slice_mut("the array of buckets", buckets, count) }?;
            let mut existing = 0;
            for (index, (values, count)) in all.enumerate() {
                if let Some(slot) = output.get_mut(index) {
                    let (first, last) = (to_i64(*values.start()), to_i64(*values.end()));
                    slot.write(SmfCacheBucket { first, last, count: i64::from(count) });
                }
                existing += 1;
            }
            Ok::<_, ApiError>(existing)
        };
        match histogram {
            SMF_HISTOGRAM_FILE_SIZES => copy(&mut statistics.file_sizes.buckets()),
            SMF_HISTOGRAM_LOAD_TIMES => copy(&mut statistics.load_times.buckets()),
            other => Err(ArgumentError::unknown("histogram", other).into()),
        }
    })
}

/// More buckets than a histogram has.
const MAX_BUCKETS: i64 = 1 << 10;

/// Writes a report on a cache, with as many bytes of it as fit and a NUL, and returns its length in bytes. -1 on
/// failure.
///
/// # Safety
/// `text` is null or points to `size` bytes of memory.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_cache_report(cache: u64, text: *mut c_char, size: i64) -> i64 {
    attempt_with(-1, CACHES.enter(cache), |cache| {
        // SAFETY: the caller's promise.
        unsafe {
            write_text(text, size, |out| {
                writeln!(out, "{}held: {}", cache.statistics(), cache.retained())
            })
        }
    })
}

/// Writes as many bytes of a text as fit into a buffer, and a NUL. Returns the length of the text.
///
/// # Errors
/// [`ApiError`]: the buffer is null or its size negative.
///
/// # Safety
/// `text` is null or points to `size` bytes of memory.
pub(super) unsafe fn write_text(
    text: *mut c_char,
    size: i64,
    write: impl FnOnce(&mut dyn Write) -> fmt::Result,
) -> Result<i64, ApiError> {
    // SAFETY: the caller's contract.
    let output = unsafe { slice_mut("the buffer", text.cast::<u8>(), size) }?;
    let mut report = Truncated { output, len: 0 };
    // Writing into the buffer does not fail.
    let _ = write(&mut report);
    let Truncated { output, len } = report;
    if let Some(last) = output.len().checked_sub(1)
        && let Some(end) = output.get_mut(len.min(last))
    {
        end.write(0);
    }
    Ok(to_i64(len))
}

/// Text in a buffer, whose last byte stays free; bytes that do not fit are counted.
struct Truncated<'b> {
    output: &'b mut [MaybeUninit<u8>],
    len: usize,
}

impl Write for Truncated<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let capacity = self.output.len().saturating_sub(1);
        let rest = self.output.get_mut(self.len.min(capacity)..capacity).unwrap_or_default();
        for (slot, byte) in rest.iter_mut().zip(text.bytes()) {
            slot.write(byte);
        }
        self.len = self.len.saturating_add(text.len());
        Ok(())
    }
}
