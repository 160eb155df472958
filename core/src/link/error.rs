//! Why a module cannot be mapped or linked.

use thiserror::Error;

use super::host_services::{HostServiceError, LibraryError};
use super::name::Name;
use crate::alloc_util::AllocError;
use crate::format::{Arch, FormatError, Platform, RelocKind};
use crate::memory::MemoryError;

/// A result of the linker.
pub(super) type Result<T, E = LinkError> = core::result::Result<T, E>;

/// Why a module cannot be mapped or linked.
///
/// `section` and `index` are the numbers of a section and of a relocation in it; `place` and `target` are addresses.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the message of each variant names its fields")]
pub enum LinkError {
    /// A malformed file.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// A system call failed.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// The allocator has no memory left.
    #[error("the allocator has no memory left")]
    OutOfMemory(#[from] AllocError),
    /// The process does not grant what the module needs.
    #[error(transparent)]
    Host(#[from] HostServiceError),
    /// A shared library that the module needs and that cannot be opened.
    #[error("cannot open the library `{library}`, which the module needs: {error}")]
    Library { library: Name, error: LibraryError },
    /// An import that only modules with a list of needed libraries have, but no such list.
    #[error("the module needs shared libraries, but has no section `.smf.needed` that names them")]
    NoLibraries,
    /// Code for another instruction set.
    #[error("the module is for {module} and this machine is {host}")]
    Arch { module: Arch, host: Arch },
    /// A module for another system.
    #[error("the module is for {module} and this system is {host}")]
    Platform { module: Platform, host: Platform },
    /// An ELF shared object with a trailer: only the system's loader can open it.
    #[error(
        "the file is a dynlib, an ELF shared object with a trailer, which only the system's loader can open"
    )]
    Dynlib,
    /// The code section holds bytecode.
    #[error("the code is bytecode (BCOD), which is run by a module loader and cannot be linked")]
    Bytecode,
    /// There is neither code nor data, or an ELF object without code.
    #[error("the module has no code and no data")]
    NoCode,
    /// Code sections must not be compressed.
    #[error("section {section} is compressed code, which cannot be run")]
    CompressedCode { section: u32 },
    /// The module does not fit the address space.
    #[error("the module does not fit the address space")]
    TooLarge,
    /// The code depends on prelinked distances, but the prelink section is missing or assumes smaller pages.
    #[error(
        "the code depends on the layout in a section `.smf.image`, which is missing or for smaller pages than this machine has; pack the module with `--emit-relocs`, or with `--layout native`"
    )]
    Prelink,
    /// A relocation kind of another instruction set.
    #[error("relocation {index} of section {section}: {kind} is not for this instruction set")]
    RelocKind { section: u32, index: u32, kind: RelocKind },
    /// A relocation against a symbol without an address.
    #[error("relocation {index} of section {section}: its symbol `{symbol}` has no address")]
    NoAddress { section: u32, index: u32, symbol: Name },
    /// A relocated value out of the range of its field.
    #[error("the relocation {kind} against `{symbol}` cannot reach 0x{target:x} from 0x{place:x}")]
    Overflow { kind: RelocKind, symbol: Name, place: u64, target: u64 },
    /// An address of an import, or a distance to it, that does not fit its field. The loader places the image within
    /// reach of all imports that are addressed by distances if there are such addresses.
    #[error(
        "the relocation {kind} against the import `{symbol}` cannot reach 0x{target:x} from 0x{place:x}, because {}", out_of_reach(*.kind)
    )]
    Unreachable { kind: RelocKind, symbol: Name, place: u64, target: u64 },
    /// A distance to a weak import that nothing defines, and whose address is therefore 0.
    #[error(
        "the relocation {kind} at 0x{place:x} against the weak import `{symbol}`, which nothing defines, cannot reach address 0; compile the objects that use it with -fPIC"
    )]
    UndefinedWeak { kind: RelocKind, symbol: Name, place: u64 },
    /// A relocation on an instruction without a matching operand.
    #[error(
        "the relocation {kind} against `{symbol}` does not apply to the instruction 0x{word:08x} at 0x{place:x}"
    )]
    Instruction { kind: RelocKind, symbol: Name, place: u64, word: u32 },
    /// A relocated value that is not a multiple of the unit of its instruction, in bytes.
    #[error(
        "the relocation {kind} against `{symbol}` leads from 0x{place:x} to 0x{target:x}, and its instruction counts in units of {unit} bytes"
    )]
    Unaligned { kind: RelocKind, symbol: Name, place: u64, target: u64, unit: u64 },
    /// Relocations of a section that is not loaded.
    #[error("section {section}: its relocations are for a section that is not loaded")]
    NotLoaded { section: u32 },
    /// An array of constructors or destructors that is no whole number of addresses.
    #[error(
        "section {section}, an array of addresses, has {size} bytes, so that the address at offset 0x{:x} is incomplete", size & !7
    )]
    InitArraySize { section: u32, size: u64 },
    /// A constructor or destructor outside of the code.
    #[error(
        "section {section}: the address 0x{address:x} at offset 0x{offset:x} is outside the code of the module"
    )]
    InitArrayEntry { section: u32, offset: u64, address: u64 },
    /// Malformed unwinding tables.
    #[error("section {section}, unwinding tables: {reason}, at offset 0x{offset:x}")]
    EhFrame { section: u32, offset: u64, reason: &'static str },
    /// A called import that another module defines as data.
    #[error("the module calls its import `{symbol}`, which its provider exports as data")]
    NotAFunction { symbol: Name },
    /// Imports that denote thread-local storage, but no section with its initial contents, or not one for them.
    #[error("the module uses thread-local storage but has no section `.tdata`")]
    NoTlsSection,
    /// Thread-local storage that the process does not grant.
    #[error(
        "section {section}, {size} bytes of thread-local storage with alignment {alignment}: {reason}"
    )]
    ThreadLocalStorage { section: u32, size: u64, alignment: u64, reason: &'static str },
    /// A thread-local symbol, or the section of the module's own storage, that code cannot access as it does.
    #[error("thread-local `{symbol}`: {reason}")]
    ThreadLocalSymbol { symbol: Name, reason: &'static str },
    /// A thread-local import that nothing defines.
    #[error(
        "unresolved thread-local import `{symbol}`, which no module and no shared object of the process defines"
    )]
    MissingTls { symbol: Name },
    /// Indirect functions on another machine, or without their section.
    #[error(
        "the module has indirect functions (IFUNC), which are supported on x86-64 and aarch64 in a section `.igot` alone"
    )]
    IndirectFunctions,
    /// An indirect function without a resolver in the module, or whose resolver returned no address.
    #[error("the resolver of indirect function {index} (IFUNC) is not in the module or failed")]
    IndirectFunction { index: u64 },
    /// Unresolved imports.
    #[error("{}", unresolved(*count, first))]
    MissingImports { count: u32, first: Name },
}

/// Why an import is out of reach.
fn out_of_reach(kind: RelocKind) -> &'static str {
    match kind {
        RelocKind::Abs32 | RelocKind::Abs32S => {
            "it holds 32 bits of an address; compile the objects that use it with -fPIC"
        }
        // An ADR of the tiny code model has the kind too.
        RelocKind::Arm64Page21 => {
            "the imports of the module lie too far apart; compile the objects that use it with -fPIC and -mcmodel=small"
        }
        _ => {
            "the imports of the module lie too far apart; compile the objects that use it with -fPIC"
        }
    }
}

/// The message of [`LinkError::MissingImports`].
fn unresolved(count: u32, first: &Name) -> impl core::fmt::Display {
    core::fmt::from_fn(move |f| match count {
        1 => write!(f, "unresolved import `{first}`"),
        _ => write!(f, "{count} unresolved imports, first `{first}`"),
    })
}

impl LinkError {
    /// The error that `make` builds from a copy of `name`, or [`LinkError::OutOfMemory`].
    pub(crate) fn named(name: &[u8], make: impl FnOnce(Name) -> Self) -> Self {
        Name::new(name).map_or_else(Self::from, make)
    }
}
