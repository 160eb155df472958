//! A file becomes callable: sections are placed, relocations applied, names resolved.
//!
//! The way is one-way and each step consumes the one before: [`Image::place`] gives every section an
//! address and copies it into writable pages; [`Image::link`] resolves the imports, applies every
//! relocation and only then publishes the pages, code read-execute, constants read-only; the
//! [`Module`] that comes out can be called, and unloads when dropped. Placing and linking are two
//! steps so that modules that import from each other can all be placed before any is linked.
//!
//! Promises: a file that does not verify is refused before anything runs; a relocation that does not
//! fit is an error that names it, never a wrapped number; an import that nobody provides is an error;
//! when a step fails, all its memory is given back. What the machine code itself does is up to it.
//!
//! ```
//! # #[cfg(target_arch = "x86_64")]
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use smf_core::format::Smf;
//! use smf_core::link::{Image, NoImports, call};
//!
//! # let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/samples/packed.smf");
//! # let read = |_: &str| std::fs::read(path);
//! let file = read("packed.smf")?;
//! let module = Image::place(&Smf::parse(&file)?)?.link(&NoImports)?;
//! let add = module.function(b"add").ok_or("no function `add`")?;
//! // SAFETY: `add` takes two integers, and the module stays loaded during the call.
//! assert_eq!(unsafe { call(add, &[40, 2]) }?, 42);
//! # Ok(())
//! # }
//! # #[cfg(not(target_arch = "x86_64"))]
//! # fn main() {}
//! ```

pub(crate) mod call;
mod error;
pub(crate) mod fixup;
mod image;
mod layout;
mod machine;
mod module;
mod preserved_data;
mod relocate;
mod resolve;
mod symbol_address;

pub use call::{MAX_ARGS, call};
pub use error::{LinkError, ShortName};
pub use image::{Image, host_arch};
pub use machine::aarch64;
pub use module::Module;
pub(crate) use preserved_data::{PreserveError, StateMigration};
pub use resolve::{Chain, Export, Exports, NoImports, Resolve, missing_imports};
