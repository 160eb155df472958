//! Relocation numbers of ELF objects: their kinds and names.
//!
//! Sources: System V ABI, AMD64 Architecture Processor Supplement, table 4.9; ELF for the Arm 64-bit
//! Architecture (AAELF64), 5.7.

use core::fmt;

use crate::format::model::{Reloc, RelocKind};
use crate::format::wire::{Layout, RELOC, i64_at, u32_at, u64_at};

/// Decodes an entry. An unsupported number becomes [`RelocKind::Unknown`] with its low byte.
pub(crate) fn decode(bytes: &[u8; RELOC], layout: Layout) -> Reloc {
    let number = number(bytes);
    Reloc {
        offset: u64_at(bytes, 0).unwrap_or(0),
        symbol: u32_at(bytes, 12).unwrap_or(0),
        kind: kind(layout, number).unwrap_or(RelocKind::Unknown((number & 0xff) as u8)),
        addend: i64_at(bytes, 16).unwrap_or(0),
    }
}

/// The number of the kind.
pub(crate) fn number(bytes: &[u8; RELOC]) -> u32 {
    u32_at(bytes, 8).unwrap_or(0)
}

/// The kind of a number; `None` if it is not supported. Relocations that allow the linker to relax the instruction
/// are applied without relaxation.
fn kind(layout: Layout, number: u32) -> Option<RelocKind> {
    use RelocKind as K;
    Some(match (layout, number) {
        (_, 0) => K::None,
        (Layout::ElfX86_64, 1) => K::Abs64,
        (Layout::ElfX86_64, 2) => K::Pc32,
        (Layout::ElfX86_64, 4) => K::Plt32,
        // GOTPCREL, GOTPCRELX, REX_GOTPCRELX.
        (Layout::ElfX86_64, 9 | 41 | 42) => K::GotPcRel,
        (Layout::ElfX86_64, 10) => K::Abs32,
        (Layout::ElfX86_64, 11) => K::Abs32S,
        (Layout::ElfX86_64, 24) => K::Pc64,
        (Layout::ElfAarch64, 256) => K::None,
        (Layout::ElfAarch64, 257) => K::Abs64,
        (Layout::ElfAarch64, 258) => K::Abs32,
        (Layout::ElfAarch64, 260) => K::Pc64,
        (Layout::ElfAarch64, 261) => K::Pc32,
        // The instruction determines whether the offset counts pages or bytes.
        (Layout::ElfAarch64, 274..=276) => K::Arm64Page21,
        // ADD, and loads and stores of 8 to 128 bits; the instruction determines the scale.
        (Layout::ElfAarch64, 277 | 278 | 284..=286 | 299) => K::Arm64PageOff12,
        (Layout::ElfAarch64, 282 | 283) => K::Arm64Branch26,
        (Layout::ElfAarch64, 311) => K::Arm64GotLoadPage21,
        (Layout::ElfAarch64, 312) => K::Arm64GotLoadPageOff12,
        (Layout::ElfAarch64, 314) => K::Plt32,
        _ => return None,
    })
}

/// An ELF relocation that is not supported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ElfReloc {
    /// The layout of the object.
    pub(crate) layout: Layout,
    /// The relocation number; its meaning depends on the machine.
    pub number: u32,
}

impl ElfReloc {
    /// The name in the psABI supplement of the machine, if it is in the table.
    pub fn name(&self) -> Option<&'static str> {
        let names = if self.layout == Layout::ElfAarch64 { &AARCH64[..] } else { &X86_64[..] };
        let at = names.binary_search_by_key(&self.number, |(number, _)| *number).ok()?;
        names.get(at).map(|(_, name)| *name)
    }
}

impl fmt::Display for ElfReloc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => write!(f, "{name} ({})", self.number),
            None => write!(f, "a kind of the number {}", self.number),
        }
    }
}

/// Unsupported relocations, by number.
const X86_64: [(u32, &str); 29] = [
    (3, "R_X86_64_GOT32"),
    (5, "R_X86_64_COPY"),
    (6, "R_X86_64_GLOB_DAT"),
    (7, "R_X86_64_JUMP_SLOT"),
    (8, "R_X86_64_RELATIVE"),
    (12, "R_X86_64_16"),
    (13, "R_X86_64_PC16"),
    (14, "R_X86_64_8"),
    (15, "R_X86_64_PC8"),
    (16, "R_X86_64_DTPMOD64"),
    (17, "R_X86_64_DTPOFF64"),
    (18, "R_X86_64_TPOFF64"),
    (19, "R_X86_64_TLSGD"),
    (20, "R_X86_64_TLSLD"),
    (21, "R_X86_64_DTPOFF32"),
    (22, "R_X86_64_GOTTPOFF"),
    (23, "R_X86_64_TPOFF32"),
    (25, "R_X86_64_GOTOFF64"),
    (26, "R_X86_64_GOTPC32"),
    (27, "R_X86_64_GOT64"),
    (28, "R_X86_64_GOTPCREL64"),
    (29, "R_X86_64_GOTPC64"),
    (30, "R_X86_64_GOTPLT64"),
    (31, "R_X86_64_PLTOFF64"),
    (32, "R_X86_64_SIZE32"),
    (33, "R_X86_64_SIZE64"),
    (34, "R_X86_64_GOTPC32_TLSDESC"),
    (35, "R_X86_64_TLSDESC_CALL"),
    (37, "R_X86_64_IRELATIVE"),
];

const AARCH64: [(u32, &str); 30] = [
    (259, "R_AARCH64_ABS16"),
    (262, "R_AARCH64_PREL16"),
    (263, "R_AARCH64_MOVW_UABS_G0"),
    (264, "R_AARCH64_MOVW_UABS_G0_NC"),
    (265, "R_AARCH64_MOVW_UABS_G1"),
    (266, "R_AARCH64_MOVW_UABS_G1_NC"),
    (267, "R_AARCH64_MOVW_UABS_G2"),
    (268, "R_AARCH64_MOVW_UABS_G2_NC"),
    (269, "R_AARCH64_MOVW_UABS_G3"),
    (270, "R_AARCH64_MOVW_SABS_G0"),
    (271, "R_AARCH64_MOVW_SABS_G1"),
    (272, "R_AARCH64_MOVW_SABS_G2"),
    (273, "R_AARCH64_LD_PREL_LO19"),
    (279, "R_AARCH64_TSTBR14"),
    (280, "R_AARCH64_CONDBR19"),
    (287, "R_AARCH64_MOVW_PREL_G0"),
    (288, "R_AARCH64_MOVW_PREL_G0_NC"),
    (289, "R_AARCH64_MOVW_PREL_G1"),
    (290, "R_AARCH64_MOVW_PREL_G1_NC"),
    (291, "R_AARCH64_MOVW_PREL_G2"),
    (292, "R_AARCH64_MOVW_PREL_G2_NC"),
    (293, "R_AARCH64_MOVW_PREL_G3"),
    (307, "R_AARCH64_GOTREL64"),
    (308, "R_AARCH64_GOTREL32"),
    (313, "R_AARCH64_LD64_GOTPAGE_LO15"),
    (541, "R_AARCH64_TLSIE_ADR_GOTTPREL_PAGE21"),
    (549, "R_AARCH64_TLSLE_ADD_TPREL_HI12"),
    (551, "R_AARCH64_TLSLE_ADD_TPREL_LO12_NC"),
    (562, "R_AARCH64_TLSDESC_ADR_PAGE21"),
    (569, "R_AARCH64_TLSDESC_CALL"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn relocation_number_has_a_kind_or_a_name_but_not_both() {
        for (layout, names) in
            [(Layout::ElfX86_64, &X86_64[..]), (Layout::ElfAarch64, &AARCH64[..])]
        {
            assert!(names.windows(2).all(|pair| pair[0].0 < pair[1].0));
            for number in 0..1100 {
                let name = ElfReloc { layout, number }.name();
                assert!(kind(layout, number).is_none() || name.is_none(), "{number}");
            }
        }
        let local_exec = ElfReloc { layout: Layout::ElfX86_64, number: 23 };
        assert_eq!(local_exec.to_string(), "R_X86_64_TPOFF32 (23)");
        let odd = ElfReloc { layout: Layout::ElfAarch64, number: 9999 };
        assert_eq!(odd.to_string(), "a kind of the number 9999");
    }
}
