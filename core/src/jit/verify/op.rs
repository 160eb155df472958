//! Instructions as they are after the scan, which decodes them once for all that come after it.

use crate::jit::bytecode::{OPCODE_SIZE, Opcode};

/// A place in the code of a function, in pairs of bytes from its begin: instructions are of even length.
pub(crate) type At = usize;

/// A place in bytes. No function has 2^31 of them.
#[inline(always)]
pub(crate) fn offset(at: At) -> u32 {
    (at as u32).wrapping_mul(OPCODE_SIZE)
}

/// A supported instruction as all that come after the scan look at it: its opcode, its length and its
/// first operands. In place of a jump's distance stands the number of its target. A constant is left in
/// the code; behind a short instruction is whatever follows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(8))]
pub(crate) struct Op {
    opcode: Opcode,
    /// In pairs of bytes; 0 where no instruction begins.
    length: u8,
    operands: [u16; 3],
}

impl Op {
    /// Where no instruction begins.
    pub(super) const NONE: Self = Self::with_length(Opcode::RetVoid, 0);

    /// An instruction of so many bytes, at most 14.
    pub(super) const fn with_length(opcode: Opcode, bytes: u32) -> Self {
        Self { opcode, length: (bytes / OPCODE_SIZE) as u8, operands: [0; 3] }
    }

    /// The same with the operands that stand behind the opcode in these bytes.
    #[inline(always)]
    pub(super) fn with_operands(self, [_, _, a, b, c, d, e, f]: [u8; 8]) -> Self {
        let operands = [[a, b], [c, d], [e, f]].map(u16::from_le_bytes);
        Self { operands, ..self }
    }

    /// Whether an instruction begins here.
    pub(super) fn is_some(self) -> bool {
        self.length != 0
    }

    /// The place behind the instruction, which stands at `at`.
    #[inline(always)]
    pub(crate) fn behind(self, at: At) -> At {
        at + usize::from(self.length)
    }

    #[inline(always)]
    pub(crate) fn opcode(self) -> Opcode {
        self.opcode
    }

    /// The first operand, of 16 bits.
    #[inline(always)]
    pub(crate) fn a(self) -> u16 {
        let [a, ..] = self.operands;
        a
    }

    /// The second operand of two, each of 16 bits.
    #[inline(always)]
    pub(crate) fn b(self) -> u16 {
        let [_, b, _] = self.operands;
        b
    }

    /// The function that is called, or the number of the target that is jumped to.
    #[inline(always)]
    pub(crate) fn long(self) -> u32 {
        let [low, high, _] = self.operands;
        u32::from(high) << 16 | u32::from(low)
    }

    /// The number of arguments of a call of a function.
    #[inline(always)]
    pub(crate) fn argc(self) -> u16 {
        let [.., argc] = self.operands;
        argc
    }

    pub(super) fn set_long(&mut self, long: u32) {
        let [low, high, _] = &mut self.operands;
        (*low, *high) = (long as u16, (long >> 16) as u16);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operands_are_where_the_instruction_has_them() {
        let call = Op::with_length(Opcode::Call, 8);
        let mut op = call.with_operands([0x43, 0, 1, 2, 3, 4, 5, 6]);
        assert_eq!(op.opcode(), Opcode::Call);
        assert_eq!((op.long(), op.argc()), (0x0403_0201, 0x0605));
        assert_eq!((op.a(), op.b()), (0x0201, 0x0403));
        op.set_long(0xfedc_ba98);
        assert_eq!((op.long(), op.argc()), (0xfedc_ba98, 0x0605));
        assert_eq!((op.opcode(), op.behind(3)), (Opcode::Call, 7));
    }
}
