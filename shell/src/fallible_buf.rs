//! A byte buffer that reports a failed allocation once, at the end.

#[cfg(any(feature = "jit", feature = "c-api"))]
use std::fmt;
use std::io;
#[cfg(any(test, feature = "jit", feature = "c-api"))]
use std::io::Write;

use smf_core::alloc_util::AllocError;

/// A byte buffer that records a failed allocation and does not grow after it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct FallibleBuf {
    bytes: Vec<u8>,
    alloc_failed: bool,
}

impl FallibleBuf {
    /// Appends bytes.
    pub(crate) fn put(&mut self, bytes: &[u8]) {
        self.alloc_failed |= self.bytes.try_reserve(bytes.len()).is_err();
        if !self.alloc_failed {
            self.bytes.extend_from_slice(bytes);
        }
    }

    /// Appends numbers of 32 bits in the byte order of this machine.
    pub(crate) fn put_u32(&mut self, numbers: &[u32]) {
        numbers.iter().for_each(|number| self.put(&number.to_ne_bytes()));
    }

    /// Appends numbers of 64 bits in the byte order of this machine.
    pub(crate) fn put_u64(&mut self, numbers: &[u64]) {
        numbers.iter().for_each(|number| self.put(&number.to_ne_bytes()));
    }

    /// Appends a number in ULEB128 (DWARF 4, 7.6).
    pub(crate) fn put_uleb128(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.put(&[low_bits(number) | 0x80]);
            number >>= 7;
        }
        self.put(&[low_bits(number)]);
    }

    /// Appends a number in SLEB128 (DWARF 4, 7.6).
    pub(crate) fn put_sleb128(&mut self, mut number: i64) {
        loop {
            let low = low_bits(number.cast_unsigned());
            number >>= 7;
            let is_last = matches!((number, low & 0x40), (0, 0) | (-1, 0x40));
            self.put(&[if is_last { low } else { low | 0x80 }]);
            if is_last {
                return;
            }
        }
    }

    /// The length in bytes.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The contents.
    ///
    /// # Errors
    /// [`AllocError`]: some bytes are missing.
    pub(crate) fn finish(self) -> Result<Vec<u8>, AllocError> {
        if self.alloc_failed { Err(AllocError) } else { Ok(self.bytes) }
    }
}

/// The lower seven bits.
fn low_bits(number: u64) -> u8 {
    let [low, ..] = number.to_le_bytes();
    low & 0x7f
}

impl io::Write for FallibleBuf {
    /// Never fails: an `io::Error` would need memory itself.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.put(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Bytes as text, with replacement characters for what is not UTF-8.
#[cfg(feature = "exec")]
pub(crate) struct Lossy<'b>(pub(crate) &'b [u8]);

#[cfg(feature = "exec")]
impl fmt::Display for Lossy<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.utf8_chunks().try_for_each(|chunk| {
            f.write_str(chunk.valid())?;
            f.write_str(if chunk.invalid().is_empty() { "" } else { "\u{fffd}" })
        })
    }
}

/// Fallible `format`.
///
/// # Errors
/// [`AllocError`].
#[cfg(any(feature = "jit", feature = "c-api"))]
pub(crate) fn try_format(text: fmt::Arguments<'_>) -> Result<String, AllocError> {
    let mut buf = FallibleBuf::default();
    // Writing to the buffer does not fail.
    let _ = buf.write_fmt(text);
    // Formatted text is UTF-8.
    Ok(String::from_utf8(buf.finish()?).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failed_allocation_is_reported_by_finish() {
        let mut buf = FallibleBuf::default();
        buf.put(b"one ");
        write!(buf, "{:x}", 255).unwrap();
        assert_eq!((buf.len(), buf.clone().finish()), (6, Ok(b"one ff".to_vec())));
        buf.alloc_failed = true;
        buf.put(b"more");
        assert_eq!((buf.len(), buf.finish()), (6, Err(AllocError)));
    }
}
