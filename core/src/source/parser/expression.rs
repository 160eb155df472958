//! Expressions: prefix operators, primaries and what follows them.

use super::*;
use crate::source::literal::{Number, number};

/// Operators behind a primary, one after another.
const MAX_POSTFIX: u32 = 64;

/// Tokens that are searched for the `>` that closes type arguments.
const MAX_TYPE_TOKENS: usize = 64;

/// Whether a token behind `>` says that this does not compare.
fn ends_value(kind: TokenKind) -> bool {
    kind.ends_line()
        || matches!(
            kind,
            TokenKind::LeftBrace
                | TokenKind::RightParen
                | TokenKind::RightBracket
                | TokenKind::Comma
        )
}

impl<'s> Parser<'_, 's> {
    /// An expression, or a range of two.
    pub(super) fn expr(&mut self) -> ExprId {
        let start = self.span();
        let parsed = self.nested(None, |parser| Some(parser.range()));
        match parsed {
            Some(id) => id,
            None => {
                self.skip_operand();
                self.add_error(start)
            }
        }
    }

    /// Behind the limit of nesting: to the end of the line.
    pub(super) fn skip_operand(&mut self) {
        while !matches!(self.kind(), TokenKind::Newline | TokenKind::Dedent | TokenKind::End) {
            self.bump();
        }
    }

    fn range(&mut self) -> ExprId {
        let start = self.binary(0);
        let inclusive = match self.kind() {
            TokenKind::DotDot => false,
            TokenKind::DotDotEqual => true,
            _ => return start,
        };
        self.bump();
        let has_end = self.kind().starts_operand() || self.is(TokenKind::Minus);
        let end = has_end.then(|| self.binary(0));
        let span = self.expr_span(start).to(self.last_span());
        self.add_expr(ExprKind::Range { start, end, inclusive }, span)
    }

    pub(super) fn unary(&mut self) -> ExprId {
        let start = self.span();
        let op = match self.kind() {
            TokenKind::Minus if self.is_step() => {
                self.refuse_step();
                return self.add_error(start);
            }
            TokenKind::Minus => UnaryOp::Negate,
            TokenKind::Not => UnaryOp::Not,
            TokenKind::Tilde => UnaryOp::Complement,
            TokenKind::Star => UnaryOp::Dereference,
            _ => return self.postfix(),
        };
        self.bump();
        let operand = self.nested(None, |parser| Some(parser.unary()));
        let operand = operand.unwrap_or_else(|| {
            self.skip_operand();
            self.add_error(start)
        });
        let span = start.to(self.expr_span(operand));
        self.add_expr(ExprKind::Unary(op, operand), span)
    }

    fn postfix(&mut self) -> ExprId {
        let mut value = self.primary();
        for _ in 0..MAX_POSTFIX {
            let token = self.token();
            value = match token.kind {
                TokenKind::LeftParen if !token.spaced => self.call(value),
                TokenKind::LeftBracket if !token.spaced => self.index(value),
                TokenKind::Dot | TokenKind::ColonColon => self.member(value),
                TokenKind::As => {
                    self.bump();
                    let ty = self.ty();
                    let span = self.expr_span(value).to(self.last_span());
                    self.add_expr(ExprKind::Cast(value, ty), span)
                }
                TokenKind::LeftBrace if self.is_literal(value) => self.literal(value),
                _ => return value,
            };
        }
        let message = format_args!("more than {MAX_POSTFIX} operators behind one operand");
        self.error(self.span(), Code::TooDeep, message);
        self.skip_operand();
        value
    }

    /// Whether `{` behind the operand starts the fields of a struct.
    fn is_literal(&self, value: ExprId) -> bool {
        let is_type = |name: Name| {
            self.names.text(name).bytes().next().is_some_and(|byte| byte.is_ascii_uppercase())
        };
        match self.tree.expr(value).kind {
            ExprKind::Name(name) | ExprKind::Generic(name, _) => is_type(name),
            _ => false,
        }
    }

    /// `.name`, `.0`, `.method(..)`.
    fn member(&mut self, value: ExprId) -> ExprId {
        if self.is(TokenKind::ColonColon) {
            self.old_path();
        }
        self.bump();
        let span = self.span();
        let start = self.expr_span(value);
        match self.kind() {
            TokenKind::Integer => {
                self.bump();
                let Ok(Number::Integer(index, None)) = number(self.text(span)) else {
                    self.error(span, Code::BadNumber, format_args!("not the index of a field"));
                    return value;
                };
                let index = u32::try_from(index).unwrap_or(u32::MAX);
                self.add_expr(ExprKind::TupleField(value, index), start.to(span))
            }
            TokenKind::Float => {
                // `t.0.1`.
                self.bump();
                let mut value = value;
                for part in self.text(span).split('.') {
                    let index = part.parse().unwrap_or(u32::MAX);
                    value = self.add_expr(ExprKind::TupleField(value, index), start.to(span));
                }
                value
            }
            // Keywords are names there.
            kind if kind != TokenKind::Label && self.name() != Name::NONE => {
                let name = self.bump().name;
                let field = self.add_expr(ExprKind::Field(value, name), start.to(span));
                if self.is(TokenKind::Less) && !self.token_at(0).spaced && self.closes_types() {
                    let arguments = self.type_arguments();
                    let span = start.to(self.last_span());
                    return self.add_expr(ExprKind::Instance(field, arguments), span);
                }
                field
            }
            _ => {
                self.unexpected("a field or method");
                value
            }
        }
    }

    fn call(&mut self, callee: ExprId) -> ExprId {
        let errors = self.errors;
        let arguments = self.arguments(TokenKind::RightParen, "`)` behind the arguments");
        let span = self.expr_span(callee).to(self.last_span());
        if self.errors != errors {
            // An argument may be missing.
            return self.add_error(span);
        }
        self.add_expr(ExprKind::Call { callee, arguments }, span)
    }

    fn literal(&mut self, name: ExprId) -> ExprId {
        let errors = self.errors;
        let arguments = self.arguments(TokenKind::RightBrace, "`}` behind the fields");
        let span = self.expr_span(name).to(self.last_span());
        if self.errors != errors {
            return self.add_error(span);
        }
        self.add_expr(ExprKind::Literal { name, arguments }, span)
    }

    /// Arguments up to `end`, the opening bracket included.
    fn arguments(&mut self, end: TokenKind, wanted: &str) -> List {
        self.bump();
        let mark = self.arguments.len();
        self.with_commas(end, |parser| {
            let name = parser.argument_name();
            let value = parser.expr();
            parser.diagnostics.push(&mut parser.arguments, Argument { name, value });
        });
        self.expect(end, wanted);
        self.arguments_since(mark)
    }

    /// `name:` or `name=` in front of a value or pattern.
    pub(super) fn argument_name(&mut self) -> Option<Word> {
        // A keyword as the name of a field is an error where that is declared.
        let is_name = self.is(TokenKind::Word) || self.token().is_keyword();
        let is_named = is_name && matches!(self.peek(), TokenKind::Equal | TokenKind::Colon);
        is_named.then(|| {
            let Token { name, span, .. } = self.bump();
            self.bump();
            Word { name, span }
        })
    }

    /// The arguments that are read since there were `mark` of them.
    pub(super) fn arguments_since(&mut self, mark: usize) -> List {
        let start = self.tree.arguments.len();
        let added = self.arguments.get(mark..).unwrap_or(&[]);
        let added = added.iter().try_for_each(|&a| try_push(&mut self.tree.arguments, a));
        self.diagnostics.allocated(added);
        self.arguments.truncate(mark);
        Self::since(start, self.tree.arguments.len())
    }

    fn index(&mut self, value: ExprId) -> ExprId {
        self.bump();
        let is_slice =
            matches!(self.kind(), TokenKind::Colon | TokenKind::DotDot | TokenKind::DotDotEqual);
        let index = if is_slice { value } else { self.expr() };
        let is_range = matches!(self.tree.expr(index).kind, ExprKind::Range { .. });
        if self.is(TokenKind::Colon) || is_slice || is_range {
            self.refuse(self.span(), "a slice", "it copies into memory that grows");
            self.skip_operand();
            self.eat(TokenKind::RightBracket);
            return self.add_error(self.expr_span(value));
        }
        self.expect(TokenKind::RightBracket, "`]` behind the index");
        let span = self.expr_span(value).to(self.last_span());
        self.add_expr(ExprKind::Index(value, index), span)
    }

    fn primary(&mut self) -> ExprId {
        let token = self.token();
        let span = token.span;
        if self.keyword_names.contains(&token.name)
            && (token.kind == TokenKind::Fn || !self.peek().starts_operand())
        {
            // The declaration has the error.
            self.bump();
            return self.add_error(span);
        }
        match token.kind {
            TokenKind::Integer | TokenKind::Float => self.number(),
            TokenKind::Text | TokenKind::RawText | TokenKind::DocText => self.text_literal(),
            TokenKind::Word => self.name_expr(),
            TokenKind::LeftParen => self.parenthesised(),
            TokenKind::LeftBracket => self.array(),
            TokenKind::True | TokenKind::False => {
                self.bump();
                self.add_expr(ExprKind::Bool(token.kind == TokenKind::True), span)
            }
            TokenKind::Nil => {
                self.bump();
                self.add_expr(ExprKind::Nil, span)
            }
            TokenKind::If => self.if_expr(false),
            TokenKind::Match => self.match_expr(),
            _ => {
                // At the end of a line it belongs to that.
                let place = self.place();
                if !self.refused_operand() {
                    self.unexpected("an expression");
                }
                self.add_error(place)
            }
        }
    }

    fn number(&mut self) -> ExprId {
        let span = self.bump().span;
        match number(self.text(span)) {
            Ok(Number::Integer(value, suffix)) => {
                let number = self.add(|tree| &mut tree.numbers, value);
                self.add_expr(ExprKind::Integer(number, suffix), span)
            }
            Ok(Number::Float(bits, suffix)) => {
                let number = self.add(|tree| &mut tree.numbers, bits);
                self.add_expr(ExprKind::Float(number, suffix), span)
            }
            Err(error) => {
                let message = format_args!("{}", error.message);
                self.error(span, error.code, message);
                self.add_error(span)
            }
        }
    }

    fn name_expr(&mut self) -> ExprId {
        let Token { name, span, .. } = self.token();
        if self.refused_item() {
            return self.add_error(span);
        }
        let follows_sign = self.text(self.last_span()) == "=";
        self.bump();
        if name == Name::UNDERSCORE {
            self.refuse(span, "the placeholder `_`", "it makes a lambda; write the expression");
            return self.add_error(span);
        }
        let next = self.token();
        if name == Name::LOOP && next.kind == TokenKind::Colon && follows_sign {
            self.refuse_loop(span);
            return self.add_error(span);
        }
        if name == Name::VEC && next.kind == TokenKind::LeftBracket && !next.spaced {
            self.refuse(span, "`vec[...]`", "only scalars are computed");
            return self.add_error(span);
        }
        let is_text = matches!(next.kind, TokenKind::Text | TokenKind::RawText);
        if is_text && !next.spaced && self.text(span).ends_with('_') {
            self.refuse(span.to(next.span), "a translated text", "it belongs to a library");
            self.bump();
            return self.add_error(span);
        }
        if next.kind == TokenKind::Less && !next.spaced && self.closes_types() {
            let arguments = self.type_arguments();
            let span = span.to(self.last_span());
            return self.add_expr(ExprKind::Generic(name, arguments), span);
        }
        self.add_expr(ExprKind::Name(name), span)
    }

    /// Whether `<` opens type arguments: only tokens of types up to `>`, then `(`, `{`, `.` or what no operand starts with.
    fn closes_types(&self) -> bool {
        let mut angles = 0_u32;
        for ahead in 0..MAX_TYPE_TOKENS {
            match self.token_at(ahead).kind {
                TokenKind::Less => angles += 1,
                TokenKind::Greater => angles = angles.saturating_sub(1),
                TokenKind::GreaterGreater => angles = angles.saturating_sub(2),
                TokenKind::GreaterGreaterGreater => angles = angles.saturating_sub(3),
                TokenKind::Word
                | TokenKind::Comma
                | TokenKind::Dot
                | TokenKind::ColonColon
                | TokenKind::LeftBracket
                | TokenKind::RightBracket
                | TokenKind::LeftParen
                | TokenKind::RightParen
                | TokenKind::Semicolon
                | TokenKind::Integer
                | TokenKind::Star
                | TokenKind::Const
                | TokenKind::Mut
                | TokenKind::Fn
                | TokenKind::Arrow
                | TokenKind::Question => {}
                _ => return false,
            }
            if angles == 0 {
                let next = self.token_at(ahead + 1);
                let opens = matches!(next.kind, TokenKind::LeftParen | TokenKind::Dot);
                return (opens && !next.spaced) || ends_value(next.kind);
            }
        }
        false
    }

    /// `(e)`, `()` or `(a, b)`. The span of the expression includes the parentheses.
    fn parenthesised(&mut self) -> ExprId {
        let start = self.bump().span;
        let mark = self.scratch.len();
        let is_tuple = self.with_commas(TokenKind::RightParen, |parser| {
            let value = parser.expr();
            parser.note(value.0);
        });
        if self.is(TokenKind::Colon) {
            self.refuse(self.span(), "a tuple with names", "declare a struct");
            self.skip_operand();
            self.eat(TokenKind::RightParen);
            self.scratch.truncate(mark);
            return self.add_error(start.to(self.last_span()));
        }
        self.expect(TokenKind::RightParen, "`)`");
        let span = start.to(self.last_span());
        if self.failed {
            self.scratch.truncate(mark);
            return self.add_error(span);
        }
        let noted = self.scratch.get(mark..).unwrap_or(&[]);
        match (noted, is_tuple) {
            (&[one], false) => {
                self.scratch.truncate(mark);
                self.set_span(ExprId(one), span);
                ExprId(one)
            }
            _ => {
                let parts = self.list_since(mark);
                self.add_expr(ExprKind::Tuple(parts), span)
            }
        }
    }

    /// `[a, b]` or `[value; count]`.
    fn array(&mut self) -> ExprId {
        let start = self.bump().span;
        if self.is(TokenKind::For) {
            self.refuse(start, "a comprehension", "it allocates");
            return self.add_error(start);
        }
        let mark = self.scratch.len();
        while !matches!(self.kind(), TokenKind::RightBracket | TokenKind::Newline | TokenKind::End)
        {
            let value = self.expr();
            if self.is(TokenKind::For) {
                self.refuse(start, "a comprehension", "it allocates");
                return self.add_error(start);
            }
            if self.scratch.len() == mark && self.eat(TokenKind::Semicolon) {
                let count = self.expr();
                self.expect(TokenKind::RightBracket, "`]`");
                let span = start.to(self.last_span());
                return self.add_expr(ExprKind::Repeat(value, count), span);
            }
            self.note(value.0);
            if !self.eat(TokenKind::Comma) {
                break;
            }
        }
        self.expect(TokenKind::RightBracket, "`]`");
        let elements = self.list_since(mark);
        let span = start.to(self.last_span());
        if self.failed {
            return self.add_error(span);
        }
        self.add_expr(ExprKind::Array(elements), span)
    }

    /// `if a: b elif c: d else: e`. With `is_statement`, a body on the line may have several statements.
    pub(super) fn if_expr(&mut self, is_statement: bool) -> ExprId {
        let (start, errors) = (self.bump().span, self.errors);
        let mark = self.scratch.len();
        self.branch(start, is_statement);
        let mut otherwise = None;
        loop {
            if self.failed {
                self.skip_to_else();
            }
            let ends_line = self.is(TokenKind::Newline);
            let next = if ends_line { self.peek() } else { self.kind() };
            if !matches!(next, TokenKind::Elif | TokenKind::Else) {
                break;
            }
            // The branch is another statement.
            self.failed &= !is_statement;
            if ends_line {
                self.bump();
            }
            let keyword = self.bump();
            let is_else_if = keyword.kind == TokenKind::Else && self.is(TokenKind::If);
            if keyword.kind == TokenKind::Elif || is_else_if {
                if is_else_if {
                    self.bump();
                }
                self.branch(keyword.span, is_statement);
                continue;
            }
            let has_body = self.end_head("`:` behind `else`");
            otherwise = Some(self.body_of(has_body, is_statement));
            break;
        }
        if otherwise.is_none() && self.errors != errors {
            // The error may have hidden it.
            otherwise = Some(self.body_of(false, is_statement));
        }
        let branches = self.list_since(mark);
        let span = start.to(self.last_span());
        self.add_expr(ExprKind::If { branches, otherwise }, span)
    }

    /// A condition and its block, which are noted.
    fn branch(&mut self, keyword: Span, is_statement: bool) {
        if self.is(TokenKind::Tilde) {
            self.refuse(keyword, "a suspending form with `~`", "it needs a scheduler");
            self.bump();
        }
        let errors = self.errors;
        let binds = matches!(self.kind(), TokenKind::Val | TokenKind::Var | TokenKind::Let);
        if binds {
            self.refuse(self.span(), "`if val`", "there are no optional values; use `match`");
            // The body has the names that are bound here.
            self.skip_to_else();
        }
        let mut condition = if binds { self.add_error(keyword) } else { self.expr() };
        let has_body = !binds && self.end_head("`:` behind the condition");
        if self.errors != errors {
            condition = self.add_error(keyword);
        }
        let body = self.body_of(has_body, is_statement);
        self.note(condition.0);
        self.note(body.0);
    }

    /// `match e:` and its arms.
    pub(super) fn match_expr(&mut self) -> ExprId {
        let start = self.bump().span;
        if self.is(TokenKind::Tilde) {
            self.refuse(start, "a suspending form with `~`", "it needs a scheduler");
            self.bump();
        }
        let value = self.expr();
        let mut arms = Vec::new();
        let has_colon = self.end_head("`:` behind the value");
        let (here, before) = (self.span().start, self.last_span().start);
        if has_colon
            && self.file.line(here).0 > self.file.line(before).0
            && !self.is(TokenKind::Newline)
        {
            // Inside of brackets there are no lines.
            self.refuse(start, "`match` in brackets", "bind its value to a name first");
            self.skip_operand();
            return self.add_error(start);
        }
        let opened = has_colon
            && self.expect(TokenKind::Newline, "arms on lines of their own behind `match`")
            && self.expect(TokenKind::Indent, "an indented block of arms");
        if opened {
            while !matches!(self.kind(), TokenKind::Dedent | TokenKind::End) {
                let before = self.at;
                let arm = self.nested(None, |parser| Some(parser.arm()));
                if let Some(arm) = arm {
                    self.diagnostics.push(&mut arms, arm);
                }
                self.end_of_line();
                if self.at == before {
                    self.bump();
                }
            }
            self.eat(TokenKind::Dedent);
        }
        let arms = self.append(|tree| &mut tree.arms, arms);
        let span = start.to(self.last_span());
        self.add_expr(ExprKind::Match { value, arms }, span)
    }

    /// `case p if g: body`, `p => body`, `case p -> body` or `| p -> body`.
    fn arm(&mut self) -> Arm {
        let (start, errors) = (self.span(), self.errors);
        if !self.eat(TokenKind::Case) {
            self.eat(TokenKind::Bar);
        }
        let pattern = self.pattern();
        let guard = self.eat(TokenKind::If).then(|| self.expr());
        let is_arrow = self.eat(TokenKind::FatArrow) || self.eat(TokenKind::Arrow);
        if !is_arrow {
            self.expect(TokenKind::Colon, "`:` behind the pattern");
        }
        if self.errors != errors {
            return self.unknown_arm(start.to(self.last_span()));
        }
        let body = self.body(true);
        Arm { pattern, guard, body }
    }

    /// An arm with a syntax error: what it matches and its value are unknown.
    fn unknown_arm(&mut self, span: Span) -> Arm {
        let pattern = self.add_pattern(PatternKind::Error, span);
        let value = self.add_error(span);
        let statement = self.add_stmt(StmtKind::Expr(value), span);
        let mark = self.scratch.len();
        self.note(statement.0);
        let statements = self.list_since(mark);
        let body = BlockId(self.add(|tree| &mut tree.blocks, Block { statements, span }));
        Arm { pattern, guard: None, body }
    }
}
