//! Relocates operands of aarch64 instructions.
//!
//! A distance within a module section is final. A distance between sections is written for the prelinked
//! image; the packed layout has no relocation for it, so that the module is valid in that image only. The
//! native layout has relocations instead, and no image.

use smf_core::format::{Layout, RelocKind};
use smf_core::link::aarch64::{self, Operand, PatchError};

use super::layout::Address;
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
        if output == at.output && is_known {
            return self.patch(at, operand, at.offset, target);
        }
        let Some((from, begin)) = self.image_offsets(at.output, output) else {
            return self.emit_operand_reloc(at, operand, to);
        };
        self.needs_prelink = true;
        let place = from.checked_add(at.offset).ok_or(RelocError::Range)?;
        self.patch(at, operand, place, i128::from(begin) + target)
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
        if self.addresses.layout == Layout::Packed {
            let is_of_thread = matches!(to.address, Address::Tls { .. });
            return Err(RelocError::Unsupported(if is_of_thread {
                "is an offset from the thread pointer, for which the packed layout has no aarch64 relocation; compile with -fPIC, or pack with --layout native"
            } else {
                "is a distance to another module, for which the packed layout has no aarch64 relocation; compile with -fPIC, or pack with --layout native"
            }));
        }
        let kind = match operand {
            Operand::Branch26 => RelocKind::Arm64Branch26,
            Operand::Page21 => RelocKind::Arm64Page21,
            Operand::PageOff12 => RelocKind::Arm64PageOff12,
            Operand::Word19 | Operand::Branch14 => {
                return Err(RelocError::Unsupported(
                    "leaves its section with fewer than 21 bits of distance, which a module cannot express",
                ));
            }
        };
        // Checks that the instruction has such an operand, while the object can be named.
        aarch64::patch(operand, self.word(at).ok_or(NO_TARGET)?, 0, 0)?;
        self.emit_reloc(at, kind, to)
    }
}
