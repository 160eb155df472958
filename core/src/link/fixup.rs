//! Relocation of a single block of machine code outside of any module.
//!
//! GOT slots, and veneers for targets out of reach, are placed behind the code. All fixups against one target share one
//! of each.

use hashbrown::HashMap;

use super::machine::{Jump, Machine, PatchError, Requirement, VENEER, for_machine};
use crate::format::bytes::u32_at;
use crate::format::{Arch, RelocKind};

/// A field of the code that receives an address.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fixup {
    /// In bytes from the start of the code.
    pub(crate) offset: u32,
    pub(crate) kind: RelocKind,
    /// The target; `None` for the code itself.
    pub(crate) address: Option<u64>,
    pub(crate) addend: i64,
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
    OutOfMemory,
}

/// The slot and the veneer of one target, in bytes from the start of the code.
#[derive(Clone, Copy, Debug, Default)]
struct TargetSlots {
    slot: Option<usize>,
    veneer: Option<usize>,
}

/// The layout of slots and veneers behind the code.
#[derive(Debug, Default)]
pub(crate) struct FixupPlan {
    targets: HashMap<Option<u64>, TargetSlots>,
    /// Bytes of the code, the slots and the veneers.
    pub(crate) size: usize,
    /// Bytes of the code alone.
    code: usize,
}

/// Bytes of a slot.
const SLOT: usize = 8;

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
            let added = for_machine!(arch, plan.add(fixup));
            added.map_err(|error| (index, error))?;
        }
        Ok(plan)
    }

    fn add<M: Machine>(&mut self, fixup: &Fixup) -> Result<(), FixupError> {
        let requirement = match (fixup.kind, M::requirement(fixup.kind)) {
            (_, Some(Requirement::Low2GiB) | None) => return Err(FixupError::Kind),
            // Within a module only a large one needs veneers for this kind.
            (RelocKind::Arm64Branch26, _) => Requirement::Veneer,
            (_, Some(requirement)) => requirement,
        };
        let width = usize::try_from(fixup.kind.width()).unwrap_or(usize::MAX);
        let end = usize::try_from(fixup.offset).ok().and_then(|at| at.checked_add(width));
        end.filter(|end| *end <= self.code).ok_or(FixupError::Place)?;
        let Self { targets, size, .. } = self;
        targets.try_reserve(1).map_err(|_| FixupError::OutOfMemory)?;
        let mut place = |bytes: usize| {
            let at = size.next_multiple_of(bytes);
            *size = at + bytes;
            at
        };
        match requirement {
            Requirement::GotSlot => {
                targets.entry(fixup.address).or_default().slot.get_or_insert_with(|| place(SLOT));
            }
            Requirement::Veneer if fixup.address.is_some() => {
                let slots = targets.entry(fixup.address).or_default();
                slots.veneer.get_or_insert_with(|| place(VENEER as usize));
                if M::JUMPS_THROUGH_GOT {
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
            for_machine!(arch, fill(target.unwrap_or(base), slots, base, memory))?;
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
        let slots = self.targets.get(&fixup.address).copied().unwrap_or_default();
        for_machine!(arch, apply(base, fixup, slots, memory))
    }
}

fn put<const N: usize>(memory: &mut [u8], at: usize, bytes: [u8; N]) -> Result<(), FixupError> {
    let place = memory.get_mut(at..).and_then(<[u8]>::first_chunk_mut);
    *place.ok_or(FixupError::Place)? = bytes;
    Ok(())
}

fn fill<M: Machine>(
    target: u64,
    slots: &TargetSlots,
    base: u64,
    memory: &mut [u8],
) -> Result<(), FixupError> {
    let address = |at: usize| base.wrapping_add(at as u64);
    if let Some(slot) = slots.slot {
        put(memory, slot, target.to_le_bytes())?;
    }
    if let Some(veneer) = slots.veneer {
        let slot = slots.slot.map_or(0, address);
        let jump = Jump { place: address(veneer), slot, target };
        put(memory, veneer, M::veneer(jump).ok_or(FixupError::Kind)?)?;
    }
    Ok(())
}

fn apply<M: Machine>(
    base: u64,
    fixup: &Fixup,
    slots: TargetSlots,
    memory: &mut [u8],
) -> Result<(), FixupError> {
    let at = usize::try_from(fixup.offset).map_err(|_| FixupError::Place)?;
    let place = base.wrapping_add(at as u64);
    let address = |at: Option<usize>| at.map(|at| base.wrapping_add(at as u64));
    let (slot, veneer) = (address(slots.slot), address(slots.veneer));
    let symbol = fixup.address.unwrap_or(base);
    let distance = |target: u64| i128::from(target) + i128::from(fixup.addend) - i128::from(place);
    let overflow = FixupError::Overflow { place, target: symbol };
    match fixup.kind {
        RelocKind::None => Ok(()),
        RelocKind::Abs64 => put(memory, at, symbol.wrapping_add_signed(fixup.addend).to_le_bytes()),
        RelocKind::Pc64 => {
            let distance = symbol.wrapping_add_signed(fixup.addend).wrapping_sub(place);
            put(memory, at, distance.to_le_bytes())
        }
        RelocKind::Pc32 | RelocKind::Plt32 | RelocKind::GotPcRel => {
            let target = if fixup.kind == RelocKind::GotPcRel { slot } else { Some(symbol) };
            let veneer = veneer.filter(|_| fixup.kind == RelocKind::Plt32);
            let reached = |target: Option<u64>| i32::try_from(distance(target?)).ok();
            let reached = reached(target).or_else(|| reached(veneer)).ok_or(overflow)?;
            put(memory, at, reached.to_le_bytes())
        }
        kind => {
            let word = u32_at(memory, at).ok_or(FixupError::Place)?;
            let on_slot = [RelocKind::Arm64GotLoadPage21, RelocKind::Arm64GotLoadPageOff12];
            let target = if on_slot.contains(&kind) { slot } else { Some(symbol) };
            let sum = i128::from(target.ok_or(FixupError::Kind)?) + i128::from(fixup.addend);
            let patched = match (M::patch(kind, word, place, sum), veneer) {
                (Err(PatchError::Range), Some(veneer))
                    if kind == RelocKind::Arm64Branch26 && fixup.addend == 0 =>
                {
                    M::patch(kind, word, place, i128::from(veneer))
                }
                (patched, _) => patched,
            };
            put(memory, at, patched.map_err(|_| overflow)?.to_le_bytes())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::vec;
    use std::vec::Vec;

    use super::*;

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
        Fixup { offset, kind, address: Some(address), addend }
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
        let own = |kind, offset| Fixup { offset, kind, address: None, addend: 0 };
        let fixups =
            [own(RelocKind::Plt32, 0), own(RelocKind::Abs64, 4), own(RelocKind::GotPcRel, 12)];
        let code = link(Arch::X86_64, &[0; 16], &fixups).unwrap();
        assert_eq!(code[..4], 0i32.to_le_bytes());
        assert_eq!(code[4..12], BASE.to_le_bytes());
        assert_eq!(code[12..16], 4i32.to_le_bytes());
        assert_eq!(code[16..], BASE.to_le_bytes());
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
