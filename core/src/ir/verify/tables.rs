//! The tables of version 2: stack slots, read-only data, source locations.

use alloc::vec::Vec;

use crate::alloc_util::{AllocError, try_filled};
use crate::format::bytes::u32_at;
use crate::ir::error::{IrError, Part};
use crate::ir::function::{
    DATA, Function, LOCATION, MAX_DATA_ALIGN, MAX_SLOT_ALIGN, MAX_SLOT_BYTES, SLOT,
};
use crate::ir::instruction::NONE;

/// Checks the tables of version 2.
pub(super) fn check(function: &Function<'_>) -> Result<(), IrError> {
    slots(function)?;
    data(function)?;
    locations(function)
}

/// The value at `offset` of a table's entry, which is long enough.
fn field(entry: &[u8], offset: usize) -> u32 {
    u32_at(entry, offset).unwrap_or(0)
}

fn aligned(at: u32, align: u32, limit: u32) -> Result<(), IrError> {
    if align.is_power_of_two() && align <= limit {
        return Ok(());
    }
    Err(IrError::Alignment { at, align, limit })
}

fn slots(function: &Function<'_>) -> Result<(), IrError> {
    let table = function.slots.as_flattened();
    let mut end = 0u64;
    for (index, entry) in function.slots.iter().enumerate() {
        let at = function.place(table, index * SLOT);
        let (size, align) = (field(entry, 0), field(entry, 4));
        aligned(at, align, MAX_SLOT_ALIGN)?;
        end = end.next_multiple_of(align.into()) + u64::from(size);
        if end > u64::from(MAX_SLOT_BYTES) {
            let (name, limit) = ("bytes of stack slots", MAX_SLOT_BYTES);
            return Err(IrError::Limit { at, name, limit, value: end });
        }
    }
    Ok(())
}

fn data(function: &Function<'_>) -> Result<(), IrError> {
    let table = function.data.as_flattened();
    let mut last = 0;
    for (index, entry) in function.data.iter().enumerate() {
        let at = function.place(table, index * DATA);
        let (offset, size, align) = (field(entry, 0), field(entry, 4), field(entry, 8));
        aligned(at, align, MAX_DATA_ALIGN)?;
        let end = u64::from(offset) + u64::from(size);
        let is_inside = end <= function.data_bytes.len() as u64;
        // In order and apart, so that all entries together are not larger than the function.
        if !is_inside || u64::from(offset) < last || !offset.is_multiple_of(align) {
            return Err(IrError::Data { at, offset, size });
        }
        last = end;
    }
    Ok(())
}

fn locations(function: &Function<'_>) -> Result<(), IrError> {
    let table = function.locations.as_flattened();
    let mut names = Names::default();
    let mut next = 0;
    for (index, entry) in function.locations.iter().enumerate() {
        let at = function.place(table, index * LOCATION);
        let &[i0, i1, i2, i3, _, _, _, _, _, _, f0, f1] = entry;
        let instruction = u32::from_le_bytes([i0, i1, i2, i3]);
        if instruction < next {
            return Err(IrError::Location { at, instruction });
        }
        if usize::try_from(instruction).is_ok_and(|index| index >= function.len()) {
            return Err(IrError::Index { at, part: Part::Instructions, index: instruction });
        }
        next = instruction.saturating_add(1);
        let file = u16::from_le_bytes([f0, f1]);
        if file != NONE && !names.is_valid(function, file)? {
            return Err(IrError::Name { at });
        }
    }
    Ok(())
}

/// The names that have been checked: each is measured once, although many locations may share it.
#[derive(Default)]
struct Names {
    /// A bit for each offset in the strings.
    checked: Vec<u64>,
}

impl Names {
    fn is_valid(&mut self, function: &Function<'_>, offset: u16) -> Result<bool, AllocError> {
        if self.checked.is_empty() {
            self.checked = try_filled(usize::from(u16::MAX) / 64 + 1, &0)?;
        }
        let (word, bit) = (usize::from(offset / 64), 1u64 << (offset % 64));
        let Some(word) = self.checked.get_mut(word) else { return Ok(false) };
        if *word & bit == 0 && function.name(offset).is_none() {
            return Ok(false);
        }
        *word |= bit;
        Ok(true)
    }
}
