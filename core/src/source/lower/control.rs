//! Blocks, `if` and `match`, and the merging of their values.

use super::exhaustive::{Exhaustive, MAX_COLUMNS, MAX_ROWS};
use super::*;

/// The value of several branches.
pub(super) struct Merge {
    want: Want,
    /// The type, once it is known.
    ty: Option<TypeId>,
    value: Value,
    /// Whether a literal has decided on the type, by the other operand of an operation.
    is_of_literal: bool,
    /// Branches with and without a value: there is none.
    has_conflict: bool,
    is_used: bool,
}

impl Merge {
    fn new(want: Want, is_used: bool) -> Self {
        let (ty, value) = (None, Value::None);
        Self { want, ty, value, is_of_literal: false, has_conflict: false, is_used }
    }
}

impl Body<'_, '_, '_> {
    /// The statements of a block; its last expression is its value when `is_used`.
    pub(super) fn block(&mut self, id: BlockId, want: Want, is_used: bool) -> Typed {
        let block = self.tree.block(id);
        let tree = self.tree;
        let (variables, slots) = (self.variables.len(), self.slots_in_use());
        let (scopes, statements) = (self.scopes.len(), tree.list(block.statements));
        self.open_scope(id, statements);
        self.blocks += 1;
        let mut result = Typed::UNIT;
        let mut was_reachable = self.reachable;
        for (index, &number) in statements.iter().enumerate() {
            if self.unit.program.diagnostics.is_full() {
                break;
            }
            let id = StmtId(number);
            let is_last = index + 1 == statements.len();
            let has_errors = self.unit.program.diagnostics.has_errors();
            if was_reachable && !self.reachable && !has_errors {
                let span = tree.stmt(id).span;
                self.warn(span, Code::Unreachable, format_args!("this is never reached"));
            }
            was_reachable = self.reachable;
            result = match tree.stmt(id).kind {
                StmtKind::Expr(value) if is_last && is_used => {
                    self.locate(tree.stmt(id).span);
                    self.expr(value, want)
                }
                // Its value is as unknown as the statement.
                StmtKind::Error if is_last && is_used => Typed::ERROR,
                _ => {
                    self.statement(id);
                    Typed::UNIT
                }
            };
        }
        self.drop_variables(variables);
        self.scopes.truncate(scopes);
        self.blocks -= 1;
        // Values in memory are in the slots of the block.
        if !matches!(result.value, Value::Place(_) | Value::Pair(..)) {
            self.free_slots(slots);
        }
        if self.reachable || result.ty == TypeId::ERROR { result } else { Typed::NEVER }
    }

    /// What a branch is asked for.
    fn merge_want(&self, merge: &Merge) -> Want {
        let changed_by = merge.want.changed_by;
        match (merge.ty, merge.value) {
            (Some(ty), Value::Place(place)) => {
                Want { dest: Some(place), changed_by, ..Want::of(ty) }
            }
            (Some(ty), _) => Want { changed_by, ..Want::of(ty) },
            (None, _) => merge.want,
        }
    }

    /// Adds the value of a branch, at its end.
    pub(super) fn merge_add(&mut self, merge: &mut Merge, value: Typed, span: Span) {
        if !merge.is_used || !self.reachable || value.ty == TypeId::NEVER {
            return;
        }
        let Some(ty) = merge.ty else {
            return self.merge_first(merge, value, span);
        };
        if ty != value.ty && (ty == TypeId::UNIT || value.ty == TypeId::UNIT) {
            merge.has_conflict = true;
            return;
        }
        let is_other = merge.is_of_literal && !value.flexible && !value.ty.fits_all();
        let value = match is_other && value.ty != ty {
            // A wider type would compute what the value does not.
            true => self.mismatch(ty, value.ty, span),
            false => self.coerce(value, ty, span),
        };
        if value.ty.fits_all() {
            return;
        }
        match merge.value {
            Value::Local(to) => self.set(to, value),
            Value::Pair(first, second) => self.set_pair([first, second], value),
            Value::Place(place) => self.store_in(place, value),
            _ => {}
        }
    }

    /// The first value decides on the type, where the context has none.
    fn merge_first(&mut self, merge: &mut Merge, value: Typed, span: Span) {
        let wanted = match merge.want.ty.filter(|&ty| ty != TypeId::UNIT) {
            None if merge.want.is_view => self.view_of(value.ty, span),
            wanted => wanted,
        };
        let is_strict = !merge.want.is_hint;
        // Of another type than it has without a context.
        merge.is_of_literal =
            !is_strict && value.flexible && wanted.is_some_and(|ty| ty != value.ty);
        let value = match wanted {
            // A value of a wrong type is reported here, so that it asks nothing of the other branches.
            Some(ty) if value.flexible || is_strict && value.ty != TypeId::UNIT => {
                self.coerce(value, ty, span)
            }
            _ => self.settle(value),
        };
        merge.ty = Some(value.ty);
        match self.repr(value.ty) {
            Repr::Nothing => {}
            Repr::Unknown => {
                self.opaque();
            }
            Repr::Scalar(ty) => {
                let to = self.builder.local(ty);
                self.set(to, value);
                merge.value = Value::Local(to);
            }
            Repr::Pair => {
                let to = [self.builder.local(Scalar::Pointer), self.builder.local(Scalar::I64)];
                self.set_pair(to, value);
                merge.value = Value::Pair(to[0], to[1]);
            }
            Repr::Memory => {
                let dest = merge.want.dest.filter(|_| merge.want.ty == Some(value.ty));
                let place = dest.unwrap_or_else(|| self.temporary(value.ty, span));
                self.store_in(place, value);
                merge.value = Value::Place(place);
            }
        }
    }

    /// The type of a view of an array; `None` for other types.
    fn view_of(&mut self, ty: TypeId, span: Span) -> Option<TypeId> {
        let Head::Array(_) = self.head(ty) else { return None };
        let (source, element) = (self.source, self.unit.program.types.part(ty, 0));
        Some(self.program().intern(source, span, Head::View, &[element]))
    }

    /// Writes a value to memory, unless it was computed there.
    pub(super) fn store_in(&mut self, place: Place, value: Typed) {
        let is_there = match (place.base, value.value) {
            (Base::Slot(one), Value::Place(Place { base: Base::Slot(two), offset, .. })) => {
                (one, place.offset) == (two, offset)
            }
            (Base::Pointer(one), Value::Place(Place { base: Base::Pointer(two), offset, .. })) => {
                (one, place.offset) == (two, offset)
            }
            _ => false,
        };
        if !is_there {
            self.store(place, value);
        }
    }

    /// Sets a local to a value of its type.
    pub(super) fn set(&mut self, to: Local, value: Typed) {
        let ty = self.value_type(value.ty);
        match value.value {
            Value::Number(number) => self.set_number(ty, to, number),
            Value::Float(number) => self.set_float(ty, to, number),
            _ => {
                let from = self.local_of(value);
                self.builder.copy(ty, to, from);
            }
        }
    }

    pub(super) fn set_pair(&mut self, to: [Local; 2], value: Typed) {
        if let Value::Pair(first, second) = value.value {
            self.builder.copy(Scalar::Pointer, to[0], first);
            self.builder.copy(Scalar::I64, to[1], second);
        }
    }

    pub(super) fn merged(&self, merge: &Merge) -> Typed {
        match merge.ty {
            _ if !merge.is_used || merge.has_conflict => Typed::UNIT,
            None if self.reachable => Typed::UNIT,
            None => Typed::NEVER,
            Some(ty) => Typed { temporary: true, ..Typed::new(ty, merge.value) },
        }
    }

    pub(super) fn if_value(
        &mut self,
        branches: List,
        otherwise: Option<BlockId>,
        want: Want,
        span: Span,
    ) -> Typed {
        let value = self.if_branches(branches, otherwise, want, otherwise.is_some());
        let wanted = want.ty.filter(|&ty| ty != TypeId::UNIT && !ty.fits_all());
        let Some(wanted) = wanted.filter(|_| otherwise.is_none() && !want.is_hint) else {
            return value;
        };
        if value.ty != TypeId::UNIT || self.is_template || !self.reachable {
            return value;
        }
        let wanted = self.type_text(wanted);
        let message = format_args!("expected `{wanted}`, found `()`");
        let note = format_args!("an `if` has a value if it has an `else`");
        self.error_with_note(span, Code::TypeMismatch, message, note)
    }

    /// `if` with its branches; without `else` it has no value.
    pub(super) fn if_branches(
        &mut self,
        branches: List,
        otherwise: Option<BlockId>,
        want: Want,
        is_used: bool,
    ) -> Typed {
        let tree = self.tree;
        let mut merge = Merge::new(want, is_used);
        let end = self.target();
        for &[condition, body] in tree.list(branches).as_chunks().0 {
            let next = self.target();
            self.locate(self.span(ExprId(condition)));
            self.condition(ExprId(condition), false, next);
            self.branch_value(BlockId(body), &mut merge);
            self.jump(end);
            self.bind(next);
        }
        if let Some(body) = otherwise {
            self.branch_value(body, &mut merge);
        }
        self.bind(end);
        self.merged(&merge)
    }

    /// A block as a branch.
    ///
    /// One that a known condition rules out is checked like the others, and reaches nothing outside of it.
    pub(super) fn branch_value(&mut self, body: BlockId, merge: &mut Merge) {
        let want = self.merge_want(merge);
        let is_dead = !self.reachable;
        let outer = self.first_reached;
        if is_dead {
            (self.reachable, self.has_dead) = (true, true);
            self.first_reached = self.used.len();
        }
        let value = self.block(body, want, merge.is_used);
        let span = self.tail_span(body);
        self.merge_add(merge, value, span);
        if is_dead {
            self.reachable = false;
            self.first_reached = outer;
        }
    }

    /// The last statement of a block, which has its value.
    pub(super) fn tail_span(&self, body: BlockId) -> Span {
        let block = self.tree.block(body);
        let last = self.tree.list(block.statements).last();
        last.map_or(block.span, |&last| self.tree.stmt(StmtId(last)).span)
    }

    pub(super) fn match_value(
        &mut self,
        value: ExprId,
        arms: List,
        want: Want,
        span: Span,
    ) -> Typed {
        self.match_arms(value, arms, want, span, true)
    }

    /// `match` with its arms. One that has a value covers all values of its type.
    pub(super) fn match_arms(
        &mut self,
        value: ExprId,
        arms: List,
        want: Want,
        span: Span,
        is_used: bool,
    ) -> Typed {
        let tree = self.tree;
        let subject = self.expr(value, Want::NOTHING);
        let subject = self.settle(subject);
        // An arm may assign to the variable: the match has a number above those of its arms.
        let last = self.last_of(arms, value);
        let subject = self.stable(subject, value, last);
        let mut merge = Merge::new(want, is_used);
        let end = self.target();
        for arm in tree.entries(&tree.arms, arms) {
            let next = self.target();
            let variables = self.variables.len();
            self.locate(tree.pattern(arm.pattern).span);
            self.test(arm.pattern, subject, next);
            self.mark_parts(variables);
            self.check_distinct_names(variables, arm.pattern);
            if let Some(guard) = arm.guard {
                self.condition(guard, false, next);
            }
            self.branch_value(arm.body, &mut merge);
            self.drop_variables(variables);
            self.jump(end);
            self.bind(next);
        }
        let covered = match subject.ty.fits_all() {
            true => Exhaustive::Yes,
            false => self.arms_cover(arms, subject.ty),
        };
        if covered == Exhaustive::Yes {
            // No value comes here.
            if self.reachable {
                self.builder.trap(TRAP_ASSERT);
                self.leave();
            }
        } else {
            self.not_exhaustive(covered, &merge, subject.ty, span);
        }
        self.bind(end);
        self.merged(&merge)
    }

    /// The number of a match whose value and arms are known, or one below it.
    fn last_of(&self, arms: List, value: ExprId) -> ExprId {
        let branches = &self.tree.branches;
        let first = branches.partition_point(|&number| number <= value.0);
        let is_own = |&&number: &&u32| match self.tree.expr(ExprId(number)).kind {
            ExprKind::Match { arms: own, .. } => own == arms,
            _ => false,
        };
        let own = branches.get(first..).unwrap_or(&[]).iter().find(is_own);
        ExprId(own.copied().unwrap_or(value.0))
    }

    fn not_exhaustive(&mut self, covered: Exhaustive<'_>, merge: &Merge, ty: TypeId, span: Span) {
        let has_value = merge.is_used && merge.ty.is_some_and(|ty| ty != TypeId::UNIT);
        if !has_value || merge.has_conflict {
            return;
        }
        let text = self.type_text(ty);
        if covered == Exhaustive::Unknown {
            let message = format_args!(
                "the match is too large to check whether it has an arm for all values of `{text}`"
            );
            let note = format_args!(
                "more than {MAX_ROWS} combinations of patterns, or {MAX_COLUMNS} patterns in one: \
                 add `case _:`"
            );
            self.error_with_note(span, Code::NotExhaustive, message, note);
            return;
        }
        let message = format_args!("the match has no arm for some values of `{text}`");
        match covered {
            Exhaustive::No(Some(name)) => {
                let note = format_args!("`{name}` is missing");
                self.error_with_note(span, Code::NotExhaustive, message, note);
            }
            _ => {
                let note = format_args!("add `case _:`");
                self.error_with_note(span, Code::NotExhaustive, message, note);
            }
        }
    }
}
