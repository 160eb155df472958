//! Statistics of a cache.
//!
//! Hits are counted by each shard; everything else is counted where a file has just been read.

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
    /// Requests answered without reading a file.
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
    samples: ArrayVec<Sample, MAX_SAMPLES>,
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

    pub(super) fn samples(&self) -> ArrayVec<Sample, MAX_SAMPLES> {
        self.samples.clone()
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
        let samples = timeline.samples();
        assert!(samples.len() >= MAX_SAMPLES / 2 && samples[0] == Sample { at: 0, bytes: 0 });
        assert!(samples.windows(2).all(|pair| pair[0].at < pair[1].at));
        assert!(samples.last().unwrap().at > 9_000_000_000);
    }
}
