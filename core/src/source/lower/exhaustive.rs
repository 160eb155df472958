//! Whether the arms of a match cover every value of its subject.
//!
//! The arms are the rows of a matrix of patterns, and the parts of the value its columns. The first column is split by the
//! variants of its type, or by the ranges of an integer, and each part is examined for itself (Maranget, "Warnings for
//! pattern matching", 2007). A row without tests ends the examination of its matrix, and variants that no row names are
//! examined together, so that the work for the usual match is in proportion to its rows.

use super::*;
use crate::alloc_util::{AllocError, try_collect, try_filled};

/// The most rows that are examined, summed over all matrices, as the question is NP-complete.
pub(super) const MAX_ROWS: usize = 100_000;

/// The deepest nesting of patterns, or the longest list of them.
pub(super) const MAX_COLUMNS: usize = 100;

/// Which values of its subject a match has an arm for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exhaustive {
    Yes,
    No,
    /// The patterns are beyond [`MAX_ROWS`] or [`MAX_COLUMNS`].
    Unknown,
}

/// The patterns of an arm for each column; `None` matches every value.
type Row = Vec<Option<PatternId>>;

/// What a pattern asks of the value in its column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Test {
    Nothing,
    /// The variant with this number; of a bool 0 or 1, of a tuple 0.
    Variant(usize),
    /// A value among more than are listed.
    Other,
}

impl Body<'_, '_, '_> {
    /// Whether every value of `ty` matches an arm without guard.
    pub(super) fn arms_cover(&mut self, arms: List, ty: TypeId) -> Exhaustive {
        let tree = self.tree;
        let arms = tree.entries(&tree.arms, arms).filter(|arm| arm.guard.is_none());
        let mut rows = Vec::new();
        let mut covered = Ok(());
        for arm in arms {
            let row = try_collect([self.needed(arm.pattern, ty)].into_iter());
            covered = covered.and_then(|()| try_push(&mut rows, row?));
        }
        let mut rows_left = MAX_ROWS;
        let covered = covered.and_then(|()| self.rows_cover(rows, &[ty], 0, &mut rows_left));
        match self.program().diagnostics.allocated(covered) {
            Some(true) => Exhaustive::Yes,
            _ if rows_left == 0 => Exhaustive::Unknown,
            _ => Exhaustive::No,
        }
    }

    fn rows_cover(
        &mut self,
        rows: Vec<Row>,
        types: &[TypeId],
        depth: usize,
        rows_left: &mut usize,
    ) -> Result<bool, AllocError> {
        let Some((&ty, rest)) = types.split_first() else { return Ok(!rows.is_empty()) };
        let rows = self.without_alternatives(rows, ty)?;
        if rows.iter().any(has_no_test) {
            return Ok(true);
        }
        *rows_left = rows_left.saturating_sub(rows.len());
        if depth == MAX_COLUMNS {
            *rows_left = 0;
        }
        if rows.is_empty() || *rows_left == 0 {
            return Ok(false);
        }
        let tests = try_collect(rows.iter().map(|row| self.test_of(row, ty)))?;
        let is_split = tests.iter().any(|&test| test != Test::Nothing);
        let is_integer = |scalar: &Scalar| !scalar.is_float() && *scalar != Scalar::Bool;
        if let Some(scalar) = self.scalar(ty).filter(|scalar| is_split && is_integer(scalar)) {
            return self.ranges_cover(&rows, (ty, scalar), rest, depth, rows_left);
        }
        let variants = self.variant_count(ty);
        let is_open = |&(_, test): &(_, &Test)| *test == Test::Nothing;
        let open = try_collect(rows.iter().zip(&tests).filter(is_open).map(|(row, _)| row))?;
        // The rows that name a variant, by its number.
        let own = (0_usize..).zip(&tests).filter_map(|(row, test)| match *test {
            Test::Variant(variant) if variant < variants => Some((variant, row)),
            _ => None,
        });
        let mut own = try_collect(own)?;
        own.sort_unstable();
        let is_same = |a: &(usize, usize), b: &(usize, usize)| a.0 == b.0;
        if variants == 0 || own.chunk_by(is_same).count() < variants {
            let kept = open.iter().map(|row| try_collect(row.iter().skip(1).copied()));
            let kept = try_collect_all(kept)?;
            if !self.rows_cover(kept, rest, depth.saturating_add(1), rows_left)? {
                return Ok(false);
            }
        }
        for group in own.chunk_by(is_same) {
            let variant = group.first().map_or(0, |first| first.0);
            let fields = self.payload(ty, variant);
            let types = fields.iter().map(|field| field.ty).chain(rest.iter().copied());
            let types = try_collect(types)?;
            let own = group.iter().filter_map(|&(_, row)| rows.get(row));
            let kept = own.chain(open.iter().copied()).map(|row| self.with_fields(row, &fields));
            let kept = try_collect_all(kept)?;
            if !self.rows_cover(kept, &types, depth.saturating_add(1), rows_left)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The number of variants of an enum or bool, 1 of a tuple, and 0 of what is not split.
    fn variant_count(&self, ty: TypeId) -> usize {
        match self.head(ty) {
            Head::Scalar(Scalar::Bool) => 2,
            Head::Enum(number) => self.unit.program.enum_variants(number).len(),
            Head::Tuple => 1,
            _ => 0,
        }
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
        let lowest = lowest(scalar);
        let end = lowest.saturating_add(1_i128 << scalar.bits());
        // Where the range of a row starts or ends. Between two of these values, every value matches the same rows.
        let mut bounds = Vec::new();
        for (number, row) in rows.iter().enumerate() {
            let Some((low, high)) = self.column_range(row, (ty, scalar)) else { continue };
            let (low, high) = (low.max(lowest), high.min(end));
            if low < high {
                try_push(&mut bounds, (low, number))?;
                try_push(&mut bounds, (high, number))?;
            }
        }
        bounds.sort_unstable();
        let mut bounds = bounds.into_iter().peekable();
        // The rows that match the value, and the place of each there.
        let mut matching = Vec::new();
        let mut places = try_filled(rows.len(), &None)?;
        let mut value = lowest;
        while value < end {
            while let Some((_, number)) = bounds.next_if(|&(bound, _)| bound <= value) {
                toggle(&mut matching, &mut places, number)?;
            }
            let behind = || {
                let rows = matching.iter().filter_map(|&number: &usize| rows.get(number));
                rows.map(|row| row.get(1..).unwrap_or(&[]))
            };
            if !behind().any(has_no_test) {
                let kept = try_collect_all(behind().map(|row| try_collect(row.iter().copied())))?;
                if !self.rows_cover(kept, rest, depth.saturating_add(1), rows_left)? {
                    return Ok(false);
                }
            }
            value = bounds.peek().map_or(end, |&(bound, _)| bound);
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
            _ => match self.module_constant(pattern) {
                Some(number) => match self.program().constant(number)?.value {
                    ConstValue::Integer(value) => Some((value, value.checked_add(1)?)),
                    _ => None,
                },
                None => matches!(self.test_of(row, ty), Test::Nothing).then_some(all),
            },
        }
    }

    /// The pattern, unless it matches every value of the type by itself.
    fn needed(&self, pattern: PatternId, ty: TypeId) -> Option<PatternId> {
        let is_open = match self.tree.pattern(pattern).kind {
            PatternKind::Wildcard | PatternKind::Error | PatternKind::Typed(..) => true,
            PatternKind::Bind(name) => {
                !self.is_constant(name) && self.variant_of(ty, name).is_none()
            }
            _ => false,
        };
        (!is_open).then_some(pattern)
    }

    /// The rows with one row for each alternative of a pattern in the first column.
    fn without_alternatives(&self, mut rows: Vec<Row>, ty: TypeId) -> Result<Vec<Row>, AllocError> {
        let tree = self.tree;
        let is_list = |row: &Row| {
            let first = row.first().copied().flatten();
            first.is_some_and(|first| matches!(tree.pattern(first).kind, PatternKind::Or(_)))
        };
        if !rows.iter().any(is_list) {
            return Ok(rows);
        }
        let mut done = Vec::new();
        while let Some(row) = rows.pop() {
            let first = row.first().copied().flatten();
            let Some(PatternKind::Or(parts)) = first.map(|first| tree.pattern(first).kind) else {
                try_push(&mut done, row)?;
                continue;
            };
            for &part in tree.list(parts) {
                let rest = row.iter().skip(1).copied();
                let part = self.needed(PatternId(part), ty);
                try_push(&mut rows, try_collect([part].into_iter().chain(rest))?)?;
            }
        }
        Ok(done)
    }

    /// The test of the first column.
    fn test_of(&self, row: &Row, ty: TypeId) -> Test {
        let Some(&Some(pattern)) = row.first() else { return Test::Nothing };
        let variant = |name| usize::try_from(self.variant_of(ty, name)?.0).ok();
        match self.tree.pattern(pattern).kind {
            PatternKind::Wildcard | PatternKind::Error | PatternKind::Typed(..) => Test::Nothing,
            PatternKind::Bind(name) => match variant(name) {
                Some(index) => Test::Variant(index),
                None if self.is_constant(name) => Test::Other,
                None => Test::Nothing,
            },
            PatternKind::Tuple(_) => Test::Variant(0),
            PatternKind::Variant { .. } if self.module_constant(pattern).is_some() => Test::Other,
            // It is refused.
            PatternKind::Variant { .. } if matches!(self.head(ty), Head::Struct(_)) => {
                Test::Nothing
            }
            PatternKind::Variant { variant: name, .. } => {
                variant(name).map_or(Test::Other, Test::Variant)
            }
            PatternKind::Value(value) => match self.tree.expr(value).kind {
                ExprKind::Bool(value) => Test::Variant(usize::from(value)),
                _ => Test::Other,
            },
            PatternKind::Range { .. } | PatternKind::Or(_) => Test::Other,
        }
    }

    /// The row for the fields of the variant that it names and the columns behind the first.
    fn with_fields(&self, row: &Row, fields: &[Field]) -> Result<Row, AllocError> {
        let first = row.first().copied().flatten();
        let fields = fields.iter().enumerate().map(|(position, field)| {
            let part = self.pattern_of_field(first?, field, position)?;
            self.needed(part, field.ty)
        });
        try_collect(fields.chain(row.iter().skip(1).copied()))
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

/// Whether every value matches a row.
fn has_no_test(row: impl AsRef<[Option<PatternId>]>) -> bool {
    row.as_ref().iter().all(Option::is_none)
}

/// Adds a row to those that match, or removes it; `places` has the place of each there.
fn toggle(
    matching: &mut Vec<usize>,
    places: &mut [Option<usize>],
    number: usize,
) -> Result<(), AllocError> {
    let Some(place) = places.get_mut(number) else { return Ok(()) };
    if let Some(place) = place.take() {
        matching.swap_remove(place);
        // The last one is there now.
        let moved = matching.get(place).and_then(|&moved| places.get_mut(moved));
        if let Some(moved) = moved {
            *moved = Some(place);
        }
        return Ok(());
    }
    *place = Some(matching.len());
    try_push(matching, number)
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
