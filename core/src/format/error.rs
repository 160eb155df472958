//! Every way a file can fail to be a module, as one `Copy` value that says what and where.
//!
//! Offsets are absolute: they count from the first byte of the file, stub included, so that they can
//! be typed into a hex editor as they stand.

use core::fmt;

pub(crate) mod compression;
pub(crate) mod elf;
pub(crate) mod shared_object;
pub(crate) mod table;

use compression::CompressionErrorKind;
use table::Table;

#[cfg(feature = "alloc")]
use crate::alloc_util::AllocError;
use crate::format::error::elf::{ElfErrorKind, ElfPart};
use crate::format::error::shared_object::{SharedObjectErrorKind, SharedObjectPart};
use crate::format::model::header::Compression;
use crate::format::model::section::SectionKind;
use crate::format::wire::elf_reloc::ElfReloc;

/// Why bytes are not a module, or not a sound one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the fields are what the sentence of each variant shows")]
pub enum FormatError {
    /// No memory for what is made of the file.
    OutOfMemory,
    /// The file has no bytes.
    Empty,
    /// No `SMF\0` where a header may begin. Holds the file's length.
    NoMagic { len: u64 },
    /// The 64-byte v0.1 header, or a trailer of the same age: `section_count` at 12.
    LegacyHeader { at: u64 },
    /// A magic, but tables that fit no layout there.
    NoLayout { at: u64 },
    /// Tables that fit two layouts at once.
    TwoLayouts { first: &'static str, second: &'static str, at: u64 },
    /// A module behind an undeclared stub that fits at two places.
    TwoBases { first: u64, second: u64 },
    /// The search for the end of an undeclared stub was given up: too many places look possible.
    BaseSearchTooLong { at: u64 },
    /// A stub that is longer than the file, as the header says.
    StubOutside { size: u64, at: u64 },
    /// A table that does not lie inside the file. `offset` and `count` as the header says.
    TableOutside { table: Table, offset: u64, count: u64, at: u64 },
    /// More sections than the limit.
    TooManySections { count: u32, limit: u32, at: u64 },
    /// A section's payload that does not lie inside the file.
    SectionOutside { index: u32, offset: u64, size: u64, at: u64 },
    /// More bytes in the file than in memory.
    SectionSize { index: u32, size: u64, virtual_size: u64, at: u64 },
    /// An alignment that is not a power of two, or is above 4096.
    SectionAlignment { index: u32, alignment: u64, at: u64 },
    /// Sections that together want more memory than the limit.
    VirtualSize { total: u64, limit: u64, at: u64 },
    /// A compressed section that claims more memory than [`Limits`](crate::format::read::limits::Limits) allows for its `size` in the
    /// file, by itself or together with those before it; the sizes are then those of all of them.
    CompressionRatio { index: u32, size: u64, virtual_size: u64, limit: u64, at: u64 },
    /// A compressed section in a file that names no algorithm, or one that nobody knows.
    SectionCompression { index: u32, compression: Compression, at: u64 },
    /// A compressed section of a kind that never is: code of an executable file, tables that are
    /// read where they stand, notes of this project.
    CompressedKind { index: u32, kind: SectionKind, at: u64 },
    /// A section that cannot be decompressed.
    Decompress { index: u32, fault: CompressionErrorKind, at: u64 },
    /// A note or a template section that must be decompressed before it is read.
    StillCompressed { index: u32, at: u64 },
    /// A symbol whose name does not lie inside the strings, or has no end there.
    SymbolName { index: u32, offset: u64, at: u64 },
    /// A symbol type, binding or section marker that means nothing.
    SymbolKind { index: u32, value: u8, at: u64 },
    /// A binding that means nothing.
    SymbolBinding { index: u32, value: u8, at: u64 },
    /// A symbol in a section that is not there.
    SymbolSection { index: u32, section: u32, at: u64 },
    /// A symbol that needs a section of a kind the file does not have.
    SymbolNoSection { index: u32, at: u64 },
    /// A symbol that leaves its section.
    SymbolOutside { index: u32, value: u64, size: u64, at: u64 },
    /// A symbol index that the table does not have.
    NoSuchSymbol { index: u32, count: u32 },
    /// A section index that the table does not have.
    NoSuchSection { index: u32, count: u32 },
    /// A relocation section whose size is no multiple of 24.
    RelocTableSize { section: u32, size: u64, at: u64 },
    /// A relocation section and no section that it could apply to.
    RelocNoTarget { section: u32, at: u64 },
    /// A relocation type that the layout does not have.
    RelocType { section: u32, index: u32, value: u8, at: u64 },
    /// A relocation against a symbol that is not there.
    RelocSymbol { section: u32, index: u32, symbol: u32, at: u64 },
    /// A relocation that reaches outside the section it applies to.
    RelocPlace { section: u32, index: u32, offset: u64, at: u64 },
    /// An entry point outside the code.
    EntryPoint { offset: u64, at: u64 },
    /// A template container that ends in the middle of a template, or counts more than it holds.
    Template { index: u32, at: u64 },
    /// A template kind that means nothing.
    TemplateKind { index: u32, value: u8, at: u64 },
    /// A template table that begins with neither of the two containers.
    TemplateContainer { at: u64 },
    /// Template metadata that is not `META` and its counts.
    TemplateMeta { at: u64 },
    /// A note of size 0 without its terminator within the first 1 MiB.
    NoteUnterminated { at: u64 },
    /// A note that is not UTF-8.
    NoteEncoding { at: u64 },
    /// A row outside a table, a broken header or a broken string in a note. Lines count from 1.
    NoteSyntax { line: u32, at: u64 },
    /// A row with more or fewer cells than its table has columns. Lines count from 1.
    NoteColumns { line: u32, cells: u32, columns: u32, at: u64 },
    /// A known table of a note without a column that its entries are nothing without.
    NoteColumn { line: u32, column: &'static str, at: u64 },
    /// `.smf.image` without its magic, with pages of another size, or shorter than it counts.
    ImageHeader { at: u64 },
    /// `.smf.image` for another number of sections than the file has.
    ImageSections { stated: u64, count: u64, at: u64 },
    /// A place in `.smf.image` where the section cannot be.
    ImagePlace { index: u32, offset: u64, at: u64 },
    /// `.smf.image` calls settled what is no relocation section, or is out of order.
    ImageSettled { index: u32, at: u64 },
    /// A settled relocation whose place in the file does not hold its value.
    ImageBytes { section: u32, index: u32, at: u64 },
    /// `.smf.code` without its magic.
    KeptHeader { at: u64 },
    /// A record of `.smf.code` that does not have the hash that it states, whose relocations cannot be read, or whose
    /// length cannot be.
    KeptRecord { index: u32, at: u64 },
    /// `.smf.hash` without its magic, or shorter than it counts.
    IndexHeader { at: u64 },
    /// `.smf.hash` with another number of names than it counts.
    IndexNames { stated: u32, found: u64, at: u64 },
    /// A slot of `.smf.hash` that holds what no lookup would find there.
    IndexSlot { symbol: u32, at: u64 },
    /// An exported symbol whose name `.smf.hash` does not lead to the symbol that counts.
    IndexSymbol { index: u32, at: u64 },
    /// An archive that does not begin with `LSMF`.
    NoLibraryMagic { at: u64 },
    /// An archive of a version other than 1.0.
    LibraryVersion { major: u8, minor: u8, at: u64 },
    /// A module (or its object) that does not lie inside the archive.
    ModuleOutside { index: u32, offset: u64, size: u64, at: u64 },
    /// A module without a name, or with a name that is not UTF-8.
    ModuleName { index: u32, at: u64 },
    /// A module whose bytes do not have the hash that the index gives.
    ModuleHash { index: u32, expected: u64, found: u64, at: u64 },
    /// Modules that together claim more bytes than the archive has.
    ModuleOverlap { index: u32, at: u64 },
    /// An archive whose index, or whose index and data, do not have the hash that the header gives.
    LibraryHash { expected: u64, found: u64, at: u64 },
    /// Bytecode of a version other than 1.
    BytecodeVersion { version: u16, at: u64 },
    /// A bytecode function that leaves its section, or has fewer locals than parameters.
    BytecodeFunction { index: u32, at: u64 },
    /// The shared object of a dynlib is not one.
    DynlibImage { at: u64 },
    /// A shared object that the system's loader would not survive.
    SharedObject { part: SharedObjectPart, kind: SharedObjectErrorKind, at: u64 },
    /// An ELF object in the code that is not one that can be linked.
    Elf { part: ElfPart, fault: ElfErrorKind, at: u64 },
    /// A relocation of an ELF object that cannot be applied here.
    ElfReloc { section: u32, index: u32, kind: ElfReloc, at: u64 },
    /// A section that would be loaded or applied beside an ELF object in the code.
    ElfBeside { section: u32, at: u64 },
}

#[cfg(feature = "alloc")]
impl From<AllocError> for FormatError {
    fn from(_: AllocError) -> Self {
        Self::OutOfMemory
    }
}

impl fmt::Display for FormatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use FormatError as E;
        match *self {
            E::OutOfMemory => {
                f.write_str("the allocator has no memory for what is made of the file")
            }
            E::Empty => write!(f, "the file is empty, at offset 0x0"),
            E::NoMagic { len } => write!(
                f,
                "not an SMF file: no magic `SMF\\0` at offset 0x0, nor 128 or 96 bytes before the end at 0x{len:x}"
            ),
            E::LegacyHeader { at } => write!(
                f,
                "an old v0.1 header (section_count at byte 12), which no writer emits and this loader does not read, at offset 0x{at:x}"
            ),
            E::NoLayout { at } => write!(
                f,
                "a header whose section table fits none of the layouts native, packed and compact, at offset 0x{at:x}"
            ),
            E::TwoLayouts { first, second, at } => {
                write!(f, "the file reads as {first} and as {second} alike, at offset 0x{at:x}")
            }
            E::TwoBases { first, second } => write!(
                f,
                "the stub is not declared and the module could begin in two places, at offset 0x{first:x} and at offset 0x{second:x}"
            ),
            E::BaseSearchTooLong { at } => write!(
                f,
                "the stub is not declared and too many places look like the begin of the module; declare smf_data_offset in the header at offset 0x{at:x}"
            ),
            E::StubOutside { size, at } => {
                write!(f, "the stub (0x{size:x} bytes) is longer than the file, at offset 0x{at:x}")
            }
            E::TableOutside { table, offset, count, at } => write!(
                f,
                "the {table} ({count} entries from 0x{offset:x}) does not lie inside the file, at offset 0x{at:x}"
            ),
            E::TooManySections { count, limit, at } => {
                write!(f, "{count} sections are more than the limit of {limit}, at offset 0x{at:x}")
            }
            E::SectionOutside { index, offset, size, at } => write!(
                f,
                "section {index}: its payload (0x{size:x} bytes from 0x{offset:x}) does not lie inside the file, at offset 0x{at:x}"
            ),
            E::SectionSize { index, size, virtual_size, at } => write!(
                f,
                "section {index}: size 0x{size:x} is greater than virtual_size 0x{virtual_size:x}, at offset 0x{at:x}"
            ),
            E::SectionAlignment { index, alignment, at } => write!(
                f,
                "section {index}: alignment {alignment} is not a power of two up to 4096, at offset 0x{at:x}"
            ),
            E::VirtualSize { total, limit, at } => write!(
                f,
                "the sections want 0x{total:x} bytes of memory, more than the limit of 0x{limit:x}, at offset 0x{at:x}"
            ),
            E::CompressionRatio { index, size, virtual_size, limit, at } => write!(
                f,
                "section {index}: 0x{size:x} compressed bytes claim to decompress to 0x{virtual_size:x}, and the limit for so few is 0x{limit:x}, at offset 0x{at:x}"
            ),
            E::SectionCompression { index, compression: Compression::NONE, at } => write!(
                f,
                "section {index}: marked compressed, and the header names no algorithm, at offset 0x{at:x}"
            ),
            E::SectionCompression { index, compression, at } => write!(
                f,
                "section {index}: marked compressed, and the header names an unknown algorithm ({compression}), at offset 0x{at:x}"
            ),
            E::CompressedKind { index, kind, at } => write!(
                f,
                "section {index}: marked compressed, which a {kind} section like this never is, at offset 0x{at:x}"
            ),
            E::Decompress { index, fault, at } => {
                write!(f, "section {index}: {fault}, at offset 0x{at:x}")
            }
            E::StillCompressed { index, at } => {
                write!(
                    f,
                    "section {index} must be decompressed before it is read, at offset 0x{at:x}"
                )
            }
            E::SymbolName { index, offset, at } => write!(
                f,
                "symbol {index}: its name (0x{offset:x} into the strings) does not lie inside the strings or has no end there within 16 KiB, at offset 0x{at:x}"
            ),
            E::SymbolKind { index, value, at } => {
                write!(f, "symbol {index}: unknown type {value}, at offset 0x{at:x}")
            }
            E::SymbolBinding { index, value, at } => {
                write!(f, "symbol {index}: unknown binding {value}, at offset 0x{at:x}")
            }
            E::SymbolSection { index, section, at } => write!(
                f,
                "symbol {index}: it lies in section {section}, which does not exist, at offset 0x{at:x}"
            ),
            E::SymbolNoSection { index, at } => write!(
                f,
                "symbol {index}: it is defined, but the file has no section for symbols of its type, at offset 0x{at:x}"
            ),
            E::SymbolOutside { index, value, size, at } => write!(
                f,
                "symbol {index}: value 0x{value:x} and size 0x{size:x} leave its section, at offset 0x{at:x}"
            ),
            E::NoSuchSymbol { index, count } => {
                write!(f, "there is no symbol {index}; the file has {count}")
            }
            E::NoSuchSection { index, count } => {
                write!(f, "there is no section {index}; the file has {count}")
            }
            E::RelocTableSize { section, size, at } => write!(
                f,
                "section {section}: 0x{size:x} bytes are no whole number of 24-byte relocations, at offset 0x{at:x}"
            ),
            E::RelocNoTarget { section, at } => write!(
                f,
                "section {section}: its relocations apply to a section that does not exist, at offset 0x{at:x}"
            ),
            E::RelocType { section, index, value, at } => write!(
                f,
                "relocation {index} of section {section}: unknown type {value}, at offset 0x{at:x}"
            ),
            E::RelocSymbol { section, index, symbol, at } => write!(
                f,
                "relocation {index} of section {section}: symbol {symbol} does not exist, at offset 0x{at:x}"
            ),
            E::RelocPlace { section, index, offset, at } => write!(
                f,
                "relocation {index} of section {section}: its place 0x{offset:x} reaches outside the section, at offset 0x{at:x}"
            ),
            E::EntryPoint { offset, at } => write!(
                f,
                "the entry point 0x{offset:x} lies outside the code section, at offset 0x{at:x}"
            ),
            E::Template { index, at } => {
                write!(f, "template {index} does not lie inside its section, at offset 0x{at:x}")
            }
            E::TemplateKind { index, value, at } => {
                write!(f, "template {index}: unknown kind {value}, at offset 0x{at:x}")
            }
            E::TemplateContainer { at } => write!(
                f,
                "the template section is neither a GTPL nor a counted container, at offset 0x{at:x}"
            ),
            E::TemplateMeta { at } => write!(
                f,
                "the template metadata is not `META`, a version and four counts, at offset 0x{at:x}"
            ),
            E::NoteUnterminated { at } => write!(
                f,
                "note.sdn has size 0 and no line `# END_NOTE` within 1 MiB, at offset 0x{at:x}"
            ),
            E::NoteEncoding { at } => write!(f, "note.sdn is not UTF-8, at offset 0x{at:x}"),
            E::NoteSyntax { line, at } => {
                write!(f, "note.sdn, line {line}: not a table row, at offset 0x{at:x}")
            }
            E::NoteColumns { line, cells, columns, at } => write!(
                f,
                "note.sdn, line {line}: {cells} cells in a table of {columns} columns, at offset 0x{at:x}"
            ),
            E::NoteColumn { line, column, at } => {
                write!(
                    f,
                    "note.sdn, line {line}: the table has no column `{column}`, at offset 0x{at:x}"
                )
            }
            E::ImageHeader { at } => write!(
                f,
                ".smf.image is not `IMG1`, pages of 4096 bytes and as many numbers as it counts, at offset 0x{at:x}"
            ),
            E::ImageSections { stated, count, at } => write!(
                f,
                ".smf.image places {stated} sections and the file has {count}, at offset 0x{at:x}"
            ),
            E::ImagePlace { index, offset, at } => write!(
                f,
                ".smf.image: section {index} cannot lie 0x{offset:x} into the image, at offset 0x{at:x}"
            ),
            E::ImageSettled { index, at } => write!(
                f,
                ".smf.image: section {index} is no relocation section or out of order, at offset 0x{at:x}"
            ),
            E::ImageBytes { section, index, at } => write!(
                f,
                "relocation {index} of section {section} is said to be settled, but its place does not hold its value, at offset 0x{at:x}"
            ),
            E::KeptHeader { at } => {
                write!(f, ".smf.code does not begin with its magic, at offset 0x{at:x}")
            }
            E::KeptRecord { index, at } => write!(
                f,
                "record {index} of .smf.code is damaged: its length, its hash or its relocations are not what it states, at offset 0x{at:x}"
            ),
            E::IndexHeader { at } => write!(
                f,
                ".smf.hash is not `HASH`, a version, counts and as many buckets (a power of two) as it counts, at offset 0x{at:x}"
            ),
            E::IndexNames { stated, found, at } => write!(
                f,
                ".smf.hash says it has {stated} names and has {found}, at offset 0x{at:x}"
            ),
            E::IndexSlot { symbol, at } => write!(
                f,
                ".smf.hash: symbol {symbol} is no export or not where its name leads to, at offset 0x{at:x}"
            ),
            E::IndexSymbol { index, at } => write!(
                f,
                "symbol {index}: it is exported, and .smf.hash does not lead from its name to the symbol that counts, at offset 0x{at:x}"
            ),
            E::NoLibraryMagic { at } => {
                write!(f, "not a library archive: no magic `LSMF`, at offset 0x{at:x}")
            }
            E::LibraryVersion { major, minor, at } => write!(
                f,
                "a library archive of version {major}.{minor}; this loader reads 1.0, at offset 0x{at:x}"
            ),
            E::ModuleOutside { index, offset, size, at } => write!(
                f,
                "module {index}: 0x{size:x} bytes from 0x{offset:x} do not lie inside the archive, at offset 0x{at:x}"
            ),
            E::ModuleName { index, at } => {
                write!(f, "module {index}: its name is empty or not UTF-8, at offset 0x{at:x}")
            }
            E::ModuleHash { index, expected, found, at } => write!(
                f,
                "module {index}: its bytes hash to 0x{found:016x}, the index says 0x{expected:016x}, at offset 0x{at:x}"
            ),
            E::ModuleOverlap { index, at } => write!(
                f,
                "module {index}: the modules up to it claim more bytes than the archive has, at offset 0x{at:x}"
            ),
            E::LibraryHash { expected, found, at } => write!(
                f,
                "the archive's bytes hash to 0x{found:016x}, the header says 0x{expected:016x}, at offset 0x{at:x}"
            ),
            E::BytecodeVersion { version, at } => write!(
                f,
                "bytecode of version {version}; this loader reads version 1, at offset 0x{at:x}"
            ),
            E::BytecodeFunction { index, at } => write!(
                f,
                "bytecode function {index}: its code leaves the section or it has fewer locals than parameters, at offset 0x{at:x}"
            ),
            E::DynlibImage { at } => write!(
                f,
                "a dynlib trailer, but no ELF shared object before it, at offset 0x{at:x}"
            ),
            E::SharedObject { part, kind, at } => write!(f, "{part} {kind}, at offset 0x{at:x}"),
            E::Elf { part, fault, at } => write!(f, "{part} {fault}, at offset 0x{at:x}"),
            E::ElfReloc { section, index, kind, at } => write!(
                f,
                "relocation {index} of section {section} of the ELF object is {kind}, which cannot be applied here, at offset 0x{at:x}"
            ),
            E::ElfBeside { section, at } => write!(
                f,
                "section {section} stands beside an ELF object in the code, and the two cannot be linked to each other, at offset 0x{at:x}"
            ),
        }
    }
}

impl core::error::Error for FormatError {}
