//! aarch64: addresses are immediates of instructions.
//!
//! [`patch`] changes only the immediate. It derives from the instruction what the relocation does not specify: whether
//! the immediate counts bytes (ADR) or pages (ADRP), the unit of a load or store, and whether an addition is shifted. It refuses an instruction without
//! an operand of that kind and a value that the operand cannot represent exactly.
//!
//! Sources: Arm Architecture Reference Manual (DDI 0487), C4.1 "A64 instruction set encoding"; ELF
//! for the Arm 64-bit Architecture (AAELF64), 5.7 "Relocation".

use core::num::TryFromIntError;

use crate::format::RelocKind;

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

impl From<TryFromIntError> for PatchError {
    fn from(_: TryFromIntError) -> Self {
        Self::Range
    }
}

/// An immediate that encodes an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operand {
    /// The target of B and BL: words from the instruction, signed 26 bits.
    Branch26,
    /// The target of B.cond, CBZ and CBNZ, and the literal of LDR (literal): words from the
    /// instruction, signed 19 bits.
    Word19,
    /// The target of TBZ and TBNZ: words from the instruction, signed 14 bits.
    Branch14,
    /// The operand of ADRP, pages of 4 KiB from the page of the instruction; or of ADR, bytes from the
    /// instruction. Signed 21 bits.
    Page21,
    /// The operand of ADD (immediate), or of a load or store with an unsigned offset scaled by its
    /// access size: bytes from the start of a page, 12 bits. The operand of ADD shifted by 12 bits is pages instead,
    /// for offsets from the thread pointer in code of the local-exec model: 24 bits without the lower 12.
    PageOff12,
}

/// Bytes of a page as ADRP counts them, independent of the page size of the system.
pub const PAGE: u64 = 1 << 12;

const ADRP_MASK: u32 = 0x9f00_0000;
const ADRP: u32 = 0x9000_0000;
const ADR: u32 = 0x1000_0000;
/// ADD (immediate) of 64 bits, not shifted.
const ADD: u32 = 0x9100_0000;
/// LDR (immediate) of 64 bits, with an unsigned offset.
const LDR: u32 = 0xf940_0000;
/// The bits of these two that are neither registers nor immediate.
const ADD_MASK: u32 = 0xffc0_0000;
const BR: u32 = 0xd61f_0000;
/// BRK #1.
const TRAP: u32 = 0xd420_0020;
/// IP0, the first intra-procedure-call scratch register, which veneers may overwrite.
const X16: u32 = 16;

/// Writes the address `target` into the instruction `word` at the address `place`.
///
/// # Errors
/// [`PatchError`].
pub fn patch(operand: Operand, word: u32, place: u64, target: i128) -> Result<u32, PatchError> {
    if !place.is_multiple_of(4) {
        return Err(PatchError::Alignment(4));
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
                _ => return Err(PatchError::Instruction),
            };
            let bits = signed(value, 21)?;
            Ok(word & !0x60ff_ffe0 | (bits & 3) << 29 | bits >> 2 << 5)
        }
        Operand::PageOff12 if is_shifted_add(word) => {
            if !(0..1 << 24).contains(&target) {
                return Err(PatchError::Range);
            }
            Ok(word & !(0xfff << 10) | low_bits(target >> 12, 12) << 10)
        }
        Operand::PageOff12 => {
            let scale = access_scale(word).ok_or(PatchError::Instruction)?;
            let low = low_bits(target, 12);
            if low & ((1 << scale) - 1) != 0 {
                return Err(PatchError::Alignment(1 << scale));
            }
            Ok(word & !(0xfff << 10) | low >> scale << 10)
        }
        _ => Err(PatchError::Instruction),
    }
}

/// Whether `word` is ADD (immediate) of 32 or 64 bits, shifted by 12 bits.
pub fn is_shifted_add(word: u32) -> bool {
    word & 0x7fc0_0000 == (ADD | 1 << 22) & 0x7fc0_0000
}

/// The unit of [`Operand::PageOff12`] in the instruction `word`, as the binary logarithm of its bytes: 0 for ADD, 0 to
/// 4 for a load or store; `None` for another instruction.
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

/// Turns `ldr xN, [xM, #slot]` into `add xN, xM, #slot`, which computes the address of the slot. `None` for another
/// instruction, and for a load into the zero register, whose number is the stack pointer in ADD.
pub fn load_to_add(word: u32) -> Option<u32> {
    (word & ADD_MASK == LDR && word & 31 != 31).then_some(word & !ADD_MASK | ADD)
}

/// Turns `add xN, xM, #offset` into `ldr xN, [xM, #offset]`, which loads from that address. `None` for another
/// instruction, and for one that writes the stack pointer.
pub fn add_to_load(word: u32) -> Option<u32> {
    (word & ADD_MASK == ADD && word & 31 != 31).then_some(word & !ADD_MASK | LDR)
}

/// `adrp x16, to`; ADD or LDR with the low bits of `to`; `br x16`; and an unreachable word.
fn jump(place: u64, to: u64, second: u32) -> Result<[u8; 16], PatchError> {
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
    // One opcode of literals is unallocated.
    let is_literal = word & 0x3b00_0000 == 0x1800_0000 && word >> 24 != 0xdc;
    is_conditional || is_compare || is_literal
}

/// Writes a distance, counted in words, into the bits of the instruction from `shift` on.
fn words(word: u32, distance: i128, bits: u32, shift: u32) -> Result<u32, PatchError> {
    if distance & 3 != 0 {
        return Err(PatchError::Alignment(4));
    }
    let mask = ((1 << bits) - 1) << shift;
    Ok(word & !mask | signed(distance >> 2, bits)? << shift)
}

/// The two's complement of a number in `bits` bits.
fn signed(value: i128, bits: u32) -> Result<u32, PatchError> {
    let end = 1i128 << (bits - 1);
    if (-end..end).contains(&value) { Ok(low_bits(value, bits)) } else { Err(PatchError::Range) }
}

fn low_bits(value: i128, bits: u32) -> u32 {
    let [a, b, c, d, ..] = value.to_le_bytes();
    u32::from_le_bytes([a, b, c, d]) & ((1 << bits) - 1)
}

/// Half the reach of B and BL, which leaves a margin for gaps between sections.
pub(super) const BRANCH_REACH: u64 = 1 << 26;

/// Jumps to the target directly if ADRP reaches it, else through the slot.
pub(super) fn veneer(place: u64, slot: u64, target: u64) -> Option<[u8; 16]> {
    jump(place, target, ADD).or_else(|_| jump(place, slot, LDR)).ok()
}

/// As [`patch`], with the operand of a relocation kind.
pub(super) fn patch_kind(
    kind: RelocKind,
    word: u32,
    place: u64,
    target: i128,
) -> Result<u32, PatchError> {
    let operand = match kind {
        RelocKind::Arm64Branch26 => Operand::Branch26,
        RelocKind::Arm64Page21 | RelocKind::Arm64GotLoadPage21 => Operand::Page21,
        RelocKind::Arm64PageOff12 => Operand::PageOff12,
        // A load of the 64-bit slot, or a computation of its address.
        RelocKind::Arm64GotLoadPageOff12 if matches!(word & ADD_MASK, LDR | ADD) => {
            Operand::PageOff12
        }
        _ => return Err(PatchError::Instruction),
    };
    patch(operand, word, place, target)
}

#[cfg(test)]
mod tests;
