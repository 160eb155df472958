//! Functions, structs, enums, implementations, constants and aliases.

use super::item::is_function_word;
use super::*;
use crate::source::ty::TypeId;

/// The type parameters of a declaration, whose names are compared with each other.
const MAX_TYPE_PARAMS: usize = 100;

/// Methods with these names are static although they are not marked.
const STATIC_NAMES: &[&str] = &["new", "create", "default", "init"];
const STATIC_PREFIXES: &[&str] = &["from_", "with_"];

impl Parser<'_, '_> {
    /// A function from its `fn` on; its number.
    pub(super) fn function(
        &mut self,
        start: Span,
        is_public: bool,
        is_extern: bool,
        receiver: Receiver,
    ) -> u32 {
        self.bump();
        let errors = self.errors;
        let word = self.word("the name of a function");
        self.refuse_suspending_name(word);
        let type_params = self.type_params();
        let first = self.tree.params.len();
        let written = self.params(receiver != Receiver::None);
        let params = Self::since(first, self.tree.params.len());
        let result = self.result_type();
        self.where_clause(type_params);
        let receiver = match (receiver, written) {
            // An unwritten `self` is implied.
            (Receiver::Value, false) if self.is_static_name(word) => Receiver::None,
            _ => receiver,
        };
        self.refuse_generic_extern(word, is_extern && !type_params.is_empty());
        let mut is_broken = self.errors != errors;
        let mut body = None;
        if is_extern && self.is(TokenKind::Colon) {
            let message =
                format_args!("an `extern fn` has no body: it is defined outside of the source");
            self.mistake(self.span(), Code::Unexpected, message);
            self.bump();
            self.body(true);
        } else if self.eat(TokenKind::Colon) {
            body = Some(self.body(true));
        } else if !is_extern && !self.failed {
            // What stands here may belong to the signature.
            is_broken = true;
            self.unexpected("`:` and the body of the function");
            if self.precedes_block() {
                body = Some(self.body(true));
            }
        }
        let span = start.to(self.last_span());
        let declaration = FunctionDecl {
            word,
            span,
            type_params,
            params,
            result,
            body,
            receiver,
            is_public,
            is_extern,
            is_script: false,
            is_broken,
        };
        self.add(|tree| &mut tree.functions, declaration)
    }

    /// `-> T`. `: T` in front of the body is an error behind which the function goes on.
    fn result_type(&mut self) -> Option<TypeNodeId> {
        let ty = *self.token_at(1);
        let is_colon = self.is(TokenKind::Colon)
            && TypeId::primitive(ty.name).is_some()
            && self.token_at(2).kind == TokenKind::Colon
            && !self.failed;
        if is_colon {
            let note = Some(format_args!("write `-> {}`", self.text(ty.span)));
            let message = format_args!("the type of the result stands behind `->`");
            self.error_with_note(self.span(), Code::Unexpected, message, note);
            self.failed = false;
        }
        let has_result = self.eat(TokenKind::Arrow) || is_colon && self.eat(TokenKind::Colon);
        has_result.then(|| self.ty())
    }

    fn is_static_name(&self, word: Word) -> bool {
        let name = self.text(word.span);
        STATIC_NAMES.contains(&name) || STATIC_PREFIXES.iter().any(|p| name.starts_with(p))
    }

    fn refuse_generic_extern(&mut self, word: Word, is_generic_extern: bool) {
        if is_generic_extern && !self.failed {
            let message =
                format_args!("a generic `extern fn` is not supported: a symbol has one signature");
            self.mistake(word.span, Code::Refused, message);
        }
    }

    fn refuse_suspending_name(&mut self, word: Word) {
        if self.is(TokenKind::Tilde) {
            self.refuse(word.span, "a suspending function", "it needs a scheduler");
        }
    }

    /// `<T, U: A & B>`.
    fn type_params(&mut self) -> List {
        let first = self.tree.type_params.len();
        if !self.eat(TokenKind::Less) {
            return List::default();
        }
        while !matches!(self.kind(), TokenKind::Greater | TokenKind::Newline | TokenKind::End) {
            if self.is(TokenKind::Const) {
                self.refuse(self.span(), "a const type parameter", "only types are parameters");
            }
            let word = self.word("a type parameter");
            let known = self.tree.type_params.get(first..).unwrap_or(&[]);
            if known.len() == MAX_TYPE_PARAMS {
                let message = format_args!("more than {MAX_TYPE_PARAMS} type parameters");
                self.error(word.span, Code::TooLarge, message);
                break;
            }
            if TypeId::primitive(word.name).is_some() && !self.failed {
                let name = self.text(word.span);
                let message = format_args!("`{name}` is a built-in type, and no type parameter");
                self.mistake(word.span, Code::DuplicateName, message);
            } else if known.iter().any(|param| param.word.name == word.name) && !self.failed {
                let name = self.text(word.span);
                let message = format_args!("type parameter `{name}` is declared twice");
                self.mistake(word.span, Code::DuplicateName, message);
            }
            let bounds = if self.eat(TokenKind::Colon) { self.bounds() } else { List::default() };
            self.add(|tree| &mut tree.type_params, TypeParam { word, bounds });
            if !self.eat(TokenKind::Comma) {
                break;
            }
        }
        self.expect(TokenKind::Greater, "`>` behind the type parameters");
        Self::since(first, self.tree.type_params.len())
    }

    /// `A & B` or `A + B`.
    fn bounds(&mut self) -> List {
        let mark = self.scratch.len();
        loop {
            let word = self.word("the name of a bound");
            self.note(word.name.0);
            if !self.eat(TokenKind::Ampersand) && !self.eat(TokenKind::Plus) {
                return self.list_since(mark);
            }
        }
    }

    /// `where T: A + B, U: C`: the bounds are added to those of the parameters.
    fn where_clause(&mut self, params: List) {
        if !self.is_word(Name::WHERE) {
            return;
        }
        self.bump();
        let mut added = Vec::new();
        while self.is(TokenKind::Word) {
            let word = self.word("a type parameter");
            if !self.expect(TokenKind::Colon, "`:` and a bound") {
                break;
            }
            let bounds = self.bounds();
            let is_same = |param: TypeParam| param.word.name == word.name;
            let index = self.tree.entries(&self.tree.type_params, params).position(is_same);
            if let Some(index) = index {
                self.diagnostics.push(&mut added, (index, bounds));
            } else {
                let message = format_args!("`where` names no type parameter of the function");
                self.error(word.span, Code::UnknownType, message);
            }
            if !self.eat(TokenKind::Comma) {
                break;
            }
        }
        added.sort_unstable_by_key(|&(index, bounds)| (index, bounds.start));
        for group in added.chunk_by(|one, two| one.0 == two.0) {
            self.add_bounds(params, group);
        }
    }

    /// Makes one list of the bounds of a type parameter and of those of `where`, which have its number.
    fn add_bounds(&mut self, params: List, group: &[(usize, List)]) {
        let number = group.first().map_or(usize::MAX, |first| first.0);
        let param = self.tree.entries(&self.tree.type_params, params).nth(number);
        let Some(param) = param else { return };
        let mark = self.scratch.len();
        for list in [param.bounds].into_iter().chain(group.iter().map(|added| added.1)) {
            for &bound in self.tree.list(list) {
                self.diagnostics.push(&mut self.scratch, bound);
            }
        }
        let bounds = self.list_since(mark);
        let start = usize::try_from(params.start).unwrap_or(usize::MAX);
        if let Some(param) = self.tree.type_params.get_mut(start.saturating_add(number)) {
            param.bounds = bounds;
        }
    }

    /// The parameters; whether the first one is `self`.
    fn params(&mut self, is_method: bool) -> bool {
        let mut has_self = false;
        if !self.expect(TokenKind::LeftParen, "`(` and the parameters") {
            return false;
        }
        self.with_commas(TokenKind::RightParen, |parser| {
            if !is_method || has_self || !parser.is_word(Name::SELF) {
                return parser.param();
            }
            parser.bump();
            has_self = true;
            if parser.eat(TokenKind::Colon) {
                parser.ty();
            }
        });
        self.expect(TokenKind::RightParen, "`)` behind the parameters");
        has_self
    }

    fn param(&mut self) {
        let mutable = self.eat(TokenKind::Mut) || self.eat(TokenKind::Var);
        if !mutable {
            self.eat(TokenKind::Val);
        }
        let word = self.word("a parameter");
        let is_variadic = self.is(TokenKind::Ellipsis);
        if is_variadic {
            self.refuse(self.span(), "a variadic parameter", "the number of arguments is fixed");
            self.bump();
        }
        let ty = self.eat(TokenKind::Colon).then(|| self.ty());
        // Nothing is known of its type.
        let ty = if is_variadic { Some(self.add_type(TypeKind::Error, word.span)) } else { ty };
        let default = self.eat(TokenKind::Equal).then(|| self.expr());
        self.add(|tree| &mut tree.params, Param { word, ty, default, mutable });
    }

    pub(super) fn struct_decl(&mut self, start: Span) {
        self.bump();
        let errors = self.errors;
        let word = self.word("the name of a struct");
        let type_params = self.type_params();
        let mut is_broken = self.errors != errors;
        self.refuse_parents();
        let mut fields = Vec::new();
        let mark = self.scratch.len();
        let has_members = self.members(|parser| is_broken |= parser.field(&mut fields));
        is_broken |= !has_members;
        let fields = self.append(|tree| &mut tree.fields, fields);
        let span = start.to(self.last_span());
        let declaration = StructDecl { word, span, type_params, fields, is_broken };
        self.add(|tree| &mut tree.structs, declaration);
        self.methods_of(word, type_params, mark, span);
        self.end_of_line();
    }

    /// The methods noted since `mark`, as an implementation of the type.
    fn methods_of(&mut self, word: Word, type_params: List, mark: usize, span: Span) {
        let functions = self.list_since(mark);
        if functions.is_empty() {
            return;
        }
        let mark = self.scratch.len();
        for index in 0..type_params.len() {
            let param = self.tree.entries(&self.tree.type_params, type_params).nth(index);
            let Some(TypeParam { word: name, .. }) = param else { break };
            let kind = TypeKind::Named(name.name, List::default());
            let argument = self.add_type(kind, name.span);
            self.note(argument.0);
        }
        let arguments = self.list_since(mark);
        let ty = self.add_type(TypeKind::Named(word.name, arguments), word.span);
        self.add(|tree| &mut tree.impls, ImplDecl { type_params, ty, functions, span });
    }

    fn refuse_parents(&mut self) {
        if self.is(TokenKind::LeftParen) {
            self.refuse(self.span(), "inheritance", "a struct has fields of its own only");
            self.skip_line();
        }
    }

    /// `:`, then an indented block; whether there is one.
    fn open_members(&mut self) -> bool {
        if self.failed {
            return false;
        }
        if !self.expect(TokenKind::Colon, "`:` and the members") {
            // The block shows what was meant.
            return self.open_block();
        }
        self.expect(TokenKind::Newline, "the end of the line")
            && self.expect(TokenKind::Indent, "an indented block of members")
    }

    /// `:` and a block of members, whose methods are noted; whether there is one. `other` reads a line that is no method.
    fn members(&mut self, mut other: impl FnMut(&mut Self)) -> bool {
        if !self.open_members() {
            return false;
        }
        while !matches!(self.kind(), TokenKind::Dedent | TokenKind::End) {
            let (before, start) = (self.at, self.span());
            self.failed = false;
            let is_public = self.public_mark();
            match self.kind() {
                TokenKind::At => self.attribute(),
                TokenKind::DocText | TokenKind::Pass => {
                    self.bump();
                    self.end_of_line();
                }
                _ if self.is_method_start() => {
                    self.method(start, is_public);
                    self.end_of_line();
                }
                _ => other(self),
            }
            if self.at == before {
                self.bump();
            }
        }
        self.eat(TokenKind::Dedent);
        true
    }

    /// A line with a field; whether an error may have hidden one.
    fn field(&mut self, fields: &mut Vec<FieldDecl>) -> bool {
        if self.is_invariant() {
            self.refused_item();
            self.skip_line();
            return false;
        }
        self.eat(TokenKind::Var);
        self.eat(TokenKind::Val);
        let errors = self.errors;
        let word = self.word("a field");
        let has_name = self.errors == errors;
        // Without the colon the field is known as well, unless a statement stands there.
        let has_colon = self.expect(TokenKind::Colon, "`:` and the type of the field");
        let is_hidden = !has_name || !has_colon && !self.starts_type_name();
        if !is_hidden {
            let ty = self.ty();
            let default = self.eat(TokenKind::Equal).then(|| self.expr());
            self.diagnostics.push(fields, FieldDecl { word, ty, default });
        }
        let errors = self.errors;
        self.end_of_line();
        is_hidden || self.errors != errors
    }

    /// Whether the current token is a word that looks like the name of a type.
    fn starts_type_name(&self) -> bool {
        let is_upper = self.text(self.span()).starts_with(|first: char| first.is_uppercase());
        self.is(TokenKind::Word) && (is_upper || TypeId::primitive(self.name()).is_some())
    }

    /// Whether `invariant:` stands in front of a condition, and is no field with a type.
    fn is_invariant(&self) -> bool {
        let ends = |kind: TokenKind| kind.ends_line() || kind == TokenKind::Equal;
        self.is_word(Name::INVARIANT)
            && self.peek() == TokenKind::Colon
            && self.token_at(2).kind == TokenKind::Word
            && self.token_at(3).spaced
            && !ends(self.token_at(3).kind)
    }

    /// `pub` in front of a member.
    fn public_mark(&mut self) -> bool {
        let is_public = self.eat(TokenKind::Pub);
        while is_public && self.is(TokenKind::Pub) {
            self.second_mark();
            self.bump();
        }
        is_public
    }

    /// `fn`, `me name(` or `static fn`, or `def name(`, which is refused.
    fn is_method_start(&self) -> bool {
        let name = self.name();
        self.is(TokenKind::Fn) && self.peek() != TokenKind::Colon
            || (name == Name::ME && self.peek() == TokenKind::Word)
            || (name == Name::STATIC && self.peek() == TokenKind::Fn)
            || self.is_foreign_method()
    }

    fn is_foreign_method(&self) -> bool {
        is_function_word(self.text(self.span()))
            && self.peek() == TokenKind::Word
            && self.token_at(2).kind == TokenKind::LeftParen
    }

    /// A method; its number is noted.
    fn method(&mut self, start: Span, is_public: bool) {
        if self.is_foreign_method() {
            let message = format_args!("expected a method, found `{}`", self.text(self.span()));
            let note = Some(format_args!("a method begins with `fn`"));
            self.mistake_with_note(self.span(), Code::Unexpected, message, note);
        }
        let receiver = match self.name() {
            Name::ME => Receiver::Mutable,
            Name::STATIC => {
                self.bump();
                Receiver::None
            }
            _ => Receiver::Value,
        };
        let number = self.function(start, is_public, false, receiver);
        self.note(number);
    }

    pub(super) fn impl_decl(&mut self, start: Span) {
        self.bump();
        let type_params = self.type_params();
        let ty = self.ty();
        if self.eat(TokenKind::For) {
            let implementation = TraitImpl { of: ty, ty: self.ty(), span: start };
            self.add(|tree| &mut tree.trait_impls, implementation);
            return self.skip_line();
        }
        let (mark, mut end) = (self.scratch.len(), None);
        self.members(|parser| {
            // Lines that follow each other are the body of one method.
            match end == Some(parser.at) {
                true => parser.failed = true,
                false => parser.unexpected("a method"),
            }
            parser.end_of_line();
            end = Some(parser.at);
        });
        let functions = self.list_since(mark);
        let span = start.to(self.last_span());
        self.add(|tree| &mut tree.impls, ImplDecl { type_params, ty, functions, span });
        self.end_of_line();
    }

    pub(super) fn enum_decl(&mut self, start: Span) {
        self.bump();
        let errors = self.errors;
        let word = self.word("the name of an enum");
        let type_params = self.type_params();
        let (mut variants, mut has_case) = (Vec::new(), false);
        let mut is_broken = self.errors != errors;
        let mark = self.scratch.len();
        let has_members = self.members(|parser| {
            let errors = parser.errors;
            let variant = parser.variant(&mut has_case);
            parser.diagnostics.push(&mut variants, variant);
            if !parser.eat(TokenKind::Comma) || parser.is(TokenKind::Newline) {
                parser.end_of_line();
            }
            is_broken |= parser.errors != errors;
        });
        is_broken |= !has_members;
        let variants = self.append(|tree| &mut tree.variants, variants);
        let span = start.to(self.last_span());
        let declaration = EnumDecl { word, span, type_params, variants, is_broken };
        self.add(|tree| &mut tree.enums, declaration);
        self.methods_of(word, type_params, mark, span);
        self.end_of_line();
    }

    /// `A`, `V(i64)`, `N(x: i64)` or `K = 4`.
    fn variant(&mut self, has_case: &mut bool) -> VariantDecl {
        if self.is(TokenKind::Case) {
            if !core::mem::replace(has_case, true) {
                let message = format_args!("expected a variant, found `case`");
                let note = Some(format_args!("a variant is its name, without `case`"));
                self.mistake_with_note(self.span(), Code::Unexpected, message, note);
            }
            self.bump();
        }
        let word = self.word("a variant");
        let first = self.tree.fields.len();
        if self.eat(TokenKind::LeftParen) {
            self.with_commas(TokenKind::RightParen, |parser| {
                let is_named = parser.is(TokenKind::Word) && parser.peek() == TokenKind::Colon;
                let word = match is_named {
                    true => parser.word("a field"),
                    false => Word { name: Name::UNDERSCORE, span: parser.span() },
                };
                if is_named {
                    parser.bump();
                }
                let declaration = FieldDecl { word, ty: parser.ty(), default: None };
                parser.add(|tree| &mut tree.fields, declaration);
            });
            self.expect(TokenKind::RightParen, "`)` behind the payload");
        }
        let fields = Self::since(first, self.tree.fields.len());
        let discriminant = self.eat(TokenKind::Equal).then(|| self.expr());
        VariantDecl { word, fields, discriminant }
    }

    /// `const N: T = e` and `val n = e` of a module, without the end of the line; whether there is a value.
    pub(super) fn const_decl(&mut self, start: Span) -> bool {
        let is_val = self.bump().kind == TokenKind::Val;
        let word = self.word("the name of a constant");
        let ty = self.eat(TokenKind::Colon).then(|| self.ty());
        if !self.expect(TokenKind::Equal, "`=` and the value") {
            // The name is declared all the same.
            let span = start.to(self.last_span());
            let value = self.add_error(span);
            self.add(|tree| &mut tree.consts, ConstDecl { word, span, ty: None, value });
            return false;
        }
        let (before, errors) = (self.tree.exprs.len(), self.errors);
        let mut value = self.expr();
        let span = start.to(self.last_span());
        if self.errors != errors {
            // Nothing is known of the value.
            value = self.add_error(span);
        }
        let binding = self.top_binding(word.name);
        if is_val && (binding != TopBinding::None || self.is_of_script(before)) {
            let pattern = self.add_pattern(PatternKind::Bind(word.name), word.span);
            let kind = StmtKind::Let { mutable: false, pattern, ty, value: Some(value) };
            let statement = self.add_stmt(kind, span);
            self.note(statement.0);
            self.bind_at_top(word.name, TopBinding::Variable);
            return true;
        }
        if binding == TopBinding::Variable {
            let name = self.text(word.span);
            let message = format_args!("`{name}` is declared twice");
            self.mistake(word.span, Code::DuplicateName, message);
        }
        self.add(|tree| &mut tree.consts, ConstDecl { word, span, ty, value });
        self.bind_at_top(word.name, TopBinding::Constant);
        true
    }

    /// Whether the expressions from number `first` on are computed when the script runs, and not a constant: they call a
    /// function, choose, take an element, or have a variable of the script.
    fn is_of_script(&self, first: usize) -> bool {
        let added = self.tree.exprs.get(first..).unwrap_or(&[]);
        added.iter().any(|expr| match expr.kind {
            ExprKind::Call { .. }
            | ExprKind::If { .. }
            | ExprKind::Match { .. }
            | ExprKind::Index(..) => true,
            ExprKind::Name(name) => self.top_binding(name) == TopBinding::Variable,
            _ => false,
        })
    }

    /// `type N = T`.
    pub(super) fn alias_decl(&mut self, start: Span) {
        self.bump();
        let word = self.word("the name of a type");
        if !self.expect(TokenKind::Equal, "`=` and a type") {
            let span = start.to(self.last_span());
            let ty = self.add_type(TypeKind::Error, span);
            self.add(|tree| &mut tree.aliases, AliasDecl { word, span, ty });
            return self.skip_line();
        }
        let ty = self.ty();
        let span = start.to(self.last_span());
        self.add(|tree| &mut tree.aliases, AliasDecl { word, span, ty });
        self.end_of_line();
    }
}
