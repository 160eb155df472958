//! Errors in relocations.

use thiserror::Error;

/// The reason why a relocation is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the module `error` documents the units of the fields")]
pub enum RelocError {
    /// A relocation section whose size is not a multiple of 24.
    #[error(
        "section {section}: size {size:#x} is not a multiple of the 24 bytes of a relocation, at offset {at:#x}"
    )]
    TableSize { section: u32, size: u64, at: u64 },
    /// A relocation section without a target section.
    #[error(
        "section {section}: its relocations apply to a section that does not exist, at offset {at:#x}"
    )]
    NoTarget { section: u32, at: u64 },
    /// A relocation type that the layout does not define.
    #[error("relocation {index} of section {section}: unknown type {value}, at offset {at:#x}")]
    Kind { section: u32, index: u32, value: u8, at: u64 },
    /// A relocation against a symbol that does not exist.
    #[error(
        "relocation {index} of section {section}: symbol {symbol} does not exist, at offset {at:#x}"
    )]
    Symbol { section: u32, index: u32, symbol: u32, at: u64 },
    /// A relocation that writes outside its target section.
    #[error(
        "relocation {index} of section {section}: its field at {offset:#x} extends outside the section, at offset {at:#x}"
    )]
    Place { section: u32, index: u32, offset: u64, at: u64 },
}
