//! Errors and warnings of the packer. Each displays as one sentence that names the input it is about.

use std::fmt;

use ::object::elf::RelocationType;
use smf_core::format::FormatError;
use smf_core::format::write::WriteError;
use thiserror::Error;

use super::machine::Machine;

/// An ELF relocation type, which displays as its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RelocType {
    /// The instruction set that defines the number.
    pub machine: Machine,
    /// The ELF relocation type number.
    pub number: u32,
}

impl fmt::Display for RelocType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.machine.reloc_name(RelocationType(self.number)) {
            Some(name) => f.write_str(name),
            None => write!(f, "type {}", self.number),
        }
    }
}

/// A result of the packer.
pub(super) type Result<T, E = PackError> = std::result::Result<T, E>;

/// Why objects cannot be packed into a module. Offsets are in bytes from the start of the input section.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the message of each variant names its fields")]
pub enum PackError {
    /// There is no input, or only archives of which no member is needed.
    #[error("there is nothing to link: no object is given and no archive member is needed")]
    NoObject,
    /// There is neither an exported symbol nor an entry point.
    #[error("the module would be empty: the objects define no exported symbol")]
    NothingExported,
    /// An input is neither an object nor an archive.
    #[error("{object}: not a relocatable ELF object for x86-64 or aarch64 but {found}")]
    NotAnObject { object: String, found: &'static str },
    /// An object's instruction set differs from that of the objects before it.
    #[error("{object}: an object for {machine}, among objects for {others}")]
    OtherMachine { object: String, machine: Machine, others: Machine },
    /// An object is not valid ELF.
    #[error("{object}: {reason}")]
    Broken { object: String, reason: &'static str },
    /// A section is not valid ELF.
    #[error("{object}, section `{section}`: {reason}")]
    BrokenSection { object: String, section: String, reason: &'static str },
    /// A symbol is not valid ELF.
    #[error("{object}, symbol `{symbol}`: {reason}")]
    BrokenSymbol { object: String, symbol: String, reason: &'static str },
    /// An archive refers to its members by path.
    #[error("{archive}: a thin archive holds no objects; give the objects themselves")]
    ThinArchive { archive: String },
    /// An object holds a compiler's intermediate form only.
    #[error(
        "{object}: holds no machine code, only a compiler's intermediate form; compile without -flto"
    )]
    Intermediate { object: String },
    /// Two objects define one name strongly.
    #[error("duplicate definition of `{name}` in {first} and {second}")]
    DuplicateDefinition { name: String, first: String, second: String },
    /// A hidden symbol is undefined.
    #[error("{object}: the hidden symbol `{name}` is defined in no input")]
    UndefinedHidden { name: String, object: String },
    /// A symbol's address is computed by a resolver function at load time.
    #[error("{object}: `{name}` is an indirect function (IFUNC), which a module cannot express")]
    Ifunc { name: String, object: String },
    /// A section holds thread-local storage.
    #[error("{object}, section `{section}`: thread-local storage, which a module cannot express")]
    ThreadLocal { object: String, section: String },
    /// A relocation refers to a thread-local symbol.
    #[error(
        "{object}, section `{section}`: {kind} against the thread-local `{symbol}`, which a module cannot express"
    )]
    ThreadLocalReference { object: String, section: String, kind: RelocType, symbol: String },
    /// A module cannot express a relocation.
    #[error("{object}, section `{section}`: {kind} against `{symbol}` {why}")]
    RelocKind {
        object: String,
        section: String,
        kind: RelocType,
        symbol: String,
        why: &'static str,
    },
    /// A relocation's value is out of range for its field.
    #[error(
        "{object}, section `{section}`: {kind} against `{symbol}` at 0x{offset:x} is out of range"
    )]
    RelocRange { object: String, section: String, kind: RelocType, symbol: String, offset: u64 },
    /// Two relocations change the same bytes; the offset is that of the second one.
    #[error("{object}, section `{section}`: two relocations overlap at 0x{offset:x}")]
    RelocOverlap { object: String, section: String, offset: u64 },
    /// Code starts with the magic number of another format that a code section may hold.
    #[error(
        "{object}, section `{section}`: the code at 0x{offset:x} starts with the magic number of {format}, so that loaders would misread it"
    )]
    CodeMagic { object: String, section: String, offset: u64, format: &'static str },
    /// A relocation refers to something that is not part of the module.
    #[error("{object}, section `{section}`: refers to `{symbol}`, which {why}")]
    RelocTarget { object: String, section: String, symbol: String, why: &'static str },
    /// A section's alignment exceeds a page.
    #[error(
        "{object}, section `{section}`: alignment {alignment} exceeds the maximum of a module, 4096"
    )]
    Alignment { object: String, section: String, alignment: u64 },
    /// A section is both writable and executable.
    #[error("{object}, section `{section}`: writable and executable sections are not supported")]
    WritableCode { object: String, section: String },
    /// A section holds constructors or destructors, which the loader does not run.
    #[error("{object}, section `{section}`: constructors and destructors are not supported")]
    Constructors { object: String, section: String },
    /// The entry point is undefined.
    #[error("the entry point `{name}` is defined in no input")]
    EntryMissing { name: String },
    /// The entry point is not in code.
    #[error("the entry point `{name}` is not a function")]
    EntryNotCode { name: String },
    /// The module exceeds the range of its own 32-bit distances.
    #[error("the module would take 2 GiB or more, out of range of 32-bit distances")]
    TooLarge,
    /// The wire format cannot express the module.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The finished module fails verification.
    #[error("the module would be malformed: {0} of the module")]
    Unsound(#[source] FormatError),
    /// The stub contains a module header, which readers would find first.
    #[error("the stub contains a module header, which readers would find first")]
    ReadDifferently,
}

/// A remark about a module that could be written.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the message of each variant names its fields")]
pub enum PackWarning {
    /// The native layout has one data section, and it is writable.
    #[error(
        "the native layout has one data section: {bytes} bytes of read-only data become writable"
    )]
    ReadOnlyDataWritable { bytes: u64 },
    /// An archive member cannot be linked, and no object needs it so far.
    #[error("{member} is ignored: {reason}")]
    IgnoredMember { member: String, reason: String },
    /// Code refers to another module's data by a 32-bit distance.
    #[error(
        "{object}, section `{section}`: refers to the import `{symbol}` by a 32-bit distance, so that both modules have to lie within 2 GiB; compile with -fPIC"
    )]
    NearImport { object: String, section: String, symbol: String },
    /// A 32-bit field holds an address.
    #[error(
        "{object}, section `{section}`: holds 32-bit addresses and has to be placed below 2 GiB; compile with -fPIC"
    )]
    LowAddress { object: String, section: String },
    /// An exported symbol is absolute.
    #[error("`{name}` is an absolute symbol and is not exported")]
    AbsoluteNotExported { name: String },
    /// A function with a phase shares its section with other functions.
    #[error(
        "{object}, section `{section}`: `{name}` has a phase but shares the section with other functions and stays there; compile with -ffunction-sections"
    )]
    PhaseShared { object: String, section: String, name: String },
    /// A phase is given for a function that the module does not contain.
    #[error("`{name}` has a phase, but the module has no function of that name")]
    PhaseUnused { name: String },
    /// An object catches exceptions.
    #[error(
        "{object}: catches exceptions, but a module has no unwinding tables: an exception ends the process"
    )]
    NoUnwinding { object: String },
}
