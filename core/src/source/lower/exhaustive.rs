//! Whether the arms of a match cover every value of its subject.
//!
//! The arms are the rows of a matrix of patterns, and the parts of the value its columns. The first column is split by the
//! variants of its type, or by the ranges of an integer, and each part is examined for itself (Maranget, "Warnings for
//! pattern matching", 2007).

use super::*;
use crate::alloc_util::{AllocError, try_collect};

/// A match that needs more rows than this, summed over all matrices, counts as incomplete, as the question is NP-complete.
const MAX_ROWS: usize = 10_000;

/// The ranges of more rows than these, of which each is compared with each, count as incomplete.
const MAX_RANGES: usize = 1000;

/// Patterns nested or listed more deeply than this count as incomplete.
const MAX_DEPTH: usize = 100;

/// The patterns of an arm for each column; `None` matches every value.
type Row = Vec<Option<PatternId>>;

/// What a pattern asks of the value in its column.
enum Test {
    Nothing,
    /// The variant with this number; of a bool 0 or 1, of a tuple 0.
    Variant(i128),
    /// A value among more than are listed.
    Other,
}

impl Body<'_, '_, '_> {
    /// Whether every value of `ty` matches an arm without guard.
    pub(super) fn arms_cover(&mut self, arms: List, ty: TypeId) -> bool {
        let tree = self.tree;
        let arms = tree.entries(&tree.arms, arms).filter(|arm| arm.guard.is_none());
        let mut rows = Vec::new();
        let mut covered = Ok(());
        for arm in arms {
            let row = try_collect([Some(arm.pattern)].into_iter());
            covered = covered.and_then(|()| try_push(&mut rows, row?));
        }
        let covered = covered.and_then(|()| self.rows_cover(rows, &[ty], 0, &mut { MAX_ROWS }));
        self.program().diagnostics.allocated(covered).unwrap_or(false)
    }

    fn rows_cover(
        &mut self,
        rows: Vec<Row>,
        types: &[TypeId],
        depth: usize,
        rows_left: &mut usize,
    ) -> Result<bool, AllocError> {
        let Some((&ty, rest)) = types.split_first() else { return Ok(!rows.is_empty()) };
        let rows = self.without_alternatives(rows)?;
        *rows_left = rows_left.saturating_sub(rows.len());
        if rows.is_empty() || depth == MAX_DEPTH || *rows_left == 0 {
            return Ok(false);
        }
        let tests = |row: &Row| !matches!(self.test_of(row, ty), Test::Nothing);
        let is_split = rows.iter().any(tests);
        let is_integer = |scalar: &Scalar| !scalar.is_float() && *scalar != Scalar::Bool;
        let has_ranges = is_split && rows.len() <= MAX_RANGES;
        if let Some(scalar) = self.scalar(ty).filter(|scalar| has_ranges && is_integer(scalar)) {
            return self.ranges_cover(&rows, (ty, scalar), rest, depth, rows_left);
        }
        let variants = match self.head(ty) {
            Head::Scalar(Scalar::Bool) => 2,
            Head::Enum(number) => self.unit.program.enum_variants(number).len(),
            Head::Tuple => 1,
            _ => 0,
        };
        if !is_split || variants == 0 {
            let kept = rows.iter().filter(|row| matches!(self.test_of(row, ty), Test::Nothing));
            let kept = kept.map(|row| try_collect(row.iter().skip(1).copied()));
            let kept = try_collect_all(kept)?;
            return self.rows_cover(kept, rest, depth.saturating_add(1), rows_left);
        }
        for variant in 0..variants {
            let fields = self.payload(ty, variant);
            let types = fields.iter().map(|field| field.ty).chain(rest.iter().copied());
            let types = try_collect(types)?;
            let kept = rows.iter().filter_map(|row| self.with_variant(row, ty, variant, &fields));
            let kept = try_collect_all(kept)?;
            if !self.rows_cover(kept, &types, depth.saturating_add(1), rows_left)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// As [`rows_cover`](Self::rows_cover), where the first column has ranges of an integer.
    fn ranges_cover(
        &mut self,
        rows: &[Row],
        (ty, scalar): (TypeId, Scalar),
        rest: &[TypeId],
        depth: usize,
        rows_left: &mut usize,
    ) -> Result<bool, AllocError> {
        let mut ranges = Vec::new();
        for row in rows {
            try_push(&mut ranges, self.column_range(row, (ty, scalar)))?;
        }
        // Between two neighbours of these values, every value matches the same rows.
        let starts = ranges.iter().flatten().flat_map(|&(low, end)| [low, end]);
        let mut starts = try_collect(starts.chain([lowest(scalar)]).filter(|&v| fits(v, scalar)))?;
        starts.sort_unstable();
        starts.dedup();
        for value in starts {
            let contains = |range: &Option<(i128, i128)>| {
                range.is_some_and(|(low, end)| (low..end).contains(&value))
            };
            let kept = rows.iter().zip(&ranges).filter(|(_, range)| contains(range));
            let kept = kept.map(|(row, _)| try_collect(row.iter().skip(1).copied()));
            let kept = try_collect_all(kept)?;
            if !self.rows_cover(kept, rest, depth.saturating_add(1), rows_left)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The values that the first column takes: from one up to and without another; `None` if they are not known.
    fn column_range(&mut self, row: &Row, (ty, scalar): (TypeId, Scalar)) -> Option<(i128, i128)> {
        let all = (lowest(scalar), lowest(scalar).checked_add(1_i128 << scalar.bits())?);
        let Some(&Some(pattern)) = row.first() else { return Some(all) };
        let (source, kind) = (self.source, self.tree.pattern(pattern).kind);
        let mut value = |id| match self.program().evaluate(source, id, Some(ty))?.value {
            ConstValue::Integer(value) => Some(value),
            _ => None,
        };
        match kind {
            PatternKind::Range { start, end, inclusive } => {
                Some((value(start)?, value(end)?.checked_add(inclusive.into())?))
            }
            PatternKind::Value(id) => {
                value(id).and_then(|value| Some((value, value.checked_add(1)?)))
            }
            PatternKind::Bind(name) => match self.unit.program.item(source, name) {
                Some(Item::Const(number)) => match self.program().constant(number)?.value {
                    ConstValue::Integer(value) => Some((value, value.checked_add(1)?)),
                    _ => None,
                },
                _ => Some(all),
            },
            _ => matches!(self.test_of(row, ty), Test::Nothing).then_some(all),
        }
    }

    /// The rows with one row for each alternative of a pattern in the first column.
    fn without_alternatives(&self, mut rows: Vec<Row>) -> Result<Vec<Row>, AllocError> {
        let tree = self.tree;
        let mut done = Vec::new();
        while let Some(row) = rows.pop() {
            let first = row.first().copied().flatten();
            let Some(PatternKind::Or(parts)) = first.map(|first| tree.pattern(first).kind) else {
                try_push(&mut done, row)?;
                continue;
            };
            for &part in tree.list(parts) {
                let rest = row.iter().skip(1).copied();
                try_push(&mut rows, try_collect([Some(PatternId(part))].into_iter().chain(rest))?)?;
            }
        }
        Ok(done)
    }

    /// The test of the first column.
    fn test_of(&self, row: &Row, ty: TypeId) -> Test {
        let Some(&Some(pattern)) = row.first() else { return Test::Nothing };
        let variant = |name| self.variant_of(ty, name).map(|(index, _)| index);
        match self.tree.pattern(pattern).kind {
            PatternKind::Wildcard | PatternKind::Error | PatternKind::Typed(..) => Test::Nothing,
            PatternKind::Bind(name) => match variant(name) {
                Some(index) => Test::Variant(index),
                None if self.is_constant(name) => Test::Other,
                None => Test::Nothing,
            },
            PatternKind::Tuple(_) => Test::Variant(0),
            // It is refused.
            PatternKind::Variant { .. } if matches!(self.head(ty), Head::Struct(_)) => {
                Test::Nothing
            }
            PatternKind::Variant { variant: name, .. } => {
                variant(name).map_or(Test::Other, Test::Variant)
            }
            PatternKind::Value(value) => match self.tree.expr(value).kind {
                ExprKind::Bool(value) => Test::Variant(value.into()),
                _ => Test::Other,
            },
            PatternKind::Range { .. } | PatternKind::Or(_) => Test::Other,
        }
    }

    /// The row for the fields of a variant and the columns behind the first; `None` when it takes no such value.
    fn with_variant(
        &self,
        row: &Row,
        ty: TypeId,
        variant: usize,
        fields: &[Field],
    ) -> Option<Result<Row, AllocError>> {
        let first = row.first().copied().flatten();
        match self.test_of(row, ty) {
            Test::Nothing => {}
            Test::Variant(index) if usize::try_from(index) == Ok(variant) => {}
            Test::Variant(_) | Test::Other => return None,
        }
        let fields = fields.iter().enumerate().map(|(position, field)| {
            first.and_then(|pattern| self.pattern_of_field(pattern, field, position))
        });
        Some(try_collect(fields.chain(row.iter().skip(1).copied())))
    }

    /// The fields of a variant, or those of a tuple.
    pub(super) fn payload(&mut self, ty: TypeId, variant: usize) -> Vec<Field> {
        match (self.head(ty), self.repr(ty)) {
            (Head::Enum(_) | Head::Tuple, Repr::Memory) => self.program().fields_of(ty, variant),
            _ => Vec::new(),
        }
    }

    /// The pattern of a field in a pattern of its variant or tuple.
    pub(super) fn pattern_of_field(
        &self,
        pattern: PatternId,
        field: &Field,
        position: usize,
    ) -> Option<PatternId> {
        let tree = self.tree;
        match tree.pattern(pattern).kind {
            PatternKind::Tuple(parts) => tree.list(parts).get(position).map(|&id| PatternId(id)),
            PatternKind::Variant { fields, .. } => {
                let mut parts = tree.entries(&tree.pattern_fields, fields).enumerate();
                let is_of_field = |(at, part): &(usize, PatternField)| {
                    part.name.map_or(*at == position, |name| name == field.name)
                };
                parts.find(is_of_field).map(|(_, part)| part.pattern)
            }
            _ => None,
        }
    }
}

/// The least value of an integer type.
fn lowest(scalar: Scalar) -> i128 {
    if scalar.is_signed() { -(1_i128 << (scalar.bits() - 1)) } else { 0 }
}

fn try_collect_all(
    rows: impl Iterator<Item = Result<Row, AllocError>>,
) -> Result<Vec<Row>, AllocError> {
    let mut list = Vec::new();
    for row in rows {
        try_push(&mut list, row?)?;
    }
    Ok(list)
}
