//! Links one module: lays out and maps its image, resolves its imports, applies its relocations.
//!
//! Each step consumes the previous one. [`Image::map`] assigns an address to every section and copies it into
//! writable pages. [`Image::link`] resolves the imports, applies every relocation and then publishes the pages: code
//! read-execute, constants read-only. The resulting [`Module`] is callable and is unmapped when dropped. Mapping and
//! linking are separate steps, so modules that import from each other are all mapped before any of them is linked.
//!
//! Guarantees:
//!
//! * A malformed file is refused before any of its code can run. Relocations that the
//!   [image](crate::format::ext::prelink) has resolved are not read: only [`Smf::verify`](crate::format::Smf::verify) refuses
//!   malformed ones.
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

mod eh_frame;
mod error;
mod file_parts;
pub(crate) mod fixup;
mod host_resources;
mod host_services;
mod ifunc;
mod image;
mod init_arrays;
mod layout;
mod libraries;
mod machine;
mod module;
mod name;
mod preserved_data;
mod relocate;
mod relocated_fields;
mod resolve;
mod special_imports;
mod symbol_address;
mod tls;

pub use error::LinkError;
pub use host_services::{
    Host, HostService, HostServiceError, HostServices, InitFunctions, InitToken, LibraryError,
    LibraryToken, TlsBlock, TlsTemplate,
};
pub use image::Image;
pub(crate) use image::{PreparedImage, Reach, Sources};
pub use init_arrays::{has_init_functions, runs_code_at_load};
pub(crate) use libraries::{AddedLibraries, Libraries};
pub use machine::{aarch64, host_arch};
pub use module::Module;
pub use name::Name;
pub(crate) use preserved_data::{DataSymbol, PreserveError};
pub(crate) use relocated_fields::RelocatedFields;
pub use resolve::{Export, Exports, NoImports, Resolve, missing_imports};
pub use special_imports::{DSO_HANDLE, REQUIRES_CONSTRUCTORS, REQUIRES_UNWINDING, TRAP_HOOK};
pub(crate) use tls::{imported_tls, symbol_at as tls_symbol_at};
