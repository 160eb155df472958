//! System calls that fail on demand, for tests alone.
//!
//! A fault belongs to the thread that injects it, so tests that run beside each other do not meet.

use std::cell::Cell;

use super::{Errno, Protection};

/// The functions of `sys` that can be made to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Open,
    Status,
    Read,
    Map,
    MapFile(Protection),
    MapOver,
    CopyMapping,
    MemoryFile,
    TemporaryFile,
    Resize,
    Seal,
    OnFork,
    Populate,
    Protect,
    SynchronizeCores,
    Barrier,
    RegisterBarrier,
}

#[derive(Clone, Copy)]
struct Fault {
    call: Call,
    passes: u32,
    errno: Errno,
}

std::thread_local! {
    static FAULT: Cell<Option<Fault>> = const { Cell::new(None) };
}

/// While it lives, its call fails; dropped, everything works again.
#[must_use = "the fault ends when this is dropped"]
pub(crate) struct Injected(());

/// Lets `call` succeed `passes` times in this thread and fail with `errno` from then on.
pub(crate) fn inject(call: Call, passes: u32, errno: rustix::io::Errno) -> Injected {
    FAULT.set(Some(Fault { call, passes, errno: errno.into() }));
    Injected(())
}

impl Drop for Injected {
    fn drop(&mut self) {
        FAULT.set(None);
    }
}

/// What `sys` asks before each call.
pub(super) fn check(call: Call) -> Result<(), Errno> {
    match FAULT.get() {
        Some(fault) if fault.call == call && fault.passes == 0 => Err(fault.errno),
        Some(fault) if fault.call == call => {
            FAULT.set(Some(Fault { passes: fault.passes - 1, ..fault }));
            Ok(())
        }
        _ => Ok(()),
    }
}
