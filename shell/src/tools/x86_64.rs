//! The effect of an x86-64 instruction on the stack and frame pointers.
//!
//! Lengths come from the decoder of [`smf_core::extract`], which has the opcode tables.
//!
//! Source: Intel SDM volume 2, chapter 2 (instruction format) and appendix A (opcode maps).

use smf_core::extract::decode::x86_64::{self, OpcodeMap, Prefixes};

/// Register numbers of the instruction encoding.
pub(super) const RSP: u8 = 4;
pub(super) const RBP: u8 = 5;
/// An operand that is not a register.
const OTHER: u8 = u8::MAX;

/// The effect of an instruction on the unwinding state. Distances are in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Nothing.
    None,
    /// Pushes a register, or another operand as [`OTHER`].
    Push(u8),
    /// Pops a register, or another operand as [`OTHER`].
    Pop(u8),
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
    /// Changes `rsp` or `rbp` to an unknown value.
    Lose(u8),
    /// Calls; the stack pointer is unchanged on return.
    Call,
    /// A conditional branch, relative to the next instruction.
    Branch(i64),
    /// An unconditional branch, relative to the next instruction.
    Jump(i64),
    /// A return, an indirect jump or a trap.
    End,
}

/// The length and the effect of the instruction at the start of `code`; `None` when it is unknown or truncated.
pub(super) fn decode(code: &[u8]) -> Option<(usize, Effect)> {
    let found = x86_64::decode(code)?;
    let operands = code.get(found.operands..found.len)?;
    let effect = match found.map {
        OpcodeMap::One => effect(found.opcode, operands, found.prefixes),
        OpcodeMap::Two => second_effect(found.opcode, operands, found.prefixes),
        _ => Effect::None,
    };
    Some((found.len, effect))
}

/// The register number in the `reg` field.
fn reg_register(prefixes: Prefixes, modrm: u8) -> u8 {
    (modrm >> 3 & 7) | (prefixes.rex & 4) << 1
}

/// The register number in the `rm` field, or in the opcode.
fn rm_register(prefixes: Prefixes, modrm: u8) -> u8 {
    (modrm & 7) | (prefixes.rex & 1) << 3
}

/// The effect of a one-byte opcode; `rest` follows it.
fn effect(opcode: u8, rest: &[u8], prefixes: Prefixes) -> Effect {
    // Compilers emit neither 16-bit pushes nor writes to half a stack pointer.
    if prefixes.operand16 && matches!(opcode, 0x50..=0x5f | 0x68 | 0x6a | 0x9c | 0x9d) {
        return Effect::Lose(RSP);
    }
    let modrm = rest.first().copied().unwrap_or(0);
    let (reg, rm) = (reg_register(prefixes, modrm), rm_register(prefixes, modrm));
    // The operand `rm` is a register, not memory.
    let is_direct = modrm >= 0xc0;
    let whole = |register| prefixes.is_wide().then_some((register, 0));
    match opcode {
        0x50..=0x57 => Effect::Push(rm_register(prefixes, opcode)),
        0x58..=0x5f => Effect::Pop(rm_register(prefixes, opcode)),
        0x68 | 0x6a | 0x9c => Effect::Push(OTHER),
        0x9d => Effect::Pop(OTHER),
        0x8f if is_direct => Effect::Pop(rm),
        0x8f => Effect::Pop(OTHER),
        0xc9 => Effect::Leave,
        0xc2 | 0xc3 | 0xca | 0xcb | 0xcc | 0xcf | 0xf4 => Effect::End,
        0x70..=0x7f | 0xe0..=0xe3 => Effect::Branch(signed(rest)),
        0xe8 => Effect::Call,
        0xe9 | 0xeb => Effect::Jump(signed(rest)),
        0xff => match modrm >> 3 & 7 {
            2 | 3 => Effect::Call,
            6 => Effect::Push(OTHER),
            4 | 5 => Effect::End,
            0 | 1 if is_direct => lose(rm),
            _ => Effect::None,
        },
        0x81 | 0x83 if is_direct => arithmetic(modrm, rest.get(1..).unwrap_or(&[]), prefixes),
        0x89 if is_direct => assign(rm, whole(reg)),
        0x89 => match place(rest, prefixes) {
            Some((base @ (RSP | RBP), distance)) => Effect::Store(reg, base, distance),
            _ => Effect::None,
        },
        0x8b if is_direct => assign(reg, whole(rm)),
        0x8d => assign(reg, place(rest, prefixes)),
        0x8b | 0x63 | 0x69 | 0x6b => lose(reg),
        0xb8..=0xbf => lose(rm_register(prefixes, opcode)),
        0x87 if is_direct && lose(rm) != Effect::None => lose(rm),
        0x87 => lose(reg),
        0xc1 | 0xc7 | 0xd1 | 0xd3 if is_direct => lose(rm),
        // Multiplication and division do not write to RSP or RBP; `not` and `neg` may.
        0xf7 if is_direct && matches!(modrm >> 3 & 7, 2 | 3) => lose(rm),
        // Comparisons are excluded.
        0x00..=0x37 if opcode & 7 == 1 && is_direct => lose(rm),
        0x00..=0x37 if opcode & 7 == 3 => lose(reg),
        _ => Effect::None,
    }
}

/// The effect of an opcode of map 0F; `rest` starts with it.
fn second_effect(opcode: u8, operands: &[u8], prefixes: Prefixes) -> Effect {
    let modrm = operands.first().copied().unwrap_or(0);
    match opcode {
        0x0b => Effect::End,
        0x80..=0x8f => Effect::Branch(signed(operands)),
        0x40..=0x4f | 0xaf | 0xb6..=0xb8 | 0xbc..=0xbf => lose(reg_register(prefixes, modrm)),
        _ => Effect::None,
    }
}

/// The effect of an unknown write to a register.
fn lose(register: u8) -> Effect {
    if matches!(register, RSP | RBP) { Effect::Lose(register) } else { Effect::None }
}

/// The effect of a write of the sum of a register and a distance, if the value is one.
fn assign(to: u8, value: Option<(u8, i64)>) -> Effect {
    match (to, value) {
        (RSP, Some((RSP, distance))) => Effect::Move(distance),
        (RSP, Some((RBP, distance))) => Effect::StackFromFrame(distance),
        (RBP, Some((RSP, distance))) => Effect::FrameFromStack(distance),
        _ => lose(to),
    }
}

/// Arithmetic with an immediate and a register.
fn arithmetic(modrm: u8, immediate: &[u8], prefixes: Prefixes) -> Effect {
    let register = rm_register(prefixes, modrm);
    match modrm >> 3 & 7 {
        0 if register == RSP && prefixes.is_wide() => Effect::Move(signed(immediate)),
        5 if register == RSP && prefixes.is_wide() => Effect::Move(-signed(immediate)),
        7 => Effect::None,
        _ => lose(register),
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
        _ => (rm_register(prefixes, modrm), rest),
    };
    if mode == 0 && from & 7 == 5 || !prefixes.is_wide() {
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
