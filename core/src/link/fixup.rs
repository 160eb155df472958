//! Code that is no module: a piece of machine code, and the addresses that go into it.
//!
//! What a relocation of code may need lies behind the code: slots that hold an address, and veneers for
//! what is out of reach. One of each serves every relocation against the same target.

use hashbrown::HashMap;

use super::machine::aarch64::Misfit;
use super::machine::{Jump, Machine, Need, VENEER, for_machine};
use crate::format::bytes::u32_at;
use crate::format::{Arch, RelocKind};

/// An address to be written into code.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fixup {
    /// Where, in bytes from the begin of the code.
    pub(crate) offset: u32,
    pub(crate) kind: RelocKind,
    /// Of what; `None` for the code itself.
    pub(crate) address: Option<u64>,
    pub(crate) addend: i64,
}

/// Why an address cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FixupError {
    /// Not for code, or not for this instruction set.
    Kind,
    /// Outside the code.
    Place,
    /// Out of reach.
    Overflow { place: u64, target: u64 },
    /// No memory to plan with.
    AllocError,
}

/// What lies behind the code for one target: bytes from the begin of the code.
#[derive(Clone, Copy, Debug, Default)]
struct Extra {
    slot: Option<usize>,
    veneer: Option<usize>,
}

/// What lies behind the code.
#[derive(Debug, Default)]
pub(crate) struct FixupPlan {
    extras: HashMap<Option<u64>, Extra>,
    /// Bytes of the code and of all that is behind it.
    pub(crate) size: usize,
    /// Bytes of the code.
    code: usize,
}

/// Bytes of a slot.
const SLOT: usize = 8;

impl FixupPlan {
    /// Plans what `fixes` need behind `code` bytes; the number of one that cannot be, and why.
    pub(crate) fn new<'f>(
        arch: Arch,
        code: usize,
        fixes: impl Iterator<Item = &'f Fixup>,
    ) -> Result<Self, (usize, FixupError)> {
        let mut plan = Self { size: code, code, ..Self::default() };
        for (index, fix) in fixes.enumerate() {
            let added = for_machine!(arch, plan.add(fix));
            added.map_err(|fault| (index, fault))?;
        }
        Ok(plan)
    }

    fn add<M: Machine>(&mut self, fix: &Fixup) -> Result<(), FixupError> {
        let need = match (fix.kind, M::need(fix.kind)) {
            (_, Some(Need::Low) | None) => return Err(FixupError::Kind),
            // The one that a machine plans a veneer for only when a module is large.
            (RelocKind::Arm64Branch26, _) => Need::Veneer,
            (_, Some(need)) => need,
        };
        let width = usize::try_from(fix.kind.width()).unwrap_or(usize::MAX);
        let end = usize::try_from(fix.offset).ok().and_then(|at| at.checked_add(width));
        end.filter(|end| *end <= self.code).ok_or(FixupError::Place)?;
        let Self { extras, size, .. } = self;
        extras.try_reserve(1).map_err(|_| FixupError::AllocError)?;
        let mut place = |bytes: usize| {
            let at = size.next_multiple_of(bytes);
            *size = at + bytes;
            at
        };
        match need {
            Need::Slot => {
                extras.entry(fix.address).or_default().slot.get_or_insert_with(|| place(SLOT));
            }
            Need::Veneer if fix.address.is_some() => {
                let extra = extras.entry(fix.address).or_default();
                extra.veneer.get_or_insert_with(|| place(VENEER as usize));
                if M::JUMPS_THROUGH_GOT {
                    extra.slot.get_or_insert_with(|| place(SLOT));
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Writes what is behind the code in `memory`, which will run at `base`.
    pub(crate) fn fill(&self, arch: Arch, base: u64, memory: &mut [u8]) -> Result<(), FixupError> {
        for (target, extra) in &self.extras {
            for_machine!(arch, fill(target.unwrap_or(base), extra, base, memory))?;
        }
        Ok(())
    }

    /// Writes one address into the code.
    pub(crate) fn apply(
        &self,
        arch: Arch,
        base: u64,
        fix: &Fixup,
        memory: &mut [u8],
    ) -> Result<(), FixupError> {
        let extra = self.extras.get(&fix.address).copied().unwrap_or_default();
        for_machine!(arch, apply(base, fix, extra, memory))
    }
}

fn put<const N: usize>(memory: &mut [u8], at: usize, bytes: [u8; N]) -> Result<(), FixupError> {
    let place = memory.get_mut(at..).and_then(<[u8]>::first_chunk_mut);
    *place.ok_or(FixupError::Place)? = bytes;
    Ok(())
}

fn fill<M: Machine>(
    target: u64,
    extra: &Extra,
    base: u64,
    memory: &mut [u8],
) -> Result<(), FixupError> {
    let address = |at: usize| base.wrapping_add(at as u64);
    if let Some(slot) = extra.slot {
        put(memory, slot, target.to_le_bytes())?;
    }
    if let Some(veneer) = extra.veneer {
        let slot = extra.slot.map_or(0, address);
        let jump = Jump { place: address(veneer), slot, target };
        put(memory, veneer, M::veneer(jump).ok_or(FixupError::Kind)?)?;
    }
    Ok(())
}

fn apply<M: Machine>(
    base: u64,
    fix: &Fixup,
    extra: Extra,
    memory: &mut [u8],
) -> Result<(), FixupError> {
    let at = usize::try_from(fix.offset).map_err(|_| FixupError::Place)?;
    let place = base.wrapping_add(at as u64);
    let address = |at: Option<usize>| at.map(|at| base.wrapping_add(at as u64));
    let (slot, veneer) = (address(extra.slot), address(extra.veneer));
    let symbol = fix.address.unwrap_or(base);
    let distance = |target: u64| i128::from(target) + i128::from(fix.addend) - i128::from(place);
    let overflow = FixupError::Overflow { place, target: symbol };
    match fix.kind {
        RelocKind::None => Ok(()),
        RelocKind::Abs64 => put(memory, at, symbol.wrapping_add_signed(fix.addend).to_le_bytes()),
        RelocKind::Pc64 => {
            let distance = symbol.wrapping_add_signed(fix.addend).wrapping_sub(place);
            put(memory, at, distance.to_le_bytes())
        }
        RelocKind::Pc32 | RelocKind::Plt32 | RelocKind::GotPcRel => {
            let target = if fix.kind == RelocKind::GotPcRel { slot } else { Some(symbol) };
            let veneer = veneer.filter(|_| fix.kind == RelocKind::Plt32);
            let reached = |target: Option<u64>| i32::try_from(distance(target?)).ok();
            let reached = reached(target).or_else(|| reached(veneer)).ok_or(overflow)?;
            put(memory, at, reached.to_le_bytes())
        }
        kind => {
            let word = u32_at(memory, at).ok_or(FixupError::Place)?;
            let on_slot = [RelocKind::Arm64GotLoadPage21, RelocKind::Arm64GotLoadPageOff12];
            let target = if on_slot.contains(&kind) { slot } else { Some(symbol) };
            let sum = i128::from(target.ok_or(FixupError::Kind)?) + i128::from(fix.addend);
            let patched = match (M::patch(kind, word, place, sum), veneer) {
                (Err(Misfit::Range), Some(veneer))
                    if kind == RelocKind::Arm64Branch26 && fix.addend == 0 =>
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

    fn link(arch: Arch, code: &[u8], fixes: &[Fixup]) -> Result<Vec<u8>, FixupError> {
        let plan = FixupPlan::new(arch, code.len(), fixes.iter());
        let plan = plan.map_err(|(_, fault)| fault)?;
        let mut memory = vec![0; plan.size];
        memory[..code.len()].copy_from_slice(code);
        plan.fill(arch, BASE, &mut memory)?;
        for fix in fixes {
            plan.apply(arch, BASE, fix, &mut memory)?;
        }
        Ok(memory)
    }

    fn fix(kind: RelocKind, offset: u32, address: u64, addend: i64) -> Fixup {
        Fixup { offset, kind, address: Some(address), addend }
    }

    #[test]
    fn near_calls_are_direct_and_far_ones_go_through_one_veneer() {
        let near = BASE + 0x1000;
        let code = link(
            Arch::X86_64,
            &[0xe8; 10],
            &[fix(RelocKind::Plt32, 1, near, -4), fix(RelocKind::Plt32, 6, 0x1234, -4)],
        );
        let code = code.unwrap();
        assert_eq!(code[1..5], (0x1000i32 - 5).to_le_bytes());
        // Two veneers at multiples of 16: of the near one and of the far one.
        assert_eq!(code[6..10], (32i32 - 10).to_le_bytes());
        assert_eq!(code[40..48], 0x1234u64.to_le_bytes());
        assert_eq!(code.len(), 48);
        let twice = [1, 6].map(|at| fix(RelocKind::Plt32, at, 0x1234, -4));
        assert_eq!(link(Arch::X86_64, &[0; 10], &twice).unwrap().len(), 32);
    }

    #[test]
    fn what_refers_to_itself_needs_no_veneer() {
        let own = |kind, offset| Fixup { offset, kind, address: None, addend: 0 };
        let fixes =
            [own(RelocKind::Plt32, 0), own(RelocKind::Abs64, 4), own(RelocKind::GotPcRel, 12)];
        let code = link(Arch::X86_64, &[0; 16], &fixes).unwrap();
        assert_eq!(code[..4], 0i32.to_le_bytes());
        assert_eq!(code[4..12], BASE.to_le_bytes());
        assert_eq!(code[12..16], 4i32.to_le_bytes());
        assert_eq!(code[16..], BASE.to_le_bytes());
    }

    /// Where a veneer is would be the wrong place to read data from.
    #[test]
    fn only_calls_take_the_veneer() {
        let fixes = [fix(RelocKind::Plt32, 0, 0x1234, 0), fix(RelocKind::Pc32, 4, 0x1234, 0)];
        let overflow = FixupError::Overflow { place: BASE + 4, target: 0x1234 };
        assert_eq!(link(Arch::X86_64, &[0; 8], &fixes), Err(overflow));
    }

    #[test]
    fn words_and_slots_hold_addresses() {
        let code = link(
            Arch::X86_64,
            &[0; 16],
            &[fix(RelocKind::Abs64, 0, 0x1234, 2), fix(RelocKind::GotPcRel, 8, 0x5678, -4)],
        );
        let code = code.unwrap();
        assert_eq!(code[..8], 0x1236u64.to_le_bytes());
        assert_eq!(code[8..12], (16i32 - 12).to_le_bytes());
        assert_eq!(code[16..], 0x5678u64.to_le_bytes());
    }

    #[test]
    fn aarch64_branches_reach_through_a_slot() {
        const BL: u32 = 0x9400_0000;
        let far = fix(RelocKind::Arm64Branch26, 4, 0x4000, 0);
        let near = fix(RelocKind::Arm64Branch26, 0, BASE + 0x400, 0);
        let code = link(Arch::AARCH64, [BL.to_le_bytes(); 2].as_flattened(), &[near, far]).unwrap();
        assert_eq!(u32_at(&code, 0), Some(BL | 0x100));
        let veneer = u64::from(u32_at(&code, 4).unwrap() & 0x3ff_ffff) * 4 + 4;
        assert!(veneer.is_multiple_of(16) && veneer < code.len() as u64);
        assert!(code.windows(8).any(|word| word == 0x4000u64.to_le_bytes()));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        for (fixes, fault) in [
            (fix(RelocKind::Abs32, 0, 1, 0), FixupError::Kind),
            (fix(RelocKind::Unknown(9), 0, 1, 0), FixupError::Kind),
            (fix(RelocKind::Arm64Branch26, 0, 1, 0), FixupError::Kind),
            (fix(RelocKind::Abs64, 9, 1, 0), FixupError::Place),
            (fix(RelocKind::Plt32, u32::MAX, 1, 0), FixupError::Place),
            (
                fix(RelocKind::Pc32, 4, 0x1234, 0),
                FixupError::Overflow { place: BASE + 4, target: 0x1234 },
            ),
        ] {
            assert_eq!(link(Arch::X86_64, &[0; 16], &[fixes]), Err(fault), "{fixes:?}");
        }
    }
}
