//! A log of the events of executable memory, for audits.

use alloc::collections::VecDeque;

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
    capacity: usize,
    log: Lock<(DrainedEvents, u64)>,
}

impl AuditLog {
    pub(super) fn new(capacity: usize) -> Self {
        Self { capacity, log: Lock::default() }
    }

    /// Records an event; in a child process, none if a thread of the parent held the lock.
    #[inline]
    pub(super) fn record(&self, process: ProcessId, action: Action, address: usize, size: u64) {
        if self.capacity != 0 {
            self.push(process, action, address, size);
        }
    }

    #[cold]
    fn push(&self, process: ProcessId, action: Action, address: usize, size: u64) {
        let Some(mut log) = process.lock(&self.log) else { return };
        let (DrainedEvents { events, lost }, next) = &mut *log;
        let event = Event { sequence: *next, time: sys::monotonic(), action, address, size };
        *next += 1;
        if events.len() == self.capacity || events.try_reserve(1).is_err() {
            *lost += u64::from(events.pop_front().is_some());
        }
        if events.len() < events.capacity() {
            events.push_back(event);
        } else {
            *lost += 1;
        }
    }

    /// Removes all events; `None` in a child process if a thread of the parent held the lock.
    pub(super) fn drain(&self, process: ProcessId) -> Option<DrainedEvents> {
        Some(core::mem::take(&mut process.lock(&self.log)?.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_retains_the_last_events_and_counts_lost_ones() {
        let (log, process) = (AuditLog::new(5), ProcessId::current());
        let mut sequence = 0;
        for count in [0, 1, 4, 5, 6, 100] {
            for size in 0..count {
                log.record(process, Action::Free, 8, size);
            }
            let DrainedEvents { events, lost } = log.drain(process).unwrap();
            assert_eq!(lost, count.saturating_sub(5));
            assert!(events.iter().map(|event| event.size).eq(lost..count), "{events:?}");
            let numbers = events.iter().map(|event| event.sequence);
            assert!(numbers.eq(sequence + lost..sequence + count), "{events:?}");
            assert!(events.iter().all(|event| event.time > 0 && event.address == 8));
            sequence += count;
        }
    }

    #[test]
    fn log_without_capacity_records_nothing() {
        let (log, process) = (AuditLog::new(0), ProcessId::current());
        log.record(process, Action::Allocate, 8, 8);
        let DrainedEvents { events, lost } = log.drain(process).unwrap();
        assert_eq!((events.len(), lost), (0, 0));
    }
}
