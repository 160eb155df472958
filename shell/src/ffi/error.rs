//! Errors of the exports.
//!
//! [`ApiError`] has a variant per failure; [`ArgumentError`] and [`HandleError`] are its parts for arguments that are
//! never valid and for handles that do not name an open object. `classify` maps each error to a [`Code`] of `smf.h`,
//! and `last` stores the last error of each thread.

mod api_error;
mod argument;
mod classify;
mod code;
mod handle;
mod last;
mod truncate;

pub(super) use api_error::ApiError;
pub(super) use argument::ArgumentError;
#[cfg(any(feature = "jit", test))]
pub(super) use code::Code;
pub(super) use handle::HandleError;
pub use last::{SmfError, smf_clear_error, smf_last_error, smf_version};
pub(super) use last::{or, record, succeeded};
#[cfg(feature = "jit")]
pub(super) use truncate::Truncated;
