//! Types as they are written.

use super::*;
use crate::source::ty::TypeId;

impl Parser<'_, '_> {
    pub(super) fn ty(&mut self) -> TypeNodeId {
        let span = self.span();
        let fallback = TypeNodeId(u32::MAX);
        let id = self.nested(fallback, Self::one_type);
        let is_known = !self.refuse_type_suffix() && id != fallback;
        if is_known { id } else { self.add_type(TypeKind::Error, span) }
    }

    /// `T?` and `A | B`; whether one of them was refused.
    fn refuse_type_suffix(&mut self) -> bool {
        let span = self.span();
        match self.kind() {
            TokenKind::Question => {
                self.refuse(span, "an optional type `T?`", "values without a presence tag only");
                self.bump();
            }
            TokenKind::Bar => {
                let reason = "it needs a tag at run time; use an enum";
                let note = "for the operator write `(x as T) | y`";
                self.refuse_with_note(span, "a union type", reason, note);
            }
            _ => return false,
        }
        true
    }

    fn one_type(&mut self) -> TypeNodeId {
        let start = self.span();
        match self.kind() {
            TokenKind::Word => self.named_type(start),
            TokenKind::LeftParen => self.tuple_type(start),
            TokenKind::LeftBracket => self.array_type(start),
            TokenKind::Fn => self.function_type(start),
            TokenKind::Star => self.pointer_type(start),
            TokenKind::Nil => {
                self.bump();
                self.add_type(TypeKind::Unit, start)
            }
            TokenKind::Ampersand => self.refused_type("a reference type `&T`"),
            TokenKind::Minus => self.refused_type("a weak pointer `-T`"),
            TokenKind::Plus => self.refused_type("a handle `+T`"),
            TokenKind::LeftBrace => self.refused_type("a dictionary type `{K: V}`"),
            _ => {
                self.unexpected("a type");
                self.add_type(TypeKind::Error, start)
            }
        }
    }

    fn refused_type(&mut self, construct: &str) -> TypeNodeId {
        let span = self.span();
        self.refuse(span, construct, "there is no memory manager");
        self.bump();
        self.add_type(TypeKind::Error, span)
    }

    fn named_type(&mut self, start: Span) -> TypeNodeId {
        let name = self.name();
        let refused = match name {
            Name::DYN => Some(("a trait object `dyn`", "there is no dynamic dispatch")),
            Name::ISO => Some(("an isolated pointer `iso T`", "there is no memory manager")),
            Name::ANY | Name::ANY_OLD => Some(("the type `Any`", "every value has one type")),
            Name::DICT | Name::SET | Name::LIST | Name::MAP => {
                Some(("a growing collection", "it allocates"))
            }
            Name::OPTION | Name::RESULT => Some(("the type `Option` or `Result`", "use an enum")),
            Name::VEC if self.peek() == TokenKind::LeftBracket => {
                Some(("a SIMD type `vec[N, T]`", "only scalars are computed"))
            }
            _ => None,
        };
        if let Some((construct, reason)) = refused.filter(|_| !self.declares(name)) {
            self.refuse(start, construct, reason);
            self.bump();
            if self.is(TokenKind::Less) {
                self.type_arguments();
            }
            return self.add_type(TypeKind::Error, start);
        }
        let mut word = self.word("a type");
        let mut module = None;
        while self.is(TokenKind::Dot) && self.peek() == TokenKind::Word {
            self.bump();
            module = Some(word.name);
            word = self.word("a type");
        }
        // `x as i64 < y` is a comparison.
        let is_primitive = module.is_none() && TypeId::primitive(word.name).is_some();
        let arguments = match self.kind() {
            TokenKind::Less if !is_primitive => self.type_arguments(),
            _ => List::default(),
        };
        let kind = match module {
            Some(module) => TypeKind::Member(module, word.name, arguments),
            None => TypeKind::Named(word.name, arguments),
        };
        self.add_type(kind, start.to(self.last_span()))
    }

    /// Whether the file declares or imports something with this name of a type outside of the subset. In the braces of a text
    /// that is not known.
    fn declares(&mut self, name: Name) -> bool {
        if self.own_names.is_none() && self.in_text == 0 {
            let mut names = Vec::new();
            let (mut before, mut is_use) = (TokenKind::Newline, false);
            for token in &self.tokens {
                is_use = token.kind == TokenKind::Use || is_use && !token.kind.ends_line();
                let is_declared = is_use || matches!(before, TokenKind::Struct | TokenKind::Enum);
                let is_other = (Name::ISO..=Name::VEC).contains(&token.name);
                if is_declared && is_other && !names.contains(&token.name) {
                    self.diagnostics.allocated(try_push(&mut names, token.name));
                }
                before = token.kind;
            }
            self.own_names = Some(names);
        }
        self.own_names.as_ref().is_none_or(|names| names.contains(&name))
    }

    /// `<A, B>`, at `<`.
    pub(super) fn type_arguments(&mut self) -> List {
        self.bump();
        let mark = self.scratch.len();
        loop {
            let ty = self.ty();
            self.note(ty.0);
            if !self.eat(TokenKind::Comma) {
                break;
            }
        }
        self.close_angle();
        self.list_since(mark)
    }

    /// `>`, which may be the first part of `>>`.
    fn close_angle(&mut self) {
        let rest = match self.kind() {
            TokenKind::GreaterGreater => TokenKind::Greater,
            TokenKind::GreaterGreaterGreater => TokenKind::GreaterGreater,
            TokenKind::GreaterEqual => TokenKind::Equal,
            _ => {
                self.expect(TokenKind::Greater, "`>` behind the type arguments");
                return;
            }
        };
        if let Some(token) = self.tokens.get_mut(self.at) {
            token.kind = rest;
            token.spaced = false;
            token.span.start = token.span.start.saturating_add(1);
        }
        self.go_to(self.at);
    }

    fn tuple_type(&mut self, start: Span) -> TypeNodeId {
        self.bump();
        let (parts, is_list) = self.types_in_parentheses();
        if self.is(TokenKind::Arrow) {
            return self.function_type_of(parts, start);
        }
        let kind = match *self.tree.list(parts) {
            [] => TypeKind::Unit,
            [one] if !is_list => return TypeNodeId(one),
            _ => TypeKind::Tuple(parts),
        };
        self.add_type(kind, start.to(self.last_span()))
    }

    /// `A, B)`, behind the opening parenthesis, and whether a comma stands in it.
    fn types_in_parentheses(&mut self) -> (List, bool) {
        let mark = self.scratch.len();
        let is_list = self.with_commas(TokenKind::RightParen, |parser| {
            let ty = parser.ty();
            parser.note(ty.0);
        });
        self.expect(TokenKind::RightParen, "`)`");
        (self.list_since(mark), is_list)
    }

    /// `[T]` or `[T; N]`.
    fn array_type(&mut self, start: Span) -> TypeNodeId {
        self.bump();
        let element = self.ty();
        let length = self.eat(TokenKind::Semicolon).then(|| self.expr());
        self.expect(TokenKind::RightBracket, "`]`");
        let kind = match length {
            Some(length) => TypeKind::Array(element, length),
            None => TypeKind::View(element),
        };
        self.add_type(kind, start.to(self.last_span()))
    }

    /// `fn(A, B) -> R`, or `(A, B) -> R`.
    fn function_type(&mut self, start: Span) -> TypeNodeId {
        self.bump();
        self.expect(TokenKind::LeftParen, "`(`");
        let (params, _) = self.types_in_parentheses();
        self.function_type_of(params, start)
    }

    fn function_type_of(&mut self, params: List, start: Span) -> TypeNodeId {
        let result = self.eat(TokenKind::Arrow).then(|| self.ty());
        self.add_type(TypeKind::Function(params, result), start.to(self.last_span()))
    }

    /// `*const T` or `*mut T`.
    fn pointer_type(&mut self, start: Span) -> TypeNodeId {
        let is_raw = matches!(self.peek(), TokenKind::Const | TokenKind::Mut);
        if !is_raw {
            return self.refused_type("a shared pointer `*T`");
        }
        self.bump();
        let mutable = self.bump().kind == TokenKind::Mut;
        let target = self.ty();
        self.add_type(TypeKind::Pointer(target, mutable), start.to(self.last_span()))
    }
}
