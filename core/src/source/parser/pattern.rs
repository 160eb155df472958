//! Patterns of `match`, `is` and declarations.

use super::*;

impl Parser<'_, '_> {
    /// A pattern with its alternatives.
    pub(super) fn pattern(&mut self) -> PatternId {
        let start = self.span();
        let first = self.nested_pattern();
        if !self.is(TokenKind::Bar) {
            return first;
        }
        let mark = self.scratch.len();
        self.note(first.0);
        while self.eat(TokenKind::Bar) {
            let next = self.nested_pattern();
            self.note(next.0);
        }
        let alternatives = self.list_since(mark);
        self.add_pattern(PatternKind::Or(alternatives), start.to(self.last_span()))
    }

    fn nested_pattern(&mut self) -> PatternId {
        let start = self.span();
        let parsed = self.nested(None, |parser| Some(parser.one_pattern()));
        parsed.unwrap_or_else(|| self.add_pattern(PatternKind::Error, start))
    }

    fn one_pattern(&mut self) -> PatternId {
        let start = self.span();
        match self.kind() {
            TokenKind::Integer
            | TokenKind::Float
            | TokenKind::Minus
            | TokenKind::True
            | TokenKind::False => self.value_pattern(start),
            TokenKind::Word => self.name_pattern(start),
            TokenKind::LeftParen => self.tuple_pattern(start),
            TokenKind::Text | TokenKind::RawText => {
                self.refuse(start, "a text pattern", "texts are literals for printing");
                self.bump();
                self.add_pattern(PatternKind::Error, start)
            }
            TokenKind::Nil => {
                self.refuse(start, "the pattern `nil`", "there are no optional values");
                self.bump();
                self.add_pattern(PatternKind::Error, start)
            }
            TokenKind::LeftBracket => {
                self.refuse(start, "an array pattern", "compare the elements");
                self.add_pattern(PatternKind::Error, start)
            }
            _ => {
                self.unexpected("a pattern");
                self.add_pattern(PatternKind::Error, start)
            }
        }
    }

    /// A number or bool, or a range.
    fn value_pattern(&mut self, start: Span) -> PatternId {
        let low = self.pattern_value();
        if !matches!(self.kind(), TokenKind::DotDot | TokenKind::DotDotEqual) {
            return self.add_pattern(PatternKind::Value(low), start.to(self.last_span()));
        }
        self.range_pattern(low, start)
    }

    /// The range from a value of which `..` or `..=` is the current token.
    fn range_pattern(&mut self, low: ExprId, start: Span) -> PatternId {
        let inclusive = self.bump().kind == TokenKind::DotDotEqual;
        let end = self.pattern_value();
        let kind = PatternKind::Range { start: low, end, inclusive };
        self.add_pattern(kind, start.to(self.last_span()))
    }

    /// A number or bool; `as` behind it is refused.
    fn pattern_value(&mut self) -> ExprId {
        let value = self.unary();
        if let Expr { kind: ExprKind::Cast(..), span } = self.tree.expr(value) {
            let reason = "bind the value in front of `match`, and write numbers with a suffix";
            self.refuse(span, "`as` in a pattern", reason);
            return self.add_error(span);
        }
        value
    }

    fn name_pattern(&mut self, start: Span) -> PatternId {
        let mut word = self.word("a pattern");
        if word.name == Name::UNDERSCORE {
            return self.add_pattern(PatternKind::Wildcard, start);
        }
        let (mut path, mut owner) = (None, None);
        while self.is(TokenKind::Dot) || self.is(TokenKind::ColonColon) {
            if self.is(TokenKind::ColonColon) {
                self.old_path();
            }
            self.bump();
            path = Some(match path {
                None => self.add_expr(ExprKind::Name(word.name), word.span),
                Some(base) => self.add_expr(ExprKind::Field(base, word.name), start.to(word.span)),
            });
            owner = Some(word.name);
            word = self.word("a variant");
        }
        if matches!(self.kind(), TokenKind::DotDot | TokenKind::DotDotEqual) {
            let low = match path {
                None => ExprKind::Name(word.name),
                Some(base) => ExprKind::Field(base, word.name),
            };
            let low = self.add_expr(low, start.to(word.span));
            return self.range_pattern(low, start);
        }
        let has_fields = self.is(TokenKind::LeftParen);
        if has_fields || owner.is_some() {
            let fields = if has_fields { self.pattern_fields() } else { List::default() };
            let kind = PatternKind::Variant { path, owner, variant: word.name, fields, has_fields };
            return self.add_pattern(kind, start.to(self.last_span()));
        }
        if self.is_typed() {
            self.bump();
            let ty = self.ty();
            let kind = PatternKind::Typed(word.name, ty);
            return self.add_pattern(kind, start.to(self.last_span()));
        }
        self.add_pattern(PatternKind::Bind(word.name), start)
    }

    /// Whether `:` starts the type of a binding, and not the body of an arm.
    fn is_typed(&self) -> bool {
        let ty = *self.token_at(1);
        let behind = self.token_at(2).kind;
        self.is(TokenKind::Colon)
            && ty.kind == TokenKind::Word
            && ty.name != Name::LOOP
            && matches!(
                behind,
                TokenKind::Colon | TokenKind::If | TokenKind::FatArrow | TokenKind::Arrow
            )
    }

    fn pattern_fields(&mut self) -> List {
        self.bump();
        let mut fields = Vec::new();
        self.with_commas(TokenKind::RightParen, |parser| {
            let name = parser.argument_name().map(|word| word.name);
            let pattern = parser.pattern();
            parser.diagnostics.push(&mut fields, PatternField { name, pattern });
        });
        self.expect(TokenKind::RightParen, "`)`");
        self.append(|tree| &mut tree.pattern_fields, fields)
    }

    pub(super) fn tuple_pattern(&mut self, start: Span) -> PatternId {
        self.bump();
        let mark = self.scratch.len();
        while !matches!(self.kind(), TokenKind::RightParen | TokenKind::Newline | TokenKind::End) {
            let part = self.pattern();
            self.note(part.0);
            if !self.eat(TokenKind::Comma) {
                if !self.is(TokenKind::Word) {
                    break;
                }
                // Without the comma the name is bound all the same.
                self.unexpected("`)`");
            }
        }
        self.expect(TokenKind::RightParen, "`)`");
        if let (Some(&one), true) = (self.scratch.get(mark), self.scratch.len() == mark + 1) {
            self.scratch.truncate(mark);
            return PatternId(one);
        }
        let parts = self.list_since(mark);
        self.add_pattern(PatternKind::Tuple(parts), start.to(self.last_span()))
    }
}
