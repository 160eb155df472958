//! Why objects cannot be packed, and what a packer should be told although they can.
//!
//! A person at a command line reads these, so they own the names they have to name. Each displays as
//! one sentence.

use std::fmt;

use smf_core::format::FormatError;
use smf_core::format::write::WriteError;

use super::machine::Machine;

/// A relocation type of ELF, which displays as its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RelocType {
    /// The instruction set, without which the number means nothing.
    pub machine: Machine,
    /// As the object has it.
    pub number: u32,
}

impl fmt::Display for RelocType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.machine.reloc_name(self.number) {
            Some(name) => f.write_str(name),
            None => write!(f, "type {}", self.number),
        }
    }
}

/// Why objects cannot be packed into a module.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the fields are what the sentence of each variant shows")]
pub enum PackError {
    /// No input at all, or archives of which nothing is wanted.
    NoObject,
    /// No exported symbol and no entry: the module would be empty.
    NothingExported,
    /// An input that is something else than an object or an archive.
    NotAnObject { object: String, found: &'static str },
    /// An object for another instruction set than those before it.
    OtherMachine { object: String, machine: Machine, others: Machine },
    /// An object that breaks the rules of ELF.
    Broken { object: String, reason: &'static str },
    /// A section that breaks them.
    BrokenSection { object: String, section: String, reason: &'static str },
    /// A symbol that breaks them.
    BrokenSymbol { object: String, symbol: String, reason: &'static str },
    /// An archive that only names its members' files.
    ThinArchive { archive: String },
    /// An object that holds only what a compiler keeps for itself.
    Intermediate { object: String },
    /// Two strong definitions.
    DuplicateDefinition { name: String, first: String, second: String },
    /// A symbol that must be defined within the module, and is not.
    UndefinedHidden { name: String, object: String },
    /// A symbol whose address a function finds at load time.
    Ifunc { name: String, object: String },
    /// A section that each thread has of its own.
    ThreadLocal { object: String, section: String },
    /// A reference to a symbol that each thread has of its own.
    ThreadLocalReference { object: String, section: String, kind: RelocType, symbol: String },
    /// A relocation that a module cannot express.
    RelocKind {
        object: String,
        section: String,
        kind: RelocType,
        symbol: String,
        why: &'static str,
    },
    /// A relocation whose value does not fit its place.
    RelocRange { object: String, section: String, kind: RelocType, symbol: String, offset: u64 },
    /// Two relocations that change the same bytes; where the second one is.
    RelocOverlap { object: String, section: String, offset: u64 },
    /// Code that begins like another format that a code section may hold.
    CodeMagic { object: String, section: String, offset: u64, format: &'static str },
    /// A relocation against something that is not part of the module.
    RelocTarget { object: String, section: String, symbol: String, why: &'static str },
    /// A section that wants to be aligned to more than a page.
    Alignment { object: String, section: String, alignment: u64 },
    /// A section that is both writable and executable.
    WritableCode { object: String, section: String },
    /// Functions that somebody would have to call when the module is loaded or unloaded.
    Constructors { object: String, section: String },
    /// The entry is defined nowhere.
    EntryMissing { name: String },
    /// The entry is no code.
    EntryNotCode { name: String },
    /// The module would take 2 GiB or more, out of the reach of its own code.
    TooLarge,
    /// The layout cannot say what the module is.
    Write(WriteError),
    /// The finished module does not pass what `smf verify` checks.
    Unsound(FormatError),
    /// Readers would not find the module where it is, because what stands before it looks like a part of one.
    ReadDifferently,
}

impl fmt::Display for PackError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use PackError as E;
        match self {
            E::NoObject => {
                f.write_str("there is nothing to link: no object is given and nothing asks for a member of an archive")
            }
            E::NothingExported => {
                f.write_str("the module would be empty: the objects define no symbol that is visible outside")
            }
            E::NotAnObject { object, found } => {
                write!(f, "{object}: not a relocatable ELF object for x86-64 or aarch64 but {found}")
            }
            E::OtherMachine { object, machine, others } => {
                write!(f, "{object}: an object for {machine}, among objects for {others}")
            }
            E::Broken { object, reason } => write!(f, "{object}: {reason}"),
            E::BrokenSection { object, section, reason } => {
                write!(f, "{object}, section `{section}`: {reason}")
            }
            E::BrokenSymbol { object, symbol, reason } => {
                write!(f, "{object}, symbol `{symbol}`: {reason}")
            }
            E::ThinArchive { archive } => {
                write!(f, "{archive}: a thin archive holds no objects; give the objects themselves")
            }
            E::Intermediate { object } => write!(
                f,
                "{object}: holds no machine code, only a compiler's intermediate form; compile without -flto"
            ),
            E::DuplicateDefinition { name, first, second } => {
                write!(f, "duplicate definition of `{name}` in {first} and {second}")
            }
            E::UndefinedHidden { name, object } => {
                write!(f, "{object}: the hidden symbol `{name}` is defined in no input")
            }
            E::Ifunc { name, object } => write!(
                f,
                "{object}: `{name}` is an indirect function (IFUNC), which a module cannot express"
            ),
            E::ThreadLocal { object, section } => write!(
                f,
                "{object}, section `{section}`: thread-local storage, which a module cannot express"
            ),
            E::ThreadLocalReference { object, section, kind, symbol } => write!(
                f,
                "{object}, section `{section}`: {kind} against the thread-local `{symbol}`, which a module cannot express"
            ),
            E::RelocKind { object, section, kind, symbol, why } => {
                write!(f, "{object}, section `{section}`: {kind} against `{symbol}` {why}")
            }
            E::RelocRange { object, section, kind, symbol, offset } => write!(
                f,
                "{object}, section `{section}`: {kind} against `{symbol}` at 0x{offset:x} does not fit its place"
            ),
            E::RelocOverlap { object, section, offset } => write!(
                f,
                "{object}, section `{section}`: two relocations overlap at 0x{offset:x}"
            ),
            E::CodeMagic { object, section, offset, format } => write!(
                f,
                "{object}, section `{section}`: its code begins at 0x{offset:x} with the bytes that mark {format}, which readers would take it for"
            ),
            E::RelocTarget { object, section, symbol, why } => {
                write!(f, "{object}, section `{section}`: refers to `{symbol}`, which {why}")
            }
            E::Alignment { object, section, alignment } => write!(
                f,
                "{object}, section `{section}`: alignment {alignment} is more than a module can ask for, which is 4096"
            ),
            E::WritableCode { object, section } => write!(
                f,
                "{object}, section `{section}`: writable and executable at once, which no module may be"
            ),
            E::Constructors { object, section } => write!(
                f,
                "{object}, section `{section}`: functions to run at load or unload, and nobody would run them"
            ),
            E::EntryMissing { name } => write!(f, "the entry `{name}` is defined in no input"),
            E::EntryNotCode { name } => write!(f, "the entry `{name}` is not a function"),
            E::TooLarge => {
                f.write_str("the module would take 2 GiB or more, out of the reach of its own code")
            }
            E::Write(error) => error.fmt(f),
            E::Unsound(error) => write!(f, "the module would not be sound: {error} of the module"),
            E::ReadDifferently => f.write_str(
                "readers would take the stub for a part of the module: it holds a header of one",
            ),
        }
    }
}

impl std::error::Error for PackError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            PackError::Write(error) => Some(error),
            PackError::Unsound(error) => Some(error),
            _ => None,
        }
    }
}

impl From<WriteError> for PackError {
    fn from(error: WriteError) -> Self {
        PackError::Write(error)
    }
}

/// What a packer should be told although the module could be written.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the fields are what the sentence of each variant shows")]
pub enum PackWarning {
    /// The native layout has one data section, and it is writable.
    ReadOnlyDataWritable { bytes: u64 },
    /// An archive's member that cannot be linked, and that nothing has asked for yet.
    IgnoredMember { member: String, reason: String },
    /// Data of another module reached at a distance.
    NearImport { object: String, section: String, symbol: String },
    /// An address that must fit 32 bits.
    LowAddress { object: String, section: String },
    /// An exported symbol that is a number and not a place.
    AbsoluteNotExported { name: String },
    /// A function that cannot lie where its phase wants it, because it shares its section.
    PhaseShared { object: String, section: String, name: String },
    /// A phase for a function that is in no object that is needed.
    PhaseUnused { name: String },
    /// Code that catches exceptions.
    NoUnwinding { object: String },
}

impl fmt::Display for PackWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use PackWarning as W;
        match self {
            W::ReadOnlyDataWritable { bytes } => write!(
                f,
                "the native layout has one data section: {bytes} bytes of read-only data become writable"
            ),
            W::IgnoredMember { member, reason } => write!(f, "{member} is ignored: {reason}"),
            W::NearImport { object, section, symbol } => write!(
                f,
                "{object}, section `{section}`: reaches `{symbol}` of another module at a distance and will only load near it; compile with -fPIC"
            ),
            W::LowAddress { object, section } => write!(
                f,
                "{object}, section `{section}`: holds 32-bit addresses and has to be placed below 2 GiB; compile with -fPIC"
            ),
            W::AbsoluteNotExported { name } => {
                write!(f, "`{name}` is an absolute symbol and is not exported")
            }
            W::PhaseShared { object, section, name } => write!(
                f,
                "{object}, section `{section}`: `{name}` has a phase and shares the section with other functions, so that it stays with them; compile with -ffunction-sections"
            ),
            W::PhaseUnused { name } => {
                write!(f, "`{name}` has a phase, and the module has no function of that name")
            }
            W::NoUnwinding { object } => write!(
                f,
                "{object}: catches exceptions, but a module has no unwinding tables: an exception ends the process"
            ),
        }
    }
}
