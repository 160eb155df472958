//! System calls that fail on demand, for tests.
//!
//! A fault affects only the thread that injects it, so concurrent tests do not interfere.

use std::cell::{Cell, RefCell};

use rustix::io::Errno as Raw;
use rustix::mm::Advice;
use std::vec::Vec;

use super::types::{Errno, Protection};

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
    MoveMapping,
    FileSystem,
    Send,
    MemoryFile,
    TemporaryFile,
    Resize,
    Seal,
    Protect,
    Barrier,
    QueryBarrier,
    SynchronizeCores,
    RegisterSynchronizeCores,
    LockFile,
    Access,
    ReadLink,
    Create,
    SetOwner,
    SetMode,
    Write,
    SyncToDisk,
    Rename,
    Remove,
    ReadAhead,
    Advise(Advice),
    Lock,
    Sync,
}

/// The error numbers that manual pages of system calls list, of which kernels and seccomp filters may return any.
/// `EINTR` is not among them: `sys` repeats the call.
pub(crate) fn errors() -> impl Iterator<Item = Raw> {
    let classic = Raw::PERM.raw_os_error()..=Raw::LOOP.raw_os_error();
    let classic = classic.map(Raw::from_raw_os_error).filter(|errno| *errno != Raw::INTR);
    classic.chain([Raw::OVERFLOW, Raw::OPNOTSUPP, Raw::DQUOT, Raw::HWPOISON])
}

#[derive(Clone, Copy)]
struct Fault {
    /// The call that fails; `None`: any.
    call: Option<Call>,
    /// Calls that succeed before the failure.
    passes: u32,
    errno: Errno,
    /// Whether only one call fails.
    once: bool,
}

std::thread_local! {
    static FAULT: Cell<Option<Fault>> = const { Cell::new(None) };
    static RECORD: RefCell<Option<Vec<Call>>> = const { RefCell::new(None) };
}

/// The result of `work`, and the calls that it makes in this thread.
pub(crate) fn recorded<T>(work: impl FnOnce() -> T) -> (T, Vec<Call>) {
    RECORD.set(Some(Vec::new()));
    let result = work();
    (result, RECORD.take().unwrap_or_default())
}

/// An active fault. Dropping it ends the fault.
#[must_use = "the fault ends when this is dropped"]
pub(crate) struct Injected(());

/// Makes `call` succeed `passes` times in this thread and then fail with `errno`.
pub(crate) fn inject(call: Call, passes: u32, errno: Raw) -> Injected {
    FAULT.set(Some(Fault { call: Some(call), passes, errno: errno.into(), once: false }));
    Injected(())
}

/// Makes `passes` calls of any kind succeed in this thread and the next one fail with `errno`; all later ones as well,
/// unless `once`.
pub(crate) fn inject_at(passes: u32, errno: Raw, once: bool) -> Injected {
    FAULT.set(Some(Fault { call: None, passes, errno: errno.into(), once }));
    Injected(())
}

impl Injected {
    /// Whether a call failed.
    pub(crate) fn has_happened(&self) -> bool {
        FAULT.get().is_none_or(|fault| fault.passes == 0 && !fault.once)
    }
}

impl Drop for Injected {
    fn drop(&mut self) {
        FAULT.set(None);
    }
}

/// Called by `sys` before each system call.
pub(super) fn check(call: Call) -> Result<(), Errno> {
    RECORD.with_borrow_mut(|record| {
        if let Some(record) = record {
            record.push(call);
        }
    });
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
