//! Errors of reading and verifying files.
//!
//! Every error is one `Copy` value that states the problem and its position. In all of them `at` is an offset in bytes
//! from the first byte of the file, stub included. Sizes, lengths and offsets are in bytes. Indices count from 0, lines
//! from 1.

#![expect(missing_docs, reason = "the module documents the units of the fields")]

use thiserror::Error;

mod compression;
mod elf;
mod module;
mod shared_object;

pub use {compression::*, elf::*, module::*, shared_object::*};

#[cfg(feature = "alloc")]
use crate::alloc_util::AllocError;
use crate::format::model::named_enum;

named_enum! {
    /// A table whose size or position a header states.
    Table {
        /// The section table.
        Sections = "section table",
        /// The symbol table.
        Symbols = "symbol table",
        /// The index of a library archive.
        Modules = "module index",
        /// The function table of a bytecode section.
        Functions = "bytecode function table",
    }
}

/// The result of reading or verifying a file.
pub type Result<T, E = FormatError> = core::result::Result<T, E>;

/// Returns `error` unless `is_sound` holds.
pub(crate) fn ensure<E>(is_sound: bool, error: E) -> Result<(), E> {
    if is_sound { Ok(()) } else { Err(error) }
}

/// An error of reading or verifying a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum FormatError {
    /// The allocator has no memory for data derived from the file.
    #[error("out of memory while reading the file")]
    OutOfMemory,
    /// A table that does not lie inside the file. `offset` and `count` are as the header states them.
    #[error(
        "the {table} ({count} entries from {offset:#x}) does not lie inside the file, at offset {at:#x}"
    )]
    TableOutside { table: Table, offset: u64, count: u64, at: u64 },
    /// No header was found, or the header is invalid.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// An invalid section entry.
    #[error(transparent)]
    Section(#[from] SectionError),
    /// A compressed section that is not accepted or cannot be decompressed.
    #[error(transparent)]
    Compression(#[from] CompressionError),
    /// An invalid symbol.
    #[error(transparent)]
    Symbol(#[from] SymbolError),
    /// An invalid relocation.
    #[error(transparent)]
    Reloc(#[from] RelocError),
    /// An invalid template section.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// An invalid note.sdn.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// An invalid section of those that this project defines.
    #[error(transparent)]
    Extension(#[from] ExtensionError),
    /// An invalid library archive.
    #[error(transparent)]
    Library(#[from] LibraryError),
    /// Bytecode of a version other than 1.
    #[error("bytecode of version {version}; this loader reads version 1, at offset {at:#x}")]
    BytecodeVersion { version: u16, at: u64 },
    /// A bytecode function whose code leaves its section, or with fewer locals than parameters.
    #[error(
        "bytecode function {index}: its code leaves the section or it has fewer locals than parameters, at offset {at:#x}"
    )]
    BytecodeFunction { index: u32, at: u64 },
    /// A shared object that the system's loader cannot open safely.
    #[error(transparent)]
    SharedObject(#[from] SharedObjectError),
    /// An ELF object that cannot be linked.
    #[error(transparent)]
    Elf(#[from] ElfError),
}

#[cfg(feature = "alloc")]
impl From<AllocError> for FormatError {
    fn from(_: AllocError) -> Self {
        Self::OutOfMemory
    }
}
