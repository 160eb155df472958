//! The bytes of SMF: four layouts read into one model, and written back.
//!
//! What the bytes say stands apart from what we accept: `layout` holds offsets, strides and
//! numberings as data; the views ([`Section`], [`Symbol`], [`Reloc`], ...) decode one entry each;
//! [`Smf`] finds and checks them. No other room ever asks which writer made a file.
//!
//! Promises: no unsafe code, no allocation for reading, no panic on any input, time linear in the
//! file. Every error says what is wrong and at which offset of the file. Only decompressing takes
//! memory, and time that is linear in what comes out; nothing is decompressed unless asked for.

#[cfg(feature = "alloc")]
pub mod bytecode;
pub mod bytes;
mod compress;
#[cfg(feature = "alloc")]
pub mod convert;
mod detect;
mod elf;
pub mod error;
pub mod ext;
pub mod file;
pub mod functions;
pub mod header;
pub mod layout;
#[cfg(feature = "alloc")]
pub mod layout_phase;
pub mod library;
pub mod note;
pub mod reloc;
pub mod sdn;
pub mod section;
pub mod shared_object;
pub mod symbol;
pub mod template;
pub mod write;

#[cfg(feature = "alloc")]
pub use compress::Contents;
pub use compress::decompress;
pub use elf::reloc::ElfReloc;
pub use elf::{ElfFault, ElfPart};
pub use error::{CompressionFault, FormatError};
pub use ext::hash_index::SymbolIndex;
pub use file::{Limits, Smf};
pub use header::{AppType, Arch, Compression, Flags, Header, Platform};
pub use layout::Layout;
pub use library::Library;
pub use reloc::{Reloc, RelocEntry, RelocKind, RelocTable};
pub use section::{Section, SectionFlags, SectionIter, SectionKind, Sections};
pub use symbol::{Binding, Found, Phase, Symbol, SymbolFlags, SymbolKind, SymbolPlace, Symbols};
