//! The destination of decompressed bytes: a buffer for all of them, or an observer.
//!
//! Both decoders write to this type, so that the same code decompresses a section into memory and verifies it without
//! holding all of it.

use alloc::vec::Vec;

use crate::format::error::CompressionErrorKind;

/// Receives each stretch of the decompressed bytes, in order.
pub(crate) type Observer<'o> = &'o mut dyn FnMut(&[u8]);

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
    Sliding(Vec<u8>, Observer<'o>),
}

impl<'o> Output<'o> {
    /// An output into `out`, whose length is that of the section.
    pub(crate) fn whole(out: &'o mut [u8]) -> Self {
        let virtual_size = out.len() as u64;
        Output { buffer: Buffer::Whole(out), filled: 0, frame: 0, written: 0, virtual_size }
    }

    /// An output that passes a section of `virtual_size` bytes to `observer`.
    pub(crate) fn observed(virtual_size: u64, observer: Observer<'o>) -> Self {
        let buffer = Buffer::Sliding(Vec::new(), observer);
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
        match &mut self.buffer {
            Buffer::Whole(out) => {
                let rest = out.get_mut(self.filled..).and_then(|rest| rest.get_mut(..bytes.len()));
                let Some(place) = rest else { return false };
                place.copy_from_slice(bytes);
                self.filled += bytes.len();
            }
            Buffer::Sliding(_, observer) => observer(bytes),
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
        if let Buffer::Sliding(buffer, _) = &mut self.buffer {
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
            Buffer::Sliding(buffer, _) => buffer,
        };
        let (before, rest) =
            buffer.split_at_mut_checked(self.filled).ok_or(CompressionErrorKind::Broken)?;
        let from = self.frame.max(self.filled.saturating_sub(WINDOW));
        Ok((before.get(from..).unwrap_or(&[]), rest.get_mut(..len).unwrap_or(&mut [])))
    }

    /// Appends the first `len` bytes of the last [`Output::place`] and passes them to `inspect`.
    pub(crate) fn advance(&mut self, len: usize, inspect: impl FnOnce(&[u8])) {
        let end = self.filled.saturating_add(len);
        let new = self.filled..end;
        match &mut self.buffer {
            Buffer::Whole(out) => inspect(out.get(new).unwrap_or(&[])),
            Buffer::Sliding(buffer, observer) => {
                let bytes = buffer.get(new).unwrap_or(&[]);
                inspect(bytes);
                observer(bytes);
            }
        }
        self.filled = end;
        self.written += len as u64;
    }
}
