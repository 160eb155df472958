//! Where code, labels and relocations are kept: in memory that grows, or in the caller's slices.

#[cfg(feature = "alloc")]
use alloc::vec::Vec;

use super::label::{Label, LabelState, MAX_CODE};
use super::operand::sealed::Sealed;
use crate::codegen::assemble_error::AssembleError;
use crate::codegen::code::Relocation;

/// Three arrays of which the assembler fills the front. It counts itself what is in use.
pub trait Storage: Sealed {
    /// Whether references to labels are collected until [`Relaxing`](super::Relaxing) settles them.
    const RELAXES: bool = false;

    /// Room for code, less than 256 MiB.
    fn bytes(&mut self) -> &mut [u8];

    /// Room for labels.
    fn labels(&mut self) -> &mut [LabelState];

    /// Room for relocations.
    fn relocations(&mut self) -> &mut [Relocation];

    /// The front of bytes and relocations.
    fn used(&self, bytes: usize, relocations: usize) -> (&[u8], &[Relocation]);

    /// Makes room for `count` bytes and more of code in all.
    ///
    /// # Errors
    ///
    /// There is no more; nothing has changed.
    fn grow_bytes(&mut self, count: usize) -> Result<(), AssembleError>;

    /// As [`grow_bytes`](Self::grow_bytes), for labels.
    ///
    /// # Errors
    ///
    /// There is no more; nothing has changed.
    fn grow_labels(&mut self, count: usize) -> Result<(), AssembleError>;

    /// As [`grow_bytes`](Self::grow_bytes), for relocations.
    ///
    /// # Errors
    ///
    /// There is no more; nothing has changed.
    fn grow_relocations(&mut self, count: usize) -> Result<(), AssembleError>;

    /// Forgets what it has collected, but not the memory.
    fn clear(&mut self) {}

    /// Collects a label that is bound at `site`, or a reference to it whose distance is there.
    ///
    /// # Errors
    ///
    /// There is no memory.
    fn collect(&mut self, _: u32, _: Label, _: Reference) -> Result<(), AssembleError> {
        Ok(())
    }
}

/// What [`Storage::collect`] collects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reference {
    /// A label is bound.
    Bind,
    /// A jump with a distance of 8 bits.
    Short,
    /// A jump forward with a distance of 32 bits, which may become a shorter one.
    Jump {
        /// Bytes of the opcode.
        opcode: u8,
    },
    /// A distance of 32 bits, four bytes before the last so many ones of its instruction.
    Near(u8),
}

fn front<'a>(
    bytes: &'a [u8],
    relocations: &'a [Relocation],
    len: usize,
    count: usize,
) -> (&'a [u8], &'a [Relocation]) {
    (bytes.get(..len).unwrap_or(&[]), relocations.get(..count).unwrap_or(&[]))
}

/// Memory that doubles when it is full.
#[cfg(feature = "alloc")]
#[derive(Clone, Debug, Default)]
pub struct Growing {
    pub(super) bytes: Vec<u8>,
    pub(super) labels: Vec<LabelState>,
    pub(super) relocations: Vec<Relocation>,
}

#[cfg(feature = "alloc")]
fn grow<T: Clone>(list: &mut Vec<T>, count: usize, fill: T) -> Result<(), AssembleError> {
    let wanted = count.max(list.len().saturating_mul(2)).clamp(64, MAX_CODE);
    if list.try_reserve_exact(wanted.saturating_sub(list.len())).is_err() {
        return Err(AssembleError::OutOfMemory { bytes: wanted.saturating_mul(size_of::<T>()) });
    }
    list.resize(wanted, fill);
    Ok(())
}

#[cfg(feature = "alloc")]
impl Sealed for Growing {}
#[cfg(feature = "alloc")]
impl Storage for Growing {
    #[inline(always)]
    fn bytes(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    #[inline(always)]
    fn labels(&mut self) -> &mut [LabelState] {
        &mut self.labels
    }

    #[inline(always)]
    fn relocations(&mut self) -> &mut [Relocation] {
        &mut self.relocations
    }

    fn used(&self, bytes: usize, relocations: usize) -> (&[u8], &[Relocation]) {
        front(&self.bytes, &self.relocations, bytes, relocations)
    }

    fn grow_bytes(&mut self, count: usize) -> Result<(), AssembleError> {
        grow(&mut self.bytes, count.max(1024), 0)
    }

    fn grow_labels(&mut self, count: usize) -> Result<(), AssembleError> {
        grow(&mut self.labels, count, LabelState::UNUSED)
    }

    fn grow_relocations(&mut self, count: usize) -> Result<(), AssembleError> {
        grow(&mut self.relocations, count, Relocation::NONE)
    }
}

/// The caller's slices.
#[derive(Debug)]
pub struct Fixed<'a> {
    bytes: &'a mut [u8],
    labels: &'a mut [LabelState],
    relocations: &'a mut [Relocation],
}

impl<'a> Fixed<'a> {
    /// Room for code, and for as many labels and relocations as there will be; what is in it does
    /// not matter. All of `bytes` may be overwritten.
    pub fn new(
        bytes: &'a mut [u8],
        labels: &'a mut [LabelState],
        relocations: &'a mut [Relocation],
    ) -> Self {
        let most = bytes.len().min(MAX_CODE);
        let (bytes, _) = bytes.split_at_mut_checked(most).unwrap_or_default();
        Self { bytes, labels, relocations }
    }
}

impl Sealed for Fixed<'_> {}
impl Storage for Fixed<'_> {
    #[inline(always)]
    fn bytes(&mut self) -> &mut [u8] {
        self.bytes
    }

    #[inline(always)]
    fn labels(&mut self) -> &mut [LabelState] {
        self.labels
    }

    #[inline(always)]
    fn relocations(&mut self) -> &mut [Relocation] {
        self.relocations
    }

    fn used(&self, bytes: usize, relocations: usize) -> (&[u8], &[Relocation]) {
        front(self.bytes, self.relocations, bytes, relocations)
    }

    fn grow_bytes(&mut self, needed: usize) -> Result<(), AssembleError> {
        Err(AssembleError::Full { capacity: self.bytes.len(), needed })
    }

    fn grow_labels(&mut self, _: usize) -> Result<(), AssembleError> {
        Err(AssembleError::TooManyLabels { capacity: self.labels.len() })
    }

    fn grow_relocations(&mut self, _: usize) -> Result<(), AssembleError> {
        Err(AssembleError::TooManyRelocations { capacity: self.relocations.len() })
    }
}
