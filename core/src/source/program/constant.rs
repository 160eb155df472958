//! Evaluation at compile time: constants, lengths of arrays, discriminants and patterns.

use super::*;
use crate::ir::Scalar;

/// The deepest nesting of a constant's expression, with those of the constants that it names.
const MAX_LEVELS: u32 = 200;

/// A value at compile time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::source) enum ConstValue {
    /// Modulo the width of the type, with its sign.
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

/// `value` modulo the width of `scalar`.
pub(in crate::source) fn wrap(value: i128, scalar: Scalar) -> i128 {
    let bits = scalar.bits();
    let modulus = 1_i128 << bits;
    let low = value & (modulus - 1);
    if scalar.is_signed() && low >= modulus / 2 { low - modulus } else { low }
}

/// Whether `value` is a value of `scalar`.
pub(in crate::source) fn fits(value: i128, scalar: Scalar) -> bool {
    wrap(value, scalar) == value
}

impl Program<'_, '_> {
    /// The scalar that a type is.
    pub(in crate::source) fn scalar(&self, ty: TypeId) -> Option<Scalar> {
        match self.types.head(ty) {
            Head::Scalar(scalar) => Some(scalar),
            _ => None,
        }
    }

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
                 not of elements, `.len()` or calls"
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
        let Some(wanted) = wanted else { return Some(Evaluated { is_flexible: false, ..value }) };
        let made = self.convert_literal(value, wanted);
        if made.is_none() && !wanted.is_error() {
            let span = self.source(source).map(|s| s.tree.expr(decl.value).span);
            let span = span.unwrap_or_default();
            let is_too_large = self.scalar(wanted).is_some_and(|scalar| match value.value {
                ConstValue::Integer(_) => scalar != Scalar::Bool && !scalar.is_float(),
                ConstValue::Float(_) => scalar.is_float(),
                _ => false,
            });
            let is_too_large = is_too_large && value.is_flexible;
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

    /// A value as one of `wanted` where that is implied: literals, and values of the same or a narrower type.
    pub(in crate::source) fn convert_literal(
        &self,
        value: Evaluated,
        wanted: TypeId,
    ) -> Option<Evaluated> {
        if value.ty == wanted {
            return Some(Evaluated { is_flexible: false, ..value });
        }
        let scalar = self.scalar(wanted)?;
        if !value.is_flexible {
            let is_implied = is_wider(scalar, self.scalar(value.ty)?);
            return is_implied.then_some(Evaluated { ty: wanted, ..value });
        }
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
        Some(Evaluated { value: converted, ty: wanted, is_flexible: false })
    }

    /// The value of an expression of literals and constants; `None` without an error where it has none, but for one that
    /// nests too deeply.
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
        match tree.expr(id).kind {
            ExprKind::Integer(number, suffix) => {
                Some(integer_literal(tree.number(number).into(), suffix))
            }
            ExprKind::Float(number, suffix) => {
                let value = f64::from_bits(tree.number(number));
                let value = ConstValue::Float(rounded(value, suffix.unwrap_or(Scalar::F64)));
                let ty = suffix.map_or(TypeId::F64, TypeId::scalar);
                Some(Evaluated { value, ty, is_flexible: suffix.is_none() })
            }
            ExprKind::Bool(value) => {
                let value = ConstValue::Bool(value);
                Some(Evaluated { value, ty: TypeId::BOOL, is_flexible: false })
            }
            ExprKind::Text(number) => {
                let value = ConstValue::Text(source, number);
                Some(Evaluated { value, ty: TypeId::TEXT, is_flexible: false })
            }
            ExprKind::Name(name) => match self.item(source, name)? {
                Item::Const(number) => self.constant(number),
                _ => None,
            },
            ExprKind::Unary(op, operand) => {
                let operand = self.evaluate(source, operand, wanted)?;
                self.evaluate_unary(op, operand, wanted)
            }
            ExprKind::Binary(op, left, right) => {
                let span = tree.expr(id).span;
                self.evaluate_operation((source, span), op, [left, right], wanted)
            }
            ExprKind::Cast(value, ty) => {
                let value = self.evaluate(source, value, None)?;
                let ty = self.resolve(source, ty, &[]);
                self.evaluate_cast(value, ty)
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
            _ => {
                self.check_parts(source, id);
                None
            }
        }
    }

    fn evaluate_operation(
        &mut self,
        (source, span): (u32, Span),
        op: BinaryOp,
        [left, right]: [ExprId; 2],
        wanted: Option<TypeId>,
    ) -> Option<Evaluated> {
        let left = self.evaluate(source, left, wanted)?;
        let is_decided = matches!(
            (op, left.value),
            (BinaryOp::And, ConstValue::Bool(false)) | (BinaryOp::Or, ConstValue::Bool(true))
        );
        self.skipped += u32::from(is_decided);
        let right = self.evaluate(source, right, wanted);
        self.skipped -= u32::from(is_decided);
        let right = self.checked_operand((source, span), op, left, right?)?;
        self.evaluate_binary(op, left, right, wanted)
    }

    /// Reports errors in the parts of an array, tuple or struct, and in `.fdiv()`.
    fn check_parts(&mut self, source: u32, id: ExprId) {
        let Some(tree) = self.source(source).map(|source| &source.tree) else { return };
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
        self.is_unit_enum(number).then_some(Evaluated { value, ty, is_flexible: false })
    }

    fn evaluate_unary(
        &self,
        op: UnaryOp,
        operand: Evaluated,
        wanted: Option<TypeId>,
    ) -> Option<Evaluated> {
        let scalar = self.scalar(operand.ty)?;
        let value = match (op, operand.value) {
            (UnaryOp::Negate, ConstValue::Integer(value)) if operand.is_flexible => {
                // Wrapped where a type is known: `-128i8` and `-9223372036854775808` are in range.
                ConstValue::Integer(value.checked_neg()?)
            }
            (UnaryOp::Negate, ConstValue::Integer(value)) => {
                ConstValue::Integer(wrap(value.checked_neg()?, scalar))
            }
            (UnaryOp::Negate, ConstValue::Float(value)) => ConstValue::Float(-value),
            (UnaryOp::Complement, ConstValue::Integer(value)) if operand.is_flexible => {
                ConstValue::Integer(complement(value, wanted.and_then(|ty| self.scalar(ty))))
            }
            (UnaryOp::Complement, ConstValue::Integer(value)) => {
                ConstValue::Integer(wrap(!value, scalar))
            }
            (UnaryOp::Not, ConstValue::Bool(value)) => ConstValue::Bool(!value),
            _ => return None,
        };
        Some(Evaluated { value, ..operand })
    }

    fn evaluate_binary(
        &self,
        op: BinaryOp,
        left: Evaluated,
        right: Evaluated,
        wanted: Option<TypeId>,
    ) -> Option<Evaluated> {
        let (left, right) = self.by_left_type(op, left, right, wanted)?;
        let ty = match (left.is_flexible, right.is_flexible) {
            _ if left.ty == right.ty => left.ty,
            (true, false) => right.ty,
            (false, true) => left.ty,
            (true, true) => TypeId::F64,
            (false, false) => return None,
        };
        let is_flexible = left.is_flexible && right.is_flexible;
        let fit = |side: Evaluated| {
            let side = Evaluated { is_flexible: side.ty != ty || side.is_flexible, ..side };
            if is_flexible && side.ty == ty { Some(side) } else { self.convert_literal(side, ty) }
        };
        let (left, right) = (fit(left)?.value, fit(right)?.value);
        let scalar = self.scalar(ty)?;
        let bool_value = |value| {
            Some(Evaluated { value: ConstValue::Bool(value), ty: TypeId::BOOL, is_flexible: false })
        };
        let value = match (left, right) {
            (ConstValue::Integer(a), ConstValue::Integer(b)) => {
                if let Some(order) = compare(op, a.partial_cmp(&b)) {
                    return bool_value(order);
                }
                ConstValue::Integer(match is_flexible {
                    true => fold_literals(op, a, b, wanted.and_then(|ty| self.scalar(ty)))?,
                    false => integer(op, a, b, scalar)?,
                })
            }
            (ConstValue::Float(a), ConstValue::Float(b)) => {
                if let Some(order) = compare(op, a.partial_cmp(&b)) {
                    return bool_value(order);
                }
                // Rounded as at run time.
                ConstValue::Float(rounded(float(op, a, b)?, scalar))
            }
            (ConstValue::Bool(a), ConstValue::Bool(b)) => match op {
                BinaryOp::And => return bool_value(a && b),
                BinaryOp::Or => return bool_value(a || b),
                _ => return bool_value(compare(op, a.partial_cmp(&b))?),
            },
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
    ) -> Option<(Evaluated, Evaluated)> {
        let is_integer = |value: Evaluated| matches!(value.value, ConstValue::Integer(_));
        if !op.is_of_left_type() || right.is_flexible || !is_integer(left) || !is_integer(right) {
            return Some((left, right));
        }
        let wanted =
            wanted.and_then(|ty| self.convert_literal(left, ty)).filter(|&v| is_integer(v));
        let left = match (left.is_flexible, wanted) {
            (true, Some(wanted)) => wanted,
            (true, None) => self.convert_literal(left, TypeId::I64)?,
            (false, _) => left,
        };
        Some((left, Evaluated { ty: left.ty, ..right }))
    }

    fn evaluate_cast(&self, value: Evaluated, ty: TypeId) -> Option<Evaluated> {
        let scalar = self.scalar(ty)?;
        let value = match value.value {
            ConstValue::Integer(number) if scalar.is_float() => {
                ConstValue::Float(nearest_to(number, scalar))
            }
            ConstValue::Integer(number) if scalar == Scalar::Bool => ConstValue::Bool(number != 0),
            ConstValue::Integer(number) => ConstValue::Integer(wrap(number, scalar)),
            ConstValue::Bool(value) if !scalar.is_float() && scalar != Scalar::Bool => {
                ConstValue::Integer(value.into())
            }
            ConstValue::Float(number) if scalar.is_float() => {
                ConstValue::Float(rounded(number, scalar))
            }
            _ => return None,
        };
        Some(Evaluated { value, ty, is_flexible: false })
    }
}

/// An integer literal. Beyond the largest i64 one without a type states the bits.
fn integer_literal(value: i128, suffix: Suffix) -> Evaluated {
    let ty = suffix.map_or(TypeId::I64, TypeId::scalar);
    let value = match suffix {
        None => ConstValue::Integer(value),
        Some(scalar) if scalar.is_float() => ConstValue::Float(nearest_to(value, scalar)),
        Some(scalar) => ConstValue::Integer(wrap(value, scalar)),
    };
    Evaluated { value, ty, is_flexible: suffix.is_none() }
}

/// The value of a float type that is nearest to an integer.
#[expect(clippy::cast_precision_loss, reason = "the nearest value is the result")]
pub(in crate::source) fn nearest_to(value: i128, scalar: Scalar) -> f64 {
    if scalar == Scalar::F32 { f64::from(value as f32) } else { value as f64 }
}

/// The value of a float type that is nearest to a number.
#[expect(clippy::cast_possible_truncation, reason = "the nearest value is the result")]
pub(in crate::source) fn rounded(value: f64, scalar: Scalar) -> f64 {
    if scalar == Scalar::F32 { f64::from(value as f32) } else { value }
}

pub(in crate::source) fn compare(op: BinaryOp, order: Option<core::cmp::Ordering>) -> Option<bool> {
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
pub(in crate::source) fn float(op: BinaryOp, a: f64, b: f64) -> Option<f64> {
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
pub(in crate::source) fn fold_literals(
    op: BinaryOp,
    a: i128,
    b: i128,
    wanted: Option<Scalar>,
) -> Option<i128> {
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
pub(in crate::source) fn complement(value: i128, wanted: Option<Scalar>) -> i128 {
    match wanted.filter(|scalar| !scalar.is_float() && *scalar != Scalar::Bool) {
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

pub(in crate::source) fn integer(op: BinaryOp, a: i128, b: i128, scalar: Scalar) -> Option<i128> {
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
