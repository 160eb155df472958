//! What a cache has done, counted as it goes.
//!
//! A hit costs nothing more (it is counted in the word that the pin changes anyway, or in the seat of
//! its reader); everything else is counted where a file has just been read.

use arrayvec::ArrayVec;

use crate::memory::Nanoseconds;

/// Everything that is counted, at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Statistics {
    /// Files in the cache.
    pub files: u32,
    /// Their bytes, and those that came out of their compressed sections.
    pub bytes: u64,
    /// Further paths of these files, and modules in these archives.
    pub links: u32,
    /// Files that were replaced or thrown out on request while in use, and are in use still.
    pub detached_files: u32,
    /// Their bytes, counted as those of the others.
    pub detached_bytes: u64,
    /// Requests answered without reading a file.
    pub hits: u64,
    /// Requests for which a file was read, or could not be.
    pub misses: u64,
    /// Those of the misses that ended in an error.
    pub failures: u64,
    /// Files thrown out to make room.
    pub evictions: u64,
    /// Files replaced because they had changed.
    pub replacements: u64,
    /// How long it took to read a file, from before it was opened.
    pub load_times: Histogram,
    /// The most bytes there ever were at once, detached ones included.
    pub peak_bytes: u64,
    /// The bytes at moments since the cache was made, oldest first.
    pub bytes_over_time: ArrayVec<Sample, SAMPLES>,
}

impl Statistics {
    /// The share of hits in all requests, 0 to 1; `None` before the first one.
    pub fn hit_rate(&self) -> Option<f64> {
        let all = self.hits + self.misses;
        (all != 0).then(|| self.hits as f64 / all as f64)
    }
}

/// How many bytes there were at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Since the cache was made.
    pub at: Nanoseconds,
    /// In the cache.
    pub bytes: u64,
}

/// How many samples are kept.
const SAMPLES: usize = 32;

/// How many times the histogram divides each doubling.
const FINENESS: u32 = 4;

/// From 1 ns to 2^40 ns, 18 minutes.
const COUNTS: usize = 40 * FINENESS as usize;

/// How often it took how long, in steps of a quarter of a doubling: a percentile is at most 25 % more
/// than the truth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Histogram {
    counts: [u32; COUNTS],
    count: u64,
    sum: u64,
}

impl Histogram {
    pub(super) const EMPTY: Self = Self { counts: [0; COUNTS], count: 0, sum: 0 };

    pub(super) fn record(&mut self, time: Nanoseconds) {
        let time = u64::try_from(time).unwrap_or(0);
        if let Some(count) = self.counts.get_mut(step_of(time).min(COUNTS - 1)) {
            *count = count.saturating_add(1);
        }
        self.count += 1;
        self.sum = self.sum.saturating_add(time);
    }

    /// How many times were recorded.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The mean in nanoseconds; `None` without a time.
    pub fn mean(&self) -> Option<f64> {
        (self.count != 0).then(|| self.sum as f64 / self.count as f64)
    }

    /// The time in nanoseconds within which this share of all, 0 to 1, was done; `None` without a
    /// time.
    pub fn percentile(&self, share: f64) -> Option<u64> {
        let wanted = (self.count as f64 * share.clamp(0.0, 1.0)).max(1.0);
        let mut seen = 0u64;
        let steps = self.counts.iter().zip(0..);
        let mut reached = steps.filter(|(count, _)| {
            seen += u64::from(**count);
            seen as f64 >= wanted
        });
        reached.next().map(|(_, step)| end_of(step))
    }
}

/// The step that a time belongs to.
fn step_of(time: u64) -> usize {
    let time = time.max(1);
    let doubling = time.ilog2();
    // The two bits behind the first.
    let quarter = ((time << (63 - doubling)) >> 61) & 3;
    (doubling * FINENESS) as usize + quarter as usize
}

/// The last time of a step.
fn end_of(step: u32) -> u64 {
    let (doubling, quarter) = (step / FINENESS, step % FINENESS);
    let next = (u64::from(FINENESS + quarter + 1) << doubling) / u64::from(FINENESS);
    next.saturating_sub(1).max(1 << doubling)
}

/// Samples at equal distances, which double whenever there would be too many.
#[derive(Debug)]
pub(super) struct Timeline {
    samples: ArrayVec<Sample, SAMPLES>,
    begin: Nanoseconds,
    distance: Nanoseconds,
    next: Nanoseconds,
}

impl Timeline {
    /// Begins with samples a millisecond apart.
    pub(super) const fn new(begin: Nanoseconds) -> Self {
        Self { samples: ArrayVec::new_const(), begin, distance: 1_000_000, next: 0 }
    }

    pub(super) fn record(&mut self, now: Nanoseconds, bytes: u64) {
        let at = now.saturating_sub(self.begin);
        if at < self.next {
            return;
        }
        if self.samples.is_full() {
            let mut keep = false;
            self.samples.retain(|_| {
                keep = !keep;
                keep
            });
            self.distance = self.distance.saturating_mul(2);
        }
        self.samples.push(Sample { at, bytes });
        self.next = at.saturating_add(self.distance);
    }

    pub(super) fn samples(&self) -> ArrayVec<Sample, SAMPLES> {
        self.samples.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn percentiles_are_a_quarter_above_the_truth_at_most() {
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
    fn steps_cover_every_time_without_a_gap() {
        for step in 8..100 {
            let end = end_of(step);
            assert_eq!((step_of(end), step_of(end + 1)), (step as usize, step as usize + 1));
        }
    }

    #[test]
    fn samples_thin_out_and_span_the_whole_time() {
        let mut timeline = Timeline::new(1000);
        for millisecond in 0..10_000 {
            timeline.record(1000 + millisecond * 1_000_000, millisecond as u64);
        }
        let samples = timeline.samples();
        assert!(samples.len() >= SAMPLES / 2 && samples[0] == Sample { at: 0, bytes: 0 });
        assert!(samples.windows(2).all(|pair| pair[0].at < pair[1].at));
        assert!(samples.last().unwrap().at > 9_000_000_000);
    }
}
