//! Conditions: bools as control flow, with short circuits and chains of comparisons.

use super::operator::{Spans, condition_of};
use super::*;

impl Body<'_, '_, '_> {
    /// Goes to `target` when the condition is `expected`, and goes on otherwise.
    pub(super) fn condition(&mut self, id: ExprId, expected: bool, target: Target) {
        if self.depth >= MAX_DEPTH {
            let message = format_args!("the condition nests deeper than {MAX_DEPTH} levels");
            self.error(self.span(id), Code::TooDeep, message);
            return;
        }
        let source = self.source;
        if !self.program().has_stack(source, id) {
            return;
        }
        self.depth += 1;
        match self.tree.expr(id).kind {
            ExprKind::Unary(UnaryOp::Not, operand) => self.condition(operand, !expected, target),
            ExprKind::Binary(op @ (BinaryOp::And | BinaryOp::Or), ..) => {
                self.logic(id, op, expected, target);
            }
            ExprKind::Chain { operands, first } => self.chain(operands, first, expected, target),
            ExprKind::Binary(op, left, right)
                if op.is_comparison() && self.tree.expr(right).kind != ExprKind::Nil =>
            {
                self.compare_branch(id, op, [left, right], expected, target);
            }
            _ => {
                let value = self.expr(id, Want::of(TypeId::BOOL));
                let span = self.span(id);
                self.branch_on(value, span, expected, target);
            }
        }
        self.depth -= 1;
    }

    /// Goes to `target` when a bool is `expected`.
    fn branch_on(&mut self, value: Typed, span: Span, expected: bool, target: Target) {
        if value.ty != TypeId::BOOL {
            if !value.ty.fits_all() {
                self.not_bool(value.ty, span);
            }
            // Both ways are taken, so that no code behind is reported as unreachable.
            let local = self.builder.local(Scalar::Bool);
            self.builder.constant(Scalar::Bool, local, 0);
            let label = self.jump_label(target);
            self.builder.branch_if(local, expected, label);
            return;
        }
        match value.value {
            Value::Number(number) => {
                if (number != 0) == expected {
                    self.jump(target);
                }
            }
            _ => {
                let local = self.local_of(value);
                let label = self.jump_label(target);
                self.builder.branch_if(local, expected, label);
            }
        }
    }

    fn not_bool(&mut self, ty: TypeId, span: Span) {
        if let Some(is_reported) = &mut self.has_no_bool
            && core::mem::replace(is_reported, true)
        {
            return;
        }
        let text = self.type_text(ty);
        let message = format_args!(
            "a condition of type `{text}` is not supported: truthiness has a dynamic meaning"
        );
        let note = format_args!("compare the value, as in `x != 0`");
        let code = if self.is_template { Code::TypeMismatch } else { Code::Refused };
        self.error_with_note(span, code, message, note);
    }

    /// `a and b and c` or `a or b or c`.
    fn logic(&mut self, id: ExprId, op: BinaryOp, expected: bool, target: Target) {
        // That the operands are no bools is one error.
        let outer = self.has_no_bool;
        self.has_no_bool = outer.or(Some(false));
        self.operands(id, op, expected, target);
        self.has_no_bool = outer.and(self.has_no_bool);
    }

    fn operands(&mut self, id: ExprId, op: BinaryOp, expected: bool, target: Target) {
        let mut operands = Vec::new();
        let mut first = id;
        while let ExprKind::Binary(own, left, right) = self.tree.expr(first).kind
            && own == op
        {
            self.program().diagnostics.push(&mut operands, right);
            first = left;
        }
        self.program().diagnostics.push(&mut operands, first);
        // `and` is false as soon as an operand is, `or` is true.
        let early = op == BinaryOp::Or;
        if early == expected {
            for &operand in operands.iter().rev() {
                self.condition(operand, expected, target);
            }
            return;
        }
        let Some((&last, rest)) = operands.split_first() else { return };
        let end = self.target();
        for &operand in rest.iter().rev() {
            self.condition(operand, early, end);
        }
        self.condition(last, expected, target);
        self.bind(end);
    }

    fn compare_branch(
        &mut self,
        id: ExprId,
        op: BinaryOp,
        [left, right]: [ExprId; 2],
        expected: bool,
        target: Target,
    ) {
        let spans = Spans { whole: self.span(id), left: self.span(left), right: self.span(right) };
        let one = self.expr(left, Want::NOTHING);
        let one = self.stable(one, left, right);
        let two = self.expr(right, Self::beside(op, one, Want::NOTHING));
        self.compare_values(op, one, two, spans, expected, target);
    }

    fn compare_values(
        &mut self,
        op: BinaryOp,
        left: Typed,
        right: Typed,
        spans: Spans,
        expected: bool,
        target: Target,
    ) {
        if left.ty.fits_all() || right.ty.fits_all() {
            return;
        }
        let is_number = |typed: Typed| matches!(typed.value, Value::Number(_) | Value::Float(_));
        let Some(condition) = condition_of(op) else { return };
        if is_number(left) && is_number(right) {
            let value = self.operate(op, left, right, Want::NOTHING, spans);
            return self.branch_on(value, spans.whole, expected, target);
        }
        let value = self.compare_mixed(condition, left, right);
        let value = value.or_else(|| self.compare_aggregates(condition, left, right));
        if let Some(value) = value {
            return self.branch_on(value, spans.whole, expected, target);
        }
        let Some((condition, left, right)) = self.comparison(condition, left, right, op, spans)
        else {
            return;
        };
        let ty = self.value_type(left.ty);
        let is_exact = match ty {
            ValueType::Scalar(scalar) => !scalar.is_float(),
            ValueType::Parameter(_) => false,
        };
        let left = self.local_of(left);
        let right = self.branch_operand(right);
        if expected || is_exact {
            let condition = if expected { condition } else { condition.inverse() };
            let label = self.jump_label(target);
            return self.builder.branch(condition, ty, left, right, label);
        }
        // Where a float is no number, no order holds, nor does its opposite.
        let holds = self.builder.label();
        self.builder.branch(condition, ty, left, right, holds);
        let label = self.jump_label(target);
        self.builder.jump(label);
        self.builder.bind(holds);
    }

    /// An operand of a branch: numbers of 16 bits stay numbers.
    pub(super) fn branch_operand(&mut self, typed: Typed) -> crate::ir::Value {
        match typed.value {
            Value::Number(number) if i16::try_from(number).is_ok() => self.operand(typed),
            _ => self.local_of(typed).into(),
        }
    }

    /// `a < b < c`: each operand is computed once, and none behind a comparison that fails.
    fn chain(&mut self, operands: List, first: u32, expected: bool, target: Target) {
        let tree = self.tree;
        let ids = tree.list(operands);
        let fails = self.target();
        let Some((&start, rest)) = ids.split_first() else { return };
        let mut left = self.expr(ExprId(start), Want::NOTHING);
        let mut before = ExprId(start);
        for (index, &next) in (first..).zip(rest) {
            let id = ExprId(next);
            let Some(op) = entry(&tree.operators, index) else { break };
            left = self.stable(left, before, id);
            let right = self.expr(id, Self::beside(op, left, Want::NOTHING));
            let (one, two) = (self.span(before), self.span(id));
            let spans = Spans { whole: one.to(two), left: one, right: two };
            let is_last = index - first + 1 == count(rest);
            match (is_last, expected) {
                (true, true) => self.compare_values(op, left, right, spans, true, target),
                (_, true) => self.compare_values(op, left, right, spans, false, fails),
                (_, false) => self.compare_values(op, left, right, spans, false, target),
            }
            left = right;
            before = id;
        }
        self.bind(fails);
    }

    pub(super) fn chain_value(&mut self, operands: List, first: u32) -> Typed {
        let end = self.target();
        let result = self.builder.local(Scalar::Bool);
        self.builder.constant(Scalar::Bool, result, 0);
        self.chain(operands, first, false, end);
        self.builder.constant(Scalar::Bool, result, 1);
        self.bind(end);
        Typed::local(TypeId::BOOL, result)
    }

    pub(super) fn logic_value(&mut self, id: ExprId) -> Typed {
        self.condition_value(id, false)
    }

    /// A condition as a bool, or its negation.
    pub(super) fn condition_value(&mut self, id: ExprId, negate: bool) -> Typed {
        let is_plain =
            !matches!(self.tree.expr(id).kind, ExprKind::Binary(BinaryOp::And | BinaryOp::Or, ..));
        if is_plain {
            let value = self.expr(id, Want::of(TypeId::BOOL));
            return self.plain_condition(value, negate, self.span(id));
        }
        let end = self.target();
        let result = self.builder.local(Scalar::Bool);
        self.builder.constant(Scalar::Bool, result, negate.into());
        let errors = self.unit.program.diagnostics.error_count();
        let outer = self.has_no_bool.take();
        self.condition(id, false, end);
        self.has_no_bool = outer;
        self.builder.constant(Scalar::Bool, result, (!negate).into());
        self.bind(end);
        match self.unit.program.diagnostics.error_count() == errors {
            true => Typed::local(TypeId::BOOL, result),
            false => Typed::ERROR,
        }
    }

    fn plain_condition(&mut self, value: Typed, negate: bool, span: Span) -> Typed {
        if value.ty != TypeId::BOOL {
            if !value.ty.fits_all() {
                self.not_bool(value.ty, span);
            }
            return Typed::ERROR;
        }
        match value.value {
            Value::Number(number) => {
                let result = (number != 0) != negate;
                Typed::new(TypeId::BOOL, Value::Number(result.into()))
            }
            _ if negate => {
                let from = self.local_of(value);
                let result = self.builder.local(Scalar::Bool);
                self.builder.unary(crate::ir::Unary::Not, Scalar::Bool, result, from);
                Typed::local(TypeId::BOOL, result)
            }
            _ => value,
        }
    }
}
