//! System calls that fail on demand, for tests.
//!
//! A fault affects only the thread that injects it, so concurrent tests do not interfere.

use std::cell::{Cell, RefCell};

use rustix::io::Errno as Raw;
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
    MemoryFile,
    TemporaryFile,
    Resize,
    Seal,
    OnFork,
    Populate,
    Protect,
    PopulateForReading,
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
    Advise,
    Lock,
    Sync,
}

impl Call {
    /// The error numbers in the manual page of the call, and those of kernels without it and of seccomp filters.
    /// `EINTR` is not among them: `sys` repeats the call.
    pub(crate) fn errors(self) -> impl Iterator<Item = Raw> {
        let listed: &[Raw] = match self {
            Call::Open | Call::TemporaryFile => OPEN,
            Call::Status => STATUS,
            Call::Read => READ,
            Call::Map | Call::MapFile(_) | Call::MapOver => MAP,
            Call::CopyMapping => &[Raw::AGAIN, Raw::FAULT, Raw::INVAL, Raw::NOMEM],
            Call::MemoryFile => {
                &[Raw::ACCESS, Raw::FAULT, Raw::INVAL, Raw::MFILE, Raw::NFILE, Raw::NOMEM]
            }
            Call::Resize => &[Raw::ACCESS, Raw::BADF, Raw::FBIG, Raw::INVAL, Raw::IO, Raw::TXTBSY],
            Call::Seal => &[Raw::ACCESS, Raw::AGAIN, Raw::BADF, Raw::BUSY, Raw::INVAL],
            Call::OnFork | Call::Populate | Call::PopulateForReading | Call::Advise => ADVISE,
            Call::Protect => &[Raw::ACCESS, Raw::INVAL, Raw::NOMEM],
            Call::SynchronizeCores | Call::RegisterSynchronizeCores => &[Raw::INVAL],
            Call::ReadAhead => &[Raw::BADF, Raw::INVAL, Raw::SPIPE],
            Call::Lock => &[Raw::AGAIN, Raw::INVAL, Raw::NOMEM],
            Call::LockFile => &[Raw::BADF, Raw::INVAL, Raw::NOLCK],
            Call::Access | Call::ReadLink => PATH,
            Call::Create => OPEN,
            Call::SetOwner | Call::SetMode => &[Raw::BADF, Raw::IO, Raw::ROFS],
            Call::Write => &[Raw::BADF, Raw::DQUOT, Raw::FBIG, Raw::INVAL, Raw::IO, Raw::NOSPC],
            Call::SyncToDisk => {
                &[Raw::BADF, Raw::INVAL, Raw::IO, Raw::NOSPC, Raw::ROFS, Raw::DQUOT]
            }
            Call::Rename | Call::Remove => CHANGE,
            Call::Sync => &[Raw::BUSY, Raw::INVAL, Raw::NOMEM, Raw::IO],
        };
        listed.iter().copied().chain([Raw::PERM, Raw::NOSYS])
    }
}

const PATH: &[Raw] =
    &[Raw::ACCESS, Raw::IO, Raw::LOOP, Raw::NAMETOOLONG, Raw::NOENT, Raw::NOMEM, Raw::NOTDIR];

const CHANGE: &[Raw] = &[
    Raw::ACCESS,
    Raw::BUSY,
    Raw::DQUOT,
    Raw::IO,
    Raw::ISDIR,
    Raw::NOENT,
    Raw::NOMEM,
    Raw::NOSPC,
    Raw::NOTDIR,
    Raw::ROFS,
];

const OPEN: &[Raw] = &[
    Raw::ACCESS,
    Raw::AGAIN,
    Raw::BADF,
    Raw::BUSY,
    Raw::DQUOT,
    Raw::EXIST,
    Raw::FAULT,
    Raw::FBIG,
    Raw::INVAL,
    Raw::ISDIR,
    Raw::LOOP,
    Raw::MFILE,
    Raw::NAMETOOLONG,
    Raw::NFILE,
    Raw::NODEV,
    Raw::NOENT,
    Raw::NOMEM,
    Raw::NOSPC,
    Raw::NOTDIR,
    Raw::NXIO,
    Raw::OPNOTSUPP,
    Raw::OVERFLOW,
    Raw::ROFS,
    Raw::TXTBSY,
];
const STATUS: &[Raw] = &[
    Raw::ACCESS,
    Raw::BADF,
    Raw::FAULT,
    Raw::INVAL,
    Raw::LOOP,
    Raw::NAMETOOLONG,
    Raw::NOENT,
    Raw::NOMEM,
    Raw::NOTDIR,
    Raw::OVERFLOW,
];
const READ: &[Raw] = &[
    Raw::AGAIN,
    Raw::BADF,
    Raw::FAULT,
    Raw::INVAL,
    Raw::IO,
    Raw::ISDIR,
    Raw::NXIO,
    Raw::OVERFLOW,
    Raw::SPIPE,
];
const MAP: &[Raw] = &[
    Raw::ACCESS,
    Raw::AGAIN,
    Raw::BADF,
    Raw::EXIST,
    Raw::INVAL,
    Raw::NFILE,
    Raw::NODEV,
    Raw::NOMEM,
    Raw::OVERFLOW,
    Raw::TXTBSY,
];
const ADVISE: &[Raw] = &[
    Raw::ACCESS,
    Raw::AGAIN,
    Raw::BADF,
    Raw::BUSY,
    Raw::FAULT,
    Raw::HWPOISON,
    Raw::INVAL,
    Raw::IO,
    Raw::NOMEM,
];

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
