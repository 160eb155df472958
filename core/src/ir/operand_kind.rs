//! The operands of each opcode, by which instructions are verified, parsed and printed.

use super::opcode::Opcode;

/// A field of an instruction that has the number of a local.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Field {
    A,
    B,
    C,
}

/// The type that a local must have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LocalType {
    /// That of the instruction.
    Own,
    /// The type that a conversion starts from.
    Source,
    Bool,
    Byte,
    Pointer,
    /// An index of elements, or a size: an integer of 64 bits.
    Index,
}

/// An operand of an instruction: its text, and the fields that have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OperandKind {
    /// The type of the instruction, in `type_code`.
    Type,
    /// The type of the local that follows, in `c`.
    Source,
    /// A local that the instruction sets, in `a`.
    Set(LocalType),
    /// A local that it reads.
    Local(Field, LocalType),
    /// A local of the type of the instruction that it reads, in `imm`.
    Other,
    /// A local in `c`, or a number in `imm`.
    Second(LocalType),
    /// A local of the type of the instruction in `b`, or a number in the place of `c`.
    Short,
    /// A number in `imm`.
    Number,
    /// A constant, by its index in `imm`.
    Wide,
    /// `+ N`, `- N` or nothing: bytes in `imm`.
    Distance,
    /// `[i + N]`, `[i]` or `[N]`: a local in `c`, or none, and a number in `imm`.
    Element,
    /// An instruction in `imm`.
    Target,
    /// The code of a trap in `imm`.
    Code,
    /// A stack slot in `b`.
    Slot,
    /// An entry of the read-only data in `b`.
    Data,
    /// A callee in `b`.
    Callee,
}

impl OperandKind {
    /// Whether the text belongs to that of the operand before, without a separator.
    pub(crate) fn is_suffix(self) -> bool {
        matches!(self, Self::Distance | Self::Element)
    }

    /// Whether it has the number of the instruction, whatever the other fields are.
    pub(crate) fn is_in_imm(self) -> bool {
        use OperandKind as K;
        matches!(
            self,
            K::Number | K::Wide | K::Other | K::Distance | K::Element | K::Target | K::Code
        )
    }

    /// Whether no comma follows, because the operand is the type of the next one.
    pub(crate) fn is_prefix(self) -> bool {
        matches!(self, Self::Type | Self::Source)
    }
}

impl Opcode {
    /// Whether its instructions name a type.
    pub(crate) fn names_type(self) -> bool {
        matches!(self.operands(), [OperandKind::Type, ..])
    }

    /// Its operands in the order of the text form. Those of calls are the arguments of the callee.
    pub(crate) const fn operands(self) -> &'static [OperandKind] {
        use Field::{A, B, C};
        use LocalType::{Bool, Byte, Index, Own, Pointer, Source};
        use OperandKind as K;
        match self {
            Self::Constant => &[K::Type, K::Set(Own), K::Number],
            Self::WideConstant => &[K::Type, K::Set(Own), K::Wide],
            Self::Move | Self::Unary(_) => &[K::Type, K::Set(Own), K::Local(B, Own)],
            Self::SizeOf => &[K::Type, K::Set(Index)],
            Self::Convert => &[K::Type, K::Set(Own), K::Source, K::Local(B, Source)],
            Self::Binary(_) => &[K::Type, K::Set(Own), K::Local(B, Own), K::Second(Own)],
            Self::Compare(_) => &[K::Type, K::Set(Bool), K::Local(B, Own), K::Second(Own)],
            Self::Branch(_) => &[K::Type, K::Local(A, Own), K::Short, K::Target],
            Self::TrapCompare(_) => &[K::Type, K::Local(A, Own), K::Short, K::Code],
            Self::Select => &[K::Type, K::Set(Own), K::Local(B, Bool), K::Local(C, Own), K::Other],
            Self::Load => &[K::Type, K::Set(Own), K::Local(B, Pointer), K::Distance],
            Self::Store => &[K::Type, K::Local(A, Own), K::Local(B, Pointer), K::Distance],
            Self::LoadElement => &[K::Type, K::Set(Own), K::Local(B, Pointer), K::Element],
            Self::StoreElement => &[K::Type, K::Local(A, Own), K::Local(B, Pointer), K::Element],
            Self::Element => &[K::Type, K::Set(Pointer), K::Local(B, Pointer), K::Element],
            Self::Return => &[K::Type, K::Local(A, Own)],
            Self::Jump => &[K::Target],
            Self::BranchIf(_) => &[K::Local(A, Bool), K::Target],
            Self::TrapIf(_) => &[K::Local(A, Bool), K::Code],
            Self::Trap => &[K::Code],
            Self::SlotAddress => &[K::Set(Pointer), K::Slot, K::Distance],
            Self::DataAddress => &[K::Set(Pointer), K::Data, K::Distance],
            Self::FunctionAddress => &[K::Set(Pointer), K::Callee],
            Self::CopyMemory => &[K::Local(A, Pointer), K::Local(B, Pointer), K::Second(Index)],
            Self::FillMemory => &[K::Local(A, Pointer), K::Local(B, Byte), K::Second(Index)],
            Self::CheckStack => &[K::Local(A, Pointer), K::Distance],
            Self::ReturnNone => &[],
            Self::Call | Self::CallIndirect | Self::ReturnCall | Self::ReturnCallIndirect => &[],
        }
    }
}
