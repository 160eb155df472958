//! One instruction: twelve bytes, in the same places for every opcode.

use super::opcode::{BY_CODE, Opcode};
use super::operand_kind::{Field, OperandKind};
use super::types::{Scalar, ValueType};

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

    /// What it does with its fields.
    #[inline]
    fn access(&self) -> Access {
        Access::of_code(self.opcode.code(self.immediate))
    }

    /// The local that it sets; of a call, the one that takes the result.
    #[inline]
    pub fn written(&self) -> Option<u16> {
        (self.access().has(Access::WRITES_A) && self.a != NONE).then_some(self.a)
    }

    /// The locals that it reads, without the arguments of a call.
    #[inline]
    pub fn read(&self) -> [Option<u16>; 3] {
        let access = self.access();
        let local = |what, local| (access.has(what) && local != NONE).then_some(local);
        let other = || self.other().filter(|_| access.has(Access::READS_OTHER));
        let first = local(Access::READS_A, self.a).or_else(other);
        [first, local(Access::READS_B, self.b), local(Access::READS_C, self.c)]
    }

    pub(crate) fn field_mut(&mut self, field: Field) -> &mut u16 {
        match field {
            Field::A => &mut self.a,
            Field::B => &mut self.b,
            Field::C => &mut self.c,
        }
    }

    /// Replaces the locals that it reads by others, except for the operands of a call.
    pub(crate) fn map_read(&mut self, map: impl Fn(u16) -> u16) {
        let access = self.access();
        let fields = [
            (Access::READS_A, &mut self.a),
            (Access::READS_B, &mut self.b),
            (Access::READS_C, &mut self.c),
        ];
        for (what, local) in fields {
            if access.has(what) && *local != NONE {
                *local = map(*local);
            }
        }
        if access.has(Access::READS_OTHER) {
            self.imm = self.other().map_or(self.imm, |other| map(other).into());
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

    /// Whether the trap of the instruction, of type `scalar`, states its operands: a conditional trap by a comparison of
    /// 64-bit integers. Other traps state 0 twice.
    #[inline]
    pub fn states_operands(&self, scalar: Scalar) -> bool {
        let is_wide = matches!(scalar, Scalar::I64 | Scalar::U64);
        matches!(self.opcode, Opcode::TrapCompare(_)) && is_wide
    }

    /// The immediate number of the type that it names, if it has one.
    #[cfg(feature = "source")]
    pub(crate) fn typed_number(&self) -> Option<i32> {
        let is_number = |operand: &OperandKind| match operand {
            OperandKind::Number => true,
            OperandKind::Second(_) | OperandKind::Short => self.immediate,
            _ => false,
        };
        self.opcode.operands().iter().any(is_number).then(|| self.number())
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

/// What an instruction does with its fields, by its opcode: a bit for each of the constants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Access(u8);

impl Access {
    pub(crate) const READS_A: Self = Self(1);
    pub(crate) const READS_B: Self = Self(2);
    /// Unless the field is [`NONE`].
    pub(crate) const READS_C: Self = Self(4);
    /// The local whose number is in `imm`.
    pub(crate) const READS_OTHER: Self = Self(8);
    /// Unless the field is [`NONE`].
    pub(crate) const WRITES_A: Self = Self(16);
    /// `imm` is the number of an instruction.
    pub(crate) const JUMPS: Self = Self(32);
    /// It reads the operands of a call.
    pub(crate) const CALLS: Self = Self(64);
    /// It has a trap of its own.
    pub(crate) const TRAPS: Self = Self(128);

    const NOTHING: Self = Self(0);

    /// Whether it does all of this.
    #[inline]
    pub(crate) const fn has(self, what: Self) -> bool {
        self.0 & what.0 == what.0
    }

    const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// What an instruction with the code does.
    #[inline]
    pub(crate) fn of_code(code: u8) -> Self {
        static TABLE: [Access; 256] = Access::by_code();
        TABLE.get(usize::from(code)).copied().unwrap_or(Self::NOTHING)
    }

    #[expect(
        clippy::indexing_slicing,
        reason = "evaluated by the compiler, which refuses an index out of bounds"
    )]
    /// By code; nothing for codes without an opcode.
    const fn by_code() -> [Self; 256] {
        let mut table = [Self::NOTHING; 256];
        let mut code = 0;
        while code < table.len() {
            if let Some((opcode, immediate)) = BY_CODE[code] {
                table[code] = Self::of(opcode, immediate);
            }
            code += 1;
        }
        table
    }

    const fn of(opcode: Opcode, immediate: bool) -> Self {
        use Opcode as O;
        use OperandKind as K;
        let mut access = match opcode {
            O::Binary(binary) if binary.can_trap() => Self::TRAPS,
            O::TrapCompare(_) | O::TrapIf(_) | O::Trap | O::CheckStack => Self::TRAPS,
            O::Call => Self::CALLS.and(Self::WRITES_A),
            O::CallIndirect => Self::CALLS.and(Self::WRITES_A).and(Self::READS_C),
            O::ReturnCall => Self::CALLS,
            O::ReturnCallIndirect => Self::CALLS.and(Self::READS_C),
            _ => Self::NOTHING,
        };
        let mut rest = opcode.operands();
        while let [operand, others @ ..] = rest {
            access = access.and(match operand {
                K::Set(_) => Self::WRITES_A,
                K::Second(_) | K::Short if immediate => Self::NOTHING,
                K::Local(Field::A, _) => Self::READS_A,
                K::Local(Field::B, _) | K::Short => Self::READS_B,
                K::Local(Field::C, _) | K::Second(_) | K::Element => Self::READS_C,
                K::Other => Self::READS_OTHER,
                K::Target => Self::JUMPS,
                _ => Self::NOTHING,
            });
            rest = others;
        }
        access
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
    fn table_of_accesses_agrees_with_the_opcodes() {
        for code in 0..=u8::MAX {
            let bytes = [code, 2, 3, 4, 5, 6, 7, 8, 9, 10, 0, 0];
            let access = Access::of_code(code);
            let Some(instruction) = Instruction::decode(&bytes) else {
                assert_eq!(access, Access::NOTHING);
                continue;
            };
            assert_eq!(access, instruction.access());
            assert_eq!(access.has(Access::JUMPS), instruction.opcode.has_target());
            assert_eq!(access.has(Access::CALLS), instruction.opcode.is_call());
            let jumps = instruction.target().is_some();
            let [first, second, third] = instruction.read();
            assert!(!(jumps && access.has(Access::WRITES_A)), "{instruction:?}");
            assert!(first.is_none_or(|local| [0x403, 0xa09].contains(&local)));
            assert!(second.is_none_or(|local| local == 0x605));
            assert!(third.is_none_or(|local| local == 0x807));
        }
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
