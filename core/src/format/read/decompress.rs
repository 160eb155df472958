//! Decompression of sections.
//!
//! The header names one algorithm for all compressed sections. A section decompresses to exactly `virtual_size` bytes.
//! Only the functions of this module decompress; [`Section::data`] is always the bytes in the file.
//!
//! * Zstandard: frames, back to back. Dictionaries are refused. A window of more than 8 MiB is refused if it is larger
//!   than the section rounded up to a power of two, or larger than 128 MiB.
//! * LZ4: frames, back to back, as the `lz4` tool writes them. Blocks without a frame are refused: they state neither a
//!   length nor a checksum, and no writer of modules emits them.
//!
//! Skippable frames are skipped in both formats, and every checksum is verified.
//! [`is_compressible`](crate::format::SectionKind::is_compressible) states which sections may be compressed.
//!
//! Guarantees: a section that decompresses to more or less than its `virtual_size` is an error. A `virtual_size` that
//! the compressed bytes cannot reach is refused before memory is allocated. LZ4 allocates no memory besides the output.
//! Zstandard allocates a window, at most the output rounded up to a power of two and never above 128 MiB, and tables of
//! less than 2 MiB. [`Limits`](crate::format::read::limits::Limits) bounds `virtual_size` by the length in the file,
//! which is checked when the file is opened. [`Smf::verify_compressed`] checks the output as it is produced and holds
//! only a window or a block of it.

#[cfg(feature = "alloc")]
pub(crate) mod contents;
mod frame;
#[cfg(feature = "compress")]
mod frames;
#[cfg(feature = "compress")]
mod lz4;
#[cfg(feature = "compress")]
mod output;
#[cfg(feature = "compress")]
mod zstd;

use crate::format::error::{CompressionErrorKind, Result};
use crate::format::model::Compression;
use crate::format::read::decompress::frame::failed;
use crate::format::read::section::Section;
use crate::format::read::smf::Smf;

/// Stubs for builds without decoders.
#[cfg(not(feature = "compress"))]
mod frames {
    use crate::format::error::CompressionErrorKind;
    use crate::format::model::Compression;
    use crate::format::read::decompress::frame::Failure;

    pub(crate) fn check(compression: Compression, _: &[u8], _: u64) -> Result<(), Failure> {
        Err((CompressionErrorKind::NotBuilt { compression }, 0))
    }

    #[cfg(feature = "alloc")]
    pub(crate) use check as verify;

    pub(crate) fn decompress(
        compression: Compression,
        data: &[u8],
        _: &mut [u8],
    ) -> Result<(), Failure> {
        check(compression, data, 0)
    }
}

/// Decompresses `data`, frames of `compression`, to `out`, which they must fill exactly.
///
/// # Errors
/// The reason. The contents of `out` are then unspecified.
pub fn decompress(
    compression: Compression,
    data: &[u8],
    out: &mut [u8],
) -> Result<(), CompressionErrorKind> {
    frames::decompress(compression, data, out).map_err(|(fault, _)| fault)
}

impl Smf<'_> {
    /// Checks a compressed section without decompressing it: whole frames of the header's algorithm that can hold its
    /// `virtual_size`, with windows that this size justifies. Time is linear in the number of blocks. A section that is
    /// not compressed passes.
    ///
    /// # Errors
    /// [`CompressionError::Decompress`](crate::format::error::CompressionError::Decompress).
    pub fn check_compressed(&self, section: &Section<'_>) -> Result<()> {
        if !section.is_compressed() {
            return Ok(());
        }
        let compression = self.header().compression;
        frames::check(compression, section.data, section.virtual_size)
            .map_err(|failure| failed(section, failure))
    }

    /// Decompresses a section to `out`, whose length must be the section's `virtual_size`.
    ///
    /// # Errors
    /// [`CompressionError::Decompress`](crate::format::error::CompressionError::Decompress), also if the decompressed bytes do not fill `out` exactly. The contents of
    /// `out` are then unspecified.
    pub fn decompress_into(&self, section: &Section<'_>, out: &mut [u8]) -> Result<()> {
        frames::decompress(self.header().compression, section.data, out)
            .map_err(|failure| failed(section, failure))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A frame of each algorithm that stores three bytes uncompressed.
    #[test]
    fn compressed_section_is_read_with_decoders_and_refused_without() {
        let zstd = b"\x28\xb5\x2f\xfd\x20\x03\x19\0\0abc";
        let lz4 = b"\x04\x22\x4d\x18\x60\x40\x82\x03\0\0\x80abc\0\0\0\0";
        for (compression, data) in [(Compression::ZSTD, &zstd[..]), (Compression::LZ4, lz4)] {
            let mut out = [0; 3];
            let done = frames::decompress(compression, data, &mut out);
            assert_eq!(done, frames::check(compression, data, 3));
            if cfg!(feature = "compress") {
                assert_eq!((done, &out), (Ok(()), b"abc"));
            } else {
                assert_eq!(done, Err((CompressionErrorKind::NotBuilt { compression }, 0)));
            }
        }
    }
}
