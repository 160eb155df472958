//! A missing symbol becomes code.
mod types;
pub use types::*;
