//! Why a module cannot be written, in words.

use thiserror::Error;

#[cfg(feature = "alloc")]
use crate::alloc_util::AllocError;
use crate::format::model::{RelocKind, SectionKind, SymbolKind};
use crate::format::wire::Layout;

/// Why a module cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum WriteError {
    /// Only packed and native modules are written.
    #[error("modules are written packed or native, not {}", .0.name())]
    Layout(Layout),
    /// The native layout has its header in front and no place for a stub.
    #[error("a native module has its header in front and cannot have a stub")]
    StubInNative,
    /// More than 65,534 sections, or a file of 2^32 bytes and more in front of a table.
    #[error("the module is too large for its tables")]
    TooLarge,
    /// A section kind without a number in the layout.
    #[error("section {0}: the layout has no number for the kind {1}")]
    SectionKind(u32, SectionKind),
    /// A section name longer than 16 bytes, or with a NUL.
    #[error("section {0}: its name is longer than 16 bytes or holds a NUL")]
    SectionName(u32),
    /// An alignment that is no power of two up to 4096.
    #[error("section {0}: alignment {1} is not a power of two up to 4096")]
    SectionAlignment(u32, u64),
    /// More bytes in the file than in memory.
    #[error("section {0}: more bytes in the file than in memory")]
    SectionSize(u32),
    /// A symbol kind without a number in the layout.
    #[error("symbol {0}: the layout has no number for the kind {1}")]
    SymbolKind(u32, SymbolKind),
    /// A symbol name with a NUL.
    #[error("symbol {0}: its name holds a NUL")]
    SymbolName(u32),
    /// A symbol in a section where the layout has no way to put it, or that is not there.
    #[error("symbol {0}: the layout cannot say which section it is in")]
    SymbolPlace(u32),
    /// A relocation kind without a number in the layout: section, number in it, kind.
    #[error("relocation {1} of section {0}: the layout has no number for {2}")]
    RelocKind(u32, u32, RelocKind),
    /// A relocation against a symbol that is not there: section, number in it, symbol.
    #[error("relocation {1} of section {0}: there is no symbol {2}")]
    RelocSymbol(u32, u32, u32),
    /// No memory for the file.
    #[error("no memory for the file")]
    OutOfMemory,
    /// A buffer that is shorter than the file.
    #[error("the file takes {needed} bytes and the buffer has {given}")]
    Buffer {
        /// Bytes of the file.
        needed: usize,
        /// Bytes of the buffer.
        given: usize,
    },
}

#[cfg(feature = "alloc")]
impl From<AllocError> for WriteError {
    fn from(_: AllocError) -> Self {
        Self::OutOfMemory
    }
}
