//! The error of a failed allocation.

use alloc::boxed::Box;

/// The allocator is out of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("out of memory")]
pub struct AllocError;

/// An observer's registration for code, if it has one: it is dropped before the code is freed.
pub type AttachResult = Result<Option<Box<dyn Send + Sync>>, AllocError>;
