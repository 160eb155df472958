//! `==` and `!=` of structs and tuples: field by field.

use super::*;
use crate::ir::{Binary, Condition};

/// The most scalars that one comparison compares.
const MAX_SCALARS: usize = 256;

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
        self.scalars_of(left.ty, 0, &mut scalars)?;
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

    /// The type of the first part of a struct or tuple that has no `==`.
    pub(super) fn not_compared(&mut self, ty: TypeId) -> Option<TypeId> {
        match (self.head(ty), self.repr(ty)) {
            (Head::Struct(_) | Head::Tuple, Repr::Memory) => {
                let fields = self.program().fields_of(ty, 0);
                fields.iter().find_map(|field| self.not_compared(field.ty))
            }
            (Head::Scalar(_) | Head::Enum(_), Repr::Scalar(ValueType::Scalar(_))) => None,
            _ => Some(ty),
        }
    }

    /// The scalars of a struct or tuple with their offsets; `None` if it has something else, or too many.
    fn scalars_of(
        &mut self,
        ty: TypeId,
        offset: u32,
        scalars: &mut Vec<(TypeId, u32)>,
    ) -> Option<()> {
        match (self.head(ty), self.repr(ty)) {
            (Head::Struct(_) | Head::Tuple, Repr::Memory) => {
                for field in self.program().fields_of(ty, 0) {
                    self.scalars_of(field.ty, offset.saturating_add(field.offset), scalars)?;
                }
                Some(())
            }
            (Head::Scalar(_) | Head::Enum(_), Repr::Scalar(ValueType::Scalar(_)))
                if scalars.len() < MAX_SCALARS =>
            {
                self.program().diagnostics.push(scalars, (ty, offset))
            }
            _ => None,
        }
    }
}
