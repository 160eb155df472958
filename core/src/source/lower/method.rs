//! Calls with `.`: methods, static methods, variants with payloads and functions of modules.

use super::*;

impl Body<'_, '_, '_> {
    pub(super) fn call_member(
        &mut self,
        base: ExprId,
        name: Name,
        types: &[TypeId],
        arguments: List,
        want: Want,
        span: Span,
    ) -> Typed {
        if let Some(file) = self.module_prefix(base) {
            return match self.unit.program.item(file, name) {
                Some(Item::Function(number)) => {
                    self.call_function(number, types, None, arguments, want, span)
                }
                Some(Item::Struct(number)) => self.construct(number, types, arguments, want, span),
                Some(Item::Alias(_)) => {
                    let place = (self.source, span);
                    let ty = self.program().named(place, file, name, types, &[]);
                    self.construct_type(ty, name, arguments, want, span)
                }
                Some(Item::Const(number)) => {
                    let value = self.constant(number, Want::NOTHING, span);
                    self.call_value(value, arguments, want, span)
                }
                _ => {
                    self.unknown_member(file, name, span);
                    self.skip_arguments(arguments);
                    Typed::ERROR
                }
            };
        }
        if let Some((head, types)) = self.type_prefix(base) {
            return self.call_static(head, &types, name, arguments, want, span);
        }
        self.call_method(base, name, arguments, want, span)
    }

    /// A struct of its fields, by the type that an alias of a module stands for.
    fn construct_type(
        &mut self,
        ty: TypeId,
        name: Name,
        arguments: List,
        want: Want,
        span: Span,
    ) -> Typed {
        let Head::Struct(number) = self.head(ty) else {
            if ty.is_error() {
                self.skip_arguments(arguments);
                return Typed::ERROR;
            }
            return self.not_callable(name, arguments, span);
        };
        let parts = self.parts_of(ty);
        self.construct(number, &parts, arguments, want, span)
    }

    /// `Type.name(...)`.
    fn call_static(
        &mut self,
        head: Head,
        types: &[TypeId],
        name: Name,
        arguments: List,
        want: Want,
        span: Span,
    ) -> Typed {
        if let Some(value) = self.make_variant(head, types, name, Some(arguments), want, span) {
            return value;
        }
        let owner = match types {
            [] => want.ty.filter(|&ty| self.head(ty) == head),
            types => Some(self.intern(head, types, span)),
        };
        let found = match owner {
            Some(ty) => self.unit.program.method_of(ty, name),
            None => self.unit.program.method(head, name),
        };
        let Some(number) = found else {
            let value = self.variant(head, Vec::new(), name, want, span);
            self.skip_arguments(arguments);
            return value;
        };
        let Some(info) = self.unit.program.function(number) else { return Typed::ERROR };
        if info.receiver() != Receiver::None {
            let text = self.name(name);
            let message = format_args!("method `{text}` is called on a value");
            self.error(span, Code::BadCall, message);
            self.skip_arguments(arguments);
            return Typed::ERROR;
        }
        if owner.is_none() && self.unit.program.has_several(head, name) {
            let count = info.self_type.map_or(0, |own| self.unit.program.types.parts(own).len());
            let owner = info.owner_name.map_or("?", |owner| self.name(owner));
            self.unresolved((owner, Some(self.name(name))), count, span);
            self.skip_arguments(arguments);
            return Typed::ERROR;
        }
        self.call_function(number, types, None, arguments, want, span)
    }

    fn call_method(
        &mut self,
        base: ExprId,
        name: Name,
        arguments: List,
        want: Want,
        span: Span,
    ) -> Typed {
        // The value is computed once its method is known: one that changes it needs its place.
        let is_place = matches!(
            self.tree.expr(base).kind,
            ExprKind::Name(_)
                | ExprKind::Field(..)
                | ExprKind::TupleField(..)
                | ExprKind::Index(..)
                | ExprKind::Unary(UnaryOp::Dereference, _)
        );
        if is_place && self.is_mutable_method(base, name) {
            return self.call_mutating(base, name, arguments, want, span);
        }
        let value = self.expr(base, Want::NOTHING);
        if value.ty.fits_all() {
            self.skip_arguments(arguments);
            return value;
        }
        let Some(number) = self.unit.program.method_of(value.ty, name) else {
            return self.other_method(value, name, arguments, want, span);
        };
        let Some(info) = self.unit.program.function(number) else { return Typed::ERROR };
        match info.receiver() {
            Receiver::None => {
                let text = self.name(name);
                let message = format_args!("static method `{text}` is called on the type");
                self.error(span, Code::BadCall, message);
                self.skip_arguments(arguments);
                Typed::ERROR
            }
            Receiver::Mutable => {
                let value = self.copied(value, span);
                self.call_function(number, &[], Some(value), arguments, want, span)
            }
            Receiver::Value => {
                let value = self.stable_receiver(value, base, arguments);
                self.call_function(number, &[], Some(value), arguments, want, span)
            }
        }
    }

    /// A receiver that the arguments do not change.
    fn stable_receiver(&mut self, value: Typed, base: ExprId, arguments: List) -> Typed {
        let tree = self.tree;
        let last = tree.entries(&tree.arguments, arguments).next_back();
        match last {
            Some(last) => self.stable(value, base, last.value),
            None => value,
        }
    }

    /// Whether a method changes the value that it is called on. Only names of methods that do so anywhere ask for the
    /// type.
    fn is_mutable_method(&mut self, base: ExprId, name: Name) -> bool {
        if !self.unit.program.is_mutating_name(name) {
            return false;
        }
        let (ty, _) = self.type_of(base);
        let method = self.unit.program.method_of(ty, name);
        let info = method.and_then(|number| self.unit.program.function(number));
        info.is_some_and(|info| info.receiver() == Receiver::Mutable)
    }

    fn call_mutating(
        &mut self,
        base: ExprId,
        name: Name,
        arguments: List,
        want: Want,
        span: Span,
    ) -> Typed {
        // Of a scalar enum there is no place.
        let (ty, _) = self.type_of(base);
        if self.repr(ty) != Repr::Memory {
            // The declaration has the error.
            self.skip_arguments(arguments);
            return Typed::ERROR;
        }
        let Some((place, ty)) = self.assigned_place(base) else {
            self.skip_arguments(arguments);
            return Typed::ERROR;
        };
        let Some(number) = self.unit.program.method_of(ty, name) else {
            return Typed::ERROR;
        };
        let receiver = Typed::new(ty, Value::Place(place));
        self.call_function(number, &[], Some(receiver), arguments, want, span)
    }

    /// A method that no implementation declares: a function in a field, or one of the language.
    fn other_method(
        &mut self,
        value: Typed,
        name: Name,
        arguments: List,
        want: Want,
        span: Span,
    ) -> Typed {
        if self.is_template && self.unit.program.types.has_params(value.ty) {
            self.skip_arguments(arguments);
            return self.opaque();
        }
        if let Value::Place(place) = value.value
            && let Some(field) = self.program().field(value.ty, name)
        {
            let callee = self.load(Self::inside(place, field.offset), field.ty);
            return self.call_value(callee, arguments, want, span);
        }
        if let Some(result) = self.builtin_method(value, name, arguments, span) {
            return result;
        }
        let (owner, text) = (self.type_text(value.ty), self.name(name));
        let message = format_args!("type `{owner}` has no method `{text}`");
        let head = self.head(value.ty);
        let similar = match head {
            Head::Struct(_) | Head::Enum(_) => self.unit.program.similar_method(head, text),
            _ => similar_method(text),
        };
        self.error_similar(span, Code::UnknownField, message, similar);
        self.skip_arguments(arguments);
        Typed::ERROR
    }
}
