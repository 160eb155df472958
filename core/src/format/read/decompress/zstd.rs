//! Zstandard frames (RFC 8878). This module parses them; ruzstd decodes them.
//!
//! The parser reads frame and block headers only. It determines the length of a frame, its maximum decompressed size
//! and its window size before the decoder runs. The decoder allocates its own window, at most as large as the output
//! and 128 MiB, and copies from there.

use alloc::vec::Vec;
use core::hash::Hasher as _;

use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};
use ruzstd::io::{Error, Write};
use twox_hash::XxHash64;

use crate::format::error::{CompressionErrorKind, ensure};
use crate::format::model::Compression;
use crate::format::read::decompress::output::{Frame, Output};
use crate::format::wire::{Cursor, u32_at};

const MAGIC: u32 = 0xfd2f_b528;
/// The maximum decompressed size of a block, for any window size.
const BLOCK: u64 = 128 << 10;
/// The window size that every decoder should support. Streaming writers request it even for short data.
const MIN_LIMIT: u64 = 8 << 20;
/// The maximum window size for a section of any size: that of level 22 of the reference tool, which refuses larger
/// windows by default.
const MAX_LIMIT: u64 = 128 << 20;

/// The frame at the start of `data`, a part of a section of `virtual_size` bytes.
pub(crate) fn frame(data: &[u8], virtual_size: u64) -> Result<Frame, CompressionErrorKind> {
    let no_frame = CompressionErrorKind::NoFrame { compression: Compression::ZSTD };
    ensure(u32_at(data, 0) == Some(MAGIC), no_frame)?;
    let mut cursor = Cursor::new(data);
    let header = header(&mut cursor).ok_or(CompressionErrorKind::Truncated)?;
    ensure(!header.is_reserved, CompressionErrorKind::Broken)?;
    ensure(header.dictionary == 0, CompressionErrorKind::Dictionary)?;
    let limit = virtual_size.checked_next_power_of_two().unwrap_or(u64::MAX);
    let limit = limit.clamp(MIN_LIMIT, MAX_LIMIT);
    let size = header.window;
    ensure(size <= limit, CompressionErrorKind::Window { size, limit })?;
    let held = blocks(&mut cursor, header.window.min(BLOCK))?;
    if header.has_checksum {
        cursor.take(4).ok_or(CompressionErrorKind::Truncated)?;
    }
    let Header { window, content, .. } = header;
    ensure(content.is_none_or(|content| content <= held), CompressionErrorKind::Broken)?;
    Ok(Frame { len: cursor.position(), most: content.unwrap_or(held), content, window })
}

struct Header {
    window: u64,
    dictionary: u32,
    content: Option<u64>,
    has_checksum: bool,
    /// A bit that must be 0 is set.
    is_reserved: bool,
}

/// Parses the frame header (RFC 8878, section 3.1.1.1).
fn header(cursor: &mut Cursor<'_>) -> Option<Header> {
    cursor.take(4)?;
    let descriptor = cursor.u8()?;
    let is_single = descriptor & 0x20 != 0;
    let window = if is_single { None } else { Some(window(cursor.u8()?)) };
    let dictionary = match descriptor & 3 {
        0 => 0,
        1 => cursor.u8()?.into(),
        2 => cursor.u16()?.into(),
        _ => cursor.u32()?,
    };
    let content = match descriptor >> 6 {
        0 if is_single => Some(cursor.u8()?.into()),
        0 => None,
        1 => Some(u64::from(cursor.u16()?) + 256),
        2 => Some(cursor.u32()?.into()),
        _ => Some(cursor.u64()?),
    };
    Some(Header {
        window: window.or(content)?,
        dictionary,
        content,
        has_checksum: descriptor & 4 != 0,
        is_reserved: descriptor & 8 != 0,
    })
}

fn window(descriptor: u8) -> u64 {
    let base = 1024u64 << (descriptor >> 3);
    base + base / 8 * u64::from(descriptor & 7)
}

/// Parses the blocks of a frame, each of at most `most` decompressed bytes. Returns an upper bound on the decompressed
/// size of all of them.
fn blocks(cursor: &mut Cursor<'_>, most: u64) -> Result<u64, CompressionErrorKind> {
    let mut held = 0u64;
    loop {
        let Some(&[low, middle, high]) = cursor.take(3).and_then(<[u8]>::first_chunk) else {
            return Err(CompressionErrorKind::Truncated);
        };
        let header = u32::from_le_bytes([low, middle, high, 0]);
        let size = header >> 3;
        let (len, holds) = match (header >> 1) & 3 {
            0 => (size, size.into()),
            1 => (1, size.into()),
            2 => (size, most),
            _ => return Err(CompressionErrorKind::Broken),
        };
        ensure(holds <= most, CompressionErrorKind::Broken)?;
        held = held.saturating_add(holds);
        let len = usize::try_from(len).map_err(|_| CompressionErrorKind::Truncated)?;
        cursor.take(len).ok_or(CompressionErrorKind::Truncated)?;
        if header & 1 != 0 {
            return Ok(held);
        }
    }
}

/// Decodes the frame in `data` to `output`.
pub(crate) fn decode(
    data: &[u8],
    frame: &Frame,
    output: &mut Output<'_>,
) -> Result<(), CompressionErrorKind> {
    let long = CompressionErrorKind::Long { virtual_size: output.virtual_size };
    ensure(frame.content.is_none_or(|content| content <= output.left()), long)?;
    // The allocation is limited to what the frame can decompress to; otherwise many small frames would take long.
    let most = frame.most.min(output.left());
    ask_for_memory(frame.window.min(most))?;
    let mut decoder = FrameDecoder::new();
    decoder.set_max_window_size(frame.window);
    let mut start = || {
        let mut input = data;
        decoder.init(&mut input).map(|()| input).map_err(|_| CompressionErrorKind::Broken)
    };
    let mut input = start()?;
    if frame.window <= most {
        // From the second start on, the decoder allocates its window at once. On the first start it grows the window in
        // steps and copies it at each step, which would double the time.
        input = start()?;
    }
    let begin = output.written;
    let mut written = Written { output, hash: XxHash64::default() };
    while !decoder.is_finished() {
        let decoded = decoder.decode_blocks(&mut input, BlockDecodingStrategy::UptoBlocks(1));
        decoded.map_err(|_| CompressionErrorKind::Broken)?;
        decoder.collect_to_writer(&mut written).map_err(|_| CompressionErrorKind::Broken)?;
        ensure(decoder.can_collect() == 0, long)?;
    }
    let checksum = decoder.get_checksum_from_data();
    let found = written.hash.finish() & 0xffff_ffff;
    let is_true = checksum.is_none_or(|checksum| u64::from(checksum) == found);
    ensure(is_true, CompressionErrorKind::Checksum)?;
    let len = written.output.written - begin;
    ensure(frame.content.is_none_or(|content| content == len), CompressionErrorKind::Broken)
}

/// Receives the bytes of a frame as they leave the window of the decoder.
struct Written<'w, 'o> {
    output: &'w mut Output<'o>,
    hash: XxHash64,
}

impl Write for Written<'_, '_> {
    /// Writes all of `bytes`, or none of them if the section cannot hold them.
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Error> {
        if !self.output.append(bytes) {
            return Ok(0);
        }
        self.hash.write(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> Result<(), Error> {
        Ok(())
    }
}

/// Checks that memory for a window of `size` bytes is available. The decoder rounds the size up, and it aborts the
/// process if its allocation fails.
fn ask_for_memory(size: u64) -> Result<(), CompressionErrorKind> {
    let none = CompressionErrorKind::OutOfMemory { size };
    let rounded = size.checked_next_power_of_two().and_then(|size| size.checked_add(2 * BLOCK));
    let len = usize::try_from(rounded.ok_or(none)?).map_err(|_| none)?;
    Vec::<u8>::new().try_reserve_exact(len).map_err(|_| none)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn window_sizes_match_the_rfc() {
        assert_eq!(window(0), 1 << 10);
        assert_eq!(window(0x58), 2 << 20);
        assert_eq!(window(0x6f), (8 << 20) / 8 * 15);
        assert_eq!(window(0xff), (1 << 41) + 7 * (1 << 38));
    }
}
