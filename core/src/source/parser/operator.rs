//! Binary operators: precedence, chains of comparisons, and groupings that the parsers of Simple disagree on.
//!
//! The precedence is that of the Rust parser of Simple. The self-hosted parser has `* / % ** & | ^` on one level, all
//! comparisons on one level, and `not` below them; where an expression without parentheses has another meaning
//! there, it is refused with both readings. `a * b ** c` is an exception: its specification pins `a * (b ** c)`.

use super::refused::SCHEDULER;
use super::*;

/// The levels of binary operators, ascending.
const CHAIN: u32 = 4;
const POWER: u32 = 11;

fn operator(kind: TokenKind) -> Option<(BinaryOp, u32)> {
    Some(match kind {
        TokenKind::Or | TokenKind::BarBar => (BinaryOp::Or, 1),
        TokenKind::And | TokenKind::AndAnd => (BinaryOp::And, 2),
        TokenKind::EqualEqual => (BinaryOp::Equal, 3),
        TokenKind::NotEqual => (BinaryOp::NotEqual, 3),
        TokenKind::Less => (BinaryOp::Less, CHAIN),
        TokenKind::LessEqual => (BinaryOp::LessEqual, CHAIN),
        TokenKind::Greater => (BinaryOp::Greater, CHAIN),
        TokenKind::GreaterEqual => (BinaryOp::GreaterEqual, CHAIN),
        TokenKind::Bar => (BinaryOp::BitOr, 5),
        TokenKind::Xor => (BinaryOp::BitXor, 6),
        TokenKind::Ampersand => (BinaryOp::BitAnd, 7),
        TokenKind::LessLess => (BinaryOp::ShiftLeft, 8),
        TokenKind::GreaterGreater => (BinaryOp::ShiftRight, 8),
        TokenKind::Plus => (BinaryOp::Add, 9),
        TokenKind::Minus => (BinaryOp::Subtract, 9),
        TokenKind::Star => (BinaryOp::Multiply, 10),
        TokenKind::Slash => (BinaryOp::Divide, 10),
        TokenKind::Percent => (BinaryOp::Remainder, 10),
        TokenKind::StarStar => (BinaryOp::Power, POWER),
        _ => return None,
    })
}

impl Parser<'_, '_> {
    /// An expression of operators of at least `level`.
    pub(super) fn binary(&mut self, level: u32) -> ExprId {
        let mut left = self.unary();
        // The operands and operators of a chain of comparisons that `left` is.
        loop {
            let kind = self.kind();
            let Some((op, own)) = operator(kind) else {
                if kind == TokenKind::Is {
                    left = self.is_test(left);
                    continue;
                }
                let negated_in = kind == TokenKind::Not && self.peek() == TokenKind::In;
                if negated_in || self.refused_infix() {
                    self.refused_operand_of(left);
                }
                return left;
            };
            if own < level {
                return left;
            }
            if own == CHAIN {
                left = self.chain(left);
                continue;
            }
            let symbol = self.bump();
            let is_adjacent = self.span().start == symbol.span.end;
            if is_adjacent && self.is(TokenKind::Equal) {
                self.refuse_assignment_operator(symbol.span);
                self.bump();
            } else if is_adjacent && own < 3 && self.is(TokenKind::Tilde) {
                let span = symbol.span.to(self.span());
                self.refuse(span, "a suspending form with `~`", SCHEDULER);
                self.bump();
            }
            let next = if own == POWER { own } else { own + 1 };
            let right = self.nested(None, |parser| Some(parser.binary(next)));
            let right = right.unwrap_or_else(|| self.add_error(self.span()));
            left = self.pair(op, left, right);
        }
    }

    /// Refuses an assignment with an operator that Simple does not have in this form, as `&=`.
    fn refuse_assignment_operator(&mut self, symbol: Span) {
        let symbol = self.text(symbol);
        let message = format_args!("`{symbol}=` is not supported: Simple does not have it");
        let note = match symbol {
            "==" | "!=" => format_args!("write `{symbol}`"),
            _ => format_args!("write `x = x {symbol} y`"),
        };
        self.error_with_note(self.span(), Code::Refused, message, Some(note));
    }

    /// Whether the current token is an operator that is refused behind an operand.
    fn refused_infix(&mut self) -> bool {
        let token = self.token();
        let is_pattern_arrow = token.kind == TokenKind::Arrow;
        !is_pattern_arrow
            && !matches!(token.kind, TokenKind::In | TokenKind::ColonEqual | TokenKind::At)
            && self.refused_operator().is_some()
            || (token.kind == TokenKind::At && token.spaced)
            || (token.kind == TokenKind::In && !self.failed)
    }

    fn refused_operand_of(&mut self, left: ExprId) {
        if self.is(TokenKind::Not) {
            self.bump();
        }
        self.refused_operand();
        self.set_error(left);
    }

    pub(super) fn set_error(&mut self, id: ExprId) {
        let index = usize::try_from(id.0).unwrap_or(usize::MAX);
        if let Some(expr) = self.tree.exprs.get_mut(index) {
            expr.kind = ExprKind::Error;
        }
    }

    /// `value is E.A`.
    fn is_test(&mut self, value: ExprId) -> ExprId {
        self.bump();
        let pattern = self.pattern();
        if self.is(TokenKind::Is) {
            self.refuse(self.span(), "a chain of `is`", "its meaning is dynamic");
            self.bump();
        }
        let span = self.expr_span(value).to(self.last_span());
        self.add_expr(ExprKind::Is(value, pattern), span)
    }

    /// One comparison of order, or a chain of them.
    fn chain(&mut self, left: ExprId) -> ExprId {
        let (mark, first_operator) = (self.scratch.len(), self.operators.len());
        self.note(left.0);
        let mut last = left;
        while let Some((op, _)) = operator(self.kind()).filter(|&(_, own)| own == CHAIN) {
            self.bump();
            let right = self.nested(None, |parser| Some(parser.binary(CHAIN + 1)));
            last = right.unwrap_or_else(|| self.add_error(self.span()));
            self.note(last.0);
            self.diagnostics.push(&mut self.operators, op);
        }
        if let Some(&[op]) = self.operators.get(first_operator..) {
            self.operators.truncate(first_operator);
            self.scratch.truncate(mark);
            return self.pair(op, left, last);
        }
        let operands = self.list_since(mark);
        let first = u32::try_from(self.tree.operators.len()).unwrap_or(u32::MAX);
        let mut is_ambiguous = false;
        for index in 0..operands.len().saturating_sub(1) {
            let Some(&op) = self.operators.get(first_operator + index) else { break };
            let get = |index: usize| self.tree.list(operands).get(index).copied();
            let (one, two) = (get(index).unwrap_or(0), get(index + 1).unwrap_or(0));
            is_ambiguous |= self.check_grouping(op, ExprId(one), ExprId(two));
            self.add(|tree| &mut tree.operators, op);
        }
        self.operators.truncate(first_operator);
        let span = self.expr_span(left).to(self.expr_span(last));
        if is_ambiguous {
            return self.add_error(span);
        }
        self.add_expr(ExprKind::Chain { operands, first }, span)
    }

    fn pair(&mut self, op: BinaryOp, left: ExprId, right: ExprId) -> ExprId {
        let span = self.expr_span(left).to(self.expr_span(right));
        if self.check_grouping(op, left, right) {
            return self.add_error(span);
        }
        self.add_expr(ExprKind::Binary(op, left, right), span)
    }

    /// Refuses `left op right` where the two parsers group it differently. Returns whether it did.
    fn check_grouping(&mut self, op: BinaryOp, left: ExprId, right: ExprId) -> bool {
        if self.failed {
            return false;
        }
        self.refuse_grouping(op, left, right);
        self.failed
    }

    fn refuse_grouping(&mut self, op: BinaryOp, left: ExprId, right: ExprId) {
        let (l, r) = (self.tree.expr(left), self.tree.expr(right));
        let text = |span: Span| self.text(span);
        let whole = l.span.to(r.span);
        let middle = Span::new(l.span.end, r.span.start);
        // A child whose span is wider than its parts stands in parentheses.
        if let ExprKind::Binary(inner, a, b) = l.kind
            && (self.expr_span(a).start, self.expr_span(b).end) == (l.span.start, l.span.end)
            && conflicts(op, inner, true)
        {
            let (a, b) = (self.expr_span(a), self.expr_span(b));
            let first = (text(l.span), text(middle), text(r.span));
            let second = Span::new(a.start, b.start);
            let rest = Span::new(b.start, r.span.end);
            return self.ambiguous(
                whole,
                format_args!("({}){}{}", first.0, first.1, first.2),
                format_args!("{}({})", text(second), text(rest)),
            );
        }
        if let ExprKind::Binary(inner, a, b) = r.kind
            && (self.expr_span(a).start, self.expr_span(b).end) == (r.span.start, r.span.end)
            && conflicts(op, inner, false)
        {
            let (a, _) = (self.expr_span(a), self.expr_span(b));
            let tail = Span::new(a.end, r.span.end);
            let is_operation = |kind| matches!(kind, ExprKind::Binary(..) | ExprKind::Chain { .. });
            let [open, close] = if is_operation(l.kind) && !self.text(l.span).starts_with('(') {
                ["(", ")"]
            } else {
                ["", ""]
            };
            let (one, rest) = (text(l.span), Span::new(l.span.end, a.end));
            return self.ambiguous(
                whole,
                format_args!("{open}{one}{close}{}({})", text(middle), text(r.span)),
                format_args!("({open}{one}{close}{}){}", text(rest), text(tail)),
            );
        }
        self.check_unary(op, l, whole, r);
    }

    /// Refuses `not a == b` and `-a ** b`.
    fn check_unary(&mut self, op: BinaryOp, left: Expr, whole: Span, right: Expr) {
        let is_logic = matches!(op, BinaryOp::And | BinaryOp::Or);
        let text = |span: Span| self.text(span);
        if let ExprKind::Unary(unary, operand) = left.kind {
            let operand = self.expr_span(operand);
            let is_bare = operand.end == left.span.end;
            let conflicts = match unary {
                UnaryOp::Not => !is_logic,
                UnaryOp::Negate | UnaryOp::Complement => op == BinaryOp::Power,
                UnaryOp::Dereference => false,
            };
            if is_bare && conflicts {
                let head = Span::new(left.span.start, operand.start);
                let tail = Span::new(left.span.end, whole.end);
                let inner = Span::new(operand.start, whole.end);
                return self.ambiguous(
                    whole,
                    format_args!("({}){}", text(left.span), text(tail)),
                    format_args!("{}({})", text(head), text(inner)),
                );
            }
        }
        if let ExprKind::Unary(UnaryOp::Not, operand) = right.kind
            && self.expr_span(operand).end == right.span.end
            && !is_logic
        {
            let head = Span::new(whole.start, right.span.start);
            let inner = Span::new(right.span.start, right.span.end);
            self.ambiguous(
                whole,
                format_args!("{}({})", text(head), text(inner)),
                format_args!("{}{}", text(head), text(inner)),
            );
        }
    }

    fn ambiguous(&mut self, span: Span, first: fmt::Arguments<'_>, second: fmt::Arguments<'_>) {
        let text = self.text(span);
        let message = format_args!(
            "`{text}` is ambiguous: one parser of Simple reads `{first}`, the other one `{second}`"
        );
        let note = format_args!("write the parentheses");
        self.error_with_note(span, Code::Ambiguous, message, Some(note));
    }
}

/// Whether an operation and a bare operand, its left or right one, are grouped differently.
fn conflicts(op: BinaryOp, inner: BinaryOp, is_left: bool) -> bool {
    let is_logic = |op| matches!(op, BinaryOp::And | BinaryOp::Or);
    if is_logic(op) || is_logic(inner) {
        return false;
    }
    if op.is_bitwise() && inner.is_bitwise() {
        // From left to right in the self-hosted parser.
        return op != inner && !is_left;
    }
    if op.is_shift() && inner.is_shift() {
        return !is_left;
    }
    let is_bits = |op: BinaryOp| op.is_bitwise() || op.is_shift();
    if is_bits(op) || is_bits(inner) {
        return true;
    }
    match (op, inner) {
        // `2 * 3 ** 2` is 18 in the specification, which decides on `*` alone.
        (BinaryOp::Power | BinaryOp::Divide | BinaryOp::Remainder, BinaryOp::Power) => !is_left,
        _ if op.is_comparison() && inner.is_comparison() => !is_left,
        _ => false,
    }
}
