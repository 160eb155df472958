//! Pages and files: the only room that knows the kernel, and it knows nothing of SMF.
//!
//! What leaves this room:
//!
//! * [`FileBytes`], a private copy of a file. Nothing that another process does to the file
//!   afterwards can change a byte of it or raise a signal.
//! * [`Mapping`], pages with an owner: such a copy, anonymous memory, or, for a caller who answers
//!   for it, the file's own pages.
//! * [`WritablePages`], zero-filled memory of our own that can be written and never run, and
//!   [`PublishedPages`], what it becomes when it is published: every page readable, writable or
//!   executable as asked. The step consumes the writable value and has no way back.
//! * [`FfiMapping`], pages whose address is given away and whose bytes are read without a fault,
//!   whatever becomes of the file.
//! * [`exec`], blocks of code, cut from memory that is mapped twice.
//! * [`replace_file`], which gives a file new bytes as a whole.
//! * [`permissions_at`], what the kernel says may be done with any address.
//! * [`synchronize`], what an architecture needs between writing code and running it.
//!
//! Promises:
//!
//! * No page is ever writable and executable: memory is mapped readable and writable, and the one
//!   call that changes it takes a [`Protection`], which has no value for both.
//! * Whatever fails, everything that was mapped or opened on the way is given back.
//! * Every system call is one function of `sys`, so that a test can make any of them fail.
//!
//! Facts come from the Linux manual pages (section 2) of the call that each function names; times
//! in comments were measured on a two-core virtual machine (AMD EPYC of family 26, Linux 6.18).

#[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
compile_error!("smf-core: the feature `kernel` speaks to 64-bit Linux alone");

mod atomic_replace;
pub mod code_alloc;
#[cfg(test)]
pub(crate) mod fault_injection;
mod ffi_mapping;
mod file;
mod icache;
pub(crate) mod lock;
mod mapping;
mod page_count;
mod pages;
mod placement;
mod pool;
mod proc_maps;
mod region;
mod sys;
#[cfg(test)]
pub(crate) mod testing;
mod types;

pub use atomic_replace::{ReplaceError, replace_file};
pub use ffi_mapping::FfiMapping;
pub(crate) use file::{BLOCK, Blocks, LARGEST, OpenFile, OwnedBytes};
pub use file::{CopyTo, FileBytes, read_ahead, stamp_of};
pub use icache::synchronize;
pub use mapping::Mapping;
pub use page_count::PageCount;
pub use pages::{PublishedPages, Segment, WritablePages};
pub use pool::PagePool;
pub use proc_maps::permissions_at;
pub use types::{
    Advice, Errno, FileAccess, FileKind, FileRange, FileStamp, MemoryError, Nanoseconds,
    Permissions, Placement, Protection,
};

/// Nanoseconds on a clock that only moves forwards, from an arbitrary moment.
pub(crate) fn monotonic() -> Nanoseconds {
    sys::monotonic()
}

/// Lets another thread run that wants to.
pub(crate) fn yield_now() {
    sys::yield_now();
}

/// A number that no other thread of the process has at the same time. A system call.
pub(crate) fn thread_id() -> i32 {
    sys::thread_id()
}

/// Does nothing for a while.
pub(crate) fn sleep(time: core::time::Duration) {
    sys::writing::sleep(time);
}

/// Executes a full memory barrier in every thread of the process that is running. False when the
/// kernel does not do it, and before [`can_barrier_all_threads`] has said that it will.
pub(crate) fn barrier_in_all_threads() -> bool {
    sys::barrier_in_all_threads().is_ok()
}

/// Whether the kernel will do that from now on: Linux 4.14, unless it is kept from this process. The
/// first call in a process with threads may take milliseconds.
pub(crate) fn can_barrier_all_threads() -> bool {
    sys::register_barrier_in_all_threads().is_ok() && barrier_in_all_threads()
}
