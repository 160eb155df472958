//! Resolution of written types.

use super::*;
use crate::plural;
use crate::source::advice::other_type;

/// The most levels of types that name types which are declared behind them.
pub(super) const MAX_TYPE_LEVELS: u32 = 64;

impl<'s> Program<'_, 's> {
    /// The type that a node of the tree writes.
    pub(in crate::source) fn resolve(
        &mut self,
        source: u32,
        node: TypeNodeId,
        scope: TypeScope<'_>,
    ) -> TypeId {
        let Some(tree) = self.source(source).map(|source| &source.tree) else {
            return TypeId::ERROR;
        };
        let TypeNode { kind, span } = tree.ty(node);
        match kind {
            TypeKind::Error => TypeId::ERROR,
            TypeKind::Unit => TypeId::UNIT,
            TypeKind::Named(name, arguments) => {
                let parts = self.resolve_all(source, tree.list(arguments), scope);
                self.named((source, span), source, name, &parts, scope)
            }
            TypeKind::Member(module, name, arguments) => {
                let parts = self.resolve_all(source, tree.list(arguments), scope);
                self.member_type(source, span, [module, name], &parts)
            }
            TypeKind::Array(element, length) => {
                let part = self.resolve(source, element, scope);
                let length = self.array_length(source, length);
                match (length, part.is_error()) {
                    (Some(length), false) => {
                        self.intern(source, span, Head::Array(length), &[part])
                    }
                    _ => TypeId::ERROR,
                }
            }
            TypeKind::View(element) => {
                let part = self.resolve(source, element, scope);
                match part.is_error() {
                    true => part,
                    false => self.intern(source, span, Head::View, &[part]),
                }
            }
            TypeKind::Tuple(parts) => {
                let parts = self.resolve_all(source, tree.list(parts), scope);
                self.intern(source, span, Head::Tuple, &parts)
            }
            TypeKind::Function(params, result) => {
                let mut parts = self.resolve_all(source, tree.list(params), scope);
                let result = result.map_or(TypeId::UNIT, |ty| self.resolve(source, ty, scope));
                self.diagnostics.push(&mut parts, result);
                self.intern(source, span, Head::Function, &parts)
            }
            TypeKind::Pointer(target, mutable) => {
                let part = self.resolve(source, target, scope);
                self.intern(source, span, Head::Pointer(mutable), &[part])
            }
        }
    }

    /// The type `module.name<parts>`.
    fn member_type(
        &mut self,
        source: u32,
        span: Span,
        [module, name]: [Name; 2],
        parts: &[TypeId],
    ) -> TypeId {
        match self.item(source, module) {
            Some(Item::Module(file)) if self.item(file, name).is_some() => {
                self.named((source, span), file, name, parts, &[])
            }
            Some(Item::Module(file)) => {
                self.unknown_type((source, span), file, self.name(name));
                TypeId::ERROR
            }
            None if self.is_template_text() => self.named((source, span), source, name, parts, &[]),
            _ => {
                let text = self.name(module);
                let message = format_args!("module `{text}` not found");
                self.error(source, span, Code::UnknownModule, message);
                TypeId::ERROR
            }
        }
    }

    pub(in crate::source) fn resolve_all(
        &mut self,
        source: u32,
        nodes: &[u32],
        scope: TypeScope<'_>,
    ) -> Vec<TypeId> {
        let mut types = Vec::new();
        for &node in nodes {
            let ty = self.resolve(source, TypeNodeId(node), scope);
            self.diagnostics.push(&mut types, ty);
        }
        types
    }

    /// The type `name<parts>` of `file`, which another may refer to, as at `place`.
    pub(in crate::source) fn named(
        &mut self,
        place: (u32, Span),
        file: u32,
        name: Name,
        parts: &[TypeId],
        scope: TypeScope<'_>,
    ) -> TypeId {
        let (source, span) = place;
        let text = self.name(name);
        let known = scope.iter().rev().find(|entry| entry.0 == name).map(|entry| entry.1);
        let primitive = known.or_else(|| match self.item(file, name) {
            // Generated functions are called `f32` as well; where a type is written the name stands for the type.
            Some(Item::Function(_) | Item::Const(_)) | None => TypeId::primitive(name),
            Some(_) => None,
        });
        if let Some(ty) = primitive {
            if !parts.is_empty() {
                let message = format_args!("type `{text}` has no type arguments");
                self.error(source, span, Code::UnknownType, message);
            }
            return ty;
        }
        let (head, info) = match self.item(file, name) {
            Some(Item::Struct(number)) => (Head::Struct(number), at(&self.structs, number)),
            Some(Item::Enum(number)) => (Head::Enum(number), at(&self.enums, number)),
            Some(Item::Alias(number)) => return self.alias(number),
            Some(Item::Ambiguous) => {
                self.ambiguous(source, span, name);
                return TypeId::ERROR;
            }
            _ => {
                self.unknown_type(place, file, text);
                return TypeId::ERROR;
            }
        };
        if info.is_none_or(|info| info.is_broken) {
            return TypeId::ERROR;
        }
        let wanted = info.map_or(0, |info| info.type_params);
        if wanted != count(parts) {
            let found = parts.len();
            let s = plural::s(wanted);
            let message =
                format_args!("type `{text}` has {wanted} type argument{s}, found {found}");
            self.error(source, span, Code::UnknownType, message);
            return TypeId::ERROR;
        }
        if parts.iter().any(|part| part.is_error()) {
            return TypeId::ERROR;
        }
        self.intern(source, span, head, parts)
    }

    /// Reports that `file` has no type of this name.
    fn unknown_type(&mut self, (source, span): (u32, Span), file: u32, text: &'s str) {
        if let Some(known) = &mut self.unknown_types
            && !self.diagnostics.is_full()
        {
            if known.contains(&text) {
                return;
            }
            self.diagnostics.push(known, text);
        }
        let refused = match text {
            "char" => Some("texts are literals for printing"),
            "i128" | "u128" => Some("integers have at most 64 bits"),
            _ => None,
        };
        if let Some(reason) = refused {
            let message = format_args!("type `{text}` is not supported: {reason}");
            return self.error(source, span, Code::Refused, message);
        }
        let message = format_args!("type `{text}` not found");
        let kind = (Severity::Error, Code::UnknownType);
        let is_param = text.len() == 1 && text.starts_with(|letter: char| letter.is_uppercase());
        match other_type(text).or_else(|| self.similar_item(file, text, Item::is_type)) {
            Some(known) => {
                let note = format_args!("write `{known}`");
                self.report(source, span, kind, message, Some(note));
            }
            None if is_param => {
                let note = format_args!("a type parameter is declared, as in `fn f<{text}>(...)`");
                self.report(source, span, kind, message, Some(note));
            }
            None => self.report(source, span, kind, message, None),
        }
    }

    /// The type that an alias stands for.
    pub(super) fn alias(&mut self, number: u32) -> TypeId {
        let index = usize::try_from(number).unwrap_or(usize::MAX);
        let Some(info) = self.aliases.get_mut(index) else { return TypeId::ERROR };
        if let Some(ty) = info.ty {
            return ty;
        }
        let (source, decl) = (info.source, info.decl);
        if info.is_open {
            let name = self.name(decl.word.name);
            let message = format_args!("type `{name}` stands for itself");
            self.error(source, decl.word.span, Code::RecursiveType, message);
            return TypeId::ERROR;
        }
        if self.type_levels >= MAX_TYPE_LEVELS {
            self.refuse_levels(source, decl.word.span);
            return TypeId::ERROR;
        }
        info.is_open = true;
        self.type_levels += 1;
        let ty = self.resolve(source, decl.ty, &[]);
        self.type_levels -= 1;
        if let Some(info) = self.aliases.get_mut(index) {
            info.ty = Some(ty);
        }
        ty
    }

    /// Reports a type that is one level of types too deep.
    pub(super) fn refuse_levels(&mut self, source: u32, span: Span) {
        let message =
            format_args!("more than {MAX_TYPE_LEVELS} levels of types that name each other");
        let note = format_args!("declare the types before those that name them");
        self.report(source, span, (Severity::Error, Code::TooDeep), message, Some(note));
    }

    /// The length of an array, a constant.
    pub(in crate::source) fn array_length(&mut self, source: u32, length: ExprId) -> Option<u32> {
        let value = self.constant_integer(source, length)?;
        let checked = u32::try_from(value).ok().filter(|&length| length <= layout::MAX_SIZE);
        if checked.is_none() {
            let span = self.source(source).map(|source| source.tree.expr(length).span);
            let message =
                format_args!("the length of an array is between 0 and {}", layout::MAX_SIZE);
            self.error(source, span.unwrap_or_default(), Code::OutOfRange, message);
        }
        checked
    }
}
