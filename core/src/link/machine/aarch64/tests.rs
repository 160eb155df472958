//! Every operand against a bit-by-bit oracle, and the worked values of the format.

use super::*;
use crate::testing::Random;
use std::vec::Vec;

const CASES: usize = if cfg!(miri) { 60 } else { 100_000 };

impl Random {
    /// A distance of any magnitude, most often around the limits of the operands.
    fn distance(&mut self) -> i128 {
        let bits = 1 + self.below(64) as u32;
        let around = i128::from(self.below(33)) - 16;
        let value = match self.below(4) {
            0 => i128::from(self.next() >> (64 - bits)),
            1 => (1 << bits) + around,
            2 => (1 << bits) + around * 4096,
            _ => i128::from(self.next() >> (64 - bits)) & !3,
        };
        if self.below(2) == 0 { value } else { -value }
    }
}

fn bit(value: i128, number: u32) -> bool {
    value.div_euclid(1 << number).rem_euclid(2) == 1
}

/// The two's complement of a number in `bits` bits, lowest first; `None` if it does not fit.
fn signed_bits(value: i128, bits: u32) -> Option<Vec<bool>> {
    let all: Vec<bool> = (0..bits).map(|number| bit(value, number)).collect();
    let sign = *all.last().unwrap();
    let back: i128 = (0..bits).map(|n| i128::from(all[n as usize]) << n).sum();
    (back - (i128::from(sign) << bits) == value).then_some(all)
}

/// `word` with the bits at these places replaced, lowest first.
fn with_bits(word: u32, places: impl IntoIterator<Item = u32>, bits: &[bool]) -> u32 {
    let mut word = word;
    for (place, bit) in places.into_iter().zip(bits) {
        if *bit != (word >> place & 1 == 1) {
            word ^= 1 << place;
        }
    }
    word
}

/// An instruction: its fixed bits, as the manual prints them, `x` for any.
struct Form {
    bits: &'static str,
    operand: Operand,
    /// The logarithm of the unit, for [`Operand::PageOff12`], or [`SHIFTED`].
    scale: u32,
}

/// Stands for the unit of ADD shifted by 12 bits, which ignores lower bits.
const SHIFTED: u32 = 12;

const fn form(operand: Operand, scale: u32, bits: &'static str) -> Form {
    Form { bits, operand, scale }
}

/// Every instruction with an operand, from the manual's encoding tables.
const FORMS: [Form; 30] = [
    form(Operand::Branch26, 0, "000101"),             // B
    form(Operand::Branch26, 0, "100101"),             // BL
    form(Operand::Word19, 0, "01010100"),             // B.cond, BC.cond
    form(Operand::Word19, 0, "x0110100"),             // CBZ
    form(Operand::Word19, 0, "x0110101"),             // CBNZ
    form(Operand::Word19, 0, "0x011000"),             // LDR (literal)
    form(Operand::Word19, 0, "10011000"),             // LDRSW (literal)
    form(Operand::Word19, 0, "00011100"),             // LDR (literal, vector) S
    form(Operand::Word19, 0, "10011100"),             // LDR (literal, vector) Q
    form(Operand::Branch14, 0, "x0110110"),           // TBZ
    form(Operand::Branch14, 0, "x0110111"),           // TBNZ
    form(Operand::Page21, 12, "1xx10000"),            // ADRP
    form(Operand::Page21, 0, "0xx10000"),             // ADR
    form(Operand::PageOff12, 0, "x001000100"),        // ADD
    form(Operand::PageOff12, SHIFTED, "x001000101"),  // ADD, shifted
    form(Operand::PageOff12, 0, "0011100100"),        // STRB
    form(Operand::PageOff12, 0, "0011100101"),        // LDRB
    form(Operand::PageOff12, 0, "001110011x"),        // LDRSB
    form(Operand::PageOff12, 1, "01111001xx"),        // STRH, LDRH, LDRSH
    form(Operand::PageOff12, 2, "101110010x"),        // STR, LDR of 32 bits
    form(Operand::PageOff12, 2, "1011100110"),        // LDRSW
    form(Operand::PageOff12, 3, "111110010x"),        // STR, LDR of 64 bits
    form(Operand::PageOff12, 3, "1111100110"),        // PRFM
    form(Operand::PageOff12, 0, "001111010x"),        // B of a vector
    form(Operand::PageOff12, 1, "011111010x"),        // H
    form(Operand::PageOff12, 2, "101111010x"),        // S
    form(Operand::PageOff12, 3, "111111010x"),        // D
    form(Operand::PageOff12, 4, "001111011x"),        // Q
    form(Operand::Page21, 12, "1xx10000xxxxxxxxxxx"), // ADRP again, with any immediate
    form(Operand::Branch26, 0, "x00101"),             // B and BL again
];

impl Form {
    fn holds(&self, word: u32) -> bool {
        (0..).zip(self.bits.bytes()).all(|(number, wanted)| {
            wanted == b'x' || (wanted == b'1') == (word >> (31 - number) & 1 == 1)
        })
    }

    /// A random instruction of the form.
    fn word(&self, random: &mut Random) -> u32 {
        let mut word = random.next() as u32;
        for (number, wanted) in (0..).zip(self.bits.bytes()) {
            if wanted != b'x' && (wanted == b'1') != (word >> (31 - number) & 1 == 1) {
                word ^= 1 << (31 - number);
            }
        }
        word
    }

    /// The patched instruction, computed bit by bit from its definition.
    fn expected(&self, word: u32, place: u64, target: i128) -> Result<u32, PatchError> {
        let place = i128::from(place);
        let field = |value: i128, bits: u32, shift: u32| {
            if value.rem_euclid(4) != 0 {
                return Err(PatchError::Alignment(4));
            }
            let bits_of = signed_bits(value.div_euclid(4), bits).ok_or(PatchError::Range)?;
            Ok(with_bits(word, shift..shift + bits, &bits_of))
        };
        match self.operand {
            Operand::Branch26 => field(target - place, 26, 0),
            Operand::Word19 => field(target - place, 19, 5),
            Operand::Branch14 => field(target - place, 14, 5),
            Operand::Page21 => {
                let unit = 1i128 << self.scale;
                let value = target.div_euclid(unit) - place.div_euclid(unit);
                let bits = signed_bits(value, 21).ok_or(PatchError::Range)?;
                Ok(with_bits(word, [29, 30].into_iter().chain(5..24), &bits))
            }
            Operand::PageOff12 if self.scale == SHIFTED => {
                let low: i128 = (0..24).map(|n| i128::from(bit(target, n)) << n).sum();
                let bits: Vec<bool> = (12..24).map(|number| bit(target, number)).collect();
                if low == target {
                    Ok(with_bits(word, 10..22, &bits))
                } else {
                    Err(PatchError::Range)
                }
            }
            Operand::PageOff12 => {
                let unit = 1i128 << self.scale;
                let offset = target.rem_euclid(4096);
                if offset % unit != 0 {
                    return Err(PatchError::Alignment(1 << self.scale));
                }
                let bits: Vec<bool> = (0..12).map(|number| bit(offset / unit, number)).collect();
                Ok(with_bits(word, 10..22, &bits))
            }
        }
    }
}

#[test]
fn patch_agrees_with_the_oracle_for_every_operand() {
    let mut random = Random(1);
    for form in &FORMS {
        let (mut written, mut refused) = (0, 0);
        for _ in 0..CASES {
            let word = form.word(&mut random);
            let place = random.next() >> random.below(40) & !3;
            let place_or_zero = if form.scale == SHIFTED { 0 } else { place };
            let target = i128::from(place_or_zero) + random.distance();
            let expected = form.expected(word, place, target);
            let found = patch(form.operand, word, place, target);
            assert_eq!(found, expected, "{} {word:#x} {place:#x} {target:#x}", form.bits);
            written += usize::from(found.is_ok());
            refused += usize::from(found.is_err());
        }
        // Byte offsets into a page always fit.
        let always = form.operand == Operand::PageOff12 && form.scale == 0;
        assert!(written > CASES / 20 && (always || refused > CASES / 20), "{}", form.bits);
    }
}

#[test]
fn instruction_without_the_operand_is_refused() {
    const OPERANDS: [Operand; 5] = [
        Operand::Branch26,
        Operand::Word19,
        Operand::Branch14,
        Operand::Page21,
        Operand::PageOff12,
    ];
    // Instructions that the table above omits: literals of 64 bits in vectors, PRFM (literal).
    let others = [(Operand::Word19, "01011100"), (Operand::Word19, "11011000")]
        .map(|(operand, bits)| form(operand, 0, bits));
    let known = |operand, word| {
        let mut forms = FORMS.iter().chain(&others).filter(|form| form.operand == operand);
        forms.any(|form| form.holds(word))
    };
    let mut random = Random(2);
    for operand in OPERANDS {
        let mut refused = 0;
        for number in 0..4 * CASES {
            // Half of the words have the opcode of a load or store.
            let word = random.next() as u32;
            let word = if number % 2 == 0 { word } else { word & !0x3b00_0000 | 0x3900_0000 };
            let found = patch(operand, word, 0x1000, 0x2000);
            assert_eq!(
                found == Err(PatchError::Instruction),
                !known(operand, word),
                "{word:#010x}"
            );
            refused += usize::from(found.is_err());
        }
        assert!(refused > CASES);
    }
}

#[test]
fn unaligned_instruction_is_refused() {
    for (operand, word) in
        [(Operand::Branch26, 0x9400_0000), (Operand::Page21, ADRP), (Operand::PageOff12, ADD)]
    {
        for place in [0x1001, 0x1002, 0x1003] {
            assert_eq!(patch(operand, word, place, 0x2000), Err(PatchError::Alignment(4)));
        }
    }
}

/// The address that a processor computes from the operand.
fn address_of(word: u32, place: u64) -> u64 {
    let signed = |bits: u32, shift: u32| {
        let field = i64::from(word >> shift & ((1 << bits) - 1));
        field << (64 - bits) >> (64 - bits)
    };
    if word & 0x7c00_0000 == 0x1400_0000 {
        return place.wrapping_add_signed(signed(26, 0) * 4);
    }
    let pages = signed(19, 5) << 2 | i64::from(word >> 29 & 3);
    (place & !0xfff).wrapping_add_signed(pages << 12)
}

#[test]
fn patched_branch_and_page_lead_to_the_target() {
    let mut random = Random(3);
    for _ in 0..CASES {
        let place = (random.next() >> 8) & !3;
        let target = i128::from(place) + random.distance();
        for (operand, word) in [(Operand::Branch26, 0x9400_0000), (Operand::Page21, ADRP)] {
            let Ok(patched) = patch(operand, word, place, target) else { continue };
            let page = if operand == Operand::Page21 { 0xfff } else { 0 };
            assert_eq!(i128::from(address_of(patched, place)), target & !page);
        }
    }
}

#[test]
fn reach_limits_are_exact() {
    let place = 0x4000_0000u64;
    let at = |operand, word, distance: i128| {
        patch(operand, word, place, i128::from(place) + distance).is_ok()
    };
    for (operand, word, reach) in [
        (Operand::Branch26, 0x1400_0000, 1 << 27),
        (Operand::Word19, 0x5400_0000, 1 << 20),
        (Operand::Branch14, 0x3600_0000, 1 << 15),
    ] {
        assert!(at(operand, word, reach - 4) && at(operand, word, -reach));
        assert!(!at(operand, word, reach) && !at(operand, word, -reach - 4));
    }
    assert!(at(Operand::Page21, ADR, (1 << 20) - 1) && !at(Operand::Page21, ADR, 1 << 20));
    assert!(at(Operand::Page21, ADRP, (1 << 32) - 1) && !at(Operand::Page21, ADRP, 1 << 32));
    assert!(at(Operand::Page21, ADRP, -(1 << 32)) && !at(Operand::Page21, ADRP, -(1 << 32) - 1));
}

#[test]
fn load_and_add_convert_into_each_other() {
    // ldr x1, [x2, #8] and add x1, x2, #8, where the units differ.
    let (load, add) = (0xf940_0441, 0x9100_0441);
    assert_eq!((load_to_add(load), add_to_load(add)), (Some(add), Some(load)));
    // ldr xzr; ldr w1; str x1; add sp; add w1; adds x1; add x1, x2, #1, lsl #12.
    for word in [0xf940_045f, 0xb940_0441, 0xf900_0441] {
        assert_eq!(load_to_add(word), None);
    }
    for word in [0x9100_045f, 0x1100_0441, 0xb100_0441, 0x9140_0441] {
        assert_eq!(add_to_load(word), None);
    }
}

#[test]
fn veneer_is_direct_within_reach_and_loads_its_slot_otherwise() {
    let (place, slot) = (0x7f00_0000_1000, 0x7f00_0000_3008);
    let words = |target| {
        let bytes = veneer(place, slot, target).unwrap();
        bytes.as_chunks::<4>().0.iter().map(|word| u32::from_le_bytes(*word)).collect::<Vec<_>>()
    };
    // adrp x16, +3 pages; add x16, x16, #0x234; br x16; brk #1
    assert_eq!(words(place + 0x3234), [0xf000_0010, 0x9108_d210, 0xd61f_0200, 0xd420_0020]);
    // adrp x16, +2 pages; ldr x16, [x16, #8]; br x16; brk #1
    for far in [0, 0x1234, u64::MAX, place + (1 << 32), place - (1 << 32) - 0x1000] {
        assert_eq!(words(far), [0xd000_0010, 0xf940_0610, 0xd61f_0200, 0xd420_0020]);
    }
    assert_eq!(veneer(place, 0, 0), None);
}

#[test]
fn got_load_of_less_than_a_slot_is_refused() {
    let kind = RelocKind::Arm64GotLoadPageOff12;
    let patch = |word| patch_kind(kind, word, 0x1000, 0x5008);
    assert_eq!(patch(0xf940_0021), Ok(0xf940_0421)); // ldr x1, [x1]
    assert_eq!(patch(0x9100_0021), Ok(0x9100_2021)); // add x1, x1, #0
    // ldr w1; ldrb w1; str x1; ldr d1; add w1
    for word in [0xb940_0021, 0x3940_0021, 0xf900_0021, 0xfd40_0021, 0x1100_0021] {
        assert_eq!(patch(word), Err(PatchError::Instruction));
    }
}

/// What the verification of prelinked code compares.
#[test]
fn patched_operands_are_recognised_and_others_are_not() {
    use crate::format::ext::arm64_operand::holds;
    let mut random = Random(41);
    let (page, offset) = (RelocKind::Arm64Page21, RelocKind::Arm64PageOff12);
    let words = [
        (page, 0x9000_0000, 1 << 12), // adrp
        (page, 0x1000_0000, 1),       // adr
        (offset, 0x9100_0000, 1),     // add
        (offset, 0x3940_0000, 1),     // ldrb
        (offset, 0x7940_0000, 2),     // ldrh
        (offset, 0xb940_0000, 4),     // ldr w
        (offset, 0xf900_0000, 8),     // str x
        (offset, 0xbd40_0000, 4),     // ldr s
        (offset, 0x3dc0_0000, 16),    // ldr q
    ];
    let mut patched = 0;
    for _ in 0..CASES {
        let (kind, word, unit) = words[random.below(words.len() as u64) as usize];
        let word = word | random.below(1 << 10) as u32 & 31 | (random.below(32) as u32) << 5;
        let word = if kind == page { word & !(31 << 5) } else { word };
        let place = random.below(1 << 40) & !3;
        let target = (i128::from(place) + random.distance()).max(0) & !(unit - 1);
        let (Ok(target), Ok(at)) = (i64::try_from(target), i64::try_from(place)) else { continue };
        let Ok(found) = patch_kind(kind, word, place, target.into()) else { continue };
        patched += 1;
        assert!(holds(kind, found, at, target), "{word:#x} {at:#x} {target:#x}");
        let Some(other) = target.checked_add(unit as i64) else { continue };
        assert!(!holds(kind, found, at, other), "{word:#x} {at:#x} {target:#x}");
        assert!(!holds(if kind == page { offset } else { page }, found, at, target));
        assert!(!holds(RelocKind::Pc32, found, at, target));
    }
    assert!(patched > CASES / 10, "{patched}");
}
