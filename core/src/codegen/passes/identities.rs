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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::interpret::value::{apply, apply_unary, truncate};

    const NUMBERS: [i32; 16] =
        [0, 1, -1, 2, 3, 4, 7, 8, 16, 64, 127, -128, 256, 65536, i32::MAX, i32::MIN];

    /// What `i` computes of `left`.
    fn result(i: &Instruction, scalar: Scalar, left: u64) -> u64 {
        let bits = match i.opcode {
            Opcode::Binary(binary) => {
                apply(binary, scalar, left, number(i.imm, scalar)).expect("no trap")
            }
            Opcode::Unary(unary) => apply_unary(unary, scalar, left),
            other => panic!("{other:?}"),
        };
        truncate(bits, scalar)
    }

    #[test]
    fn identities_of_integers_hold_for_all_types() {
        let mut found = 0;
        for scalar in Scalar::ALL.into_iter().filter(|scalar| !scalar.is_float()) {
            for &binary in Binary::ALL.iter().filter(|binary| binary.types().has(scalar.into())) {
                for imm in NUMBERS {
                    let opcode = Opcode::Binary(binary);
                    let i = plain(opcode, scalar.code(), [0, 1, 0], imm);
                    let i = Instruction { immediate: true, ..i };
                    let Some(identity) = immediate(&i, binary, scalar) else { continue };
                    found += 1;
                    for left in NUMBERS.map(|left| number(left, scalar)) {
                        let expected = result(&i, scalar, left);
                        let got = match identity {
                            First => left,
                            Value(bits) => bits,
                            To(new) => result(&new, scalar, left),
                        };
                        assert_eq!(got, expected, "{binary:?} {scalar} {imm} of {left:x}");
                    }
                }
            }
        }
        assert!(found > 300, "{found}");
    }

    #[test]
    fn identities_of_equal_values_hold() {
        for scalar in Scalar::ALL {
            for &binary in Binary::ALL.iter().filter(|binary| binary.types().has(scalar.into())) {
                let i = plain(Opcode::Binary(binary), scalar.code(), [0, 1, 1], 0);
                let Some(identity) = same(&i, binary, scalar) else { continue };
                for left in NUMBERS.map(|left| number(left, scalar)) {
                    let expected = apply(binary, scalar, left, left).unwrap();
                    let got = if identity == First { left } else { 0 };
                    assert_eq!(got, truncate(expected, scalar), "{binary:?} {scalar}");
                }
            }
        }
    }

    #[test]
    fn identities_of_floats_are_exact() {
        let values = [0.0, -0.0, 1.0, -1.5, f64::MIN_POSITIVE, 1e308, f64::INFINITY];
        let mut found = 0;
        for binary in [Binary::Add, Binary::Subtract, Binary::Multiply, Binary::Divide] {
            for right in values.map(f64::to_bits) {
                if !is_exact(binary, Scalar::F64, right) {
                    continue;
                }
                found += 1;
                for left in values.map(f64::to_bits) {
                    assert_eq!(apply(binary, Scalar::F64, left, right), Some(left), "{binary:?}");
                }
            }
        }
        assert_eq!(found, 3);
    }
}
