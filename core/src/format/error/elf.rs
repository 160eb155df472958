//! Errors in ELF objects.

use thiserror::Error;

use crate::format::wire::elf_reloc::ElfReloc;

/// The part of an ELF object that an error is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ElfPart {
    /// The object as a whole.
    #[error("the ELF object in the code section")]
    Object,
    /// The section with this number.
    #[error("section {0} of the ELF object")]
    Section(u32),
    /// The symbol with this number.
    #[error("symbol {0} of the ELF object")]
    Symbol(u32),
}

/// The reason why an ELF object cannot be linked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ElfError {
    /// A part that is invalid or not supported.
    #[error("{part} {kind}, at offset {at:#x}")]
    Part { part: ElfPart, kind: ElfErrorKind, at: u64 },
    /// A relocation type that is not supported.
    #[error(
        "relocation {index} of section {section} of the ELF object is {kind}, which is not supported, at offset {at:#x}"
    )]
    Reloc { section: u32, index: u32, kind: ElfReloc, at: u64 },
    /// Another section of the module that must be loaded or applied, next to the object.
    #[error(
        "section {section} cannot be linked with the ELF object in the code section, at offset {at:#x}"
    )]
    Beside { section: u32, at: u64 },
}

/// The reason why a part of an ELF object is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ElfErrorKind {
    /// This build does not link ELF objects.
    #[error(
        "cannot be linked, because this loader is built without the feature `all-files` of smf-core"
    )]
    NotBuilt,
    /// Shorter than its header.
    #[error("is shorter than its header")]
    CutOff,
    /// Not 64-bit, not little-endian, or an unknown version.
    #[error("is not a 64-bit little-endian file of version 1")]
    Ident,
    /// An executable, a shared object or a core file.
    #[error("is of type {value}, not 1 (relocatable)")]
    Type { value: u16 },
    /// A machine other than that of the module, or one without a linker.
    #[error("is for machine {value}, not for that of the module: x86-64 (62) or aarch64 (183)")]
    Machine { value: u16 },
    /// A section table outside the object, or one whose number of entries is not in the header.
    #[error(
        "has a section table outside the object, or its header does not state the number of sections"
    )]
    SectionTable,
    /// No section name table.
    #[error("has no section name table")]
    NoNames,
    /// A part outside the object, or without a name in the section name table.
    #[error("does not lie inside the object, or has no name in the section name table")]
    Outside,
    /// Sections that together hold more bytes than the object.
    #[error("overlaps others: together they hold more bytes than the object")]
    Overlap,
    /// An alignment that is not a power of two, or is above 2 MiB.
    #[error("has the alignment {value}, which is not a power of two up to 2 MiB")]
    Alignment { value: u64 },
    /// Thread-local data.
    #[error("is thread-local, which modules do not support")]
    ThreadLocal,
    /// Constructors or destructors.
    #[error("lists functions that run at load or unload time, which modules do not support")]
    Constructors,
    /// A section that is writable and executable.
    #[error("is writable and executable, which is not allowed")]
    WriteAndExecute,
    /// An executable section without bytes in the file.
    #[error("is executable and has no bytes in the file")]
    ZeroCode,
    /// A compressed section that must be loaded.
    #[error("is compressed and must be loaded")]
    Compressed,
    /// Relocations without addends.
    #[error("holds relocations in a form other than RELA")]
    NoAddends,
    /// A relocation section with a partial entry, or without a target section or symbol table.
    #[error("has a partial entry, or no target section or symbol table")]
    Relocs,
    /// A symbol table with a partial entry, without names, or the second one.
    #[error("is a symbol table with a partial entry or without names, or the second one")]
    SymbolTable,
    /// An indirect function.
    #[error("is an indirect function (IFUNC), which modules do not support")]
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
