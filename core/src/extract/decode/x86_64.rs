//! Lengths and PC-relative references of x86-64 instructions.
//!
//! The tables cover what compilers emit: the three opcode maps, VEX and EVEX. In 64-bit mode only branches and operands
//! relative to RIP hold distances. An unknown instruction has no length, so that no reference is missed.
//!
//! Source: Intel SDM, volume 2: 2.1 (formats), 2.3 (VEX), 2.7 (EVEX), appendix A.2 and A.3 (opcode maps).

/// A PC-relative field of an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PcRelative {
    /// The offset of the field, in bytes from the start of the code.
    pub at: usize,
    /// The width of the field in bytes: 1 or 4, or 2 in [ambiguous](Instruction::is_ambiguous) instructions.
    pub width: usize,
    /// The end of the instruction, which the field counts from.
    pub end: usize,
    /// The use of the target.
    pub kind: RefKind,
}

/// How an instruction uses the target of a reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefKind {
    /// A branch or a call.
    Branch,
    /// A read of eight bytes and nothing else: `mov`, `call` or `jmp` through the target.
    Pointer,
    /// Any other access, or the address itself.
    Other,
}

/// An opcode map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpcodeMap {
    /// One-byte opcodes.
    One,
    /// Opcodes behind 0F.
    Two,
    /// Opcodes behind 0F 38.
    Three38,
    /// Opcodes behind 0F 3A.
    Three3a,
    /// A map of VEX or EVEX, by number.
    Vex(u8),
}

/// The prefixes of an instruction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Prefixes {
    /// 66: operands of two bytes.
    pub operand16: bool,
    /// 67: addresses of four bytes.
    pub address32: bool,
    /// The REX prefix; 0 without one.
    pub rex: u8,
}

impl Prefixes {
    /// Whether REX.W is set.
    pub fn is_wide(self) -> bool {
        self.rex & 8 != 0
    }

    /// Bytes of an immediate that is never longer than 4.
    fn immediate(self) -> usize {
        if self.operand16 && !self.is_wide() { 2 } else { 4 }
    }
}

/// A decoded instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// The length in bytes.
    pub len: usize,
    /// The opcode map.
    pub map: OpcodeMap,
    /// The opcode.
    pub opcode: u8,
    /// The prefixes.
    pub prefixes: Prefixes,
    /// Bytes from the start of the instruction to its operands.
    pub operands: usize,
    /// The PC-relative field; its offsets count from the start of the instruction.
    pub reference: Option<PcRelative>,
    /// Whether the length or the reference differs between processors, or counts from EIP. Compilers do not emit such
    /// instructions for references that a linker resolves.
    pub is_ambiguous: bool,
}

/// The operands of an opcode.
#[derive(Clone, Copy, PartialEq)]
enum Form {
    /// ModRM with its operand, and an immediate of this many bytes.
    ModRm(usize),
    /// An immediate of this many bytes.
    Immediate(usize),
    /// A branch distance of this many bytes.
    Branch(usize),
}

/// The longest instruction, in bytes.
const MAX_LEN: usize = 15;

/// Decodes the instruction at the start of `code`; `None` if it is unknown or truncated.
pub fn decode(code: &[u8]) -> Option<Instruction> {
    let (prefixes, at) = prefixes(code);
    let (map, operands) = opcode_map(code.get(at..)?, prefixes.rex != 0)?;
    let operands = at + operands;
    let opcode = *code.get(operands.checked_sub(1)?)?;
    let modrm = code.get(operands).copied();
    let (len, reference) = match form(map, opcode, modrm, prefixes)? {
        Form::Immediate(len) => (operands + len, None),
        Form::Branch(width) => {
            let end = operands + width;
            (end, Some(PcRelative { at: operands, width, end, kind: RefKind::Branch }))
        }
        Form::ModRm(immediate) => {
            let (operand, displacement) = operand(code.get(operands..)?)?;
            let end = operands + operand + immediate;
            let is_pointer = map == OpcodeMap::One && reads_pointer(opcode, modrm?, prefixes);
            let kind = if is_pointer { RefKind::Pointer } else { RefKind::Other };
            let at = |displacement| PcRelative { at: operands + displacement, width: 4, end, kind };
            (end, displacement.map(at))
        }
    };
    if len > code.len().min(MAX_LEN) {
        return None;
    }
    let is_branch = reference.is_some_and(|reference| reference.kind == RefKind::Branch);
    let is_near = reference.is_some_and(|reference| reference.width != 1);
    // XBEGIN branches by its immediate.
    let is_xbegin = map == OpcodeMap::One && opcode == 0xc7 && modrm == Some(0xf8);
    let is_ambiguous = is_xbegin
        || (is_branch && is_near && prefixes.operand16)
        || (!is_branch && reference.is_some() && prefixes.address32);
    Some(Instruction { len, map, opcode, prefixes, operands, reference, is_ambiguous })
}

/// The instructions of `code`, each with its start and its PC-relative reference, whose offsets count from the start of
/// `code`.
///
/// An item is an error with the offset of an instruction that is unknown or [ambiguous](Instruction::is_ambiguous); the
/// iterator ends after it.
pub fn references(
    code: &[u8],
) -> impl Iterator<Item = Result<(usize, Option<PcRelative>), usize>> + '_ {
    let mut next = 0;
    core::iter::from_fn(move || {
        let start = next;
        let rest = code.get(start..).filter(|rest| !rest.is_empty())?;
        let Some(found) = decode(rest).filter(|found| !found.is_ambiguous) else {
            next = code.len();
            return Some(Err(start));
        };
        next = start + found.len;
        let absolute = |reference: PcRelative| PcRelative {
            at: start + reference.at,
            end: start + reference.end,
            ..reference
        };
        Some(Ok((start, found.reference.map(absolute))))
    })
}

/// The prefixes of an instruction and their length in bytes.
fn prefixes(code: &[u8]) -> (Prefixes, usize) {
    let mut prefixes = Prefixes::default();
    for (at, &byte) in code.iter().enumerate() {
        match byte {
            0x66 => prefixes.operand16 = true,
            0x67 => prefixes.address32 = true,
            0xf0 | 0xf2 | 0xf3 | 0x26 | 0x2e | 0x36 | 0x3e | 0x64 | 0x65 => {}
            0x40..=0x4f => {
                prefixes.rex = byte;
                return (prefixes, at + 1);
            }
            _ => return (prefixes, at),
        }
    }
    (prefixes, code.len())
}

/// The opcode map and the bytes up to the end of the opcode. REX may not precede VEX and EVEX.
fn opcode_map(code: &[u8], has_rex: bool) -> Option<(OpcodeMap, usize)> {
    Some(match *code.first()? {
        0x0f => match *code.get(1)? {
            0x38 => (OpcodeMap::Three38, 3),
            0x3a => (OpcodeMap::Three3a, 3),
            _ => (OpcodeMap::Two, 2),
        },
        0xc4 | 0xc5 | 0x62 if has_rex => return None,
        0xc5 => (OpcodeMap::Vex(1), 3),
        0xc4 => (OpcodeMap::Vex(code.get(1)? & 0x1f), 4),
        0x62 => (OpcodeMap::Vex(code.get(1)? & 7), 5),
        _ => (OpcodeMap::One, 1),
    })
}

/// The length of ModRM with SIB and displacement, and the offset of a displacement relative to RIP.
fn operand(code: &[u8]) -> Option<(usize, Option<usize>)> {
    let modrm = *code.first()?;
    let (mode, rm) = (modrm >> 6, modrm & 7);
    if mode == 0 && rm == 5 {
        return Some((5, Some(1)));
    }
    let sib = if mode != 3 && rm == 4 { Some(*code.get(1)?) } else { None };
    let displacement = match mode {
        0 if sib.is_some_and(|sib| sib & 7 == 5) => 4,
        1 => 1,
        2 => 4,
        _ => 0,
    };
    Some((1 + usize::from(sib.is_some()) + displacement, None))
}

/// The operands of an opcode; `None` for one that is unknown or undefined in 64-bit mode.
fn form(map: OpcodeMap, opcode: u8, modrm: Option<u8>, prefixes: Prefixes) -> Option<Form> {
    match map {
        OpcodeMap::One => one_byte(opcode, modrm, prefixes),
        OpcodeMap::Two => two_bytes(opcode),
        OpcodeMap::Three38 => Some(Form::ModRm(0)),
        OpcodeMap::Three3a => Some(Form::ModRm(1)),
        // VZEROUPPER and VZEROALL.
        OpcodeMap::Vex(1) if opcode == 0x77 => Some(Form::Immediate(0)),
        OpcodeMap::Vex(1) => Some(Form::ModRm(usize::from(has_byte_immediate(opcode)))),
        // Maps 5 and 6 hold half-precision arithmetic.
        OpcodeMap::Vex(2 | 5 | 6) => Some(Form::ModRm(0)),
        OpcodeMap::Vex(3) => Some(Form::ModRm(1)),
        OpcodeMap::Vex(_) => None,
    }
}

fn one_byte(opcode: u8, modrm: Option<u8>, prefixes: Prefixes) -> Option<Form> {
    use Form::{Branch, Immediate, ModRm};
    let full = prefixes.immediate();
    Some(match opcode {
        // Arithmetic: five forms for each of eight operations.
        0x00..=0x3f if opcode & 7 < 4 => ModRm(0),
        0x00..=0x3f if opcode & 7 == 4 => Immediate(1),
        0x00..=0x3f if opcode & 7 == 5 => Immediate(full),
        0x50..=0x5f | 0x6c..=0x6f | 0x90..=0x99 | 0x9b..=0x9f => Immediate(0),
        0x63 | 0x84..=0x8e | 0xd0..=0xd3 | 0xd8..=0xdf | 0xfe | 0xff => ModRm(0),
        // POP alone of its group; the others are prefixes of XOP.
        0x8f if modrm? & 0x38 == 0 => ModRm(0),
        0x68 => Immediate(full),
        0x69 | 0x81 => ModRm(full),
        0xc7 => ModRm(full),
        0x6a | 0xa8 | 0xb0..=0xb7 | 0xcd | 0xe4..=0xe7 => Immediate(1),
        0x6b | 0x80 | 0x83 | 0xc0 | 0xc1 | 0xc6 => ModRm(1),
        0x70..=0x7f | 0xe0..=0xe3 | 0xeb => Branch(1),
        0xa0..=0xa3 if prefixes.address32 => Immediate(4),
        0xa0..=0xa3 => Immediate(8),
        0xa4..=0xa7 | 0xaa..=0xaf | 0xc3 | 0xc9 | 0xcb | 0xcc | 0xcf | 0xd7 => Immediate(0),
        0xa9 => Immediate(full),
        0xb8..=0xbf if prefixes.is_wide() => Immediate(8),
        0xb8..=0xbf => Immediate(full),
        0xc2 | 0xca => Immediate(2),
        0xc8 => Immediate(3),
        // With prefix 66, Intel processors read four bytes and AMD processors two.
        0xe8 | 0xe9 => Branch(4),
        0xec..=0xef | 0xf1 | 0xf4 | 0xf5 | 0xf8..=0xfd => Immediate(0),
        // TEST alone of its group has an immediate.
        0xf6 => ModRm(usize::from(modrm? & 0x30 == 0)),
        0xf7 if modrm? & 0x30 == 0 => ModRm(full),
        0xf7 => ModRm(0),
        _ => return None,
    })
}

fn two_bytes(opcode: u8) -> Option<Form> {
    use Form::{Branch, Immediate, ModRm};
    Some(match opcode {
        0x05..=0x09 | 0x0b | 0x0e | 0x30..=0x35 | 0x37 | 0x77 => Immediate(0),
        0xa0..=0xa2 | 0xa8..=0xaa | 0xc8..=0xcf => Immediate(0),
        0x80..=0x8f => Branch(4),
        0x04 | 0x0a | 0x0c | 0x24..=0x27 | 0x36 | 0x39 | 0x3b..=0x3f | 0xa6 | 0xa7 => return None,
        // EXTRQ and INSERTQ have two immediates; 7A and 7B are undefined.
        0x78..=0x7b => return None,
        0x0f => ModRm(1),
        _ => ModRm(usize::from(has_byte_immediate(opcode))),
    })
}

/// Whether an opcode behind 0F has a one-byte immediate: shifts, shuffles, comparisons, bit tests.
fn has_byte_immediate(opcode: u8) -> bool {
    matches!(opcode, 0x70..=0x73 | 0xa4 | 0xac | 0xba | 0xc2 | 0xc4..=0xc6)
}

/// Whether the opcode is MOV of 64 bits from memory, or CALL or JMP through memory.
fn reads_pointer(opcode: u8, modrm: u8, prefixes: Prefixes) -> bool {
    match opcode {
        0x8b => prefixes.is_wide(),
        0xff => matches!(modrm >> 3 & 7, 2 | 4),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;

    fn begins(code: &[u8]) -> Vec<usize> {
        references(code).map(|found| found.unwrap().0).collect()
    }

    fn distances(code: &[u8]) -> Vec<PcRelative> {
        references(code).filter_map(|found| found.unwrap().1).collect()
    }

    #[test]
    fn lengths_of_all_forms_are_decoded() {
        let all: [&[u8]; 30] = [
            b"\x48\xb8\x01\x02\x03\x04\x05\x06\x07\x08", // mov rax, imm64
            b"\xb8\x01\x02\x03\x04",                     // mov eax, imm32
            b"\x66\xb8\x01\x02",                         // mov ax, imm16
            b"\x66\x81\x05\x01\x02\x03\x04\x05\x06",     // add word [rip + x], imm16
            b"\x48\x81\x04\x25\x01\x02\x03\x04\x05\x06\x07\x08", // add qword [x], imm32
            b"\x0f\x1f\x84\x00\x00\x00\x00\x00",         // nop dword [rax + rax + x]
            b"\x66\x2e\x0f\x1f\x84\x00\x00\x00\x00\x00", // the same with prefixes
            b"\xc5\xf8\x77",                             // vzeroupper
            b"\xc5\xf9\xc6\xc1\x01",                     // vshufpd xmm0, xmm0, xmm1, 1
            b"\xc4\xe3\x7d\x19\xc1\x01",                 // vextractf128 xmm1, ymm0, 1
            b"\xc4\xe2\x7d\x18\x05\x01\x02\x03\x04",     // vbroadcastss ymm0, [rip + x]
            b"\x62\xf1\x7c\x48\x28\x40\x01",             // vmovaps zmm0, [rax + 64]
            b"\xf6\x05\x01\x02\x03\x04\x01",             // test byte [rip + x], 1
            b"\xf6\x15\x01\x02\x03\x04",                 // not byte [rip + x]
            b"\xf7\xc0\x01\x02\x03\x04",                 // test eax, imm32
            b"\xf7\xd8",                                 // neg eax
            b"\xf3\x0f\x1e\xfa",                         // endbr64
            b"\xf2\xff\x25\x01\x02\x03\x04",             // bnd jmp [rip + x]
            b"\x0f\xba\xe0\x05",                         // bt eax, 5
            b"\x66\x0f\x3a\x0f\xc1\x05",                 // palignr xmm0, xmm1, 5
            b"\x66\x0f\x38\x00\xc1",                     // pshufb xmm0, xmm1
            b"\x41\x8f\xc0",                             // pop r8
            b"\xc8\x01\x02\x03",                         // enter
            b"\xa1\x01\x02\x03\x04\x05\x06\x07\x08",     // mov eax, [imm64]
            b"\x64\x48\x8b\x04\x25\x28\x00\x00\x00",     // mov rax, fs:[0x28]
            b"\x8b\x44\x24\x08",                         // mov eax, [rsp + 8]
            b"\x8b\x84\x24\x08\x01\x00\x00",             // mov eax, [rsp + 0x108]
            b"\xf0\x48\x0f\xb1\x0d\x01\x02\x03\x04",     // lock cmpxchg [rip + x], rcx
            b"\x0f\x0b",                                 // ud2
            b"\xc3",
        ];
        for code in all {
            assert_eq!(begins(code), [0], "{code:x?}");
            // No truncated form decodes as one whole instruction.
            for len in 1..code.len() {
                let short: Vec<_> = references(&code[..len]).collect();
                assert!(short.contains(&Err(0)) || short.len() > 1, "{code:x?} {len}");
            }
        }
        let together = all.concat();
        assert_eq!(begins(&together).len(), all.len());
    }

    #[test]
    fn references_have_their_kind() {
        let found = |at, width, end, kind| [PcRelative { at, width, end, kind }];
        assert_eq!(distances(b"\xe8\0\0\0\0"), found(1, 4, 5, RefKind::Branch));
        assert_eq!(distances(b"\x0f\x84\0\0\0\0"), found(2, 4, 6, RefKind::Branch));
        assert_eq!(distances(b"\xeb\x05"), found(1, 1, 2, RefKind::Branch));
        assert_eq!(distances(b"\x48\x8b\x05\0\0\0\0"), found(3, 4, 7, RefKind::Pointer));
        assert_eq!(distances(b"\x8b\x05\0\0\0\0"), found(2, 4, 6, RefKind::Other));
        assert_eq!(distances(b"\xff\x15\0\0\0\0"), found(2, 4, 6, RefKind::Pointer));
        assert_eq!(distances(b"\xff\x05\0\0\0\0"), found(2, 4, 6, RefKind::Other));
        assert_eq!(distances(b"\x48\x8d\x3d\0\0\0\0"), found(3, 4, 7, RefKind::Other));
        assert_eq!(distances(b"\xc7\x05\0\0\0\0\x01\0\0\0"), found(2, 4, 10, RefKind::Other));
        assert_eq!(distances(b"\x48\x8b\x04\x25\0\0\0\0\xc3"), []);
    }

    #[test]
    fn unknown_instruction_ends_the_iteration() {
        for code in [
            &b"\x06"[..],
            b"\x9a",
            b"\xd5",
            b"\x62\xf4\0\0\0",
            b"\xc7\xf8\0\0\0\0",
            b"\x66\xe8\0\0",
        ] {
            let whole = [b"\x90", code, b"\x90\x90"].concat();
            let found: Vec<_> = references(&whole).collect();
            assert_eq!(found, [Ok((0, None)), Err(1)], "{code:x?}");
        }
    }
}
