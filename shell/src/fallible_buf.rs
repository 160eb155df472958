//! Bytes that are put one behind the other where memory may be refused: whether there was enough is asked once,
//! of all of them.

use std::io;

use smf_core::alloc_util::AllocError;

/// A list of bytes that notes when there was no memory for some, and grows no more then.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct FallibleBuf {
    bytes: Vec<u8>,
    is_short: bool,
}

impl FallibleBuf {
    /// Puts bytes behind the others.
    pub(crate) fn put(&mut self, bytes: &[u8]) {
        self.is_short |= self.bytes.try_reserve(bytes.len()).is_err();
        if !self.is_short {
            self.bytes.extend_from_slice(bytes);
        }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// All of them.
    ///
    /// # Errors
    /// There was no memory for some.
    pub(crate) fn finish(self) -> Result<Vec<u8>, AllocError> {
        if self.is_short { Err(AllocError) } else { Ok(self.bytes) }
    }
}

impl io::Write for FallibleBuf {
    /// Never fails: an error of its own would ask for memory.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.put(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn what_is_short_stays_so() {
        let mut bytes = FallibleBuf::default();
        bytes.put(b"one ");
        write!(bytes, "{:x}", 255).unwrap();
        assert_eq!((bytes.len(), bytes.clone().finish()), (6, Ok(b"one ff".to_vec())));
        bytes.is_short = true;
        bytes.put(b"more");
        assert_eq!((bytes.len(), bytes.finish()), (6, Err(AllocError)));
    }
}
