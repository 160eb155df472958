//! Value types of the memory module: error numbers, protections, file stamps and ranges.
//!
//! No type here makes a system call, so `sys` and everything above it can use them.

mod error;
mod file;
mod file_kind;
mod pages;

pub(crate) use error::Result;
pub use error::{Errno, MemoryError};
pub(crate) use file::FileVersion;
pub use file::{FilePolicy, FileRange, FileStamp, Nanoseconds, Unchanged};
pub use file_kind::FileKind;
pub use pages::{Advice, Permissions, Protection};
