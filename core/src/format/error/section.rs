//! Errors in section entries.

use thiserror::Error;

/// The reason why a section entry is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the module `error` documents the units of the fields")]
pub enum SectionError {
    /// More sections than the limit.
    #[error("{count} sections are more than the limit of {limit}, at offset {at:#x}")]
    TooMany { count: u32, limit: u32, at: u64 },
    /// A payload that does not lie inside the file.
    #[error(
        "section {index}: its payload ({size:#x} bytes from {offset:#x}) does not lie inside the file, at offset {at:#x}"
    )]
    Outside { index: u32, offset: u64, size: u64, at: u64 },
    /// More bytes in the file than in memory.
    #[error(
        "section {index}: size {size:#x} is greater than virtual_size {virtual_size:#x}, at offset {at:#x}"
    )]
    Size { index: u32, size: u64, virtual_size: u64, at: u64 },
    /// An alignment that is not a power of two, or is above 4096.
    #[error(
        "section {index}: alignment {alignment} is not a power of two up to 4096, at offset {at:#x}"
    )]
    Alignment { index: u32, alignment: u64, at: u64 },
    /// Sections that together need more memory than the limit.
    #[error(
        "the sections need {total:#x} bytes of memory, more than the limit of {limit:#x}, at offset {at:#x}"
    )]
    VirtualSize { total: u64, limit: u64, at: u64 },
    /// A section index that the table does not have.
    #[error("there is no section {index}; the file has {count}")]
    NoSuchSection { index: u32, count: u32 },
}
