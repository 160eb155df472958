//! Fallible allocation, and small hashes and sorts.
//!
//! `Box`, `Arc` and the growing methods of collections abort the process when the allocator fails. The
//! functions here return [`AllocError`] instead.
#![cfg_attr(
    not(feature = "kernel"),
    allow(dead_code, reason = "used by modules above `format` only")
)]

#[cfg(feature = "alloc")]
mod collections;
#[cfg(feature = "alloc")]
mod error;
pub mod hash;
#[cfg(feature = "alloc")]
mod smart_ptr;
pub mod sort;

#[cfg(feature = "source")]
pub(crate) use collections::try_replace;
#[cfg(feature = "alloc")]
pub(crate) use collections::{TryWriter, try_filled, try_reserve, try_resize, try_with_capacity};
#[cfg(feature = "alloc")]
pub use collections::{try_collect, try_concat, try_copy_bytes, try_push};
#[cfg(feature = "kernel")]
pub(crate) use collections::{try_copy_str, try_push_str, try_to_string};
#[cfg(feature = "alloc")]
pub use error::{AllocError, AttachResult};
#[cfg(feature = "alloc")]
pub use smart_ptr::{TryArc, UninitArc, try_box};
