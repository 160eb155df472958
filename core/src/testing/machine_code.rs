//! Relocation of generated code in tests, on both machines.

use std::vec::Vec;

use crate::codegen::code::Relocation;
use crate::format::RelocKind;
use crate::link::aarch64::{Operand, patch};

/// The most bytes that [`relocate`] and [`add_veneer`] append, with padding.
pub(crate) const VENEER: usize = 32;

/// Appends bytes with the alignment of an address, and returns their offset.
fn append(code: &mut Vec<u8>, bytes: &[u8]) -> usize {
    code.resize(code.len().next_multiple_of(8), 0);
    code.extend(bytes);
    code.len() - bytes.len()
}

/// Appends code that jumps to `address`, and returns its offset: `mov r11, address; jmp r11`, or `ldr x16, #8; br x16` and
/// the address.
pub(crate) fn add_veneer(code: &mut Vec<u8>, address: usize) -> usize {
    let bytes = address.to_le_bytes();
    let jump = match cfg!(target_arch = "x86_64") {
        true => [&[0x49, 0xbb][..], &bytes, &[0x41, 0xff, 0xe3]].concat(),
        false => [&[0x50, 0, 0, 0x58, 0, 2, 0x1f, 0xd6][..], &bytes].concat(),
    };
    append(code, &jump)
}

/// Applies a relocation at the offset `place` of code that will lie at `base`. `target` is an offset.
pub(crate) fn relocate(
    code: &mut Vec<u8>,
    base: usize,
    place: usize,
    relocation: &Relocation,
    mut target: usize,
) {
    let kind = relocation.kind;
    if matches!(kind, RelocKind::Arm64GotLoadPage21 | RelocKind::Arm64GotLoadPageOff12) {
        target = append(code, &(base + target).to_le_bytes());
    }
    let address = (base + place) as u64;
    let value = (base + target) as i128 + i128::from(relocation.addend);
    if kind == RelocKind::Abs64 {
        let value = u64::try_from(value).unwrap();
        return code[place..place + 8].copy_from_slice(&value.to_le_bytes());
    }
    let word = code[place..].first_chunk_mut::<4>().unwrap();
    let operand = match kind {
        RelocKind::Arm64Branch26 => Operand::Branch26,
        RelocKind::Arm64GotLoadPage21 => Operand::Page21,
        RelocKind::Arm64GotLoadPageOff12 => Operand::PageOff12,
        _ => {
            let distance = i32::try_from(value - i128::from(address)).unwrap();
            return *word = distance.to_le_bytes();
        }
    };
    let patched = patch(operand, u32::from_le_bytes(*word), address, value).unwrap();
    *word = patched.to_le_bytes();
}
