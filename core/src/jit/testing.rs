//! What the tests of the room share: code from instructions, and numbers that look random.

use std::vec::Vec;

use super::bytecode::{Instruction, OPCODE_SIZE};
use super::verify::FunctionCode;

/// The code of these instructions. The offset of a jump is the number of the instruction that it leads
/// to; that after the last one is the end.
pub(crate) fn code(instructions: &[Instruction]) -> Vec<u8> {
    let mut places = std::vec![0u32];
    for instruction in instructions {
        places.push(places.last().unwrap() + instruction.size());
    }
    let mut code = Vec::new();
    for (number, instruction) in instructions.iter().enumerate() {
        let (mut bytes, size) = instruction.encode();
        if let Some(to) = instruction.jump_offset() {
            let to = places[usize::try_from(to).unwrap()];
            let offset = i32::try_from(i64::from(to) - i64::from(places[number + 1])).unwrap();
            bytes[OPCODE_SIZE as usize..][..4].copy_from_slice(&offset.to_le_bytes());
        }
        code.extend_from_slice(&bytes[..size]);
    }
    code
}

/// A function without parameters that has `locals` locals.
pub(crate) fn function(code: &[u8], params: u16, locals: u16) -> FunctionCode<'_> {
    FunctionCode { code, params, locals }
}

/// Numbers that look random and are the same every time (xorshift64*).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        (self.next() >> 32) % bound
    }
}
