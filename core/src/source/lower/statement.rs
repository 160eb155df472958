//! Statements: declarations, assignments, loops and jumps.

use super::operator::Spans;
use super::*;

impl<'p> Body<'_, 'p, '_> {
    pub(super) fn statement(&mut self, id: StmtId) {
        let Stmt { kind, span } = self.tree.stmt(id);
        if !matches!(kind, StmtKind::Function(_) | StmtKind::Pass | StmtKind::Error) {
            self.locate(span);
        }
        match kind {
            StmtKind::Error | StmtKind::Pass | StmtKind::Function(_) => {}
            StmtKind::Let { mutable, pattern, ty, value } => {
                self.declaration(mutable, pattern, ty, value, span);
            }
            StmtKind::Assign { op, target, value } => self.assign(op, target, value, span),
            StmtKind::Expr(value) => self.effect(value),
            StmtKind::While { label, condition, body } => {
                self.while_loop(label, condition, body);
            }
            StmtKind::For { label, index, pattern, items, body } => {
                self.for_loop(label, (index, pattern), items, body);
            }
            StmtKind::Loop { label, body } => self.endless(label, body),
            StmtKind::Break(label, value) => self.break_loop(label, value, span),
            StmtKind::Continue(label) => {
                if let Some(open) = self.open_loop(label, "continue", span) {
                    self.jump(open.next);
                }
            }
            StmtKind::Return(value) => self.return_value(value, span),
            StmtKind::Assert(condition, message) => self.assert(condition, message, span),
        }
    }

    /// An expression for its effect.
    fn effect(&mut self, id: ExprId) {
        match self.tree.expr(id).kind {
            ExprKind::If { branches, otherwise } => {
                self.if_branches(branches, otherwise, Want::NOTHING, false);
            }
            ExprKind::Match { value, arms } => {
                let span = self.span(id);
                self.match_arms(value, arms, Want::NOTHING, span, false);
            }
            _ => {
                self.expr(id, Want::NOTHING);
            }
        }
    }

    fn declaration(
        &mut self,
        mutable: bool,
        pattern: PatternId,
        ty: Option<TypeNodeId>,
        value: Option<ExprId>,
        span: Span,
    ) {
        let declared = ty.map(|ty| self.resolve(ty));
        let Some(id) = value else {
            let message = format_args!("a variable is declared with a value");
            self.error(span, Code::Unexpected, message);
            return self.bind_error(pattern);
        };
        // `[T]` of a literal is the array with its length.
        let is_view = |ty: &TypeId| self.head(*ty) == Head::View;
        let view = declared.filter(is_view);
        let declared = match view {
            Some(view) => self.array_type_of(view, id).or(declared),
            None => declared,
        };
        let dest = declared
            .filter(|&ty| self.repr(ty) == Repr::Memory)
            .map(|ty| self.variable_place(ty, span));
        let value = self.expr(id, Want { ty: declared, dest, ..Want::NOTHING });
        let is_array = matches!(self.head(value.ty), Head::Array(_));
        let value = match declared {
            // The variable has the array itself, which is copied.
            Some(ty) if Some(ty) == view && is_array && self.is_element(ty, value.ty) => value,
            Some(ty) if ty.is_error() => Typed::ERROR,
            Some(ty) => self.coerce(value, ty, self.span(id)),
            None => self.settle(value),
        };
        if value.ty == TypeId::UNIT
            && matches!(self.tree.pattern(pattern).kind, PatternKind::Bind(_))
        {
            let message = format_args!("the expression has no value");
            self.error(self.span(id), Code::TypeMismatch, message);
            return self.bind_error(pattern);
        }
        if value.ty == TypeId::NEVER {
            // The statement is never reached, and its names have any type.
            return self.bind_error(pattern);
        }
        let is_changed = mutable || self.root_variable(id).is_some_and(|from| from.mutable);
        if self.unit.program.types.has_view(value.ty) && is_changed {
            self.refuse_copy(value.ty, self.span(id));
            return self.bind_error(pattern);
        }
        let outer = self.variables.len();
        self.bind_pattern(pattern, value, mutable, dest);
        self.check_distinct_names(outer, pattern);
    }

    /// Whether the elements of two types of arrays are of one type.
    fn is_element(&self, one: TypeId, two: TypeId) -> bool {
        let types = &self.unit.program.types;
        types.part(one, 0) == types.part(two, 0)
    }

    /// Refuses a copy of an array whose length is not known: a change of one would be a change of the other.
    fn refuse_copy(&mut self, ty: TypeId, span: Span) {
        let text = self.type_text(ty);
        let message = format_args!("a copy of `{text}` is not supported: its length is not known");
        let note = format_args!("copy the elements into an array `[T; N]`");
        self.error_with_note(span, Code::Refused, message, note);
    }

    /// The array type of a view with the length of a literal.
    fn array_type_of(&mut self, view: TypeId, value: ExprId) -> Option<TypeId> {
        let element = self.unit.program.types.part(view, 0);
        let source = self.source;
        let length = match self.tree.expr(value).kind {
            ExprKind::Array(list) => list.len,
            ExprKind::Repeat(_, count) => self.program().array_length(source, count)?,
            _ => return None,
        };
        Some(self.intern(Head::Array(length), &[element], self.span(value)))
    }

    fn bind_error(&mut self, pattern: PatternId) {
        if let PatternKind::Bind(name) = self.tree.pattern(pattern).kind {
            self.add_variable(name, Typed::ERROR, true);
        }
    }

    /// Binds the names of a loop to one of its values.
    pub(super) fn bind_item(&mut self, pattern: PatternId, value: Typed) {
        let outer = self.variables.len();
        match self.tree.pattern(pattern).kind {
            // It is where the array has it: the loop does not see writes to that.
            PatternKind::Bind(name) => self.add_variable(name, value, false),
            _ => self.bind_pattern(pattern, value, false, None),
        }
        self.mark_parts(outer);
        self.check_distinct_names(outer, pattern);
    }

    /// Reports a name that a pattern binds twice, of the variables from number `outer` on.
    pub(super) fn check_distinct_names(&mut self, outer: usize, pattern: PatternId) {
        let outer = u32::try_from(outer).unwrap_or(u32::MAX);
        let mut bound = self.variables.iter().skip(usize::try_from(outer).unwrap_or(usize::MAX));
        // The variable that it hides is one of the same pattern.
        let is_second = |variable: &&Variable| {
            let (walk, index) = variable.shadowed;
            walk == self.walk && index >= outer
        };
        if let Some(variable) = bound.find(is_second) {
            let (name, span) = (self.name(variable.name), self.tree.pattern(pattern).span);
            let message = format_args!("the pattern binds `{name}` twice");
            self.error(span, Code::DuplicateName, message);
        }
    }

    /// Binds the names of a declaration.
    fn bind_pattern(
        &mut self,
        pattern: PatternId,
        value: Typed,
        mutable: bool,
        dest: Option<Place>,
    ) {
        let Pattern { kind, span } = self.tree.pattern(pattern);
        match kind {
            PatternKind::Wildcard => {}
            PatternKind::Bind(name) => {
                let value = self.owned(value, mutable, dest, span);
                self.add_variable(name, value, mutable);
            }
            PatternKind::Tuple(parts) => {
                let tree = self.tree;
                let parts = tree.list(parts);
                let fields = match self.head(value.ty) {
                    Head::Tuple => self.program().fields_of(value.ty, 0),
                    _ => Vec::new(),
                };
                if fields.len() != parts.len() {
                    if !value.ty.fits_all() {
                        let text = self.type_text(value.ty);
                        let count = parts.len();
                        let message = format_args!("`{text}` is no tuple of {count} values");
                        self.error(span, Code::BadPattern, message);
                    }
                    for &part in parts {
                        self.bind_pattern(PatternId(part), Typed::ERROR, mutable, None);
                    }
                    return;
                }
                let Value::Place(place) = value.value else { return };
                for (&part, field) in parts.iter().zip(fields) {
                    let loaded = self.load(Self::inside(place, field.offset), field.ty);
                    self.bind_pattern(PatternId(part), loaded, mutable, None);
                }
            }
            _ => {
                self.error(span, Code::BadPattern, format_args!("a declaration binds names"));
            }
        }
    }

    /// A value in locals or memory of its own variable.
    pub(super) fn owned(
        &mut self,
        value: Typed,
        mutable: bool,
        dest: Option<Place>,
        span: Span,
    ) -> Typed {
        match self.repr(value.ty) {
            Repr::Nothing | Repr::Unknown => value,
            Repr::Pair if mutable => self.pair_copy(value),
            Repr::Pair => value,
            Repr::Scalar(ty) => {
                let is_constant = matches!(value.value, Value::Number(_) | Value::Float(_));
                if is_constant && !mutable {
                    return value;
                }
                let to = self.builder.local(ty);
                self.set(to, value);
                Typed::local(value.ty, to)
            }
            Repr::Memory => {
                let place = match dest {
                    Some(place) => place,
                    None => match value.value {
                        Value::Place(place) if value.temporary && place.index.is_none() => {
                            Place::at(Base::Pointer(self.address(place)))
                        }
                        _ => self.variable_place(value.ty, span),
                    },
                };
                let is_taken = dest.is_none() && value.temporary;
                if !is_taken {
                    self.store_in(place, value);
                }
                Typed::new(value.ty, Value::Place(place))
            }
        }
    }

    fn assign(&mut self, op: Option<BinaryOp>, target: ExprId, value: ExprId, span: Span) {
        if let ExprKind::Name(name) = self.tree.expr(target).kind
            && let Some(variable) = self.variable(name)
            && self.repr(variable.value.ty) != Repr::Memory
        {
            return self.assign_variable(op, variable, (target, value), span);
        }
        if let ExprKind::Name(name) = self.tree.expr(target).kind
            && self.variable(name).is_none()
        {
            return self.assign_unknown(name, op, value, self.span(target));
        }
        let Some((place, ty)) = self.assigned_place(target) else {
            self.expr(value, Want::NOTHING);
            return;
        };
        let place = self.stable_place(place, target, value);
        let result = match op {
            None => {
                let typed = self.expr(value, Want::of(ty));
                self.coerce(typed, ty, self.span(value))
            }
            Some(op) => {
                let old = self.load(place, ty);
                let right = self.expr(value, Self::beside(op, old, Want::NOTHING));
                let spans = Spans { right: self.span(value), ..span.into() };
                let result = self.operate(op, old, right, Want::NOTHING, spans);
                self.coerce(result, ty, span)
            }
        };
        if result.ty.fits_all() {
            return;
        }
        // The old value may be a part of the new one.
        let result = match self.repr(ty) {
            Repr::Memory => self.copied(result, span),
            _ => result,
        };
        self.store(place, result);
    }

    fn assign_variable(
        &mut self,
        op: Option<BinaryOp>,
        variable: Variable,
        (target, value): (ExprId, ExprId),
        span: Span,
    ) {
        let ty = variable.value.ty;
        let old = match op {
            Some(_) => self.stable(variable.value, target, value),
            None => variable.value,
        };
        let want = op.map_or(Want::of(ty), |op| Self::beside(op, old, Want::NOTHING));
        let typed = self.expr(value, want);
        if !variable.mutable {
            self.not_assignable(variable.name, self.span(target));
            return;
        }
        if self.unit.program.types.has_view(ty) {
            return self.refuse_copy(ty, span);
        }
        let typed = match op {
            None => typed,
            Some(op) => {
                let spans = Spans { right: self.span(value), ..span.into() };
                self.operate(op, old, typed, Want::NOTHING, spans)
            }
        };
        let typed = self.coerce(typed, ty, self.span(value));
        match variable.value.value {
            _ if typed.ty.fits_all() => {}
            Value::Local(local) => self.set(local, typed),
            Value::Pair(first, second) => {
                if let Value::Pair(one, two) = typed.value {
                    self.builder.copy(Scalar::Pointer, first, one);
                    self.builder.copy(Scalar::I64, second, two);
                }
            }
            _ => {}
        }
    }

    fn not_assignable(&mut self, name: Name, span: Span) {
        let variable = self.variable(name);
        self.not_mutable(name, variable, span);
    }

    fn not_mutable(&mut self, name: Name, variable: Option<Variable>, span: Span) {
        let text = self.name(name);
        let message = format_args!("`{text}` is not mutable");
        let note = match variable {
            Some(_) if name == Name::SELF => "a method that changes it is declared as `me name()`",
            Some(variable) if variable.is_part => {
                "a loop or an arm of `match` names it: copy the value to a variable of `var`"
            }
            Some(_) => "declare it with `var`, or a parameter with `mut`",
            None => "a constant does not change: copy the value to a variable of `var`",
        };
        let note = format_args!("{note}");
        self.error_with_note(span, Code::NotAssignable, message, note);
    }

    /// An assignment to a name that is no variable; at the top level of a script it declares one.
    fn assign_unknown(&mut self, name: Name, op: Option<BinaryOp>, value: ExprId, span: Span) {
        let text = self.name(name);
        if let Some(Item::Const(_)) = self.unit.program.item(self.source, name) {
            self.not_assignable(name, span);
        } else if self.is_script && op.is_none() && name == Name::MAIN {
            // `main = e` is the result of the script.
            return self.return_value(Some(value), span);
        } else if self.is_script && op.is_none() && self.blocks == 1 {
            let typed = self.expr(value, Want::NOTHING);
            let typed = self.settle(typed);
            let owned = self.owned(typed, true, None, span);
            return self.add_variable(name, owned, true);
        } else if self.unit.program.item(self.source, name).is_some() {
            self.no_variable(self.source, name, span);
        } else if op.is_none()
            && !self.is_captured(name)
            && !self.is_of_script(name)
            && self.similar_name(text).is_none()
        {
            let message = format_args!("name `{text}` not found");
            let note = format_args!("declare it with `var`, or with `val` if it does not change");
            self.error_with_note(span, Code::UnknownName, message, note);
            // Its uses are no errors.
            self.note_unknown(name);
        } else {
            self.unknown_name(name, span);
        }
        self.expr(value, Want::NOTHING);
    }

    /// The place of a variable or a part of one that an assignment or a call changes. The variable has to be mutable.
    pub(super) fn assigned_place(&mut self, target: ExprId) -> Option<(Place, TypeId)> {
        if self.depth >= MAX_DEPTH {
            return None;
        }
        self.depth += 1;
        let place = self.assigned_place_inner(target);
        self.depth -= 1;
        place
    }

    fn assigned_place_inner(&mut self, target: ExprId) -> Option<(Place, TypeId)> {
        let Expr { kind, span } = self.tree.expr(target);
        match kind {
            ExprKind::Name(name) => {
                let Some(variable) = self.variable(name) else {
                    self.no_variable(self.source, name, span);
                    return None;
                };
                match variable.value.value {
                    Value::Place(place) if variable.mutable => Some((place, variable.value.ty)),
                    Value::Place(_) => {
                        self.not_assignable(name, span);
                        None
                    }
                    _ => self.no_parts(variable.value.ty, span),
                }
            }
            // It is reported.
            ExprKind::Error => None,
            ExprKind::Field(base, name) => {
                if let Some(file) = self.module_prefix(base) {
                    self.no_variable(file, name, span);
                    return None;
                }
                let (place, ty) = self.assigned_base(base)?;
                if self.unit.program.types.has_params(ty) {
                    self.opaque();
                    return None;
                }
                let Some(field) = self.program().field(ty, name) else {
                    self.no_field(ty, name, span);
                    return None;
                };
                Some((Self::inside(place, field.offset), field.ty))
            }
            ExprKind::TupleField(base, index) => self.assigned_tuple_field(base, index, span),
            ExprKind::Index(base, index) => self.assigned_element(base, index, span),
            ExprKind::Unary(UnaryOp::Dereference, operand) => {
                let value = self.expr(operand, Want::NOTHING);
                self.check_pointer(value.ty, span);
                self.pointed(value, span)
            }
            _ => {
                let message = format_args!("a value that is not stored is not assigned to");
                self.error(span, Code::NotAssignable, message);
                None
            }
        }
    }

    fn assigned_tuple_field(
        &mut self,
        base: ExprId,
        index: u32,
        span: Span,
    ) -> Option<(Place, TypeId)> {
        let (place, ty) = self.assigned_base(base)?;
        if self.unit.program.types.has_params(ty) {
            self.opaque();
            return None;
        }
        let Some(field) = self.program().tuple_field(ty, index) else {
            self.no_tuple_field(ty, index, span);
            return None;
        };
        Some((Self::inside(place, field.offset), field.ty))
    }

    /// Memory that holds a place.
    fn assigned_base(&mut self, base: ExprId) -> Option<(Place, TypeId)> {
        let (place, ty) = self.assigned_place(base)?;
        if place.index.is_none() {
            return Some((place, ty));
        }
        // Elements of an array of memory have no index of their own.
        self.no_parts(ty, self.span(base))
    }

    /// Refuses an assignment to a part of a value that has none.
    fn no_parts<T>(&mut self, ty: TypeId, span: Span) -> Option<T> {
        if self.is_template && self.unit.program.types.has_params(ty) {
            self.opaque();
        } else if !ty.fits_all() {
            let text = self.type_text(ty);
            let message = format_args!("a value of `{text}` has no parts that are assigned to");
            self.error(span, Code::NotAssignable, message);
        }
        None
    }

    /// Refuses an assignment to a name of a file that is no variable, or to a part of it.
    fn no_variable(&mut self, file: u32, name: Name, span: Span) {
        match self.unit.program.item(file, name) {
            Some(Item::Const(_)) => self.not_mutable(name, None, span),
            Some(Item::Ambiguous) => _ = self.ambiguous_name(name, span),
            Some(_) => {
                let text = self.name(name);
                let message = format_args!("`{text}` is no variable");
                self.error(span, Code::NotAssignable, message);
            }
            None if file != self.source => _ = self.unknown_member(file, name, span),
            None => _ = self.unknown_name(name, span),
        }
    }

    fn assigned_element(
        &mut self,
        base: ExprId,
        index: ExprId,
        span: Span,
    ) -> Option<(Place, TypeId)> {
        if let ExprKind::Name(name) = self.tree.expr(base).kind
            && let Some(variable) = self.variable(name)
            && !matches!(variable.value.value, Value::Place(_))
        {
            let is_pointer = matches!(self.head(variable.value.ty), Head::Pointer(_));
            if is_pointer {
                self.check_pointer(variable.value.ty, span);
            } else if !variable.mutable {
                self.not_assignable(name, self.span(base));
                return None;
            }
            return self.element(variable.value, index, span);
        }
        if self.is_stored_pointer(base) {
            let value = self.expr(base, Want::NOTHING);
            self.check_pointer(value.ty, span);
            return self.element(value, index, span);
        }
        let (place, ty) = match self.tree.expr(base).kind {
            ExprKind::Unary(..)
            | ExprKind::Name(_)
            | ExprKind::Field(..)
            | ExprKind::TupleField(..)
            | ExprKind::Index(..) => self.assigned_base(base)?,
            _ => {
                let message = format_args!("a value that is not stored is not assigned to");
                self.error(span, Code::NotAssignable, message);
                return None;
            }
        };
        let value = match self.repr(ty) {
            Repr::Memory => Typed::new(ty, Value::Place(place)),
            _ => self.load(place, ty),
        };
        self.element(value, index, span)
    }

    /// Whether the expression is a part of a value and a pointer, behind which memory is no part of that value. One with an error
    /// counts, which is reported where it is lowered.
    fn is_stored_pointer(&mut self, id: ExprId) -> bool {
        let kind = self.tree.expr(id).kind;
        self.unit.program.has_pointers
            && matches!(kind, ExprKind::Field(..) | ExprKind::TupleField(..) | ExprKind::Index(..))
            && {
                let (ty, _) = self.type_of(id);
                ty.is_error() || matches!(self.head(ty), Head::Pointer(_))
            }
    }

    fn check_pointer(&mut self, ty: TypeId, span: Span) {
        if self.head(ty) == Head::Pointer(false) {
            let text = self.type_text(ty);
            let message = format_args!("memory behind `{text}` is not mutable");
            self.error(span, Code::NotAssignable, message);
        }
    }

    fn while_loop(&mut self, label: Option<Name>, condition: ExprId, body: BlockId) {
        let (head, next, exit) = (self.target(), self.target(), self.target());
        let is_endless = matches!(self.tree.expr(condition).kind, ExprKind::Bool(true));
        if !is_endless {
            self.jump(next);
        }
        self.bind_loop(head);
        self.loop_body(Loop { label, exit, next }, body);
        self.bind(next);
        self.locate(self.span(condition));
        if is_endless {
            self.jump(head);
        } else {
            self.condition(condition, true, head);
        }
        self.bind(exit);
    }

    /// Binds the head of a loop, to which its end jumps.
    pub(super) fn bind_loop(&mut self, head: Target) {
        self.builder.bind(head.label);
        self.reachable = true;
    }

    pub(super) fn loop_body(&mut self, open: Loop, body: BlockId) {
        self.push(|body| &mut body.loops, open);
        self.block(body, Want::NOTHING, false);
        self.loops.pop();
    }

    fn endless(&mut self, label: Option<Name>, body: BlockId) {
        let (head, exit) = (self.target(), self.target());
        self.bind_loop(head);
        self.loop_body(Loop { label, exit, next: head }, body);
        self.jump(head);
        self.bind(exit);
    }

    fn open_loop(&mut self, label: Option<Name>, keyword: &str, span: Span) -> Option<Loop> {
        let found = match label {
            None => self.loops.last(),
            Some(label) => self.loops.iter().rev().find(|open| open.label == Some(label)),
        };
        if let Some(found) = found {
            return Some(*found);
        }
        match label {
            Some(label) => {
                let label = self.name(label);
                let message = format_args!("no loop around this has the label `'{label}`");
                self.error(span, Code::BadLabel, message);
            }
            None => {
                let message = format_args!("`{keyword}` outside of a loop");
                self.error(span, Code::BadLabel, message);
            }
        }
        None
    }

    fn break_loop(&mut self, label: Option<Name>, value: Option<ExprId>, span: Span) {
        if value.is_some() {
            self.refuse(span, "`break` with a value", "assign to a variable in front of it");
        }
        if let Some(open) = self.open_loop(label, "break", span) {
            self.jump(open.exit);
        }
    }

    fn return_value(&mut self, value: Option<ExprId>, span: Span) {
        if self.number == NO_FUNCTION {
            self.error(span, Code::BadLabel, format_args!("`return` outside of a function"));
            return self.leave();
        }
        match value {
            None => self.finish_with(Typed::UNIT, span),
            Some(id) => {
                let want = Want { ty: self.result, dest: self.result_place, ..Want::NOTHING };
                let typed = self.expr(id, want);
                self.finish_with(typed, self.span(id));
            }
        }
    }

    /// Leaves the function with a value.
    pub(super) fn finish_with(&mut self, value: Typed, span: Span) {
        let value = match self.result {
            Some(ty) => self.coerce(value, ty, span),
            None => {
                let value = self.settle(value);
                if value.ty != TypeId::NEVER {
                    self.result = Some(value.ty);
                }
                value
            }
        };
        if !self.reachable {
            return;
        }
        if value.ty.fits_all() || self.is_probe {
            self.builder.trap(TRAP_ASSERT);
            return self.leave();
        }
        match (self.repr(value.ty), self.result_place) {
            (Repr::Scalar(ty), _) => {
                let local = self.local_of(value);
                self.builder.return_value(ty, local);
            }
            (Repr::Memory | Repr::Pair, Some(place)) => {
                self.store_in(place, value);
                self.builder.return_none();
            }
            _ => self.builder.return_none(),
        }
        self.leave();
    }

    fn assert(&mut self, condition: ExprId, message: Option<ExprId>, span: Span) {
        let text = match message.map(|message| self.tree.expr(message)) {
            Some(Expr { kind: ExprKind::Text(number), .. }) => number,
            Some(Expr { span, .. }) => {
                self.refuse(span, "a computed message", "write a text literal");
                NO_TEXT
            }
            None => NO_TEXT,
        };
        let holds = self.target();
        self.condition(condition, true, holds);
        if self.reachable {
            // The condition has places of its own.
            self.locate(span);
            // It is found by its place.
            let (offset, source) = (self.located, self.source);
            let message = generator::AssertionMessage { offset, source, text };
            self.push(|body| &mut body.messages, message);
            self.builder.trap(TRAP_ASSERT);
            self.leave();
        }
        self.bind(holds);
    }
}
