//! `for`: ranges and arrays.

use super::operator::Spans;
use super::*;
use crate::ir::{Binary, Condition};

/// What a loop iterates over.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Iterated {
    /// A variable, or a part of it.
    Variable(Name),
    /// Elements of an array that may be that of any variable.
    View,
    /// Memory behind a pointer, to which any function may write.
    Pointee,
}

/// The values of a range.
struct RangeEnds {
    start: Typed,
    /// `None` for a range without an end.
    end: Option<Typed>,
    inclusive: bool,
}

impl Body<'_, '_, '_> {
    pub(super) fn for_loop(
        &mut self,
        label: Option<Name>,
        (index, pattern): (Option<PatternId>, PatternId),
        items: ExprId,
        body: BlockId,
    ) {
        let span = self.span(items);
        let variables = self.variables.len();
        match self.range_of(items) {
            Some(Some(range)) => {
                if index.is_some() {
                    self.refuse(span, "a range with an index", "the value is its own index");
                }
                self.range_loop(label, pattern, &range, body);
            }
            Some(None) => {}
            None => self.array_loop(label, (index, pattern), items, body),
        }
        self.drop_variables(variables);
    }

    /// The ends of `a..b` and `range(a, b)`; `None` for other values.
    fn range_of(&mut self, items: ExprId) -> Option<Option<RangeEnds>> {
        let Expr { kind, span } = self.tree.expr(items);
        let (start, end, inclusive) = match kind {
            ExprKind::Range { start, end, inclusive } => (Some(start), end, inclusive),
            ExprKind::Call { callee, arguments } => {
                let ExprKind::Name(Name::RANGE) = self.tree.expr(callee).kind else { return None };
                if !self.is_builtin(Name::RANGE) {
                    return None;
                }
                if self.has_names(format_args!("`range`"), arguments) {
                    return Some(None);
                }
                let values = self.tree.entries(&self.tree.arguments, arguments).map(|a| a.value);
                let (mut values, count) = (values.clone(), values.len());
                match (count, values.next(), values.next()) {
                    (1, end, _) => (None, end, false),
                    (2, start, end) => (start, end, false),
                    _ => {
                        let message = format_args!("`range` has one or two arguments");
                        let note = format_args!("a loop with another step is `while`");
                        self.error_with_note(span, Code::BadCall, message, note);
                        return Some(None);
                    }
                }
            }
            _ => return None,
        };
        Some(self.range_ends(start, end, inclusive, span))
    }

    fn range_ends(
        &mut self,
        start: Option<ExprId>,
        end: Option<ExprId>,
        inclusive: bool,
        span: Span,
    ) -> Option<RangeEnds> {
        let zero = Typed { flexible: true, ..Typed::new(TypeId::I64, Value::Number(0)) };
        let first = start.map_or(zero, |start| self.expr(start, Want::NOTHING));
        let (first, last) = match end {
            None => (self.settle(first), None),
            Some(end) => {
                let first = self.stable(first, start.unwrap_or(end), end);
                let last = self.expr(end, Want::NOTHING);
                let left = start.map_or(span, |start| self.span(start));
                let spans = Spans { whole: span, left, right: self.span(end) };
                let (first, last) = self.same_type(first, last, BinaryOp::Less, spans)?;
                (first, Some(last))
            }
        };
        let is_integer = match self.head(first.ty) {
            Head::Scalar(scalar) => !scalar.is_float() && scalar != Scalar::Bool,
            Head::Param(_) => {
                // The IR of a loop would take floats as well.
                self.opaque();
                true
            }
            _ => false,
        };
        if !is_integer {
            if !first.ty.fits_all() {
                let text = self.type_text(first.ty);
                let message = format_args!("a range of `{text}` has no steps");
                self.error(span, Code::NoOperation, message);
            }
            return None;
        }
        Some(RangeEnds { start: first, end: last, inclusive })
    }

    fn range_loop(
        &mut self,
        label: Option<Name>,
        pattern: PatternId,
        range: &RangeEnds,
        body: BlockId,
    ) {
        let ty = range.start.ty;
        let value_type = self.value_type(ty);
        let counter = self.builder.local(value_type);
        self.set(counter, range.start);
        let (head, next, exit) = (self.target(), self.target(), self.target());
        // The end is computed once, before the loop.
        let end = range.end.map(|end| match end.value {
            Value::Number(number) if i16::try_from(number).is_ok() => self.operand(end),
            _ => {
                let local = self.builder.local(value_type);
                self.set(local, end);
                local.into()
            }
        });
        let stop = if range.inclusive { Condition::Greater } else { Condition::GreaterEqual };
        if let Some(end) = end {
            let label = self.jump_label(exit);
            self.builder.branch(stop, value_type, counter, end, label);
        }
        self.bind_loop(head);
        // The body does not assign to the variable: it is the counter.
        self.bind_item(pattern, Typed::local(ty, counter));
        self.loop_body(Loop { label, exit, next }, body);
        self.bind(next);
        match end {
            Some(end) if range.inclusive => {
                let label = self.jump_label(exit);
                self.builder.branch(Condition::Equal, value_type, counter, end, label);
                self.builder.binary(Binary::Add, value_type, counter, counter, 1);
                self.jump(head);
            }
            Some(end) => {
                self.builder.binary(Binary::Add, value_type, counter, counter, 1);
                let label = self.jump_label(head);
                self.builder.branch(Condition::Less, value_type, counter, end, label);
            }
            None => {
                self.builder.binary(Binary::Add, value_type, counter, counter, 1);
                self.jump(head);
            }
        }
        self.bind(exit);
    }

    fn array_loop(
        &mut self,
        label: Option<Name>,
        (index, pattern): (Option<PatternId>, PatternId),
        items: ExprId,
        body: BlockId,
    ) {
        let span = self.span(items);
        let (items, index, pattern) = self.enumerated(items, index, pattern);
        let array = self.expr(items, Want::NOTHING);
        if array.ty.fits_all() {
            for pattern in index.into_iter().chain([pattern]) {
                self.bind_item(pattern, Typed::ERROR);
            }
            let (exit, next) = (self.target(), self.target());
            self.loop_body(Loop { label, exit, next }, body);
            return;
        }
        let element = self.unit.program.types.part(array.ty, 0);
        // The elements of a view may change in the loop.
        let is_shared = self.head(array.ty) == Head::View;
        let (pointer, length) = match (self.head(array.ty), array.value) {
            (Head::Array(length), Value::Place(place)) => {
                let length = Typed::new(TypeId::I64, Value::Number(length.into()));
                (self.iterated_elements(array, place, items, (pattern, body)), length)
            }
            (Head::View, Value::Pair(pointer, length)) => {
                (pointer, Typed::local(TypeId::I64, length))
            }
            _ => {
                let text = self.type_text(array.ty);
                let message = format_args!("`{text}` has no elements to loop over");
                let is_number = self.scalar(array.ty).is_some_and(|s| s != Scalar::Bool);
                if is_number {
                    let note = format_args!("a loop that counts is `for i in 0..n:`");
                    self.error_with_note(span, Code::NoOperation, message, note);
                } else {
                    self.error(span, Code::NoOperation, message);
                }
                return;
            }
        };
        self.element_loop(label, (index, pattern), (pointer, length, element), is_shared, body);
    }

    /// The address of the values that an array has in front of a loop.
    fn iterated_elements(
        &mut self,
        array: Typed,
        place: Place,
        items: ExprId,
        (pattern, body): (PatternId, BlockId),
    ) -> Local {
        let iterated = match self.root_name(items) {
            Some(name) if !place.is_pointee => Iterated::Variable(name),
            _ => Iterated::Pointee,
        };
        let is_fixed = array.temporary || !place.is_pointee && self.is_immutable(items);
        if !is_fixed
            && self.writes_in(body, iterated, pattern)
            && let Value::Place(copy) = self.copied(array, self.span(items)).value
        {
            return self.address(copy);
        }
        let pointer = self.address(place);
        match place.is_pointee {
            // The body may assign to the variable with the pointer.
            true => self.local_copy(pointer),
            false => pointer,
        }
    }

    /// Whether a block may change what a loop iterates over, by assignments or calls. Nothing assigns to
    /// the variables `own` of the loop.
    fn writes_in(&self, body: BlockId, iterated: Iterated, own: PatternId) -> bool {
        let span = self.tree.block(body).span;
        let assigns =
            self.tree.assigned_in(span).any(|target| self.may_be_part(target, iterated, own));
        const PRINTERS: [Name; 3] = [Name::PRINT, Name::EPRINT, Name::PRINT_RAW];
        // Asked once, and only if the block prints.
        let mut has_printer = None;
        let mut declares_printer = || {
            let declares = || PRINTERS.iter().any(|&name| self.tree.declares_in(span, name));
            *has_printer.get_or_insert_with(declares)
        };
        let passes = self.tree.calls_in(span).any(|call| match self.tree.expr(call).kind {
            ExprKind::Call { callee, arguments } => {
                let callee = self.tree.expr(callee).kind;
                if let ExprKind::Name(name) = callee
                    && PRINTERS.contains(&name)
                    && self.is_builtin(name)
                    && !declares_printer()
                {
                    return false;
                }
                if iterated == Iterated::Pointee {
                    return true;
                }
                let receiver = match callee {
                    ExprKind::Field(base, _) => Some(base),
                    _ => None,
                };
                let arguments = self.tree.entries(&self.tree.arguments, arguments);
                let mut values = receiver.into_iter().chain(arguments.map(|a| a.value));
                values.any(|value| self.may_be_part(value, iterated, own))
            }
            _ => false,
        });
        assigns || passes
    }

    /// Whether an expression may be a part of what a loop iterates over, or have its address.
    fn may_be_part(&self, id: ExprId, iterated: Iterated, own: PatternId) -> bool {
        match (self.root_name(id), iterated) {
            (None, _) => match self.tree.expr(self.root(id)).kind {
                ExprKind::If { .. } | ExprKind::Match { .. } => true,
                // No pointer refers to a variable.
                ExprKind::Unary(UnaryOp::Dereference, _) => {
                    !matches!(iterated, Iterated::Variable(_))
                }
                _ => false,
            },
            (Some(name), Iterated::Variable(root)) => root == name,
            (Some(name), _) if self.tree.pattern(own).kind == PatternKind::Bind(name) => {
                self.unit.program.has_pointers
            }
            // Variables of the body are not known yet.
            (Some(name), _) => self.variable(name).is_none_or(|variable| {
                let ty = variable.value.ty;
                let is_pointer = matches!(self.head(ty), Head::Pointer(_));
                is_pointer || matches!(self.repr(ty), Repr::Memory | Repr::Pair | Repr::Unknown)
            }),
        }
    }

    /// `xs.enumerate()` is `xs` with an index, `(i, x)` its two patterns.
    fn enumerated(
        &mut self,
        items: ExprId,
        index: Option<PatternId>,
        pattern: PatternId,
    ) -> (ExprId, Option<PatternId>, PatternId) {
        let tree = self.tree;
        if let ExprKind::Call { callee, arguments } = tree.expr(items).kind
            && arguments.is_empty()
            && let ExprKind::Field(base, Name::ENUMERATE) = tree.expr(callee).kind
        {
            let parts = match tree.pattern(pattern).kind {
                PatternKind::Tuple(parts) if index.is_none() => tree.list(parts),
                _ => &[],
            };
            if let &[index, pattern] = parts {
                return (base, Some(PatternId(index)), PatternId(pattern));
            }
            if index.is_none() {
                let span = self.span(items);
                let message = format_args!("`enumerate` needs two variables");
                self.error(span, Code::BadPattern, message);
            }
            return (base, index, pattern);
        }
        (items, index, pattern)
    }

    fn element_loop(
        &mut self,
        label: Option<Name>,
        (index, pattern): (Option<PatternId>, PatternId),
        (pointer, length, element): (Local, Typed, TypeId),
        is_shared: bool,
        body: BlockId,
    ) {
        let counter = self.builder.local(Scalar::I64);
        self.builder.constant(Scalar::I64, counter, 0);
        let (head, next, exit) = (self.target(), self.target(), self.target());
        let end = self.branch_operand(length);
        let label_exit = self.jump_label(exit);
        self.builder.branch(Condition::GreaterEqual, Scalar::I64, counter, end, label_exit);
        self.bind_loop(head);
        if let Some(index) = index {
            self.bind_item(index, Typed::local(TypeId::I64, counter));
        }
        let base = Place::at(Base::Pointer(pointer));
        let place = self.element_place(base, element, counter);
        let mut value = self.load(place, element);
        if is_shared
            && matches!(value.value, Value::Place(_))
            && self.writes_in(body, Iterated::View, pattern)
        {
            value = self.copied(value, self.tree.pattern(pattern).span);
        }
        self.bind_item(pattern, value);
        self.loop_body(Loop { label, exit, next }, body);
        self.bind(next);
        self.builder.binary(Binary::Add, Scalar::I64, counter, counter, 1);
        let label = self.jump_label(head);
        self.builder.branch(Condition::Less, Scalar::I64, counter, end, label);
        self.bind(exit);
    }
}
