//! The part of a shared object that an error is about, and what is wrong with it.

use core::fmt;

use crate::format::wire::elf_tag::Tag;

/// The part of a shared object that an error is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SharedObjectPart {
    /// The file header, or the object as a whole.
    Object,
    /// The program header with this number.
    Segment(u32),
    /// The dynamic section.
    Dynamic,
    /// The entry of the dynamic section with this tag, or the table that it refers to.
    Entry(Tag),
    /// The symbol with this number.
    Symbol(u32),
    /// A relocation in the table of this tag.
    Relocation(Tag),
    /// A record of needed versions (`DT_VERNEED`).
    NeededVersion,
    /// A record of defined versions (`DT_VERDEF`).
    DefinedVersion,
}

impl fmt::Display for SharedObjectPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Object => f.write_str("the shared object"),
            Self::Segment(index) => write!(f, "program header {index} of the shared object"),
            Self::Dynamic => f.write_str("the dynamic section of the shared object"),
            Self::Entry(tag) => write!(f, "{tag} of the shared object"),
            Self::Symbol(index) => write!(f, "dynamic symbol {index} of the shared object"),
            Self::Relocation(tag) => write!(f, "a relocation in {tag} of the shared object"),
            Self::NeededVersion => f.write_str("a version that the shared object needs"),
            Self::DefinedVersion => f.write_str("a version that the shared object defines"),
        }
    }
}

/// Why a shared object is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the fields are what the sentence of each variant shows")]
pub enum SharedObjectErrorKind {
    /// Shorter than its file header.
    CutOff,
    /// A class, byte order or version that ELF does not define.
    Ident,
    /// Another type of ELF file.
    Type { value: u16 },
    /// A program header table of entries of another size, outside the file, or with too many entries.
    ProgramHeaders,
    /// A program header table in memory that is not the one in the file.
    ProgramHeadersInMemory,
    /// No segment of this kind.
    NoSegment { kind: &'static str },
    /// A second segment of a kind of which there is one.
    SecondSegment,
    /// Bytes outside the file.
    OutsideFile,
    /// Bytes that no readable segment loads from the file.
    NotLoaded,
    /// Bytes outside the memory of the writable segments.
    NotWritable,
    /// An address outside the executable segments.
    NotExecutable { address: u64 },
    /// More bytes in the file than in memory.
    FileSize,
    /// Memory behind the last address, or more of it than the limit.
    MemorySize { size: u64, limit: u64 },
    /// An alignment that is not a power of two or is above the limit.
    Alignment { value: u64 },
    /// An address that is not a multiple of the size of what lies there.
    Misaligned { address: u64 },
    /// A file offset that does not belong to the address.
    Offset { offset: u64, address: u64 },
    /// A segment that begins before the page behind the previous one.
    Order,
    /// A segment that is writable and executable.
    WriteAndExecute,
    /// Zeroes behind the bytes of a segment that is not writable.
    ZeroesNotWritable,
    /// A stack that must be executable.
    ExecutableStack,
    /// Relocations that need writable code.
    TextRelocations,
    /// A note that does not end inside its segment.
    Note,
    /// A second entry with a tag of which there is one.
    SecondEntry,
    /// A table that shares bytes with another one.
    TablesOverlap,
    /// A segment that shares bytes of the file with another one.
    SegmentsOverlap,
    /// No entry with this tag, which another entry needs.
    Missing { tag: Tag },
    /// A table or a text without an end.
    Unterminated,
    /// Entries of another size.
    EntrySize { value: u64 },
    /// A size that is not a multiple of the entry size.
    PartialEntry { size: u64 },
    /// A value that the format does not define.
    Value { value: u64 },
    /// A string outside the string table.
    String { offset: u64 },
    /// Names of libraries and search paths with more bytes than the limit.
    StringsTooLong { limit: u64 },
    /// A hash table without buckets, or with a Bloom filter that is not a power of two in words.
    HashHeader,
    /// A hash bucket below the first hashed symbol.
    Bucket { symbol: u32 },
    /// A hash chain that leaves its table, has no end, or meets another one.
    Chain,
    /// A chain of version records with more records than fit in the segment.
    VersionChain,
    /// A version index that no record has.
    VersionIndex { index: u16 },
    /// A version of a file that is not among those that are needed.
    VersionFile,
    /// A symbol that its object does not have.
    SymbolIndex { index: u64 },
    /// A symbol whose address is in no segment.
    SymbolAddress { address: u64 },
    /// A relocation type that cannot be applied at load time.
    RelocationType { value: u32 },
    /// A relocation by a symbol that is neither defined nor looked up in other libraries.
    Undefined,
    /// A thread-local relocation of something else, or the reverse.
    ThreadLocal,
    /// A relocation of the size of a weak symbol.
    WeakSize,
    /// A relocation whose place holds a table that the loader reads.
    OverTable { address: u64 },
    /// An array of functions with entries that no relocation fills in.
    FunctionArray { entries: u64, relocated: u64 },
    /// Two arrays of functions that overlap.
    ArraysOverlap,
}

impl fmt::Display for SharedObjectErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use SharedObjectErrorKind as K;
        match *self {
            K::Type { value } => write!(f, "is an ELF file of type {value}, not 3 (shared object)"),
            K::NoSegment { kind } => write!(f, "has no segment {kind}"),
            K::NotExecutable { address } => {
                write!(f, "refers to code at 0x{address:x}, outside the executable segments")
            }
            K::MemorySize { size, limit } => {
                write!(f, "needs 0x{size:x} bytes of memory, more than the limit of 0x{limit:x}")
            }
            K::Alignment { value } => {
                write!(f, "has the alignment 0x{value:x}, which is no power of two up to the limit")
            }
            K::Misaligned { address } => write!(f, "lies at the misaligned address 0x{address:x}"),
            K::Offset { offset, address } => write!(
                f,
                "has the file offset 0x{offset:x}, which does not belong to its address 0x{address:x}"
            ),
            K::Missing { tag } => write!(f, "has no entry {tag}"),
            K::EntrySize { value } => write!(f, "states {value} bytes an entry"),
            K::PartialEntry { size } => {
                write!(f, "has 0x{size:x} bytes, which is no whole number of entries")
            }
            K::Value { value } => write!(f, "has the undefined value 0x{value:x}"),
            K::String { offset } => {
                write!(f, "has its name at 0x{offset:x}, outside the string table")
            }
            K::StringsTooLong { limit } => {
                write!(f, "names libraries and search paths with more than {limit} bytes in all")
            }
            K::Bucket { symbol } => {
                write!(f, "has a bucket for symbol {symbol}, below its first symbol")
            }
            K::VersionIndex { index } => {
                write!(f, "has the version index {index}, which no version record has")
            }
            K::SymbolIndex { index } => {
                write!(f, "refers to symbol {index}, outside the symbol table")
            }
            K::SymbolAddress { address } => {
                write!(f, "is defined at 0x{address:x}, outside every segment")
            }
            K::RelocationType { value } => {
                write!(f, "has the type {value}, which cannot be applied at load time")
            }
            K::OverTable { address } => {
                write!(
                    f,
                    "changes a table that the system's loader reads, at address 0x{address:x}"
                )
            }
            K::FunctionArray { entries, relocated } => {
                write!(f, "has {entries} functions, and relocations fill in {relocated} of them")
            }
            fixed => f.write_str(sentence(fixed)),
        }
    }
}

/// The errors without a number.
fn sentence(kind: SharedObjectErrorKind) -> &'static str {
    use SharedObjectErrorKind as K;
    match kind {
        K::CutOff => "is shorter than its file header",
        K::Ident => "has a class, byte order or version that ELF does not define",
        K::ProgramHeaders => {
            "has program headers of another size, outside the file, or more than 64 of them"
        }
        K::ProgramHeadersInMemory => {
            "loads other bytes than its program headers where the system's loader looks for them"
        }
        K::SecondSegment => "is the second segment of a kind that occurs once",
        K::SecondEntry => "is the second entry of a kind that occurs once",
        K::TablesOverlap => "shares bytes with another table",
        K::SegmentsOverlap => "shares bytes of the file with another segment",
        K::Undefined => "refers to a symbol that is neither defined nor looked up elsewhere",
        K::OutsideFile => "does not lie inside the file",
        K::NotLoaded => "does not lie inside the bytes that a readable segment loads from the file",
        K::NotWritable => "does not lie inside a writable segment",
        K::FileSize => "has more bytes in the file than in memory",
        K::Order => "begins before the page behind the previous segment",
        K::WriteAndExecute => "wants to be written and executed, which no memory may be",
        K::ZeroesNotWritable => "ends with zeroes and is not writable",
        K::ExecutableStack => {
            "makes the stacks of the process executable; link it with `-z noexecstack`"
        }
        K::TextRelocations => {
            "has relocations that make its code writable; compile it with `-fPIC`"
        }
        K::Note => "has a note that does not end inside it",
        K::Unterminated => "has no end",
        K::HashHeader => "has no buckets, or a filter or shift that is impossible",
        K::Chain => "has a chain that leaves the table, has no end or meets another one",
        K::VersionChain => "leaves its segment or meets another record",
        K::VersionFile => "belongs to a library that is not among the needed ones",
        K::ThreadLocal => "is thread-local, and its counterpart is not",
        K::WeakSize => "uses the size of a weak symbol",
        K::ArraysOverlap => "overlaps another array of functions",
        _ => "is not as ELF defines it",
    }
}
