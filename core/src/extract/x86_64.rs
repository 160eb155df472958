//! Where code of x86-64 says how far something else is.
//!
//! Instructions are measured, one after the other, and never run. In 64-bit mode only branches and operands
//! relative to RIP hold distances; whatever is not known here ends the walk, so that no distance is missed.
//!
//! Facts: Intel SDM, volume 2: 2.1 (formats), 2.3 (VEX), 2.7 (EVEX), appendix A.2 and A.3 (opcode maps).

/// A distance in an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Distance {
    /// Where it stands, in bytes from the begin of the code.
    pub(super) at: usize,
    /// Its bytes: 1 or 4.
    pub(super) width: usize,
    /// The end of the instruction, which it counts from.
    pub(super) end: usize,
    pub(super) to: To,
}

/// What is done with the place that a distance leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum To {
    /// Running goes on there.
    Code,
    /// Eight bytes are read there, and nothing else: `mov`, `call` or `jmp` through it.
    Pointer,
    Other,
}

/// The instructions of `code`, each as its begin and its distance if it has one; the offset of the first that
/// is not known.
pub(super) fn instructions(
    code: &[u8],
) -> impl Iterator<Item = Result<(usize, Option<Distance>), usize>> + '_ {
    let mut next = 0;
    core::iter::from_fn(move || {
        if next >= code.len() {
            return None;
        }
        let begin = next;
        let mut reader = Reader { code, at: begin };
        let found = reader.instruction().filter(|_| reader.at <= code.len());
        next = if found.is_some() { reader.at } else { code.len() };
        Some(found.map(|distance| (begin, distance)).ok_or(begin))
    })
}

struct Reader<'c> {
    code: &'c [u8],
    at: usize,
}

/// What follows an opcode.
#[derive(Clone, Copy, PartialEq)]
enum Form {
    /// ModRM with its operand, and so many bytes of a number.
    ModRm(usize),
    /// So many bytes of a number.
    Number(usize),
    /// A branch by so many bytes.
    Branch(usize),
}

/// What stands in front of an opcode.
#[derive(Clone, Copy, Default)]
struct Prefixes {
    /// 66: numbers of two bytes.
    narrow: bool,
    /// 67: addresses of four bytes.
    short_address: bool,
    /// REX.W.
    wide: bool,
}

impl Prefixes {
    /// Bytes of a number that is no longer than four.
    fn number(self) -> usize {
        if self.narrow && !self.wide { 2 } else { 4 }
    }
}

impl Reader<'_> {
    fn byte(&mut self) -> Option<u8> {
        let byte = self.code.get(self.at).copied()?;
        self.at += 1;
        Some(byte)
    }

    fn instruction(&mut self) -> Option<Option<Distance>> {
        let mut prefixes = Prefixes::default();
        let mut opcode = self.byte()?;
        // More than fifteen bytes are no instruction.
        for _ in 0..14 {
            match opcode {
                0x66 => prefixes.narrow = true,
                0x67 => prefixes.short_address = true,
                0x26 | 0x2e | 0x36 | 0x3e | 0x64 | 0x65 | 0xf0 | 0xf2 | 0xf3 => {}
                _ => break,
            }
            opcode = self.byte()?;
        }
        let (map, opcode) = match opcode {
            0xc4 => self.vex()?,
            0xc5 => {
                self.byte()?;
                (Map::Vex(1), self.byte()?)
            }
            0x62 => self.evex()?,
            _ => self.legacy(opcode, &mut prefixes)?,
        };
        let modrm = self.code.get(self.at).copied();
        let form = form(map, opcode, modrm, prefixes)?;
        match form {
            Form::Number(len) => {
                self.at += len;
                Some(None)
            }
            Form::Branch(width) => {
                let at = self.at;
                self.at += width;
                Some(Some(Distance { at, width, end: self.at, to: To::Code }))
            }
            Form::ModRm(number) => {
                let operand = self.operand(prefixes)?;
                self.at += number;
                let is_pointer = map == Map::One && reads_pointer(opcode, modrm?, prefixes);
                let to = if is_pointer { To::Pointer } else { To::Other };
                Some(operand.map(|at| Distance { at, width: 4, end: self.at, to }))
            }
        }
    }

    fn legacy(&mut self, first: u8, prefixes: &mut Prefixes) -> Option<(Map, u8)> {
        let mut opcode = first;
        if opcode & 0xf0 == 0x40 {
            prefixes.wide = opcode & 8 != 0;
            opcode = self.byte()?;
        }
        if opcode != 0x0f {
            return Some((Map::One, opcode));
        }
        match self.byte()? {
            0x38 => Some((Map::Two38, self.byte()?)),
            0x3a => Some((Map::Two3a, self.byte()?)),
            second => Some((Map::Two, second)),
        }
    }

    fn vex(&mut self) -> Option<(Map, u8)> {
        let map = self.byte()? & 0x1f;
        self.byte()?;
        Some((Map::Vex(map), self.byte()?))
    }

    fn evex(&mut self) -> Option<(Map, u8)> {
        let map = self.byte()? & 7;
        self.byte()?;
        self.byte()?;
        Some((Map::Vex(map), self.byte()?))
    }

    /// ModRM and what belongs to it; where its distance stands when it has one.
    fn operand(&mut self, prefixes: Prefixes) -> Option<Option<usize>> {
        let modrm = self.byte()?;
        let (mode, rm) = (modrm >> 6, modrm & 7);
        let mut displacement = match mode {
            1 => 1,
            2 => 4,
            _ => 0,
        };
        if mode != 3 && rm == 4 {
            let base = self.byte()? & 7;
            if mode == 0 && base == 5 {
                displacement = 4;
            }
        }
        let at = self.at;
        if mode == 0 && rm == 5 {
            self.at += 4;
            // Relative to EIP nobody counts.
            return (!prefixes.short_address).then_some(Some(at));
        }
        self.at += displacement;
        Some(None)
    }
}

/// A table of opcodes.
#[derive(Clone, Copy, PartialEq)]
enum Map {
    One,
    /// Behind 0F.
    Two,
    Two38,
    Two3a,
    /// Of VEX and EVEX, by number.
    Vex(u8),
}

/// What follows an opcode; `None` for one that is not known, or is none in 64-bit mode.
fn form(map: Map, opcode: u8, modrm: Option<u8>, prefixes: Prefixes) -> Option<Form> {
    match map {
        Map::One => one_byte(opcode, modrm, prefixes),
        Map::Two => two_bytes(opcode, prefixes),
        Map::Two38 => Some(Form::ModRm(0)),
        Map::Two3a => Some(Form::ModRm(1)),
        // VZEROUPPER and VZEROALL.
        Map::Vex(1) if opcode == 0x77 => Some(Form::Number(0)),
        Map::Vex(1) => Some(Form::ModRm(usize::from(takes_a_byte(opcode)))),
        Map::Vex(2 | 5 | 6) => Some(Form::ModRm(0)),
        Map::Vex(3) => Some(Form::ModRm(1)),
        Map::Vex(_) => None,
    }
}

fn one_byte(opcode: u8, modrm: Option<u8>, prefixes: Prefixes) -> Option<Form> {
    use Form::{Branch, ModRm, Number};
    let number = prefixes.number();
    Some(match opcode {
        // Arithmetic: five forms for each of eight operations.
        0x00..=0x3f if opcode & 7 < 4 => ModRm(0),
        0x00..=0x3f if opcode & 7 == 4 => Number(1),
        0x00..=0x3f if opcode & 7 == 5 => Number(number),
        0x50..=0x5f | 0x6c..=0x6f | 0x90..=0x99 | 0x9b..=0x9f => Number(0),
        0x63 | 0x84..=0x8e | 0xd0..=0xd3 | 0xd8..=0xdf | 0xfe | 0xff => ModRm(0),
        // Of the group only `pop`; the others are XOP.
        0x8f if modrm? & 0x38 == 0 => ModRm(0),
        0x68 => Number(number),
        0x69 | 0x81 => ModRm(number),
        // `xbegin`, which branches.
        0xc7 if modrm? == 0xf8 => return None,
        0xc7 => ModRm(number),
        0x6a | 0xa8 | 0xb0..=0xb7 | 0xcd | 0xe4..=0xe7 => Number(1),
        0x6b | 0x80 | 0x83 | 0xc0 | 0xc1 | 0xc6 => ModRm(1),
        0x70..=0x7f | 0xe0..=0xe3 | 0xeb => Branch(1),
        0xa0..=0xa3 if prefixes.short_address => Number(4),
        0xa0..=0xa3 => Number(8),
        0xa4..=0xa7 | 0xaa..=0xaf | 0xc3 | 0xc9 | 0xcb | 0xcc | 0xcf | 0xd7 => Number(0),
        0xa9 => Number(number),
        0xb8..=0xbf if prefixes.wide => Number(8),
        0xb8..=0xbf => Number(number),
        0xc2 | 0xca => Number(2),
        0xc8 => Number(3),
        // Two bytes on some processors and four on others.
        0xe8 | 0xe9 if prefixes.narrow => return None,
        0xe8 | 0xe9 => Branch(4),
        0xec..=0xef | 0xf1 | 0xf4 | 0xf5 | 0xf8..=0xfd => Number(0),
        // `test` alone of its group has a number.
        0xf6 => ModRm(usize::from(modrm? & 0x30 == 0)),
        0xf7 if modrm? & 0x30 == 0 => ModRm(number),
        0xf7 => ModRm(0),
        _ => return None,
    })
}

fn two_bytes(opcode: u8, prefixes: Prefixes) -> Option<Form> {
    use Form::{Branch, ModRm, Number};
    Some(match opcode {
        0x05..=0x09 | 0x0b | 0x0e | 0x30..=0x35 | 0x37 | 0x77 => Number(0),
        0xa0..=0xa2 | 0xa8..=0xaa | 0xc8..=0xcf => Number(0),
        0x80..=0x8f if prefixes.narrow => return None,
        0x80..=0x8f => Branch(4),
        0x04 | 0x0a | 0x0c | 0x24..=0x27 | 0x36 | 0x39 | 0x3b..=0x3f | 0xa6 | 0xa7 => return None,
        // `extrq` and `insertq` have two numbers with a prefix.
        0x78 | 0x79 => return None,
        0x0f => ModRm(1),
        _ => ModRm(usize::from(takes_a_byte(opcode))),
    })
}

/// Whether an operation behind 0F has a number of a byte: shifts and shuffles, comparisons, bit tests.
fn takes_a_byte(opcode: u8) -> bool {
    matches!(opcode, 0x70..=0x73 | 0xa4 | 0xac | 0xba | 0xc2 | 0xc4..=0xc6)
}

/// `mov` of 64 bits into a register, `call` and `jmp`, each through what an address holds.
fn reads_pointer(opcode: u8, modrm: u8, prefixes: Prefixes) -> bool {
    match opcode {
        0x8b => prefixes.wide,
        0xff => matches!(modrm >> 3 & 7, 2 | 4),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;

    fn begins(code: &[u8]) -> Vec<usize> {
        instructions(code).map(|found| found.unwrap().0).collect()
    }

    fn distances(code: &[u8]) -> Vec<Distance> {
        instructions(code).filter_map(|found| found.unwrap().1).collect()
    }

    #[test]
    fn instructions_of_every_form_are_measured() {
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
            // And none is taken for a shorter one.
            for len in 1..code.len() {
                let short: Vec<_> = instructions(&code[..len]).collect();
                assert!(short.contains(&Err(0)) || short.len() > 1, "{code:x?} {len}");
            }
        }
        let together = all.concat();
        assert_eq!(begins(&together).len(), all.len());
    }

    #[test]
    fn distances_are_found_with_what_they_are_for() {
        let found = |at, width, end, to| [Distance { at, width, end, to }];
        assert_eq!(distances(b"\xe8\0\0\0\0"), found(1, 4, 5, To::Code));
        assert_eq!(distances(b"\x0f\x84\0\0\0\0"), found(2, 4, 6, To::Code));
        assert_eq!(distances(b"\xeb\x05"), found(1, 1, 2, To::Code));
        assert_eq!(distances(b"\x48\x8b\x05\0\0\0\0"), found(3, 4, 7, To::Pointer));
        assert_eq!(distances(b"\x8b\x05\0\0\0\0"), found(2, 4, 6, To::Other));
        assert_eq!(distances(b"\xff\x15\0\0\0\0"), found(2, 4, 6, To::Pointer));
        assert_eq!(distances(b"\xff\x05\0\0\0\0"), found(2, 4, 6, To::Other));
        assert_eq!(distances(b"\x48\x8d\x3d\0\0\0\0"), found(3, 4, 7, To::Other));
        assert_eq!(distances(b"\xc7\x05\0\0\0\0\x01\0\0\0"), found(2, 4, 10, To::Other));
        assert_eq!(distances(b"\x48\x8b\x04\x25\0\0\0\0\xc3"), []);
    }

    #[test]
    fn what_is_no_instruction_ends_the_walk() {
        for code in [
            &b"\x06"[..],
            b"\x9a",
            b"\xd5",
            b"\x62\xf4\0\0\0",
            b"\xc7\xf8\0\0\0\0",
            b"\x66\xe8\0\0",
        ] {
            let whole = [b"\x90", code, b"\x90\x90"].concat();
            let found: Vec<_> = instructions(&whole).collect();
            assert_eq!(found, [Ok((0, None)), Err(1)], "{code:x?}");
        }
    }
}
