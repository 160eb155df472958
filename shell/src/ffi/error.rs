//! Errors of the exports.
//!
//! [`ApiError`] has a variant per failure; [`ArgumentError`] is its part for arguments that are never valid. `classify` maps each error to a [`Code`] of `smf.h`,
//! and `last` stores the last error of each thread.

mod api_error;
mod argument;
mod classify;
mod code;
mod last;
mod truncate;

pub(super) use api_error::ApiError;
pub(super) use argument::ArgumentError;
#[cfg(any(feature = "jit", test))]
pub(super) use code::Code;
pub use last::{SmfError, smf_clear_error, smf_last_error, smf_version};
pub(super) use last::{or, record, succeeded};
#[cfg(feature = "jit")]
pub(super) use truncate::Truncated;
