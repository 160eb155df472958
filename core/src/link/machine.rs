//! Relocations and veneers of each instruction set.
//!
//! S is the symbol's address, A the addend, P the address of the relocated field, G the address of a GOT slot that
//! holds S. Sums are computed in 128 bits, so nothing wraps before the range check. A call out of reach goes through a
//! veneer, an indirect jump in the image's own code.
//!
//! All instruction sets are compiled on every machine, because the module and not the host selects one: each can be
//! tested anywhere, and only running a module needs its host.

pub mod aarch64;

use self::aarch64::PatchError;
use crate::format::bytes::u32_at;
use crate::format::{Arch, Platform, RelocKind};

/// The system that this loader runs on.
pub(super) const HOST_PLATFORM: Platform = Platform::LINUX;

/// The instruction set that this loader runs on.
pub const fn host_arch() -> Arch {
    if cfg!(target_arch = "x86_64") {
        Arch::X86_64
    } else if cfg!(target_arch = "aarch64") {
        Arch::AARCH64
    } else {
        Arch::RISCV64
    }
}

/// Bytes of a veneer: code that jumps to one symbol at any address.
pub(super) const VENEER: u64 = 16;
/// Bytes of a GOT slot.
pub(super) const SLOT: u64 = 8;

/// What a relocation needs in addition to its own field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Requirement {
    Nothing,
    /// An image below 2 GiB.
    Low2GiB,
    /// A GOT slot that holds the address of the symbol.
    GotSlot,
    /// A veneer if the symbol may be out of reach.
    Veneer,
}

/// The instruction set whose relocations are applied: without the feature `all-files` that of the host, which is the
/// only one whose code can run.
fn supported(arch: Arch) -> Arch {
    if cfg!(feature = "all-files") { arch } else { host_arch() }
}

/// What a relocation needs; `None` if its kind belongs to another instruction set.
pub(super) fn requirement(arch: Arch, kind: RelocKind) -> Option<Requirement> {
    let arch = supported(arch);
    Some(match kind {
        RelocKind::None | RelocKind::Abs64 | RelocKind::Pc32 | RelocKind::Pc64 => {
            Requirement::Nothing
        }
        RelocKind::Abs32 | RelocKind::Abs32S => Requirement::Low2GiB,
        RelocKind::Plt32 if [Arch::X86_64, Arch::AARCH64].contains(&arch) => Requirement::Veneer,
        // Other instruction sets have no veneers.
        RelocKind::Plt32 => Requirement::Nothing,
        RelocKind::GotPcRel => Requirement::GotSlot,
        _ if arch != Arch::AARCH64 => return None,
        RelocKind::Arm64Branch26 => Requirement::Veneer,
        RelocKind::Arm64Page21 | RelocKind::Arm64PageOff12 => Requirement::Nothing,
        RelocKind::Arm64GotLoadPage21 | RelocKind::Arm64GotLoadPageOff12 => Requirement::GotSlot,
        _ => return None,
    })
}

/// Whether the GOT slot of a relocation contains the sum of symbol and addend, instead of the symbol alone.
pub(super) fn slot_has_addend(arch: Arch, kind: RelocKind) -> bool {
    supported(arch) == Arch::AARCH64
        && matches!(kind, RelocKind::Arm64GotLoadPage21 | RelocKind::Arm64GotLoadPageOff12)
}

/// The size of code, in bytes, within which every branch reaches every target. A module for x86-64 that is too large
/// has distances that no relocation can hold.
pub(super) fn branch_reach(arch: Arch) -> u64 {
    if supported(arch) == Arch::AARCH64 { aarch64::BRANCH_REACH } else { u64::MAX }
}

/// Whether a veneer needs a GOT slot in addition to its own bytes.
pub(super) fn jumps_through_got(arch: Arch) -> bool {
    supported(arch) == Arch::AARCH64
}

/// The bytes of a veneer at the address `place`, which jumps to `target` directly or through the GOT slot at `slot`;
/// `None` if it cannot reach its slot.
pub(super) fn veneer(
    arch: Arch,
    place: u64,
    slot: u64,
    target: u64,
) -> Option<[u8; VENEER as usize]> {
    /// x86-64: `jmp *2(%rip)` and two bytes of padding; the address follows.
    const JUMP: u64 = u64::from_le_bytes([0xff, 0x25, 0x02, 0x00, 0x00, 0x00, 0xcc, 0xcc]);
    match supported(arch) {
        Arch::X86_64 => Some((u128::from(JUMP) | u128::from(target) << 64).to_le_bytes()),
        Arch::AARCH64 => aarch64::veneer(place, slot, target),
        _ => None,
    }
}

/// The addresses from which the value of a relocation is computed.
pub(super) struct Operands {
    /// P.
    pub(super) place: u64,
    /// S.
    pub(super) symbol: u64,
    /// A.
    pub(super) addend: i64,
    /// G, if the kind needs it.
    pub(super) slot: u64,
    pub(super) veneer: Option<u64>,
}

impl Operands {
    /// S or G, whichever a relocation of this kind refers to.
    pub(super) fn target(&self, kind: RelocKind) -> u64 {
        match kind {
            RelocKind::GotPcRel
            | RelocKind::Arm64GotLoadPage21
            | RelocKind::Arm64GotLoadPageOff12 => self.slot,
            _ => self.symbol,
        }
    }
}

/// Applies a relocation to the field at offset `at` of `memory`; `None` if the field exceeds `memory`. A branch that
/// does not reach its symbol leads to the veneer.
///
/// # Errors
/// The value does not fit the field or the instruction.
pub(super) fn apply(
    arch: Arch,
    kind: RelocKind,
    operands: &Operands,
    memory: &mut [u8],
    at: u64,
) -> Result<Option<()>, PatchError> {
    let &Operands { place, symbol, addend, veneer, .. } = operands;
    let target = operands.target(kind);
    let sum = |target: u64| i128::from(target) + i128::from(addend);
    let distance = |target: u64| i32::try_from(sum(target) - i128::from(place));
    Ok(match kind {
        RelocKind::None => Some(()),
        RelocKind::Abs64 => put(memory, at, symbol.wrapping_add_signed(addend).to_le_bytes()),
        RelocKind::Pc64 => {
            put(memory, at, symbol.wrapping_add_signed(addend).wrapping_sub(place).to_le_bytes())
        }
        RelocKind::Abs32 => put(memory, at, u32::try_from(sum(symbol))?.to_le_bytes()),
        RelocKind::Abs32S => {
            let value = symbol.cast_signed().saturating_add(addend);
            put(memory, at, i32::try_from(value)?.to_le_bytes())
        }
        RelocKind::Pc32 | RelocKind::GotPcRel => put(memory, at, distance(target)?.to_le_bytes()),
        RelocKind::Plt32 => {
            let reached = distance(symbol).or_else(|error| veneer.map_or(Err(error), distance));
            put(memory, at, reached?.to_le_bytes())
        }
        kind => {
            let word = usize::try_from(at).ok().and_then(|at| u32_at(memory, at));
            let Some(word) = word else { return Ok(None) };
            let patch = |target| match supported(arch) {
                Arch::AARCH64 => aarch64::patch_kind(kind, word, place, target),
                _ => Err(PatchError::Instruction),
            };
            let veneer = veneer.filter(|_| kind == RelocKind::Arm64Branch26 && addend == 0);
            let patched = match (patch(sum(target)), veneer) {
                (Err(PatchError::Range), Some(veneer)) => patch(i128::from(veneer)),
                (patched, _) => patched,
            };
            put(memory, at, patched?.to_le_bytes())
        }
    })
}

/// Writes `bytes` to offset `at` of `memory`; `None` if they exceed it.
pub(super) fn put<const N: usize>(memory: &mut [u8], at: u64, bytes: [u8; N]) -> Option<()> {
    *memory.get_mut(usize::try_from(at).ok()?..)?.first_chunk_mut()? = bytes;
    Some(())
}
