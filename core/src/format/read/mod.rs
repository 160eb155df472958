//! Reading modules. Views borrow the file and allocate nothing; only decompression allocates memory.

pub mod constants;
pub(crate) mod decompress;
pub(crate) mod elf;
pub(crate) mod file;
mod find_header;
pub mod functions;
#[cfg(feature = "alloc")]
pub mod layout_phase;
pub mod library;
pub(crate) mod limits;
pub mod note;
mod open;
pub(crate) mod reloc;
pub mod sdn;
pub(crate) mod section;
pub(crate) mod sections;
pub mod shared_object;
pub(crate) mod smf;
pub(crate) mod symbol;
pub mod template;
pub mod template_record;
pub(crate) mod verify;

pub use {
    limits::Limits,
    reloc::RelocTable,
    section::{Section, Sections},
    smf::Smf,
    symbol::{Found, Symbol, SymbolPlace, Symbols},
};
