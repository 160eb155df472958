//! Distances in the instructions of aarch64: written, or left to the loader.
//!
//! One within a section of the module is written and done with. One between sections is written as the
//! image has it; there is no relocation to tell of it, so that the module needs the image. The native
//! layout has relocations instead, and no image.

use smf_core::format::{Layout, RelocKind};
use smf_core::link::aarch64::{self, Misfit, Operand};

use super::layout::{Home, Located};
use super::relocate::{NOWHERE, Refusal, Spot, Writer};

impl From<Misfit> for Refusal {
    fn from(misfit: Misfit) -> Self {
        match misfit {
            Misfit::Range => Refusal::Range,
            Misfit::Instruction => Refusal::Why("is for an instruction of another kind"),
            Misfit::Alignment(_) => Refusal::Why(
                "leads to an address that its instruction cannot say: it counts in larger units",
            ),
        }
    }
}

impl Writer<'_, '_> {
    /// Writes where something is into an instruction of aarch64.
    pub(super) fn operand(
        &mut self,
        spot: Spot,
        operand: Operand,
        to: Located,
        addend: i64,
    ) -> Result<(), Refusal> {
        let is_on_page = operand == Operand::PageOff12;
        match to {
            Located::Number(value) if is_on_page => {
                self.patch(spot, operand, 0, i128::from(value) + i128::from(addend))
            }
            Located::Number(_) => Err(Refusal::Why(
                "is a distance to an absolute address, which a module that can lie anywhere cannot express",
            )),
            Located::Import(_) => self.leave_operand(spot, operand, to, addend),
            Located::At { home, offset } => {
                let target = i128::from(offset) + i128::from(addend);
                // What counts in pages needs to know how the section lies on them.
                let is_paged = matches!(operand, Operand::Page21 | Operand::PageOff12);
                let homes = &self.work.placement.homes;
                let is_known = |home: &Home| !is_paged || home.alignment >= aarch64::PAGE;
                if home == spot.home && homes.get(home).is_some_and(is_known) {
                    return self.patch(spot, operand, spot.offset, target);
                }
                let begin = |home: usize| homes.get(home).and_then(|home| home.image);
                let Some((from, begin)) = begin(spot.home).zip(begin(home)) else {
                    return self.leave_operand(spot, operand, to, addend);
                };
                self.needs_image = true;
                let place = from.checked_add(spot.offset).ok_or(Refusal::Range)?;
                self.patch(spot, operand, place, i128::from(begin) + target)
            }
        }
    }

    /// Writes where `target` is into the instruction at `spot`, whose address is `place`.
    fn patch(
        &mut self,
        spot: Spot,
        operand: Operand,
        place: u64,
        target: i128,
    ) -> Result<(), Refusal> {
        let word = self.word(spot).ok_or(NOWHERE)?;
        let word = aarch64::patch(operand, word, place, target)?;
        self.put(spot, &word.to_le_bytes()).ok_or(NOWHERE)
    }

    /// Leaves it to the loader to write where something is into an instruction.
    fn leave_operand(
        &mut self,
        spot: Spot,
        operand: Operand,
        to: Located,
        addend: i64,
    ) -> Result<(), Refusal> {
        if self.work.layout == Layout::Packed {
            return Err(Refusal::Why(
                "is a distance to another module, for whose instructions the packed layout has no relocations; compile with -fPIC, or pack with --layout native",
            ));
        }
        let kind = match operand {
            Operand::Branch26 => RelocKind::Arm64Branch26,
            Operand::Page21 => RelocKind::Arm64Page21,
            Operand::PageOff12 => RelocKind::Arm64PageOff12,
            Operand::Word19 | Operand::Branch14 => {
                return Err(Refusal::Why(
                    "is a distance out of its section in fewer than 21 bits, which a module cannot express",
                ));
            }
        };
        // That the instruction has such an operand is known now, where its object can be named.
        aarch64::patch(operand, self.word(spot).ok_or(NOWHERE)?, 0, 0)?;
        self.leave(spot, kind, to, addend)
    }
}
