//! Errors of writing modules.

use thiserror::Error;

#[cfg(feature = "alloc")]
use crate::alloc_util::AllocError;
use crate::format::model::{RelocKind, SectionKind, SymbolKind};
use crate::format::wire::Layout;

/// The reason why a module cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum WriteError {
    /// A layout other than packed and native.
    #[error("modules are written packed or native, not {}", .0.name())]
    Layout(Layout),
    /// A stub in the native layout, which has its header at the start of the file.
    #[error("a native module starts with its header and cannot have a stub")]
    StubInNative,
    /// More than 65,534 sections; 2^32 or more symbols or bytes of a stub; functions of bytecode whose offsets exceed 32 bits;
    /// a file that exceeds the address space.
    #[error("the module is too large for its tables")]
    TooLarge,
    /// An entry point outside the code.
    #[error("the entry point {0:#x} lies outside the code section")]
    EntryPoint(u64),
    /// A section kind without a number in the layout.
    #[error("section {0}: the layout has no number for the kind {1}")]
    SectionKind(u32, SectionKind),
    /// A section name longer than 16 bytes, or with a NUL.
    #[error("section {0}: its name is longer than 16 bytes or holds a NUL")]
    SectionName(u32),
    /// An alignment that is not a power of two up to 2 MiB.
    #[error("section {0}: alignment {1} is not a power of two up to 2 MiB")]
    SectionAlignment(u32, u64),
    /// More bytes in the file than in memory.
    #[error("section {0}: more bytes in the file than in memory")]
    SectionSize(u32),
    /// A symbol kind without a number in the layout.
    #[error("symbol {0}: the layout has no number for the kind {1}")]
    SymbolKind(u32, SymbolKind),
    /// A symbol name with a NUL, or of more bytes than readers accept.
    #[error("symbol {0}: its name is longer than 16,383 bytes or holds a NUL")]
    SymbolName(u32),
    /// A string in the constant pool with a NUL.
    #[error("constant {0}: its string holds a NUL")]
    ConstantText(u32),
    /// A symbol in a section that the layout cannot state or that does not exist.
    #[error("symbol {0}: the layout cannot state its section")]
    SymbolPlace(u32),
    /// A relocation kind without a number in the layout: section, index of the relocation, kind.
    #[error("relocation {1} of section {0}: the layout has no number for {2}")]
    RelocKind(u32, u32, RelocKind),
    /// A relocation against a symbol that does not exist: section, index of the relocation, symbol.
    #[error("relocation {1} of section {0}: there is no symbol {2}")]
    RelocSymbol(u32, u32, u32),
    /// A template of unknown kind; GTPL must state a kind.
    #[error("template {0}: GTPL must state its kind, which is unknown")]
    TemplateKind(u32),
    /// A template with a kind, parameters or constraints, which the counted container cannot state.
    #[error(
        "template {0}: the counted container cannot state its kind, parameters and constraints"
    )]
    TemplateHeader(u32),
    /// A template with constraints, which GTPL of version 1.0 cannot state.
    #[error("template {0}: GTPL of version 1.0 cannot state its constraints")]
    TemplateConstraints(u32),
    /// A template whose body is no record of the Simple compiler, or one of another name.
    #[error("template {0}: its body is not its record")]
    TemplateRecord(u32),
    /// A template with an empty name, which makes a GTPL header ambiguous.
    #[error("template {0}: it has no name, and GTPL needs one")]
    TemplateName(u32),
    /// A name, a body, or a number of templates of 2^32 or more.
    #[error("template {0}: lengths and counts of 2^32 and more cannot be written")]
    TemplateTooLarge(u32),
    /// The allocator has no memory for the file.
    #[error("no memory for the file")]
    OutOfMemory,
    /// A buffer shorter than the file.
    #[error("the file needs {needed} bytes, but the buffer has {given}")]
    Buffer {
        /// The length of the file in bytes.
        needed: usize,
        /// The length of the buffer in bytes.
        given: usize,
    },
}

#[cfg(feature = "alloc")]
impl From<AllocError> for WriteError {
    fn from(_: AllocError) -> Self {
        Self::OutOfMemory
    }
}
