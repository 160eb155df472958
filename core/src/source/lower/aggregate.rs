//! Tuples, arrays, structs and variants with payloads.

use super::*;
use crate::plural;

impl Body<'_, '_, '_> {
    /// Memory for a value of the type: the one that the context has, or fresh one.
    pub(super) fn destination(&mut self, ty: TypeId, want: Want, span: Span) -> Place {
        match want.dest {
            Some(place) if want.ty == Some(ty) => place,
            _ => self.temporary(ty, span),
        }
    }

    fn made(ty: TypeId, place: Place) -> Typed {
        Typed { temporary: true, ..Typed::new(ty, Value::Place(place)) }
    }

    /// A type with type arguments in place of its type parameters.
    pub(super) fn substituted(&mut self, ty: TypeId, arguments: &[TypeId], span: Span) -> TypeId {
        let place = (self.source, span);
        self.program().substituted(place, ty, arguments)
    }

    pub(super) fn intern(&mut self, head: Head, parts: &[TypeId], span: Span) -> TypeId {
        let source = self.source;
        self.program().intern(source, span, head, parts)
    }

    /// Computes a value for a part of memory; whether it has the type.
    fn fill(&mut self, id: ExprId, ty: TypeId, place: Place) -> bool {
        let dest = (self.repr(ty) == Repr::Memory).then_some(place);
        let value = self.expr(id, Want { dest, ..Want::of(ty) });
        let value = self.coerce(value, ty, self.span(id));
        let is_known = !value.ty.fits_all();
        if is_known {
            self.store_in(place, value);
        }
        is_known
    }

    pub(super) fn tuple(&mut self, parts: List, want: Want, span: Span) -> Typed {
        let tree = self.tree;
        let ids = tree.list(parts);
        if ids.is_empty() {
            return Typed::UNIT;
        }
        let wanted = want.ty.filter(|&ty| {
            self.head(ty) == Head::Tuple && self.unit.program.types.parts(ty).len() == ids.len()
        });
        let mut values = Vec::new();
        let mut types = Vec::new();
        for (index, &id) in ids.iter().enumerate() {
            let hint = wanted.map(|ty| self.unit.program.types.part(ty, index));
            let value = self.expr(ExprId(id), Want { ty: hint, ..Want::NOTHING });
            let value = match hint {
                Some(ty) => self.coerce(value, ty, self.span(ExprId(id))),
                None => self.settle(value),
            };
            if value.ty.fits_all() {
                return value;
            }
            let last = ExprId(ids.last().copied().unwrap_or(id));
            let value = self.stable(value, ExprId(id), last);
            self.push_value(&mut values, value);
            self.program().diagnostics.push(&mut types, value.ty);
        }
        if self.is_template && types.iter().any(|&ty| self.unit.program.types.has_params(ty)) {
            return self.opaque();
        }
        let ty = self.intern(Head::Tuple, &types, span);
        if ty.is_error() {
            return Typed::ERROR;
        }
        let place = self.destination(ty, want, span);
        let fields = self.program().fields_of(ty, 0);
        for (value, field) in values.into_iter().zip(fields) {
            self.store(Self::inside(place, field.offset), value);
        }
        Self::made(ty, place)
    }

    /// The element type that the context has for an array literal.
    fn wanted_element(&self, want: Want) -> Option<TypeId> {
        let ty = want.ty?;
        matches!(self.head(ty), Head::Array(_) | Head::View)
            .then(|| self.unit.program.types.part(ty, 0))
    }

    pub(super) fn array(&mut self, elements: List, want: Want, span: Span) -> Typed {
        let tree = self.tree;
        let ids = tree.list(elements);
        let hint = self.wanted_element(want);
        let Some((&first, rest)) = ids.split_first() else {
            return match hint {
                Some(element) => {
                    let ty = self.intern(Head::Array(0), &[element], span);
                    let place = self.destination(ty, want, span);
                    Self::made(ty, place)
                }
                None => {
                    let message = format_args!("the element type of an empty array is not known");
                    self.error(span, Code::Unresolved, message)
                }
            };
        };
        // Without a type from the context the first element decides.
        let mut start = None;
        let element = match hint {
            Some(element) => element,
            None => {
                let value = self.expr(ExprId(first), Want::NOTHING);
                let value = self.settle(value);
                start = Some(value);
                value.ty
            }
        };
        if element.fits_all() || element == TypeId::UNIT {
            return Typed::ERROR;
        }
        if self.is_template && self.unit.program.types.has_params(element) {
            return self.opaque();
        }
        let ty = self.intern(Head::Array(elements.len), &[element], span);
        if ty.is_error() || !self.fits_frame(ty, span) {
            return Typed::ERROR;
        }
        let place = self.destination(ty, want, span);
        let mut is_right = true;
        match start {
            Some(value) => self.store(place, value),
            None => is_right = self.fill(ExprId(first), element, place),
        }
        let stride = self.program().stride(element);
        for (index, &id) in (1_u32..).zip(rest) {
            if is_right {
                let to = Self::inside(place, index.saturating_mul(stride));
                is_right = self.fill(ExprId(id), element, to);
            } else {
                // That elements have another type is one error.
                self.expr(ExprId(id), Want::NOTHING);
            }
        }
        Self::made(ty, place)
    }

    /// Whether a type has a size that values may have.
    fn fits_frame(&mut self, ty: TypeId, span: Span) -> bool {
        let element = self.unit.program.types.part(ty, 0);
        let Head::Array(length) = self.head(ty) else { return true };
        let stride = self.program().stride(element);
        let fits = stride.checked_mul(length).is_some_and(|size| size <= MAX_FRAME);
        if !fits {
            let message = format_args!("an array of more than {MAX_FRAME} bytes is too large");
            self.error(span, Code::TooLarge, message);
        }
        fits
    }

    /// `[value; count]`.
    pub(super) fn repeat(&mut self, value: ExprId, count: ExprId, want: Want, span: Span) -> Typed {
        let source = self.source;
        let Some(length) = self.program().array_length(source, count) else {
            return Typed::ERROR;
        };
        let hint = self.wanted_element(want);
        let typed = self.expr(value, Want { ty: hint, ..Want::NOTHING });
        let typed = match hint {
            Some(element) => self.coerce(typed, element, self.span(value)),
            None => self.settle(typed),
        };
        let element = typed.ty;
        if element.fits_all() || element == TypeId::UNIT {
            return Typed::ERROR;
        }
        if self.is_template && self.unit.program.types.has_params(element) {
            return self.opaque();
        }
        let ty = self.intern(Head::Array(length), &[element], span);
        if ty.is_error() || !self.fits_frame(ty, span) {
            return Typed::ERROR;
        }
        let place = self.destination(ty, want, span);
        self.repeat_into(place, typed, length);
        Self::made(ty, place)
    }

    /// Writes a value to each element.
    fn repeat_into(&mut self, place: Place, value: Typed, length: u32) {
        use crate::ir::{Binary, Condition};
        let stride = self.program().stride(value.ty);
        let bytes = i32::try_from(stride.saturating_mul(length)).unwrap_or(0);
        let byte = match (value.value, stride) {
            (Value::Number(0), _) => Some(0),
            (Value::Number(number), 1) => Some(number & 0xff),
            _ => None,
        };
        if bytes == 0 {
            return;
        }
        if let Some(byte) = byte {
            let pointer = self.address(place);
            let fill = self.builder.local(Scalar::U8);
            self.set_number(Scalar::U8.into(), fill, byte);
            return self.builder.fill_memory(pointer, fill, bytes);
        }
        let base = Place::at(Base::Pointer(self.address(place)));
        let value = match value.value {
            Value::Number(_) | Value::Float(_) => {
                let local = self.local_of(value);
                Typed::local(value.ty, local)
            }
            _ => value,
        };
        let counter = self.builder.local(Scalar::I64);
        self.builder.constant(Scalar::I64, counter, 0);
        let limit = Typed::new(TypeId::I64, Value::Number(length.into()));
        let limit = self.branch_operand(limit);
        let head = self.builder.label();
        self.builder.bind(head);
        let element = self.element_place(base, value.ty, counter);
        self.store(element, value);
        self.builder.binary(Binary::Add, Scalar::I64, counter, counter, 1);
        self.builder.branch(Condition::Less, Scalar::I64, counter, limit, head);
    }

    /// `P { x: 1 }`.
    pub(super) fn literal(
        &mut self,
        name: ExprId,
        arguments: List,
        want: Want,
        span: Span,
    ) -> Typed {
        match self.type_prefix(name) {
            Some((Head::Struct(number), types)) => {
                self.construct(number, &types, arguments, want, span)
            }
            _ => {
                let message = format_args!("the literal names no struct");
                self.error(span, Code::UnknownType, message)
            }
        }
    }

    /// A struct of its fields.
    pub(super) fn construct(
        &mut self,
        number: u32,
        types: &[TypeId],
        arguments: List,
        want: Want,
        span: Span,
    ) -> Typed {
        let Some(info) = at(&self.unit.program.structs, number).copied() else {
            return Typed::ERROR;
        };
        if info.is_broken {
            self.skip_arguments(arguments);
            return Typed::ERROR;
        }
        let wanted = want.ty.filter(|&ty| self.head(ty) == Head::Struct(number));
        let ty = match (info.type_params, types.is_empty(), wanted) {
            (0, true, _) => self.intern(Head::Struct(number), &[], span),
            (_, true, Some(ty)) if !self.unit.program.types.has_params(ty) => ty,
            (_, true, _) => {
                let parts = self.inferred_parts(info.fields, info.type_params, arguments);
                let name = self.name(info.name);
                let Some(parts) = self.all_known(parts, (name, None), span) else {
                    return Typed::ERROR;
                };
                self.intern(Head::Struct(number), &parts, span)
            }
            _ => self.nominal(Head::Struct(number), info, types, span),
        };
        if ty.is_error() {
            return Typed::ERROR;
        }
        if self.unit.program.types.has_params(ty) {
            return self.opaque();
        }
        let fields = self.program().fields_of(ty, 0);
        let place = self.destination(ty, want, span);
        let defaults = Some(info.source);
        self.fill_fields(&fields, arguments, place, (info.name, defaults), span);
        Self::made(ty, place)
    }

    /// A struct or enum with its written type arguments.
    fn nominal(&mut self, head: Head, info: NominalInfo, types: &[TypeId], span: Span) -> TypeId {
        let (wanted, found) = (info.type_params, count(types));
        if wanted != found {
            let name = self.name(info.name);
            let s = plural::s(wanted);
            let message =
                format_args!("type `{name}` has {wanted} type argument{s}, found {found}");
            self.error(span, Code::UnknownType, message);
            return TypeId::ERROR;
        }
        match types.iter().any(|ty| ty.is_error()) {
            true => TypeId::ERROR,
            false => self.intern(head, types, span),
        }
    }

    /// The type arguments that arguments for fields have.
    fn inferred_parts(
        &mut self,
        fields: List,
        params: u32,
        arguments: List,
    ) -> Vec<Option<TypeId>> {
        let tree = self.tree;
        let count = usize::try_from(params).unwrap_or(0);
        let filled = crate::alloc_util::try_filled(count, &None);
        let mut bindings = self.program().diagnostics.allocated(filled).unwrap_or_default();
        for is_literal in [false, true] {
            for (index, argument) in tree.entries(&tree.arguments, arguments).enumerate() {
                let list = range(&self.unit.program.fields, fields);
                let field = match argument.name {
                    Some(word) => list.iter().find(|field| field.name == word.name),
                    None => list.get(index),
                };
                let Some(pattern) = field.map(|field| field.ty) else { continue };
                if !self.unit.program.types.has_params(pattern) {
                    continue;
                }
                let (ty, flexible) = self.type_of(argument.value);
                if (flexible || self.is_of_literals(argument.value)) == is_literal {
                    self.unit.program.types.unify(pattern, ty, &mut bindings);
                }
            }
        }
        bindings
    }

    fn all_known(
        &mut self,
        parts: Vec<Option<TypeId>>,
        name: (&str, Option<&str>),
        span: Span,
    ) -> Option<Vec<TypeId>> {
        let (mut known, count) = (Vec::new(), parts.len());
        for part in parts {
            let Some(part) = part else {
                self.unresolved(name, count, span);
                return None;
            };
            self.program().diagnostics.push(&mut known, part);
        }
        Some(known)
    }

    /// Computes fields in the order in which they are written, then the defaults of the others.
    fn fill_fields(
        &mut self,
        fields: &[Field],
        arguments: List,
        place: Place,
        (name, defaults): (Name, Option<u32>),
        span: Span,
    ) {
        let tree = self.tree;
        let filled = crate::alloc_util::try_filled(fields.len(), &false);
        let Some(mut done) = self.program().diagnostics.allocated(filled) else { return };
        let mut is_wrong = false;
        for (position, argument) in tree.entries(&tree.arguments, arguments).enumerate() {
            let index = match argument.name {
                Some(word) => fields.iter().position(|field| field.name == word.name),
                None => Some(position),
            };
            let value_span = self.span(argument.value);
            let argument_span = argument.name.map_or(value_span, |word| word.span);
            let found = index.and_then(|index| Some((index, fields.get(index)?)));
            let Some((index, field)) = found else {
                is_wrong = true;
                self.no_such_field(name, fields, argument.name, argument_span);
                continue;
            };
            let was_done = done.get_mut(index).is_some_and(|done| core::mem::replace(done, true));
            if was_done {
                let (owner, field) = (self.name(name), self.name(field.name));
                let message = format_args!("field `{field}` of `{owner}` has two values");
                self.error(argument_span, Code::BadCall, message);
                is_wrong = true;
            }
            self.fill(argument.value, field.ty, Self::inside(place, field.offset));
        }
        for ((field, done), position) in fields.iter().zip(done).zip(1..) {
            if done {
                continue;
            }
            match (field.default, defaults) {
                (Some(default), Some(source)) => {
                    self.default_field(default, source, field, place);
                }
                // The value with another name may have been meant for it.
                _ if is_wrong => {}
                _ => self.missing_field(name, field.name, position, span),
            }
        }
    }

    /// Reports a field without a value; one of a variant may have no name.
    fn missing_field(&mut self, owner: Name, field: Name, position: usize, span: Span) {
        let (owner, field) = (self.name(owner), self.name(field));
        let message = fmt::from_fn(|f| match field {
            "_" => write!(f, "value {position} of `{owner}` is missing"),
            _ => write!(f, "field `{field}` of `{owner}` has no value"),
        });
        self.error(span, Code::BadCall, format_args!("{message}"));
    }

    /// Refuses a value with the name of no field, or behind the last field.
    fn no_such_field(&mut self, owner: Name, fields: &[Field], field: Option<Word>, span: Span) {
        let owner = self.name(owner);
        match field {
            Some(field) => {
                let field = self.name(field.name);
                let similar = similar(field, fields.iter().map(|field| self.name(field.name)));
                let message = format_args!("`{owner}` has no field `{field}`");
                self.error_similar(span, Code::UnknownField, message, similar);
            }
            None => {
                let count = fields.len();
                let s = plural::s(count);
                let message = format_args!("`{owner}` has {count} field{s}");
                self.error(span, Code::BadCall, message);
            }
        }
    }

    /// The default of a field, as seen from its file.
    fn default_field(&mut self, default: ExprId, source: u32, field: &Field, place: Place) {
        let to = Self::inside(place, field.offset);
        self.default((source, None), default, |body| _ = body.fill(default, field.ty, to));
    }

    /// Computes the default of a parameter or field of a file and scope, which does not need itself.
    pub(super) fn default(
        &mut self,
        place: (u32, Option<u32>),
        default: ExprId,
        lower: impl FnOnce(&mut Self),
    ) {
        let source = place.0;
        if self.defaults.contains(&(source, default)) {
            let span = self.unit.program.source(source).map(|file| file.tree.expr(default).span);
            let message = format_args!("a default that needs itself has no value");
            let program = self.program();
            return program.error(source, span.unwrap_or_default(), Code::NotConstant, message);
        }
        self.push(|body| &mut body.defaults, (source, default));
        self.elsewhere(place, lower);
        self.defaults.pop();
    }

    /// Computes a value that belongs to no function: with the names of its file and of the functions of a scope, and with
    /// nothing that the function has which needs the value.
    pub(super) fn elsewhere(
        &mut self,
        (source, scope): (u32, Option<u32>),
        lower: impl FnOnce(&mut Self),
    ) {
        let Some(Source { tree, .. }) = self.unit.program.source(source) else { return };
        let walk = self.unit.next_walk();
        let outer = (self.tree, self.source, self.file, self.walk, self.number, self.is_script);
        self.file = self.file.filter(|_| source == self.source);
        (self.tree, self.source) = (tree, source);
        (self.walk, self.number, self.is_script) = (walk, NO_FUNCTION, false);
        let types = core::mem::take(&mut self.types);
        let loops = core::mem::take(&mut self.loops);
        let scopes = core::mem::take(&mut self.scopes);
        let variables = core::mem::take(&mut self.variables);
        if let Some(scope) = scope {
            self.push(|body| &mut body.scopes, (scope, 0));
        }
        lower(self);
        self.drop_variables(0);
        (self.types, self.loops, self.scopes, self.variables) = (types, loops, scopes, variables);
        (self.tree, self.source, self.file, self.walk, self.number, self.is_script) = outer;
    }

    /// `E.A` without arguments: a variant or a constant of a type.
    pub(super) fn variant(
        &mut self,
        head: Head,
        types: Vec<TypeId>,
        name: Name,
        want: Want,
        span: Span,
    ) -> Typed {
        self.make_variant(head, &types, name, None, want, span).unwrap_or_else(|| {
            let text = self.name(name);
            let owner = match head {
                Head::Struct(number) => at(&self.unit.program.structs, number),
                Head::Enum(number) => at(&self.unit.program.enums, number),
                _ => None,
            };
            if owner.is_some_and(|info| info.is_broken) {
                return Typed::ERROR;
            }
            let owner = owner.map_or("?", |info| self.unit.program.name(info.name));
            if self.unit.program.method(head, name).is_some() {
                let message = format_args!("method `{text}` of `{owner}` is not a value");
                let note = format_args!("call it");
                return self.error_with_note(span, Code::UnknownField, message, note);
            }
            let message = match head {
                Head::Struct(_) => format_args!("type `{owner}` has no static method `{text}`"),
                _ => format_args!("`{owner}` has no variant `{text}`"),
            };
            let program = &self.unit.program;
            let similar = match head {
                Head::Enum(number) => program.similar_variant(number, text),
                _ => None,
            };
            let similar = similar.or_else(|| program.similar_method(head, text));
            self.error_similar(span, Code::UnknownField, message, similar)
        })
    }

    /// A variant of an enum; `None` when the type has none of this name.
    pub(super) fn make_variant(
        &mut self,
        head: Head,
        types: &[TypeId],
        name: Name,
        arguments: Option<List>,
        want: Want,
        span: Span,
    ) -> Option<Typed> {
        let Head::Enum(number) = head else { return None };
        let info = at(&self.unit.program.enums, number).copied()?;
        if info.is_broken {
            self.skip_arguments(arguments.unwrap_or_default());
            return Some(Typed::ERROR);
        }
        let place = self.unit.program.variant_place(number, name)?;
        let variant = *at(self.unit.program.enum_variants(number), place)?;
        let index = usize::try_from(place).ok()?;
        let wanted = want.ty.filter(|&ty| self.head(ty) == head);
        let ty = match (info.type_params, types.is_empty(), wanted) {
            (0, ..) => self.intern(head, &[], span),
            (_, true, Some(ty)) => ty,
            (_, true, None) => {
                let list = arguments.unwrap_or_default();
                let parts = self.inferred_parts(variant.fields, info.type_params, list);
                let text = (self.name(info.name), Some(self.name(name)));
                let Some(parts) = self.all_known(parts, text, span) else {
                    return Some(Typed::ERROR);
                };
                self.intern(head, &parts, span)
            }
            _ => self.nominal(head, info, types, span),
        };
        if ty.is_error() {
            return Some(Typed::ERROR);
        }
        if self.unit.program.types.has_params(ty) {
            return Some(self.opaque());
        }
        if self.repr(ty) != Repr::Memory {
            if arguments.is_some_and(|list| !list.is_empty()) {
                let text = self.name(name);
                let message = format_args!("variant `{text}` has no values");
                self.error(span, Code::BadCall, message);
            }
            return Some(Typed::new(ty, Value::Number(variant.discriminant.into())));
        }
        let place = self.destination(ty, want, span);
        let fields = self.program().fields_of(ty, index);
        self.fill_fields(&fields, arguments.unwrap_or_default(), place, (name, None), span);
        let tag = i128::try_from(index).unwrap_or(0);
        self.store(place, Typed::new(TypeId::I64, Value::Number(tag)));
        Some(Self::made(ty, place))
    }
}
