//! Compresses sections where that makes the file smaller.
//!
//! Sections that the loader reads in place are not compressed, code above all (see
//! [`SectionKind::is_compressible`](smf_core::format::SectionKind::is_compressible)). Every frame has a
//! checksum and is decompressed once for comparison, so that an encoder error only costs the compression. A
//! section whose compression ratio readers would refuse as a decompression bomb stays uncompressed.

use std::io::Write;

use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};
use smf_core::format::{Compression, Header, Limits, decompress};
use structured_zstd::encoding::{CompressionLevel, FrameCompressor};

use super::output::OutputSection;

/// The Zstandard level. The highest levels take ten times as long for files that are a tenth smaller.
const ZSTD_LEVEL: u8 = 9;

/// A compression algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// Zstandard
    ///
    /// Smaller files.
    Zstd,
    /// LZ4
    ///
    /// Faster loading.
    Lz4,
}

impl Algorithm {
    /// The algorithm and the level in a header.
    fn compression(self) -> (Compression, u8) {
        match self {
            Algorithm::Zstd => (Compression::ZSTD, ZSTD_LEVEL),
            Algorithm::Lz4 => (Compression::LZ4, 0),
        }
    }

    /// Sets the algorithm in a header.
    pub(super) fn set_in(self, header: &mut Header) {
        (header.compression, header.compression_level) = self.compression();
    }

    /// The frame to store for each section with the contents `contents`; `None` for a section to store
    /// uncompressed.
    pub(super) fn compress_all<'b>(
        self,
        outputs: impl Iterator<Item = &'b OutputSection>,
        contents: impl Iterator<Item = &'b [u8]>,
    ) -> Vec<Option<Vec<u8>>> {
        let mut budget = SizeBudget::default();
        let sections = outputs.zip(contents);
        sections
            .map(|(output, bytes)| {
                let frame = self.compress(output, bytes)?;
                budget.accept(frame.len(), output.size).then_some(frame)
            })
            .collect()
    }

    /// The frame to store for a section that holds `bytes`; `None` to store it uncompressed.
    fn compress(self, output: &OutputSection, bytes: &[u8]) -> Option<Vec<u8>> {
        if !output.kind.is_compressible(output.name) {
            return None;
        }
        let size = usize::try_from(output.size).ok()?;
        // The frame includes the zeroes behind the bytes. With more zeroes than bytes every load would have to write
        // them.
        size.checked_sub(bytes.len()).filter(|zeroes| *zeroes <= bytes.len())?;
        let mut contents = bytes.to_vec();
        contents.resize(size, 0);
        let frame = match self {
            Algorithm::Zstd => Some(zstd(&contents)),
            Algorithm::Lz4 => lz4(&contents),
        };
        let frame = frame.filter(|frame| frame.len() < bytes.len())?;
        let mut again = vec![0; contents.len()];
        decompress(self.compression().0, &frame, &mut again).ok()?;
        (again == contents).then_some(frame)
    }
}

/// The compressed and decompressed sizes of a module's sections, to stay within the default [`Limits`] of
/// readers. In bytes.
#[derive(Default)]
struct SizeBudget {
    stored: u64,
    decompressed: u64,
}

impl SizeBudget {
    /// Adds a section, unless its own ratio or that of all sections would exceed a limit.
    fn accept(&mut self, stored: usize, decompressed: u64) -> bool {
        let limits = Limits::default();
        let stored = stored as u64;
        let all_stored = self.stored.saturating_add(stored);
        let all = self.decompressed.saturating_add(decompressed);
        let fits = decompressed <= limits.max_decompressed(stored)
            && all <= limits.max_decompressed(all_stored);
        if fits {
            (self.stored, self.decompressed) = (all_stored, all);
        }
        fits
    }
}

fn zstd(contents: &[u8]) -> Vec<u8> {
    let mut encoder: FrameCompressor =
        FrameCompressor::new(CompressionLevel::from_level(ZSTD_LEVEL.into()));
    encoder.set_content_checksum(true);
    encoder.compress_independent_frame(contents)
}

fn lz4(contents: &[u8]) -> Option<Vec<u8>> {
    let info = FrameInfo::new()
        .block_mode(BlockMode::Linked)
        .block_size(BlockSize::Max4MB)
        .content_checksum(true)
        .content_size(u64::try_from(contents.len()).ok());
    let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
    encoder.write_all(contents).ok()?;
    encoder.finish().ok()
}
