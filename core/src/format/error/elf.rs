//! What of an ELF object is not as it must be, or is what no module can have.

use core::fmt;

/// What an [`ElfErrorKind`] speaks of.
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

/// Why an ELF object, or a part of it, is not one that can be linked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the fields are what the sentence of each variant shows")]
pub enum ElfErrorKind {
    /// Any object, where size matters more than that they can be linked.
    NotBuilt,
    /// Shorter than its header.
    CutOff,
    /// Of 32 bits, big-endian, or of another version.
    Ident,
    /// An executable, a shared object, a core file.
    Type { value: u16 },
    /// For another machine than the module, or for one that objects cannot be linked for.
    Machine { value: u16 },
    /// A section table that is not inside, or that is counted elsewhere than in the header.
    SectionTable,
    /// No table with the names of sections.
    NoNames,
    /// A part that is not inside the object, or has no name in its table of names.
    Outside,
    /// Sections that together hold more bytes than the object.
    Overlap,
    /// An alignment that is not a power of two, or is above 4096.
    Alignment { value: u64 },
    /// Thread-local data.
    ThreadLocal,
    /// Functions that are to be run when the object is loaded or unloaded.
    Constructors,
    /// A section that wants to be written and executed.
    WriteAndExecute,
    /// A section without bytes in the file that is to be executed.
    ZeroCode,
    /// A compressed section that is to be loaded.
    Compressed,
    /// Relocations that have their addends elsewhere.
    NoAddends,
    /// Relocations that are not whole, or for a section or of a symbol table that is not there.
    Relocs,
    /// A symbol table that is not whole, has no names, or is the second one.
    SymbolTable,
    /// A function that is to be called for an address.
    IndirectFunction,
    /// A symbol in a section that does not exist.
    SymbolSection { value: u16 },
    /// A type that means nothing here.
    SymbolType { value: u8 },
    /// A binding that means nothing here.
    SymbolBinding { value: u8 },
}

impl fmt::Display for ElfErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match *self {
            ElfErrorKind::NotBuilt => {
                "cannot be linked, because this loader is built without the feature `all-files` of smf-core"
            }
            ElfErrorKind::CutOff => "is shorter than its header",
            ElfErrorKind::Ident => "is not of 64 bits, little-endian and of version 1",
            ElfErrorKind::Type { value } => {
                return write!(f, "is of type {value} and not relocatable (type 1)");
            }
            ElfErrorKind::Machine { value } => {
                return write!(
                    f,
                    "is for machine {value}, and must be for that of the module: x86-64 (62) or aarch64 (183)"
                );
            }
            ElfErrorKind::SectionTable => {
                "has a section table that is not inside it or not counted in its header"
            }
            ElfErrorKind::NoNames => "has no table with the names of its sections",
            ElfErrorKind::Outside => "does not lie inside it, or has no name there",
            ElfErrorKind::Overlap => "overlaps others: together they hold more bytes than the object",
            ElfErrorKind::Alignment { value } => {
                return write!(f, "wants the alignment {value}, no power of two up to 4096");
            }
            ElfErrorKind::ThreadLocal => "is thread-local, which nothing in a module can be",
            ElfErrorKind::Constructors => {
                "lists functions to be run when it is loaded or unloaded, which no module has"
            }
            ElfErrorKind::WriteAndExecute => "wants to be written and executed, which no memory may be",
            ElfErrorKind::ZeroCode => "is to be executed and has no bytes in the file",
            ElfErrorKind::Compressed => "is compressed and is to be loaded",
            ElfErrorKind::NoAddends => "holds relocations without addends, in another form than RELA",
            ElfErrorKind::Relocs => {
                "holds no whole relocations, or they apply to no section or no symbol table"
            }
            ElfErrorKind::SymbolTable => "is a symbol table without whole entries or names, or a second",
            ElfErrorKind::IndirectFunction => {
                "is a function that chooses an address at load time (IFUNC), which no module has"
            }
            ElfErrorKind::SymbolSection { value } => {
                return write!(f, "lies in section 0x{value:x}, which does not exist");
            }
            ElfErrorKind::SymbolType { value } => return write!(f, "has the unknown type {value}"),
            ElfErrorKind::SymbolBinding { value } => {
                return write!(f, "has the unknown binding {value}");
            }
        })
    }
}
