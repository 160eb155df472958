//! Operations that are simpler for some second values.

use super::edit::{immediate_of, plain};
use crate::ir::instruction::Instruction;
use crate::ir::interpret::number;
use crate::ir::opcode::{Binary, Opcode, Unary};
use crate::ir::types::Scalar;

/// What an operation amounts to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Identity {
    /// Its first value.
    First,
    /// A value with these bits.
    Value(u64),
    /// Another instruction.
    To(Instruction),
}

use Identity::{First, To, Value};

/// The identity of an operation of integers or bools whose second value is a number in the instruction.
pub(super) fn immediate(i: &Instruction, binary: Binary, scalar: Scalar) -> Option<Identity> {
    let value = number(i.imm, scalar);
    let ones = number(-1, scalar);
    match (binary, value) {
        (Binary::Add | Binary::Subtract | Binary::Or | Binary::Xor, 0) => Some(First),
        (Binary::AddChecked | Binary::SubtractChecked, 0) => Some(First),
        (Binary::Multiply | Binary::MultiplyChecked | Binary::And, 0) => Some(Value(0)),
        (Binary::Multiply | Binary::MultiplyChecked | Binary::Divide, 1) => Some(First),
        (Binary::Remainder, 1) => Some(Value(0)),
        (Binary::And, _) if value == ones => Some(First),
        (Binary::Or, _) if value == ones => Some(Value(ones)),
        (Binary::Multiply, _) if value == ones => Some(To(unary(i, Unary::Negate))),
        (Binary::Divide, _) if value == ones && scalar.is_signed() => {
            Some(To(unary(i, Unary::Negate)))
        }
        (Binary::Remainder, _) if value == ones && scalar.is_signed() => Some(Value(0)),
        (Binary::Xor, _) if value == ones => Some(To(unary(i, Unary::Not))),
        (Binary::ShiftLeft | Binary::ShiftRight | Binary::RotateLeft, _) => {
            (value & u64::from(scalar.bits() - 1) == 0).then_some(First)
        }
        _ if value.is_power_of_two() => power(i, binary, scalar, value),
        _ => None,
    }
}

fn unary(i: &Instruction, unary: Unary) -> Instruction {
    plain(Opcode::Unary(unary), i.type_code, [i.a, i.b, 0], 0)
}

/// A multiplication by a power of two shifts; so does a division without sign, and its remainder is a mask.
fn power(i: &Instruction, binary: Binary, scalar: Scalar, value: u64) -> Option<Identity> {
    let shift = i32::try_from(value.trailing_zeros()).ok()?;
    let (binary, imm) = match binary {
        Binary::Multiply => (Binary::ShiftLeft, shift),
        Binary::Divide if !scalar.is_signed() => (Binary::ShiftRight, shift),
        Binary::Remainder if !scalar.is_signed() => (Binary::And, immediate_of(scalar, value - 1)?),
        _ => return None,
    };
    Some(To(Instruction { opcode: Opcode::Binary(binary), imm, ..*i }))
}

/// The identity of an operation whose two values are the same local.
pub(super) fn same(i: &Instruction, binary: Binary, scalar: Scalar) -> Option<Identity> {
    if i.b != i.c || scalar.is_float() {
        return None;
    }
    match binary {
        Binary::Subtract | Binary::SubtractChecked | Binary::Xor => Some(Value(0)),
        Binary::And | Binary::Or => Some(First),
        _ => None,
    }
}

/// Whether a floating-point operation with this second value returns the first one for all values. A NaN stays a NaN,
/// whose bits are not specified. The sum with 0 is not exact: that of -0 is 0.
pub(super) fn is_exact(binary: Binary, scalar: Scalar, right: u64) -> bool {
    let is_one = right == number(1, scalar);
    match binary {
        Binary::Multiply | Binary::Divide => scalar.is_float() && is_one,
        Binary::Subtract => scalar.is_float() && right == 0,
        _ => false,
    }
}
