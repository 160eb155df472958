//! PC-relative references of aarch64 code.
//!
//! Every instruction is a word. Branches, ADR, ADRP and literal loads hold a distance. An ADRP holds the distance of a
//! page; a reference is complete only if the very next instruction adds the rest of the address to the same register,
//! as compilers emit it.
//!
//! Source: Arm Architecture Reference Manual (DDI 0487), C4.1 (encodings), C6.2 (ADR, ADRP, B, BL, LDR).

/// A PC-relative reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reference {
    /// The offset of the instruction in the code, in bytes.
    pub(crate) at: usize,
    pub(crate) target: Target,
}

/// The target of a reference. Distances are in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// Code at this distance from the instruction, by B or BL.
    Branch(i64),
    /// A place at this distance from the instruction, which has no relocation kind.
    Near(i64),
    /// A place `bytes` from the start of the instruction's page. The next instruction reads eight bytes there, or
    /// computes the address.
    Page { bytes: i64, is_read: bool },
    /// A page whose use is unknown.
    Unknown,
}

/// Bytes of an instruction.
const WORD: usize = 4;

/// The references of `code`, in code order.
pub(crate) fn references(code: &[u8]) -> impl Iterator<Item = Reference> + '_ {
    let words = code.as_chunks::<WORD>().0;
    let word = |index: usize| words.get(index).map(|bytes| u32::from_le_bytes(*bytes));
    (0..words.len()).filter_map(move |index| {
        let target = reference(word(index)?, word(index + 1))?;
        Some(Reference { at: index * WORD, target })
    })
}

/// The reference in a word followed by `next`.
#[inline(never)]
fn reference(word: u32, next: Option<u32>) -> Option<Target> {
    let is = |mask: u32, value: u32| word & mask == value;
    let near = |low, bits| Some(Target::Near(signed(word, low, bits) * WORD as i64));
    if is(0x7c00_0000, 0x1400_0000) {
        return Some(Target::Branch(signed(word, 0, 26) * WORD as i64));
    }
    // B.cond and BC.cond; CBZ and CBNZ; LDR of a literal, of any kind.
    if is(0xff00_0000, 0x5400_0000) || is(0x7e00_0000, 0x3400_0000) || is(0x3b00_0000, 0x1800_0000)
    {
        return near(5, 19);
    }
    // TBZ and TBNZ; CB by a comparison.
    if is(0x7e00_0000, 0x3600_0000) {
        return near(5, 14);
    }
    if is(0x7e00_0000, 0x7400_0000) {
        return near(5, 9);
    }
    let halves = signed(word, 5, 19) << 2 | i64::from(word >> 29 & 3);
    match word & 0x9f00_0000 {
        0x1000_0000 => Some(Target::Near(halves)),
        0x9000_0000 => {
            let rest = next.and_then(|next| rest(next, word & 31));
            Some(rest.map_or(Target::Unknown, |(low, is_read)| Target::Page {
                bytes: (halves << 12) + low,
                is_read,
            }))
        }
        _ => None,
    }
}

/// The bytes that an instruction adds to the page in a register, and whether it reads there; `None` unless the result
/// stays in the same register.
fn rest(word: u32, register: u32) -> Option<(i64, bool)> {
    if word & 31 != register || word >> 5 & 31 != register {
        return None;
    }
    let number = i64::from(word >> 10 & 0xfff);
    match word & 0xffc0_0000 {
        // ADD of 64 bits, not shifted.
        0x9100_0000 => Some((number, false)),
        // LDR of 64 bits, scaled by 8.
        0xf940_0000 => Some((number * 8, true)),
        _ => None,
    }
}

/// The signed field of `bits` bits from bit `low` on.
fn signed(word: u32, low: u32, bits: u32) -> i64 {
    i64::from((word << (32 - low - bits)).cast_signed() >> (32 - bits))
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;

    fn found(words: &[u32]) -> Vec<(usize, Target)> {
        let code: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        references(&code).map(|distance| (distance.at, distance.target)).collect()
    }

    #[test]
    fn reference_of_each_instruction_form_is_found() {
        let words = [
            0xd503_201f, // nop
            0x9400_0002, // bl +8
            0x17ff_ffff, // b -4
            0x54ff_ffe1, // b.ne -4
            0x3400_0040, // cbz w0, +8
            0xb5ff_ffc1, // cbnz x1, -8
            0x3608_0060, // tbz w0, #1, +12
            0xb7ff_ffe2, // tbnz x2, #63, -4
            0x5800_0040, // ldr x0, +8
            0x9c00_0040, // ldr q0, +8
            0x5000_0000, // adr x0, +2
            0x70ff_ffe0, // adr x0, -1
            0x8b00_0000, // add x0, x0, x0
            0xf940_0400, // ldr x0, [x0, #8]
        ];
        use Target::{Branch, Near};
        let expected = [
            (4, Branch(8)),
            (8, Branch(-4)),
            (12, Near(-4)),
            (16, Near(8)),
            (20, Near(-8)),
            (24, Near(12)),
            (28, Near(-4)),
            (32, Near(8)),
            (36, Near(8)),
            (40, Near(2)),
            (44, Near(-1)),
        ];
        assert_eq!(found(&words), expected);
    }

    #[test]
    fn adrp_with_its_next_instruction_gives_an_address() {
        // adrp x0, two pages on.
        let page = 0xd000_0000;
        let one = |next: &[u32]| {
            let all = found(&[&[page][..], next].concat());
            assert_eq!(all.len(), 1);
            all[0].1
        };
        let of = |bytes, is_read| Target::Page { bytes, is_read };
        assert_eq!(one(&[0x9100_4000]), of(0x2010, false)); // add x0, x0, #16
        assert_eq!(one(&[0xf940_0400]), of(0x2008, true)); // ldr x0, [x0, #8]
        // Target x1, from x1, of 32 bits, shifted, or nothing at all.
        for next in [0x9100_4001, 0x9100_4020, 0x1100_4000, 0x9140_4000, 0xb940_0400] {
            assert_eq!(one(&[next]), Target::Unknown, "{next:08x}");
        }
        assert_eq!(one(&[]), Target::Unknown);
        // adrp x16, one page back; ldr x16, [x16].
        assert_eq!(found(&[0xf0ff_fff0, 0xf940_0210]), [(0, of(-0x1000, true))]);
    }
}
