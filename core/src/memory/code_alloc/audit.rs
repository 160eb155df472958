//! A log of the events of executable memory, for audits.

use alloc::collections::VecDeque;
use core::sync::atomic::{AtomicUsize, Ordering};

use super::super::lock::{Lock, ProcessId};
use super::super::sys;
use super::super::types::Nanoseconds;
use super::error::ExecError;

/// The kind of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// A block was allocated.
    Allocate,
    /// A block was published, or pages became executable.
    Publish,
    /// A block was freed.
    Free,
    /// A request was refused with this error.
    Refuse(ExecError),
}

/// A recorded event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// The number of the event, from 0.
    pub sequence: u64,
    /// Nanoseconds of `CLOCK_MONOTONIC`.
    pub time: Nanoseconds,
    /// The kind.
    pub action: Action,
    /// The address of the block, or the refused address; 0 if there is none.
    pub address: usize,
    /// The requested size in bytes.
    pub size: u64,
}

/// Events that were removed from the log.
#[derive(Clone, Debug, Default)]
pub struct DrainedEvents {
    /// The retained events, the earliest first.
    pub events: VecDeque<Event>,
    /// The number of events before them that were lost: the log was full, or there was no memory for one.
    pub lost: u64,
}

/// The most recent events, for any number of threads.
pub(super) struct AuditLog {
    /// The maximum number of retained events; 0 if nothing is recorded.
    capacity: AtomicUsize,
    process: ProcessId,
    log: Lock<(DrainedEvents, u64)>,
}

impl AuditLog {
    pub(super) fn new(capacity: usize, process: ProcessId) -> Self {
        Self { capacity: AtomicUsize::new(capacity), process, log: Lock::default() }
    }

    /// Sets the capacity and returns the previous one. Events that exceed it are lost, the earliest first.
    ///
    /// # Errors
    /// [`ExecError::Forked`] in a child process if a thread of the parent held the lock.
    pub(super) fn set_capacity(&self, capacity: usize) -> Result<usize, ExecError> {
        let mut log = self.process.lock(&self.log).ok_or(ExecError::Forked)?;
        let DrainedEvents { events, lost } = &mut log.0;
        let excess = events.len().saturating_sub(capacity);
        events.drain(..excess);
        *lost += excess as u64;
        if capacity == 0 {
            *events = VecDeque::new();
        }
        Ok(self.capacity.swap(capacity, Ordering::Relaxed))
    }

    /// Records an event; in a child process, none if a thread of the parent held the lock.
    #[inline]
    pub(super) fn record(&self, action: Action, address: usize, size: u64) {
        if self.capacity.load(Ordering::Relaxed) != 0 {
            self.push(action, address, size);
        }
    }

    #[cold]
    fn push(&self, action: Action, address: usize, size: u64) {
        let Some(mut log) = self.process.lock(&self.log) else { return };
        // It changes under the lock only.
        let capacity = self.capacity.load(Ordering::Relaxed);
        if capacity == 0 {
            return;
        }
        let (DrainedEvents { events, lost }, next) = &mut *log;
        let event = Event { sequence: *next, time: sys::monotonic(), action, address, size };
        *next += 1;
        if events.len() >= capacity || events.try_reserve(1).is_err() {
            *lost += u64::from(events.pop_front().is_some());
        }
        if events.len() < events.capacity() {
            events.push_back(event);
        } else {
            *lost += 1;
        }
    }

    /// Removes all events.
    ///
    /// # Errors
    /// [`ExecError::Forked`] in a child process if a thread of the parent held the lock.
    pub(super) fn drain(&self) -> Result<DrainedEvents, ExecError> {
        let mut log = self.process.lock(&self.log).ok_or(ExecError::Forked)?;
        Ok(core::mem::take(&mut log.0))
    }

    /// Removes the earliest `count` events and calls `each` with them; returns the number of events before them that
    /// were lost. The log is locked meanwhile: `each` must not use the allocator.
    ///
    /// # Errors
    /// As [`drain`](Self::drain).
    pub(super) fn drain_first(
        &self,
        count: usize,
        each: &mut dyn FnMut(&Event),
    ) -> Result<u64, ExecError> {
        let mut log = self.process.lock(&self.log).ok_or(ExecError::Forked)?;
        let DrainedEvents { events, lost } = &mut log.0;
        let count = count.min(events.len());
        events.drain(..count).for_each(|event| each(&event));
        Ok(core::mem::take(lost))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_retains_the_last_events_and_counts_lost_ones() {
        let log = AuditLog::new(5, ProcessId::current());
        let mut sequence = 0;
        for count in [0, 1, 4, 5, 6, 100] {
            for size in 0..count {
                log.record(Action::Free, 8, size);
            }
            let DrainedEvents { events, lost } = log.drain().unwrap();
            assert_eq!(lost, count.saturating_sub(5));
            assert!(events.iter().map(|event| event.size).eq(lost..count), "{events:?}");
            let numbers = events.iter().map(|event| event.sequence);
            assert!(numbers.eq(sequence + lost..sequence + count), "{events:?}");
            assert!(events.iter().all(|event| event.time > 0 && event.address == 8));
            sequence += count;
        }
    }

    #[test]
    fn part_of_events_is_drained_in_order() {
        let log = AuditLog::new(4, ProcessId::current());
        (0..6).for_each(|size| log.record(Action::Free, 8, size));
        let drain = |count| {
            let mut sizes = std::vec::Vec::new();
            let lost = log.drain_first(count, &mut |event| sizes.push(event.size)).unwrap();
            (lost, sizes)
        };
        assert_eq!(drain(0), (2, std::vec![]));
        assert_eq!(drain(3), (0, std::vec![2, 3, 4]));
        assert_eq!(drain(9), (0, std::vec![5]));
    }

    #[test]
    fn capacity_changes_and_excess_events_are_lost() {
        let log = AuditLog::new(0, ProcessId::current());
        assert_eq!(log.set_capacity(4), Ok(0));
        (0..4).for_each(|size| log.record(Action::Free, 8, size));
        assert_eq!(log.set_capacity(2), Ok(4));
        log.record(Action::Free, 8, 4);
        let DrainedEvents { events, lost } = log.drain().unwrap();
        assert_eq!(lost, 3);
        assert!(events.iter().map(|event| event.size).eq([3, 4]));
        assert_eq!(log.set_capacity(0), Ok(2));
        log.record(Action::Free, 8, 5);
        assert!(log.drain().unwrap().events.is_empty());
    }

    #[test]
    fn log_without_capacity_records_nothing() {
        let log = AuditLog::new(0, ProcessId::current());
        log.record(Action::Allocate, 8, 8);
        let DrainedEvents { events, lost } = log.drain().unwrap();
        assert_eq!((events.len(), lost), (0, 0));
    }
}
