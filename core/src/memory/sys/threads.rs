//! System calls on threads and clocks.

use core::time::Duration;

#[cfg(not(miri))]
use rustix::thread;
use rustix::thread::MembarrierCommand;

use super::super::types::{Errno, Nanoseconds};
#[cfg(miri)]
use super::shim::thread;

/// `sched_yield(2)`.
pub(crate) fn yield_now() {
    thread::sched_yield();
}

/// `nanosleep(2)`; a signal ends it early.
pub(crate) fn sleep(time: Duration) {
    let time = rustix::time::Timespec {
        tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(time.subsec_nanos()),
    };
    // Callers check their condition again in any case.
    let _ = thread::nanosleep(&time);
}

/// `gettid(2)`: unique among the live threads of the process.
pub(crate) fn thread_id() -> i32 {
    thread::gettid().as_raw_nonzero().get()
}

/// `getpid(2)`.
pub(crate) fn process_id() -> i32 {
    rustix::process::getpid().as_raw_nonzero().get()
}

/// `membarrier(2)` with `MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE` (Linux 4.16; riscv64 6.10): every other
/// running thread of the process executes a core-serializing instruction.
pub(crate) fn synchronize_cores() -> Result<(), Errno> {
    fault_point!(SynchronizeCores);
    Ok(thread::membarrier(MembarrierCommand::PrivateExpeditedSyncCore)?)
}

/// `membarrier(2)`: registers the process for [`synchronize_cores`].
pub(crate) fn register_synchronize_cores() -> Result<(), Errno> {
    fault_point!(RegisterSynchronizeCores);
    Ok(thread::membarrier(MembarrierCommand::RegisterPrivateExpeditedSyncCore)?)
}

/// `membarrier(2)` with `MEMBARRIER_CMD_PRIVATE_EXPEDITED` (Linux 4.14): every other running thread of the process executes
/// a full memory barrier. Registers a process that is not registered, which takes milliseconds if it has other threads.
pub(crate) fn barrier() -> Result<(), Errno> {
    fault_point!(Barrier);
    if thread::membarrier(MembarrierCommand::PrivateExpedited).is_ok() {
        return Ok(());
    }
    thread::membarrier(MembarrierCommand::RegisterPrivateExpedited)?;
    Ok(thread::membarrier(MembarrierCommand::PrivateExpedited)?)
}

/// `membarrier(2)`: whether the kernel has [`barrier`].
pub(crate) fn has_barrier() -> Result<bool, Errno> {
    fault_point!(QueryBarrier);
    Ok(thread::membarrier_query().contains_command(MembarrierCommand::PrivateExpedited))
}

/// `clock_gettime(2)` of `CLOCK_MONOTONIC`; 0 if it fails.
pub(crate) fn monotonic() -> Nanoseconds {
    super::pages::clock(rustix::time::ClockId::Monotonic)
}
