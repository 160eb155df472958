//! The operations of the IR: codes, names and fields.
//!
//! The table of the format is in the description of the room above.

use super::TypeSet;

macro_rules! names {
    ($(#[$about:meta])* $name:ident $first:literal: $($item:ident $text:literal $what:literal,)*) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name {
            $(#[doc = $what] $item,)*
        }

        impl $name {
            /// All of them, in the order of their codes.
            pub const ALL: &[Self] = &[$(Self::$item,)*];

            /// The name in the text form.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$item => $text,)*
                }
            }

            /// The code of the first of its kind; those of the others follow.
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
    Negate "neg" "The value below 0 that is as far from it; integers wrap.",
    Not "not" "All bits of an integer, or a bool, turned over.",
    SquareRoot "sqrt" "The square root of a floating-point value; version 2.",
    Absolute "abs" "A floating-point value without its sign; version 2.",
}

names! {
    /// An operation on two values of one type.
    Binary 0x10:
    Add "add" "The sum; integers wrap.",
    Subtract "sub" "The difference; integers wrap.",
    Multiply "mul" "The product; integers wrap.",
    Divide "div" "The quotient, towards 0; by 0 it traps in integers; the lowest by -1 wraps.",
    Remainder "rem" "What the quotient leaves, with the sign of the dividend; by 0 it traps.",
    And "and" "The bits that are in both.",
    Or "or" "The bits that are in one or both.",
    Xor "xor" "The bits that are in one alone.",
    ShiftLeft "shl" "The bits moved up by the second value modulo the width.",
    ShiftRight "shr" "The bits moved down by the second value modulo the width; signed types keep the sign.",
    AddChecked "add_checked" "The sum of integers; traps with code 2 where it wraps; version 2.",
    SubtractChecked "sub_checked" "The difference of integers; traps with code 2 where it wraps; version 2.",
    MultiplyChecked "mul_checked" "The product of integers; traps with code 2 where it wraps; version 2.",
    RotateLeft "rotl" "The bits rotated up by the second value modulo the width; version 2.",
}

names! {
    /// How two values of one type stand to each other. Where a floating-point value is no number,
    /// only `NotEqual` holds. Addresses are compared as numbers without a sign.
    Condition 0x20:
    Equal "eq" "The same.",
    NotEqual "ne" "Not the same.",
    Less "lt" "The first one smaller.",
    LessEqual "le" "The first one not greater.",
    Greater "gt" "The first one greater.",
    GreaterEqual "ge" "The first one not smaller.",
}

impl Binary {
    /// The types that it has a meaning for.
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
    pub fn is_checked(self) -> bool {
        matches!(self, Self::AddChecked | Self::SubtractChecked | Self::MultiplyChecked)
    }

    /// Whether it traps for some values: divisions, and operations that check for overflow.
    pub fn can_trap(self) -> bool {
        matches!(self, Self::Divide | Self::Remainder) || self.is_checked()
    }

    /// Whether its values may change places.
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
    /// The types that it has a meaning for.
    pub fn types(self) -> TypeSet {
        match self {
            Self::Negate => TypeSet::NUMBERS,
            Self::Not => TypeSet::BITS,
            Self::SquareRoot | Self::Absolute => TypeSet::FLOATS,
        }
    }
}

impl Condition {
    /// The types that it has a meaning for.
    pub fn types(self) -> TypeSet {
        match self {
            Self::Equal | Self::NotEqual => TypeSet::SCALARS,
            _ => TypeSet::ORDERED,
        }
    }

    /// The condition that says the same of the values in the other order.
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
}

/// What an instruction does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Opcode {
    /// Sets a local to the number in the instruction.
    Constant,
    /// Sets a local to bits out of the table of constants.
    WideConstant,
    /// Copies a local.
    Move,
    /// Sets a local of type i64 or u64 to the bytes of a value of the type.
    SizeOf,
    /// Sets a local to the value of another one of another type, as Rust's `as` does.
    Convert,
    /// One value in, one out.
    Unary(Unary),
    /// Two values in, one out; the second may be the number in the instruction.
    Binary(Binary),
    /// Sets a local of type bool to whether a condition holds.
    Compare(Condition),
    /// Goes elsewhere when a condition holds.
    Branch(Condition),
    /// Goes elsewhere.
    Jump,
    /// Goes elsewhere when a bool is as said.
    BranchIf(bool),
    /// Reads from an address and a distance in bytes.
    Load,
    /// Writes to an address and a distance in bytes.
    Store,
    /// Reads an element of an array.
    LoadElement,
    /// Writes an element of an array.
    StoreElement,
    /// The address of an element of an array.
    Element,
    /// Calls another instance, or the host.
    Call,
    /// Leaves the function with a value.
    Return,
    /// Leaves a function that has no result.
    ReturnNone,
    /// Leaves the function with an error.
    Trap,
    /// Leaves the function with an error when a condition holds.
    TrapCompare(Condition),
    /// Leaves the function with an error when a bool is as said.
    TrapIf(bool),
    /// One of two values, by a bool.
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
    /// Leaves the function with an error when its frame would reach below an address in memory.
    CheckStack,
    /// Calls the function at an address.
    CallIndirect,
    /// Leaves the function by a call, whose result becomes that of this function.
    ReturnCall,
    /// The same for a function at an address.
    ReturnCallIndirect,
}

/// How far the code of a conditional trap lies behind that of the comparison with its condition.
const TRAP: u8 = 0x40;

/// How far the code of a branch lies behind that of the comparison with its condition.
const BRANCH: u8 = 0x10;

/// The bit of the code that says that the second value is a number in the instruction.
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

/// The opcodes by code, and whether the second value is a number.
static BY_CODE: [Option<(Opcode, bool)>; 256] = by_code();

#[expect(
    clippy::indexing_slicing,
    reason = "evaluated by the compiler, which refuses what is outside"
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
        let code = Binary::FIRST as usize + at;
        table[code] = Some((Opcode::Binary(Binary::ALL[at]), false));
        table[code | IMMEDIATE as usize] = Some((Opcode::Binary(Binary::ALL[at]), true));
        at += 1;
    }
    at = 0;
    while at < Condition::ALL.len() {
        let (code, condition) = (Condition::FIRST as usize + at, Condition::ALL[at]);
        table[code] = Some((Opcode::Compare(condition), false));
        table[code | IMMEDIATE as usize] = Some((Opcode::Compare(condition), true));
        let code = code + BRANCH as usize;
        table[code] = Some((Opcode::Branch(condition), false));
        table[code | IMMEDIATE as usize] = Some((Opcode::Branch(condition), true));
        let code = Condition::FIRST as usize + at + TRAP as usize;
        table[code] = Some((Opcode::TrapCompare(condition), false));
        table[code | IMMEDIATE as usize] = Some((Opcode::TrapCompare(condition), true));
        at += 1;
    }
    let copy = Opcode::CopyMemory;
    table[0x48 | IMMEDIATE as usize] = Some((copy, true));
    table[0x49 | IMMEDIATE as usize] = Some((Opcode::FillMemory, true));
    table
}

impl Opcode {
    /// The opcode with this code, and whether its second value is a number in the instruction.
    #[inline]
    pub fn from_code(code: u8) -> Option<(Self, bool)> {
        BY_CODE.get(usize::from(code)).copied().flatten()
    }

    /// Its code, with the bit for a number when `immediate`.
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

    /// Whether the instruction behind it is never reached from it.
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
            Self::Branch(condition) => match condition {
                Condition::Equal => "br_eq",
                Condition::NotEqual => "br_ne",
                Condition::Less => "br_lt",
                Condition::LessEqual => "br_le",
                Condition::Greater => "br_gt",
                Condition::GreaterEqual => "br_ge",
            },
            Self::TrapCompare(condition) => match condition {
                Condition::Equal => "trap_eq",
                Condition::NotEqual => "trap_ne",
                Condition::Less => "trap_lt",
                Condition::LessEqual => "trap_le",
                Condition::Greater => "trap_gt",
                Condition::GreaterEqual => "trap_ge",
            },
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

    /// The types that it has a meaning for; `None` when it names none.
    #[inline]
    pub fn types(self) -> Option<TypeSet> {
        Some(match self {
            Self::Jump | Self::BranchIf(_) | Self::ReturnNone | Self::Trap | Self::TrapIf(_) => {
                return None;
            }
            Self::Call | Self::CallIndirect | Self::ReturnCall | Self::ReturnCallIndirect => {
                return None;
            }
            Self::SlotAddress | Self::DataAddress | Self::FunctionAddress => return None,
            Self::CopyMemory | Self::FillMemory | Self::CheckStack => return None,
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
