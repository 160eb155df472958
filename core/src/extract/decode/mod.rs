//! One instruction-length decoder per machine. Each finds PC-relative references; none executes code.

#[cfg(feature = "alloc")]
pub(crate) mod aarch64;
pub mod x86_64;
