//! The facts about a compressed frame, and the destination of its bytes: a buffer for all of them, or only for those
//! that the decoder reads again.
//!
//! Both decoders write to this type, so that the same code decompresses a section into memory and verifies it without
//! holding all of it.

use alloc::vec::Vec;

use crate::format::error::CompressionErrorKind;

/// The maximum distance back into the output that a decoder reads in the buffer: the LZ4 window.
pub(crate) const WINDOW: usize = 64 << 10;

/// The decompressed bytes of a section of `virtual_size` bytes.
pub(crate) struct Output<'o> {
    buffer: Buffer<'o>,
    /// The number of bytes in the buffer that are written.
    filled: usize,
    /// The start of the current frame in the buffer.
    frame: usize,
    /// Bytes written since the start of the section.
    pub(crate) written: u64,
    pub(crate) virtual_size: u64,
}

enum Buffer<'o> {
    /// A buffer for the whole section.
    Whole(&'o mut [u8]),
    /// A buffer for the last bytes only, for a decoder that refers back to them.
    Sliding(Vec<u8>),
}

impl<'o> Output<'o> {
    /// An output into `out`, whose length is that of the section.
    pub(crate) fn whole(out: &'o mut [u8]) -> Self {
        let virtual_size = out.len() as u64;
        Output { buffer: Buffer::Whole(out), filled: 0, frame: 0, written: 0, virtual_size }
    }

    /// An output that discards a section of `virtual_size` bytes.
    pub(crate) fn discarded(virtual_size: u64) -> Self {
        let buffer = Buffer::Sliding(Vec::new());
        Output { buffer, filled: 0, frame: 0, written: 0, virtual_size }
    }

    /// The number of bytes that the section can still hold.
    pub(crate) fn left(&self) -> u64 {
        self.virtual_size.saturating_sub(self.written)
    }

    /// Starts a frame; it does not refer to bytes of previous frames.
    pub(crate) fn begin_frame(&mut self) {
        self.frame = self.filled;
    }

    /// Appends bytes from a buffer of the decoder. Returns false if the section cannot hold them.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> bool {
        if bytes.len() as u64 > self.left() {
            return false;
        }
        if let Buffer::Whole(out) = &mut self.buffer {
            let rest = out.get_mut(self.filled..).and_then(|rest| rest.get_mut(..bytes.len()));
            let Some(place) = rest else { return false };
            place.copy_from_slice(bytes);
            self.filled += bytes.len();
        }
        self.written += bytes.len() as u64;
        true
    }

    /// The last bytes of the frame, as far back as a decoder refers to them, and a buffer for the next bytes: `len`
    /// bytes, or as many as the section can still hold.
    ///
    /// # Errors
    /// [`CompressionErrorKind::OutOfMemory`].
    pub(crate) fn place(&mut self, len: usize) -> Result<(&[u8], &mut [u8]), CompressionErrorKind> {
        let len = usize::try_from(self.left()).map_or(len, |left| len.min(left));
        if let Buffer::Sliding(buffer) = &mut self.buffer {
            if buffer.len() - self.filled < len {
                // Decoders refer to nothing before the window.
                let kept = self.filled.saturating_sub(WINDOW);
                buffer.copy_within(kept..self.filled, 0);
                self.filled -= kept;
                self.frame = self.frame.saturating_sub(kept);
            }
            let needed = WINDOW.saturating_add(len);
            if buffer.len() < needed {
                let size = needed as u64;
                let more = needed - buffer.len();
                buffer
                    .try_reserve_exact(more)
                    .map_err(|_| CompressionErrorKind::OutOfMemory { size })?;
                buffer.resize(needed, 0);
            }
        }
        let buffer = match &mut self.buffer {
            Buffer::Whole(out) => &mut **out,
            Buffer::Sliding(buffer) => buffer,
        };
        let (before, rest) =
            buffer.split_at_mut_checked(self.filled).ok_or(CompressionErrorKind::Broken)?;
        let from = self.frame.max(self.filled.saturating_sub(WINDOW));
        Ok((before.get(from..).unwrap_or(&[]), rest.get_mut(..len).unwrap_or(&mut [])))
    }

    /// Appends the first `len` bytes of the last [`Output::place`].
    pub(crate) fn advance(&mut self, len: usize) {
        self.filled = self.filled.saturating_add(len);
        self.written += len as u64;
    }
}

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
