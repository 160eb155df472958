//! One instruction: twelve bytes, in the same places for every opcode.

use super::opcode::Opcode;
use super::types::ValueType;

/// Bytes of an instruction.
pub const INSTRUCTION_SIZE: usize = 12;

/// In a field for a local: no local.
pub const NONE: u16 = u16::MAX;

/// An instruction with a known opcode. The documentation of [`ir`](super) has the meaning of its fields for each opcode;
/// the verifier checks them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// The operation.
    pub opcode: Opcode,
    /// Whether the second operand is an immediate number instead of a local.
    pub immediate: bool,
    /// The type code; 0 if the opcode names no type.
    pub type_code: u8,
    /// Usually the local that is set, or the first one that is read.
    pub a: u16,
    /// Usually the first local that is read.
    pub b: u16,
    /// Usually the second local that is read.
    pub c: u16,
    /// An immediate number, an offset, a target or an index of a table.
    pub imm: i32,
}

impl Instruction {
    /// The instruction in these bytes; `None` if the first byte is not an opcode.
    #[inline]
    pub fn decode(bytes: &[u8; INSTRUCTION_SIZE]) -> Option<Self> {
        let [code, type_code, a0, a1, b0, b1, c0, c1, i0, i1, i2, i3] = *bytes;
        let (opcode, immediate) = Opcode::from_code(code)?;
        Some(Self {
            opcode,
            immediate,
            type_code,
            a: u16::from_le_bytes([a0, a1]),
            b: u16::from_le_bytes([b0, b1]),
            c: u16::from_le_bytes([c0, c1]),
            imm: i32::from_le_bytes([i0, i1, i2, i3]),
        })
    }

    /// The bytes of the instruction.
    #[inline]
    pub fn encode(&self) -> [u8; INSTRUCTION_SIZE] {
        let [a0, a1] = self.a.to_le_bytes();
        let [b0, b1] = self.b.to_le_bytes();
        let [c0, c1] = self.c.to_le_bytes();
        let [i0, i1, i2, i3] = self.imm.to_le_bytes();
        let code = self.opcode.code(self.immediate);
        [code, self.type_code, a0, a1, b0, b1, c0, c1, i0, i1, i2, i3]
    }

    /// The type that it names.
    #[inline]
    pub fn ty(&self) -> Option<ValueType> {
        ValueType::from_code(self.type_code)
    }

    /// The instruction that it may jump to, if it is a jump or a branch.
    #[inline]
    pub fn target(&self) -> Option<u32> {
        // Targets are unsigned; the verifier refuses those beyond the last instruction.
        self.opcode.has_target().then_some(self.imm.cast_unsigned())
    }

    /// The local that it sets; of a call, the one that takes the result.
    #[inline]
    pub fn written(&self) -> Option<u16> {
        use Opcode as O;
        match self.opcode {
            O::Call | O::CallIndirect => (self.a != NONE).then_some(self.a),
            O::Constant | O::WideConstant | O::Move | O::SizeOf | O::Convert => Some(self.a),
            O::Unary(_) | O::Binary(_) | O::Compare(_) => Some(self.a),
            O::Load | O::LoadElement | O::Element | O::Select => Some(self.a),
            O::SlotAddress | O::DataAddress | O::FunctionAddress => Some(self.a),
            _ => None,
        }
    }

    /// The locals that it reads, without the arguments of a call.
    #[inline]
    pub fn read(&self) -> [Option<u16>; 3] {
        use Opcode as O;
        let second = |local| (!self.immediate).then_some(local);
        let index = (self.c != NONE).then_some(self.c);
        match self.opcode {
            O::Move | O::Convert | O::Unary(_) | O::Load => [Some(self.b), None, None],
            O::Binary(_) | O::Compare(_) => [Some(self.b), second(self.c), None],
            O::Branch(_) | O::TrapCompare(_) => [Some(self.a), second(self.b), None],
            O::BranchIf(_) | O::Return | O::TrapIf(_) | O::CheckStack => [Some(self.a), None, None],
            O::Select => [Some(self.b), Some(self.c), self.other()],
            O::CopyMemory | O::FillMemory => [Some(self.a), Some(self.b), second(self.c)],
            O::CallIndirect | O::ReturnCallIndirect => [Some(self.c), None, None],
            O::Store => [Some(self.a), Some(self.b), None],
            O::LoadElement | O::Element => [Some(self.b), index, None],
            O::StoreElement => [Some(self.a), Some(self.b), index],
            _ => [None; 3],
        }
    }

    /// The local that a `select` takes if the bool is false; in a verified function it exists.
    #[inline]
    pub fn other(&self) -> Option<u16> {
        u16::try_from(self.imm).ok()
    }

    /// The immediate number of a branch or a conditional trap, in the place of a local.
    #[inline]
    pub fn short_number(&self) -> i32 {
        i32::from(self.c.cast_signed())
    }

    /// The immediate number that stands for the second operand.
    #[inline]
    pub fn number(&self) -> i32 {
        match self.opcode {
            Opcode::Branch(_) | Opcode::TrapCompare(_) => self.short_number(),
            _ => self.imm,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_where_the_table_says() {
        let bytes = [0xb2, 0x40, 1, 2, 0, 0, 0xfe, 0xff, 7, 0, 0, 0];
        let instruction = Instruction::decode(&bytes).unwrap();
        assert_eq!(instruction.ty(), Some(ValueType::Parameter(0)));
        assert_eq!((instruction.a, instruction.number(), instruction.imm), (0x201, -2, 7));
        assert_eq!((instruction.immediate, instruction.target()), (true, Some(7)));
        assert_eq!(instruction.encode(), bytes);
    }

    #[test]
    fn every_code_leads_back() {
        for code in 0..=u8::MAX {
            let bytes = [code, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];
            let Some(instruction) = Instruction::decode(&bytes) else { continue };
            assert_eq!(instruction.encode(), bytes);
        }
    }
}
