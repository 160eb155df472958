//! Arithmetic of the interpreter: values of all scalars, as 64 bits of which those above the width are 0.

use crate::ir::opcode::{Binary, Condition, Unary};
use crate::ir::types::Scalar;

/// The bits of a value in a local: those above the width are 0.
pub(crate) fn truncate(bits: u64, scalar: Scalar) -> u64 {
    match scalar {
        Scalar::Bool => u64::from(bits & 0xff != 0),
        _ => bits & (u64::MAX >> (64 - scalar.bits())),
    }
}

/// The value of an integer, with its sign.
pub(crate) fn signed(bits: u64, scalar: Scalar) -> i128 {
    let shift = 64 - scalar.bits();
    let moved = bits << shift;
    match scalar.is_signed() {
        true => (moved.cast_signed() >> shift).into(),
        false => (moved >> shift).into(),
    }
}

/// The lower 64 bits of a value.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "values wrap")]
fn wrap(value: i128) -> u64 {
    value as u64
}

fn f32_of(bits: u64) -> f32 {
    f32::from_bits(u32::try_from(bits & 0xffff_ffff).unwrap_or(0))
}

/// The number as a value of the type.
#[expect(clippy::cast_precision_loss, reason = "the conversion rounds to the nearest value")]
pub(crate) fn number(number: i32, scalar: Scalar) -> u64 {
    match scalar {
        Scalar::F32 => (number as f32).to_bits().into(),
        Scalar::F64 => f64::from(number).to_bits(),
        Scalar::Bool => u64::from(number != 0),
        _ => truncate(i64::from(number).cast_unsigned(), scalar),
    }
}

pub(crate) fn holds(condition: Condition, scalar: Scalar, left: u64, right: u64) -> bool {
    match scalar {
        Scalar::F32 => condition.holds(f32_of(left), f32_of(right)),
        Scalar::F64 => condition.holds(f64::from_bits(left), f64::from_bits(right)),
        _ => condition.holds(signed(left, scalar), signed(right, scalar)),
    }
}

pub(crate) fn apply_unary(unary: Unary, scalar: Scalar, bits: u64) -> u64 {
    match (unary, scalar) {
        (Unary::Negate, Scalar::F32) => bits ^ 0x8000_0000,
        (Unary::Negate, Scalar::F64) => bits ^ (1 << 63),
        (Unary::Negate, _) => bits.wrapping_neg(),
        (Unary::Not, Scalar::Bool) => bits ^ 1,
        (Unary::Not, _) => !bits,
        (Unary::Absolute, Scalar::F32) => bits & 0x7fff_ffff,
        (Unary::Absolute, _) => bits & (u64::MAX >> 1),
        (Unary::SquareRoot, Scalar::F32) => libm::sqrtf(f32_of(bits)).to_bits().into(),
        (Unary::SquareRoot, _) => libm::sqrt(f64::from_bits(bits)).to_bits(),
    }
}

pub(crate) fn apply(binary: Binary, scalar: Scalar, left: u64, right: u64) -> Option<u64> {
    match scalar {
        Scalar::F32 => {
            let result = float(binary, f32_of(left), f32_of(right));
            Some(result.to_bits().into())
        }
        Scalar::F64 => {
            let result = float(binary, f64::from_bits(left), f64::from_bits(right));
            Some(result.to_bits())
        }
        _ => integer(binary, scalar, left, right),
    }
}

/// The four operations that floating-point types have; the verifier refuses the others.
fn float<F>(binary: Binary, left: F, right: F) -> F
where
    F: core::ops::Add<Output = F>
        + core::ops::Sub<Output = F>
        + core::ops::Mul<Output = F>
        + core::ops::Div<Output = F>,
{
    match binary {
        Binary::Subtract => left - right,
        Binary::Multiply => left * right,
        Binary::Divide => left / right,
        _ => left + right,
    }
}

fn integer(binary: Binary, scalar: Scalar, left: u64, right: u64) -> Option<u64> {
    let (a, b) = (signed(left, scalar), signed(right, scalar));
    // Modulo a power of two.
    let shift = u32::try_from(right & u64::from(scalar.bits() - 1)).unwrap_or(0);
    Some(match binary {
        Binary::Add => left.wrapping_add(right),
        Binary::Subtract => left.wrapping_sub(right),
        Binary::Multiply => left.wrapping_mul(right),
        Binary::Divide => wrap(a.checked_div(b)?),
        Binary::Remainder => wrap(a.checked_rem(b)?),
        Binary::And => left & right,
        Binary::Or => left | right,
        Binary::Xor => left ^ right,
        Binary::ShiftLeft => left << shift,
        Binary::ShiftRight => wrap(a >> shift),
        Binary::AddChecked | Binary::SubtractChecked | Binary::MultiplyChecked => {
            return checked(binary, scalar, a, b);
        }
        Binary::RotateLeft => {
            let value = truncate(left, scalar);
            value << shift | value.checked_shr(scalar.bits() - shift).unwrap_or(0)
        }
    })
}

/// The result of an operation that checks for overflow; `None` where it does not fit the type.
fn checked(binary: Binary, scalar: Scalar, left: i128, right: i128) -> Option<u64> {
    let value = match binary {
        Binary::SubtractChecked => left - right,
        // Two numbers of 64 bits without a sign have a product that `i128` does not hold.
        Binary::MultiplyChecked => left.checked_mul(right)?,
        _ => left + right,
    };
    let bits = wrap(value);
    (signed(bits, scalar) == value).then_some(bits)
}

/// `bits`, a value of `from`, as one of `to`: what Rust's `as` gives. A pointer counts as a u64; a
/// number becomes a bool by whether it is not 0.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "the conversions are those of the language"
)]
pub(crate) fn convert(bits: u64, from: Scalar, to: Scalar) -> u64 {
    let float = match from {
        Scalar::F32 => Some(f64::from(f32_of(bits))),
        Scalar::F64 => Some(f64::from_bits(bits)),
        _ => None,
    };
    let Some(value) = float else {
        let value = signed(bits, from);
        return match to {
            Scalar::F32 => (value as f32).to_bits().into(),
            Scalar::F64 => (value as f64).to_bits(),
            Scalar::Bool => u64::from(value != 0),
            _ => truncate(wrap(value), to),
        };
    };
    let result = match to {
        Scalar::I8 => wrap((value as i8).into()),
        Scalar::I16 => wrap((value as i16).into()),
        Scalar::I32 => wrap((value as i32).into()),
        Scalar::I64 => wrap((value as i64).into()),
        Scalar::U8 => (value as u8).into(),
        Scalar::U16 => (value as u16).into(),
        Scalar::U32 => (value as u32).into(),
        Scalar::U64 | Scalar::Pointer => value as u64,
        Scalar::F32 if from == Scalar::F64 => (value as f32).to_bits().into(),
        Scalar::F64 if from == Scalar::F32 => value.to_bits(),
        Scalar::F32 | Scalar::F64 => bits,
        Scalar::Bool => u64::from(value != 0.0),
    };
    truncate(result, to)
}
