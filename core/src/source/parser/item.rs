//! The top level of a file: declarations, imports, attributes and statements of a script.

use super::*;
use crate::alloc_util::sort::sort_by_key;
use crate::source::ty::TypeId;

/// Attributes that have a meaning in Simple and none here.
const ATTRIBUTES: &[&str] = &[
    "allow",
    "warn",
    "deny",
    "inline",
    "always_inline",
    "no_mangle",
    "export",
    "entry",
    "repr",
    "no_gc",
    "no_alloc",
    "gc",
    "test",
    "skip",
    "pure",
    "deprecated",
];

impl Parser<'_, '_> {
    pub(super) fn file(&mut self) {
        let mark = self.scratch.len();
        while !self.is(TokenKind::End) && !self.diagnostics.is_full() {
            if self.diagnostics.out_of_memory {
                break;
            }
            if !self.skip_between_items() {
                self.next_item();
            }
        }
        self.tree.script = self.list_since(mark);
        let is_marked = self.tree.functions.iter().any(|function| function.is_public);
        self.tree.marks_functions = is_marked || !self.tree.exports.is_empty();
        sort_by_key(&mut self.tree.exports, |word| word.name);
        if !self.tree.script.is_empty() && !self.is_call_of_main() {
            self.script_function();
        }
    }

    /// The imports: parses the lines at the top level that have a word with which one begins.
    pub(super) fn imports(&mut self) {
        while !self.is(TokenKind::End) {
            if self.skip_between_items() {
                continue;
            }
            let (start, mut has_import) = (self.at, false);
            while !matches!(self.kind(), TokenKind::Newline | TokenKind::End) {
                let is_word = self.is(TokenKind::Word);
                has_import |= self.is(TokenKind::Use)
                    || is_word && matches!(self.text(self.span()), "import" | "from");
                self.bump();
            }
            let (end, is_head) = (self.at, self.last_kind() == TokenKind::Colon);
            if has_import {
                self.go_to(start);
                while self.at < end {
                    self.next_item();
                }
            } else if is_head && self.open_block() {
                self.skip_block();
            }
        }
    }

    /// Skips a token between items, or a block without a head; whether there is one.
    fn skip_between_items(&mut self) -> bool {
        match self.kind() {
            TokenKind::Newline | TokenKind::Dedent => {
                self.bump();
            }
            TokenKind::Indent => {
                self.failed = false;
                let message = format_args!("an indented line without a block in front of it");
                self.error(self.span(), Code::BadIndentation, message);
                self.bump();
                // Declarations are made all the same.
                if !self.kind().starts_declaration() {
                    self.skip_block();
                }
            }
            _ => return false,
        }
        true
    }

    /// Whether the only statement at the top level is `main()`.
    fn is_call_of_main(&self) -> bool {
        let &[only] = self.tree.list(self.tree.script) else { return false };
        let StmtKind::Expr(id) = self.tree.stmt(StmtId(only)).kind else { return false };
        match self.tree.expr(id).kind {
            ExprKind::Call { callee, arguments } => {
                arguments.is_empty() && self.tree.expr(callee).kind == ExprKind::Name(Name::MAIN)
            }
            _ => false,
        }
    }

    /// The statements at the top level as the function `main`.
    fn script_function(&mut self) {
        let statements = self.tree.script;
        let first = self.tree.list(statements).first().map_or(0, |&first| first);
        let span = self.tree.stmt(StmtId(first)).span;
        let body = BlockId(self.add(|tree| &mut tree.blocks, Block { statements, span }));
        let declaration = FunctionDecl {
            body: Some(body),
            is_public: true,
            is_script: true,
            ..FunctionDecl::new(Word { name: Name::MAIN, span }, span)
        };
        let number = self.add(|tree| &mut tree.functions, declaration);
        self.add(|tree| &mut tree.top_functions, number);
    }

    /// Whether a declaration starts here, which is parsed as far as that takes.
    pub(super) fn declaration(&mut self) -> bool {
        let (start, kind) = (self.span(), self.kind());
        match kind {
            TokenKind::At | TokenKind::HashBracket => true,
            TokenKind::Word => self.foreign_function(start) || self.soft_item(start),
            _ => kind.starts_declaration(),
        }
    }

    /// An item, or a token that starts none.
    fn next_item(&mut self) {
        let before = self.at;
        self.failed = false;
        self.item();
        if self.at == before {
            self.bump();
        }
    }

    fn item(&mut self) {
        let start = self.span();
        if self.is(TokenKind::DocText) {
            self.bump();
            return self.end_of_line();
        }
        if self.is(TokenKind::At) || self.is(TokenKind::HashBracket) {
            return self.attribute();
        }
        if self.is(TokenKind::Export) && self.peek() == TokenKind::Word {
            return self.export_list();
        }
        let is_public = self.visibility();
        match self.kind() {
            TokenKind::Fn => self.top_function(start, is_public, false),
            TokenKind::Extern => {
                self.bump();
                if self.is(TokenKind::Fn) {
                    return self.top_function(start, is_public, true);
                }
                self.unexpected("`fn` behind `extern`");
                self.skip_line();
            }
            TokenKind::Struct => self.struct_decl(start),
            TokenKind::Enum => self.enum_decl(start),
            TokenKind::Impl => self.impl_decl(start),
            TokenKind::Use => self.use_decl(start),
            TokenKind::Word if self.foreign_function(start) || self.soft_item(start) => {}
            _ => self.script_line(start),
        }
    }

    /// Refuses `def f(...)` and `int f(...)`, whose names are declared all the same; whether it did.
    fn foreign_function(&mut self, start: Span) -> bool {
        let (span, next) = (self.span(), *self.token_at(1));
        let text = self.text(span);
        let is_type = TypeId::primitive(self.name()).is_some();
        let starts = is_type || is_function_word(text);
        if !starts || next.kind != TokenKind::Word || self.token_at(2).kind != TokenKind::LeftParen
        {
            return false;
        }
        let message = format_args!("`{text}` starts no statement");
        let note = Some(format_args!("a function begins with `fn`"));
        self.error_with_note(span, Code::Unexpected, message, note);
        self.skip_line();
        let word = Word { name: next.name, span: next.span };
        let declaration = FunctionDecl::new(word, start.to(next.span));
        let declaration = FunctionDecl { is_broken: true, ..declaration };
        let number = self.add(|tree| &mut tree.functions, declaration);
        self.add(|tree| &mut tree.top_functions, number);
        true
    }

    /// Declarations that start with a word that is no keyword elsewhere.
    fn soft_item(&mut self, start: Span) -> bool {
        let follows_word = self.peek() == TokenKind::Word;
        match self.text(self.span()) {
            "type" | "alias" if follows_word => self.alias_decl(start),
            "import" | "from" if follows_word => {
                let message = format_args!("`import` is deprecated");
                let note = format_args!("write `use`");
                let kind = (Severity::Warning, Code::OldForm);
                self.diagnostics.add(self.file, start, kind, message, Some(note));
                self.use_decl(start);
            }
            "mod" if follows_word => {
                self.skip_line();
            }
            _ => {
                if !self.refused_item() {
                    return false;
                }
                self.skip_line();
            }
        }
        true
    }

    /// `pub`, `pub(friend)`, `export`.
    fn visibility(&mut self) -> bool {
        let mut seen = None;
        loop {
            if seen == Some(self.kind()) {
                self.second_mark();
            }
            let mark = self.kind();
            match mark {
                TokenKind::Pub if self.peek() == TokenKind::LeftParen => {
                    self.bump();
                    self.bump();
                    self.word("a visibility");
                    self.expect(TokenKind::RightParen, "`)`");
                }
                TokenKind::Pub | TokenKind::Export => {
                    self.bump();
                }
                _ => return seen.is_some(),
            }
            seen = Some(mark);
        }
    }

    /// Refuses a mark of visibility that repeats the one in front of it.
    pub(super) fn second_mark(&mut self) {
        let (span, text) = (self.span(), self.text(self.span()));
        self.mistake(span, Code::Unexpected, format_args!("`{text}` stands here twice"));
    }

    /// Whether `repr(C)` stands here, which every struct has.
    fn is_repr_c(&self) -> bool {
        let text = |ahead| self.text(self.token_at(ahead).span);
        self.text(self.span()) == "repr" && [text(1), text(2), text(3)] == ["(", "C", ")"]
    }

    /// `@name` or `@name(...)`, in front of a declaration.
    pub(super) fn attribute(&mut self) {
        let start = self.bump();
        if start.kind == TokenKind::HashBracket {
            let message = format_args!("`#[...]` is the old form of an attribute");
            let note = format_args!("write `@name`");
            let kind = (Severity::Warning, Code::OldForm);
            self.diagnostics.add(self.file, start.span, kind, message, Some(note));
        }
        let (span, text) = (self.span(), self.text(self.span()));
        if ["gpu_kernel", "naked", "section", "cfg", "extern", "interrupt"].contains(&text) {
            let message = format_args!("attribute `@{text}` is not supported");
            self.error(span, Code::Refused, message);
        } else if ["repr", "packed", "align"].contains(&text) && !self.is_repr_c() {
            let message =
                format_args!("attribute `@{text}` is not supported: the layout is that of C");
            self.error(span, Code::Refused, message);
        } else if !ATTRIBUTES.contains(&text) {
            let message = format_args!("unknown attribute `@{text}`");
            let kind = (Severity::Warning, Code::UnusedAttribute);
            self.diagnostics.add(self.file, span, kind, message, None);
        }
        self.bump();
        if self.is(TokenKind::LeftParen) {
            let mut depth = 0_u32;
            while !matches!(self.kind(), TokenKind::Newline | TokenKind::End) {
                match self.bump().kind {
                    TokenKind::LeftParen => depth += 1,
                    TokenKind::RightParen => depth = depth.saturating_sub(1),
                    _ => {}
                }
                if depth == 0 {
                    break;
                }
            }
        }
        if start.kind == TokenKind::HashBracket {
            self.eat(TokenKind::RightBracket);
        }
        // The declaration may be on the same line.
        self.eat(TokenKind::Newline);
    }

    /// `export a, b`.
    fn export_list(&mut self) {
        self.bump();
        loop {
            let word = self.word("a name");
            self.add(|tree| &mut tree.exports, word);
            if !self.eat(TokenKind::Comma) {
                break;
            }
        }
        self.end_of_line();
    }

    /// Whether `val name = ...` is a declaration with one name.
    fn is_module_constant(&self) -> bool {
        let name = self.token_at(1);
        self.is(TokenKind::Val)
            && (name.kind == TokenKind::Word || name.is_keyword())
            && matches!(self.token_at(2).kind, TokenKind::Equal | TokenKind::Colon)
    }

    fn top_function(&mut self, start: Span, is_public: bool, is_extern: bool) {
        let number = self.function(start, is_public, is_extern, Receiver::None);
        self.add(|tree| &mut tree.top_functions, number);
        // Lines at the margin are the body that is missing, with its parameters.
        let is_without_body = self.failed && self.last_kind() == TokenKind::Colon;
        self.end_of_line();
        let starts = |p: &Self| p.starts_line() && p.kind().starts_declaration();
        while is_without_body && !self.is(TokenKind::End) && !starts(self) {
            self.bump();
        }
    }

    /// A line of statements and constants, which `;` separates.
    fn script_line(&mut self, mut start: Span) {
        let (errors, is_do) = (self.errors, self.text(start) == "do");
        loop {
            if !self.is(TokenKind::Const) && !self.is_module_constant() {
                self.script_statement();
            } else if !self.const_decl(start) {
                return self.skip_line();
            }
            let goes_on = self.eat(TokenKind::Semicolon);
            if !goes_on || matches!(self.kind(), TokenKind::Newline | TokenKind::End) {
                break;
            }
            start = self.span();
        }
        self.end_of_line();
        if self.errors != errors {
            self.skip_parts(is_do);
        }
    }

    /// A statement at the top level, and the variables that it declares.
    fn script_statement(&mut self) {
        let (first, errors) = (self.tree.patterns.len(), self.errors);
        let statement = self.statement(true);
        let is_wrong = self.errors != errors;
        if is_wrong && matches!(self.tree.stmt(statement).kind, StmtKind::Expr(_)) {
            // It may be no statement.
            return;
        }
        self.note(statement.0);
        match self.tree.stmt(statement).kind {
            StmtKind::Let { pattern, .. } => {
                // The parts of a pattern are in front of it.
                let last = usize::try_from(pattern.0).unwrap_or(usize::MAX);
                for index in first..=last {
                    let kind = self.tree.patterns.get(index).map(|pattern| pattern.kind);
                    if let Some(PatternKind::Bind(name)) = kind {
                        self.bind_at_top(name, TopBinding::Variable);
                    }
                }
            }
            StmtKind::Assign { op: None, target, .. } => {
                if let ExprKind::Name(name) = self.tree.expr(target).kind
                    && self.top_binding(name) == TopBinding::None
                {
                    self.bind_at_top(name, TopBinding::Variable);
                }
            }
            _ => {}
        }
    }

    /// What the statements and constants above bind a name to.
    pub(super) fn top_binding(&self, name: Name) -> TopBinding {
        let index = usize::try_from(name.0).unwrap_or(usize::MAX);
        self.top_bindings.get(index).copied().unwrap_or_default()
    }

    pub(super) fn bind_at_top(&mut self, name: Name, binding: TopBinding) {
        let bound = try_replace(&mut self.top_bindings, name.0, TopBinding::None, binding);
        self.diagnostics.allocated(bound);
    }

    fn use_decl(&mut self, start: Span) {
        self.bump();
        let refused = match self.kind() {
            TokenKind::Dot | TokenKind::DotDot => {
                let reason = "write `use name`, which is looked for beside this file too";
                Some(("a relative path behind `use`", reason))
            }
            TokenKind::Word
                if self.text(self.span()) == "lazy" && self.peek() == TokenKind::Word =>
            {
                Some(("`use lazy`", "modules are read before the program runs; write `use name`"))
            }
            _ => None,
        };
        if let Some((construct, reason)) = refused {
            self.refuse(start.to(self.span()), construct, reason);
            return self.skip_line();
        }
        let mark = self.scratch.len();
        let mut items = None;
        let mut last = Name::UNDERSCORE;
        while items.is_none() {
            match self.kind() {
                TokenKind::LeftBrace => items = Some(UseItems::Names(self.use_names())),
                TokenKind::Star => {
                    self.bump();
                    items = Some(UseItems::All);
                }
                _ => {
                    let word = self.word("the name of a module");
                    last = word.name;
                    self.note(word.name.0);
                    if !self.eat(TokenKind::Dot) && !self.eat(TokenKind::ColonColon) {
                        break;
                    }
                }
            }
        }
        let path = self.list_since(mark);
        if items.is_none() && self.text(start) == "from" && self.text(self.span()) == "import" {
            let note = Some(format_args!("write `use module.{{name}}`"));
            let message = format_args!("expected the end of the line, found `import`");
            self.error_with_note(self.span(), Code::Unexpected, message, note);
            items = Some(UseItems::Names(self.use_names()));
        }
        if items.is_none() && self.eat(TokenKind::As) {
            last = self.word("a name for the module").name;
        }
        let items = items.unwrap_or(UseItems::Module(last));
        let span = start.to(self.last_span());
        self.add(|tree| &mut tree.uses, UseDecl { path, items, span });
        self.end_of_line();
    }

    /// `{a, b as c}`.
    fn use_names(&mut self) -> List {
        self.bump();
        let mark = self.scratch.len();
        self.with_commas(TokenKind::RightBrace, |parser| {
            let word = parser.word("a name");
            let alias = if parser.eat(TokenKind::As) { parser.word("a name") } else { word };
            parser.note(word.name.0);
            parser.note(alias.name.0);
        });
        self.expect(TokenKind::RightBrace, "`}`");
        self.list_since(mark)
    }
}

/// Whether a function of another language begins with the word.
pub(super) fn is_function_word(word: &str) -> bool {
    matches!(word, "def" | "func" | "fun" | "function")
}
