//! Reads files into a cache ahead of use, on several threads.
//!
//! [`warm`] reads a list of files through a [`FileCache`](smf_core::cache::FileCache) and returns when all have been processed; [`start`]
//! returns at once with a [`Prefetch`], a future that can also be polled for progress, waited for and
//! dropped. Both report each file that could not be read, in list order; a failure affects no other file.
//!
//! * A path that occurs twice is read once and counts twice.
//! * A file that failed for lack of cache space, address space or descriptors while others were being read is
//!   retried alone before it counts as failed; the thread that met the failure ends, unless it is the last.
//!   Any number of threads therefore works with any limit, even with a cache of a single file.
//! * Threads that cannot be spawned are omitted; the calling thread suffices.
//! * All other memory is allocated before the first file is read, and allocation failure is an error.
//! * The list may exceed the cache's capacity: the first files are evicted, but stay in the kernel's page
//!   cache.
//!
//! There is no io_uring backend: telling the kernel of [the next files](ReadAhead) fills the disk's queue as
//! well, needs no setup, and works in sandboxes that forbid io_uring. `cargo xtask bench prefetch` measures it.

mod file_job;
mod future;
mod options;
mod queue;
mod report;
mod thread;
mod warm;
mod watch;

#[cfg(feature = "c-api")]
pub(crate) use future::State;
pub use future::{Prefetch, start};
pub use options::{MAX_THREADS, Options, ReadAhead};
pub use report::{Failure, Outcome, Report};
pub use warm::warm;
pub use watch::{Progress, Watch};
