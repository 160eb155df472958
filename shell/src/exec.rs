//! The execution manager with std: back ends by name, Simple source, files, and the functions of the host.
//!
//! [`ExecManager`] adds to the core's [`Manager`]:
//!
//! * the choice of a [back end](BackendChoice) by name. A back end that is not part of the build is an error that names
//!   its feature, and is never replaced by another one;
//! * Simple source through the front end of the core, or through another [`FrontEnd`];
//! * files: source, IR, and SMF modules, whose functions are called by name and by later source;
//! * the [functions of the host](host_functions) that source calls.
//!
//! ```
//! use smf_loader::exec::{BackendChoice, ExecManager, ExecOptions};
//!
//! # fn main() -> Result<(), smf_loader::exec::ExecError> {
//! let backend = BackendChoice::from_name(b"auto")?;
//! let manager = ExecManager::new(ExecOptions { backend, ..ExecOptions::default() })?;
//! manager.compile_source("square.spl", "fn square(x): x * x\n")?;
//! // SAFETY: the function accesses no memory.
//! assert_eq!(unsafe { manager.call_integers(b"square", &[7]) }?, 49);
//! # Ok(())
//! # }
//! ```
//!
//! [`Manager`]: smf_core::exec::Manager

mod arguments;
mod backend;
#[cfg(any(feature = "cranelift", feature = "llvm"))]
mod callees;
#[cfg(test)]
mod cases;
#[cfg(feature = "cranelift")]
pub mod cranelift;
mod error;
pub mod host_functions;
#[cfg(feature = "llvm")]
pub mod llvm;
mod manager;
mod modules;
mod source_info;
#[cfg(test)]
mod tests;

pub use backend::BackendChoice;
pub(crate) use backend::LOCKS;
pub use error::ExecError;
pub use manager::{ExecManager, ExecOptions, FrontEnd, SharedFrontEnd};
pub use modules::{SharedSymbols, accepts_types};
