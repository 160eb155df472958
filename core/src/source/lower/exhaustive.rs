//! Whether the arms of a match cover every value of its subject, and which of them are never reached.
//!
//! The arms are the rows of a matrix of patterns, and the parts of the value its columns. The first column is split by the
//! variants of its type, or by the ranges of an integer, and each part is examined for itself (Maranget, "Warnings for
//! pattern matching", 2007). The first row of a matrix is reached when it has no tests left, and without a guard it ends the
//! examination. Where all rows were reached before, any row without tests ends it. Variants that no row names are examined
//! together, so that the work for the usual match is in proportion to its rows.

use super::*;
use crate::alloc_util::{AllocError, try_collect, try_filled};

/// The most rows that are examined, summed over all matrices, as the question is NP-complete.
pub(super) const MAX_ROWS: usize = 100_000;

/// The deepest nesting of patterns, or the longest list of them.
pub(super) const MAX_COLUMNS: usize = 100;

/// Which values of its subject a match has an arm for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exhaustive<'s> {
    Yes,
    /// The first variant that has values without an arm, if the subject has variants.
    No(Option<&'s str>),
    /// The patterns are beyond [`MAX_ROWS`] or [`MAX_COLUMNS`].
    Unknown,
}

/// An arm, or an alternative of one.
struct Row {
    /// The number of the arm.
    arm: usize,
    /// Whether the arm may be passed over by a value that its tests take: it has a guard, or an unknown test.
    is_partial: bool,
    /// The pattern for each column; `None` matches every value.
    tests: Vec<Option<PatternId>>,
}

impl Row {
    fn has_no_test(&self) -> bool {
        self.tests.iter().all(Option::is_none)
    }

    /// Whether every value with this first column is taken.
    fn takes_rest(&self) -> bool {
        !self.is_partial && self.tests.iter().skip(1).all(Option::is_none)
    }

    /// The row behind its first column.
    fn rest(&self) -> Result<Self, AllocError> {
        let tests = try_collect(self.tests.iter().skip(1).copied())?;
        Ok(Self { tests, ..*self })
    }
}

/// An examination of arms.
struct Search {
    /// The rows that may still be examined.
    rows_left: usize,
    /// By the number of an arm: whether a value reaches it.
    reached: Vec<bool>,
    /// The first variant of the subject that is not covered.
    missing: Option<usize>,
}

impl Search {
    fn is_reached(&self, row: &Row) -> bool {
        self.reached.get(row.arm).copied().unwrap_or(true)
    }

    fn reach(&mut self, row: &Row) {
        if let Some(reached) = self.reached.get_mut(row.arm) {
            *reached = true;
        }
    }

    /// Notes that a variant of the column at `depth` is not covered.
    fn miss(&mut self, variant: Option<usize>, depth: usize) {
        if depth == 0 {
            self.missing = self.missing.into_iter().chain(variant).min();
        }
    }
}

/// What a pattern asks of the value in its column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Test {
    Nothing,
    /// The variant with this number; of a bool 0 or 1, of a tuple 0.
    Variant(usize),
    /// A value among more than are listed.
    Other,
}

impl<'s> Body<'_, '_, 's> {
    /// Whether every value of `ty` matches an arm without guard. Warns of arms that no value reaches.
    pub(super) fn arms_cover(&mut self, arms: List, ty: TypeId) -> Exhaustive<'s> {
        let reached = try_filled(self.tree.entries(&self.tree.arms, arms).count(), &false);
        let reached = self.program().diagnostics.allocated(reached).unwrap_or_default();
        let mut search = Search { rows_left: MAX_ROWS, reached, missing: None };
        let mut covered = self.examine(arms, ty, &mut search);
        if search.rows_left == 0 {
            // That there is an arm for each value may take fewer rows to see.
            search.rows_left = MAX_ROWS;
            search.reached.fill(true);
            search.missing = None;
            covered = self.examine(arms, ty, &mut search);
        }
        if !self.unit.program.diagnostics.has_errors() {
            let tree = self.tree;
            let arms = tree.entries(&tree.arms, arms).zip(&search.reached);
            for (arm, _) in arms.filter(|&(_, &is_reached)| !is_reached) {
                let span = tree.pattern(arm.pattern).span;
                self.warn(span, Code::Unreachable, format_args!("this arm is never reached"));
            }
        }
        match self.program().diagnostics.allocated(covered) {
            Some(true) => Exhaustive::Yes,
            _ if search.rows_left == 0 => Exhaustive::Unknown,
            _ => Exhaustive::No(search.missing.and_then(|variant| self.variant_name(ty, variant))),
        }
    }

    fn variant_name(&self, ty: TypeId, variant: usize) -> Option<&'s str> {
        match self.head(ty) {
            Head::Enum(number) => {
                let variant = self.unit.program.enum_variants(number).get(variant)?;
                Some(self.name(variant.name))
            }
            Head::Scalar(Scalar::Bool) => Some(if variant == 0 { "false" } else { "true" }),
            _ => None,
        }
    }

    fn examine(&mut self, arms: List, ty: TypeId, search: &mut Search) -> Result<bool, AllocError> {
        let tree = self.tree;
        let rows = tree.entries(&tree.arms, arms).enumerate().map(|(number, arm)| {
            let tests = try_collect([self.needed(arm.pattern, ty)].into_iter())?;
            Ok(Row { arm: number, is_partial: arm.guard.is_some(), tests })
        });
        let rows = try_collect_all(rows)?;
        self.rows_cover(rows, &[ty], 0, search)
    }

    fn rows_cover(
        &mut self,
        rows: Vec<Row>,
        types: &[TypeId],
        depth: usize,
        search: &mut Search,
    ) -> Result<bool, AllocError> {
        for row in rows.iter().take_while(|row| row.has_no_test()) {
            search.reach(row);
            if !row.is_partial {
                return Ok(true);
            }
        }
        let is_known = rows.iter().all(|row| search.is_reached(row));
        if is_known && rows.iter().any(|row| !row.is_partial && row.has_no_test()) {
            return Ok(true);
        }
        let Some((&ty, rest)) = types.split_first() else { return Ok(false) };
        let rows = self.without_alternatives(rows, ty)?;
        search.rows_left = search.rows_left.saturating_sub(rows.len());
        if depth == MAX_COLUMNS {
            search.rows_left = 0;
        }
        if rows.is_empty() || search.rows_left == 0 {
            return Ok(false);
        }
        let tests = try_collect(rows.iter().map(|row| self.test_of(row, ty)))?;
        let is_split = tests.iter().any(|&test| test != Test::Nothing);
        let is_integer = |scalar: &Scalar| !scalar.is_float() && *scalar != Scalar::Bool;
        if let Some(scalar) = self.scalar(ty).filter(|scalar| is_split && is_integer(scalar)) {
            return self.ranges_cover(&rows, (ty, scalar), rest, depth, search);
        }
        self.variants_cover((&rows, &tests), ty, rest, depth, search)
    }

    /// As [`rows_cover`](Self::rows_cover), where the first column has variants, or nothing that is listed.
    fn variants_cover(
        &mut self,
        (rows, tests): (&[Row], &[Test]),
        ty: TypeId,
        rest: &[TypeId],
        depth: usize,
        search: &mut Search,
    ) -> Result<bool, AllocError> {
        let variants = self.variant_count(ty);
        let variant = |test: Test| match test {
            Test::Variant(variant) if variant < variants => Some(variant),
            _ => None,
        };
        let numbered = || (0_usize..).zip(tests).map(|(row, &test)| (variant(test), row));
        // The rows that name a variant, by its number.
        let own = numbered().filter_map(|(variant, row)| Some((variant?, row)));
        let mut own = try_collect(own)?;
        own.sort_unstable();
        let open = numbered().filter(|(variant, _)| variant.is_none()).map(|(_, row)| row);
        let open = try_collect(open)?;
        let is_same = |a: &(usize, usize), b: &(usize, usize)| a.0 == b.0;
        let mut covered = true;
        if variants == 0 || own.chunk_by(is_same).count() < variants {
            let kept = open.iter().filter_map(|&row| {
                let is_unknown = tests.get(row) != Some(&Test::Nothing);
                let row = rows.get(row)?.rest();
                Some(row.map(|row| Row { is_partial: row.is_partial || is_unknown, ..row }))
            });
            let kept = try_collect_all(kept)?;
            if !self.rows_cover(kept, rest, depth.saturating_add(1), search)? {
                covered = false;
                let has_row = |variant: &usize| own.binary_search_by_key(variant, |o| o.0).is_ok();
                search.miss((0..variants).find(|variant| !has_row(variant)), depth);
            }
        }
        for group in own.chunk_by(is_same) {
            let variant = group.first().map_or(0, |first| first.0);
            let fields = self.payload(ty, variant);
            let types = fields.iter().map(|field| field.ty).chain(rest.iter().copied());
            let types = try_collect(types)?;
            let numbers = group.iter().map(|&(_, row)| row).chain(open.iter().copied());
            let mut numbers = try_collect(numbers)?;
            numbers.sort_unstable();
            let kept = numbers.iter().filter_map(|&row| rows.get(row).zip(tests.get(row)));
            let kept = kept.map(|(row, &test)| self.with_fields((row, test), &fields));
            let kept = try_collect_all(kept)?;
            if !self.rows_cover(kept, &types, depth.saturating_add(1), search)? {
                covered = false;
                search.miss(Some(variant), depth);
            }
        }
        Ok(covered)
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
        search: &mut Search,
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
        let mut covered = true;
        let mut value = lowest;
        while value < end {
            while let Some((_, number)) = bounds.next_if(|&(bound, _)| bound <= value) {
                toggle(&mut matching, &mut places, number)?;
            }
            let mut here = matching.iter().filter_map(|&number: &usize| rows.get(number));
            let is_known = here.clone().all(|row| search.is_reached(row));
            if !(is_known && here.any(Row::takes_rest)) {
                let mut numbers = try_collect(matching.iter().copied())?;
                numbers.sort_unstable();
                let kept = numbers.iter().filter_map(|&number| rows.get(number)).map(Row::rest);
                let kept = try_collect_all(kept)?;
                covered &= self.rows_cover(kept, rest, depth.saturating_add(1), search)?;
            }
            value = bounds.peek().map_or(end, |&(bound, _)| bound);
        }
        Ok(covered)
    }

    /// The values that the first column takes: from one up to and without another; `None` if they are not known.
    fn column_range(&mut self, row: &Row, (ty, scalar): (TypeId, Scalar)) -> Option<(i128, i128)> {
        let all = (lowest(scalar), lowest(scalar).checked_add(1_i128 << scalar.bits())?);
        let Some(&Some(pattern)) = row.tests.first() else { return Some(all) };
        let (source, kind) = (self.source, self.tree.pattern(pattern).kind);
        let mut value = |id| self.program().evaluate(source, id, Some(ty));
        let ([start, end], inclusive) = match kind {
            PatternKind::Range { start, end, inclusive } => {
                ([value(start)?, value(end)?], inclusive)
            }
            PatternKind::Value(id) => ([value(id)?; 2], true),
            _ => match self.pattern_constant(pattern) {
                Some(number) => ([self.program().constant(number)?; 2], true),
                None => return (self.test_of(row, ty) == Test::Nothing).then_some(all),
            },
        };
        // A value that the type does not have is reported where it is tested.
        let convert = |value| self.unit.program.convert_literal(value, ty).unwrap_or(value);
        let integer = |value| match convert(value).value {
            ConstValue::Integer(value) => Some(value),
            _ => None,
        };
        Some((integer(start)?, integer(end)?.checked_add(inclusive.into())?))
    }

    /// The pattern, unless it matches every value of the type by itself.
    fn needed(&self, pattern: PatternId, ty: TypeId) -> Option<PatternId> {
        let is_open = match self.tree.pattern(pattern).kind {
            PatternKind::Wildcard | PatternKind::Error | PatternKind::Typed(..) => true,
            PatternKind::Bind(name) => {
                self.pattern_constant(pattern).is_none() && self.variant_of(ty, name).is_none()
            }
            _ => false,
        };
        (!is_open).then_some(pattern)
    }

    /// The rows with one row for each alternative of a pattern in the first column.
    fn without_alternatives(&self, mut rows: Vec<Row>, ty: TypeId) -> Result<Vec<Row>, AllocError> {
        let tree = self.tree;
        let alternatives = |row: &Row| match tree.pattern(row.tests.first().copied()??).kind {
            PatternKind::Or(parts) => Some(parts),
            _ => None,
        };
        if !rows.iter().any(|row| alternatives(row).is_some()) {
            return Ok(rows);
        }
        let mut done = Vec::new();
        while let Some(row) = rows.pop() {
            let Some(parts) = alternatives(&row) else {
                try_push(&mut done, row)?;
                continue;
            };
            for &part in tree.list(parts) {
                let part = self.needed(PatternId(part), ty);
                let tests = [part].into_iter().chain(row.tests.iter().skip(1).copied());
                try_push(&mut rows, Row { tests: try_collect(tests)?, ..row })?;
            }
        }
        done.reverse();
        Ok(done)
    }

    /// The test of the first column.
    fn test_of(&self, row: &Row, ty: TypeId) -> Test {
        let Some(&Some(pattern)) = row.tests.first() else { return Test::Nothing };
        let variant = |name| usize::try_from(self.variant_of(ty, name)?.0).ok();
        match self.tree.pattern(pattern).kind {
            PatternKind::Wildcard | PatternKind::Error | PatternKind::Typed(..) => Test::Nothing,
            PatternKind::Bind(name) => match variant(name) {
                Some(index) => Test::Variant(index),
                None if self.pattern_constant(pattern).is_some() => Test::Other,
                None => Test::Nothing,
            },
            PatternKind::Tuple(_) => Test::Variant(0),
            PatternKind::Variant { .. } if self.pattern_constant(pattern).is_some() => Test::Other,
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
    fn with_fields(&self, (row, test): (&Row, Test), fields: &[Field]) -> Result<Row, AllocError> {
        let first = row.tests.first().copied().flatten();
        let tests = fields.iter().enumerate().map(|(position, field)| {
            let part = self.pattern_of_field(first?, field, position)?;
            self.needed(part, field.ty)
        });
        let tests = try_collect(tests.chain(row.tests.iter().skip(1).copied()))?;
        Ok(Row { tests, is_partial: row.is_partial || test == Test::Other, ..*row })
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
