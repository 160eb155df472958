//! Statements and blocks.

use super::*;

/// The remedy of an assignment to several names.
const TUPLE_NOTE: &str =
    "`val (x, y) = ...` names the parts of a tuple; an assignment has one name, as in `a = x`";

impl Parser<'_, '_> {
    /// The body behind `:`: an indented block, or statements on the line. With `many`, `;` separates those.
    pub(super) fn body(&mut self, many: bool) -> BlockId {
        let start = self.span();
        let mark = self.scratch.len();
        if self.open_block() {
            self.block_lines();
        } else if self.is(TokenKind::Newline) {
            self.unexpected("an indented block");
            self.missing_statement();
        } else {
            loop {
                let statement = self.statement(many);
                self.note(statement.0);
                let ends = matches!(self.peek(), TokenKind::Newline | TokenKind::End);
                if !many || !self.is(TokenKind::Semicolon) || ends {
                    break;
                }
                self.bump();
            }
            if many {
                self.eat(TokenKind::Semicolon);
            }
        }
        let statements = self.list_since(mark);
        let span = start.to(self.last_span());
        BlockId(self.add(|tree| &mut tree.blocks, Block { statements, span }))
    }

    /// The body of a construct whose head [has ended](Self::end_head), or one that is unknown.
    pub(super) fn body_of(&mut self, has_body: bool, many: bool) -> BlockId {
        if has_body {
            return self.body(many);
        }
        let (mark, span) = (self.scratch.len(), self.last_span());
        self.missing_statement();
        let statements = self.list_since(mark);
        BlockId(self.add(|tree| &mut tree.blocks, Block { statements, span }))
    }

    /// Notes a statement of which nothing is known.
    fn missing_statement(&mut self) {
        let span = self.last_span();
        let missing = self.add_error(span);
        let statement = self.add_stmt(StmtKind::Expr(missing), span);
        self.note(statement.0);
    }

    /// The lines of a block, and its end.
    fn block_lines(&mut self) {
        // Lines that are indented further than the block belong to it.
        let mut further = 0_u32;
        while !self.is(TokenKind::End) {
            let before = self.at;
            match self.kind() {
                TokenKind::Dedent if further == 0 => break,
                TokenKind::Dedent => {
                    self.bump();
                    further -= 1;
                }
                TokenKind::Indent => {
                    self.failed = false;
                    let message = format_args!("the line is indented further than its block");
                    self.error(self.span(), Code::BadIndentation, message);
                    self.bump();
                    further += 1;
                }
                _ => self.block_line(),
            }
            if self.at == before {
                self.bump();
            }
        }
        self.eat(TokenKind::Dedent);
    }

    fn block_line(&mut self) {
        self.failed = false;
        if self.is(TokenKind::Newline) {
            self.bump();
            return;
        }
        if self.is(TokenKind::At) {
            return self.attribute();
        }
        let (errors, is_do) = (self.errors, self.text(self.span()) == "do");
        let statement = self.statement(true);
        self.note(statement.0);
        while self.eat(TokenKind::Semicolon) {
            if matches!(self.kind(), TokenKind::Newline | TokenKind::Dedent | TokenKind::End) {
                break;
            }
            let statement = self.statement(true);
            self.note(statement.0);
        }
        self.end_of_line();
        if self.errors != errors {
            self.skip_parts(is_do);
        }
    }

    /// A statement without the end of its line.
    pub(super) fn statement(&mut self, many: bool) -> StmtId {
        let start = self.span();
        let kind = self.nested(StmtKind::Error, |parser| parser.statement_kind(many));
        let span = start.to(self.last_span());
        self.add_stmt(kind, span)
    }

    fn statement_kind(&mut self, many: bool) -> StmtKind {
        let start = self.span();
        match self.kind() {
            TokenKind::Val | TokenKind::Var | TokenKind::Let | TokenKind::Const => self.binding(),
            TokenKind::If => StmtKind::Expr(self.if_expr(many)),
            TokenKind::Match => StmtKind::Expr(self.match_expr()),
            TokenKind::While | TokenKind::For => self.loop_statement(None),
            TokenKind::Label => self.labelled(),
            TokenKind::Break => {
                self.bump();
                let label = self.label();
                let value = self.starts_value().then(|| self.expr());
                StmtKind::Break(label, value)
            }
            TokenKind::Continue => {
                self.bump();
                StmtKind::Continue(self.label())
            }
            TokenKind::Return => {
                self.bump();
                StmtKind::Return(self.starts_value().then(|| self.expr()))
            }
            TokenKind::Pass => {
                self.bump();
                StmtKind::Pass
            }
            TokenKind::DocText if self.ends_behind(1) => {
                self.bump();
                StmtKind::Pass
            }
            TokenKind::Assert => {
                self.bump();
                let condition = self.expr();
                if let Some(written) = self.assertion_in_parentheses(condition) {
                    return written;
                }
                let message = self.eat(TokenKind::Comma).then(|| self.expr());
                StmtKind::Assert(condition, message)
            }
            TokenKind::Fn if self.peek() == TokenKind::Word => {
                StmtKind::Function(self.function(start, false, false, Receiver::None))
            }
            TokenKind::Struct | TokenKind::Enum | TokenKind::Impl | TokenKind::Use => {
                self.refuse(start, "a declaration inside a function", "declare it at the margin");
                self.skip_rest();
                StmtKind::Error
            }
            TokenKind::Word => self.word_statement(),
            _ => self.expression_statement(),
        }
    }

    /// Refuses `assert(c, "message")`, which asserts a tuple.
    fn assertion_in_parentheses(&mut self, condition: ExprId) -> Option<StmtKind> {
        let ExprKind::Tuple(parts) = self.tree.expr(condition).kind else { return None };
        let &[condition_part, message] = self.tree.list(parts) else { return None };
        let [one, two] = [condition_part, message].map(|part| self.expr_span(ExprId(part)));
        let (one, two) = (self.text(one), self.text(two));
        let text = format_args!("`assert` has no parentheses around the condition and the message");
        let note = Some(format_args!("write `assert {one}, {two}`"));
        self.error_with_note(self.expr_span(condition), Code::Unexpected, text, note);
        Some(StmtKind::Error)
    }

    pub(super) fn starts_value(&self) -> bool {
        let kind = self.kind();
        kind.starts_operand()
            || matches!(
                kind,
                TokenKind::Minus
                    | TokenKind::Tilde
                    | TokenKind::Star
                    | TokenKind::Backslash
                    | TokenKind::Fn
                    | TokenKind::Ampersand
            )
    }

    fn ends_behind(&self, ahead: usize) -> bool {
        matches!(self.token_at(ahead).kind, TokenKind::Newline | TokenKind::Dedent | TokenKind::End)
    }

    fn label(&mut self) -> Option<Name> {
        self.is(TokenKind::Label).then(|| self.bump().name)
    }

    fn labelled(&mut self) -> StmtKind {
        let label = self.label();
        self.expect(TokenKind::Colon, "`:` behind the label");
        match self.kind() {
            TokenKind::While | TokenKind::For => self.loop_statement(label),
            TokenKind::Word if self.is_word(Name::LOOP) => self.loop_statement(label),
            _ => {
                self.unexpected("a loop behind the label");
                StmtKind::Error
            }
        }
    }

    fn loop_statement(&mut self, label: Option<Name>) -> StmtKind {
        let keyword = self.bump();
        if self.is(TokenKind::Tilde) {
            self.refuse(keyword.span, "a suspending form with `~`", "it needs a scheduler");
            self.skip_rest();
            return StmtKind::Error;
        }
        match keyword.kind {
            TokenKind::While => {
                if matches!(self.kind(), TokenKind::Val | TokenKind::Var | TokenKind::Let) {
                    self.refuse(self.span(), "`while val`", "there are no optional values");
                    // The body has the names that are bound here.
                    self.skip_rest();
                    return StmtKind::Error;
                }
                let errors = self.errors;
                let mut condition = self.expr();
                let has_body = self.end_head("`:` behind the condition");
                if self.errors != errors {
                    condition = self.add_error(keyword.span);
                }
                let body = self.body_of(has_body, true);
                StmtKind::While { label, condition, body }
            }
            TokenKind::For => self.for_statement(label),
            _ => {
                let has_body = self.end_head("`:` behind `loop`");
                let body = self.body_of(has_body, true);
                StmtKind::Loop { label, body }
            }
        }
    }

    /// `for p in e:`, `for i, p in e:` or `for (i, p) in e.enumerate():`.
    fn for_statement(&mut self, label: Option<Name>) -> StmtKind {
        let patterns = self.tree.patterns.len();
        let first = self.bound_names("the variable of the loop");
        let second =
            self.eat(TokenKind::Comma).then(|| self.bound_names("the variable of the loop"));
        self.expect(TokenKind::In, "`in`");
        let errors = self.errors;
        let mut items = self.expr();
        let has_body = self.end_head("`:` behind the values of the loop");
        if self.errors != errors || !has_body {
            items = self.add_error(self.last_span());
        }
        if has_body && self.is(TokenKind::Newline) && self.peek() != TokenKind::Indent {
            // The lines behind are the body that is missing.
            self.refuse_names(patterns);
        }
        let body = self.body_of(has_body, true);
        let (index, pattern) = match second {
            Some(second) => (Some(first), second),
            None => (None, first),
        };
        StmtKind::For { label, index, pattern, items, body }
    }

    /// Notes that uses of the names are no errors that patterns from number `first` on bind.
    fn refuse_names(&mut self, first: usize) {
        for index in first..self.tree.patterns.len() {
            let kind = self.tree.patterns.get(index).map(|pattern| pattern.kind);
            if let Some(PatternKind::Bind(name)) = kind {
                self.add(|tree| &mut tree.refused, name);
            }
        }
    }

    /// A name, or a tuple of patterns.
    fn bound_names(&mut self, wanted: &str) -> PatternId {
        if self.is(TokenKind::LeftParen) {
            return self.tuple_pattern(self.span());
        }
        let word = self.word(wanted);
        let kind = match word.name {
            Name::UNDERSCORE => PatternKind::Wildcard,
            name => PatternKind::Bind(name),
        };
        self.add_pattern(kind, word.span)
    }

    /// `val p: T = e` and the like.
    fn binding(&mut self) -> StmtKind {
        let keyword = self.bump().kind;
        let is_mut = keyword == TokenKind::Let && self.eat(TokenKind::Mut);
        let mutable = keyword == TokenKind::Var || is_mut;
        let pattern = self.bound_names("a name");
        if let Pattern { kind: PatternKind::Bind(name), span } = self.tree.pattern(pattern)
            && self.starts_names()
            && self.is(TokenKind::Comma)
        {
            return self.unpacked(name, span);
        }
        let ty = self.eat(TokenKind::Colon).then(|| self.ty());
        let value = self.eat(TokenKind::Equal).then(|| self.expr());
        if self.is(TokenKind::Else) {
            self.refuse(self.span(), "`let ... else`", "it is not part of the subset yet");
            self.skip_rest();
        }
        let value = match value {
            // An error in the type stopped the statement.
            None if self.failed => Some(self.add_error(self.last_span())),
            value => value,
        };
        StmtKind::Let { mutable, pattern, ty, value }
    }

    /// A statement that starts with a word: `loop`, a call without parentheses, a refused construct, or an expression.
    fn word_statement(&mut self) -> StmtKind {
        let (name, next) = (self.name(), *self.token_at(1));
        if name == Name::LOOP && matches!(next.kind, TokenKind::Colon | TokenKind::Tilde) {
            return self.loop_statement(None);
        }
        if self.refused_item() {
            self.skip_rest();
            return StmtKind::Error;
        }
        if matches!(name, Name::PRINT | Name::EPRINT | Name::PRINT_RAW) && next.spaced {
            let is_sign = next.kind == TokenKind::Minus && !self.token_at(2).spaced;
            let is_refused = next.kind == TokenKind::Backtick
                || next.kind == TokenKind::Colon
                    && self.token_at(2).kind == TokenKind::Word
                    && !self.token_at(2).spaced;
            let is_operator = is_sign || next.kind == TokenKind::Tilde;
            let is_operand = next.kind.starts_operand() || self.keyword_names.contains(&next.name);
            if is_operand || is_operator || is_refused {
                return self.bare_call();
            }
        }
        self.expression_statement()
    }

    /// `print a, b`.
    fn bare_call(&mut self) -> StmtKind {
        let Token { name, span, .. } = self.bump();
        let callee = self.add_expr(ExprKind::Name(name), span);
        let mark = self.arguments.len();
        loop {
            let value = self.expr();
            // `print (a, b)` has two arguments.
            let parts = match self.tree.expr(value).kind {
                ExprKind::Tuple(parts) => parts,
                _ => List::default(),
            };
            let count = parts.len();
            for index in 0..count {
                let part = self.tree.list(parts).get(index).copied().unwrap_or(0);
                let argument = Argument { name: None, value: ExprId(part) };
                self.diagnostics.push(&mut self.arguments, argument);
            }
            if count == 0 {
                self.diagnostics.push(&mut self.arguments, Argument { name: None, value });
            }
            if !self.eat(TokenKind::Comma) {
                break;
            }
        }
        let arguments = self.arguments_since(mark);
        let span = span.to(self.last_span());
        StmtKind::Expr(self.add_expr(ExprKind::Call { callee, arguments }, span))
    }

    /// A variable whose declaration is wrong, so that its uses are no errors.
    fn declared(&mut self, name: Name, span: Span) -> StmtKind {
        let pattern = self.add_pattern(PatternKind::Bind(name), span);
        let value = Some(self.add_error(span));
        StmtKind::Let { mutable: true, pattern, ty: None, value }
    }

    fn expression_statement(&mut self) -> StmtKind {
        let target = self.expr();
        let op = match self.kind() {
            TokenKind::Equal => None,
            TokenKind::PlusEqual => Some(BinaryOp::Add),
            TokenKind::MinusEqual => Some(BinaryOp::Subtract),
            TokenKind::StarEqual => Some(BinaryOp::Multiply),
            TokenKind::SlashEqual => Some(BinaryOp::Divide),
            TokenKind::PercentEqual => Some(BinaryOp::Remainder),
            _ => return self.other_statement(target),
        };
        self.bump();
        let value = self.expr();
        let is_place = matches!(
            self.tree.expr(target).kind,
            ExprKind::Error
                | ExprKind::Name(_)
                | ExprKind::Field(..)
                | ExprKind::TupleField(..)
                | ExprKind::Index(..)
                | ExprKind::Unary(UnaryOp::Dereference, _)
        );
        if !is_place {
            let message = format_args!("only a name, field or element is assigned to");
            let is_tuple = matches!(self.tree.expr(target).kind, ExprKind::Tuple(_));
            let (span, note) = (self.expr_span(target), format_args!("{TUPLE_NOTE}"));
            self.error_with_note(span, Code::NotAssignable, message, is_tuple.then_some(note));
            self.set_error(target);
        }
        StmtKind::Assign { op, target, value }
    }

    /// An expression, or a declaration or loop as other languages write it, which is refused.
    fn other_statement(&mut self, target: ExprId) -> StmtKind {
        let (next, behind) = (self.peek(), self.token_at(2).kind);
        let declares = self.is(TokenKind::ColonEqual);
        if declares || self.is(TokenKind::Arrow) {
            self.refused_operand();
        }
        let Expr { kind: ExprKind::Name(name), span } = self.tree.expr(target) else {
            return StmtKind::Expr(target);
        };
        match self.kind() {
            _ if declares => self.declared(name, span),
            TokenKind::Word if next == TokenKind::Equal => {
                let (name, span) = (self.name(), self.span());
                self.unknown_statement();
                self.declared(name, span)
            }
            TokenKind::Colon if next == TokenKind::Word && behind == TokenKind::Equal => {
                let text = self.text(span);
                let note = format_args!("write `val {text}: ...`, or `var` if it changes");
                self.not_a_statement(span, note);
                self.declared(name, span)
            }
            TokenKind::Colon if matches!(next, TokenKind::For | TokenKind::While) => {
                let text = self.text(span);
                self.not_a_statement(span, format_args!("a label is written `'{text}`"));
                StmtKind::Error
            }
            TokenKind::Comma if self.starts_names() => self.unpacked(name, span),
            _ => StmtKind::Expr(target),
        }
    }

    /// Refuses a line by its first word.
    fn not_a_statement(&mut self, span: Span, note: fmt::Arguments<'_>) {
        let message = format_args!("`{}` starts no statement", self.text(span));
        self.error_with_note(span, Code::Unexpected, message, Some(note));
        self.skip_rest();
    }

    /// Whether the current token starts `, b, c =`.
    fn starts_names(&self) -> bool {
        let mut ahead = 0;
        while self.token_at(ahead).kind == TokenKind::Comma
            && self.token_at(ahead + 1).kind == TokenKind::Word
        {
            ahead += 2;
        }
        self.token_at(ahead).kind == TokenKind::Equal
    }

    /// Refuses `a, b = e`, of which the first name is read; the names are declared.
    fn unpacked(&mut self, name: Name, span: Span) -> StmtKind {
        let note = Some(format_args!("{TUPLE_NOTE}"));
        let message = format_args!("expected the end of the line, found `,`");
        self.error_with_note(self.span(), Code::Unexpected, message, note);
        let mark = self.scratch.len();
        let first = self.add_pattern(PatternKind::Bind(name), span);
        self.note(first.0);
        while self.eat(TokenKind::Comma) {
            let word = self.bump();
            let part = self.add_pattern(PatternKind::Bind(word.name), word.span);
            self.note(part.0);
        }
        let parts = self.list_since(mark);
        let pattern = self.add_pattern(PatternKind::Tuple(parts), span.to(self.last_span()));
        self.skip_rest();
        let value = Some(self.add_error(span));
        StmtKind::Let { mutable: true, pattern, ty: None, value }
    }
}
