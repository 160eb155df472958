//! The extent of a test: exhaustive where the variable `SMF_EXHAUSTIVE` is set, else a sample.
//!
//! `cargo xtask ci full` sets the variable. Tests of other packages include this file by its path.
#![allow(unreachable_pub, reason = "public in its own package only")]

/// `full` in the exhaustive mode, else `sampled`.
pub fn scale<T>(full: T, sampled: T) -> T {
    if std::env::var_os("SMF_EXHAUSTIVE").is_some() { full } else { sampled }
}
