//! The assembler: code, labels and relocations in memory that grows.

use alloc::vec::Vec;

use crate::codegen::assemble_error::AssembleError;
use crate::codegen::code::{Code, CodeBuffer, Relocation};
use crate::codegen::label::{Label, LabelTable, Labels};
use crate::codegen::machine::Cut;

/// The maximum number of bytes of code, so that distances within it are far from their limits.
pub(super) const MAX_CODE: usize = (1 << 28) - 65;

/// Puts instructions down one behind the other.
#[derive(Debug, Default)]
pub struct Assembler {
    /// Code, and behind it memory that instructions are written to.
    pub(super) bytes: Vec<u8>,
    /// Bytes of code, at most [`MAX_CODE`].
    pub(super) at: u32,
    pub(super) labels: LabelTable,
    /// References to labels that are not written yet, and labels that were bound, by ascending offset.
    pub(super) references: Vec<Reference>,
    pub(super) relocations: Vec<Relocation>,
    pub(super) cuts: Vec<Cut>,
    pub(super) error: Option<AssembleError>,
}

/// A reference to a label, or its place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reference {
    pub(super) site: u32,
    pub(super) label: Label,
    pub(super) kind: ReferenceKind,
    /// Bytes by which a jump becomes shorter.
    pub(super) removed: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReferenceKind {
    /// The label is bound here.
    Bind,
    /// The distance of 8 bits of a jump that is promised to be short.
    Short,
    /// The distance of 32 bits of a forward jump, behind an opcode of so many bytes.
    Jump { opcode: u8 },
    /// Another distance of 32 bits, with so many bytes behind it in its instruction.
    Near(u8),
}

impl Assembler {
    /// An assembler without code.
    pub fn new() -> Self {
        Self::default()
    }

    /// Where the next instruction will be, in bytes from the start of the code, below 2^28.
    #[inline]
    pub fn offset(&self) -> u32 {
        self.at
    }

    /// Removes code, labels and relocations, and the error. The memory stays.
    pub fn clear(&mut self) {
        (self.at, self.error) = (0, None);
        self.labels.clear();
        self.references.clear();
        self.relocations.clear();
        self.cuts.clear();
    }

    /// The code.
    ///
    /// # Errors
    ///
    /// What went wrong first: no memory, a label that jumps lead to and that is not bound, or is
    /// bound twice, or a jump that is longer than promised.
    pub fn code(&mut self) -> Result<Code<'_>, AssembleError> {
        self.resolve();
        let bytes = self.bytes.get(..self.at as usize).unwrap_or(&[]);
        self.error.map_or(Ok(Code { bytes, relocations: &self.relocations }), Err)
    }

    /// The code, taken out.
    ///
    /// # Errors
    ///
    /// As [`code`](Self::code).
    pub fn finish(mut self) -> Result<CodeBuffer, AssembleError> {
        self.code()?;
        let Self { mut bytes, relocations, .. } = self;
        bytes.truncate(self.at as usize);
        Ok(CodeBuffer { bytes, relocations, ..CodeBuffer::default() })
    }

    /// A label that is not bound.
    #[inline]
    pub fn label(&mut self) -> Label {
        self.labels(1).get(0).unwrap_or(Label(u32::MAX))
    }

    /// As many labels that are not bound.
    #[inline]
    pub fn labels(&mut self, count: usize) -> Labels {
        let labels = self.labels.add(count);
        labels.unwrap_or_else(|error| {
            self.keep(error);
            Labels::default()
        })
    }

    /// Stores the error if it is the first one.
    #[cold]
    #[inline(never)]
    pub(super) fn keep(&mut self, error: AssembleError) {
        self.error.get_or_insert(error);
    }
}
