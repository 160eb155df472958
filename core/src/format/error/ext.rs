//! Errors in the note sections that this project defines.

use thiserror::Error;

/// Why `.smf.image` is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the module `error` documents the units of the fields")]
pub enum PrelinkError {
    /// No magic, another page size, or fewer bytes than the counts need.
    #[error(
        ".smf.image is not `IMG1`, pages of 4096 bytes and as many numbers as it counts, at offset {at:#x}"
    )]
    Header { at: u64 },
    /// Another number of sections than the file has.
    #[error(".smf.image places {stated} sections and the file has {count}, at offset {at:#x}")]
    SectionCount { stated: u64, count: u64, at: u64 },
    /// An image offset at which the section cannot lie.
    #[error(".smf.image: section {index} cannot lie {offset:#x} into the image, at offset {at:#x}")]
    SectionOffset { index: u32, offset: u64, at: u64 },
    /// A prelinked section that is not a relocation section, or is out of order.
    #[error(
        ".smf.image: section {index} is no relocation section or out of order, at offset {at:#x}"
    )]
    NotRelocs { index: u32, at: u64 },
    /// A prelinked relocation whose place does not hold its value.
    #[error(
        "relocation {index} of section {section} is prelinked, but its place does not hold its value, at offset {at:#x}"
    )]
    Value { section: u32, index: u32, at: u64 },
}

/// Why `.smf.code` is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the module `error` documents the units of the fields")]
pub enum CachedCodeError {
    /// No magic.
    #[error(".smf.code does not begin with its magic, at offset {at:#x}")]
    Header { at: u64 },
    /// A record with an invalid length, hash or relocation.
    #[error(
        "record {index} of .smf.code is damaged: its length, its hash or its relocations are not what it states, at offset {at:#x}"
    )]
    Record { index: u32, at: u64 },
}

/// Why `.smf.hash` is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the module `error` documents the units of the fields")]
pub enum HashIndexError {
    /// No magic, or fewer bytes than the counts need.
    #[error(
        ".smf.hash is not `HASH`, a version, counts and as many buckets (a power of two) as it counts, at offset {at:#x}"
    )]
    Header { at: u64 },
    /// Another number of names than stated.
    #[error(".smf.hash states {stated} names and has {found}, at offset {at:#x}")]
    NameCount { stated: u32, found: u64, at: u64 },
    /// A slot that no lookup finds.
    #[error(
        ".smf.hash: symbol {symbol} is no export or not where its name leads to, at offset {at:#x}"
    )]
    Slot { symbol: u32, at: u64 },
    /// An exported symbol that a lookup does not find.
    #[error(
        "symbol {index}: it is exported, and .smf.hash does not lead from its name to the symbol that counts, at offset {at:#x}"
    )]
    Symbol { index: u32, at: u64 },
}
