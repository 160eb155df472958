//! Relocates operands of aarch64 instructions.
//!
//! A distance within a module section is final, unless it is to a weak symbol that another module may define. A distance
//! between sections is written for the prelinked image and kept as a relocation. The native layout has relocations alone,
//! and no image.

use smf_core::format::{Layout, RelocKind};
use smf_core::link::aarch64::{self, Operand, PatchError};

use super::layout::{Address, SLOT};
use super::relocate::{
    ABSOLUTE_DISTANCE, NO_TARGET, OutputOffset, RelocError, RelocResult, Relocator, Target,
};

impl From<PatchError> for RelocError {
    fn from(error: PatchError) -> Self {
        match error {
            PatchError::Range => RelocError::Range,
            PatchError::Instruction => RelocError::Unsupported("does not match its instruction"),
            PatchError::Alignment(_) => RelocError::Unsupported(
                "has a target that is not aligned to the unit of its instruction",
            ),
        }
    }
}

impl Relocator<'_, '_, '_> {
    /// Writes an address into the operand of an aarch64 instruction.
    pub(super) fn operand(
        &mut self,
        at: OutputOffset,
        operand: Operand,
        to: Target,
    ) -> RelocResult {
        let addend = i128::from(to.addend);
        let (output, offset) = match to.address {
            Address::Absolute(value) if operand == Operand::PageOff12 => {
                return self.patch(at, operand, 0, i128::from(value) + addend);
            }
            Address::Absolute(_) => return Err(ABSOLUTE_DISTANCE),
            Address::Import(_) | Address::Tls { .. } => {
                return self.emit_operand_reloc(at, operand, to);
            }
            Address::Section { output, offset } => (output, offset),
        };
        let target = i128::from(offset) + addend;
        // Page-relative operands need a section that is page-aligned.
        let is_paged = matches!(operand, Operand::Page21 | Operand::PageOff12);
        let section = self.addresses.outputs.get(output);
        let is_known = section.is_some_and(|s| !is_paged || s.alignment >= aarch64::PAGE);
        let is_native_call =
            operand == Operand::Branch26 && self.addresses.layout == Layout::Native;
        let has_reloc = is_native_call || Self::reloc_kind(operand).is_some();
        if output == at.output && is_known && !(self.refers_to_weak() && has_reloc) {
            return self.patch(at, operand, at.offset, target);
        }
        let Some((from, begin)) = self.image_offsets(at.output, output) else {
            return self.emit_operand_reloc(at, operand, to);
        };
        let place = from.checked_add(at.offset).ok_or(RelocError::Range)?;
        self.patch(at, operand, place, i128::from(begin) + target)?;
        match Self::reloc_kind(operand) {
            Some(kind) => self.add_prelinked(at, kind, to),
            None => {
                self.needs_prelink = true;
                Ok(())
            }
        }
    }

    /// Writes the distance of a slot from the start of the GOT into the offset of a load, which counts slots.
    pub(super) fn got_load(&mut self, at: OutputOffset, to: Target) -> RelocResult {
        let (Address::Section { offset, .. }, Some(Address::Section { offset: start, .. })) =
            (to.address, self.addresses.slot(0))
        else {
            return Err(NO_TARGET);
        };
        let distance = u64::try_from(offset - start).map_err(|_| RelocError::Range)?;
        let slot = u32::try_from(distance / SLOT).ok().filter(|slot| *slot < 1 << 12);
        let word = self.word(at).ok_or(NO_TARGET)? & !(0xfff << 10);
        let word = word | slot.ok_or(RelocError::Range)? << 10;
        self.put(at, &word.to_le_bytes()).ok_or(NO_TARGET)
    }

    /// The relocation for an operand, which both layouts have except for branches; `None` if there is none.
    fn reloc_kind(operand: Operand) -> Option<RelocKind> {
        match operand {
            Operand::Page21 => Some(RelocKind::Arm64Page21),
            Operand::PageOff12 => Some(RelocKind::Arm64PageOff12),
            Operand::Branch26 | Operand::Word19 | Operand::Branch14 => None,
        }
    }

    /// Writes `target` into the instruction at `at`, whose address is `place`.
    fn patch(
        &mut self,
        at: OutputOffset,
        operand: Operand,
        place: u64,
        target: i128,
    ) -> RelocResult {
        let word = self.word(at).ok_or(NO_TARGET)?;
        let word = aarch64::patch(operand, word, place, target)?;
        self.put(at, &word.to_le_bytes()).ok_or(NO_TARGET)
    }

    /// Emits a relocation for an instruction operand.
    fn emit_operand_reloc(
        &mut self,
        at: OutputOffset,
        operand: Operand,
        to: Target,
    ) -> RelocResult {
        let kind = match operand {
            // Calls of imports go through stubs.
            Operand::Branch26 if self.addresses.layout == Layout::Native => RelocKind::Arm64Branch26,
            operand => Self::reloc_kind(operand).ok_or(RelocError::Unsupported(
                "leaves its section with fewer than 21 bits of distance, which no relocation of a module expresses; compile with -mcmodel=small",
            ))?,
        };
        // Checks that the instruction has such an operand, while the object can be named.
        aarch64::patch(operand, self.word(at).ok_or(NO_TARGET)?, 0, 0)?;
        self.emit_reloc(at, kind, to)
    }
}
