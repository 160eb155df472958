//! A section as frames of one algorithm, back to back, interleaved with skippable frames.

use crate::format::error::CompressionErrorKind;
use crate::format::model::Compression;
use crate::format::read::decompress::frame::Failure;
use crate::format::read::decompress::output::{Frame, Output};
use crate::format::read::decompress::{lz4, zstd};
use crate::format::wire::Cursor;

/// The magic of a skippable frame, without its lowest four bits. Both algorithms use it.
const SKIPPABLE: u32 = 0x184d_2a50;

/// The frames of a section of `virtual_size` bytes, each with its bytes and its offset. The iterator ends after an
/// error.
fn frames(
    compression: Compression,
    data: &[u8],
    virtual_size: u64,
) -> impl Iterator<Item = Result<(Frame, &[u8], usize), Failure>> {
    let mut next = 0usize;
    core::iter::from_fn(move || {
        loop {
            let at = next;
            let rest = data.get(at..).filter(|rest| !rest.is_empty())?;
            let found = match (skip(rest), compression) {
                (Some(Some(len)), _) => {
                    next = at.saturating_add(len);
                    continue;
                }
                (Some(None), _) => Err(CompressionErrorKind::Truncated),
                (None, Compression::ZSTD) => zstd::frame(rest, virtual_size),
                (None, Compression::LZ4) => lz4::frame(rest),
                _ => Err(CompressionErrorKind::NoFrame { compression }),
            };
            let len = found.as_ref().map_or(rest.len(), |frame| frame.len);
            next = at.saturating_add(len);
            let bytes = rest.get(..len).unwrap_or(rest);
            return Some(found.map(|frame| (frame, bytes, at)).map_err(|fault| (fault, at)));
        }
    })
}

/// The length of a skippable frame; `None` for any other frame, `Some(None)` if it does not end.
fn skip(rest: &[u8]) -> Option<Option<usize>> {
    let mut cursor = Cursor::new(rest);
    cursor.u32().filter(|magic| magic & !0xf == SKIPPABLE)?;
    let len = cursor.u32().and_then(|len| usize::try_from(len).ok());
    Some(len.and_then(|len| cursor.take(len)).map(|_| cursor.position()))
}

/// Checks that `data` consists of frames that can hold `virtual_size` bytes.
pub(crate) fn check(
    compression: Compression,
    data: &[u8],
    virtual_size: u64,
) -> Result<(), Failure> {
    let (mut most, mut stated) = (0u64, 0u64);
    for found in frames(compression, data, virtual_size) {
        let (frame, _, at) = found?;
        most = most.saturating_add(frame.most);
        stated = stated.saturating_add(frame.content.unwrap_or(0));
        if stated > virtual_size {
            return Err((CompressionErrorKind::Long { virtual_size }, at));
        }
    }
    check_filled(most, virtual_size)
}

/// Decompresses `data` to `out`, which must be filled exactly.
pub(crate) fn decompress(
    compression: Compression,
    data: &[u8],
    out: &mut [u8],
) -> Result<(), Failure> {
    decode(compression, data, &mut Output::whole(out))
}

/// Checks that `data` decompresses to `virtual_size` bytes, without holding all of them.
pub(crate) fn verify(
    compression: Compression,
    data: &[u8],
    virtual_size: u64,
) -> Result<(), Failure> {
    decode(compression, data, &mut Output::discarded(virtual_size))
}

/// Decompresses `data` to `output`, which must be filled exactly.
fn decode(compression: Compression, data: &[u8], output: &mut Output<'_>) -> Result<(), Failure> {
    let virtual_size = output.virtual_size;
    for found in frames(compression, data, virtual_size) {
        let (frame, bytes, at) = found?;
        output.begin_frame();
        let decoded = match compression {
            Compression::ZSTD => zstd::decode(bytes, &frame, output),
            _ => lz4::decode(bytes, output),
        };
        decoded.map_err(|fault| (fault, at))?;
    }
    check_filled(output.written, virtual_size)
}

/// Refuses frames that hold at most `max` bytes if the section has more.
fn check_filled(max: u64, virtual_size: u64) -> Result<(), Failure> {
    if max < virtual_size {
        return Err((CompressionErrorKind::Short { max, virtual_size }, 0));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use core::hash::Hasher as _;

    use twox_hash::{XxHash32, XxHash64};

    #[test]
    fn checksums_match_the_published_vectors() {
        let (xxh32, xxh64) =
            (|data: &[u8]| XxHash32::oneshot(0, data), |data: &[u8]| XxHash64::oneshot(0, data));
        // The buffer of the reference implementation's self-test.
        let mut random = 0x9e37_79b1u64;
        let buffer = [(); 222].map(|()| {
            let [.., byte] = random.to_le_bytes();
            random = random.wrapping_mul(0x9e37_79b1_85eb_ca8d);
            byte
        });
        for (len, short, long) in [
            (0, 0x02cc_5d05, 0xef46_db37_51d8_e999),
            (1, 0xcf65_b03e, 0xe934_a84a_db05_2768),
            (14, 0x1208_e7e2, 0x8282_dcc4_994e_35c8),
            (222, 0x5bd1_1dbd, 0xb641_ae8c_b691_c174),
        ] {
            let data = &buffer[..len];
            assert_eq!((xxh32(data), xxh64(data)), (short, long), "{len} bytes");
            for piece in [1, 3, 15, 16, 31, 33, 100] {
                let (mut one, mut other) = (XxHash32::default(), XxHash64::default());
                for data in data.chunks(piece) {
                    one.write(data);
                    other.write(data);
                }
                let found = (one.finish_32(), other.finish());
                assert_eq!(found, (short, long), "{len} bytes, {piece} at a time");
            }
        }
        assert_eq!(xxh32(b"Nobody inspects the spammish repetition"), 0xe229_3b2f);
        assert_eq!(xxh64(b"Nobody inspects the spammish repetition"), 0xfbce_a83c_8a37_8bf1);
    }
}
