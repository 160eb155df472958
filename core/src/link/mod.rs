//! Links one module: lays out and maps its image, resolves its imports, applies its relocations.
//!
//! Each step consumes the previous one. [`Image::map`] assigns an address to every section and copies it into
//! writable pages. [`Image::link`] resolves the imports, applies every relocation and then publishes the pages: code
//! read-execute, constants read-only. The resulting [`Module`] is callable and is unmapped when dropped. Mapping and
//! linking are separate steps, so modules that import from each other are all mapped before any of them is linked.
//!
//! Guarantees:
//!
//! * A malformed file is refused before any of its code can run.
//! * A relocation out of range is an error that names it, never a truncated value.
//! * An unresolved import is an error, unless it is weak.
//! * A step that fails releases all its memory.
//!
//! Machine code is trusted: calling it runs a program.
//!
//! ```
//! # #[cfg(target_arch = "x86_64")]
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use smf_core::format::Smf;
//! use smf_core::link::{Image, NoImports};
//! use smf_core::trap::call;
//!
//! # let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/samples/packed.smf");
//! # let read = |_: &str| std::fs::read(path);
//! let file = read("packed.smf")?;
//! let module = Image::map(&Smf::parse(&file)?)?.link(&NoImports)?;
//! let add = module.function(b"add").ok_or("no function `add`")?;
//! // SAFETY: `add` takes two integers, and the module stays loaded during the call.
//! assert_eq!(unsafe { call(add, &[40, 2]) }?, 42);
//! # Ok(())
//! # }
//! # #[cfg(not(target_arch = "x86_64"))]
//! # fn main() {}
//! ```

mod error;
pub(crate) mod fixup;
mod host;
mod image;
mod layout;
mod machine;
mod module;
mod name;
mod preserved_data;
mod relocate;
mod resolve;
mod symbol_address;

pub use error::LinkError;
pub use host::host_arch;
pub use image::Image;
pub use machine::aarch64;
pub use module::Module;
pub use name::{Name, ShortName};
pub(crate) use preserved_data::{DataSymbol, PreserveError};
pub use resolve::{Export, Exports, NoImports, Resolve, missing_imports};
