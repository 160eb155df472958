//! Why a module cannot be written, in words.

use core::fmt;

#[cfg(feature = "alloc")]
use crate::alloc_util::AllocError;
use crate::format::model::{RelocKind, SectionKind, SymbolKind};
use crate::format::wire::Layout;

/// Why a module cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WriteError {
    /// Only packed and native modules are written.
    Layout(Layout),
    /// The native layout has its header in front and no place for a stub.
    StubInNative,
    /// More than 65,534 sections, or a file of 2^32 bytes and more in front of a table.
    TooLarge,
    /// A section kind without a number in the layout.
    SectionKind(u32, SectionKind),
    /// A section name longer than 16 bytes, or with a NUL.
    SectionName(u32),
    /// An alignment that is no power of two up to 4096.
    SectionAlignment(u32, u64),
    /// More bytes in the file than in memory.
    SectionSize(u32),
    /// A symbol kind without a number in the layout.
    SymbolKind(u32, SymbolKind),
    /// A symbol name with a NUL.
    SymbolName(u32),
    /// A symbol in a section where the layout has no way to put it, or that is not there.
    SymbolPlace(u32),
    /// A relocation kind without a number in the layout: section, number in it, kind.
    RelocKind(u32, u32, RelocKind),
    /// A relocation against a symbol that is not there: section, number in it, symbol.
    RelocSymbol(u32, u32, u32),
    /// No memory for the file.
    OutOfMemory,
    /// A buffer that is shorter than the file.
    Buffer {
        /// Bytes of the file.
        needed: usize,
        /// Bytes of the buffer.
        given: usize,
    },
}

impl fmt::Display for WriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            WriteError::Layout(layout) => {
                write!(f, "modules are written packed or native, not {}", layout.name())
            }
            WriteError::StubInNative => {
                f.write_str("a native module has its header in front and cannot have a stub")
            }
            WriteError::TooLarge => f.write_str("the module is too large for its tables"),
            WriteError::SectionKind(index, kind) => {
                write!(f, "section {index}: the layout has no number for the kind {kind}")
            }
            WriteError::SectionName(index) => {
                write!(f, "section {index}: its name is longer than 16 bytes or holds a NUL")
            }
            WriteError::SectionAlignment(index, alignment) => {
                write!(f, "section {index}: alignment {alignment} is not a power of two up to 4096")
            }
            WriteError::SectionSize(index) => {
                write!(f, "section {index}: more bytes in the file than in memory")
            }
            WriteError::SymbolKind(index, kind) => {
                write!(f, "symbol {index}: the layout has no number for the kind {kind}")
            }
            WriteError::SymbolName(index) => write!(f, "symbol {index}: its name holds a NUL"),
            WriteError::SymbolPlace(index) => {
                write!(f, "symbol {index}: the layout cannot say which section it is in")
            }
            WriteError::RelocKind(section, index, kind) => write!(
                f,
                "relocation {index} of section {section}: the layout has no number for {kind}"
            ),
            WriteError::RelocSymbol(section, index, symbol) => {
                write!(f, "relocation {index} of section {section}: there is no symbol {symbol}")
            }
            WriteError::OutOfMemory => f.write_str("no memory for the file"),
            WriteError::Buffer { needed, given } => {
                write!(f, "the file takes {needed} bytes and the buffer has {given}")
            }
        }
    }
}

impl core::error::Error for WriteError {}

#[cfg(feature = "alloc")]
impl From<AllocError> for WriteError {
    fn from(_: AllocError) -> Self {
        Self::OutOfMemory
    }
}
