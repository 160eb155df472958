//! The interface of an instruction set.

use crate::format::RelocKind;

/// Bytes of a veneer: code that jumps to one symbol at any address.
pub(in super::super) const VENEER: u64 = 16;

/// What a relocation needs in addition to its own field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Requirement {
    Nothing,
    /// An image below 2 GiB.
    Low2GiB,
    /// A GOT slot that holds the address of the symbol.
    GotSlot,
    /// A veneer if the symbol may be out of reach.
    Veneer,
}

/// The addresses of a veneer, of its GOT slot if [`Machine::JUMPS_THROUGH_GOT`], and of its target.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Jump {
    pub(in super::super) place: u64,
    pub(in super::super) slot: u64,
    pub(in super::super) target: u64,
}

/// Why an instruction cannot hold an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatchError {
    /// The instruction has no operand of that kind.
    Instruction,
    /// The address is out of range.
    Range,
    /// The address, or that of the instruction, is not a multiple of this many bytes.
    Alignment(u64),
}

/// An instruction set.
pub(in super::super) trait Machine {
    /// Whether a veneer needs a GOT slot in addition to its own bytes.
    const JUMPS_THROUGH_GOT: bool;
    /// The size of code, in bytes, within which every branch reaches every target.
    const BRANCH_REACH: u64;

    /// What a relocation needs; `None` if its kind belongs to another instruction set.
    fn requirement(kind: RelocKind) -> Option<Requirement>;

    /// The bytes of a veneer; `None` if it cannot reach its slot.
    fn veneer(jump: Jump) -> Option<[u8; VENEER as usize]>;

    /// Writes the address `target` into the instruction `word` at the address `place`.
    ///
    /// # Errors
    /// [`PatchError`]; always for instruction sets without relocations of instructions.
    fn patch(kind: RelocKind, word: u32, place: u64, target: i128) -> Result<u32, PatchError> {
        let _ = (kind, word, place, target);
        Err(PatchError::Instruction)
    }
}

/// The requirements of the relocations that every instruction set has.
pub(super) fn common_requirement(kind: RelocKind) -> Option<Requirement> {
    match kind {
        RelocKind::None | RelocKind::Abs64 | RelocKind::Pc32 | RelocKind::Pc64 => {
            Some(Requirement::Nothing)
        }
        RelocKind::Abs32 | RelocKind::Abs32S => Some(Requirement::Low2GiB),
        RelocKind::Plt32 => Some(Requirement::Veneer),
        RelocKind::GotPcRel => Some(Requirement::GotSlot),
        _ => None,
    }
}
