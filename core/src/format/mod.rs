//! The bytes of SMF: four layouts read into one model, and written back.
//!
//! What the bytes say stands apart from what we accept: `layout` holds offsets, strides and
//! numberings as data; the views ([`Section`], [`Symbol`], [`Reloc`], ...) decode one entry each;
//! [`Smf`] finds and checks them. No other room ever asks which writer made a file.
//!
//! Promises: no unsafe code, no allocation for reading, no panic on any input, time linear in the
//! file. Every error says what is wrong and at which offset of the file. Only decompressing takes
//! memory, and time that is linear in what comes out; nothing is decompressed unless asked for.

pub mod error;
pub mod ext;
mod model;
mod read;
mod wire;
pub mod write;

pub use error::FormatError;
pub use error::compression::CompressionErrorKind;
pub use error::elf::{ElfErrorKind, ElfPart};
pub use ext::hash_index::SymbolIndex;
pub use model::header::{AppType, Arch, Compression, Flags, Header, Platform};
pub use model::reloc::{Reloc, RelocKind};
pub use model::section::{SectionFlags, SectionKind};
pub use model::symbol::{Binding, Phase, SymbolFlags, SymbolKind};
#[cfg(feature = "alloc")]
pub use read::decompress::Contents;
pub use read::decompress::decompress;
#[cfg(feature = "alloc")]
pub use read::layout_phase;
pub use read::library::Library;
pub use read::limits::Limits;
pub use read::reloc::RelocTable;
pub use read::section::{Section, Sections};
pub use read::sections::SectionIter;
pub use read::smf::Smf;
pub use read::symbol::{Found, Symbol, SymbolPlace, Symbols};
pub use read::{functions, library, note, sdn, shared_object, template};
pub use wire::bytes;
pub use wire::elf_reloc::ElfReloc;
pub use wire::layout::{Layout, MAGIC, MAX_ALIGNMENT, SECTION_NAME};
pub use wire::name::MAX_NAME;
pub use wire::reloc::RelocEntry;
