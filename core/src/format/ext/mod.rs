//! Sections that this project adds to a module. Readers without support skip them.

pub(crate) mod arm64_operand;
pub mod cached_code;
pub mod debug_addresses;
pub mod gnu_property;
pub mod hash_index;
pub mod ifunc;
pub mod needed;
pub mod prelink;
mod relative_relocs;
#[cfg(feature = "alloc")]
pub mod source_template;
pub mod tls;

pub use relative_relocs::{PlaceGroup, RelativeRelocs};
