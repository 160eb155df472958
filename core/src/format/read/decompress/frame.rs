//! What the header of a compressed frame states.

use crate::format::error::{CompressionError, CompressionErrorKind, FormatError};
use crate::format::read::section::Section;

/// Why something was not decompressed, and how far into the section that is.
pub(crate) type Failure = (CompressionErrorKind, usize);

/// The error about a section that cannot be decompressed.
pub(crate) fn failed(section: &Section<'_>, (kind, into): Failure) -> FormatError {
    let at = section.offset.saturating_add(into as u64);
    CompressionError::Decompress { index: section.index, kind, at }.into()
}

#[cfg(feature = "compress")]
/// What the headers of a frame say.
pub(crate) struct Frame {
    /// Its bytes.
    pub(crate) len: usize,
    /// The most that can come out of it.
    pub(crate) most: u64,
    /// What does come out of it, when it says so.
    pub(crate) content: Option<u64>,
    /// How far back it refers to what came out, where the decoder keeps a copy of that.
    pub(crate) window: u64,
}
