//! The interpreter: the reference for generated code.
//!
//! Memory and other functions belong to the [`Host`]: a function computes addresses, and the host says what lies
//! there. Values are 64 bits, of which those above the width of the type are 0.

mod host;
mod program;
mod run;
pub(crate) mod value;

pub use host::{Host, Memory, Stop};
pub use program::{ProgramHost, data_addresses};
pub use run::interpret;
pub(crate) use value::number;
