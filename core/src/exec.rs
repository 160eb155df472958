//! The execution manager: functions in [IR](crate::ir) become callable, are called by name or handle, and are replaced.
//!
//! A [`Unit`] is a set of functions that are compiled together. A [`Manager`] compiles units by its [`Backend`] and
//! keeps their functions by name. [`NativeBackend`] is the code generator of this crate; others implement the trait.
//!
//! **Calls between functions.** Functions of a unit call each other directly. A callee that the unit names as one of the
//! host is a function of an earlier unit if there is one of that name, and else a symbol of the host. Calls into
//! other units go through a stub of the callee, so that they reach its newest version.
//!
//! **Replacement.** Compiling a name again replaces the function for calls by name, by handle and from other units;
//! functions compiled together with the old version still call that one. A function that other units call can only
//! be replaced by one of the same signature.
//!
//! **Memory.** The code of replaced functions is freed by a later compilation during which no call is active, once no
//! function of its unit is current. The code of a manager, stubs included, is bounded by
//! [`ManagerOptions::max_code_bytes`].
//!
//! **Threads.** All methods may be called from any thread. Managers share nothing.
//!
//! **Trust.** A unit is verified, so that its functions follow the semantics of the IR. The verifier does not check
//! memory accesses: compiling and calling a function is running a program.

mod backend;
mod error;
mod external;
mod manager;
mod native;
mod record;
#[cfg(feature = "source")]
mod source;
mod stub;
#[cfg(test)]
mod tests;
mod unit;
mod value;

pub use backend::{Backend, BackendError, CompiledUnit, Level, SharedRegistry};
pub use error::{ManagerError, TrapReport};
pub use external::{CalledTypes, ExternalFunctions};
pub use manager::{FunctionHandle, FunctionVersion, Manager, ManagerOptions, ManagerStatistics};
pub use native::NativeBackend;
pub use record::FunctionRecord;
pub use unit::{Unit, UnitError, UnitFunction};
pub use value::Value;
