//! Decodes the length of an x86-64 instruction, and its effect on the stack and frame pointers.
//!
//! The tables cover what compilers emit: the three opcode maps, VEX and EVEX. Other instructions are not
//! decoded.
//!
//! Source: Intel SDM volume 2, chapter 2 (instruction format) and appendix A (opcode maps).

/// Register numbers of the instruction encoding.
pub(super) const RSP: u8 = 4;
pub(super) const RBP: u8 = 5;

/// The effect of an instruction on the unwinding state. Distances are in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Nothing.
    None,
    /// Pushes a register.
    Push(u8),
    /// Pushes another operand.
    PushOther,
    /// Pops a register.
    Pop(u8),
    /// Pops to another operand.
    PopOther,
    /// `rsp += distance`.
    Move(i64),
    /// `rsp = rbp + distance`.
    StackFromFrame(i64),
    /// `rbp = rsp + distance`.
    FrameFromStack(i64),
    /// Stores a 64-bit register (first) at an offset from `rsp` or `rbp` (second).
    Store(u8, u8, i64),
    /// `rsp = rbp; pop rbp`.
    Leave,
    /// Changes `rsp` to an unknown value.
    LoseStack,
    /// Changes `rbp` to an unknown value.
    LoseFrame,
    /// Calls; the stack pointer is unchanged on return.
    Call,
    /// A conditional branch, relative to the next instruction.
    Branch(i64),
    /// An unconditional branch, relative to the next instruction.
    Jump(i64),
    /// A return, an indirect jump or a trap.
    End,
}

/// A decoded instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Instruction {
    pub(super) len: usize,
    pub(super) effect: Effect,
}

/// The operand bytes after an opcode.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Operands {
    /// An immediate of this many bytes.
    Plain(usize),
    /// A ModRM byte with SIB and displacement, and an immediate of this many bytes.
    ModRm(usize),
}

use Operands::{ModRm, Plain};

#[derive(Clone, Copy, Default)]
struct Prefixes {
    word: bool,
    short_address: bool,
    rex: u8,
}

impl Prefixes {
    /// The size of an immediate that has at most 4 bytes.
    fn immediate(self) -> usize {
        if self.word && !self.wide() { 2 } else { 4 }
    }

    fn wide(self) -> bool {
        self.rex & 8 != 0
    }

    /// The register number in the `reg` field.
    fn reg(self, modrm: u8) -> u8 {
        (modrm >> 3 & 7) | (self.rex & 4) << 1
    }

    /// The register number in the `rm` field, or in the opcode.
    fn rm(self, modrm: u8) -> u8 {
        (modrm & 7) | (self.rex & 1) << 3
    }
}

/// Decodes the instruction at the start of `code`; `None` when it is unknown or truncated.
pub(super) fn decode(code: &[u8]) -> Option<Instruction> {
    let (prefixes, at) = prefixes(code);
    let opcode = *code.get(at)?;
    let (operands, opcode_len, map) = match opcode {
        0x0f => match *code.get(at + 1)? {
            0x38 => (ModRm(0), 3, 2),
            0x3a => (ModRm(1), 3, 3),
            second => (second_map(second)?, 2, 1),
        },
        0xc4 | 0xc5 | 0x62 => {
            let (operands, len) = vector(code.get(at..)?)?;
            (operands, len, 4)
        }
        first => (first_map(first, *code.get(at + 1).unwrap_or(&0), prefixes)?, 1, 0),
    };
    let rest = at + opcode_len;
    let len = rest
        + match operands {
            Plain(immediate) => immediate,
            ModRm(immediate) => modrm_len(code.get(rest..)?)? + immediate,
        };
    // Instructions have at most 15 bytes.
    let bytes = code.get(..len).filter(|bytes| bytes.len() <= 15)?;
    let effect = match map {
        0 => effect(opcode, bytes.get(at + 1..)?, prefixes),
        1 => second_effect(bytes.get(at + 1..)?, prefixes),
        _ => Effect::None,
    };
    Some(Instruction { len, effect })
}

fn prefixes(code: &[u8]) -> (Prefixes, usize) {
    let mut prefixes = Prefixes::default();
    for (at, &byte) in code.iter().enumerate() {
        match byte {
            0x66 => prefixes.word = true,
            0x67 => prefixes.short_address = true,
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

/// The one-byte opcode map. Two groups depend on `next`, the byte after the opcode.
fn first_map(opcode: u8, next: u8, prefixes: Prefixes) -> Option<Operands> {
    let full = prefixes.immediate();
    Some(match opcode {
        0x00..=0x3f => match opcode & 7 {
            0..=3 => ModRm(0),
            4 => Plain(1),
            5 => Plain(full),
            _ => return None,
        },
        0x63 | 0x84..=0x8e => ModRm(0),
        // With another `reg` field it is the XOP prefix, which current processors do not support.
        0x8f if next & 0x38 == 0 => ModRm(0),
        0x50..=0x5f | 0x6c..=0x6f | 0x90..=0x99 | 0x9b..=0x9f => Plain(0),
        0xa4..=0xa7 | 0xaa..=0xaf | 0xc3 | 0xc9 | 0xcb | 0xcc | 0xcf | 0xd7 => Plain(0),
        0xec..=0xef | 0xf1 | 0xf4 | 0xf5 | 0xf8..=0xfd => Plain(0),
        0x68 | 0xa9 => Plain(full),
        0x69 | 0x81 | 0xc7 => ModRm(full),
        0x6a | 0x70..=0x7f | 0xa8 | 0xb0..=0xb7 | 0xcd | 0xe0..=0xe7 | 0xeb => Plain(1),
        0x6b | 0x80 | 0x83 | 0xc0 | 0xc1 | 0xc6 => ModRm(1),
        0xa0..=0xa3 => Plain(if prefixes.short_address { 4 } else { 8 }),
        0xb8..=0xbf => Plain(if prefixes.wide() { 8 } else { full }),
        0xc2 | 0xca => Plain(2),
        0xc8 => Plain(3),
        0xd0..=0xd3 | 0xd8..=0xdf | 0xfe | 0xff => ModRm(0),
        // Branches have a 4-byte displacement regardless of prefixes.
        0xe8 | 0xe9 => Plain(4),
        0xf6 => ModRm(if next & 0x30 == 0 { 1 } else { 0 }),
        0xf7 => ModRm(if next & 0x30 == 0 { full } else { 0 }),
        _ => return None,
    })
}

/// The opcode map 0F.
fn second_map(opcode: u8) -> Option<Operands> {
    Some(match opcode {
        0x04 | 0x0a | 0x0c | 0x24..=0x27 | 0x36 | 0x39 | 0x3b..=0x3f | 0x7a | 0x7b => return None,
        0xa6 | 0xa7 => return None,
        0x05..=0x09 | 0x0b | 0x0e | 0x30..=0x37 | 0x77 => Plain(0),
        0xa0..=0xa2 | 0xa8..=0xaa | 0xc8..=0xcf => Plain(0),
        0x80..=0x8f => Plain(4),
        0x0f | 0x70..=0x73 | 0xa4 | 0xac | 0xba | 0xc2 | 0xc4..=0xc6 => ModRm(1),
        _ => ModRm(0),
    })
}

/// The operands of a VEX or EVEX instruction, and its length up to the opcode.
fn vector(code: &[u8]) -> Option<(Operands, usize)> {
    let (map, len) = match code.first()? {
        0xc5 => (1, 3),
        0xc4 => (code.get(1)? & 0x1f, 4),
        _ => (code.get(1)? & 7, 5),
    };
    let operands = match (map, *code.get(len - 1)?) {
        // vzeroupper and vzeroall.
        (1, 0x77) => Plain(0),
        (1, 0x70..=0x73 | 0xc2 | 0xc4..=0xc6) => ModRm(1),
        // Maps 5 and 6 are half-precision arithmetic; map 3 are the instructions with an immediate.
        (1 | 2 | 5 | 6, _) => ModRm(0),
        (3, _) => ModRm(1),
        _ => return None,
    };
    Some((operands, len))
}

/// The length of a ModRM byte with SIB and displacement.
fn modrm_len(code: &[u8]) -> Option<usize> {
    let modrm = *code.first()?;
    let (mode, rm) = (modrm >> 6, modrm & 7);
    let sib = if mode != 3 && rm == 4 { Some(*code.get(1)?) } else { None };
    let base = sib.map_or(rm, |sib| sib & 7);
    let displacement = match mode {
        0 if base == 5 => 4,
        1 => 1,
        2 => 4,
        _ => 0,
    };
    Some(1 + usize::from(sib.is_some()) + displacement)
}

/// The effect of a one-byte opcode; `rest` follows it.
fn effect(opcode: u8, rest: &[u8], prefixes: Prefixes) -> Effect {
    // Compilers emit neither 16-bit pushes nor writes to half a stack pointer.
    if prefixes.word && matches!(opcode, 0x50..=0x5f | 0x68 | 0x6a | 0x9c | 0x9d) {
        return Effect::LoseStack;
    }
    let modrm = rest.first().copied().unwrap_or(0);
    match opcode {
        0x50..=0x57 => Effect::Push(prefixes.rm(opcode)),
        0x58..=0x5f => Effect::Pop(prefixes.rm(opcode)),
        0x68 | 0x6a | 0x9c => Effect::PushOther,
        0x9d => Effect::PopOther,
        0x8f if modrm >= 0xc0 => Effect::Pop(prefixes.rm(modrm)),
        0x8f => Effect::PopOther,
        0xc9 => Effect::Leave,
        0xc2 | 0xc3 | 0xca | 0xcb | 0xcc | 0xcf | 0xf4 => Effect::End,
        0x70..=0x7f | 0xe0..=0xe3 => Effect::Branch(signed(rest)),
        0xe8 => Effect::Call,
        0xe9 | 0xeb => Effect::Jump(signed(rest)),
        0xff => match modrm >> 3 & 7 {
            2 | 3 => Effect::Call,
            6 => Effect::PushOther,
            4 | 5 => Effect::End,
            0 | 1 if modrm >= 0xc0 => lose(prefixes.rm(modrm)),
            _ => Effect::None,
        },
        0x81 | 0x83 if modrm >= 0xc0 => arithmetic(modrm, rest.get(1..).unwrap_or(&[]), prefixes),
        0x89 if modrm < 0xc0 => store(rest, prefixes),
        0x89 if modrm >= 0xc0 => copy(prefixes.rm(modrm), prefixes.reg(modrm), prefixes),
        0x8b if modrm >= 0xc0 => copy(prefixes.reg(modrm), prefixes.rm(modrm), prefixes),
        0x8d => address(rest, prefixes),
        0x8b | 0x63 | 0x69 | 0x6b => lose(prefixes.reg(modrm)),
        0xb8..=0xbf => lose(prefixes.rm(opcode)),
        0x87 if modrm >= 0xc0 => match lose(prefixes.rm(modrm)) {
            Effect::None => lose(prefixes.reg(modrm)),
            lost => lost,
        },
        0x87 => lose(prefixes.reg(modrm)),
        0xc1 | 0xc7 | 0xd1 | 0xd3 if modrm >= 0xc0 => lose(prefixes.rm(modrm)),
        // Multiplication and division do not write to RSP or RBP; `not` and `neg` may.
        0xf7 if modrm >= 0xc0 && matches!(modrm >> 3 & 7, 2 | 3) => lose(prefixes.rm(modrm)),
        // Comparisons are excluded.
        0x00..=0x37 if opcode & 7 == 1 && modrm >= 0xc0 => lose(prefixes.rm(modrm)),
        0x00..=0x37 if opcode & 7 == 3 => lose(prefixes.reg(modrm)),
        _ => Effect::None,
    }
}

/// The effect of an opcode of map 0F; `rest` starts with it.
fn second_effect(rest: &[u8], prefixes: Prefixes) -> Effect {
    let (opcode, operands) = rest.split_first().map_or((0, rest), |(first, rest)| (*first, rest));
    let modrm = operands.first().copied().unwrap_or(0);
    match opcode {
        0x0b => Effect::End,
        0x80..=0x8f => Effect::Branch(signed(operands)),
        0x40..=0x4f | 0xaf | 0xb6..=0xb8 | 0xbc..=0xbf => lose(prefixes.reg(modrm)),
        _ => Effect::None,
    }
}

/// The effect of an unknown write to a register.
fn lose(register: u8) -> Effect {
    match register {
        RSP => Effect::LoseStack,
        RBP => Effect::LoseFrame,
        _ => Effect::None,
    }
}

fn copy(to: u8, from: u8, prefixes: Prefixes) -> Effect {
    match (to, from) {
        (RSP, RBP) if prefixes.wide() => Effect::StackFromFrame(0),
        (RBP, RSP) if prefixes.wide() => Effect::FrameFromStack(0),
        (to, _) => lose(to),
    }
}

/// Arithmetic with an immediate and a register.
fn arithmetic(modrm: u8, immediate: &[u8], prefixes: Prefixes) -> Effect {
    let register = prefixes.rm(modrm);
    match modrm >> 3 & 7 {
        0 if register == RSP && prefixes.wide() => Effect::Move(signed(immediate)),
        5 if register == RSP && prefixes.wide() => Effect::Move(-signed(immediate)),
        7 => Effect::None,
        _ => lose(register),
    }
}

/// `lea`.
fn address(rest: &[u8], prefixes: Prefixes) -> Effect {
    let to = prefixes.reg(rest.first().copied().unwrap_or(0));
    match (to, place(rest, prefixes)) {
        (RSP, Some((RSP, distance))) => Effect::Move(distance),
        (RSP, Some((RBP, distance))) => Effect::StackFromFrame(distance),
        (RBP, Some((RSP, distance))) => Effect::FrameFromStack(distance),
        _ => lose(to),
    }
}

/// `mov` to memory.
fn store(rest: &[u8], prefixes: Prefixes) -> Effect {
    let register = prefixes.reg(rest.first().copied().unwrap_or(0));
    match place(rest, prefixes) {
        Some((base @ (RSP | RBP), distance)) => Effect::Store(register, base, distance),
        _ => Effect::None,
    }
}

/// The base register and the displacement of a memory operand without index, in a 64-bit instruction.
fn place(rest: &[u8], prefixes: Prefixes) -> Option<(u8, i64)> {
    let (&modrm, rest) = rest.split_first()?;
    let (mode, rm) = (modrm >> 6, modrm & 7);
    // Without index, and with a base.
    let (from, displacement) = match (rm, rest.split_first()) {
        (4, Some((&sib, rest))) if sib & 0x38 == 0x20 && prefixes.rex & 2 == 0 => {
            ((sib & 7) | (prefixes.rex & 1) << 3, rest)
        }
        (4, _) => return None,
        _ => (prefixes.rm(modrm), rest),
    };
    if mode == 0 && from & 7 == 5 || !prefixes.wide() {
        return None;
    }
    Some((from, if mode == 0 { 0 } else { signed(displacement) }))
}

/// A signed number of 1, 2 or 4 bytes.
fn signed(bytes: &[u8]) -> i64 {
    match *bytes {
        [byte] => i64::from(byte.cast_signed()),
        [a, b, c, d] => i64::from(i32::from_le_bytes([a, b, c, d])),
        [a, b] => i64::from(i16::from_le_bytes([a, b])),
        _ => 0,
    }
}
