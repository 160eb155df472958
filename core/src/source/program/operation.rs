//! Operations on values that are known at compile time, for constants and for functions alike: which type a literal
//! takes, and what is computed in it.
//!
//! An operation that has no value here, such as a division by zero or one of two types, is left to the lowering of
//! functions, which emits its instructions or reports the error.

use super::*;
use crate::ir::Scalar;
use crate::source::literal::nearest_f32;

/// A value at compile time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::source) enum ConstValue {
    /// Of a literal its own value, otherwise modulo the width of the type, with its sign.
    Integer(i128),
    Float(f64),
    Bool(bool),
    /// The number of a text in the tree of a source.
    Text(u32, u32),
}

/// A value with its type.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::source) struct Evaluated {
    pub(in crate::source) value: ConstValue,
    pub(in crate::source) ty: TypeId,
    /// Whether the type is that of a literal without one, which any number type replaces.
    pub(in crate::source) is_flexible: bool,
}

impl Evaluated {
    pub(in crate::source) fn new(ty: TypeId, value: ConstValue) -> Self {
        Self { value, ty, is_flexible: false }
    }

    fn is_integer(self) -> bool {
        matches!(self.value, ConstValue::Integer(_))
    }
}

/// `value` modulo the width of `scalar`.
pub(in crate::source) fn wrap(value: i128, scalar: Scalar) -> i128 {
    let bits = scalar.bits();
    let modulus = 1_i128 << bits;
    let low = value & (modulus - 1);
    if scalar.is_signed() && low >= modulus / 2 { low - modulus } else { low }
}

/// Whether `value` is a value of `scalar`.
pub(crate) fn fits(value: i128, scalar: Scalar) -> bool {
    wrap(value, scalar) == value
}

/// Whether it is a type of integers.
fn is_integer(scalar: Scalar) -> bool {
    !scalar.is_float() && scalar != Scalar::Bool
}

/// An integer literal; `None` if it does not fit the type of its suffix.
pub(in crate::source) fn integer_literal(number: i128, suffix: Suffix) -> Option<Evaluated> {
    let value = match suffix {
        Some(scalar) if scalar.is_float() => ConstValue::Float(nearest_to(number, scalar)),
        Some(scalar) if !fits(number, scalar) => return None,
        _ => ConstValue::Integer(number),
    };
    let ty = suffix.map_or(TypeId::I64, TypeId::scalar);
    Some(Evaluated { value, ty, is_flexible: suffix.is_none() })
}

/// A literal with a fraction, by its text and the bits of an f64. In the place of an f32 it has another value if it would be
/// rounded twice.
pub(in crate::source) fn float_literal(
    (text, bits): (&str, u64),
    suffix: Suffix,
    wanted: Option<Scalar>,
) -> Evaluated {
    let mut value = rounded(f64::from_bits(bits), suffix.unwrap_or(Scalar::F64));
    if suffix.is_none()
        && wanted == Some(Scalar::F32)
        // Parentheses around it are part of its place.
        && let Some(nearest) = nearest_f32(text.trim_matches(['(', ')', ' ', '\t', '\n', '\r']))
        && nearest.to_bits() != rounded(value, Scalar::F32).to_bits()
    {
        value = nearest;
    }
    let ty = suffix.map_or(TypeId::F64, TypeId::scalar);
    Evaluated { value: ConstValue::Float(value), ty, is_flexible: suffix.is_none() }
}

/// A literal with the type that it has without a context. Beyond the largest i64 it states the bits.
pub(in crate::source) fn settled(value: Evaluated) -> Evaluated {
    match value.value {
        ConstValue::Integer(number) if value.is_flexible => {
            Evaluated::new(value.ty, ConstValue::Integer(wrap(number, Scalar::I64)))
        }
        _ => Evaluated { is_flexible: false, ..value },
    }
}

/// The type that is wanted of the operand behind one of type `ty`: that one, or if it is of a literal, what the context
/// wants. A count and an exponent have a type of their own.
pub(in crate::source) fn beside(
    op: BinaryOp,
    (ty, is_flexible): (TypeId, bool),
    wanted: Option<TypeId>,
) -> Option<TypeId> {
    match is_flexible {
        _ if op.is_of_left_type() => None,
        true => wanted.or(Some(ty)),
        false => Some(ty),
    }
}

/// Whether a literal that a type does not have is a number of its kind, which is out of range.
pub(in crate::source) fn is_out_of_range(value: Evaluated, scalar: Option<Scalar>) -> bool {
    let is_of_kind = |scalar: Scalar| match value.value {
        ConstValue::Integer(_) => scalar != Scalar::Bool,
        ConstValue::Float(_) => scalar.is_float(),
        _ => false,
    };
    value.is_flexible && scalar.is_some_and(is_of_kind)
}

/// `value as ty`, which is a `scalar`. A literal has its own value, not the bits of an i64.
pub(in crate::source) fn cast(value: Evaluated, ty: TypeId, scalar: Scalar) -> Option<Evaluated> {
    let value = match value.value {
        ConstValue::Integer(number) if scalar.is_float() => {
            ConstValue::Float(nearest_to(number, scalar))
        }
        ConstValue::Integer(number) if scalar == Scalar::Bool => ConstValue::Bool(number != 0),
        ConstValue::Integer(number) => ConstValue::Integer(wrap(number, scalar)),
        ConstValue::Bool(value) if is_integer(scalar) => ConstValue::Integer(value.into()),
        ConstValue::Float(number) if scalar.is_float() => {
            ConstValue::Float(rounded(number, scalar))
        }
        _ => return None,
    };
    Some(Evaluated::new(ty, value))
}

impl Program<'_, '_> {
    /// The scalar that a type is.
    pub(in crate::source) fn scalar(&self, ty: TypeId) -> Option<Scalar> {
        match self.types.head(ty) {
            Head::Scalar(scalar) => Some(scalar),
            _ => None,
        }
    }

    /// The type that is wanted, if it is one of numbers.
    pub(in crate::source) fn number_type(&self, wanted: Option<TypeId>) -> Option<TypeId> {
        wanted.filter(|&ty| self.scalar(ty).is_some_and(|scalar| scalar != Scalar::Bool))
    }

    /// A value as one of `wanted` where that is implied: literals, and values of the same or a narrower type.
    pub(in crate::source) fn convert_literal(
        &self,
        value: Evaluated,
        wanted: TypeId,
    ) -> Option<Evaluated> {
        if !value.is_flexible {
            let is_implied =
                value.ty == wanted || is_wider(self.scalar(wanted)?, self.scalar(value.ty)?);
            return is_implied.then_some(Evaluated { ty: wanted, ..value });
        }
        let scalar = self.scalar(wanted)?;
        let converted = match value.value {
            ConstValue::Integer(number) if scalar.is_float() => {
                ConstValue::Float(nearest_to(number, scalar))
            }
            ConstValue::Integer(number) if scalar != Scalar::Bool => {
                let is_bits = number >= 0 && number <= i128::from(u64::MAX) && scalar.bits() == 64;
                let fits = fits(number, scalar) || is_bits;
                ConstValue::Integer(fits.then(|| wrap(number, scalar))?)
            }
            ConstValue::Float(number) if scalar.is_float() => {
                let nearest = rounded(number, scalar);
                (nearest.is_finite() || !number.is_finite())
                    .then_some(ConstValue::Float(nearest))?
            }
            _ => return None,
        };
        Some(Evaluated::new(wanted, converted))
    }

    /// An operation on one value.
    pub(in crate::source) fn unary(
        &self,
        op: UnaryOp,
        operand: Evaluated,
        wanted: Option<TypeId>,
    ) -> Option<Evaluated> {
        // A literal is in range or not once its type is known: `-9223372036854775808` is.
        let scalar = self.scalar(operand.ty)?;
        let in_type = |value| if operand.is_flexible { value } else { wrap(value, scalar) };
        let value = match (op, operand.value) {
            (UnaryOp::Negate, ConstValue::Integer(value)) => {
                ConstValue::Integer(in_type(value.checked_neg()?))
            }
            (UnaryOp::Negate, ConstValue::Float(value)) => ConstValue::Float(-value),
            (UnaryOp::Complement, ConstValue::Integer(value)) if operand.is_flexible => {
                ConstValue::Integer(complement(value, wanted.and_then(|ty| self.scalar(ty))))
            }
            (UnaryOp::Complement, ConstValue::Integer(value)) => {
                ConstValue::Integer(in_type(!value))
            }
            (UnaryOp::Not, ConstValue::Bool(value)) => ConstValue::Bool(!value),
            _ => return None,
        };
        Some(Evaluated { value, ..operand })
    }

    /// An operation on two values.
    pub(in crate::source) fn binary(
        &self,
        op: BinaryOp,
        left: Evaluated,
        right: Evaluated,
        wanted: Option<TypeId>,
    ) -> Option<Evaluated> {
        let (left, right) = self.by_left_type(op, left, right, wanted);
        let ty = match (left.is_flexible, right.is_flexible) {
            _ if left.ty == right.ty => left.ty,
            (true, true) => TypeId::F64,
            (true, false) => right.ty,
            (false, true) => left.ty,
            (false, false) => return None,
        };
        let is_flexible = left.is_flexible && right.is_flexible;
        let fit = |side: Evaluated| match is_flexible && side.ty == ty {
            true => Some(side),
            false => self.convert_literal(side, ty),
        };
        let (left, right) = (fit(left)?.value, fit(right)?.value);
        let (scalar, wanted) = (self.scalar(ty)?, wanted.and_then(|ty| self.scalar(ty)));
        let order = match (left, right) {
            (ConstValue::Integer(a), ConstValue::Integer(b)) => a.partial_cmp(&b),
            (ConstValue::Float(a), ConstValue::Float(b)) => a.partial_cmp(&b),
            (ConstValue::Bool(a), ConstValue::Bool(b)) if !op.is_order() => a.partial_cmp(&b),
            _ => return None,
        };
        let holds = match (op, left, right) {
            (BinaryOp::And, ConstValue::Bool(a), ConstValue::Bool(b)) => Some(a && b),
            (BinaryOp::Or, ConstValue::Bool(a), ConstValue::Bool(b)) => Some(a || b),
            _ => compare(op, order),
        };
        if let Some(holds) = holds {
            return Some(Evaluated::new(TypeId::BOOL, ConstValue::Bool(holds)));
        }
        let value = match (left, right) {
            (ConstValue::Integer(a), ConstValue::Integer(b)) if is_flexible => {
                ConstValue::Integer(fold_literals(op, a, b, wanted)?)
            }
            (ConstValue::Integer(a), ConstValue::Integer(b)) => {
                ConstValue::Integer(integer(op, a, b, scalar)?)
            }
            // Rounded as at run time.
            (ConstValue::Float(a), ConstValue::Float(b)) => {
                ConstValue::Float(rounded(float(op, a, b)?, scalar))
            }
            _ => return None,
        };
        Some(Evaluated { value, ty, is_flexible })
    }

    /// The operands of a shift or power in the type of the left one; others as they are.
    fn by_left_type(
        &self,
        op: BinaryOp,
        left: Evaluated,
        right: Evaluated,
        wanted: Option<TypeId>,
    ) -> (Evaluated, Evaluated) {
        let are_integers = left.is_integer() && right.is_integer();
        if !op.is_of_left_type() || right.is_flexible || !are_integers {
            return (left, right);
        }
        let left = settled(self.wanted_base(left, wanted));
        (left, Evaluated { ty: left.ty, ..right })
    }

    /// The literal on the left of a shift or power by a value, in the type that the context wants.
    pub(in crate::source) fn wanted_base(
        &self,
        left: Evaluated,
        wanted: Option<TypeId>,
    ) -> Evaluated {
        let wanted = wanted.and_then(|ty| Some((ty, self.scalar(ty)?)));
        match (left.value, wanted) {
            (ConstValue::Integer(number), Some((ty, scalar)))
                if left.is_flexible && is_integer(scalar) && fits(number, scalar) =>
            {
                Evaluated::new(ty, left.value)
            }
            _ => left,
        }
    }
}

/// The value of a float type that is nearest to an integer.
#[expect(clippy::cast_precision_loss, reason = "the nearest value is the result")]
fn nearest_to(value: i128, scalar: Scalar) -> f64 {
    if scalar == Scalar::F32 { f64::from(value as f32) } else { value as f64 }
}

/// The value of a float type that is nearest to a number.
#[expect(clippy::cast_possible_truncation, reason = "the nearest value is the result")]
pub(in crate::source) fn rounded(value: f64, scalar: Scalar) -> f64 {
    if scalar == Scalar::F32 { f64::from(value as f32) } else { value }
}

fn compare(op: BinaryOp, order: Option<core::cmp::Ordering>) -> Option<bool> {
    Some(match op {
        BinaryOp::Equal => order.is_some_and(|order| order.is_eq()),
        BinaryOp::NotEqual => !order.is_some_and(|order| order.is_eq()),
        BinaryOp::Less => order.is_some_and(|order| order.is_lt()),
        BinaryOp::LessEqual => order.is_some_and(|order| order.is_le()),
        BinaryOp::Greater => order.is_some_and(|order| order.is_gt()),
        BinaryOp::GreaterEqual => order.is_some_and(|order| order.is_ge()),
        _ => return None,
    })
}

/// An operation on two floats.
fn float(op: BinaryOp, a: f64, b: f64) -> Option<f64> {
    Some(match op {
        BinaryOp::Add => a + b,
        BinaryOp::Subtract => a - b,
        BinaryOp::Multiply => a * b,
        BinaryOp::Divide => a / b,
        _ => return None,
    })
}

/// An operation on two literals. It is one of i64, or of u64 where that is wanted and holds both
/// operands and the sum, difference or product.
fn fold_literals(op: BinaryOp, a: i128, b: i128, wanted: Option<Scalar>) -> Option<i128> {
    let exact = match op {
        BinaryOp::Add => a.checked_add(b),
        BinaryOp::Subtract => a.checked_sub(b),
        BinaryOp::Multiply => a.checked_mul(b),
        _ => Some(0),
    };
    let all_fit = [Some(a), Some(b), exact].iter().all(|v| v.is_some_and(|v| fits(v, Scalar::U64)));
    match wanted {
        Some(Scalar::U64) if all_fit => integer(op, a, b, Scalar::U64),
        // Beyond the largest i64 a literal states the bits.
        _ => integer(op, wrap(a, Scalar::I64), wrap(b, Scalar::I64), Scalar::I64),
    }
}

/// `~value` of a literal: of the unsigned type that is wanted, otherwise of i64.
fn complement(value: i128, wanted: Option<Scalar>) -> i128 {
    match wanted.filter(|&scalar| is_integer(scalar)) {
        Some(scalar) if fits(value, scalar) => wrap(!value, scalar),
        _ => !wrap(value, Scalar::I64),
    }
}

/// Whether a number of type `from` becomes one of `to` without `as`: a wider one of its kind.
pub(in crate::source) fn is_wider(to: Scalar, from: Scalar) -> bool {
    let is_number = |scalar| !matches!(scalar, Scalar::Bool | Scalar::Pointer);
    let of_kind = |scalar: Scalar| (scalar.is_float(), scalar.is_signed());
    is_number(from) && is_number(to) && of_kind(from) == of_kind(to) && from.bits() < to.bits()
}

fn integer(op: BinaryOp, a: i128, b: i128, scalar: Scalar) -> Option<i128> {
    let shift = u32::try_from(b & i128::from(scalar.bits() - 1)).ok()?;
    let value = match op {
        BinaryOp::Add => a.checked_add(b)?,
        BinaryOp::Subtract => a.checked_sub(b)?,
        BinaryOp::Multiply => a.checked_mul(b)?,
        BinaryOp::Divide => a.checked_div(b)?,
        BinaryOp::Remainder => a.checked_rem(b)?,
        BinaryOp::BitAnd => a & b,
        BinaryOp::BitOr => a | b,
        BinaryOp::BitXor => a ^ b,
        BinaryOp::ShiftLeft => a.checked_shl(shift)?,
        BinaryOp::ShiftRight => a >> shift,
        BinaryOp::Power => {
            let exponent = u32::try_from(b).ok()?;
            let mut result = 1_i128;
            for _ in 0..exponent.min(4096) {
                result = wrap(result.checked_mul(a)?, scalar);
            }
            (exponent <= 4096).then_some(result)?
        }
        _ => return None,
    };
    Some(wrap(value, scalar))
}
