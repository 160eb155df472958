//! Errors in the note sections that this project defines.

use thiserror::Error;

/// The reason why `.smf.image` is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the module `error` documents the units of the fields")]
pub enum PrelinkError {
    /// No magic, another page size, or fewer bytes than the counts need.
    #[error(
        ".smf.image: missing magic `IMG1`, a page size other than 4096, or too few bytes for its counts, at offset {at:#x}"
    )]
    Header { at: u64 },
    /// A section count other than that of the file.
    #[error(".smf.image states {stated} sections, but the file has {count}, at offset {at:#x}")]
    SectionCount { stated: u64, count: u64, at: u64 },
    /// An image offset at which the section must not lie.
    #[error(".smf.image: invalid image offset {offset:#x} of section {index}, at offset {at:#x}")]
    SectionOffset { index: u32, offset: u64, at: u64 },
    /// A prelinked section that is not a relocation section, or is out of order.
    #[error(
        ".smf.image: section {index} is not a relocation section or is out of order, at offset {at:#x}"
    )]
    NotRelocs { index: u32, at: u64 },
    /// A prelinked relocation whose target bytes do not hold its value.
    #[error(
        "relocation {index} of section {section} is prelinked, but the relocated bytes do not hold its value, at offset {at:#x}"
    )]
    Value { section: u32, index: u32, at: u64 },
}

/// The reason why `.smf.code` is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the module `error` documents the units of the fields")]
pub enum CachedCodeError {
    /// No magic.
    #[error(".smf.code does not begin with its magic, at offset {at:#x}")]
    Header { at: u64 },
    /// A record with an invalid length, hash or relocation.
    #[error(
        "record {index} of .smf.code is damaged: invalid length, hash or relocations, at offset {at:#x}"
    )]
    Record { index: u32, at: u64 },
}

/// The reason why `.smf.hash` is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the module `error` documents the units of the fields")]
pub enum HashIndexError {
    /// No magic, or fewer bytes than the counts need.
    #[error(
        ".smf.hash: missing magic `HASH`, a bucket count that is not a power of two, or too few bytes for its counts, at offset {at:#x}"
    )]
    Header { at: u64 },
    /// A number of names other than the stated one.
    #[error(".smf.hash states {stated} names, but has {found}, at offset {at:#x}")]
    NameCount { stated: u32, found: u64, at: u64 },
    /// A slot that a lookup of its symbol does not find.
    #[error(
        ".smf.hash: a lookup does not find the slot of symbol {symbol}, or the symbol is not exported, at offset {at:#x}"
    )]
    Slot { symbol: u32, at: u64 },
    /// An exported symbol that a lookup does not find.
    #[error(
        "symbol {index} is exported, but a lookup of its name in .smf.hash does not find the right symbol, at offset {at:#x}"
    )]
    Symbol { index: u32, at: u64 },
}
