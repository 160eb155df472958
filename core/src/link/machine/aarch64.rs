//! aarch64: addresses stand in the immediates of instructions, which this file knows how to fill in.
//!
//! [`patch`] keeps every other bit of the instruction, and takes from the instruction what the
//! relocation does not say: whether it counts bytes (ADR) or pages (ADRP), and the unit in which a
//! load or store counts. What does not hold an operand of that kind is refused, and so is a value
//! that the operand cannot hold whole.
//!
//! Sources: Arm Architecture Reference Manual (DDI 0487), C4.1 "A64 instruction set encoding"; ELF
//! for the Arm 64-bit Architecture (AAELF64), 5.7 "Relocation".

use super::{Jump, Machine, Need, VENEER, common_need};
use crate::format::RelocKind;

/// An immediate that says where something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operand {
    /// The target of B and BL: words from the instruction, 26 bits with a sign.
    Branch26,
    /// The target of B.cond, CBZ and CBNZ, and the place of LDR (literal): words from the
    /// instruction, 19 bits with a sign.
    Word19,
    /// The target of TBZ and TBNZ: words from the instruction, 14 bits with a sign.
    Branch14,
    /// The operand of ADRP, pages of 4 KiB from the page of the instruction; or of ADR, bytes from the
    /// instruction. 21 bits with a sign.
    Page21,
    /// The operand of ADD (immediate), or of a load or store with an unsigned offset in units of what
    /// it moves: bytes from the begin of a page, 12 bits.
    PageOff12,
}

/// Why an instruction cannot hold an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misfit {
    /// It has no operand of that kind.
    Instruction,
    /// The address is too far away.
    Range,
    /// The address, or the instruction's own, is no multiple of so many bytes.
    Alignment(u64),
}

/// Bytes of a page as ADRP counts them, whatever a page of the system is.
pub const PAGE: u64 = 1 << 12;

const ADRP_MASK: u32 = 0x9f00_0000;
const ADRP: u32 = 0x9000_0000;
const ADR: u32 = 0x1000_0000;
/// ADD (immediate) of 64 bits, not shifted.
const ADD: u32 = 0x9100_0000;
/// LDR (immediate) of 64 bits, with an unsigned offset.
const LDR: u32 = 0xf940_0000;
/// All but the registers and the immediate of those two.
const ADD_MASK: u32 = 0xffc0_0000;
const BR: u32 = 0xd61f_0000;
/// BRK #1.
const TRAP: u32 = 0xd420_0020;
/// IP0, which veneers may overwrite: the first register between procedure calls.
const X16: u32 = 16;

/// Writes where `target` is into the instruction `word`, which stands at the address `place`.
///
/// # Errors
/// [`Misfit`]: another instruction, or a target that the operand cannot say.
pub fn patch(operand: Operand, word: u32, place: u64, target: i128) -> Result<u32, Misfit> {
    if !place.is_multiple_of(4) {
        return Err(Misfit::Alignment(4));
    }
    let distance = target - i128::from(place);
    match operand {
        Operand::Branch26 if word & 0x7c00_0000 == 0x1400_0000 => words(word, distance, 26, 0),
        Operand::Word19 if holds_word19(word) => words(word, distance, 19, 5),
        Operand::Branch14 if word & 0x7e00_0000 == 0x3600_0000 => words(word, distance, 14, 5),
        Operand::Page21 => {
            let value = match word & ADRP_MASK {
                ADRP => (target >> 12) - i128::from(place >> 12),
                ADR => distance,
                _ => return Err(Misfit::Instruction),
            };
            let bits = signed(value, 21)?;
            Ok(word & !0x60ff_ffe0 | (bits & 3) << 29 | bits >> 2 << 5)
        }
        Operand::PageOff12 => {
            let scale = access_scale(word).ok_or(Misfit::Instruction)?;
            let low = low_bits(target, 12);
            if low & ((1 << scale) - 1) != 0 {
                return Err(Misfit::Alignment(1 << scale));
            }
            Ok(word & !(0xfff << 10) | low >> scale << 10)
        }
        _ => Err(Misfit::Instruction),
    }
}

/// The unit in which [`Operand::PageOff12`] counts in the instruction `word`, as the logarithm of its
/// bytes: 0 for ADD, 0 to 4 for a load or store; `None` for another instruction.
pub fn access_scale(word: u32) -> Option<u32> {
    // ADD of 32 or 64 bits, not shifted.
    if word & 0x7fc0_0000 == ADD & 0x7fc0_0000 {
        return Some(0);
    }
    if word & 0x3b00_0000 != 0x3900_0000 {
        return None;
    }
    let (size, is_vector, opcode) = (word >> 30, word >> 26 & 1 == 1, word >> 22 & 3);
    match (is_vector, size, opcode) {
        (true, 0, 2 | 3) => Some(4),
        (true, 1.., 2 | 3) | (false, 2.., 3) => None,
        _ => Some(size),
    }
}

/// What `ldr xN, [xM, #slot]` becomes when xN shall be the address of the slot instead of what it holds:
/// `add xN, xM, #slot`. `None` for another instruction, and for a load into the zero register, whose
/// number means the stack pointer in ADD.
pub fn load_to_add(word: u32) -> Option<u32> {
    (word & ADD_MASK == LDR && word & 31 != 31).then_some(word & !ADD_MASK | ADD)
}

/// What `add xN, xM, #offset` becomes when xN shall be what stands there: `ldr xN, [xM, #offset]`. `None`
/// for another instruction, and for one that writes the stack pointer.
pub fn add_to_load(word: u32) -> Option<u32> {
    (word & ADD_MASK == ADD && word & 31 != 31).then_some(word & !ADD_MASK | LDR)
}

/// `adrp x16, to`, then ADD or LDR with the rest of `to`, then `br x16`; and a word that is never reached.
fn jump(place: u64, to: u64, second: u32) -> Result<[u8; VENEER as usize], Misfit> {
    let to = i128::from(to);
    let page = patch(Operand::Page21, ADRP | X16, place, to)?;
    let offset = patch(Operand::PageOff12, second | X16 << 5 | X16, place, to)?;
    let words = [page, offset, BR | X16 << 5, TRAP];
    let bytes = words.iter().rev().fold(0u128, |all, word| all << 32 | u128::from(*word));
    Ok(bytes.to_le_bytes())
}

fn holds_word19(word: u32) -> bool {
    let is_conditional = word & 0xff00_0000 == 0x5400_0000;
    let is_compare = word & 0x7e00_0000 == 0x3400_0000;
    // One opcode of literals has no meaning yet.
    let is_literal = word & 0x3b00_0000 == 0x1800_0000 && word >> 24 != 0xdc;
    is_conditional || is_compare || is_literal
}

/// A distance in words, in as many bits of the instruction from `shift` on.
fn words(word: u32, distance: i128, bits: u32, shift: u32) -> Result<u32, Misfit> {
    if distance & 3 != 0 {
        return Err(Misfit::Alignment(4));
    }
    let mask = ((1 << bits) - 1) << shift;
    Ok(word & !mask | signed(distance >> 2, bits)? << shift)
}

/// A number as so many bits with a sign.
fn signed(value: i128, bits: u32) -> Result<u32, Misfit> {
    let end = 1i128 << (bits - 1);
    if (-end..end).contains(&value) { Ok(low_bits(value, bits)) } else { Err(Misfit::Range) }
}

fn low_bits(value: i128, bits: u32) -> u32 {
    let [a, b, c, d, ..] = value.to_le_bytes();
    u32::from_le_bytes([a, b, c, d]) & ((1 << bits) - 1)
}

pub(in super::super) struct Aarch64;

impl Machine for Aarch64 {
    const JUMPS_THROUGH_GOT: bool = true;
    /// Half of what B and BL reach, for the gaps between sections to be of no account.
    const BRANCH_REACH: u64 = 1 << 26;
    const IS_HOST: bool = cfg!(target_arch = "aarch64");

    #[cfg_attr(feature = "full", inline(always))]
    fn need(kind: RelocKind) -> Option<Need> {
        match kind {
            RelocKind::Arm64Branch26 => Some(Need::Veneer),
            RelocKind::Arm64Page21 | RelocKind::Arm64PageOff12 => Some(Need::Nothing),
            RelocKind::Arm64GotLoadPage21 | RelocKind::Arm64GotLoadPageOff12 => Some(Need::Slot),
            kind => common_need(kind),
        }
    }

    /// The target's own address when ADRP reaches it, else what the slot holds.
    fn veneer(Jump { place, slot, target }: Jump) -> Option<[u8; VENEER as usize]> {
        jump(place, target, ADD).or_else(|_| jump(place, slot, LDR)).ok()
    }

    fn patch(kind: RelocKind, word: u32, place: u64, target: i128) -> Result<u32, Misfit> {
        let operand = match kind {
            RelocKind::Arm64Branch26 => Operand::Branch26,
            RelocKind::Arm64Page21 | RelocKind::Arm64GotLoadPage21 => Operand::Page21,
            RelocKind::Arm64PageOff12 => Operand::PageOff12,
            // What a slot holds is 64 bits wide; its address serves as well.
            RelocKind::Arm64GotLoadPageOff12 if matches!(word & ADD_MASK, LDR | ADD) => {
                Operand::PageOff12
            }
            _ => return Err(Misfit::Instruction),
        };
        patch(operand, word, place, target)
    }
}

#[cfg(test)]
mod tests;
