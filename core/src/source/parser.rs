//! The parser: recursive descent with recovery.
//!
//! A syntax error is reported once for a statement or declaration; the parser then skips to the end of the line, and
//! the block behind it, and goes on. Nesting is bounded by [`MAX_NESTING`] and by the stack of the thread, so that neither
//! the parser nor a walk over the tree recurses further. Failed allocations are recorded in the diagnostics and end the run there.

use alloc::vec::Vec;
use core::fmt;

use super::advice::{other_language, statement_word};
use super::code::Code;
use super::diagnostic::{Diagnostics, File, STACK_ENDS, Severity};
use super::layout;
use super::names::{Name, Names};
use super::syntax::*;
use super::token::{Span, Token, TokenKind};
use super::ty::TypeId;
use crate::alloc_util::{AllocError, try_push, try_replace, try_with_capacity};

mod declaration;
mod expression;
mod item;
mod operator;
mod pattern;
mod refused;
mod statement;
mod text;
mod ty;

/// The hint on a lambda.
const LAMBDA: &str = "a lambda is not supported: pass a named function";

/// The deepest nesting of expressions, statements, types and patterns.
pub(super) const MAX_NESTING: u32 = 128;

/// Parses a file. The tree lacks what is reported as an error.
pub(super) fn parse<'s>(
    file: &File<'s>,
    names: &mut Names<'s>,
    diagnostics: &mut Diagnostics,
) -> Result<Tree, AllocError> {
    let tokens = layout::tokens(file, names, diagnostics)?;
    // About what programs have: their lists need not grow then.
    let count = tokens.len();
    let tree = Tree {
        exprs: try_with_capacity(count / 3)?,
        statements: try_with_capacity(count / 6)?,
        types: try_with_capacity(count / 8)?,
        lists: try_with_capacity(count / 4)?,
        patterns: try_with_capacity(count / 14)?,
        blocks: try_with_capacity(count / 14)?,
        numbers: try_with_capacity(count / 14)?,
        params: try_with_capacity(count / 14)?,
        functions: try_with_capacity(count / 24)?,
        top_functions: try_with_capacity(count / 24)?,
        ..Tree::default()
    };
    let mut parser = Parser::new(file, tokens, tree, names, diagnostics);
    parser.file();
    Ok(parser.tree)
}

/// Parses the imports of a file, and as little else as possible.
pub(super) fn parse_imports<'s>(
    file: &File<'s>,
    names: &mut Names<'s>,
    diagnostics: &mut Diagnostics,
) -> Result<Tree, AllocError> {
    let tokens = layout::tokens(file, names, diagnostics)?;
    let mut parser = Parser::new(file, tokens, Tree::default(), names, diagnostics);
    parser.imports();
    Ok(parser.tree)
}

/// Whether the text begins with a declaration.
pub(super) fn begins_declaration<'s>(
    file: &File<'s>,
    names: &mut Names<'s>,
    diagnostics: &mut Diagnostics,
) -> Result<bool, AllocError> {
    let tokens = layout::tokens(file, names, diagnostics)?;
    let mut parser = Parser::new(file, tokens, Tree::default(), names, diagnostics);
    Ok(parser.declaration())
}

struct Parser<'p, 's> {
    file: &'p File<'s>,
    tokens: Vec<Token>,
    /// The position of the current token.
    at: usize,
    /// The token at [`at`](Self::at), and the one before.
    current: Token,
    last: Token,
    tree: Tree,
    names: &'p mut Names<'s>,
    diagnostics: &'p mut Diagnostics,
    depth: u32,
    /// Whether the statement that is parsed has a reported error.
    failed: bool,
    /// The number of errors, each of which was reported or follows another one on its line.
    errors: u32,
    /// How many texts have the expression that is parsed in their braces.
    in_text: u32,
    /// Numbers of the lists that are parsed, the innermost last.
    scratch: Vec<u32>,
    /// The same for arguments.
    arguments: Vec<Argument>,
    /// The same for the operators of chains of comparisons.
    operators: Vec<BinaryOp>,
    /// By the number of a name.
    top_bindings: Vec<TopBinding>,
    /// Keywords that stand where a name is declared.
    keyword_names: Vec<Name>,
    /// The names of types outside of the subset that the file gives to types of its own; `None` until there is such a name.
    own_names: Option<Vec<Name>>,
}

/// What the last statement or constant at the top level that binds a name makes of it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum TopBinding {
    #[default]
    None,
    Constant,
    /// A variable of the script.
    Variable,
}

impl<'p, 's> Parser<'p, 's> {
    /// A parser in front of the first token.
    fn new(
        file: &'p File<'s>,
        tokens: Vec<Token>,
        tree: Tree,
        names: &'p mut Names<'s>,
        diagnostics: &'p mut Diagnostics,
    ) -> Self {
        let mut parser = Self {
            file,
            tokens,
            at: 0,
            current: Token::END,
            last: Token::END,
            tree,
            names,
            diagnostics,
            depth: 0,
            failed: false,
            errors: 0,
            in_text: 0,
            scratch: Vec::new(),
            arguments: Vec::new(),
            operators: Vec::new(),
            top_bindings: Vec::new(),
            keyword_names: Vec::new(),
            own_names: None,
        };
        parser.go_to(0);
        parser
    }
}

impl<'s> Parser<'_, 's> {
    /// A token behind the current one; [`TokenKind::End`] behind the last.
    fn token_at(&self, ahead: usize) -> &Token {
        self.tokens.get(self.at + ahead).unwrap_or(&Token::END)
    }

    /// Makes the token at a position the current one.
    fn go_to(&mut self, at: usize) {
        self.at = at;
        self.current = *self.token_at(0);
        let before = at.checked_sub(1).and_then(|at| self.tokens.get(at));
        self.last = before.copied().unwrap_or(Token::END);
    }

    fn token(&self) -> Token {
        self.current
    }

    fn kind(&self) -> TokenKind {
        self.current.kind
    }

    fn peek(&self) -> TokenKind {
        self.token_at(1).kind
    }

    fn span(&self) -> Span {
        self.current.span
    }

    /// The name of the current token.
    fn name(&self) -> Name {
        self.current.name
    }

    /// The span of the token before.
    fn last_span(&self) -> Span {
        self.last.span
    }

    /// The kind of the token before.
    fn last_kind(&self) -> TokenKind {
        self.last.kind
    }

    fn bump(&mut self) -> Token {
        let token = self.current;
        // The last token is `End`.
        if token.kind != TokenKind::End {
            self.at += 1;
            (self.last, self.current) = (token, *self.token_at(0));
        }
        token
    }

    fn is(&self, kind: TokenKind) -> bool {
        self.kind() == kind
    }

    fn eat(&mut self, kind: TokenKind) -> bool {
        let is = self.is(kind);
        if is {
            self.bump();
        }
        is
    }

    fn text(&self, span: Span) -> &'s str {
        let (start, end) = (usize::try_from(span.start), usize::try_from(span.end));
        self.file.text.get(start.unwrap_or(usize::MAX)..end.unwrap_or(0)).unwrap_or("")
    }

    /// Whether the current token is a word with this name.
    fn is_word(&self, name: Name) -> bool {
        self.is(TokenKind::Word) && self.name() == name
    }

    /// The token at the current position as a message names it.
    fn found(&self) -> &'s str {
        let token = self.token();
        if token.kind == TokenKind::End && self.in_text > 0 {
            return "`}`";
        }
        token.kind.description().unwrap_or_else(|| self.text(token.span))
    }

    /// Reports a syntax error, unless the statement has one.
    fn error(&mut self, span: Span, code: Code, message: fmt::Arguments<'_>) {
        self.error_with_note(span, code, message, None);
    }

    fn error_with_note(
        &mut self,
        span: Span,
        code: Code,
        message: fmt::Arguments<'_>,
        note: Option<fmt::Arguments<'_>>,
    ) {
        if !core::mem::replace(&mut self.failed, true) {
            self.errors = self.errors.wrapping_add(1);
            self.diagnostics.add(self.file, span, (Severity::Error, code), message, note);
        }
    }

    /// Reports an error behind which the statement goes on.
    fn mistake(&mut self, span: Span, code: Code, message: fmt::Arguments<'_>) {
        self.mistake_with_note(span, code, message, None);
    }

    fn mistake_with_note(
        &mut self,
        span: Span,
        code: Code,
        message: fmt::Arguments<'_>,
        note: Option<fmt::Arguments<'_>>,
    ) {
        let failed = core::mem::replace(&mut self.failed, false);
        self.error_with_note(span, code, message, note);
        self.failed = failed;
    }

    fn unexpected(&mut self, wanted: &str) {
        let (found, kind) = (self.found(), self.kind());
        let hint = self.hint(wanted);
        let note = fmt::from_fn(|f| f.write_str(hint.unwrap_or_default()));
        let note = format_args!("{note}");
        let note = hint.is_some().then_some(note);
        if kind.description().is_some() {
            let message = format_args!("expected {wanted}, found {found}");
            self.error_with_note(self.place(), Code::Unexpected, message, note);
        } else {
            let message = format_args!("expected {wanted}, found `{found}`");
            self.error_with_note(self.span(), Code::Unexpected, message, note);
        }
    }

    /// What to write instead of the current token, where `wanted` is expected.
    fn hint(&self, wanted: &str) -> Option<&'static str> {
        let ends_head = wanted.starts_with("`:`");
        let is_type = TypeId::primitive(self.name()).is_some();
        Some(match self.kind() {
            TokenKind::FatArrow | TokenKind::Word
                if wanted.ends_with("the body of the function")
                    && (is_type || self.is(TokenKind::FatArrow)) =>
            {
                "the type of the result stands behind `->`"
            }
            TokenKind::Word
                if wanted.starts_with("`)` behind the parameters")
                    && is_type
                    && self.last_kind() == TokenKind::Word =>
            {
                "a parameter is its name, `:` and its type"
            }
            TokenKind::LeftBrace if ends_head => "a block is `:` and indented lines",
            TokenKind::Equal if wanted.ends_with("the condition") => "a comparison is `==`",
            TokenKind::Less if self.last_kind() == TokenKind::DotDot => {
                "`a..b` does not include `b`"
            }
            TokenKind::Less
            | TokenKind::LessEqual
            | TokenKind::Greater
            | TokenKind::GreaterEqual
            | TokenKind::EqualEqual
            | TokenKind::NotEqual
                if wanted.ends_with("the pattern") =>
            {
                "a condition stands behind `if`, as in `case x if x > 3:`"
            }
            TokenKind::If if !ends_head => "a choice is `if c: a else: b`",
            TokenKind::FatArrow => LAMBDA,
            TokenKind::LeftBracket if wanted.starts_with("`(`") => "type parameters are `<T>`",
            TokenKind::Ampersand if wanted == "a parameter" => {
                "`self` is not declared: a method is `fn name()`, or `me name()` if it changes `self`"
            }
            TokenKind::Word => return self.word_hint(ends_head),
            _ => return None,
        })
    }

    /// The same where the current token is a word.
    fn word_hint(&self, ends_head: bool) -> Option<&'static str> {
        let before = |count: usize| self.at.checked_sub(count).and_then(|at| self.tokens.get(at));
        let is_type = |token: &Token| TypeId::primitive(token.name).is_some();
        Some(match (self.text(self.span()), self.text(self.last_span())) {
            ("then", _) if ends_head => "write `:`",
            ("step" | "by", _) if ends_head => "a loop with another step is `while`",
            ("mod", _) => "the remainder is `a % b`",
            (_, "new") => "a struct is made as `P(x: 1)`, without `new`",
            (_, "lambda") => LAMBDA,
            (_, "continue") => "a label is written `'label`",
            (_, ")") if before(2).is_some_and(is_type) => "a conversion is `x as f64`",
            _ if is_type(&self.last) => {
                "a type stands behind the name, as in `x: i64`; a loop is `for i in 0..n:`"
            }
            _ => return None,
        })
    }

    /// Warns of `::` between names.
    fn old_path(&mut self) {
        let kind = (Severity::Warning, Code::OldForm);
        let (message, note) = (format_args!("`::` is deprecated"), format_args!("write `.`"));
        self.diagnostics.add(self.file, self.span(), kind, message, Some(note));
    }

    /// Whether the current token is the first one of its line.
    fn starts_line(&self) -> bool {
        let before = self.last_kind();
        self.at == 0 || matches!(before, TokenKind::Newline | TokenKind::Indent | TokenKind::Dedent)
    }

    /// Refuses a line that starts with a word which is neither a keyword nor a whole expression.
    fn unknown_statement(&mut self) {
        let span = self.last_span();
        let word = self.text(span);
        let message = format_args!("`{word}` starts no statement");
        let known = other_language(word);
        let known = match TypeId::primitive(self.last.name) {
            Some(_) => Some("a variable is declared with `val` or `var`, and a function with `fn`"),
            None => known,
        };
        if let (Some(similar), None) = (statement_word(word), known) {
            let note = format_args!("a similar word is `{similar}`");
            self.error_with_note(span, Code::Unexpected, message, Some(note));
        } else {
            let usual = match self.is(TokenKind::Colon) {
                true => "a block starts with `if`, `match`, `for`, `while` or `loop`",
                false => "a call has its arguments in parentheses",
            };
            let note = known.unwrap_or(usual);
            self.error_with_note(span, Code::Unexpected, message, Some(format_args!("{note}")));
        }
    }

    /// The current token in messages: the end of a line or block is behind the token before it.
    fn place(&self) -> Span {
        let is_end = matches!(self.kind(), TokenKind::Newline | TokenKind::Dedent | TokenKind::End);
        let end = self.last_span().end;
        if is_end && end > 0 { Span::new(end, end) } else { self.span() }
    }

    fn expect(&mut self, kind: TokenKind, wanted: &str) -> bool {
        let found = self.eat(kind);
        if !found {
            self.unexpected(wanted);
        }
        found
    }

    /// A name, or the empty place of a missing one.
    fn word(&mut self, wanted: &str) -> Word {
        let Token { kind, name, span, .. } = self.token();
        if kind == TokenKind::Word {
            self.bump();
            return Word { name, span };
        }
        let starts_rest =
            matches!(self.peek(), TokenKind::LeftParen | TokenKind::Colon | TokenKind::Equal);
        let is_declared =
            matches!(wanted, "a name" | "a field") || wanted.starts_with("the name of a");
        if self.token().is_keyword() && starts_rest && is_declared {
            // Uses of the name are no errors of their own.
            let message =
                format_args!("expected {wanted}, found the keyword `{}`", self.text(span));
            self.mistake(span, Code::Unexpected, message);
            self.diagnostics.push(&mut self.keyword_names, name);
            self.bump();
            return Word { name, span };
        }
        self.unexpected(wanted);
        Word { name: Name::UNDERSCORE, span }
    }

    /// Runs `parse` one level deeper; at the limit it reports an error and returns `fallback`.
    fn nested<T>(&mut self, fallback: T, parse: impl FnOnce(&mut Self) -> T) -> T {
        if self.depth >= MAX_NESTING {
            let message = format_args!("more than {MAX_NESTING} levels of nesting");
            self.error(self.span(), Code::TooDeep, message);
            return fallback;
        }
        if !self.diagnostics.has_stack() {
            self.error(self.span(), Code::TooDeep, format_args!("{STACK_ENDS}"));
            return fallback;
        }
        self.depth += 1;
        let result = parse(self);
        self.depth -= 1;
        result
    }

    /// Skips to the end of the line, and the block behind it.
    fn skip_line(&mut self) {
        self.skip_rest();
        self.eat(TokenKind::Newline);
    }

    /// Skips to the end of the line, without it unless a block is behind it, which is skipped too.
    fn skip_rest(&mut self) {
        while !matches!(self.kind(), TokenKind::Newline | TokenKind::End | TokenKind::Dedent) {
            if self.bump().kind == TokenKind::Indent {
                return self.skip_block();
            }
        }
        if self.open_block() {
            self.skip_block();
        }
    }

    /// Whether the current token ends a line with a block behind it.
    fn precedes_block(&self) -> bool {
        self.is(TokenKind::Newline) && self.peek() == TokenKind::Indent
    }

    /// The start of a block behind the end of the line; whether there is one.
    fn open_block(&mut self) -> bool {
        self.precedes_block() && self.eat(TokenKind::Newline) && self.eat(TokenKind::Indent)
    }

    /// Behind a statement with an error: skips the lines that are parts of such a statement.
    fn skip_parts(&mut self, is_do: bool) {
        while self.starts_line() {
            let is_part = match self.kind() {
                TokenKind::Elif | TokenKind::Else | TokenKind::Case => true,
                TokenKind::While => is_do,
                TokenKind::Word => {
                    matches!(self.text(self.span()), "catch" | "except" | "finally")
                }
                _ => false,
            };
            if !is_part {
                return;
            }
            self.skip_line();
        }
    }

    /// Skips to the end of the block whose start has been read.
    fn skip_block(&mut self) {
        let mut depth = 1_u32;
        while depth > 0 && !self.is(TokenKind::End) {
            match self.bump().kind {
                TokenKind::Indent => depth += 1,
                TokenKind::Dedent => depth -= 1,
                _ => {}
            }
        }
    }

    /// Ends the head of a construct with a body, at `:`; whether there is a body. Behind an error in the head it goes on at
    /// `:` or at the end of the line, so that the body and what follows it are parsed.
    fn end_head(&mut self, wanted: &str) -> bool {
        if !self.failed && self.expect(TokenKind::Colon, wanted) {
            return true;
        }
        let (end, colon) = self.rest_of_head();
        self.go_to(colon.unwrap_or(end));
        self.eat(TokenKind::Colon);
        let has_body = colon.is_some() || self.precedes_block();
        self.failed &= !has_body;
        has_body
    }

    /// The end of the head of a construct with an error, and the `:` that ends it: the one at the end of the line, or the
    /// first one outside of brackets. It ends at `;`, `elif` and `else` as well, so that no token is looked at twice.
    fn rest_of_head(&self) -> (usize, Option<usize>) {
        let (mut at, mut open, mut colon) = (self.at, 0_u32, None);
        loop {
            let kind = self.tokens.get(at).map_or(TokenKind::End, |token| token.kind);
            match kind {
                TokenKind::LeftParen | TokenKind::LeftBracket | TokenKind::LeftBrace => open += 1,
                TokenKind::RightParen | TokenKind::RightBracket | TokenKind::RightBrace
                    if open > 0 =>
                {
                    open -= 1;
                }
                TokenKind::RightParen | TokenKind::RightBracket | TokenKind::RightBrace => {
                    return (at, colon);
                }
                TokenKind::Colon if open == 0 => {
                    let next = self.tokens.get(at + 1).map(|token| token.kind);
                    match next {
                        Some(TokenKind::Newline) => return (at, Some(at)),
                        _ => colon = colon.or(Some(at)),
                    }
                }
                TokenKind::Semicolon | TokenKind::Elif | TokenKind::Else if open == 0 => {
                    return (at, colon);
                }
                kind if kind.ends_line() => return (at, colon),
                _ => {}
            }
            at += 1;
        }
    }

    /// Behind an error in a branch: to `else` or `elif` on its line, or to the end of the line and the block behind it.
    fn skip_to_else(&mut self) {
        if self.last_kind() == TokenKind::Dedent {
            // The block is behind.
            return;
        }
        let mut open = 0_u32;
        loop {
            match self.kind() {
                TokenKind::LeftParen | TokenKind::LeftBracket | TokenKind::LeftBrace => open += 1,
                TokenKind::RightParen | TokenKind::RightBracket | TokenKind::RightBrace
                    if open > 0 =>
                {
                    open -= 1;
                }
                TokenKind::RightParen | TokenKind::RightBracket | TokenKind::RightBrace => return,
                TokenKind::Semicolon | TokenKind::Elif | TokenKind::Else if open == 0 => return,
                kind if kind.ends_line() => break,
                _ => {}
            }
            self.bump();
        }
        if self.open_block() {
            self.skip_block();
        }
    }

    /// Ends a statement or declaration: at the end of its line or block.
    fn end_of_line(&mut self) {
        let is_behind_block = self.last_kind() == TokenKind::Dedent;
        let ends = matches!(self.kind(), TokenKind::Dedent | TokenKind::End);
        if self.eat(TokenKind::Newline) || is_behind_block || ends {
            self.failed = false;
            return;
        }
        let before = self.at.checked_sub(2).and_then(|at| self.tokens.get(at));
        let is_first = before.is_none_or(|token| {
            matches!(token.kind, TokenKind::Newline | TokenKind::Indent | TokenKind::Dedent)
        });
        let starts = self.starts_value() || self.is(TokenKind::Colon);
        if is_first && starts && self.last_kind() == TokenKind::Word {
            self.unknown_statement();
        } else {
            self.unexpected("the end of the line");
        }
        self.skip_line();
        self.failed = false;
    }

    /// Reads items with commas between them up to `end`, which may be missing; whether there is a comma.
    fn with_commas(&mut self, end: TokenKind, mut item: impl FnMut(&mut Self)) -> bool {
        let mut has_comma = false;
        while !self.is(end) && !matches!(self.kind(), TokenKind::Newline | TokenKind::End) {
            item(self);
            if !self.eat(TokenKind::Comma) {
                break;
            }
            has_comma = true;
        }
        has_comma
    }

    // Arenas.

    fn add<T>(&mut self, arena: impl FnOnce(&mut Tree) -> &mut Vec<T>, value: T) -> u32 {
        let list = arena(&mut self.tree);
        let number = u32::try_from(list.len()).unwrap_or(u32::MAX);
        self.diagnostics.push(list, value);
        number
    }

    /// Appends to an arena.
    fn append<T>(&mut self, arena: impl Fn(&mut Tree) -> &mut Vec<T>, items: Vec<T>) -> List {
        let start = arena(&mut self.tree).len();
        for item in items {
            self.add(&arena, item);
        }
        Self::since(start, arena(&mut self.tree).len())
    }

    fn add_expr(&mut self, kind: ExprKind, span: Span) -> ExprId {
        let number = self.add(|tree| &mut tree.exprs, Expr { kind, span });
        match kind {
            ExprKind::Call { .. } => {
                self.add(|tree| &mut tree.calls, number);
            }
            ExprKind::If { .. } | ExprKind::Match { .. } => {
                self.add(|tree| &mut tree.branches, number);
            }
            _ => {}
        }
        ExprId(number)
    }

    fn add_error(&mut self, span: Span) -> ExprId {
        self.add_expr(ExprKind::Error, span)
    }

    fn expr_span(&self, id: ExprId) -> Span {
        self.tree.expr(id).span
    }

    fn add_stmt(&mut self, kind: StmtKind, span: Span) -> StmtId {
        StmtId(self.add(|tree| &mut tree.statements, Stmt { kind, span }))
    }

    fn add_type(&mut self, kind: TypeKind, span: Span) -> TypeNodeId {
        TypeNodeId(self.add(|tree| &mut tree.types, TypeNode { kind, span }))
    }

    fn add_pattern(&mut self, kind: PatternKind, span: Span) -> PatternId {
        PatternId(self.add(|tree| &mut tree.patterns, Pattern { kind, span }))
    }

    fn note(&mut self, number: u32) {
        self.diagnostics.push(&mut self.scratch, number);
    }

    /// The numbers noted since the scratch list had `mark` entries, as a list of the tree.
    fn list_since(&mut self, mark: usize) -> List {
        let start = u32::try_from(self.tree.lists.len()).unwrap_or(u32::MAX);
        let noted = self.scratch.get(mark..).unwrap_or(&[]);
        let len = u32::try_from(noted.len()).unwrap_or(0);
        let mut result = Ok(());
        for &number in noted {
            result = result.and(try_push(&mut self.tree.lists, number));
        }
        self.diagnostics.allocated(result);
        self.scratch.truncate(mark);
        List { start, len }
    }

    /// The range of an arena from `start` to its end.
    fn since(start: usize, end: usize) -> List {
        let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        List { start: number(start), len: number(end.saturating_sub(start)) }
    }
}
