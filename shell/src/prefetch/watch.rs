//! How far it is, for any thread that wants to know.

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU64, AtomicUsize};

/// How far a prefetch is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Files that are dealt with, those that failed included. Never less than before.
    pub done: usize,
    /// Those that could not be read; at most `done`.
    pub failed: usize,
    /// All of them; 0 before the prefetch has begun.
    pub total: usize,
    /// The bytes of the files that are ready.
    pub bytes: u64,
}

impl Progress {
    /// Whether every file has been dealt with.
    pub fn is_complete(&self) -> bool {
        self.done == self.total
    }
}

/// Counts what a prefetch does, while it does it. To be looked at from any thread at any time; it is
/// made for one prefetch at a time, and counts from the beginning for the next.
#[derive(Debug, Default)]
pub struct Watch {
    done: AtomicUsize,
    failed: AtomicUsize,
    total: AtomicUsize,
    bytes: AtomicU64,
}

impl Watch {
    /// Nothing has been done yet.
    pub const fn new() -> Self {
        Self {
            done: AtomicUsize::new(0),
            failed: AtomicUsize::new(0),
            total: AtomicUsize::new(0),
            bytes: AtomicU64::new(0),
        }
    }

    /// How far it is now. Takes no lock.
    pub fn progress(&self) -> Progress {
        // Whoever counts a file adds its bytes first, so these are not less than `done` tells of.
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
    fn counts_and_begins_again() {
        let watch = Watch::new();
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
