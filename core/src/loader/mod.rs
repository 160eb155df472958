//! Many modules that find each other's symbols, come and go while the program runs.
//!
//! [`ModuleLoader::load`] loads a module from its bytes, and with it whatever has been
//! [provided](ModuleLoader::register_provider) and is needed. An import means, in this order: the module's own
//! export, that of another module in the order in which they were loaded, a
//! [defined](ModuleLoader::define) symbol of the host, what the [process](ModuleLoader::set_host_resolver)
//! knows, and what the [fallback](ModuleLoader::set_fallback_resolver) makes of it.
//!
//! ```
//! # #[cfg(target_arch = "x86_64")]
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use smf_core::link::call;
//! use smf_core::loader::{ModuleBytes, ModuleLoader};
//!
//! # let samples = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/samples/");
//! # let read = |name: &str| std::fs::read(format!("{samples}{name}"));
//! let loader = ModuleLoader::default();
//! loader.provide(b"lib.smf", ModuleBytes::new(read("lib.smf")?))?;
//! let app = loader.load(b"app.smf", ModuleBytes::new(read("app.smf")?))?;
//! let app = loader.get(app)?;
//! let direct = app.function(b"direct").ok_or("no function `direct`")?;
//! // SAFETY: `direct` takes an integer, and the module is held.
//! assert_eq!(unsafe { call(direct, &[14]) }?, 42);
//! # Ok(())
//! # }
//! # #[cfg(not(target_arch = "x86_64"))]
//! # fn main() {}
//! ```
//!
//! A module of bytecode is verified when it is loaded, and its functions are found by name as those of machine
//! code are. [`ModuleRef::engine`] calls them with any number of arguments, and says what stopped them.
//!
//! Promises:
//!
//! * Whatever is refused leaves every module as it was, and leaks nothing.
//! * A module that is [held](ModuleRef), or that another one imports from, is not unloaded. What was
//!   replaced or unloaded keeps its memory until no thread can be inside: no thread holds a module, or is in a
//!   call by address that the host [counts](LoaderOptions::call_epochs), that it began before. Of a module
//!   whose functions threads may call without being counted, replaced versions stay until the host says
//!   that none is inside ([`ModuleLoader::collect_quiescent`]).
//! * A module that may be replaced (its file says so) is called by others through a table, so that
//!   all of them reach a new version in one step. Their addresses of its functions stay good.
//! * Data that a module refers to by address stays where it is when the module that has it is replaced, and
//!   is the same for both; where that cannot be, the module is not replaced.
//! * A [`ModuleHandle`] of what is gone is an error, never another module.
//! * No lock is held while a module is read, placed, linked, or while a resolver of the host runs; all
//!   functions may be called from any thread.

mod bytecode;
mod bytes;
pub mod epoch;
mod error;
mod load_set;
mod migrate;
mod module_loader;
mod module_ref;
mod options;
mod provider_index;
mod reclaim;
mod reload;
mod retired;
mod state;
mod stub;
mod stub_table;
mod version;

pub use bytecode::BytecodeError;
pub use bytes::ModuleBytes;
pub use error::LoadError;
pub use migrate::Migrated;
pub use module_loader::{LoadObserver, ModuleLoader, Placed};
pub use module_ref::ModuleRef;
pub use options::{Clash, LoaderOptions, LoaderStatistics, Missing, Resolved};
pub use reload::{Reloaded, StateMigration};

/// A loaded module, told apart from those that were there before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ModuleHandle {
    slot: u32,
    generation: u32,
}

impl ModuleHandle {
    /// As one number; never 0.
    pub const fn to_raw(self) -> u64 {
        (self.generation as u64) << 32 | self.slot as u64
    }

    /// From such a number. Any number will do: one that is no handle is found out when it is used.
    pub const fn from_raw(raw: u64) -> Self {
        Self { slot: raw as u32, generation: (raw >> 32) as u32 }
    }
}
