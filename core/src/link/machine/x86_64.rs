//! x86-64: an operand is 32 bits at any address, and a veneer carries the address it jumps to.

use super::{Jump, Machine, Need, VENEER, common_need};
use crate::format::RelocKind;

/// `jmp *2(%rip)`, two bytes that are never reached, and then the address.
const JUMP: u64 = u64::from_le_bytes([0xff, 0x25, 0x02, 0x00, 0x00, 0x00, 0xcc, 0xcc]);

pub(in super::super) struct X86_64;

impl Machine for X86_64 {
    const JUMPS_THROUGH_GOT: bool = false;
    /// A module that is larger has distances that no relocation can hold.
    const BRANCH_REACH: u64 = u64::MAX;
    const IS_HOST: bool = cfg!(target_arch = "x86_64");

    #[cfg_attr(feature = "full", inline(always))]
    fn need(kind: RelocKind) -> Option<Need> {
        common_need(kind)
    }

    fn veneer(jump: Jump) -> Option<[u8; VENEER as usize]> {
        Some((u128::from(JUMP) | u128::from(jump.target) << 64).to_le_bytes())
    }
}
