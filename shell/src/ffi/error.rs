//! Errors of the exports.
//!
//! [`ApiError`] has a variant per failure; [`ArgumentError`] is its part for arguments that are never valid. Each error has a [`Code`] of `smf.h`,
//! and `last` stores the last error of each thread.

mod api_error;
mod argument;
mod code;
mod last;

pub(super) use api_error::ApiError;
pub(super) use argument::ArgumentError;
pub(super) use code::Code;
pub use last::{SmfError, smf_clear_error, smf_last_error, smf_version};
pub(super) use last::{attempt, attempt_with, or, record, succeeded};
