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
    Lock,
    Access,
    ReadLink,
    Create,
    SetOwner,
    SetMode,
    Write,
    SyncToDisk,
    Rename,
    Remove,
}

#[derive(Clone, Copy)]
struct Fault {
    /// Any, if none is named.
    call: Option<Call>,
    passes: u32,
    errno: Errno,
    /// Whether it is over when it has happened.
    once: bool,
}

std::thread_local! {
    static FAULT: Cell<Option<Fault>> = const { Cell::new(None) };
}

/// While it lives, its call fails; dropped, everything works again.
#[must_use = "the fault ends when this is dropped"]
pub(crate) struct Injected(());

/// Lets `call` succeed `passes` times in this thread and fail with `errno` from then on.
pub(crate) fn inject(call: Call, passes: u32, errno: rustix::io::Errno) -> Injected {
    FAULT.set(Some(Fault { call: Some(call), passes, errno: errno.into(), once: false }));
    Injected(())
}

/// Lets `passes` calls of whatever kind succeed in this thread, and the next one fail with `errno`;
/// those behind it too, unless `once`.
pub(crate) fn inject_at(passes: u32, errno: rustix::io::Errno, once: bool) -> Injected {
    FAULT.set(Some(Fault { call: None, passes, errno: errno.into(), once }));
    Injected(())
}

impl Injected {
    /// Whether there were so many calls that one failed.
    pub(crate) fn has_happened(&self) -> bool {
        FAULT.get().is_none_or(|fault| fault.passes == 0 && !fault.once)
    }
}

impl Drop for Injected {
    fn drop(&mut self) {
        FAULT.set(None);
    }
}

/// What `sys` asks before each call.
pub(super) fn check(call: Call) -> Result<(), Errno> {
    let Some(fault) = FAULT.get().filter(|fault| fault.call.is_none_or(|failing| failing == call))
    else {
        return Ok(());
    };
    if fault.passes != 0 {
        FAULT.set(Some(Fault { passes: fault.passes - 1, ..fault }));
        return Ok(());
    }
    if fault.once {
        FAULT.set(None);
    }
    Err(fault.errno)
}
