//! Errors and warnings of the packer. Each displays as one sentence that names the input it is about.

use hashbrown::HashSet;
use std::fmt;

use ::object::elf::RelocationType;
use smf_core::format::error::NeededNameError;
use smf_core::format::write::WriteError;
use smf_core::format::{FormatError, RelocKind};
use thiserror::Error;

use super::machine::Machine;
use crate::import_types::MismatchedImport;

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

/// Why objects cannot be packed into a module. A `place` is an object and a section of it. Offsets are in bytes from
/// the start of the input section.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the message of each variant names its fields")]
pub enum PackError {
    /// There is no input, or only archives of which no member is needed.
    #[error("there is nothing to link: no object is given and no archive member is needed")]
    NoObject,
    /// No archive member can be linked.
    #[error("there is nothing to link: no member of the archive can be linked; {reason}{}", and_more(*.ignored))]
    NoMember { ignored: usize, reason: String },
    /// There is neither an exported symbol nor an entry point.
    #[error("the module would be empty: the objects define no exported symbol")]
    NothingExported,
    /// There is no entry point, and all symbols are hidden.
    #[error(
        "the module would be empty: all {hidden} symbols that the objects define, such as `{first}`, are hidden; export some of them by name (--export) or all of them (--export-all)"
    )]
    AllHidden { hidden: usize, first: String },
    /// A symbol to export is undefined.
    #[error("the symbol `{name}` is to be exported but is defined in no input")]
    ExportMissing { name: String },
    /// Several constructs that a module cannot express, in the order in which they were found.
    #[error("{}", lines(.0))]
    Several(Vec<PackError>),
    /// An input is neither an object nor an archive.
    #[error("{object}: not a relocatable ELF object for x86-64 or aarch64 but {found}")]
    NotAnObject { object: String, found: &'static str },
    /// An object's instruction set differs from that of the objects before it.
    #[error("{object}: an object for {machine}, among objects for {others} such as {first}")]
    OtherMachine { object: String, machine: Machine, first: String, others: Machine },
    /// A malformed module.
    #[error("{module}: {error}")]
    Module { module: String, error: FormatError },
    /// A module that cannot be linked into another one.
    #[error("{module}: the module {why}")]
    ModuleRefused { module: String, why: &'static str },
    /// A relocation of a module that an object cannot express.
    #[error(
        "{module}, section `{section}`: the relocation {kind} at 0x{offset:x} cannot be linked again"
    )]
    ModuleReloc { module: String, section: String, kind: RelocKind, offset: u64 },
    /// Modules that contradict each other.
    #[error("{first} and {second} {why}")]
    ModulesConflict { first: String, second: String, why: &'static str },
    /// An import that a module declares with other types than another one defines.
    #[error(transparent)]
    ImportTypes(#[from] MismatchedImport),
    /// Two templates of one name.
    #[error(
        "the template `{template}` differs in {first} and {second}: its source states the declarations that it may refer to; move it to a file of generic functions that the sources of both `use`"
    )]
    TemplatesDiffer { template: String, first: String, second: String },
    /// Two possible instances of one name.
    #[error("{first} and {second} list `{symbol}` as possible for different templates or types")]
    PossibleDiffers { symbol: String, first: String, second: String },
    /// An instance of a template that cannot be compiled.
    #[error(
        "{module}: the instance `{symbol}` cannot be compiled: {why}; it may be left to the loader (--defer)"
    )]
    Instance { symbol: String, module: String, why: String },
    /// Instances that require each other deeper than the loader makes them.
    #[error(
        "{module}: the instance `{symbol}` cannot be compiled: instances require each other more than {max_depth} deep"
    )]
    InstanceDepth { symbol: String, module: String, max_depth: u32 },
    /// An object is not valid ELF.
    #[error("{object}: {reason}")]
    Broken { object: String, reason: &'static str },
    /// A section is not valid ELF, or a module cannot express it.
    #[error("{place}: {reason}")]
    Section { place: String, reason: &'static str },
    /// The contents of a section are malformed.
    #[error("{place}: {reason}, at offset 0x{offset:x}")]
    SectionContents { place: String, reason: &'static str, offset: u64 },
    /// A symbol is not valid ELF, or a module cannot express it.
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
    /// Code that is executed on the stack, such as that which makes a nested function a function pointer.
    #[error(
        "{object}: asks for an executable stack (section `.note.GNU-stack`), which a module does not have: take no address of a function inside another one, and mark assembly with `.section .note.GNU-stack,\"\",@progbits`"
    )]
    ExecutableStack { object: String },
    /// Two objects define one name strongly.
    #[error("duplicate definition of `{name}` in {first} and {second}")]
    DuplicateDefinition { name: String, first: String, second: String },
    /// Two modules that were compiled from Simple source contain the code of one file.
    #[error(
        "duplicate definition of `{name}` in {first} and {second}, which both contain the functions of {file}: compile their sources as one program, or declare these functions as `extern fn` in all but one"
    )]
    SourceLinkedTwice { name: String, first: String, second: String, file: String },
    /// A hidden symbol is undefined.
    #[error("{object}: the hidden symbol `{name}` is defined in no input{}", hint(.name))]
    UndefinedHidden { name: String, object: String },
    /// A symbol's address is computed by a resolver function at load time.
    #[error(
        "{object}: `{name}` is an indirect function (IFUNC), which only modules in the packed layout can express"
    )]
    Ifunc { name: String, object: String },
    /// A module cannot express a relocation.
    #[error("{place}: {kind} against `{symbol}` {why}")]
    RelocKind { place: String, kind: RelocType, symbol: String, why: &'static str },
    /// A relocation's value is out of range for its field.
    #[error("{place}: {kind} against `{symbol}` at 0x{offset:x} is out of range")]
    RelocRange { place: String, kind: RelocType, symbol: String, offset: u64 },
    /// Two relocations change the same bytes; the offset is that of the second one.
    #[error("{place}: two relocations overlap at 0x{offset:x}")]
    RelocOverlap { place: String, offset: u64 },
    /// Code starts with the magic number of another format that a code section may hold.
    #[error(
        "{place}: the code at 0x{offset:x} starts with the magic number of {format}, so that loaders would misread it"
    )]
    CodeMagic { place: String, offset: u64, format: &'static str },
    /// A relocation refers to something that is not part of the module.
    #[error("{place}: refers to `{symbol}`, which {why}")]
    RelocTarget { place: String, symbol: String, why: &'static str },
    /// A section's alignment exceeds a large page.
    #[error("{place}: alignment {alignment} exceeds the maximum of a module, 2 MiB")]
    Alignment { place: String, alignment: u64 },
    /// A name that a needed library cannot have.
    #[error("the name `{name}` of a needed library {error}")]
    LibraryName { name: String, error: NeededNameError },
    /// More needed libraries than a module can state.
    #[error("the module would need {count} shared libraries, more than the maximum of 1,024")]
    TooManyLibraries { count: usize },
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
    Unsound(FormatError),
    /// The stub contains a module header, which readers would find first.
    #[error("the stub contains a module header, which readers would find first")]
    ReadDifferently,
}

impl PackError {
    /// The error for two modules that contradict each other.
    pub(super) fn conflict(first: &str, second: &str, why: &'static str) -> Self {
        Self::ModulesConflict { first: first.to_owned(), second: second.to_owned(), why }
    }
}

/// How many members are ignored beside the first.
fn and_more(ignored: usize) -> impl fmt::Display {
    fmt::from_fn(move |f| match ignored.saturating_sub(1) {
        0 => Ok(()),
        more => write!(f, " (and {more} more)"),
    })
}

/// The remedy for a hidden symbol that is undefined, where one is known.
fn hint(name: &str) -> &'static str {
    match name {
        // In `libc_nonshared.a`.
        "__stack_chk_fail_local" => "; the static part of the C library defines it (-lc)",
        _ => "",
    }
}

/// The messages of several errors, a line each.
fn lines(errors: &[PackError]) -> impl fmt::Display + use<> {
    let lines: Vec<_> = errors.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

/// Collects the reasons why objects cannot be packed, so that one run reports all of them.
#[derive(Default)]
pub(super) struct Refusals {
    errors: Vec<PackError>,
    messages: HashSet<String>,
}

impl Refusals {
    /// Adds an error, unless one with the same message is known.
    pub(super) fn add(&mut self, error: PackError) {
        match error {
            PackError::Several(errors) => errors.into_iter().for_each(|error| self.add(error)),
            error if self.messages.insert(error.to_string()) => self.errors.push(error),
            _ => {}
        }
    }

    /// The value of a result; its error is added.
    pub(super) fn check<T>(&mut self, result: Result<T>) -> Option<T> {
        result.map_err(|error| self.add(error)).ok()
    }

    /// The value of a result without which there is no next step. Its error is the last of all errors so far.
    pub(super) fn require<T>(&mut self, result: Result<T>) -> Result<T> {
        result.or_else(|error| {
            self.add(error.clone());
            self.finish()?;
            Err(error)
        })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.errors.is_empty()
    }

    /// The errors so far, as one.
    pub(super) fn finish(&mut self) -> Result<()> {
        let mut errors = std::mem::take(&mut self.errors);
        match errors.len() {
            0 => Ok(()),
            1 => errors.pop().map_or(Ok(()), Err),
            _ => Err(PackError::Several(errors)),
        }
    }
}

/// A remark about a module that could be written. A `place` is an object and a section of it.
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
    #[error("{reason}; the member is ignored")]
    IgnoredMember { member: String, reason: String },
    /// An archive member repeats a definition and is not needed.
    #[error(
        "{member} is not linked: it defines `{name}`, as {first} does, and nothing refers to it"
    )]
    RepeatedDefinition { member: String, name: String, first: String },
    /// Debugging information that cannot be adjusted is left out.
    #[error(
        "{module}: the debugging information of the module is left out, because it has no section `.smf.debugoffs`; pack the module again, or link its objects"
    )]
    DebugInfoLeftOut { module: String },
    /// Debugging information is to be kept, and there is none.
    #[error(
        "no linked input has debugging information to keep; compile the objects with -g, and do not strip them"
    )]
    NoDebugInfo,
    /// Debugging information is to be kept, and what there is is not DWARF.
    #[error(
        "{object}: the debugging information is in the format stabs, which is left out; compile with -gdwarf"
    )]
    StabsLeftOut { object: String },
    /// The runtime of D searches the objects of the system's loader for the code that registers with it.
    #[error(
        "the code is that of D with its runtime (`_d_dso_registry`), which ends the process because the system's loader does not list the module; compile without it (-betterC, or -fno-druntime)"
    )]
    RuntimeOfD,
    /// A name that linkers define, and that may be meant as that of a symbol of another module.
    #[error(
        "`{name}`, which no input defines, is where the code or the data of this module ends, as with ld; a symbol of another module needs another name"
    )]
    LinkerDefined { name: String },
    /// Archives that are linked whole, and of which most symbols are hidden and not used by those that are exported.
    #[error(
        "{hidden} hidden symbols of the archive, such as `{first}`, are left out, and {exported} are exported; export some of them by name (--export) or all of them (--export-all)"
    )]
    HiddenLeftOut { hidden: usize, exported: usize, first: String },
    /// An array of a module, whose elements are not gathered with those of other inputs.
    #[error(
        "{module}: the section array `{name}` of the module stays apart: `__start_{name}` and `__stop_{name}` of the other inputs do not enclose its elements, nor its own theirs; link the objects of the module instead"
    )]
    SectionArrayApart { module: String, name: String },
    /// A definition of an older version of a symbol.
    #[error("{object}: `{name}` is not the default version of the symbol and is not exported")]
    VersionNotExported { object: String, name: String },
    /// Code refers to another module's data by a 32-bit distance.
    #[error(
        "{place}: refers to the import `{symbol}` by a 32-bit distance, so that both modules have to lie within 2 GiB; compile with -fPIC"
    )]
    NearImport { place: String, symbol: String },
    /// Code of aarch64's tiny code model refers to another module's data by a 21-bit distance.
    #[error(
        "{place}: refers to the import `{symbol}` by a 21-bit distance, so that both modules have to lie within 1 MiB; compile with -mcmodel=small"
    )]
    AdjacentImport { place: String, symbol: String },
    /// A 32-bit field holds the address of an import.
    #[error(
        "{place}: holds the address of the import `{symbol}` in 32 bits, which only hosts that are not position-independent can fill; compile with -fPIC"
    )]
    LowImport { place: String, symbol: String },
    /// A 32-bit field holds an address.
    #[error("{place}: holds 32-bit addresses and has to be placed below 2 GiB; compile with -fPIC")]
    LowAddress { place: String },
    /// An exported symbol is absolute.
    #[error("`{name}` is an absolute symbol and is not exported")]
    AbsoluteNotExported { name: String },
    /// An exported symbol is thread-local.
    #[error(
        "`{name}` is thread-local and is not exported, because the native layout cannot express that; other modules reach it through a function"
    )]
    ThreadLocalNotExported { name: String },
    /// A function with a phase shares its section with other functions.
    #[error(
        "{place}: `{name}` has a phase but shares the section with other functions and stays there; compile with -ffunction-sections"
    )]
    PhaseShared { place: String, name: String },
    /// A phase is given for a function that the module does not contain.
    #[error("`{name}` has a phase, but the module has no function of that name")]
    PhaseUnused { name: String },
}

impl PackWarning {
    /// The place, the input or the symbol that the remark is about; empty for one about the module.
    pub fn subject(&self) -> &str {
        match self {
            Self::ReadOnlyDataWritable { .. }
            | Self::NoDebugInfo
            | Self::RuntimeOfD
            | Self::HiddenLeftOut { .. } => "",
            Self::IgnoredMember { member, .. } | Self::RepeatedDefinition { member, .. } => member,
            Self::DebugInfoLeftOut { module } | Self::SectionArrayApart { module, .. } => module,
            Self::StabsLeftOut { object } => object,
            Self::NearImport { place, .. }
            | Self::AdjacentImport { place, .. }
            | Self::LowImport { place, .. }
            | Self::LowAddress { place } => place,
            Self::LinkerDefined { name }
            | Self::VersionNotExported { name, .. }
            | Self::AbsoluteNotExported { name }
            | Self::ThreadLocalNotExported { name }
            | Self::PhaseShared { name, .. }
            | Self::PhaseUnused { name } => name,
        }
    }
}
