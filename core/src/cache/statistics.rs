//! Statistics of a cache.
//!
//! Hits are counted by each shard, the sizes of files where they are inserted and removed, and everything else where a
//! file has just been read.

use core::fmt;
use core::ops::RangeInclusive;

use arrayvec::ArrayVec;

use crate::memory::Nanoseconds;

/// The counters of a cache at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Statistics {
    /// Files in the cache.
    pub files: u32,
    /// The bytes of these files and of their decompressed sections.
    pub bytes: u64,
    /// Further paths of these files, and modules of these archives.
    pub links: u32,
    /// Files that were replaced or evicted on request while in use. They are counted until their memory is
    /// reclaimed, which happens when the cache needs it.
    pub detached_files: u32,
    /// The bytes of the detached files and of their decompressed sections.
    pub detached_bytes: u64,
    /// The sizes of the files in the cache, without their decompressed sections.
    pub file_sizes: SizeHistogram,
    /// Whether requests are answered [from the cache](super::FileCache::set_enabled).
    pub is_enabled: bool,
    /// Requests, by path or by handle, that were answered without reading a file. Reading a section of a file that was
    /// found is no request.
    pub hits: u64,
    /// Requests for which a file was read or could not be read.
    pub misses: u64,
    /// Misses that ended with an error.
    pub failures: u64,
    /// Files evicted because the cache was full.
    pub evictions: u64,
    /// Files replaced by a newer version.
    pub replacements: u64,
    /// The times that reading a file took, from opening it.
    pub load_times: Histogram,
    /// The maximum of bytes at any time, those of detached files included.
    pub peak_bytes: u64,
    /// Samples of the bytes in the cache since its creation, oldest first.
    pub bytes_over_time: ArrayVec<Sample, MAX_SAMPLES>,
}

impl Statistics {
    /// The share of hits in all requests, 0 to 1; `None` before the first request.
    pub fn hit_rate(&self) -> Option<f64> {
        let all = self.hits + self.misses;
        (all != 0).then(|| self.hits as f64 / all as f64)
    }
}

/// A report of several lines, each `name: values`.
impl fmt::Display for Statistics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { files, bytes, links, peak_bytes, .. } = self;
        let Self { detached_files, detached_bytes, .. } = self;
        let Self { hits, misses, failures, evictions, replacements, .. } = self;
        let state = if self.is_enabled { "enabled" } else { "disabled" };
        writeln!(
            f,
            "cache: {state}, {files} files, {bytes} bytes, {links} links, {peak_bytes} bytes at most"
        )?;
        writeln!(f, "detached: {detached_files} files, {detached_bytes} bytes")?;
        write!(f, "requests: {hits} hits, {misses} misses, {failures} failures")?;
        if let Some(rate) = self.hit_rate() {
            write!(f, ", {:.1} % hits", rate * 100.0)?;
        }
        writeln!(f, "\nremoved: {evictions} evicted, {replacements} replaced")?;
        if let Some(mean) = self.file_sizes.mean() {
            writeln!(f, "file size: {mean:.0} bytes on average")?;
        }
        for (sizes, count) in self.file_sizes.buckets() {
            writeln!(f, "  {} to {} bytes: {count} files", sizes.start(), sizes.end())?;
        }
        let times = &self.load_times;
        let within = |share| times.percentile(share).unwrap_or(0);
        let Some(mean) = times.mean() else { return Ok(()) };
        writeln!(
            f,
            "load time: {mean:.0} ns on average, 50 % within {} ns, 90 % within {} ns, 99 % within {} ns",
            within(0.5),
            within(0.9),
            within(0.99)
        )
    }
}

/// One bucket for files without bytes, and one for each power of two.
const SIZE_BUCKETS: usize = 1 + u64::BITS as usize;

/// The number of files by size in bytes. Bucket 0 is for files without bytes, bucket `n` for sizes from `2^(n-1)` to
/// `2^n - 1`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SizeHistogram {
    counts: [u32; SIZE_BUCKETS],
    files: u32,
    bytes: u64,
}

impl SizeHistogram {
    pub(super) const EMPTY: Self = Self { counts: [0; SIZE_BUCKETS], files: 0, bytes: 0 };

    pub(super) fn add(&mut self, size: u64) {
        if let Some(count) = self.counts.get_mut(size_bucket(size)) {
            *count += 1;
            self.files += 1;
            self.bytes += size;
        }
    }

    /// The mean size in bytes; `None` without files.
    pub fn mean(&self) -> Option<f64> {
        (self.files != 0).then(|| self.bytes as f64 / f64::from(self.files))
    }

    /// The buckets that are not empty, by size: the sizes in bytes, and the number of files.
    pub fn buckets(&self) -> impl Iterator<Item = (RangeInclusive<u64>, u32)> {
        let all = self.counts.iter().zip(0..).filter(|(count, _)| **count != 0);
        all.map(|(count, bucket): (&u32, u32)| {
            let first = bucket.checked_sub(1).map_or(0, |power| 1u64 << power);
            (first..=first.saturating_sub(1).saturating_add(first), *count)
        })
    }
}

fn size_bucket(size: u64) -> usize {
    (u64::BITS - size.leading_zeros()) as usize
}

/// The number of bytes in a cache at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// The time since the creation of the cache.
    pub at: Nanoseconds,
    /// The bytes in the cache.
    pub bytes: u64,
}

/// The number of samples that are kept.
const MAX_SAMPLES: usize = 32;

/// The buckets of the histogram for each doubling of the time.
const BUCKETS_PER_DOUBLING: u32 = 4;

/// From 1 ns to 2^40 ns, 18 minutes.
const BUCKETS: usize = 40 * BUCKETS_PER_DOUBLING as usize;

/// A histogram of times in nanoseconds. A percentile is at most 25 % above the exact value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Histogram {
    counts: [u32; BUCKETS],
    count: u64,
    sum: u64,
}

impl Histogram {
    pub(super) const EMPTY: Self = Self { counts: [0; BUCKETS], count: 0, sum: 0 };

    pub(super) fn record(&mut self, time: Nanoseconds) {
        let time = u64::try_from(time).unwrap_or(0);
        if let Some(count) = self.counts.get_mut(bucket_of(time).min(BUCKETS - 1)) {
            *count = count.saturating_add(1);
        }
        self.count += 1;
        self.sum = self.sum.saturating_add(time);
    }

    /// The number of recorded times.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The mean in nanoseconds; `None` if no time was recorded.
    pub fn mean(&self) -> Option<f64> {
        (self.count != 0).then(|| self.sum as f64 / self.count as f64)
    }

    /// The buckets that are not empty, by time: the times in nanoseconds, and how many were recorded. The last bucket
    /// also has all longer times.
    pub fn buckets(&self) -> impl Iterator<Item = (RangeInclusive<u64>, u32)> {
        let all = self.counts.iter().zip(0..).filter(|(count, _)| **count != 0);
        all.map(|(count, bucket)| (start_of(bucket)..=end_of(bucket), *count))
    }

    /// The time in nanoseconds that this share of all times, 0 to 1, does not exceed; `None` if no time was
    /// recorded.
    pub fn percentile(&self, share: f64) -> Option<u64> {
        let wanted = (self.count as f64 * share.clamp(0.0, 1.0)).max(1.0);
        let mut seen = 0u64;
        let buckets = self.counts.iter().zip(0..);
        let mut reached = buckets.filter(|(count, _)| {
            seen += u64::from(**count);
            seen as f64 >= wanted
        });
        reached.next().map(|(_, bucket)| end_of(bucket))
    }
}

/// The bucket of a time.
fn bucket_of(time: u64) -> usize {
    let time = time.max(1);
    let doubling = time.ilog2();
    // The two bits behind the highest one.
    let quarter = ((time << (63 - doubling)) >> 61) & 3;
    (doubling * BUCKETS_PER_DOUBLING) as usize + quarter as usize
}

/// The shortest time of a bucket.
fn start_of(bucket: u32) -> u64 {
    let shortest = |bucket| end_of(bucket).saturating_add(1);
    // The first bucket has all times up to 1 ns.
    bucket.checked_sub(1).map_or(0, shortest).min(end_of(bucket))
}

/// The longest time of a bucket.
fn end_of(bucket: u32) -> u64 {
    let (doubling, quarter) = (bucket / BUCKETS_PER_DOUBLING, bucket % BUCKETS_PER_DOUBLING);
    let next = (u64::from(BUCKETS_PER_DOUBLING + quarter + 1) << doubling)
        / u64::from(BUCKETS_PER_DOUBLING);
    next.saturating_sub(1).max(1 << doubling)
}

/// Samples at equal intervals. When there are too many, every other one is dropped and the interval doubles.
#[derive(Debug)]
pub(super) struct Timeline {
    pub(super) samples: ArrayVec<Sample, MAX_SAMPLES>,
    start: Nanoseconds,
    interval: Nanoseconds,
    next: Nanoseconds,
}

impl Timeline {
    /// The first interval is one millisecond.
    pub(super) const fn new(start: Nanoseconds) -> Self {
        Self { samples: ArrayVec::new_const(), start, interval: 1_000_000, next: 0 }
    }

    pub(super) fn record(&mut self, now: Nanoseconds, bytes: u64) {
        let at = now.saturating_sub(self.start);
        if at < self.next {
            return;
        }
        if self.samples.is_full() {
            let mut keep = false;
            self.samples.retain(|_| {
                keep = !keep;
                keep
            });
            self.interval = self.interval.saturating_mul(2);
        }
        self.samples.push(Sample { at, bytes });
        self.next = at.saturating_add(self.interval);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn percentile_is_at_most_a_quarter_above_exact_value() {
        let mut histogram = Histogram::EMPTY;
        assert_eq!((histogram.mean(), histogram.percentile(0.5)), (None, None));
        let mut times: Vec<i64> = (1..2000).map(|i| i * i * 7 % 1_000_003).collect();
        times.iter().for_each(|time| histogram.record(*time));
        times.sort_unstable();
        for share in [0.0, 0.01, 0.5, 0.9, 0.99, 1.0] {
            let rank = ((times.len() as f64 * share).ceil() as usize).max(1) - 1;
            let (exact, found) = (times[rank] as u64, histogram.percentile(share).unwrap());
            assert!(exact <= found && found as f64 <= exact as f64 * 1.25 + 1.0, "{exact} {found}");
        }
        let mean = times.iter().sum::<i64>() as f64 / times.len() as f64;
        assert!((histogram.mean().unwrap() - mean).abs() < 1e-6);
        histogram.record(i64::MAX);
        histogram.record(-1);
        assert_eq!(histogram.count(), 2001);
    }

    #[test]
    fn files_are_counted_by_powers_of_two() {
        let mut sizes = SizeHistogram::EMPTY;
        assert_eq!((sizes.mean(), sizes.buckets().count()), (None, 0));
        [0, 1, 2, 3, 4, 1023, 1024, 1 << 40].iter().for_each(|size| sizes.add(*size));
        let all: Vec<_> =
            sizes.buckets().map(|(range, count)| (range.into_inner(), count)).collect();
        let expected = [
            ((0, 0), 1),
            ((1, 1), 1),
            ((2, 3), 2),
            ((4, 7), 1),
            ((512, 1023), 1),
            ((1024, 2047), 1),
            ((1 << 40, (2 << 40) - 1), 1),
        ];
        assert_eq!(all, expected);
        let bytes = 1 + 2 + 3 + 4 + 1023 + 1024 + (1u64 << 40);
        assert_eq!(sizes.mean(), Some(bytes as f64 / 8.0));
        let mut sizes = SizeHistogram::EMPTY;
        sizes.add(u64::MAX);
        assert_eq!(sizes.buckets().last(), Some((1 << 63..=u64::MAX, 1)));
    }

    #[test]
    fn buckets_cover_times_without_gap() {
        for bucket in 8..100 {
            let end = end_of(bucket);
            assert_eq!(
                (bucket_of(end), bucket_of(end + 1)),
                (bucket as usize, bucket as usize + 1)
            );
        }
    }

    #[test]
    fn samples_of_long_time_thin_out_and_span_it() {
        let mut timeline = Timeline::new(1000);
        for millisecond in 0..10_000 {
            timeline.record(1000 + millisecond * 1_000_000, millisecond as u64);
        }
        let samples = timeline.samples;
        assert!(samples.len() >= MAX_SAMPLES / 2 && samples[0] == Sample { at: 0, bytes: 0 });
        assert!(samples.windows(2).all(|pair| pair[0].at < pair[1].at));
        assert!(samples.last().unwrap().at > 9_000_000_000);
    }
}
