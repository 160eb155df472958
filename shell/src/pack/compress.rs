//! Sections made smaller, where that makes the file smaller.
//!
//! What the loader reads in place stays as it is, code above all (see
//! [`SectionKind::is_compressible`](smf_core::format::SectionKind::is_compressible)). Every frame has a
//! checksum, and is decompressed once before it is trusted: an encoder that errs costs nothing but
//! what it would have saved. A section that became so small that a reader would take it for a bomb stays as it is.

use std::borrow::Cow;
use std::io::Write;

use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};
use smf_core::format::{Compression, Header, Limits, decompress};
use structured_zstd::encoding::{CompressionLevel, FrameCompressor};

use super::layout::Home;

/// How hard Zstandard tries: some 10 MB a second. The highest levels take ten times as long for a tenth
/// less.
const ZSTD_LEVEL: u8 = 9;

/// What sections are compressed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// Zstandard: the smaller files.
    Zstd,
    /// LZ4: the faster loading.
    Lz4,
}

impl Algorithm {
    fn compression(self) -> Compression {
        match self {
            Algorithm::Zstd => Compression::ZSTD,
            Algorithm::Lz4 => Compression::LZ4,
        }
    }

    /// Names the algorithm in a header.
    pub(super) fn name_in(self, header: &mut Header) {
        header.compression = self.compression();
        header.compression_level = match self {
            Algorithm::Zstd => ZSTD_LEVEL,
            Algorithm::Lz4 => 0,
        };
    }

    /// The bytes to store for each section of the module, which holds `bodies`; `None` for a section that is
    /// best stored as it is.
    pub(super) fn compress_all<'b>(
        self,
        homes: &[Home],
        bodies: impl Iterator<Item = &'b [u8]>,
    ) -> Vec<Option<Vec<u8>>> {
        let mut claims = Claims::default();
        let sections = homes.iter().zip(bodies);
        sections
            .map(|(home, bytes)| {
                let frame = self.compress(home, bytes)?;
                claims.accept(frame.len(), home.size).then_some(frame)
            })
            .collect()
    }

    /// The frame to store for a section that holds `bytes`; `None` when it is best stored as it is.
    fn compress(self, home: &Home, bytes: &[u8]) -> Option<Vec<u8>> {
        if !home.kind.is_compressible(home.name) {
            return None;
        }
        let contents = whole(home, bytes)?;
        let frame = match self {
            Algorithm::Zstd => Some(zstd(&contents)),
            Algorithm::Lz4 => lz4(&contents),
        };
        let frame = frame.filter(|frame| frame.len() < bytes.len())?;
        let mut again = vec![0; contents.len()];
        decompress(self.compression(), &frame, &mut again).ok()?;
        (again == *contents).then_some(frame)
    }
}

/// What the compressed sections of a module claim to decompress to, against what a reader with the default
/// [`Limits`] lets them claim.
#[derive(Default)]
struct Claims {
    stored: u64,
    decompressed: u64,
}

impl Claims {
    /// Adds a section, unless a reader would refuse it for its own size or for that of all of them.
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

/// What the section is in memory: its bytes, and the zeroes behind them, which become bytes as well
/// when they are compressed. `None` when they are too many: they would have to be written at every load.
fn whole<'b>(home: &Home, bytes: &'b [u8]) -> Option<Cow<'b, [u8]>> {
    let size = usize::try_from(home.size).ok()?;
    match size.checked_sub(bytes.len())? {
        0 => Some(Cow::Borrowed(bytes)),
        tail if tail > bytes.len() => None,
        _ => {
            let mut whole = bytes.to_vec();
            whole.resize(size, 0);
            Some(Cow::Owned(whole))
        }
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
