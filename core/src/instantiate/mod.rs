//! A missing symbol becomes code.
mod compiler;
mod error;
mod types;
pub use compiler::*;
pub use error::*;
pub use types::*;
