//! Errors in ELF objects.

use core::fmt;

use thiserror::Error;

use crate::format::wire::elf_reloc::ElfReloc;

/// The part of an ELF object that an error is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ElfPart {
    /// The object as a whole.
    Object,
    /// The section with this number.
    Section(u32),
    /// The symbol with this number.
    Symbol(u32),
}

impl fmt::Display for ElfPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ElfPart::Object => f.write_str("the ELF object in the code section"),
            ElfPart::Section(index) => write!(f, "section {index} of the ELF object"),
            ElfPart::Symbol(index) => write!(f, "symbol {index} of the ELF object"),
        }
    }
}

/// Why an ELF object cannot be linked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the module `error` documents the units of the fields")]
pub enum ElfError {
    /// A part that is invalid or not supported.
    #[error("{part} {kind}, at offset {at:#x}")]
    Part { part: ElfPart, kind: ElfErrorKind, at: u64 },
    /// A relocation type that is not supported.
    #[error(
        "relocation {index} of section {section} of the ELF object is {kind}, which cannot be applied here, at offset {at:#x}"
    )]
    Reloc { section: u32, index: u32, kind: ElfReloc, at: u64 },
    /// A section of the module that would have to be loaded or applied beside the object.
    #[error(
        "section {section} stands beside an ELF object in the code, and the two cannot be linked to each other, at offset {at:#x}"
    )]
    Beside { section: u32, at: u64 },
}

/// What is wrong with a part of an ELF object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the module `error` documents the units of the fields")]
pub enum ElfErrorKind {
    /// This build does not link ELF objects.
    #[error(
        "cannot be linked, because this loader is built without the feature `all-files` of smf-core"
    )]
    NotBuilt,
    /// Shorter than its header.
    #[error("is shorter than its header")]
    CutOff,
    /// Of 32 bits, big-endian, or of another version.
    #[error("is not of 64 bits, little-endian and of version 1")]
    Ident,
    /// An executable, a shared object or a core file.
    #[error("is of type {value} and not relocatable (type 1)")]
    Type { value: u16 },
    /// Another machine than the module's, or one without a linker.
    #[error(
        "is for machine {value}, and must be for that of the module: x86-64 (62) or aarch64 (183)"
    )]
    Machine { value: u16 },
    /// A section table outside the object, or whose count is not in the header.
    #[error("has a section table that is not inside it or not counted in its header")]
    SectionTable,
    /// No section name table.
    #[error("has no table with the names of its sections")]
    NoNames,
    /// A part outside the object, or without a name in the section name table.
    #[error("does not lie inside it, or has no name there")]
    Outside,
    /// Sections that together hold more bytes than the object.
    #[error("overlaps others: together they hold more bytes than the object")]
    Overlap,
    /// An alignment that is not a power of two, or is above 4096.
    #[error("has the alignment {value}, which is no power of two up to 4096")]
    Alignment { value: u64 },
    /// Thread-local data.
    #[error("is thread-local, which nothing in a module can be")]
    ThreadLocal,
    /// Constructors or destructors.
    #[error("lists functions to be run when it is loaded or unloaded, which no module has")]
    Constructors,
    /// A section that is writable and executable.
    #[error("is writable and executable, which no memory may be")]
    WriteAndExecute,
    /// An executable section without bytes in the file.
    #[error("is to be executed and has no bytes in the file")]
    ZeroCode,
    /// A compressed section that must be loaded.
    #[error("is compressed and is to be loaded")]
    Compressed,
    /// Relocations without addends.
    #[error("holds relocations without addends, in another form than RELA")]
    NoAddends,
    /// A relocation section with a partial entry, or without a target section or symbol table.
    #[error("holds no whole relocations, or they apply to no section or no symbol table")]
    Relocs,
    /// A symbol table with a partial entry, without names, or the second one.
    #[error("is a symbol table without whole entries or names, or a second")]
    SymbolTable,
    /// An indirect function.
    #[error("is a function that chooses an address at load time (IFUNC), which no module has")]
    IndirectFunction,
    /// A symbol in a section that does not exist.
    #[error("lies in section {value:#x}, which does not exist")]
    SymbolSection { value: u16 },
    /// An undefined symbol type.
    #[error("has the unknown type {value}")]
    SymbolType { value: u8 },
    /// An undefined symbol binding.
    #[error("has the unknown binding {value}")]
    SymbolBinding { value: u8 },
}
