//! Evaluation at compile time: constants, lengths of arrays, discriminants and patterns.

use super::operation::{
    ConstValue, Evaluated, beside, cast, float_literal, integer_literal, is_out_of_range, settled,
};
use super::*;

/// The deepest nesting of a constant's expression, with those of the constants that it names.
const MAX_LEVELS: u32 = 200;

/// How far a constant is known.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::source) enum State {
    Open,
    Evaluating,
    Known(Evaluated),
    /// It has no value at compile time, but may be an array or struct.
    Compound,
    /// An array or struct that is being written out.
    Lowering,
    /// An array or struct that was written out without errors.
    Checked,
    /// Its error is reported.
    Wrong,
}

impl Program<'_, '_> {
    /// The value of an integer constant, or an error.
    pub(in crate::source) fn constant_integer(&mut self, source: u32, id: ExprId) -> Option<i64> {
        let value = self.evaluate(source, id, None).map(|evaluated| evaluated.value);
        if let Some(ConstValue::Integer(value)) = value
            && let Ok(value) = i64::try_from(value)
        {
            return Some(value);
        }
        let span = self.source(source)?.tree.expr(id).span;
        if !self.is_wrong(source, id) {
            let message = format_args!("not a constant integer");
            let note = format_args!(
                "a length or discriminant is computed of numbers, and of constants that are: \
                 not of elements, `.len()` or calls but those of `min` and `max`"
            );
            let kind = (Severity::Error, Code::NotConstant);
            self.report(source, span, kind, message, Some(note));
        }
        None
    }

    /// Whether an error of the expression, or of the constant that it names, is reported.
    fn is_wrong(&self, source: u32, id: ExprId) -> bool {
        let kind = |source: u32, id| self.source(source).map(|source| source.tree.expr(id).kind);
        let item = match kind(source, id) {
            Some(ExprKind::Error) => return true,
            Some(ExprKind::Name(name)) => self.item(source, name),
            _ => None,
        };
        let Some(Item::Const(number)) = item else { return false };
        at(&self.consts, number).is_some_and(|info| {
            info.state == State::Wrong
                || kind(info.source, info.decl.value) == Some(ExprKind::Error)
        })
    }

    /// The value of a constant; `None` when it is an array or struct, or wrong.
    pub(in crate::source) fn constant(&mut self, number: u32) -> Option<Evaluated> {
        let index = usize::try_from(number).ok()?;
        let info = *self.consts.get(index)?;
        match info.state {
            State::Known(value) => return Some(value),
            State::Compound | State::Checked | State::Wrong => return None,
            State::Evaluating | State::Lowering => {
                let name = self.name(info.decl.word.name);
                let message = format_args!("constant `{name}` depends on itself");
                self.error(info.source, info.decl.word.span, Code::NotConstant, message);
                return None;
            }
            State::Open => {}
        }
        let errors = self.diagnostics.error_count();
        self.set_state(index, State::Evaluating);
        let wanted = info.decl.ty.map(|ty| self.resolve(info.source, ty, &[]));
        let skipped = core::mem::take(&mut self.skipped);
        let value = self.evaluate(info.source, info.decl.value, wanted);
        self.skipped = skipped;
        let value = value.and_then(|value| self.fixed(info.source, info.decl, value, wanted));
        if value.is_none() {
            self.refuse_calls(info.source, info.decl.value);
        }
        let found = value.map_or(State::Compound, State::Known);
        self.set_state(index, self.state_after(errors, info.state, found));
        value
    }

    /// The state of a constant after a step before which there were `errors`: `found` if there are no more. Errors that
    /// are muted have to be found again.
    fn state_after(&self, errors: usize, before: State, found: State) -> State {
        match (self.diagnostics.error_count() == errors, self.diagnostics.muted) {
            (true, _) => found,
            (false, 0) => State::Wrong,
            (false, _) => before,
        }
    }

    /// Marks an array or struct as being written out, until [`end_lowering`](Self::end_lowering); whether it is one.
    pub(in crate::source) fn begin_lowering(&mut self, number: u32) -> bool {
        let index = usize::try_from(number).unwrap_or(usize::MAX);
        let state = self.consts.get(index).map(|info| info.state);
        let is_compound = matches!(state, Some(State::Compound | State::Checked));
        if is_compound {
            self.set_state(index, State::Lowering);
        }
        is_compound
    }

    /// Notes whether an array or struct was written out without errors; before, there were `errors`.
    pub(in crate::source) fn end_lowering(&mut self, number: u32, errors: usize) {
        let index = usize::try_from(number).unwrap_or(usize::MAX);
        let is_muted = self.diagnostics.muted > 0;
        let found = if is_muted { State::Compound } else { State::Checked };
        self.set_state(index, self.state_after(errors, State::Compound, found));
    }

    /// Refuses calls of functions in a constant, which would run wherever it is used.
    fn refuse_calls(&mut self, source: u32, value: ExprId) {
        let Some(tree) = self.source(source).map(|source| &source.tree) else { return };
        let whole = tree.expr(value).span;
        let calls = tree.calls.iter().rev().map(|&call| tree.expr(ExprId(call)));
        let inside = |span: Span| span.start >= whole.start && span.end <= whole.end;
        let calls = calls.skip_while(|call| call.span.start > whole.end);
        let mut called = None;
        for call in calls.take_while(|call| inside(call.span)) {
            let ExprKind::Call { callee, .. } = call.kind else { continue };
            let is_of_function = match tree.expr(callee).kind {
                ExprKind::Name(name) | ExprKind::Generic(name, _) => {
                    matches!(self.item(source, name), Some(Item::Function(_))).then_some(name)
                }
                ExprKind::Field(_, name) => {
                    let mut methods = self.functions.iter().filter(|f| f.owner.is_some());
                    methods.any(|f| f.decl.word.name == name).then_some(name)
                }
                _ => None,
            };
            called = is_of_function.map(|name| (name, call.span)).or(called);
        }
        if let Some((name, span)) = called {
            let name = self.name(name);
            let message = format_args!("a call of `{name}` is not a constant");
            let note = format_args!("call it in a function");
            let kind = (Severity::Error, Code::NotConstant);
            self.report(source, span, kind, message, Some(note));
        }
    }

    fn set_state(&mut self, index: usize, state: State) {
        if let Some(info) = self.consts.get_mut(index) {
            info.state = state;
        }
    }

    /// The value as one of the declared type.
    fn fixed(
        &mut self,
        source: u32,
        decl: ConstDecl,
        value: Evaluated,
        wanted: Option<TypeId>,
    ) -> Option<Evaluated> {
        let Some(wanted) = wanted else { return Some(settled(value)) };
        let made = self.convert_literal(value, wanted);
        if made.is_none() && !wanted.is_error() {
            let span = self.source(source).map(|s| s.tree.expr(decl.value).span);
            let span = span.unwrap_or_default();
            let is_too_large = is_out_of_range(value, self.scalar(wanted));
            let (found, wanted) = (self.type_text(value.ty), self.type_text(wanted));
            if is_too_large {
                let message = format_args!("the number does not fit `{wanted}`");
                self.error(source, span, Code::OutOfRange, message);
            } else {
                let message = format_args!("expected `{wanted}`, found `{found}`");
                self.error(source, span, Code::TypeMismatch, message);
            }
        }
        made
    }

    /// The value of an expression of literals and constants; `None` without an error where it has none, but for one that
    /// nests too deeply, would trap, or has a number that does not fit its suffix.
    pub(in crate::source) fn evaluate(
        &mut self,
        source: u32,
        id: ExprId,
        wanted: Option<TypeId>,
    ) -> Option<Evaluated> {
        if self.depth >= MAX_LEVELS {
            let span = self.source(source)?.tree.expr(id).span;
            let message = format_args!(
                "more than {MAX_LEVELS} levels of expressions in constants that name each other"
            );
            let note = format_args!("declare the constants before those that name them");
            let kind = (Severity::Error, Code::TooDeep);
            self.report(source, span, kind, message, Some(note));
            return None;
        }
        if !self.has_stack(source, id) {
            return None;
        }
        self.depth += 1;
        let value = self.evaluate_inner(source, id, wanted);
        self.depth -= 1;
        value
    }

    fn evaluate_inner(
        &mut self,
        source: u32,
        id: ExprId,
        wanted: Option<TypeId>,
    ) -> Option<Evaluated> {
        let tree = &self.source(source)?.tree;
        let Expr { kind, span } = tree.expr(id);
        if let Some((number, suffix)) = tree.integer(id) {
            let literal = integer_literal(number, suffix);
            if let (None, Some(scalar)) = (literal, suffix) {
                let message = format_args!("the number does not fit `{}`", scalar.name());
                self.error(source, span, Code::OutOfRange, message);
            }
            return literal;
        }
        match kind {
            ExprKind::Float(number, suffix) => {
                let text = self.source(source).map_or("", |source| span.of(source.file.text));
                let wanted = wanted.and_then(|ty| self.scalar(ty));
                Some(float_literal((text, tree.number(number)), suffix, wanted))
            }
            ExprKind::Bool(value) => Some(Evaluated::new(TypeId::BOOL, ConstValue::Bool(value))),
            ExprKind::Text(number) => {
                Some(Evaluated::new(TypeId::TEXT, ConstValue::Text(source, number)))
            }
            ExprKind::Name(name) => match self.item(source, name)? {
                Item::Const(number) => self.constant(number),
                _ => None,
            },
            ExprKind::Unary(op, operand) => {
                let operand = self.evaluate(source, operand, wanted)?;
                self.unary(op, operand, wanted)
            }
            ExprKind::Binary(op, left, right) => {
                self.evaluate_operation((source, span), op, [left, right], wanted)
            }
            ExprKind::Cast(value, ty) => {
                let value = self.evaluate(source, value, None)?;
                let ty = self.resolve(source, ty, &[]);
                cast(value, ty, self.scalar(ty)?)
            }
            ExprKind::Field(owner, variant) => {
                let ExprKind::Name(owner) = tree.expr(owner).kind else { return None };
                match self.item(source, owner)? {
                    Item::Module(file) => match self.item(file, variant)? {
                        Item::Const(number) => self.constant(number),
                        _ => None,
                    },
                    Item::Enum(number) => self.evaluate_variant(number, variant),
                    _ => None,
                }
            }
            ExprKind::Call { .. } => self.evaluate_call(source, id, wanted),
            _ => self.check_parts(source, id),
        }
    }

    fn evaluate_call(
        &mut self,
        source: u32,
        id: ExprId,
        wanted: Option<TypeId>,
    ) -> Option<Evaluated> {
        let tree = &self.source(source)?.tree;
        if let ExprKind::Call { callee, arguments } = tree.expr(id).kind
            && let ExprKind::Name(name @ (Name::MIN | Name::MAX)) = tree.expr(callee).kind
            && self.is_builtin(source, name)
        {
            return self.evaluate_extreme(source, name == Name::MIN, arguments, wanted);
        }
        self.check_parts(source, id)
    }

    /// Whether a name that the language has is that in a file: no item, no function inside another one and no function of
    /// the host has the name.
    fn is_builtin(&self, source: u32, name: Name) -> bool {
        let is_function = |info: &FunctionInfo| {
            info.source == source && info.owner.is_none() && info.decl.word.name == name
        };
        self.item(source, name).is_none()
            && self.external(self.name(name)).is_none()
            && !self.functions.iter().any(is_function)
    }

    /// `min(a, b)` or `max(a, b)` of integers, and the errors in its arguments.
    fn evaluate_extreme(
        &mut self,
        source: u32,
        is_min: bool,
        arguments: List,
        wanted: Option<TypeId>,
    ) -> Option<Evaluated> {
        let tree = &self.source(source)?.tree;
        let mut arguments = tree.entries(&tree.arguments, arguments);
        let (left, right) = (arguments.next()?, arguments.next()?);
        if arguments.next().is_some() || left.name.is_some() || right.name.is_some() {
            return None;
        }
        let left = self.evaluate(source, left.value, wanted);
        let beside_left =
            |left: Evaluated| beside(BinaryOp::Add, (left.ty, left.is_flexible), wanted);
        let wanted = left.map_or(wanted, beside_left);
        let right = self.evaluate(source, right.value, wanted);
        let (left, right) = (left?, right?);
        let (ConstValue::Integer(a), ConstValue::Integer(b)) = (left.value, right.value) else {
            return None;
        };
        // Beyond the largest i64 a literal states the bits.
        if [a, b].iter().any(|&value| i64::try_from(value).is_err()) {
            return None;
        }
        // It has the type of every operation on both.
        let both = self.binary(BinaryOp::BitOr, left, right, wanted)?;
        let value = if is_min { a.min(b) } else { a.max(b) };
        Some(Evaluated { value: ConstValue::Integer(value), ..both })
    }

    fn evaluate_operation(
        &mut self,
        (source, span): (u32, Span),
        op: BinaryOp,
        [left, right]: [ExprId; 2],
        wanted: Option<TypeId>,
    ) -> Option<Evaluated> {
        let wanted = self.number_type(wanted);
        let left = self.evaluate(source, left, wanted)?;
        let is_decided = matches!(
            (op, left.value),
            (BinaryOp::And, ConstValue::Bool(false)) | (BinaryOp::Or, ConstValue::Bool(true))
        );
        self.skipped += u32::from(is_decided);
        let right = self.evaluate(source, right, beside(op, (left.ty, left.is_flexible), wanted));
        self.skipped -= u32::from(is_decided);
        let right = self.checked_operand((source, span), op, left, right?)?;
        self.binary(op, left, right, wanted)
    }

    /// Reports errors in the parts of an array, tuple or struct, and in `.fdiv()`, which have no value.
    fn check_parts(&mut self, source: u32, id: ExprId) -> Option<Evaluated> {
        let tree = &self.source(source)?.tree;
        match tree.expr(id).kind {
            ExprKind::Array(parts) | ExprKind::Tuple(parts) => {
                for &part in tree.list(parts) {
                    self.evaluate(source, ExprId(part), None);
                }
            }
            ExprKind::Repeat(value, _) => _ = self.evaluate(source, value, None),
            ExprKind::Literal { arguments, .. } => _ = self.evaluate_arguments(source, arguments),
            ExprKind::Call { callee, arguments } => {
                let span = tree.expr(id).span;
                let right = self.evaluate_arguments(source, arguments);
                if let ExprKind::Field(left, Name::FDIV) = tree.expr(callee).kind
                    && let (Some(left), Some(right)) = (self.evaluate(source, left, None), right)
                {
                    self.checked_operand((source, span), BinaryOp::Divide, left, right);
                }
            }
            _ => {}
        }
        None
    }

    /// Reports errors in the arguments of a call; the value of the last one.
    fn evaluate_arguments(&mut self, source: u32, arguments: List) -> Option<Evaluated> {
        let tree = &self.source(source)?.tree;
        let arguments = tree.entries(&tree.arguments, arguments);
        arguments.fold(None, |_, argument| self.evaluate(source, argument.value, None))
    }

    /// The operand on the right of an operation that has a result, or an error. Where the operation is skipped, it is
    /// one that has.
    fn checked_operand(
        &mut self,
        (source, span): (u32, Span),
        op: BinaryOp,
        left: Evaluated,
        right: Evaluated,
    ) -> Option<Evaluated> {
        let message = match (op, left.value, right.value) {
            (
                BinaryOp::Divide | BinaryOp::Remainder,
                ConstValue::Integer(_),
                ConstValue::Integer(0),
            ) => "a constant is divided by zero",
            (BinaryOp::Power, ConstValue::Integer(_), ConstValue::Integer(..0)) => {
                "a constant has a negative exponent"
            }
            _ => return Some(right),
        };
        if self.skipped > 0 {
            return Some(Evaluated { value: ConstValue::Integer(1), ..right });
        }
        self.error(source, span, Code::NotConstant, format_args!("{message}"));
        None
    }

    /// The discriminant of a variant, behind `as`.
    fn evaluate_variant(&mut self, number: u32, variant: Name) -> Option<Evaluated> {
        let place = self.variant_place(number, variant)?;
        let variant = at(self.enum_variants(number), place)?;
        let value = ConstValue::Integer(variant.discriminant.into());
        let ty = self.types.intern(Head::Enum(number), &[]).ok()?;
        self.is_unit_enum(number).then_some(Evaluated::new(ty, value))
    }
}
