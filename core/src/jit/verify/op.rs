//! Instructions as they are after the scan, which decodes them once for all that come after it.

use crate::jit::bytecode::Opcode;

/// A supported instruction as all that come after the scan look at it: its first eight bytes. In place
/// of a jump's distance stands the number of its target. A constant is left in the code; behind a short
/// instruction is whatever follows it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Op(u64);

/// The bits of an operand.
const LONG: u64 = 0xffff_ffff;

impl Op {
    /// What room for instructions is filled with.
    pub(super) const NONE: Self = Self(0);

    /// The instruction that begins with these bytes, whose opcode is less than 256.
    #[inline(always)]
    pub(super) fn new(bytes: [u8; 8]) -> Self {
        Self(u64::from_le_bytes(bytes))
    }

    #[inline(always)]
    pub(crate) fn opcode(self) -> Opcode {
        Opcode(self.0 as u8)
    }

    /// The first operand, of 16 bits.
    #[inline(always)]
    pub(crate) fn a(self) -> u16 {
        (self.0 >> 16) as u16
    }

    /// The second operand of two, each of 16 bits.
    #[inline(always)]
    pub(crate) fn b(self) -> u16 {
        (self.0 >> 32) as u16
    }

    /// The function that is called, or the number of the target that is jumped to.
    #[inline(always)]
    pub(crate) fn long(self) -> u32 {
        (self.0 >> 16) as u32
    }

    /// The number of arguments of a call of a function.
    #[inline(always)]
    pub(crate) fn argc(self) -> u16 {
        (self.0 >> 48) as u16
    }

    pub(super) fn set_long(&mut self, long: u32) {
        self.0 = self.0 & !(LONG << 16) | u64::from(long) << 16;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operands_are_where_the_instruction_has_them() {
        let mut op = Op::new([0x43, 0, 1, 2, 3, 4, 5, 6]);
        assert_eq!(op.opcode(), Opcode::Call);
        assert_eq!((op.long(), op.argc()), (0x0403_0201, 0x0605));
        assert_eq!((op.a(), op.b()), (0x0201, 0x0403));
        op.set_long(0xfedc_ba98);
        assert_eq!((op.long(), op.argc()), (0xfedc_ba98, 0x0605));
    }
}
