//! Pages and files. The only module that calls the kernel; it does not depend on the SMF format.
//!
//! * [`FileBytes`]: a private copy of a file. No other process can change it or make an access raise a signal.
//! * [`WritablePages`]: private memory that is writable and never executable. Publishing consumes it and returns
//!   [`PublishedPages`], in which each segment has its final protection.
//! * [`FileContents`]: the bytes of a module's file, mapped while they cannot change, or copied.
//! * [`FfiMapping`]: pages for foreign code, whose bytes are read without a signal.
//! * [`code_alloc`]: an allocator of executable memory.
//! * [`replace_file`]: atomic replacement of a file.
//! * [`permissions_at`]: the permissions of any address of the process.
//! * [`synchronize`]: synchronisation of instruction fetch with stores to code.
//!
//! Guarantees:
//!
//! * No page is writable and executable: new memory is never executable, and the call that changes protections takes a
//!   [`Protection`], which cannot express both.
//! * After an error, everything that the operation mapped or opened is released.
//! * Every system call is one function of `sys`, so that a test can make each of them fail.
//!
//! Layers: `types` (values), `sys` (system calls), mappings and pages, files, `code_alloc`.
//!
//! Sources: the Linux manual pages (section 2) of each call.
//!
//! ```
//! use smf_core::memory::{PageCount, Placement, Protection, Segment, WritablePages};
//!
//! let mut pages = WritablePages::allocate(PageCount::covering(5000)?, Placement::Anywhere)?;
//! pages.as_mut_slice()[..4].copy_from_slice(b"data");
//! let (offset, size) = (PageCount::ZERO, pages.size());
//! let published = pages.publish(&[Segment { offset, size, protection: Protection::Read }])?;
//! assert_eq!(published.size(), PageCount::covering(5000)?);
//! # Ok::<(), smf_core::memory::MemoryError>(())
//! ```

#[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
compile_error!("smf-core: the feature `kernel` supports 64-bit Linux only");

mod atomic_replace;
mod biased_count;
pub mod code_alloc;
mod creator_file;
#[cfg(test)]
pub(crate) mod fault_injection;
mod ffi_mapping;
mod file;
mod file_limit;
mod guarded_file;
mod icache;
pub(crate) mod lock;
mod memory_file;
mod page_count;
mod pages;
mod placement;
mod pool;
mod proc_maps;
mod region;
mod stack;
mod sys;
#[cfg(test)]
#[path = "tests/testing.rs"]
pub(crate) mod testing;
mod types;

pub use atomic_replace::{ReplaceError, replace_file};
pub use biased_count::{BiasedCount, Use};
pub use ffi_mapping::FfiMapping;
pub(crate) use file::OpenFile;
pub use file::{CopyTo, FileBytes, read_ahead, stamp_of};
pub use file_limit::{FileSizeLimit, set_file_size_limit};
pub(crate) use guarded_file::{FileBackedPages, FilePart};
pub use guarded_file::{FileContents, FileGuards, FileMapping, GuardedFile, NoFileGuards};
pub use icache::synchronize;
pub use page_count::PageCount;
pub use pages::{PublishedPages, Segment, WritablePages};
pub use placement::Placement;
pub use pool::PagePool;
pub use proc_maps::permissions_at;
pub use stack::{StackBounds, set_stack_bounds};
pub(crate) use stack::{stack_pointer, stack_start};
pub(crate) use sys::{monotonic, thread_id, yield_now};
pub use types::{
    Advice, Errno, FileKind, FilePolicy, FileRange, FileStamp, MemoryError, Nanoseconds,
    Permissions, Protection, Unchanged,
};
