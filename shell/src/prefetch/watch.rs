//! The progress of a prefetch, for any thread.

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU64, AtomicUsize};

/// The progress of a prefetch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Processed files, including those that failed. Never decreases.
    pub done: usize,
    /// Files that could not be read; at most `done`.
    pub failed: usize,
    /// All files; 0 before the prefetch starts.
    pub total: usize,
    /// The size of the files that are ready, in bytes.
    pub bytes: u64,
}

impl Progress {
    /// Whether every file has been processed.
    pub fn is_complete(&self) -> bool {
        self.done == self.total
    }
}

/// Progress counters, which any thread may read at any time. They serve one prefetch at a time, which resets
/// them when it starts.
#[derive(Debug, Default)]
pub struct Watch {
    done: AtomicUsize,
    failed: AtomicUsize,
    total: AtomicUsize,
    bytes: AtomicU64,
}

impl Watch {
    /// The current progress. Takes no lock.
    pub fn progress(&self) -> Progress {
        // A file's bytes are counted before `done`, so that they are visible with it.
        let done = self.done.load(Acquire);
        Progress {
            done,
            failed: self.failed.load(Relaxed).min(done),
            total: self.total.load(Relaxed),
            bytes: self.bytes.load(Relaxed),
        }
    }

    pub(super) fn begin(&self, total: usize) {
        for count in [&self.done, &self.failed] {
            count.store(0, Relaxed);
        }
        self.bytes.store(0, Relaxed);
        self.total.store(total, Relaxed);
    }

    pub(super) fn count_ready(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Relaxed);
        self.done.fetch_add(1, Release);
    }

    pub(super) fn count_failed(&self) {
        self.failed.fetch_add(1, Relaxed);
        self.done.fetch_add(1, Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_reset_for_the_next_prefetch() {
        let watch = Watch::default();
        assert_eq!(watch.progress(), Progress::default());
        watch.begin(3);
        watch.count_ready(10);
        watch.count_failed();
        let expected = Progress { done: 2, failed: 1, total: 3, bytes: 10 };
        assert_eq!(watch.progress(), expected);
        assert!(!watch.progress().is_complete());
        watch.count_ready(5);
        assert!(watch.progress().is_complete());
        watch.begin(7);
        assert_eq!(watch.progress(), Progress { total: 7, ..Progress::default() });
    }
}
