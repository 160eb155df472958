//! Errors in shared objects.

use thiserror::Error;

use crate::format::wire::elf_tag::Tag;

/// The part of a shared object that an error is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SharedObjectPart {
    /// The file header, or the object as a whole.
    #[error("the shared object")]
    Object,
    /// The program header with this number.
    #[error("program header {0} of the shared object")]
    Segment(u32),
    /// The dynamic section.
    #[error("the dynamic section of the shared object")]
    Dynamic,
    /// The entry of the dynamic section with this tag, or the table that it refers to.
    #[error("{0} of the shared object")]
    Entry(Tag),
    /// The symbol with this number.
    #[error("dynamic symbol {0} of the shared object")]
    Symbol(u32),
    /// A relocation in the table of this tag.
    #[error("a relocation in {0} of the shared object")]
    Relocation(Tag),
    /// A record of needed versions (`DT_VERNEED`).
    #[error("a version that the shared object needs")]
    NeededVersion,
    /// A record of defined versions (`DT_VERDEF`).
    #[error("a version that the shared object defines")]
    DefinedVersion,
}

/// The error of a refused shared object. It reads: `part` `kind`, at offset `at` of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{part} {kind}, at offset {at:#x}")]
pub struct SharedObjectError {
    /// The part that the error is about.
    pub part: SharedObjectPart,
    /// The problem.
    pub kind: SharedObjectErrorKind,
    /// The offset of the part in the file, in bytes.
    pub at: u64,
}

/// The reason why a part of a shared object is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SharedObjectErrorKind {
    /// Shorter than its file header.
    #[error("is shorter than its file header")]
    CutOff,
    /// A class, byte order or version that ELF does not define.
    #[error("has a class, byte order or version that ELF does not define")]
    Ident,
    /// An ELF file of another type.
    #[error("is an ELF file of type {value}, not 3 (shared object)")]
    Type { value: u16 },
    /// Program headers of another size, outside the file, or too many of them.
    #[error(
        "has program headers of an unsupported size, outside the file, or more than 64 of them"
    )]
    ProgramHeaders,
    /// Program headers in memory other than those in the file.
    #[error("does not load its program headers where the system's loader reads them")]
    ProgramHeadersInMemory,
    /// No segment of this kind.
    #[error("has no segment {kind}")]
    NoSegment { kind: &'static str },
    /// A second segment of a kind that must occur once.
    #[error("is the second segment of a kind that occurs once")]
    SecondSegment,
    /// Bytes outside the file.
    #[error("does not lie inside the file")]
    OutsideFile,
    /// Bytes that no readable segment loads from the file.
    #[error("does not lie inside the bytes that a readable segment loads from the file")]
    NotLoaded,
    /// Bytes outside the memory of the writable segments.
    #[error("does not lie inside a writable segment")]
    NotWritable,
    /// An address outside the executable segments.
    #[error("refers to code at {address:#x}, outside the executable segments")]
    NotExecutable { address: u64 },
    /// More bytes in the file than in memory.
    #[error("has more bytes in the file than in memory")]
    FileSize,
    /// Memory beyond the last address, or more than the limit.
    #[error("needs {size:#x} bytes of memory, more than the limit of {limit:#x}")]
    MemorySize { size: u64, limit: u64 },
    /// An alignment that is not a power of two or is above the limit.
    #[error("has the alignment {value:#x}, which is not a power of two up to the limit")]
    Alignment { value: u64 },
    /// An address that is not a multiple of the alignment of its contents.
    #[error("lies at the misaligned address {address:#x}")]
    Misaligned { address: u64 },
    /// A file offset that is not congruent to the address.
    #[error("has the file offset {offset:#x}, which does not match its address {address:#x}")]
    Offset { offset: u64, address: u64 },
    /// A segment that starts before the page after the previous segment.
    #[error("begins before the page after the previous segment")]
    Order,
    /// A segment that is writable and executable.
    #[error("is writable and executable, which is not allowed")]
    WriteAndExecute,
    /// Zero-filled memory at the end of a segment that is not writable.
    #[error("ends with zeroes and is not writable")]
    ZeroesNotWritable,
    /// A program header that makes the stack executable.
    #[error("makes the stacks of the process executable; link it with `-z noexecstack`")]
    ExecutableStack,
    /// Relocations that need writable code.
    #[error("has relocations that make its code writable; compile it with `-fPIC`")]
    TextRelocations,
    /// A note that does not end inside its segment.
    #[error("has a note that does not end inside it")]
    Note,
    /// A second entry with a tag that must occur once.
    #[error("is the second entry of a kind that occurs once")]
    SecondEntry,
    /// A table that shares bytes with another table.
    #[error("shares bytes with another table")]
    TablesOverlap,
    /// A segment that shares bytes of the file with another segment.
    #[error("shares bytes of the file with another segment")]
    SegmentsOverlap,
    /// No entry with this tag, which another entry requires.
    #[error("has no entry {tag}")]
    Missing { tag: Tag },
    /// A table or string without a terminator.
    #[error("has no end")]
    Unterminated,
    /// A wrong entry size.
    #[error("has the wrong entry size {value}")]
    EntrySize { value: u64 },
    /// A size that is not a multiple of the entry size.
    #[error("has {size:#x} bytes, which is not a multiple of the entry size")]
    PartialEntry { size: u64 },
    /// A value that the format does not define.
    #[error("has the undefined value {value:#x}")]
    Value { value: u64 },
    /// A string outside the string table.
    #[error("has its name at {offset:#x}, outside the string table")]
    String { offset: u64 },
    /// Names of libraries and search paths with more bytes than the limit.
    #[error("names libraries and search paths with more than {limit} bytes in all")]
    StringsTooLong { limit: u64 },
    /// A hash table without buckets, or one whose Bloom filter has a number of words that is not a power of two.
    #[error("has no buckets, or an invalid Bloom filter size or shift")]
    HashHeader,
    /// A hash bucket below the first hashed symbol.
    #[error("has a bucket for symbol {symbol}, below its first symbol")]
    Bucket { symbol: u32 },
    /// A hash chain that leaves its table, has no end, or joins another chain.
    #[error("has a chain that leaves the table, has no end or joins another one")]
    Chain,
    /// A chain of version records with more records than fit in the segment.
    #[error("leaves its segment or overlaps another record")]
    VersionChain,
    /// A version index without a record.
    #[error("has the version index {index}, which no version record has")]
    VersionIndex { index: u16 },
    /// A version of a library that is not needed.
    #[error("belongs to a library that is not among the needed ones")]
    VersionFile,
    /// A symbol that its object does not have.
    #[error("refers to symbol {index}, outside the symbol table")]
    SymbolIndex { index: u64 },
    /// A symbol whose address lies in no segment.
    #[error("is defined at {address:#x}, outside every segment")]
    SymbolAddress { address: u64 },
    /// A relocation type that cannot be applied at load time.
    #[error("has the type {value}, which cannot be applied at load time")]
    RelocationType { value: u32 },
    /// A relocation against a symbol that is undefined and not looked up in other libraries.
    #[error("refers to a symbol that is neither defined nor looked up elsewhere")]
    Undefined,
    /// A thread-local relocation against a symbol that is not thread-local, or the reverse.
    #[error("is thread-local and its symbol is not, or the reverse")]
    ThreadLocal,
    /// A relocation to the size of a weak symbol.
    #[error("uses the size of a weak symbol")]
    WeakSize,
    /// A relocation that writes to a table that the loader reads.
    #[error("changes a table that the system's loader reads, at address {address:#x}")]
    OverTable { address: u64 },
    /// A function array with entries that no relocation fills in.
    #[error("has {entries} functions, and relocations fill in {relocated} of them")]
    FunctionArray { entries: u64, relocated: u64 },
    /// Two function arrays that overlap.
    #[error("overlaps another array of functions")]
    ArraysOverlap,
}
