//! The SMF file format: reading, verifying and writing modules of four layouts.
//!
//! The inner modules form layers: `model` (kinds and flags), `wire` (layout tables, byte access), [`error`], `read`
//! (views that decode one entry each, and [`Smf`], which finds and checks them), [`ext`] (note sections of this
//! project) and [`mod@write`]. No other module of the crate depends on the layout of a file.
//!
//! Guarantees: no unsafe code, no allocation for reading, no panic on any input, time linear in the file, except that
//! a section may be looked up by name for each other one: [`Limits::sections`]. Every error states the problem and its file
//! offset. Only decompression allocates; its time is linear in the output, and it runs only on request.

pub mod error;
pub mod ext;
mod model;
mod read;
mod wire;
pub mod write;

pub use error::{FormatError, Result};
pub use ext::hash_index::SymbolIndex;
pub use model::{
    AppType, Arch, Binding, Compression, Flags, Header, Phase, Platform, Reloc, RelocKind,
    SectionFlags, SectionKind, SymbolFlags, SymbolKind,
};
#[cfg(feature = "alloc")]
pub use read::decompress::contents::Contents;
pub use read::decompress::decompress;
pub use read::file::File;
#[cfg(feature = "alloc")]
pub use read::layout_phase;
pub use read::library::Library;
pub use read::{
    Found, Limits, RelocTable, Section, Sections, Smf, Symbol, SymbolPlace, Symbols, constants,
    functions, library, note, sdn, shared_object, template, template_record,
};
pub use wire::bytes;
pub use wire::elf_reloc::ElfReloc;
pub use wire::layout::{Layout, MAGIC, MAX_ALIGNMENT, SECTION_NAME};
pub use wire::name::MAX_NAME;
pub use wire::reloc::RelocEntry;
