//! Relocation of a single block of machine code outside of any module.
//!
//! GOT slots, and veneers for targets out of reach, are placed behind the code. All fixups against one target share one
//! of each.

use hashbrown::HashMap;

use super::machine::{self, Operands, Requirement, SLOT, VENEER, put};
use crate::alloc_util::AllocError;
use crate::format::{Arch, RelocKind};

/// A field of the code that receives an address.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fixup {
    /// In bytes from the start of the code.
    pub(crate) offset: u32,
    pub(crate) kind: RelocKind,
    pub(crate) target: FixupTarget,
    /// On aarch64 a GOT slot contains the sum of target and addend; on x86-64 the addend is added to the address of the slot.
    pub(crate) addend: i64,
}

impl Fixup {
    /// What the slot of the target contains, and the addend that is left.
    fn parts(&self, arch: Arch) -> (FixupTarget, i64) {
        match machine::slot_has_addend(arch, self.kind) {
            true => (self.target.plus(self.addend), 0),
            false => (self.target, self.addend),
        }
    }
}

/// What a field refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum FixupTarget {
    /// A place in the code itself, in bytes from its start.
    Code(u64),
    Address(u64),
}

impl FixupTarget {
    fn plus(self, addend: i64) -> Self {
        match self {
            Self::Code(offset) => Self::Code(offset.wrapping_add_signed(addend)),
            Self::Address(address) => Self::Address(address.wrapping_add_signed(addend)),
        }
    }

    /// The address, where the code starts at `base`.
    fn address(self, base: u64) -> u64 {
        match self {
            Self::Code(offset) => base.wrapping_add(offset),
            Self::Address(address) => address,
        }
    }
}

/// Why a fixup cannot be applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FixupError {
    /// The kind does not apply to code, or belongs to another instruction set.
    Kind,
    /// The field is outside the code.
    Place,
    /// The target is out of reach; both addresses.
    Overflow { place: u64, target: u64 },
    /// The allocator has no memory left.
    OutOfMemory(AllocError),
}

/// The slot and the veneer of one target, in bytes from the start of the code.
#[derive(Clone, Copy, Debug, Default)]
struct TargetSlots {
    slot: Option<u64>,
    veneer: Option<u64>,
}

/// The layout of slots and veneers behind the code.
#[derive(Debug, Default)]
pub(crate) struct FixupPlan {
    targets: HashMap<FixupTarget, TargetSlots>,
    /// Bytes of the code, the slots and the veneers.
    pub(crate) size: usize,
    /// Bytes of the code alone.
    code: usize,
}

impl FixupPlan {
    /// Assigns slots and veneers for `fixups` behind `code` bytes.
    ///
    /// # Errors
    /// The index of the first fixup that cannot be applied, and why.
    pub(crate) fn new<'f>(
        arch: Arch,
        code: usize,
        fixups: impl Iterator<Item = &'f Fixup>,
    ) -> Result<Self, (usize, FixupError)> {
        let mut plan = Self { size: code, code, ..Self::default() };
        for (index, fixup) in fixups.enumerate() {
            plan.add(arch, fixup).map_err(|error| (index, error))?;
        }
        Ok(plan)
    }

    fn add(&mut self, arch: Arch, fixup: &Fixup) -> Result<(), FixupError> {
        let requirement = machine::requirement(arch, fixup.kind)
            .filter(|requirement| *requirement != Requirement::Low2GiB)
            .ok_or(FixupError::Kind)?;
        let width = usize::try_from(fixup.kind.width()).unwrap_or(usize::MAX);
        let end = usize::try_from(fixup.offset).ok().and_then(|at| at.checked_add(width));
        end.filter(|end| *end <= self.code).ok_or(FixupError::Place)?;
        let (target, _) = fixup.parts(arch);
        let Self { targets, size, .. } = self;
        targets.try_reserve(1).map_err(|_| FixupError::OutOfMemory(AllocError))?;
        let mut place = |bytes: u64| {
            let at = size.next_multiple_of(bytes as usize);
            *size = at + bytes as usize;
            at as u64
        };
        match requirement {
            Requirement::GotSlot => {
                targets.entry(target).or_default().slot.get_or_insert_with(|| place(SLOT));
            }
            Requirement::Veneer if matches!(target, FixupTarget::Address(_)) => {
                let slots = targets.entry(target).or_default();
                slots.veneer.get_or_insert_with(|| place(VENEER));
                if machine::jumps_through_got(arch) {
                    slots.slot.get_or_insert_with(|| place(SLOT));
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Writes the slots and veneers into `memory`, which will run at `base`.
    pub(crate) fn fill(&self, arch: Arch, base: u64, memory: &mut [u8]) -> Result<(), FixupError> {
        for (target, slots) in &self.targets {
            let target = target.address(base);
            if let Some(slot) = slots.slot {
                put(memory, slot, target.to_le_bytes()).ok_or(FixupError::Place)?;
            }
            if let Some(veneer) = slots.veneer {
                let slot = base.wrapping_add(slots.slot.unwrap_or(0));
                let code = machine::veneer(arch, base.wrapping_add(veneer), slot, target);
                put(memory, veneer, code.ok_or(FixupError::Kind)?).ok_or(FixupError::Place)?;
            }
        }
        Ok(())
    }

    /// Applies one fixup.
    pub(crate) fn apply(
        &self,
        arch: Arch,
        base: u64,
        fixup: &Fixup,
        memory: &mut [u8],
    ) -> Result<(), FixupError> {
        let (target, addend) = fixup.parts(arch);
        let slots = self.targets.get(&target).copied().unwrap_or_default();
        let at = u64::from(fixup.offset);
        let (place, symbol) = (base.wrapping_add(at), target.address(base));
        let slot = base.wrapping_add(slots.slot.unwrap_or(0));
        let veneer = slots.veneer.map(|veneer| base.wrapping_add(veneer));
        let operands = Operands { place, symbol, addend, slot, veneer };
        match machine::apply(arch, fixup.kind, &operands, memory, at) {
            Ok(applied) => applied.ok_or(FixupError::Place),
            Err(_) => Err(FixupError::Overflow { place, target: symbol }),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::vec;
    use std::vec::Vec;

    use super::*;
    use crate::format::bytes::u32_at;

    const BASE: u64 = 0x7000_0000_0000;

    fn link(arch: Arch, code: &[u8], fixups: &[Fixup]) -> Result<Vec<u8>, FixupError> {
        let plan = FixupPlan::new(arch, code.len(), fixups.iter());
        let plan = plan.map_err(|(_, error)| error)?;
        let mut memory = vec![0; plan.size];
        memory[..code.len()].copy_from_slice(code);
        plan.fill(arch, BASE, &mut memory)?;
        for fixup in fixups {
            plan.apply(arch, BASE, fixup, &mut memory)?;
        }
        Ok(memory)
    }

    fn fixup(kind: RelocKind, offset: u32, address: u64, addend: i64) -> Fixup {
        Fixup { offset, kind, target: FixupTarget::Address(address), addend }
    }

    #[test]
    fn far_calls_share_one_veneer_and_near_calls_are_direct() {
        let near = BASE + 0x1000;
        let code = link(
            Arch::X86_64,
            &[0xe8; 10],
            &[fixup(RelocKind::Plt32, 1, near, -4), fixup(RelocKind::Plt32, 6, 0x1234, -4)],
        );
        let code = code.unwrap();
        assert_eq!(code[1..5], (0x1000i32 - 5).to_le_bytes());
        // Two veneers at multiples of 16, for the near and for the far target.
        assert_eq!(code[6..10], (32i32 - 10).to_le_bytes());
        assert_eq!(code[40..48], 0x1234u64.to_le_bytes());
        assert_eq!(code.len(), 48);
        let twice = [1, 6].map(|at| fixup(RelocKind::Plt32, at, 0x1234, -4));
        assert_eq!(link(Arch::X86_64, &[0; 10], &twice).unwrap().len(), 32);
    }

    #[test]
    fn fixup_against_the_code_itself_needs_no_veneer() {
        let target = FixupTarget::Code(0);
        let own = |kind, offset| Fixup { offset, kind, target, addend: 0 };
        let fixups =
            [own(RelocKind::Plt32, 0), own(RelocKind::Abs64, 4), own(RelocKind::GotPcRel, 12)];
        let code = link(Arch::X86_64, &[0; 16], &fixups).unwrap();
        assert_eq!(code[..4], 0i32.to_le_bytes());
        assert_eq!(code[4..12], BASE.to_le_bytes());
        assert_eq!(code[12..16], 4i32.to_le_bytes());
        assert_eq!(code[16..], BASE.to_le_bytes());
    }

    #[test]
    fn places_in_the_code_have_slots_of_their_own() {
        let own = |offset, at| {
            let target = FixupTarget::Code(at);
            Fixup { offset, kind: RelocKind::GotPcRel, target, addend: -4 }
        };
        let code = link(Arch::X86_64, &[0; 16], &[own(0, 0), own(4, 8), own(8, 8)]).unwrap();
        let slots = [0, 4, 8].map(|at| u32_at(&code, at).unwrap() as usize + at + 4);
        assert_eq!(slots, [16, 24, 24]);
        assert_eq!(code[16..], [BASE, BASE + 8].map(u64::to_le_bytes).concat());
    }

    /// A data access must not read from a veneer.
    #[test]
    fn pc32_out_of_range_is_refused_although_a_call_has_a_veneer() {
        let fixups = [fixup(RelocKind::Plt32, 0, 0x1234, 0), fixup(RelocKind::Pc32, 4, 0x1234, 0)];
        let overflow = FixupError::Overflow { place: BASE + 4, target: 0x1234 };
        assert_eq!(link(Arch::X86_64, &[0; 8], &fixups), Err(overflow));
    }

    #[test]
    fn abs64_and_got_slot_hold_the_address() {
        let code = link(
            Arch::X86_64,
            &[0; 16],
            &[fixup(RelocKind::Abs64, 0, 0x1234, 2), fixup(RelocKind::GotPcRel, 8, 0x5678, -4)],
        );
        let code = code.unwrap();
        assert_eq!(code[..8], 0x1236u64.to_le_bytes());
        assert_eq!(code[8..12], (16i32 - 12).to_le_bytes());
        assert_eq!(code[16..], 0x5678u64.to_le_bytes());
    }

    #[test]
    fn aarch64_branch_out_of_range_goes_through_a_veneer() {
        const BL: u32 = 0x9400_0000;
        let far = fixup(RelocKind::Arm64Branch26, 4, 0x4000, 0);
        let near = fixup(RelocKind::Arm64Branch26, 0, BASE + 0x400, 0);
        let code = link(Arch::AARCH64, [BL.to_le_bytes(); 2].as_flattened(), &[near, far]).unwrap();
        assert_eq!(u32_at(&code, 0), Some(BL | 0x100));
        let veneer = u64::from(u32_at(&code, 4).unwrap() & 0x3ff_ffff) * 4 + 4;
        assert!(veneer.is_multiple_of(16) && veneer < code.len() as u64);
        assert!(code.windows(8).any(|word| word == 0x4000u64.to_le_bytes()));
    }

    #[test]
    fn aarch64_got_slot_holds_the_sum_of_target_and_addend() {
        const ADRP: u32 = 0x9000_0000;
        const LDR: u32 = 0xf940_0000;
        let code = [ADRP, LDR, ADRP, LDR].map(u32::to_le_bytes);
        let load = |offset, addend| {
            [
                (RelocKind::Arm64GotLoadPage21, offset),
                (RelocKind::Arm64GotLoadPageOff12, offset + 4),
            ]
            .map(|(kind, offset)| Fixup {
                offset,
                kind,
                target: FixupTarget::Code(0),
                addend,
            })
        };
        let code =
            link(Arch::AARCH64, code.as_flattened(), [load(0, 0), load(8, 12)].as_flattened());
        let code = code.unwrap();
        let slots = [4, 12].map(|at| (u32_at(&code, at).unwrap() >> 10 & 0xfff) as usize * 8);
        assert_eq!(slots, [16, 24]);
        assert_eq!(code[16..], [BASE, BASE + 12].map(u64::to_le_bytes).concat());
    }

    #[test]
    fn fixup_of_wrong_kind_or_place_is_refused() {
        for (fixup_of, error) in [
            (fixup(RelocKind::Abs32, 0, 1, 0), FixupError::Kind),
            (fixup(RelocKind::Unknown(9), 0, 1, 0), FixupError::Kind),
            (fixup(RelocKind::Arm64Branch26, 0, 1, 0), FixupError::Kind),
            (fixup(RelocKind::Abs64, 9, 1, 0), FixupError::Place),
            (fixup(RelocKind::Plt32, u32::MAX, 1, 0), FixupError::Place),
            (
                fixup(RelocKind::Pc32, 4, 0x1234, 0),
                FixupError::Overflow { place: BASE + 4, target: 0x1234 },
            ),
        ] {
            assert_eq!(link(Arch::X86_64, &[0; 16], &[fixup_of]), Err(error), "{fixup_of:?}");
        }
    }
}
