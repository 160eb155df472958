//! Errors in symbols.

use thiserror::Error;

/// The reason why a symbol is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the module `error` documents the units of the fields")]
pub enum SymbolError {
    /// A name that does not lie inside the string table, or is not terminated there.
    #[error(
        "symbol {index}: its name ({offset:#x} into the strings) does not lie inside the strings or is not terminated within 16 KiB, at offset {at:#x}"
    )]
    Name { index: u32, offset: u64, at: u64 },
    /// An undefined symbol type.
    #[error("symbol {index}: unknown type {value}, at offset {at:#x}")]
    Kind { index: u32, value: u8, at: u64 },
    /// An undefined binding.
    #[error("symbol {index}: unknown binding {value}, at offset {at:#x}")]
    Binding { index: u32, value: u8, at: u64 },
    /// A symbol in a section that does not exist.
    #[error(
        "symbol {index}: it lies in section {section}, which does not exist, at offset {at:#x}"
    )]
    Section { index: u32, section: u32, at: u64 },
    /// A symbol whose type implies a section that the file does not have.
    #[error(
        "symbol {index}: it is defined, but the file has no section for symbols of its type, at offset {at:#x}"
    )]
    NoSection { index: u32, at: u64 },
    /// A symbol that does not lie inside its section.
    #[error(
        "symbol {index}: value {value:#x} and size {size:#x} exceed its section, at offset {at:#x}"
    )]
    Outside { index: u32, value: u64, size: u64, at: u64 },
    /// A symbol index that the table does not have.
    #[error("there is no symbol {index}; the file has {count}")]
    NoSuchSymbol { index: u32, count: u32 },
}
