//! Instructions as they are after the scan, which decodes them once for all that come after it.

use crate::bytecode::instruction::{OPCODE_SIZE, Opcode};

/// A place in the code of a function, in pairs of bytes from its begin: instructions are of even length.
pub(crate) type At = usize;

/// A place in bytes. No function has 2^31 of them.
#[inline]
pub(crate) fn offset(at: At) -> u32 {
    (at as u32).wrapping_mul(OPCODE_SIZE)
}

/// A supported instruction as all that come after the scan look at it: its first eight bytes. The upper
/// byte of its opcode, which is 0, gives way to its length, and the distance of a jump to the number of
/// its target. A constant is left in the code; behind a short instruction is whatever follows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Op(u64);

/// The bits of an operand.
const LONG: u64 = 0xffff_ffff;

impl Op {
    /// Where no instruction begins.
    pub(super) const NONE: Self = Self(0);

    /// The instruction that begins with these bytes, whose opcode is less than 256, and has the length
    /// of which these are the [bits](Self::bits_of_length).
    #[inline]
    pub(super) fn new(bytes: [u8; 8], length: u16) -> Self {
        Self(u64::from_le_bytes(bytes) | u64::from(length))
    }

    /// What says of an instruction that it is so many bytes long, which are at most 14.
    pub(super) const fn bits_of_length(bytes: u32) -> u16 {
        ((bytes / OPCODE_SIZE) << 8) as u16
    }

    /// The place behind the instruction, which stands at `at`.
    #[inline]
    pub(crate) fn behind(self, at: At) -> At {
        at + usize::from((self.0 >> 8) as u8)
    }

    #[inline]
    pub(crate) fn opcode(self) -> Opcode {
        Opcode(self.0 as u8)
    }

    /// The first operand, of 16 bits.
    #[inline]
    pub(crate) fn a(self) -> u16 {
        (self.0 >> 16) as u16
    }

    /// The second operand of two, each of 16 bits.
    #[inline]
    pub(crate) fn b(self) -> u16 {
        (self.0 >> 32) as u16
    }

    /// The function that is called, or the number of the target that is jumped to.
    #[inline]
    pub(crate) fn long(self) -> u32 {
        (self.0 >> 16) as u32
    }

    /// The second operand of two, of 16 and 32 bits.
    #[inline]
    pub(super) fn second_long(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// The number of arguments of a call of a function.
    #[inline]
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
        let mut op = Op::new([0x43, 0, 1, 2, 3, 4, 5, 6], Op::bits_of_length(8));
        assert_eq!(op.opcode(), Opcode::Call);
        assert_eq!((op.long(), op.argc()), (0x0403_0201, 0x0605));
        assert_eq!((op.a(), op.b()), (0x0201, 0x0403));
        op.set_long(0xfedc_ba98);
        assert_eq!((op.long(), op.argc()), (0xfedc_ba98, 0x0605));
        assert_eq!((op.opcode(), op.behind(3)), (Opcode::Call, 7));
    }
}
