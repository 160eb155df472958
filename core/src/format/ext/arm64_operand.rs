//! The values that operands of aarch64 instructions hold, to compare them with those of relocations.
//!
//! Source: Arm Architecture Reference Manual (DDI 0487), C4.1 "A64 instruction set encoding".

use crate::format::model::RelocKind;

/// Whether the instruction `word` at the address `place` holds the address `target`, as a relocation of this kind
/// writes it. `false` for other kinds and for instructions without such an operand.
pub(crate) fn holds(kind: RelocKind, word: u32, place: i64, target: i64) -> bool {
    match kind {
        RelocKind::Arm64Page21 => page(word, place, target),
        RelocKind::Arm64PageOff12 => page_offset(word, target),
        _ => false,
    }
}

/// ADRP or ADR.
fn page(word: u32, place: i64, target: i64) -> bool {
    let is_adrp = word >> 31 == 1;
    let bits = (word >> 5 & 0x7_ffff) << 2 | word >> 29 & 3;
    // The sign is bit 20.
    let value = i64::from((bits << 11).cast_signed() >> 11);
    let distance =
        if is_adrp { (target >> 12).wrapping_sub(place >> 12) } else { target.wrapping_sub(place) };
    word & 0x1f00_0000 == 0x1000_0000 && value == distance
}

/// ADD, or a load or store, whose operand counts units of its access.
fn page_offset(word: u32, target: i64) -> bool {
    let is_add = word & 0x7fc0_0000 == 0x1100_0000;
    let is_access = word & 0x3b00_0000 == 0x3900_0000;
    let is_quad = word & 0x0480_0000 == 0x0480_0000;
    let scale = match word >> 30 {
        _ if is_add => 0,
        0 if is_quad => 4,
        size => size,
    };
    (is_add || is_access) && i64::from((word >> 10 & 0xfff) << scale) == target & 0xfff
}
