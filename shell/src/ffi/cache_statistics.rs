//! `smf_cache_statistics` and `smf_cache_samples`: what a cache has done.
#![allow(unsafe_code)]

use super::args;
use super::cache_handles::{self, Entered};
use super::error::{ApiError, or};
use super::versioned_struct::{self, sized};

/// What a cache has done so far.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct SmfCacheStatistics {
    /// `sizeof(SmfCacheStatistics)`; how much of it was filled in.
    pub size: i64,
    /// Files in the cache.
    pub files: i64,
    /// Their bytes.
    pub bytes: i64,
    /// Further paths of these files, and modules in these archives.
    pub links: i64,
    /// Files that were replaced or thrown out on request while they were held, and are held still.
    pub detached_files: i64,
    /// Their bytes.
    pub detached_bytes: i64,
    /// How often something was got and has not been released.
    pub held: i64,
    /// The most bytes there ever were at once.
    pub peak_bytes: i64,
    /// Requests answered without reading a file.
    pub hits: i64,
    /// Requests for which a file was read, or could not be.
    pub misses: i64,
    /// Those of the misses that ended in an error.
    pub failures: i64,
    /// Files thrown out to make room.
    pub evictions: i64,
    /// Files replaced because they had changed.
    pub replacements: i64,
    /// Files that were read.
    pub loads: i64,
    /// How long that took, in nanoseconds: the mean; 0 when no file was read.
    pub load_mean: i64,
    /// Within which time half of them were read.
    pub load_50: i64,
    /// 90 of 100.
    pub load_90: i64,
    /// 99 of 100.
    pub load_99: i64,
    /// The share of hits in all requests, 0 to 1; -1 before the first.
    pub hit_rate: f64,
}

sized!(SmfCacheStatistics, 19 * 8);

/// The bytes in a cache at one moment.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct SmfCacheSample {
    /// Nanoseconds since the cache was opened.
    pub nanoseconds: i64,
    /// In the cache.
    pub bytes: i64,
}

/// Fills in a structure whose `size` the caller has set: as much as both sides know.
///
/// # Safety
/// `statistics` is null or points to the `size` bytes that its first field says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_cache_statistics(
    cache: u64,
    statistics: *mut SmfCacheStatistics,
) -> bool {
    let filled = cache_handles::enter(cache).and_then(|cache| {
        // SAFETY: passed on to the caller.
        unsafe { versioned_struct::write(statistics, counts(&cache)) }
    });
    or(false, filled.map(|()| true))
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn counts(cache: &Entered) -> SmfCacheStatistics {
    let s = cache.statistics();
    let within = |share| s.load_times.percentile(share).map_or(0, signed);
    SmfCacheStatistics {
        size: 0,
        files: i64::from(s.files),
        bytes: signed(s.bytes),
        links: i64::from(s.links),
        detached_files: i64::from(s.detached_files),
        detached_bytes: signed(s.detached_bytes),
        held: signed(cache.retained()),
        peak_bytes: signed(s.peak_bytes),
        hits: signed(s.hits),
        misses: signed(s.misses),
        failures: signed(s.failures),
        evictions: signed(s.evictions),
        replacements: signed(s.replacements),
        loads: signed(s.load_times.count()),
        // Such a conversion saturates.
        load_mean: s.load_times.mean().map_or(0, |mean| mean as i64),
        load_50: within(0.5),
        load_90: within(0.9),
        load_99: within(0.99),
        hit_rate: s.hit_rate().unwrap_or(-1.0),
    }
}

/// Puts up to `count` samples of the bytes in the cache, oldest first, into an array; how many there
/// are. -1 on failure.
///
/// # Safety
/// `samples` is null or points to room for that many.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_cache_samples(
    cache: u64,
    samples: *mut SmfCacheSample,
    count: i64,
) -> i64 {
    let all = cache_handles::enter(cache).and_then(|cache| {
        let room = usize::try_from(args::length("the number of samples", count)?);
        let room = room.unwrap_or(usize::MAX);
        if samples.is_null() && room != 0 {
            return Err(ApiError::Null { what: "the array of samples" });
        }
        let all = cache.statistics().bytes_over_time;
        for (index, sample) in all.iter().take(room).enumerate() {
            let sample = SmfCacheSample { nanoseconds: sample.at, bytes: signed(sample.bytes) };
            // SAFETY: less than the room that there is, says the caller.
            let place = unsafe { samples.add(index) };
            // SAFETY: as above.
            unsafe { place.write(sample) };
        }
        Ok(signed(all.len() as u64))
    });
    or(-1, all)
}
