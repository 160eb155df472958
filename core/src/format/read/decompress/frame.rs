//! The header of a compressed frame.

use crate::format::error::{CompressionError, CompressionErrorKind, FormatError};
use crate::format::read::section::Section;

/// The reason of a failed decompression and its offset in the section.
pub(crate) type Failure = (CompressionErrorKind, usize);

/// The error about a section that cannot be decompressed.
pub(crate) fn failed(section: &Section<'_>, (kind, into): Failure) -> FormatError {
    let at = section.offset.saturating_add(into as u64);
    CompressionError::Decompress { index: section.index, kind, at }.into()
}

#[cfg(feature = "compress")]
/// The facts that the headers of a frame state.
pub(crate) struct Frame {
    /// The length of the frame in bytes.
    pub(crate) len: usize,
    /// The maximum number of decompressed bytes.
    pub(crate) most: u64,
    /// The number of decompressed bytes, if the frame states it.
    pub(crate) content: Option<u64>,
    /// The window size in bytes, if the decoder holds a copy of the window.
    pub(crate) window: u64,
}
