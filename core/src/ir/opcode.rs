//! The operations of the IR: codes, names, types.
//!
//! The semantics and the fields of each are in the documentation of [`ir`](super).

use super::types::TypeSet;

macro_rules! names {
    ($(#[$about:meta])* $name:ident $first:literal: $($item:ident $text:literal $what:literal,)*) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name {
            $(#[doc = $what] $item,)*
        }

        impl $name {
            /// All operations, by ascending code.
            pub const ALL: &[Self] = &[$(Self::$item,)*];

            /// The name in the text form.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$item => $text,)*
                }
            }

            /// The code of the first operation; those of the others follow.
            const FIRST: u8 = $first;

            #[inline]
            fn code(self) -> u8 {
                Self::FIRST + self as u8
            }
        }
    };
}

names! {
    /// An operation on one value.
    Unary 0x08:
    Negate "neg" "The negated value; integers wrap.",
    Not "not" "The complement of all bits of an integer, or of a bool.",
    SquareRoot "sqrt" "The square root of a floating-point value; version 2.",
    Absolute "abs" "A floating-point value without its sign; version 2.",
}

names! {
    /// An operation on two values of one type.
    Binary 0x10:
    Add "add" "The sum; integers wrap.",
    Subtract "sub" "The difference; integers wrap.",
    Multiply "mul" "The product; integers wrap.",
    Divide "div" "The quotient, rounded towards 0 for integers; an integer division by 0 traps, and the lowest integer by -1 wraps.",
    Remainder "rem" "The remainder, with the sign of the dividend; by 0 it traps.",
    And "and" "The bitwise and.",
    Or "or" "The bitwise or.",
    Xor "xor" "The bitwise exclusive or.",
    ShiftLeft "shl" "The value shifted left by the second value modulo the width.",
    ShiftRight "shr" "The value shifted right by the second value modulo the width; arithmetically for signed types.",
    AddChecked "add_checked" "The sum of integers; traps with code 2 where it wraps; version 2.",
    SubtractChecked "sub_checked" "The difference of integers; traps with code 2 where it wraps; version 2.",
    MultiplyChecked "mul_checked" "The product of integers; traps with code 2 where it wraps; version 2.",
    RotateLeft "rotl" "The value rotated left by the second value modulo the width; version 2.",
}

names! {
    /// A relation of two values of one type. If one of them is NaN, only `NotEqual` holds. Addresses are compared as
    /// unsigned integers.
    Condition 0x20:
    Equal "eq" "Equal.",
    NotEqual "ne" "Not equal.",
    Less "lt" "The first is less.",
    LessEqual "le" "The first is less or equal.",
    Greater "gt" "The first is greater.",
    GreaterEqual "ge" "The first is greater or equal.",
}

impl Binary {
    /// The types that it is defined for.
    pub fn types(self) -> TypeSet {
        match self {
            Self::Add | Self::Subtract | Self::Multiply | Self::Divide => TypeSet::NUMBERS,
            Self::And | Self::Or | Self::Xor => TypeSet::BITS,
            Self::Remainder | Self::ShiftLeft | Self::ShiftRight | Self::RotateLeft => {
                TypeSet::INTEGERS
            }
            Self::AddChecked | Self::SubtractChecked | Self::MultiplyChecked => TypeSet::INTEGERS,
        }
    }

    /// Whether it traps where the result does not fit the type.
    pub const fn is_checked(self) -> bool {
        matches!(self, Self::AddChecked | Self::SubtractChecked | Self::MultiplyChecked)
    }

    /// Whether it traps for some values: divisions, and operations that check for overflow.
    pub const fn can_trap(self) -> bool {
        matches!(self, Self::Divide | Self::Remainder) || self.is_checked()
    }

    /// Whether its operands may be exchanged.
    pub fn is_commutative(self) -> bool {
        matches!(
            self,
            Self::Add
                | Self::Multiply
                | Self::And
                | Self::Or
                | Self::Xor
                | Self::AddChecked
                | Self::MultiplyChecked
        )
    }
}

impl Unary {
    /// The types that it is defined for.
    pub fn types(self) -> TypeSet {
        match self {
            Self::Negate => TypeSet::NUMBERS,
            Self::Not => TypeSet::BITS,
            Self::SquareRoot | Self::Absolute => TypeSet::FLOATS,
        }
    }
}

impl Condition {
    /// The types that it is defined for.
    pub fn types(self) -> TypeSet {
        match self {
            Self::Equal | Self::NotEqual => TypeSet::SCALARS,
            _ => TypeSet::ORDERED,
        }
    }

    /// The condition that holds for exchanged operands when this one holds.
    #[must_use]
    pub fn swapped(self) -> Self {
        match self {
            Self::Less => Self::Greater,
            Self::LessEqual => Self::GreaterEqual,
            Self::Greater => Self::Less,
            Self::GreaterEqual => Self::LessEqual,
            Self::Equal | Self::NotEqual => self,
        }
    }

    /// The condition that holds where this one does not; for floats, where it does not and neither operand is a NaN.
    #[must_use]
    pub(crate) fn inverse(self) -> Self {
        match self {
            Self::Equal => Self::NotEqual,
            Self::NotEqual => Self::Equal,
            Self::Less => Self::GreaterEqual,
            Self::LessEqual => Self::Greater,
            Self::Greater => Self::LessEqual,
            Self::GreaterEqual => Self::Less,
        }
    }

    /// The condition that holds exactly where this one is as `expected`; `None` for the inverse of an order of floats,
    /// because neither holds for a NaN.
    pub(crate) fn when(self, expected: bool, is_float: bool) -> Option<Self> {
        let is_exact = matches!(self, Self::Equal | Self::NotEqual);
        match expected {
            true => Some(self),
            false => (is_exact || !is_float).then(|| self.inverse()),
        }
    }

    /// Whether the condition holds.
    #[inline]
    pub(crate) fn holds<T: PartialOrd>(self, left: T, right: T) -> bool {
        match self {
            Self::Equal => left == right,
            Self::NotEqual => left != right,
            Self::Less => left < right,
            Self::LessEqual => left <= right,
            Self::Greater => left > right,
            Self::GreaterEqual => left >= right,
        }
    }
}

/// The operation of an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Opcode {
    /// Sets a local to the immediate number.
    Constant,
    /// Sets a local to bits from the table of constants.
    WideConstant,
    /// Copies a local.
    Move,
    /// Sets a local of type i64 or u64 to the size of the type in bytes.
    SizeOf,
    /// Converts a value to another type, as Rust's `as` does.
    Convert,
    /// An operation on one value.
    Unary(Unary),
    /// An operation on two values; the second may be an immediate number.
    Binary(Binary),
    /// Sets a local of type bool to whether a condition holds.
    Compare(Condition),
    /// Jumps if a condition holds.
    Branch(Condition),
    /// Jumps.
    Jump,
    /// Jumps if a bool has this value.
    BranchIf(bool),
    /// Loads from an address with an offset in bytes.
    Load,
    /// Stores to an address with an offset in bytes.
    Store,
    /// Loads an element of an array.
    LoadElement,
    /// Stores an element of an array.
    StoreElement,
    /// The address of an element of an array.
    Element,
    /// Calls a callee.
    Call,
    /// Returns a value.
    Return,
    /// Returns from a function without a result.
    ReturnNone,
    /// Traps.
    Trap,
    /// Traps if a condition holds. The trap [states](super::Instruction::states_operands) operands of 64 bits; passes keep both and
    /// their order.
    TrapCompare(Condition),
    /// Traps if a bool has this value.
    TrapIf(bool),
    /// Selects one of two values by a bool.
    Select,
    /// The address of a stack slot.
    SlotAddress,
    /// The address of read-only data.
    DataAddress,
    /// The address of a callee.
    FunctionAddress,
    /// Copies bytes from one address to another.
    CopyMemory,
    /// Sets bytes at an address to one value.
    FillMemory,
    /// Traps if the frame would reach below an address in memory.
    CheckStack,
    /// Calls the function at an address.
    CallIndirect,
    /// Returns the result of a call, which reuses the frame: a tail call.
    ReturnCall,
    /// A tail call of the function at an address.
    ReturnCallIndirect,
}

/// The difference between the codes of a conditional trap and of the comparison with its condition.
const TRAP: u8 = 0x40;

/// The difference between the codes of a branch and of the comparison with its condition.
const BRANCH: u8 = 0x10;

/// The names of branches and of traps that compare, by condition.
const BRANCHES: [&str; 6] = ["br_eq", "br_ne", "br_lt", "br_le", "br_gt", "br_ge"];
const TRAPS: [&str; 6] = ["trap_eq", "trap_ne", "trap_lt", "trap_le", "trap_gt", "trap_ge"];

/// The bit of the code of an instruction whose second operand is an immediate number.
pub(super) const IMMEDIATE: u8 = 0x80;

macro_rules! plain {
    ($($code:literal $name:ident $(($value:literal))? $text:literal,)*) => {
        /// The opcodes that stand alone, with their codes.
        const PLAIN: &[(u8, Opcode)] = &[$(($code, Opcode::$name $(($value))?),)*];

        impl Opcode {
            #[inline]
            fn plain_code(self) -> u8 {
                match self {
                    $(Self::$name $(($value))? => $code,)*
                    _ => 0,
                }
            }

            fn plain_name(self) -> &'static str {
                match self {
                    $(Self::$name $(($value))? => $text,)*
                    _ => "",
                }
            }
        }
    };
}

plain! {
    0x01 Constant "const",
    0x02 WideConstant "const_wide",
    0x03 Move "move",
    0x04 SizeOf "size_of",
    0x05 Convert "convert",
    0x06 Select "select",
    0x38 Jump "jump",
    0x39 BranchIf(true) "br_true",
    0x3a BranchIf(false) "br_false",
    0x40 Load "load",
    0x41 Store "store",
    0x42 LoadElement "load_element",
    0x43 StoreElement "store_element",
    0x44 Element "element",
    0x45 SlotAddress "slot_address",
    0x46 DataAddress "data_address",
    0x47 FunctionAddress "function_address",
    0x48 CopyMemory "copy_memory",
    0x49 FillMemory "fill_memory",
    0x4a CheckStack "check_stack",
    0x50 Call "call",
    0x51 Return "return",
    0x52 ReturnNone "return_none",
    0x53 Trap "trap",
    0x54 CallIndirect "call_indirect",
    0x55 ReturnCall "return_call",
    0x56 ReturnCallIndirect "return_call_indirect",
    0x66 TrapIf(true) "trap_true",
    0x67 TrapIf(false) "trap_false",
}

/// The opcodes by code, and whether the second operand is an immediate number.
pub(super) const BY_CODE: [Option<(Opcode, bool)>; 256] = by_code();

#[expect(
    clippy::indexing_slicing,
    reason = "evaluated by the compiler, which refuses an index out of bounds"
)]
const fn by_code() -> [Option<(Opcode, bool)>; 256] {
    let mut table = [None; 256];
    let mut rest = PLAIN;
    while let [(code, opcode), tail @ ..] = rest {
        table[*code as usize] = Some((*opcode, false));
        rest = tail;
    }
    let mut at = 0;
    while at < Unary::ALL.len() {
        table[Unary::FIRST as usize + at] = Some((Opcode::Unary(Unary::ALL[at]), false));
        at += 1;
    }
    at = 0;
    while at < Binary::ALL.len() {
        set(&mut table, Binary::FIRST as usize + at, Opcode::Binary(Binary::ALL[at]));
        at += 1;
    }
    at = 0;
    while at < Condition::ALL.len() {
        let (code, condition) = (Condition::FIRST as usize + at, Condition::ALL[at]);
        set(&mut table, code, Opcode::Compare(condition));
        set(&mut table, code + BRANCH as usize, Opcode::Branch(condition));
        set(&mut table, code + TRAP as usize, Opcode::TrapCompare(condition));
        at += 1;
    }
    set(&mut table, 0x48, Opcode::CopyMemory);
    set(&mut table, 0x49, Opcode::FillMemory);
    table
}

/// Sets both forms of an operation that takes a local or an immediate number.
#[expect(
    clippy::indexing_slicing,
    reason = "evaluated by the compiler, which refuses an index out of bounds"
)]
const fn set(table: &mut [Option<(Opcode, bool)>; 256], code: usize, opcode: Opcode) {
    table[code] = Some((opcode, false));
    table[code | IMMEDIATE as usize] = Some((opcode, true));
}

impl Opcode {
    /// The opcode with this code, and whether its second operand is an immediate number.
    #[inline]
    pub fn from_code(code: u8) -> Option<(Self, bool)> {
        static TABLE: [Option<(Opcode, bool)>; 256] = BY_CODE;
        TABLE.get(usize::from(code)).copied().flatten()
    }

    /// Its code, with the bit for an immediate number if `immediate`.
    #[inline]
    pub fn code(self, immediate: bool) -> u8 {
        let code = match self {
            Self::Unary(unary) => unary.code(),
            Self::Binary(binary) => binary.code(),
            Self::Compare(condition) => condition.code(),
            Self::Branch(condition) => condition.code() + BRANCH,
            Self::TrapCompare(condition) => condition.code() + TRAP,
            _ => self.plain_code(),
        };
        if immediate { code | IMMEDIATE } else { code }
    }

    /// Whether control never reaches the following instruction.
    #[inline]
    pub fn ends(self) -> bool {
        matches!(
            self,
            Self::Jump
                | Self::Return
                | Self::ReturnNone
                | Self::Trap
                | Self::ReturnCall
                | Self::ReturnCallIndirect
        )
    }

    /// Whether `imm` of its instructions is the number of an instruction.
    #[inline]
    pub fn has_target(self) -> bool {
        matches!(self, Self::Jump | Self::Branch(_) | Self::BranchIf(_))
    }

    /// The first version of the binary form that has it.
    #[inline]
    pub fn version(self) -> u16 {
        let is_new = match self {
            Self::Unary(unary) => matches!(unary, Unary::SquareRoot | Unary::Absolute),
            Self::Binary(binary) => binary.is_checked() || binary == Binary::RotateLeft,
            Self::TrapCompare(_) | Self::TrapIf(_) | Self::Select => true,
            Self::SlotAddress | Self::DataAddress | Self::FunctionAddress => true,
            Self::CopyMemory | Self::FillMemory | Self::CheckStack => true,
            Self::CallIndirect | Self::ReturnCall | Self::ReturnCallIndirect => true,
            _ => false,
        };
        if is_new { 2 } else { 1 }
    }

    /// Whether it calls another function: its operands lie in the table of operands.
    #[inline]
    pub fn is_call(self) -> bool {
        matches!(
            self,
            Self::Call | Self::CallIndirect | Self::ReturnCall | Self::ReturnCallIndirect
        )
    }

    /// The name in the text form; branches on a condition have `br_` in front of it, conditional traps `trap_`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unary(unary) => unary.name(),
            Self::Binary(binary) => binary.name(),
            Self::Compare(condition) => condition.name(),
            Self::Branch(condition) => BRANCHES.get(condition as usize).copied().unwrap_or(""),
            Self::TrapCompare(condition) => TRAPS.get(condition as usize).copied().unwrap_or(""),
            _ => self.plain_name(),
        }
    }

    /// The opcode with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        let codes = 0..IMMEDIATE;
        codes
            .filter_map(Self::from_code)
            .map(|(opcode, _)| opcode)
            .find(|opcode| opcode.name() == name)
    }

    /// The types that it is defined for; `None` if its instructions name no type.
    #[inline]
    pub fn types(self) -> Option<TypeSet> {
        if !self.names_type() {
            return None;
        }
        Some(match self {
            Self::Unary(unary) => unary.types(),
            Self::Binary(binary) => binary.types(),
            Self::Compare(condition) | Self::Branch(condition) | Self::TrapCompare(condition) => {
                condition.types()
            }
            _ => TypeSet::SCALARS,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_names_lead_back() {
        let mut known = 0;
        for code in 0..=u8::MAX {
            let Some((opcode, immediate)) = Opcode::from_code(code) else { continue };
            assert_eq!(opcode.code(immediate), code, "{opcode:?}");
            assert_eq!(Opcode::from_name(opcode.name()), Some(opcode));
            assert_eq!(immediate, code >= 0x80);
            known += 1;
        }
        assert_eq!(known, PLAIN.len() + 2 + 4 + 2 * (14 + 6 + 6 + 6));
    }

    #[test]
    fn codes_are_those_of_the_table() {
        let code = |name| Opcode::from_name(name).unwrap().code(false);
        assert_eq!(["neg", "not", "add", "shr"].map(code), [0x08, 0x09, 0x10, 0x19]);
        assert_eq!(["eq", "ge", "br_eq", "br_ge"].map(code), [0x20, 0x25, 0x30, 0x35]);
        assert_eq!(Opcode::Branch(Condition::Less).code(true), 0xb2);
        assert_eq!(Opcode::from_name("hop"), None);
    }

    #[test]
    fn a_swapped_condition_says_the_same() {
        let holds = |condition, a: i32, b: i32| match condition {
            Condition::Equal => a == b,
            Condition::NotEqual => a != b,
            Condition::Less => a < b,
            Condition::LessEqual => a <= b,
            Condition::Greater => a > b,
            Condition::GreaterEqual => a >= b,
        };
        for &condition in Condition::ALL {
            for (a, b) in [(1, 2), (2, 2), (3, 2)] {
                assert_eq!(holds(condition, a, b), holds(condition.swapped(), b, a));
            }
        }
    }
}
