//! `==` and `!=` of structs and tuples: field by field.

use super::*;
use crate::ir::{Binary, Condition};

/// The most scalars that one comparison compares.
pub(super) const MAX_SCALARS: usize = 256;

/// The most scalars, structs and tuples that are looked at: structs may have no scalars, or, in error, contain themselves.
const MAX_PARTS: usize = 4 * MAX_SCALARS;

/// Why values of a type have no `==`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoEquality {
    /// A part of them, or the type itself, has none.
    Part(TypeId),
    /// They have more than [`MAX_SCALARS`] parts.
    Size,
}

impl Body<'_, '_, '_> {
    /// `left == right` or `left != right` of structs or tuples of one type whose fields are scalars, structs and tuples;
    /// `None` for other operands.
    pub(super) fn compare_aggregates(
        &mut self,
        condition: Condition,
        left: Typed,
        right: Typed,
    ) -> Option<Typed> {
        let is_equality = matches!(condition, Condition::Equal | Condition::NotEqual);
        let (Value::Place(one), Value::Place(two)) = (left.value, right.value) else { return None };
        if !is_equality || left.ty != right.ty {
            return None;
        }
        let mut scalars = Vec::new();
        self.add_scalars(left.ty, &mut scalars).ok()?;
        let result = self.builder.local(Scalar::Bool);
        self.builder.constant(Scalar::Bool, result, 1);
        for (ty, offset) in scalars {
            let one = self.load(Self::inside(one, offset), ty);
            let two = self.load(Self::inside(two, offset), ty);
            let (one, two) = (self.local_of(one), self.local_of(two));
            let is_same = self.builder.local(Scalar::Bool);
            let value_type = self.value_type(ty);
            self.builder.compare(Condition::Equal, value_type, is_same, one, two);
            self.builder.binary(Binary::And, Scalar::Bool, result, result, is_same);
        }
        if condition == Condition::NotEqual {
            self.builder.unary(crate::ir::Unary::Not, Scalar::Bool, result, result);
        }
        Some(Typed::local(TypeId::BOOL, result))
    }

    /// Whether values of the type have `==`.
    pub(super) fn has_equality(&mut self, ty: TypeId) -> Result<(), NoEquality> {
        self.add_scalars(ty, &mut Vec::new())
    }

    /// Adds the scalars that are compared, with their offsets.
    fn add_scalars(
        &mut self,
        ty: TypeId,
        scalars: &mut Vec<(TypeId, u32)>,
    ) -> Result<(), NoEquality> {
        // The next part is the last one.
        let (mut parts, mut count) = (Vec::new(), 0);
        self.program().diagnostics.push(&mut parts, (ty, 0_u32));
        while let Some((ty, offset)) = parts.pop() {
            count += 1;
            match (self.head(ty), self.repr(ty)) {
                (Head::Struct(_) | Head::Tuple, Repr::Memory) if count <= MAX_PARTS => {
                    for field in self.program().fields_of(ty, 0).iter().rev() {
                        let at = offset.saturating_add(field.offset);
                        self.program().diagnostics.push(&mut parts, (field.ty, at));
                    }
                }
                (_, Repr::Scalar(ValueType::Scalar(_))) if scalars.len() < MAX_SCALARS => {
                    self.program().diagnostics.push(scalars, (ty, offset));
                }
                (Head::Struct(_) | Head::Tuple, Repr::Memory)
                | (_, Repr::Scalar(ValueType::Scalar(_))) => return Err(NoEquality::Size),
                _ => return Err(NoEquality::Part(ty)),
            }
        }
        Ok(())
    }
}
