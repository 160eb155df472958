//! LZ4 frames. This module parses them; lz4_flex decodes their blocks straight into the output, or into a buffer of one
//! block and the preceding 64 KiB, the maximum distance of a match.
//!
//! Blocks without a frame are refused: they state neither a length nor a checksum, and no writer of modules emits them.
//! Source: the LZ4 frame format 1.6.4.

use core::hash::Hasher as _;

use lz4_flex::block::{DecompressError, decompress_into_with_dict};
use twox_hash::XxHash32;

use crate::format::error::{CompressionErrorKind, ensure};
use crate::format::model::Compression;
use crate::format::read::decompress::output::{Frame, Output};
use crate::format::wire::{Cursor, u32_at};

const MAGIC: u32 = 0x184d_2204;
/// The maximum number of bytes that one byte of a block decompresses to.
const RATIO: u64 = 255;
/// The bit of a block's length that marks the block as stored uncompressed.
const STORED: u32 = 1 << 31;

/// The frame at the start of `data`.
pub(crate) fn frame(data: &[u8]) -> Result<Frame, CompressionErrorKind> {
    let mut cursor = Cursor::new(data);
    let header = Header::read(&mut cursor)?;
    let mut held = 0u64;
    while let Some(block) = header.block(&mut cursor)? {
        let len = block.data.len() as u64;
        let most = if block.is_stored { len } else { len.saturating_mul(RATIO) };
        held = held.saturating_add(most.min(header.block_size as u64));
    }
    if header.has_checksum {
        cursor.take(4).ok_or(CompressionErrorKind::Truncated)?;
    }
    let content = header.content;
    ensure(content.is_none_or(|content| content <= held), CompressionErrorKind::Broken)?;
    Ok(Frame { len: cursor.position(), most: content.unwrap_or(held), content, window: 0 })
}

/// The frame descriptor.
struct Header {
    /// The maximum length of a block, decompressed or stored.
    block_size: usize,
    /// Blocks may refer to those before them.
    is_linked: bool,
    blocks_have_checksums: bool,
    content: Option<u64>,
    has_checksum: bool,
}

/// A block: its bytes and the fields of its header.
struct Block<'c> {
    data: &'c [u8],
    is_stored: bool,
    checksum: Option<u32>,
}

impl Header {
    fn read(cursor: &mut Cursor<'_>) -> Result<Self, CompressionErrorKind> {
        let no_frame = CompressionErrorKind::NoFrame { compression: Compression::LZ4 };
        ensure(u32_at(cursor.rest(), 0) == Some(MAGIC), no_frame)?;
        cursor.take(4).ok_or(CompressionErrorKind::Truncated)?;
        let descriptor = cursor.rest();
        let (header, has_dictionary) =
            Self::fields(cursor).ok_or(CompressionErrorKind::Truncated)?;
        let len = descriptor.len() - cursor.rest().len();
        let checksum = cursor.u8().ok_or(CompressionErrorKind::Truncated)?;
        let [_, expected, ..] =
            XxHash32::oneshot(0, descriptor.get(..len).unwrap_or(&[])).to_le_bytes();
        ensure(checksum == expected, CompressionErrorKind::Checksum)?;
        ensure(!has_dictionary, CompressionErrorKind::Dictionary)?;
        header.ok_or(CompressionErrorKind::Broken)
    }

    /// The fields up to the checksum (`None` if a field is invalid), and whether the frame needs a dictionary.
    fn fields(cursor: &mut Cursor<'_>) -> Option<(Option<Self>, bool)> {
        let (flags, sizes) = (cursor.u8()?, cursor.u8()?);
        let has = |bit: u8| flags & bit != 0;
        let content = if has(8) { Some(cursor.u64()?) } else { None };
        if has(1) {
            cursor.take(4)?;
        }
        // The version is 1, and the reserved bits of both bytes are 0.
        let is_sound = flags >> 6 == 1 && !has(2) && sizes & 0x8f == 0;
        let block_size = match sizes >> 4 {
            size @ 4..=7 if is_sound => 1usize << (8 + 2 * u32::from(size)),
            _ => return Some((None, has(1))),
        };
        let header = Header {
            block_size,
            is_linked: !has(0x20),
            blocks_have_checksums: has(0x10),
            content,
            has_checksum: has(4),
        };
        Some((Some(header), has(1)))
    }

    /// The next block; `None` after the last one.
    fn block<'c>(
        &self,
        cursor: &mut Cursor<'c>,
    ) -> Result<Option<Block<'c>>, CompressionErrorKind> {
        let size = cursor.u32().ok_or(CompressionErrorKind::Truncated)?;
        if size == 0 {
            return Ok(None);
        }
        let len = usize::try_from(size & !STORED).map_err(|_| CompressionErrorKind::Broken)?;
        ensure(len <= self.block_size, CompressionErrorKind::Broken)?;
        let data = cursor.take(len).ok_or(CompressionErrorKind::Truncated)?;
        let checksum = match self.blocks_have_checksums {
            true => Some(cursor.u32().ok_or(CompressionErrorKind::Truncated)?),
            false => None,
        };
        Ok(Some(Block { data, is_stored: size & STORED != 0, checksum }))
    }
}

/// Decodes the frame in `data` to `output`.
pub(crate) fn decode(data: &[u8], output: &mut Output<'_>) -> Result<(), CompressionErrorKind> {
    let mut cursor = Cursor::new(data);
    let header = Header::read(&mut cursor)?;
    let (start, virtual_size) = (output.written, output.virtual_size);
    let mut hash = XxHash32::default();
    while let Some(block) = header.block(&mut cursor)? {
        if block.checksum.is_some_and(|checksum| checksum != XxHash32::oneshot(0, block.data)) {
            return Err(CompressionErrorKind::Checksum);
        }
        let (window, place) = output.place(header.block_size)?;
        let window = if header.is_linked { window } else { &[] };
        let len = header
            .decode_block(&block, window, place)
            .map_err(|fault| fault.unwrap_or(CompressionErrorKind::Long { virtual_size }))?;
        if header.has_checksum {
            hash.write(place.get(..len).unwrap_or(&[]));
        }
        output.advance(len);
    }
    if header.has_checksum && cursor.u32() != Some(hash.finish_32()) {
        return Err(CompressionErrorKind::Checksum);
    }
    let len = output.written - start;
    ensure(header.content.is_none_or(|content| content == len), CompressionErrorKind::Broken)
}

impl Header {
    /// Decodes a block to the start of `place`, with `window` before it. The error is `None` if `place` is too short
    /// for the block.
    fn decode_block(
        &self,
        block: &Block<'_>,
        window: &[u8],
        place: &mut [u8],
    ) -> Result<usize, Option<CompressionErrorKind>> {
        if block.is_stored {
            let len = block.data.len();
            place.get_mut(..len).ok_or(None)?.copy_from_slice(block.data);
            return Ok(len);
        }
        let is_whole = place.len() == self.block_size;
        decompress_into_with_dict(block.data, place, window).map_err(|error| match error {
            DecompressError::OutputTooSmall { .. } if !is_whole => None,
            _ => Some(CompressionErrorKind::Broken),
        })
    }
}
