//! The instructions of bytecode: decoded, encoded, measured and named.
//!
//! An instruction is an opcode (u16) and its operands, all little-endian, nothing aligned; the opcode
//! alone says how long it is. [`Instruction`] has one variant an opcode, whose documentation tells
//! operands, effect and kinds; those that need patterns or actors are decoded as well, so that a listing shows them,
//! and refused by the verifier ([`Instruction::is_supported`]).
//!
//! What all of them share:
//!
//! * An activation has *locals*, whose number is fixed, and one *vector* of values that starts empty
//!   and holds slots and pushed operands alike. A *slot* is a position of the vector, from 0.
//! * *Writing* a slot at or past the end of the vector first extends it with nil; *reading* one is an
//!   error. *Pushing* appends to the end, *popping* removes from it.
//! * A value is 64 bits and of a kind: i64, f64, bool or nil. Kinds follow from the code alone and are
//!   checked before anything runs; those of values in functions that work on objects are checked at run time. Where
//!   nothing else is said, integers wrap.
//! * Jumps are relative to the byte after the instruction; the end of the code is a valid target.
//!
//! Decoding never panics and never reads past the code; what it refuses it refuses with the offset.
//! The instruction set is that of the bytecode compiler and interpreter of the Simple language.

mod error;
mod table;

pub use error::DecodeError;
pub use table::{Instruction, MAX_SIZE, OPCODE_SIZE, Role};
pub(crate) use table::{Opcode, bytes_of};

use crate::format::bytes::u16_at;

impl Instruction {
    /// The instruction that begins at offset `at` of `code`.
    ///
    /// # Errors
    /// Code that ends first, or an opcode that does not exist.
    #[inline]
    pub fn decode(code: &[u8], at: u32) -> Result<Self, DecodeError> {
        let rest = usize::try_from(at).ok().and_then(|start| code.get(start..));
        match rest.and_then(|rest| Some((rest, u16_at(rest, 0)?))) {
            Some((rest, opcode)) => Self::decode_operands(opcode, rest, at),
            None => Err(DecodeError::Truncated { at, needed: OPCODE_SIZE }),
        }
    }

    /// The bytes of the instruction, and how many of them count: [`Instruction::size`].
    #[inline]
    pub fn encode(&self) -> ([u8; MAX_SIZE as usize], usize) {
        let mut bytes = [0; MAX_SIZE as usize];
        let len = self.write(&mut bytes).unwrap_or(0);
        (bytes, len)
    }

    /// How far a jump goes, in bytes from the end of the instruction; `None` for what does not jump.
    #[inline]
    pub fn jump_offset(&self) -> Option<i32> {
        let mut jump = *self;
        jump.jump_offset_mut().copied()
    }

    /// The distance of a jump, to be changed.
    #[inline]
    pub(super) fn jump_offset_mut(&mut self) -> Option<&mut i32> {
        match self {
            Instruction::Jmp { offset }
            | Instruction::JmpIf { offset }
            | Instruction::JmpIfNot { offset }
            | Instruction::LtJmpIfNot { offset }
            | Instruction::EqJmpIfNot { offset } => Some(offset),
            _ => None,
        }
    }
}

/// Where a jump leads that stands at `at`, is `size` bytes long and goes `offset` bytes from its end;
/// not necessarily into the code.
#[inline]
pub const fn target(at: u32, size: u32, offset: i32) -> i64 {
    at as i64 + size as i64 + offset as i64
}

/// The instructions of a function one after another, each with its offset. After an error there are
/// no more.
#[derive(Clone, Copy, Debug)]
pub struct Instructions<'c> {
    code: &'c [u8],
    at: u32,
    end: u32,
}

impl<'c> Instructions<'c> {
    /// The instructions of `code`, as far as offsets of 32 bits reach.
    pub fn new(code: &'c [u8]) -> Self {
        Self { code, at: 0, end: u32::try_from(code.len()).unwrap_or(u32::MAX) }
    }
}

impl Iterator for Instructions<'_> {
    type Item = Result<(u32, Instruction), DecodeError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let at = self.at;
        if at >= self.end {
            return None;
        }
        let found = Instruction::decode(self.code, at);
        self.at = found.map_or(self.end, |instruction| at.saturating_add(instruction.size()));
        Some(found.map(|instruction| (at, instruction)))
    }
}

#[cfg(test)]
mod tests;
