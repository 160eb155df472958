//! Loads modules that resolve each other's imports, replaces them while they run, and unloads them.
//!
//! [`ModuleLoader::load`] loads a module from its bytes, and every [provider](ModuleLoader::register_provider) that it
//! needs. An import is resolved in this order: the module's own exports, those of other modules in load order,
//! [host symbols](ModuleLoader::define), the [host resolver](ModuleLoader::set_host_resolver), and the
//! [fallback resolver](ModuleLoader::set_fallback_resolver).
//!
//! ```
//! # #[cfg(target_arch = "x86_64")]
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use smf_core::loader::{LoaderOptions, ModuleBytes, ModuleLoader};
//! use smf_core::trap::call;
//!
//! # let samples = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/samples/");
//! # let read = |name: &str| std::fs::read(format!("{samples}{name}"));
//! let loader = ModuleLoader::new(LoaderOptions::default())?;
//! loader.register_provider(b"lib.smf", ModuleBytes::new(read("lib.smf")?)?)?;
//! let app = loader.load(b"app.smf", ModuleBytes::new(read("app.smf")?)?)?;
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
//! A bytecode module is verified when it is loaded, and its functions are found by name like those of machine code.
//! [`ModuleRef::engine`] calls them with any number of arguments and reports why they stop.
//!
//! Guarantees:
//!
//! * A failed operation leaves every module unchanged and leaks nothing.
//! * A module that is [held](ModuleRef), or that another module imports from, itself or by code that the fallback resolver
//!   [made](ModuleLoader::resolve_import) for it, is not unloaded. The memory of a replaced
//!   or unloaded version is freed when no thread can be inside: no thread holds it, or since before the replacement a module
//!   that imports from it, directly or through other modules, and no [counted](LoaderOptions::call_epochs) call by address
//!   lasts that started before. If threads may call functions of a module
//!   without being counted, replaced versions stay until the host declares that none is inside
//!   ([`ModuleLoader::collect_quiescent`]).
//! * Other modules call a reloadable module through stubs, so all of them reach a new version in one step. The
//!   addresses of its functions stay valid.
//! * Data that another module refers to by address stays in place when its module is replaced, and both versions share
//!   it; if that is impossible, the module is not replaced.
//! * A stale [`ModuleHandle`] is an error and never identifies another module.
//! * No lock is held while a module is read, mapped or linked, or while a resolver of the host, a constructor or a
//!   destructor runs.
//! * Constructors of a module run when lookups find it already, after those of the modules that it imports from. Its exit
//!   handlers and destructors run before its memory is freed, in reverse order. A [new version](ModuleLoader::reload) is
//!   constructed before it replaces the old one.

mod bytecode;
mod bytes;
mod commit;
pub mod epoch;
mod error;
mod export_ref;
mod fallback;
mod forward;
mod handle;
mod host_library;
mod init;
mod init_state;
mod inner;
mod load_set;
mod migrate;
mod module_loader;
mod module_ref;
mod observer;
mod options;
mod provider_index;
mod reclaim;
mod reload;
mod resolvers;
mod retired;
mod state;
mod stub;
mod stub_table;
mod version;

pub use bytes::ModuleBytes;
pub use error::{BytecodeError, LoadError};
pub use export_ref::ExportRef;
pub use handle::ModuleHandle;
pub use inner::{ModuleLoader, ModuleSink};
pub use migrate::Migrated;
pub use module_loader::MappedModule;
pub use module_ref::{ModuleRef, Resolved};
pub use observer::{LoadEvent, LoadObserver, NamedModule};
pub use options::{DuplicateExports, LoaderOptions, LoaderStatistics, UnresolvedImport};
pub use reload::{Reloaded, StateMigration};
