//! Errors in the parts of a module, and in library archives.

use thiserror::Error;

use crate::format::model::named_enum;
use crate::format::wire::ALL_FILES;

/// The layouts that a section table does not fit.
const LAYOUTS: &str = if ALL_FILES {
    "none of the layouts native, packed and compact"
} else {
    "neither of the layouts native and packed, nor compact, which needs the feature `all-files` of smf-core"
};

/// The reason why no header was found, or why the header is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum HeaderError {
    /// An empty file.
    #[error("the file is empty, at offset 0x0")]
    Empty,
    /// No `SMF\0` at a position where a header may begin. `len` is the length of the file.
    #[error(
        "not an SMF file: no magic `SMF\\0` at offset 0x0, nor 128 or 96 bytes before the end at {len:#x}"
    )]
    NoMagic { len: u64 },
    /// An ELF file without a module.
    #[error("an ELF file, and not an SMF file: `smf pack` makes a module of ELF objects")]
    Elf,
    /// An archive of the linker.
    #[error("an archive of objects, and not an SMF file: `smf pack` makes a module of it")]
    Archive,
    /// A header of format version 0.1, in which `section_count` is at byte 12.
    #[error(
        "a header of format version 0.1 (section_count at byte 12), which is not supported, at offset {at:#x}"
    )]
    Legacy { at: u64 },
    /// A header with the magic, whose section table fits no layout.
    #[error("a header whose section table fits {LAYOUTS}, at offset {at:#x}")]
    NoLayout { at: u64 },
    /// Tables that fit two layouts.
    #[error(
        "the file is valid in the layout {first} and in the layout {second}, at offset {at:#x}"
    )]
    AmbiguousLayout { first: &'static str, second: &'static str, at: u64 },
    /// A module after an undeclared stub that fits at two offsets.
    #[error(
        "the stub is not declared and the module could begin at two places, at offset {first:#x} and at offset {second:#x}"
    )]
    AmbiguousBase { first: u64, second: u64 },
    /// The search for the end of an undeclared stub reached its work limit.
    #[error(
        "the stub is not declared and too many places look like the start of the module; declare smf_data_offset in the header at offset {at:#x}"
    )]
    BaseSearchLimit { at: u64 },
    /// A declared stub that is longer than the file.
    #[error("the stub ({size:#x} bytes) is longer than the file, at offset {at:#x}")]
    StubOutside { size: u64, at: u64 },
    /// An entry point outside the code.
    #[error("the entry point {offset:#x} lies outside the code section, at offset {at:#x}")]
    EntryPoint { offset: u64, at: u64 },
    /// A dynlib trailer without a shared object before it.
    #[error("a dynlib trailer, but no ELF shared object before it, at offset {at:#x}")]
    NoSharedObject { at: u64 },
}

/// The reason why a section entry is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SectionError {
    /// More sections than the limit.
    #[error("{count} sections are more than the limit of {limit}, at offset {at:#x}")]
    TooMany { count: u32, limit: u32, at: u64 },
    /// A payload that does not lie inside the file.
    #[error(
        "section {index}: its payload ({size:#x} bytes from {offset:#x}) does not lie inside the file, at offset {at:#x}"
    )]
    Outside { index: u32, offset: u64, size: u64, at: u64 },
    /// More bytes in the file than in memory.
    #[error(
        "section {index}: size {size:#x} is greater than virtual_size {virtual_size:#x}, at offset {at:#x}"
    )]
    Size { index: u32, size: u64, virtual_size: u64, at: u64 },
    /// An alignment that is not a power of two, or is above 2 MiB.
    #[error(
        "section {index}: alignment {alignment} is not a power of two up to 2 MiB, at offset {at:#x}"
    )]
    Alignment { index: u32, alignment: u64, at: u64 },
    /// Sections that together need more memory than the limit.
    #[error(
        "the sections need {total:#x} bytes of memory, more than the limit of {limit:#x}, at offset {at:#x}"
    )]
    VirtualSize { total: u64, limit: u64, at: u64 },
    /// A section index that the table does not have.
    #[error("there is no section {index}; the file has {count}")]
    NoSuchSection { index: u32, count: u32 },
}

/// The reason why a symbol is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SymbolError {
    /// A name that does not lie inside the string table, or is not terminated there.
    #[error(
        "symbol {index}: its name ({offset:#x} into the strings) does not lie inside the strings or is not terminated within 16 KiB, at offset {at:#x}"
    )]
    Name { index: u32, offset: u64, at: u64 },
    /// An undefined symbol type.
    #[error("symbol {index}: unknown type {value}, at offset {at:#x}")]
    Kind { index: u32, value: u8, at: u64 },
    /// An undefined binding.
    #[error("symbol {index}: unknown binding {value}, at offset {at:#x}")]
    Binding { index: u32, value: u8, at: u64 },
    /// A symbol in a section that does not exist.
    #[error(
        "symbol {index}: it lies in section {section}, which does not exist, at offset {at:#x}"
    )]
    Section { index: u32, section: u32, at: u64 },
    /// A symbol whose type implies a section that the file does not have.
    #[error(
        "symbol {index}: it is defined, but the file has no section for symbols of its type, at offset {at:#x}"
    )]
    NoSection { index: u32, at: u64 },
    /// A symbol that does not lie inside its section.
    #[error(
        "symbol {index}: value {value:#x} and size {size:#x} exceed its section, at offset {at:#x}"
    )]
    Outside { index: u32, value: u64, size: u64, at: u64 },
    /// A function in a section of data.
    #[error("symbol {index}: a function in section {section}, which is no code, at offset {at:#x}")]
    FunctionInData { index: u32, section: u32, at: u64 },
    /// A symbol index that the table does not have.
    #[error("there is no symbol {index}; the file has {count}")]
    NoSuchSymbol { index: u32, count: u32 },
}

/// The reason why a relocation is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RelocError {
    /// A relocation section whose size is not a multiple of 24.
    #[error(
        "section {section}: size {size:#x} is not a multiple of the 24 bytes of a relocation, at offset {at:#x}"
    )]
    TableSize { section: u32, size: u64, at: u64 },
    /// A relocation section without a target section.
    #[error(
        "section {section}: its relocations apply to a section that does not exist, at offset {at:#x}"
    )]
    NoTarget { section: u32, at: u64 },
    /// A relocation type that the layout does not define.
    #[error("relocation {index} of section {section}: unknown type {value}, at offset {at:#x}")]
    Kind { section: u32, index: u32, value: u8, at: u64 },
    /// A relocation against a symbol that does not exist.
    #[error(
        "relocation {index} of section {section}: symbol {symbol} does not exist, at offset {at:#x}"
    )]
    Symbol { section: u32, index: u32, symbol: u32, at: u64 },
    /// A relocation that writes outside its target section.
    #[error(
        "relocation {index} of section {section}: its field at {offset:#x} extends outside the section, at offset {at:#x}"
    )]
    Place { section: u32, index: u32, offset: u64, at: u64 },
}

/// The reason why a template section is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TemplateError {
    /// A container that ends inside a template, or states more templates than it holds.
    #[error("template {index} does not lie inside its section, at offset {at:#x}")]
    Truncated { index: u32, at: u64 },
    /// An undefined template kind.
    #[error("template {index}: unknown kind {value}, at offset {at:#x}")]
    Kind { index: u32, value: u8, at: u64 },
    /// A template of a GTPL of version 2 with a field that no record of the Simple compiler has, or bytes behind the last one.
    #[error(
        "template {index}: malformed record of the Simple compiler ({field}), at offset {at:#x}"
    )]
    Record { index: u32, field: &'static str, at: u64 },
    /// A GTPL of an unknown version.
    #[error(
        "the template section is a GTPL of version {version}; this loader reads 1 and 2, at offset {at:#x}"
    )]
    Version { version: u16, at: u64 },
    /// A payload that is neither container.
    #[error("the template section is neither a GTPL nor a counted container, at offset {at:#x}")]
    Container { at: u64 },
    /// Metadata without the magic `META`, or too short for a version and four counts.
    #[error("the template metadata has no magic `META` or is too short, at offset {at:#x}")]
    Meta { at: u64 },
}

/// The reason why note.sdn is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum NoteError {
    /// A note of size 0 without its terminator within the first 1 MiB.
    #[error("note.sdn has size 0 and no line `# END_NOTE` within 1 MiB, at offset {at:#x}")]
    Unterminated { at: u64 },
    /// A note that is not UTF-8.
    #[error("note.sdn is not UTF-8, at offset {at:#x}")]
    Encoding { at: u64 },
    /// A row outside a table, a broken header or a broken string.
    #[error("note.sdn, line {line}: not a table row, at offset {at:#x}")]
    Syntax { line: u32, at: u64 },
    /// A row with more or fewer cells than its table has columns.
    #[error(
        "note.sdn, line {line}: {cells} cells in a table of {columns} columns, at offset {at:#x}"
    )]
    CellCount { line: u32, cells: u32, columns: u32, at: u64 },
    /// A known table without a required column.
    #[error("note.sdn, line {line}: the table has no column `{column}`, at offset {at:#x}")]
    MissingColumn { line: u32, column: &'static str, at: u64 },
}

/// The reason why a library archive is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum LibraryError {
    /// The archive does not begin with `LSMF`.
    #[error("not a library archive: no magic `LSMF`, at offset {at:#x}")]
    NoMagic { at: u64 },
    /// A version other than 1.0.
    #[error(
        "a library archive of version {major}.{minor}; this loader reads 1.0, at offset {at:#x}"
    )]
    Version { major: u8, minor: u8, at: u64 },
    /// A module, or its object, that does not lie inside the archive.
    #[error(
        "module {index}: {size:#x} bytes from {offset:#x} do not lie inside the archive, at offset {at:#x}"
    )]
    ModuleOutside { index: u32, offset: u64, size: u64, at: u64 },
    /// A module with an empty name, or a name that is not UTF-8.
    #[error("module {index}: its name is empty or not UTF-8, at offset {at:#x}")]
    ModuleName { index: u32, at: u64 },
    /// A module whose bytes do not match the hash in the index.
    #[error(
        "module {index}: its hash is 0x{found:016x}, but the index states 0x{expected:016x}, at offset {at:#x}"
    )]
    ModuleHash { index: u32, expected: u64, found: u64, at: u64 },
    /// Modules that together claim more bytes than the archive has.
    #[error(
        "module {index}: the modules up to this one have more bytes than the archive, at offset {at:#x}"
    )]
    ModuleOverlap { index: u32, at: u64 },
    /// An archive whose index, or index and data, do not match the hash in the header.
    #[error(
        "the hash of the archive is 0x{found:016x}, but the header states 0x{expected:016x}, at offset {at:#x}"
    )]
    Hash { expected: u64, found: u64, at: u64 },
}

/// The reason why a section that this project defines is invalid: `.smf.image`, `.smf.code`, `.smf.hash`, `.smf.needed`
/// or `.smf.debugaddr`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ExtensionError {
    /// No magic, another page size, or other bytes than the counts state.
    #[error(
        ".smf.image: missing magic `IMG1` or `RELR`, a page size other than 4096, or other bytes than its counts state, at offset {at:#x}"
    )]
    PrelinkHeader { at: u64 },
    /// A section count other than that of the file.
    #[error(".smf.image states {stated} sections, but the file has {count}, at offset {at:#x}")]
    PrelinkSectionCount { stated: u64, count: u64, at: u64 },
    /// An image offset at which the section must not lie.
    #[error(".smf.image: invalid image offset {offset:#x} of section {index}, at offset {at:#x}")]
    PrelinkSectionOffset { index: u32, offset: u64, at: u64 },
    /// A prelinked section that is not a relocation section, or is out of order.
    #[error(
        ".smf.image: section {index} is not a relocation section or is out of order, at offset {at:#x}"
    )]
    PrelinkNotRelocs { index: u32, at: u64 },
    /// A prelinked relocation whose target bytes do not hold its value.
    #[error(
        "relocation {index} of section {section} is prelinked, but the relocated bytes do not hold its value, at offset {at:#x}"
    )]
    PrelinkValue { section: u32, index: u32, at: u64 },
    /// A relative relocation at a place that it must not have.
    #[error(
        ".smf.image: the relative relocation at image offset {place:#x} is misaligned, out of order, outside the contents of constants and data, or in no relocation section, at offset {at:#x}"
    )]
    PrelinkRelative { place: u64, at: u64 },
    /// A relocation of a section that relative relocations replace, at another place than the next one of them.
    #[error(
        "relocation {index} of section {section} is not at the next place of the relative relocations in .smf.image, at offset {at:#x}"
    )]
    PrelinkPlace { section: u32, index: u32, at: u64 },
    /// No magic.
    #[error(".smf.code does not begin with its magic, at offset {at:#x}")]
    CachedCodeHeader { at: u64 },
    /// A record with an invalid length, hash or relocation.
    #[error(
        "record {index} of .smf.code is damaged: invalid length, hash or relocations, at offset {at:#x}"
    )]
    CachedCodeRecord { index: u32, at: u64 },
    /// Indirect functions without valid slots.
    #[error(
        "the module has indirect functions (IFUNC), which need x86-64 or aarch64 and an uncompressed data section `.igot` of whole, aligned slots of 8 bytes, at offset {at:#x}"
    )]
    IndirectFunctions { at: u64 },
    /// No magic, or fewer bytes than the counts need.
    #[error(
        ".smf.hash: missing magic `HASH`, a bucket count that is not a power of two, or too few bytes for its counts, at offset {at:#x}"
    )]
    HashIndexHeader { at: u64 },
    /// A number of names other than the stated one.
    #[error(".smf.hash states {stated} names, but has {found}, at offset {at:#x}")]
    HashIndexNameCount { stated: u32, found: u64, at: u64 },
    /// A slot that a lookup of its symbol does not find.
    #[error(
        ".smf.hash: a lookup does not find the slot of symbol {symbol}, or the symbol is not exported, at offset {at:#x}"
    )]
    HashIndexSlot { symbol: u32, at: u64 },
    /// An exported symbol that a lookup does not find.
    #[error(
        "symbol {index} is exported, but a lookup of its name in .smf.hash does not find the right symbol, at offset {at:#x}"
    )]
    HashIndexSymbol { index: u32, at: u64 },
    /// No magic, another version, or fewer bytes than the count.
    #[error(
        "section {section}, .smf.needed: missing magic `NEED`, a version other than 1, or too few bytes, at offset {at:#x}"
    )]
    NeededHeader { section: u32, at: u64 },
    /// A number of names other than the stated one.
    #[error(
        "section {section}, .smf.needed states {stated} names, but has {found}, at offset {at:#x}"
    )]
    NeededCount { section: u32, stated: u32, found: u32, at: u64 },
    /// More names than a module may have.
    #[error(
        "section {section}, .smf.needed states {stated} names, more than the {} that a module may need, at offset {at:#x}",
        crate::format::ext::needed::MAX_LIBRARIES
    )]
    NeededTooMany { section: u32, stated: u32, at: u64 },
    /// Bytes behind the last name.
    #[error("section {section}, .smf.needed: bytes behind the last name, at offset {at:#x}")]
    NeededEnd { section: u32, at: u64 },
    /// A name that is not that of a shared library.
    #[error("section {section}, .smf.needed: name {index} {kind}, at offset {at:#x}")]
    NeededName { section: u32, index: u32, kind: NeededNameError, at: u64 },
    /// A malformed note of properties.
    #[error("section {section}, .smf.property: {kind}, at offset {at:#x}")]
    Property { section: u32, kind: PropertyErrorKind, at: u64 },
    /// No magic, or another version.
    #[error(
        "section {section}, fields of debugging information: missing magic or a version other than 1, at offset {at:#x}"
    )]
    DebugAddressesHeader { section: u32, at: u64 },
    /// A list that names no section with debugging information, or none that its fields refer to.
    #[error(
        "section {section}, fields of debugging information: list {index} is truncated, or its sections are not a debug section and one that its fields refer to, at offset {at:#x}"
    )]
    DebugAddressesList { section: u32, index: u32, at: u64 },
    /// A field that is not behind the one before it, or outside its section.
    #[error(
        "section {section}, fields of debugging information: the field at {offset:#x} of list {index} overlaps the one before it or exceeds its section, at offset {at:#x}"
    )]
    DebugAddressesField { section: u32, index: u32, offset: u32, at: u64 },
}

named_enum! {
    /// The reason why notes of properties are malformed.
    PropertyErrorKind {
        /// A note that extends past the end of the section.
        Note = "a property note extends past the end of the section",
        /// A note whose size is not a multiple of eight.
        Size = "the size of a property note is not a multiple of 8",
        /// A property that extends past the end of its note.
        Property = "a property extends past the end of its note",
        /// A property whose value has a number of bytes other than four.
        Value = "the value of a property has a size other than 4 bytes",
    }
}

/// The reason why a name is not that of a needed library.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum NeededNameError {
    /// No bytes.
    #[error("is empty")]
    Empty,
    /// More bytes than a file name has.
    #[error("has {len} bytes, more than the 255 of a file name")]
    Long { len: u64 },
    /// A zero byte.
    #[error("contains a zero byte")]
    Nul,
    /// A slash: libraries are found by name, not by path.
    #[error("contains a slash: a needed library is found by its name, not by a path")]
    Slash,
    /// A name that an earlier entry has.
    #[error("repeats name {first}")]
    Repeated { first: u32 },
}
