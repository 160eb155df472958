//! The errors of decompression.

use crate::format::error::{CompressionError, CompressionErrorKind, FormatError};
use crate::format::read::section::Section;

/// The reason of a failed decompression and its offset in the section.
pub(crate) type Failure = (CompressionErrorKind, usize);

/// The error about a section that cannot be decompressed.
pub(crate) fn failed(section: &Section<'_>, (kind, into): Failure) -> FormatError {
    let at = section.offset.saturating_add(into as u64);
    CompressionError::Decompress { index: section.index, kind, at }.into()
}
