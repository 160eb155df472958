//! Labels: places in the code of one assembler, and their table.

use alloc::vec::Vec;

use super::assemble_error::AssembleError;
use crate::alloc_util::try_resize;

/// A place in the code of one assembler.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Label(pub(super) u32);

/// Consecutive labels.
#[derive(Clone, Copy, Debug, Default)]
pub struct Labels {
    first: u32,
    count: u32,
}

impl Labels {
    /// The label with this number among them.
    #[inline]
    pub fn get(self, number: usize) -> Option<Label> {
        let number = u32::try_from(number).ok().filter(|number| *number < self.count)?;
        Some(Label(self.first + number))
    }
}

/// The offset of a label that is not bound.
const UNBOUND: u32 = u32::MAX;

/// The offsets of labels.
#[derive(Debug, Default)]
pub(super) struct LabelTable {
    offsets: Vec<u32>,
}

impl LabelTable {
    /// Forgets all labels, but not the memory.
    pub(super) fn clear(&mut self) {
        self.offsets.clear();
    }

    /// `count` labels that are not bound.
    #[inline]
    pub(super) fn add(&mut self, count: usize) -> Result<Labels, AssembleError> {
        let bytes = count.saturating_mul(size_of::<u32>());
        let none = AssembleError::OutOfMemory { bytes };
        let first = u32::try_from(self.offsets.len()).map_err(|_| none)?;
        let end = self.offsets.len().saturating_add(count);
        try_resize(&mut self.offsets, end, UNBOUND).map_err(|_| none)?;
        Ok(Labels { first, count: u32::try_from(end).map_err(|_| none)? - first })
    }

    /// Binds a label to the offset.
    #[inline]
    pub(super) fn bind(&mut self, label: Label, offset: u32) -> Result<(), AssembleError> {
        match self.offsets.get_mut(label.0 as usize) {
            Some(place) if *place == UNBOUND => *place = offset,
            Some(_) => return Err(AssembleError::BoundTwice { label: label.0, offset }),
            None => return Err(AssembleError::UnknownLabel { label: label.0 }),
        }
        Ok(())
    }

    /// Adds to the offset of a label that is bound.
    #[inline]
    pub(super) fn move_up(&mut self, label: Label, bytes: u32) {
        if let Some(place) = self.offsets.get_mut(label.0 as usize) {
            *place += bytes;
        }
    }

    /// The offset of a label that is bound.
    #[inline]
    pub(super) fn offset(&self, label: Label) -> Option<u32> {
        self.offsets.get(label.0 as usize).copied().filter(|offset| *offset != UNBOUND)
    }

    /// The offset of a label that code refers to.
    pub(super) fn target(&self, label: Label) -> Result<u32, AssembleError> {
        match self.offsets.get(label.0 as usize) {
            Some(&UNBOUND) => Err(AssembleError::Unbound { label: label.0 }),
            Some(&offset) => Ok(offset),
            None => Err(AssembleError::UnknownLabel { label: label.0 }),
        }
    }
}
