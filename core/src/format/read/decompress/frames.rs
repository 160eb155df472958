//! A section as frames of one algorithm, back to back, among frames to be skipped.

use crate::format::error::CompressionErrorKind;
use crate::format::model::Compression;
use crate::format::read::decompress::frame::{Failure, Frame};
use crate::format::read::decompress::output::{Observer, Output};
use crate::format::read::decompress::{lz4, zstd};
use crate::format::wire::Cursor;

/// The magic of a frame to be skipped, but for its last four bits. Both algorithms have the same.
const SKIPPABLE: u32 = 0x184d_2a50;

/// The frames of a section that becomes `virtual_size` bytes. Ends after an error.
struct Frames<'c> {
    compression: Compression,
    virtual_size: u64,
    data: &'c [u8],
    at: usize,
}

impl<'c> Frames<'c> {
    fn new(compression: Compression, data: &'c [u8], virtual_size: u64) -> Self {
        Frames { compression, virtual_size, data, at: 0 }
    }

    fn frame(&self, rest: &[u8]) -> Result<Frame, CompressionErrorKind> {
        match self.compression {
            Compression::ZSTD => zstd::frame(rest, self.virtual_size),
            Compression::LZ4 => lz4::frame(rest),
            compression => Err(CompressionErrorKind::NoFrame { compression }),
        }
    }
}

impl<'c> Iterator for Frames<'c> {
    /// A frame, its bytes, and where it begins.
    type Item = Result<(Frame, &'c [u8], usize), Failure>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let at = self.at;
            let rest = self.data.get(at..).filter(|rest| !rest.is_empty())?;
            let found = match skip(rest) {
                Some(Some(len)) => {
                    self.at = at.saturating_add(len);
                    continue;
                }
                Some(None) => Err(CompressionErrorKind::Truncated),
                None => self.frame(rest),
            };
            let len = found.as_ref().map_or(rest.len(), |frame| frame.len);
            self.at = at.saturating_add(len);
            let bytes = rest.get(..len).unwrap_or(rest);
            return Some(match found {
                Ok(frame) => Ok((frame, bytes, at)),
                Err(fault) => Err((fault, at)),
            });
        }
    }
}

/// The length of a frame to be skipped: `None` when there is none, `Some(None)` when it does not end.
fn skip(rest: &[u8]) -> Option<Option<usize>> {
    let mut cursor = Cursor::new(rest);
    cursor.u32().filter(|magic| magic & !0xf == SKIPPABLE)?;
    let len = cursor.u32().and_then(|len| usize::try_from(len).ok());
    Some(len.and_then(|len| cursor.take(len)).map(|_| cursor.position()))
}

/// Checks that `data` is frames that can hold `virtual_size` bytes.
pub(crate) fn check(
    compression: Compression,
    data: &[u8],
    virtual_size: u64,
) -> Result<(), Failure> {
    let (mut most, mut stated) = (0u64, 0u64);
    for found in Frames::new(compression, data, virtual_size) {
        let (frame, _, at) = found?;
        most = most.saturating_add(frame.most);
        stated = stated.saturating_add(frame.content.unwrap_or(0));
        if stated > virtual_size {
            return Err((CompressionErrorKind::Long { virtual_size }, at));
        }
    }
    if most < virtual_size {
        Err((CompressionErrorKind::Short { max: most, virtual_size }, 0))
    } else {
        Ok(())
    }
}

/// Decompresses `data` to `out`, which it fills exactly.
pub(crate) fn decompress(
    compression: Compression,
    data: &[u8],
    out: &mut [u8],
) -> Result<(), Failure> {
    decode(compression, data, &mut Output::whole(out))
}

/// Shows `observer` the `virtual_size` bytes that `data` decompresses to, in order, without holding them all.
pub(crate) fn observe(
    compression: Compression,
    data: &[u8],
    virtual_size: u64,
    observer: Observer<'_>,
) -> Result<(), Failure> {
    decode(compression, data, &mut Output::observed(virtual_size, observer))
}

fn decode(compression: Compression, data: &[u8], output: &mut Output<'_>) -> Result<(), Failure> {
    let virtual_size = output.virtual_size();
    for found in Frames::new(compression, data, virtual_size) {
        let (frame, bytes, at) = found?;
        output.begin_frame();
        let decoded = match compression {
            Compression::ZSTD => zstd::decode(bytes, &frame, output),
            _ => lz4::decode(bytes, output),
        };
        decoded.map_err(|fault| (fault, at))?;
    }
    let most = output.written();
    if most < virtual_size {
        Err((CompressionErrorKind::Short { max: most, virtual_size }, 0))
    } else {
        Ok(())
    }
}
