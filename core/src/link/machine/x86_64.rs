//! x86-64: operands are unaligned 32-bit fields, and a veneer holds the address of its target.

use super::traits::{Jump, Machine, Requirement, VENEER, common_requirement};
use crate::format::RelocKind;

/// `jmp *2(%rip)` and two bytes of padding; the address follows.
const JUMP: u64 = u64::from_le_bytes([0xff, 0x25, 0x02, 0x00, 0x00, 0x00, 0xcc, 0xcc]);

pub(in super::super) struct X86_64;

impl Machine for X86_64 {
    const JUMPS_THROUGH_GOT: bool = false;
    /// A larger module has distances that no relocation can hold.
    const BRANCH_REACH: u64 = u64::MAX;

    fn requirement(kind: RelocKind) -> Option<Requirement> {
        common_requirement(kind)
    }

    fn veneer(jump: Jump) -> Option<[u8; VENEER as usize]> {
        Some((u128::from(JUMP) | u128::from(jump.target) << 64).to_le_bytes())
    }
}
