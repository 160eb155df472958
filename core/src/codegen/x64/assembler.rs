//! The assembler: code, labels and relocations in a storage.

#[cfg(feature = "alloc")]
use super::storage::Growing;
use super::storage::Storage;
use crate::codegen::assemble_error::AssembleError;
#[cfg(feature = "alloc")]
use crate::codegen::code::CodeBuffer;
use crate::codegen::code::Relocation;

/// Puts instructions down one behind the other.
#[derive(Debug)]
pub struct Assembler<S> {
    pub(super) storage: S,
    /// Bytes of code, at most [`MAX_CODE`](super::label::MAX_CODE). They are counted further when the storage is full.
    pub(super) at: u32,
    /// See [`chain`](super::chain).
    pub(super) open: u32,
    /// How many there are of each.
    pub(super) labels: u32,
    pub(super) relocations: usize,
    /// Whether jumps are no longer collected to be relaxed.
    pub(super) is_settled: bool,
    pub(super) error: Option<AssembleError>,
}

/// The code of an assembler, where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code<'a> {
    /// The instructions.
    pub bytes: &'a [u8],
    /// What depends on addresses outside, in the order of the instructions.
    pub relocations: &'a [Relocation],
}

impl<S: Storage> Assembler<S> {
    /// An assembler without code.
    pub fn new(storage: S) -> Self {
        Self { storage, at: 0, open: 0, labels: 0, relocations: 0, is_settled: false, error: None }
    }

    /// Where the next instruction will be, in bytes from the start of the code, below 2^28.
    #[inline]
    pub fn offset(&self) -> u32 {
        self.at
    }

    /// Removes code, labels and relocations, and the error. The memory stays.
    pub fn clear(&mut self) {
        (self.at, self.labels, self.relocations) = (0, 0, 0);
        (self.open, self.error, self.is_settled) = (0, None, false);
        self.storage.clear();
    }

    /// The code.
    ///
    /// # Errors
    ///
    /// What went wrong first: full storage, a label that jumps lead to and that is not bound, or is
    /// bound twice, or a jump that is longer than promised.
    pub fn code(&mut self) -> Result<Code<'_>, AssembleError> {
        if self.open != 0 {
            let unbound = self.unbound();
            self.keep(unbound);
        }
        match self.error {
            Some(AssembleError::Full { capacity, .. }) => {
                Err(AssembleError::Full { capacity, needed: self.at as usize })
            }
            Some(error) => Err(error),
            None => {
                let (bytes, relocations) = self.storage.used(self.at as usize, self.relocations);
                Ok(Code { bytes, relocations })
            }
        }
    }
}

#[cfg(feature = "alloc")]
impl<S: Storage + Default> Default for Assembler<S> {
    fn default() -> Self {
        Self::new(S::default())
    }
}

#[cfg(feature = "alloc")]
impl Assembler<Growing> {
    /// An assembler whose storage grows.
    pub fn growing() -> Self {
        Self::new(Growing::default())
    }

    /// The code, taken out.
    ///
    /// # Errors
    ///
    /// As [`code`](Self::code).
    pub fn finish(mut self) -> Result<CodeBuffer, AssembleError> {
        self.code()?;
        let Growing { mut bytes, mut relocations, .. } = self.storage;
        bytes.truncate(self.at as usize);
        relocations.truncate(self.relocations);
        Ok(CodeBuffer { bytes, relocations, ..CodeBuffer::default() })
    }
}
