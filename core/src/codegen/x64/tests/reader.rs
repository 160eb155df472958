//! Intended instructions, compared with the output of a decoder.

use std::format;
use std::string::String;

use iced_x86::{
    Decoder, DecoderOptions, Formatter, Instruction, Mnemonic, NasmFormatter, OpKind, Register,
};

use super::super::{Gpr, Mem, Xmm};
pub(super) use crate::testing::Random;

/// An intended operand.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Meant {
    Register(Register),
    Memory(Place, u32),
    /// An immediate of an instruction with this operand width in bits.
    Immediate(i64, u32),
    /// The target of a jump.
    Target(u64),
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Place {
    base: Register,
    index: Register,
    scale: u32,
    displacement: u64,
}

impl From<Mem> for Place {
    fn from(Mem { base, index, displacement }: Mem) -> Self {
        Place {
            base: base.map_or(Register::None, |base| general(base, 64)),
            index: index
                .map_or(Register::None, |(index, _)| numbered(Register::RAX, index.number())),
            scale: index.map_or(1, |(_, scale)| 1 << scale as u32),
            displacement: i64::from(displacement).cast_unsigned(),
        }
    }
}

impl Place {
    /// A memory operand at `address`, relative to the instruction pointer.
    pub(super) fn relative(address: u64) -> Self {
        let (base, index) = (Register::RIP, Register::None);
        Place { base, index, scale: 1, displacement: address }
    }
}

fn numbered(first: Register, number: u8) -> Register {
    first + u32::from(number)
}

pub(super) fn general(register: Gpr, bits: u32) -> Register {
    let number = register.number();
    match bits {
        // AH and the other high bytes come after BL, and then SPL.
        8 => numbered(Register::AL, if number < 4 { number } else { number + 4 }),
        16 => numbered(Register::AX, number),
        32 => numbered(Register::EAX, number),
        _ => numbered(Register::RAX, number),
    }
}

pub(super) fn sse(register: Xmm) -> Register {
    numbered(Register::XMM0, register.number())
}

fn masked(value: u64, bits: u32) -> u64 {
    value & (u64::MAX >> (64 - bits))
}

fn matches(instruction: &Instruction, operand: u32, meant: Meant) -> bool {
    let kind = instruction.op_kind(operand);
    match meant {
        Meant::Register(register) => {
            kind == OpKind::Register && instruction.op_register(operand) == register
        }
        Meant::Memory(place, bits) => {
            let found = Place {
                base: instruction.memory_base(),
                index: instruction.memory_index(),
                scale: instruction.memory_index_scale(),
                displacement: instruction.memory_displacement64(),
            };
            let size = instruction.memory_size().size() * 8;
            kind == OpKind::Memory && found == place && (bits == 0 || size == bits as usize)
        }
        Meant::Immediate(value, bits) => {
            let found = instruction.try_immediate(operand);
            found.is_ok_and(|found| masked(found, bits) == masked(value.cast_unsigned(), bits))
        }
        Meant::Target(target) => instruction.near_branch_target() == target,
    }
}

/// The error of the only instruction in `bytes`, at `address`; `None` if it is as intended.
pub(super) fn read(
    bytes: &[u8],
    address: u64,
    mnemonic: Mnemonic,
    operands: &[Meant],
) -> Option<String> {
    let mut decoder = Decoder::with_ip(64, bytes, address, DecoderOptions::NONE);
    let instruction = decoder.decode();
    let count = instruction.op_count() as usize;
    let right = instruction.len() == bytes.len()
        && instruction.mnemonic() == mnemonic
        && count == operands.len()
        && (0..).zip(operands).all(|(index, meant)| matches(&instruction, index, *meant));
    if right {
        return None;
    }
    let mut text = String::new();
    NasmFormatter::new().format(&instruction, &mut text);
    Some(format!("{bytes:02x?} is `{text}`, meant was {mnemonic:?} {operands:?}"))
}
