//! Errors of compressed sections.

use thiserror::Error;

use crate::format::model::{Compression, SectionKind};

/// The reason why a section cannot be decompressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CompressionErrorKind {
    /// No frame of the algorithm and no skippable frame at the start of a frame.
    #[error("no frame of {compression}")]
    NoFrame { compression: Compression },
    /// The section ends inside a frame.
    #[error("the section ends in the middle of a frame")]
    Truncated,
    /// A frame that violates the specification of its algorithm.
    #[error("a broken frame")]
    Broken,
    /// A frame that needs a dictionary.
    #[error("a frame that needs a dictionary, which is not supported")]
    Dictionary,
    /// A window larger than a section of this size needs.
    #[error(
        "a frame with a window of {size:#x} bytes, more than the limit of {limit:#x} for a section of its size"
    )]
    Window { size: u64, limit: u64 },
    /// The decompressed bytes do not match a checksum of the frame.
    #[error("the decompressed bytes do not match the checksum of the frame")]
    Checksum,
    /// The section decompresses to more than its virtual size.
    #[error("it decompresses to more than its virtual_size of {virtual_size:#x}")]
    Long { virtual_size: u64 },
    /// The section decompresses to less than its virtual size. `max` is an upper bound on its length.
    #[error(
        "it decompresses to no more than {max:#x} bytes, and its virtual_size is {virtual_size:#x}"
    )]
    Short { max: u64, virtual_size: u64 },
    /// The allocator has no memory for the output.
    #[error("out of memory for {size:#x} decompressed bytes")]
    OutOfMemory { size: u64 },
    /// This build has no decoders.
    #[error(
        "compressed with {compression}, and this loader is built without the feature `compress` of smf-core"
    )]
    NotBuilt { compression: Compression },
}

/// The reason why a compressed section is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CompressionError {
    /// A section that claims more memory than [`Limits`](crate::format::Limits) allows for its `size` in the file,
    /// alone or together with the compressed sections before it; then both sizes are totals.
    #[error(
        "section {index}: {size:#x} compressed bytes claim to decompress to {virtual_size:#x}, and the limit for this size is {limit:#x}, at offset {at:#x}"
    )]
    Ratio { index: u32, size: u64, virtual_size: u64, limit: u64, at: u64 },
    /// A compressed section in a file whose header states no algorithm.
    #[error(
        "section {index}: marked compressed, and the header names no algorithm, at offset {at:#x}"
    )]
    NoAlgorithm { index: u32, at: u64 },
    /// A compressed section in a file whose header states an unknown algorithm.
    #[error(
        "section {index}: marked compressed, and the header names an unknown algorithm ({compression}), at offset {at:#x}"
    )]
    UnknownAlgorithm { index: u32, compression: Compression, at: u64 },
    /// A compressed section of a kind that is read in place: code of an executable file, tables, `.smf.` notes.
    #[error(
        "section {index}: marked compressed, which is not allowed for this {kind} section, at offset {at:#x}"
    )]
    SectionKind { index: u32, kind: SectionKind, at: u64 },
    /// A section that cannot be decompressed.
    #[error("section {index}: {kind}, at offset {at:#x}")]
    Decompress { index: u32, kind: CompressionErrorKind, at: u64 },
    /// A note or a template section that must be decompressed before it is read.
    #[error("section {index} must be decompressed before it is read, at offset {at:#x}")]
    StillCompressed { index: u32, at: u64 },
}
