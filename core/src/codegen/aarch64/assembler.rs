//! The buffer of instructions, with labels and relocations.
//!
//! A reference to a label that is bound is encoded at once. The others are listed and encoded when the code is asked
//! for, so that each takes one step.

use alloc::vec::Vec;

use super::field::{Field, Fixup};
use crate::alloc_util::{try_push, try_reserve};
use crate::codegen::assemble_error::AssembleError;
use crate::codegen::code::{Code, CodeBuffer, Relocation};
use crate::codegen::label::{Label, LabelTable, Labels};
use crate::format::RelocKind;

/// The largest code in bytes: the reach of B.
pub(super) const MAX_CODE: usize = 1 << 27;

/// Appends instructions to a buffer.
#[derive(Debug, Default)]
pub struct Assembler {
    bytes: Vec<u8>,
    relocations: Vec<Relocation>,
    labels: LabelTable,
    /// References to labels that were not bound.
    fixups: Vec<Fixup>,
    /// Whether conditional branches to labels that are not bound reach all of the code.
    pub(super) has_long_branches: bool,
    error: Option<AssembleError>,
}

impl Assembler {
    /// An assembler without code.
    pub fn new() -> Self {
        Self::default()
    }

    /// The offset of the next instruction in bytes.
    #[inline]
    pub fn offset(&self) -> u32 {
        // Bounded by `MAX_CODE`.
        u32::try_from(self.bytes.len()).unwrap_or(u32::MAX)
    }

    /// Removes code, labels, relocations and the error. Allocated memory is reused.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.relocations.clear();
        self.labels.clear();
        self.fixups.clear();
        (self.has_long_branches, self.error) = (false, None);
    }

    /// Makes conditional branches to labels that are not bound reach all of the code, by an inverted condition over an
    /// unconditional branch. Without it their limit is 1 MiB.
    pub fn set_long_branches(&mut self, long: bool) {
        self.has_long_branches = long;
    }

    /// Whether conditional branches to labels that are not bound reach all of the code.
    pub fn has_long_branches(&self) -> bool {
        self.has_long_branches
    }

    /// Appends an instruction.
    #[inline]
    pub(super) fn word(&mut self, word: u32) {
        if self.bytes.len().saturating_add(4) > self.bytes.capacity() {
            self.grow();
        }
        if self.error.is_none() {
            self.bytes.extend_from_slice(&word.to_le_bytes());
        }
    }

    #[cold]
    #[inline(never)]
    fn grow(&mut self) {
        if self.bytes.len() >= MAX_CODE - 4 {
            return self.fail(AssembleError::TooLarge { limit: MAX_CODE });
        }
        let more = self.bytes.len().clamp(1024, MAX_CODE - self.bytes.len());
        if try_reserve(&mut self.bytes, more).is_err() {
            self.fail(AssembleError::OutOfMemory { bytes: more });
        }
    }

    /// Appends bytes that are no instructions, behind zeros up to the next multiple of `align`, a power of two.
    pub fn put_data(&mut self, bytes: &[u8], align: u32) {
        let align = usize::try_from(align).unwrap_or(1).max(1);
        let zeros = self.bytes.len().next_multiple_of(align) - self.bytes.len();
        let more = zeros.saturating_add(bytes.len());
        if self.bytes.len().saturating_add(more) > MAX_CODE {
            return self.fail(AssembleError::TooLarge { limit: MAX_CODE });
        }
        if try_reserve(&mut self.bytes, more).is_err() {
            return self.fail(AssembleError::OutOfMemory { bytes: more });
        }
        self.bytes.resize(self.bytes.len() + zeros, 0);
        self.bytes.extend_from_slice(bytes);
    }

    /// Stores the error if it is the first one.
    #[cold]
    pub(super) fn fail(&mut self, error: AssembleError) {
        self.error.get_or_insert(error);
    }

    /// Reports an operand that the next instruction cannot encode.
    #[cold]
    pub(super) fn refuse(&mut self, value: i64) {
        let offset = self.offset();
        self.fail(AssembleError::Immediate { offset, value });
    }

    /// Adds a relocation of the next instruction.
    pub(super) fn relocate(&mut self, kind: RelocKind, target: u32, addend: i64) {
        let relocation = Relocation { offset: self.offset(), kind, target, addend };
        if try_push(&mut self.relocations, relocation).is_err() {
            self.fail(AssembleError::OutOfMemory { bytes: size_of::<Relocation>() });
        }
    }

    /// The code.
    ///
    /// # Errors
    ///
    /// The first error: no memory, an operand that its instruction cannot encode, a label that is used and not bound or bound
    /// twice, or a branch beyond its limit.
    pub fn code(&mut self) -> Result<Code<'_>, AssembleError> {
        self.resolve();
        match self.error {
            Some(error) => Err(error),
            None => Ok(Code { bytes: &self.bytes, relocations: &self.relocations }),
        }
    }

    /// The code, moved out.
    ///
    /// # Errors
    ///
    /// As [`code`](Self::code).
    pub fn finish(mut self) -> Result<CodeBuffer, AssembleError> {
        self.code()?;
        let Self { bytes, relocations, .. } = self;
        Ok(CodeBuffer { bytes, relocations, ..CodeBuffer::default() })
    }

    /// A label that is not bound.
    #[inline]
    pub fn label(&mut self) -> Label {
        self.labels(1).get(0).unwrap_or(Label(u32::MAX))
    }

    /// `count` labels that are not bound.
    #[inline]
    pub fn labels(&mut self, count: usize) -> Labels {
        let labels = self.labels.add(count);
        labels.unwrap_or_else(|error| {
            self.fail(error);
            Labels::default()
        })
    }

    /// Binds `label` to the offset of the next instruction.
    #[inline]
    pub fn bind(&mut self, label: Label) {
        if let Err(error) = self.labels.bind(label, self.offset()) {
            self.fail(error);
        }
    }

    /// The offset of a label that is bound.
    #[inline]
    pub fn label_offset(&self, label: Label) -> Option<u32> {
        self.labels.offset(label)
    }

    /// The distance from the next instruction to a label that is bound.
    pub(super) fn distance(&self, label: Label) -> Option<i64> {
        Some(i64::from(self.label_offset(label)?) - i64::from(self.offset()))
    }

    /// An instruction whose `field` holds the distance to `label`.
    pub(super) fn refer(&mut self, word: u32, field: Field, label: Label) {
        match self.distance(label) {
            Some(distance) => match field.encode(distance) {
                Some(bits) => self.word(word | bits),
                None => self.too_far(self.offset(), distance, field),
            },
            None => {
                let fixup = Fixup { offset: self.offset(), label, field };
                if try_push(&mut self.fixups, fixup).is_err() {
                    self.fail(AssembleError::OutOfMemory { bytes: size_of::<Fixup>() });
                }
                self.word(word);
            }
        }
    }

    #[cold]
    fn too_far(&mut self, offset: u32, distance: i64, field: Field) {
        self.fail(AssembleError::BranchRange { offset, distance, limit: field.limit() });
    }

    /// Encodes the listed references. Repeated calls change nothing.
    fn resolve(&mut self) {
        let fixups = core::mem::take(&mut self.fixups);
        for &Fixup { offset, label, field } in &fixups {
            let target = match self.labels.target(label) {
                Ok(target) => target,
                Err(error) => {
                    self.fail(error);
                    continue;
                }
            };
            let distance = i64::from(target) - i64::from(offset);
            let Some(bits) = field.encode(distance) else {
                self.too_far(offset, distance, field);
                continue;
            };
            let place = self.bytes.get_mut(offset as usize..);
            if let Some(place) = place.and_then(|place| place.first_chunk_mut::<4>()) {
                *place = (u32::from_le_bytes(*place) | bits).to_le_bytes();
            }
        }
        // The memory is reused.
        self.fixups = fixups;
        self.fixups.clear();
    }
}
