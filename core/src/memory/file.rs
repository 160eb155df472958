//! Private copies of files.
//!
//! A file is copied into memory of this process. To map it would be cheaper for a large file, but the kernel
//! raises SIGBUS in a thread that touches a page that another process has truncated away, and shows the
//! bytes that another process writes. A copy has neither problem.
//!
//! The copy goes into the allocator's memory, which is usually backed by pages already, or on request into
//! pages of its own ([`CopyTo`]).
//!
//! # A file that changes while it is copied
//!
//! The kernel copies page by page, so a copy may mix two versions of the file. Therefore the stamp of the
//! file (size, time of modification, device, inode) and the time of its last change are read before and after the copy, and a copy during
//! which it changed is discarded and tried again, a bounded number of times. The kernel changes them
//! when a write begins. So for a file that was changed within the last 100 ms, or that is so large that a
//! single write may take as long, a call between the two waits until a write that is under way has ended.
//!
//! On kernels before 6.13 two times within one tick of the clock, 1 to 10 ms, are equal. Therefore a file
//! that was changed recently is also compared with its copy. A store through another process's shared
//! mapping cannot be detected: it changes the times at the first store into a page only.

mod owned;
mod read;

pub use self::owned::CopyTo;
pub(crate) use self::read::OpenFile;
pub use self::read::{FileBytes, read_ahead, stamp_of};
pub(super) use self::read::{LARGE, with_path};

#[cfg(test)]
mod tests;
