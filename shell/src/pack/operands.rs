//! Relocates operands of aarch64 instructions.
//!
//! A distance within a module section is final. A distance between sections is written for the prelinked
//! image; the packed layout has no relocation for it, so that the module is valid in that image only. The
//! native layout has relocations instead, and no image.

use smf_core::format::{Layout, RelocKind};
use smf_core::link::aarch64::{self, Operand, PatchError};

use super::layout::Address;
use super::output::OutputSection;
use super::relocate::{NO_TARGET, OutputOffset, RelocError, Relocator};

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

impl Relocator<'_, '_> {
    /// Writes the address `to + addend` into the operand of an aarch64 instruction.
    pub(super) fn operand(
        &mut self,
        at: OutputOffset,
        operand: Operand,
        to: Address,
        addend: i64,
    ) -> Result<(), RelocError> {
        let is_on_page = operand == Operand::PageOff12;
        match to {
            Address::Absolute(value) if is_on_page => {
                self.patch(at, operand, 0, i128::from(value) + i128::from(addend))
            }
            Address::Absolute(_) => Err(RelocError::Unsupported(
                "is a distance to an absolute address, which a relocatable module cannot express",
            )),
            Address::Import(_) => self.emit_operand_reloc(at, operand, to, addend),
            Address::Section { output, offset } => {
                let target = i128::from(offset) + i128::from(addend);
                // Page-relative operands need a section that is page-aligned.
                let is_paged = matches!(operand, Operand::Page21 | Operand::PageOff12);
                let outputs = &self.input.addresses.outputs;
                let is_known =
                    |output: &OutputSection| !is_paged || output.alignment >= aarch64::PAGE;
                if output == at.output && outputs.get(output).is_some_and(is_known) {
                    return self.patch(at, operand, at.offset, target);
                }
                let begin = |output: usize| outputs.get(output).and_then(|output| output.image);
                let Some((from, begin)) = begin(at.output).zip(begin(output)) else {
                    return self.emit_operand_reloc(at, operand, to, addend);
                };
                self.needs_prelink = true;
                let place = from.checked_add(at.offset).ok_or(RelocError::Range)?;
                self.patch(at, operand, place, i128::from(begin) + target)
            }
        }
    }

    /// Writes `target` into the instruction at `at`, whose address is `place`.
    fn patch(
        &mut self,
        at: OutputOffset,
        operand: Operand,
        place: u64,
        target: i128,
    ) -> Result<(), RelocError> {
        let word = self.word(at).ok_or(NO_TARGET)?;
        let word = aarch64::patch(operand, word, place, target)?;
        self.put(at, &word.to_le_bytes()).ok_or(NO_TARGET)
    }

    /// Emits a relocation for an instruction operand.
    fn emit_operand_reloc(
        &mut self,
        at: OutputOffset,
        operand: Operand,
        to: Address,
        addend: i64,
    ) -> Result<(), RelocError> {
        if self.input.layout == Layout::Packed {
            return Err(RelocError::Unsupported(
                "is a distance to another module, for which the packed layout has no aarch64 relocation; compile with -fPIC, or pack with --layout native",
            ));
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
        self.emit_reloc(at, kind, to, addend)
    }
}
