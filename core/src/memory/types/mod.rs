//! Value types of the memory module: error numbers, protections, file stamps and ranges.
//!
//! No type here makes a system call, so `sys` and everything above it can use them.

mod errno;
mod error;
mod file;
mod file_kind;
mod pages;
pub(super) mod placement;

pub use errno::Errno;
pub use error::MemoryError;
pub(crate) use error::Result;
pub use file::{FileRange, FileStamp, Nanoseconds};
pub use file_kind::FileKind;
pub use pages::{Advice, Permissions, Protection};
pub use placement::Placement;
