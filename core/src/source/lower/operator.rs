//! Arithmetic, comparisons and prefix operators.

use super::equality::{MAX_SCALARS, NoEquality};
use super::*;
use crate::ir::{Binary, Condition, Unary};
use crate::source::program::operation::beside;

/// The condition of a comparison.
pub(super) fn condition_of(op: BinaryOp) -> Option<Condition> {
    Some(match op {
        BinaryOp::Equal => Condition::Equal,
        BinaryOp::NotEqual => Condition::NotEqual,
        BinaryOp::Less => Condition::Less,
        BinaryOp::LessEqual => Condition::LessEqual,
        BinaryOp::Greater => Condition::Greater,
        BinaryOp::GreaterEqual => Condition::GreaterEqual,
        _ => return None,
    })
}

/// Where an operation and its operands are.
#[derive(Clone, Copy)]
pub(super) struct Spans {
    pub(super) whole: Span,
    pub(super) left: Span,
    pub(super) right: Span,
}

impl From<Span> for Spans {
    /// Operands that are not told apart.
    fn from(whole: Span) -> Self {
        Self { whole, left: whole, right: whole }
    }
}

impl Body<'_, '_, '_> {
    /// A binary operation. The left operands of `a + b + c` are walked over in a loop.
    pub(super) fn binary(&mut self, id: ExprId, want: Want) -> Typed {
        let mark = self.spine.len();
        let mut first = id;
        while let ExprKind::Binary(op, left, _) = self.tree.expr(first).kind {
            if matches!(op, BinaryOp::And | BinaryOp::Or) {
                break;
            }
            self.push(|body| &mut body.spine, first);
            first = left;
        }
        if first == id {
            return self.logic_value(id);
        }
        let hint = Want { ty: self.unit.program.number_type(want.ty), ..want.operand() };
        let mut left = self.expr(first, hint);
        while self.spine.len() > mark
            && let Some(step) = self.spine.pop()
        {
            let Expr { kind, span } = self.tree.expr(step);
            let ExprKind::Binary(op, before, operand) = kind else { break };
            if let Some(holds) = self.compare_nil(op, left, operand) {
                left = holds;
                continue;
            }
            left = self.stable(left, before, operand);
            let right = self.expr(operand, Self::beside(op, left, hint));
            let (before, operand) = (self.span(before), self.span(operand));
            let spans = Spans { whole: span, left: before, right: operand };
            left = self.operate(op, left, right, hint, spans);
        }
        left
    }

    /// What is asked for of the operand behind `left`.
    pub(super) fn beside(op: BinaryOp, left: Typed, hint: Want) -> Want {
        let wanted = beside(op, (left.ty, left.flexible), hint.ty);
        wanted.map_or(Want::NOTHING, Want::beside)
    }

    /// `x == nil` and `x != nil`, where `x` is no optional value: never nil.
    fn compare_nil(&mut self, op: BinaryOp, left: Typed, operand: ExprId) -> Option<Typed> {
        let holds = match op {
            BinaryOp::Equal => 0,
            BinaryOp::NotEqual => 1,
            _ => return None,
        };
        let is_nil = self.tree.expr(operand).kind == ExprKind::Nil;
        let is_plain = !left.ty.fits_all() && left.ty != TypeId::UNIT;
        (is_nil && is_plain).then(|| Typed::new(TypeId::BOOL, Value::Number(holds)))
    }

    /// One operation on two values. `hint` is the type that the context wants of literals.
    pub(super) fn operate(
        &mut self,
        op: BinaryOp,
        left: Typed,
        right: Typed,
        hint: Want,
        spans: Spans,
    ) -> Typed {
        if left.ty.fits_all() || right.ty.fits_all() {
            return if left.ty == TypeId::NEVER { left } else { Typed::ERROR };
        }
        let (one, two) = (self.known(left), self.known(right));
        if let (Some(one), Some(two)) = (one, two)
            && let Some(folded) = self.unit.program.binary(op, one, two, hint.ty)
        {
            return self.evaluated(folded);
        }
        let left = match one {
            Some(base) if op.is_of_left_type() && !right.flexible => {
                let base = self.unit.program.wanted_base(base, hint.ty);
                self.evaluated(base)
            }
            _ => left,
        };
        if op.is_comparison() {
            return self.compare(op, left, right, spans);
        }
        if op.is_shift() {
            return self.shift(op, left, right, spans);
        }
        if op == BinaryOp::Power {
            return self.power(left, right, spans);
        }
        let Some((left, right)) = self.same_type(left, right, op, spans) else {
            return Typed::ERROR;
        };
        self.arithmetic(op, left, right, spans.whole)
    }

    /// Both operands in the type of the operation.
    pub(super) fn same_type(
        &mut self,
        left: Typed,
        right: Typed,
        op: BinaryOp,
        spans: Spans,
    ) -> Option<(Typed, Typed)> {
        let span = spans.whole;
        if left.ty.fits_all() || right.ty.fits_all() {
            return None;
        }
        let both = (left.flexible, right.flexible);
        let is_float =
            |body: &Self, typed: Typed| body.scalar(typed.ty).is_some_and(Scalar::is_float);
        // Not as if the literal were to be one of a type that is no number.
        let is_other = |typed: Typed| {
            let is_number = |scalar| scalar != Scalar::Bool;
            let is_param = matches!(self.head(typed.ty), Head::Param(_));
            !typed.flexible && !is_param && !self.scalar(typed.ty).is_some_and(is_number)
        };
        if (left.flexible || right.flexible) && (is_other(left) || is_other(right)) {
            self.no_operation(op, left.ty, right.ty, span);
            return None;
        }
        let ty = match both {
            (true, true) if is_float(self, left) || is_float(self, right) => TypeId::F64,
            (true, true) => TypeId::I64,
            // A fraction with an integer computes in f64.
            (true, false) if is_float(self, left) && !is_float(self, right) => TypeId::F64,
            (false, true) if is_float(self, right) && !is_float(self, left) => TypeId::F64,
            (true, false) => right.ty,
            (false, true) => left.ty,
            (false, false) => self.common_type(left, right, op, span)?,
        };
        let mut fit = |typed: Typed, operand: Span| {
            if typed.ty == ty || typed.flexible {
                return self.coerce(typed, ty, operand);
            }
            let is_number = |s: Scalar| s != Scalar::Bool;
            if self.scalar(typed.ty).is_some_and(is_number)
                && self.scalar(ty).is_some_and(is_number)
            {
                return self.convert(typed, ty);
            }
            self.no_operation(op, left.ty, right.ty, span)
        };
        let (left, right) = (fit(left, spans.left), fit(right, spans.right));
        (!left.ty.fits_all() && !right.ty.fits_all()).then_some((left, right))
    }

    /// The type of an operation on two types: the wider one, a float before an integer.
    fn common_type(
        &mut self,
        left: Typed,
        right: Typed,
        op: BinaryOp,
        span: Span,
    ) -> Option<TypeId> {
        if left.ty == right.ty {
            return Some(left.ty);
        }
        let scalars = self.scalar(left.ty).zip(self.scalar(right.ty));
        let numbers = scalars.filter(|&(a, b)| a != Scalar::Bool && b != Scalar::Bool);
        let Some((a, b)) = numbers else {
            self.no_operation(op, left.ty, right.ty, span);
            return None;
        };
        if a.is_float() != b.is_float() {
            return Some(if a.is_float() { left.ty } else { right.ty });
        }
        if !a.is_float() && a.is_signed() != b.is_signed() {
            let (one, two) = (self.type_text(left.ty), self.type_text(right.ty));
            let op = op.text();
            let message = format_args!("`{op}` mixes `{one}` and `{two}`");
            let note = format_args!("convert one operand with `as`");
            self.error_with_note(self.operator_span(op, span), Code::TypeMismatch, message, note);
            return None;
        }
        Some(if a.bits() >= b.bits() { left.ty } else { right.ty })
    }

    pub(super) fn no_operation(
        &mut self,
        op: BinaryOp,
        left: TypeId,
        right: TypeId,
        span: Span,
    ) -> Typed {
        let has_params = [left, right].iter().any(|&ty| self.unit.program.types.has_params(ty));
        if self.is_template && has_params {
            return self.opaque();
        }
        let (one, two, op) = (self.type_text(left), self.type_text(right), op.text());
        if left == right && left == TypeId::TEXT {
            return match op {
                "==" | "!=" | "<" | "<=" | ">" | ">=" => {
                    self.refuse(span, "a comparison of texts", "texts are literals for printing")
                }
                _ => self.refuse(span, "an operation on texts", "it allocates"),
            };
        }
        if op == ">>" && self.head(left) == Head::Function {
            let reason = "it makes a function when the program runs; call them one after the other";
            return self.refuse(span, "the composition of functions `>>`", reason);
        }
        let message = format_args!("`{op}` has no meaning for `{one}` and `{two}`");
        let place = self.operator_span(op, span);
        let is_equality = left == right && matches!(op, "==" | "!=");
        let note = match self.head(left) {
            Head::Enum(_) if is_equality => "a variant is tested by `x is E.A`, or by `match`",
            Head::Array(_) | Head::View if is_equality => "compare the elements in a loop",
            Head::Struct(_) | Head::Tuple if is_equality => match self.has_equality(left) {
                Err(NoEquality::Part(part)) => {
                    let text = self.type_text(part);
                    let note =
                        format_args!("a part of it is of type `{text}`, which has no `{op}`");
                    return self.error_with_note(place, Code::NoOperation, message, note);
                }
                _ => {
                    let note = format_args!("it has more than {MAX_SCALARS} parts");
                    return self.error_with_note(place, Code::NoOperation, message, note);
                }
            },
            _ => return self.error(place, Code::NoOperation, message),
        };
        self.error_with_note(place, Code::NoOperation, message, format_args!("{note}"))
    }

    /// The operator of the operation at `span`, or all of an operation without two operands.
    fn operator_span(&self, op: &str, span: Span) -> Span {
        let diagnostics = &self.unit.program.diagnostics;
        if diagnostics.muted > 0 || diagnostics.is_full() {
            return span;
        }
        let (tree, file) = (self.tree, self.unit.program.source(self.source));
        let of_value = tree.exprs.iter().find_map(|expr| match expr.kind {
            ExprKind::Binary(_, left, right) if expr.span == span => Some((left, right, op.len())),
            _ => None,
        });
        // `op=` is one token.
        let of_statement = || {
            tree.statements.iter().find_map(|statement| match statement.kind {
                StmtKind::Assign { op: Some(_), target, value } if statement.span == span => {
                    Some((target, value, op.len().saturating_add(1)))
                }
                _ => None,
            })
        };
        let Some((left, right, len)) = of_value.or_else(of_statement) else { return span };
        let between = Span::new(self.span(left).end, self.span(right).start);
        let found = file.and_then(|source| between.of(source.file.text).find(op));
        let at = found.and_then(|at| u32::try_from(at).ok());
        let len = u32::try_from(len).unwrap_or(0);
        at.map_or(span, |at| Span::new(between.start + at, between.start + at + len))
    }

    /// An operation on two values of one type.
    fn arithmetic(&mut self, op: BinaryOp, left: Typed, right: Typed, span: Span) -> Typed {
        let ty = left.ty;
        let scalar = self.scalar(ty);
        let is_param = matches!(self.head(ty), Head::Param(_));
        let is_bits = op.is_bitwise();
        let has_meaning = match scalar {
            Some(Scalar::Bool) => is_bits,
            Some(scalar) if scalar.is_float() => !is_bits,
            Some(_) => true,
            None => is_param,
        };
        if !has_meaning {
            return self.no_operation(op, ty, ty, span);
        }
        if op == BinaryOp::Remainder && scalar.is_some_and(Scalar::is_float) {
            let symbol = if scalar == Some(Scalar::F32) { "fmodf" } else { "fmod" };
            return self.host_binary(symbol, left, right);
        }
        let binary = match op {
            BinaryOp::Add => Binary::Add,
            BinaryOp::Subtract => Binary::Subtract,
            BinaryOp::Multiply => Binary::Multiply,
            BinaryOp::Divide => Binary::Divide,
            BinaryOp::Remainder => Binary::Remainder,
            BinaryOp::BitAnd => Binary::And,
            BinaryOp::BitOr => Binary::Or,
            _ => Binary::Xor,
        };
        if binary.can_trap() {
            self.locate(span);
        }
        let swaps = binary.is_commutative() && matches!(left.value, Value::Number(_));
        let (left, right) = if swaps { (right, left) } else { (left, right) };
        let left = self.local_of(left);
        let right = self.operand(right);
        let result = self.new_local(ty);
        let value_type = self.value_type(ty);
        self.builder.binary(binary, value_type, result, left, right);
        Typed::local(ty, result)
    }

    /// A function of the host with two arguments of one type.
    pub(super) fn host_binary(&mut self, symbol: &str, left: Typed, right: Typed) -> Typed {
        let ty = left.ty;
        let arguments = [self.local_of(left), self.local_of(right)];
        let result = self.new_local(ty);
        self.builder.call_host(symbol, Some(result), &arguments);
        Typed::local(ty, result)
    }

    fn shift(&mut self, op: BinaryOp, left: Typed, right: Typed, spans: Spans) -> Typed {
        let left = self.settle(left);
        let is_integer = |body: &Self, ty| {
            body.scalar(ty).is_some_and(|s| !s.is_float() && s != Scalar::Bool)
                || matches!(body.head(ty), Head::Param(_))
        };
        if !is_integer(self, left.ty) || !is_integer(self, right.ty) {
            return self.no_operation(op, left.ty, right.ty, spans.whole);
        }
        // The count is taken modulo the width, whatever its type.
        let right = match (right.flexible, right.value) {
            (_, Value::Number(count)) if self.scalar(left.ty).is_some() => {
                let bits = self.scalar(left.ty).map_or(64, Scalar::bits);
                Typed::new(left.ty, Value::Number(count & i128::from(bits - 1)))
            }
            (true, _) => self.coerce(right, left.ty, spans.right),
            (false, _) => self.convert(right, left.ty),
        };
        let binary = match op {
            BinaryOp::ShiftLeft => Binary::ShiftLeft,
            _ => Binary::ShiftRight,
        };
        let ty = left.ty;
        let left = self.local_of(left);
        let right = self.operand(right);
        let result = self.new_local(ty);
        let value_type = self.value_type(ty);
        self.builder.binary(binary, value_type, result, left, right);
        Typed::local(ty, result)
    }

    /// `base ** exponent`.
    fn power(&mut self, base: Typed, exponent: Typed, spans: Spans) -> Typed {
        let span = spans.whole;
        if self.is_template && matches!(self.head(base.ty), Head::Param(_)) {
            return self.opaque();
        }
        let is_float = |body: &Self, ty| body.scalar(ty).is_some_and(Scalar::is_float);
        if is_float(self, base.ty) || is_float(self, exponent.ty) {
            let Some((left, right)) = self.same_type(base, exponent, BinaryOp::Power, spans) else {
                return Typed::ERROR;
            };
            let symbol = if left.ty == TypeId::F32 { "powf" } else { "pow" };
            return self.host_binary(symbol, left, right);
        }
        let base = self.settle(base);
        let is_integer = |body: &Self, ty| body.scalar(ty).is_some_and(|s| s != Scalar::Bool);
        if !is_integer(self, base.ty) || !is_integer(self, exponent.ty) {
            return self.no_operation(BinaryOp::Power, base.ty, exponent.ty, span);
        }
        let exponent = self.settle(exponent);
        let is_signed = self.scalar(exponent.ty).is_some_and(Scalar::is_signed);
        let exponent = match exponent.value {
            Value::Number(number) => Typed::new(TypeId::I64, Value::Number(number)),
            _ => self.convert(exponent, TypeId::I64),
        };
        self.locate(span);
        let count = self.builder.local(Scalar::I64);
        let from = self.local_of(exponent);
        self.builder.copy(Scalar::I64, count, from);
        if is_signed {
            self.builder.trap_compare(Condition::Less, Scalar::I64, count, 0, TRAP_EXPONENT);
        }
        let ty = self.value_type(base.ty);
        let (result, square) = (self.builder.local(ty), self.builder.local(ty));
        let base_local = self.local_of(base);
        self.builder.copy(ty, square, base_local);
        self.builder.constant(ty, result, 1);
        self.power_loop(ty, result, square, count);
        Typed::local(base.ty, result)
    }

    /// Squares and multiplies while bits of the exponent are left.
    fn power_loop(&mut self, ty: ValueType, result: Local, square: Local, count: Local) {
        let (head, even, end) = (self.builder.label(), self.builder.label(), self.builder.label());
        let bit = self.builder.local(Scalar::I64);
        let bits = self.builder.local(Scalar::U64);
        self.builder.convert(Scalar::U64, bits, Scalar::I64, count);
        self.builder.bind(head);
        self.builder.branch(Condition::Equal, Scalar::U64, bits, 0, end);
        self.builder.convert(Scalar::I64, bit, Scalar::U64, bits);
        self.builder.binary(Binary::And, Scalar::I64, bit, bit, 1);
        self.builder.branch(Condition::Equal, Scalar::I64, bit, 0, even);
        self.builder.binary(Binary::Multiply, ty, result, result, square);
        self.builder.bind(even);
        self.builder.binary(Binary::Multiply, ty, square, square, square);
        self.builder.binary(Binary::ShiftRight, Scalar::U64, bits, bits, 1);
        self.builder.jump(head);
        self.builder.bind(end);
    }

    /// A comparison as a bool.
    fn compare(&mut self, op: BinaryOp, left: Typed, right: Typed, spans: Spans) -> Typed {
        let Some(condition) = condition_of(op) else { return Typed::ERROR };
        if let Some(result) = self.compare_mixed(condition, left, right) {
            return result;
        }
        if let Some(result) = self.compare_aggregates(condition, left, right) {
            return result;
        }
        let Some((condition, left, right)) = self.comparison(condition, left, right, op, spans)
        else {
            return Typed::ERROR;
        };
        let ty = self.value_type(left.ty);
        let left = self.local_of(left);
        let right = self.operand(right);
        let result = self.builder.local(Scalar::Bool);
        self.builder.compare(condition, ty, result, left, right);
        Typed::local(TypeId::BOOL, result)
    }

    /// The operands of a comparison in one type, a constant on the right.
    pub(super) fn comparison(
        &mut self,
        condition: Condition,
        left: Typed,
        right: Typed,
        op: BinaryOp,
        spans: Spans,
    ) -> Option<(Condition, Typed, Typed)> {
        let (left, right) = self.same_type(left, right, op, spans)?;
        let is_equality = matches!(condition, Condition::Equal | Condition::NotEqual);
        let is_scalar = matches!(self.repr(left.ty), Repr::Scalar(_));
        let has_order = match self.head(left.ty) {
            Head::Scalar(scalar) => scalar != Scalar::Bool,
            Head::Param(_) | Head::Pointer(_) => true,
            _ => false,
        };
        if !is_scalar || !(is_equality || has_order) {
            self.no_operation(op, left.ty, right.ty, spans.whole);
            return None;
        }
        if matches!(left.value, Value::Number(_)) && !matches!(right.value, Value::Number(_)) {
            return Some((condition.swapped(), right, left));
        }
        Some((condition, left, right))
    }

    /// A comparison of integers of which one alone has a sign: by value.
    pub(super) fn compare_mixed(
        &mut self,
        condition: Condition,
        left: Typed,
        right: Typed,
    ) -> Option<Typed> {
        if left.flexible || right.flexible {
            return None;
        }
        let (a, b) = (self.scalar(left.ty)?, self.scalar(right.ty)?);
        let is_integer = |s: Scalar| !s.is_float() && s != Scalar::Bool;
        if !is_integer(a) || !is_integer(b) || a.is_signed() == b.is_signed() {
            return None;
        }
        if a.is_signed() {
            return self.compare_mixed(condition.swapped(), right, left);
        }
        // An unsigned value on the left, a signed one on the right.
        let result = self.builder.local(Scalar::Bool);
        if a.bits() < 64 {
            let (left, right) = (self.convert(left, TypeId::I64), self.convert(right, TypeId::I64));
            let (left, right) = (self.local_of(left), self.operand(right));
            self.builder.compare(condition, Scalar::I64, result, left, right);
            return Some(Typed::local(TypeId::BOOL, result));
        }
        let right = self.convert(right, TypeId::I64);
        let signed = self.local_of(right);
        let bits = self.builder.local(Scalar::U64);
        self.builder.convert(Scalar::U64, bits, Scalar::I64, signed);
        let left = self.local_of(left);
        let by_bits = self.builder.local(Scalar::Bool);
        self.builder.compare(condition, Scalar::U64, by_bits, left, bits);
        let is_negative = self.builder.local(Scalar::Bool);
        self.builder.compare(Condition::Less, Scalar::I64, is_negative, signed, 0);
        // Every unsigned value is greater than a negative one.
        let holds =
            matches!(condition, Condition::NotEqual | Condition::Greater | Condition::GreaterEqual);
        let constant = self.builder.local(Scalar::Bool);
        self.builder.constant(Scalar::Bool, constant, holds.into());
        self.builder.select(Scalar::Bool, result, is_negative, constant, by_bits);
        Some(Typed::local(TypeId::BOOL, result))
    }

    pub(super) fn unary(&mut self, op: UnaryOp, operand: ExprId, want: Want, span: Span) -> Typed {
        if op == UnaryOp::Not {
            return self.condition_value(operand, true);
        }
        let hint = if op == UnaryOp::Dereference { Want::NOTHING } else { want };
        let value = self.expr(operand, hint.operand());
        if value.ty.fits_all() {
            return value;
        }
        if op == UnaryOp::Dereference {
            return self.dereference(value, span);
        }
        if let Some(known) = self.known(value)
            && let Some(result) = self.unit.program.unary(op, known, want.ty)
        {
            return self.evaluated(result);
        }
        let scalar = self.scalar(value.ty);
        let is_param = matches!(self.head(value.ty), Head::Param(_));
        let (unary, has_meaning) = match op {
            UnaryOp::Negate => (Unary::Negate, scalar.is_some_and(|s| s != Scalar::Bool)),
            _ => {
                let is_integer = |s: Scalar| s != Scalar::Bool && !s.is_float();
                (Unary::Not, scalar.is_some_and(is_integer))
            }
        };
        if !has_meaning && !is_param {
            let text = self.type_text(value.ty);
            let op = if op == UnaryOp::Negate { "-" } else { "~" };
            let message = format_args!("`{op}` has no meaning for `{text}`");
            return self.error(span, Code::NoOperation, message);
        }
        if is_param && unary == Unary::Not {
            // The IR has it for a bool as well.
            self.opaque();
        }
        let value = self.settle(value);
        let from = self.local_of(value);
        let result = self.new_local(value.ty);
        let ty = self.value_type(value.ty);
        self.builder.unary(unary, ty, result, from);
        Typed::local(value.ty, result)
    }

    fn dereference(&mut self, value: Typed, span: Span) -> Typed {
        match self.pointed(value, span) {
            Some((place, ty)) => self.load(place, ty),
            None => Typed::ERROR,
        }
    }

    /// The place that a pointer refers to.
    pub(super) fn pointed(&mut self, value: Typed, span: Span) -> Option<(Place, TypeId)> {
        if let Head::Pointer(_) = self.head(value.ty) {
            let target = self.unit.program.types.part(value.ty, 0);
            let pointer = self.local_of(value);
            return Some((Place::pointee_of(pointer), target));
        }
        if !value.ty.fits_all() {
            let text = self.type_text(value.ty);
            let message = format_args!("`{text}` is no raw pointer");
            self.error(span, Code::NoOperation, message);
        }
        None
    }
}
