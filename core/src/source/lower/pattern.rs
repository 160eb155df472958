//! Patterns: tests and bindings.

use super::*;
use crate::ir::Condition;
use crate::plural;

impl Body<'_, '_, '_> {
    /// The constant that a pattern names, as `K` or `module.K`.
    pub(super) fn pattern_constant(&self, pattern: PatternId) -> Option<u32> {
        let (file, name) = match self.tree.pattern(pattern).kind {
            PatternKind::Bind(name) => (self.source, name),
            PatternKind::Variant { path: Some(path), variant, has_fields: false, .. } => {
                (self.module_prefix(path)?, variant)
            }
            _ => return None,
        };
        match self.unit.program.item(file, name) {
            Some(Item::Const(number)) => Some(number),
            _ => None,
        }
    }

    /// The number and declaration of a variant of an enum.
    pub(super) fn variant_of(&self, ty: TypeId, name: Name) -> Option<(i128, VariantInfo)> {
        let Head::Enum(number) = self.head(ty) else { return None };
        let place = self.unit.program.variant_place(number, name)?;
        let variant = at(self.unit.program.enum_variants(number), place)?;
        Some((place.into(), *variant))
    }

    /// Goes to `fails` unless the value matches; binds the names of the pattern.
    pub(super) fn test(&mut self, pattern: PatternId, value: Typed, fails: Target) {
        let Pattern { kind, span } = self.tree.pattern(pattern);
        if value.ty.fits_all() {
            return self.bind_names(pattern);
        }
        match kind {
            PatternKind::Error | PatternKind::Wildcard => {}
            PatternKind::Bind(name) => self.test_name(name, value, span, fails),
            PatternKind::Value(id) => {
                let right = self.expr(id, Want::of(value.ty));
                self.test_equal(value, right, span, fails);
            }
            PatternKind::Range { start, end, inclusive } => {
                self.test_range(value, [start, end], inclusive, fails);
            }
            PatternKind::Or(parts) => self.test_any(parts, value, fails),
            PatternKind::Tuple(parts) => self.test_tuple(parts, value, span, fails),
            PatternKind::Variant { path, owner, variant, fields, has_fields } => {
                let names = (owner, variant);
                if let Some(number) = self.pattern_constant(pattern) {
                    let right = self.constant(number, Want::of(value.ty), span);
                    return self.test_equal(value, right, span, fails);
                }
                let is_open = self.is_template && self.unit.program.types.has_params(value.ty);
                match path.filter(|&path| !is_open && !self.is_path_of(path, value.ty)) {
                    Some(path) => self.wrong_path(path, names, fields, value.ty, span),
                    None => self.test_variant(names, (fields, has_fields), value, span, fails),
                }
            }
            PatternKind::Typed(name, ty) => {
                let ty = self.resolve(ty);
                if ty != value.ty && !ty.is_error() {
                    self.mismatch(ty, value.ty, span);
                }
                self.add_variable(name, value, false);
            }
        }
    }

    /// Declares the names of a pattern whose value is wrong.
    fn bind_names(&mut self, pattern: PatternId) {
        let tree = self.tree;
        match tree.pattern(pattern).kind {
            PatternKind::Bind(name) | PatternKind::Typed(name, _) => {
                self.add_variable(name, Typed::ERROR, false);
            }
            PatternKind::Tuple(parts) => {
                for &part in tree.list(parts) {
                    self.bind_names(PatternId(part));
                }
            }
            PatternKind::Variant { fields, .. } => self.bind_fields(fields),
            PatternKind::Or(parts) => {
                if let Some(&first) = tree.list(parts).first() {
                    self.bind_names(PatternId(first));
                }
            }
            _ => {}
        }
    }

    /// A bare name: a variant of the enum, a constant, or a binding.
    fn test_name(&mut self, name: Name, value: Typed, span: Span, fails: Target) {
        if self.variant_of(value.ty, name).is_some() {
            let fields = (List::default(), false);
            return self.test_variant((None, name), fields, value, span, fails);
        }
        if let Some(Item::Const(number)) = self.unit.program.item(self.source, name) {
            let right = self.constant(number, Want::of(value.ty), span);
            return self.test_equal(value, right, span, fails);
        }
        let is_wrong = self.refuse_misspelt(name, value.ty, span);
        self.add_variable(name, if is_wrong { Typed::ERROR } else { value }, false);
    }

    /// Refuses a name that would match every value, and is written as a variant or constant; whether it did.
    fn refuse_misspelt(&mut self, name: Name, ty: TypeId, span: Span) -> bool {
        let text = self.name(name);
        let has_small = text.contains(|letter: char| letter.is_lowercase());
        let head = self.head(ty);
        let program = &self.unit.program;
        let similar = match head {
            _ if !text.starts_with(|first: char| first.is_uppercase()) => return false,
            Head::Enum(number) => program.similar_variant(number, text),
            _ if has_small => return false,
            _ => program.similar_item(self.source, text, |item| matches!(item, Item::Const(_))),
        };
        let owner = self.type_text(ty);
        let (code, message) = match head {
            Head::Enum(_) => {
                (Code::BadPattern, format_args!("`{text}` is no variant of `{owner}`"))
            }
            _ => (Code::UnknownName, format_args!("constant `{text}` not found")),
        };
        if similar.is_some() {
            self.error_similar(span, code, message, similar);
        } else {
            let note = format_args!("a name for the value begins with a small letter");
            self.error_with_note(span, code, message, note);
        }
        true
    }

    fn test_equal(&mut self, value: Typed, right: Typed, span: Span, fails: Target) {
        let right = self.coerce(right, value.ty, span);
        if right.ty.fits_all() {
            return;
        }
        if !matches!(self.repr(value.ty), Repr::Scalar(_)) {
            let text = self.type_text(value.ty);
            let message = format_args!("a value of `{text}` is not compared with a constant");
            self.error(span, Code::BadPattern, message);
            return;
        }
        self.branch_unless(Condition::Equal, value, right, fails);
    }

    /// Goes to `fails` unless the condition holds for integers.
    fn branch_unless(&mut self, condition: Condition, left: Typed, right: Typed, fails: Target) {
        let ty = self.value_type(left.ty);
        let left = self.local_of(left);
        let right = self.branch_operand(right);
        let label = self.jump_label(fails);
        self.builder.branch(condition.inverse(), ty, left, right, label);
    }

    fn test_range(
        &mut self,
        value: Typed,
        [start, end]: [ExprId; 2],
        inclusive: bool,
        fails: Target,
    ) {
        let span = self.span(start).to(self.span(end));
        let is_integer = match self.head(value.ty) {
            Head::Scalar(scalar) => !scalar.is_float() && scalar != Scalar::Bool,
            _ => false,
        };
        if !is_integer {
            let text = self.type_text(value.ty);
            let message = format_args!("a value of `{text}` is not in a range of integers");
            self.error(span, Code::BadPattern, message);
            return;
        }
        let low = self.expr_as(start, value.ty);
        let high = self.expr_as(end, value.ty);
        if low.ty.fits_all() || high.ty.fits_all() {
            return;
        }
        self.branch_unless(Condition::GreaterEqual, value, low, fails);
        let below = if inclusive { Condition::LessEqual } else { Condition::Less };
        self.branch_unless(below, value, high, fails);
    }

    /// Alternatives, each of which binds the same names.
    fn test_any(&mut self, parts: List, value: Typed, fails: Target) {
        let tree = self.tree;
        let matches = self.target();
        let outer = self.variables.len();
        let mut shared = Vec::new();
        let parts = tree.list(parts);
        for (index, &part) in parts.iter().enumerate() {
            let is_last = index + 1 == parts.len();
            let next = if is_last { fails } else { self.target() };
            self.test(PatternId(part), value, next);
            if index == 0 {
                shared = self.shared_names(outer);
            }
            self.set_shared(&shared, outer, PatternId(part));
            self.drop_variables(outer);
            if !is_last {
                self.jump(matches);
                self.bind(next);
            }
        }
        self.bind(matches);
        for (name, value) in shared {
            self.add_variable(name, value, false);
        }
    }

    /// Locals for the variables from number `outer` on, to which every alternative copies its own.
    fn shared_names(&mut self, outer: usize) -> Vec<(Name, Typed)> {
        let mut shared = Vec::new();
        for index in outer..self.variables.len() {
            let Some(&Variable { name, value, .. }) = self.variables.get(index) else { break };
            let to = match self.repr(value.ty) {
                Repr::Scalar(ty) => Value::Local(self.builder.local(ty)),
                Repr::Pair => {
                    let pointer = self.builder.local(Scalar::Pointer);
                    Value::Pair(pointer, self.builder.local(Scalar::I64))
                }
                Repr::Memory => {
                    let pointer = self.builder.local(Scalar::Pointer);
                    Value::Place(Place::at(Base::Pointer(pointer)))
                }
                Repr::Nothing | Repr::Unknown => Value::None,
            };
            self.program().diagnostics.push(&mut shared, (name, Typed::new(value.ty, to)));
        }
        shared
    }

    /// Copies what an alternative binds, from variable `outer` on.
    fn set_shared(&mut self, shared: &[(Name, Typed)], outer: usize, pattern: PatternId) {
        let Pattern { kind, span } = self.tree.pattern(pattern);
        let mut is_same = self.variables.len() - outer == shared.len();
        for &(name, to) in shared {
            let mut own = self.variables.iter().skip(outer).filter(|own| own.name == name);
            let Some(value) = own.next().map(|own| own.value) else {
                is_same = false;
                continue;
            };
            if value.ty != to.ty {
                if !value.ty.fits_all() && !to.ty.fits_all() {
                    self.mismatch(to.ty, value.ty, span);
                }
                continue;
            }
            match (to.value, value.value) {
                (Value::Local(to), _) => self.set(to, value),
                (Value::Pair(first, second), _) => self.set_pair([first, second], value),
                (Value::Place(Place { base: Base::Pointer(to), .. }), Value::Place(from)) => {
                    let address = self.address(from);
                    self.builder.copy(Scalar::Pointer, to, address);
                }
                _ => {}
            }
        }
        let mut values = self.variables.iter().skip(outer).map(|own| own.value);
        let is_reported = values.any(|value| value.ty.is_error())
            || shared.iter().any(|(_, value)| value.ty.is_error());
        if !is_same && !is_reported {
            let message = format_args!("the alternatives do not bind the same names");
            if let PatternKind::Bind(name) = kind {
                let name = self.name(name);
                let note = format_args!("`{name}` is no constant or variant, and names the value");
                self.error_with_note(span, Code::BadPattern, message, note);
            } else {
                self.error(span, Code::BadPattern, message);
            }
        }
    }

    fn test_tuple(&mut self, parts: List, value: Typed, span: Span, fails: Target) {
        let tree = self.tree;
        let parts = tree.list(parts);
        let fields = match self.head(value.ty) {
            Head::Tuple => self.program().fields_of(value.ty, 0),
            _ => Vec::new(),
        };
        let Value::Place(place) = value.value else { return self.not_tuple(value.ty, span) };
        if fields.len() != parts.len() {
            return self.not_tuple(value.ty, span);
        }
        for (&part, field) in parts.iter().zip(fields) {
            let loaded = self.load(Self::inside(place, field.offset), field.ty);
            self.test(PatternId(part), loaded, fails);
        }
    }

    fn not_tuple(&mut self, ty: TypeId, span: Span) {
        let text = self.type_text(ty);
        let message = format_args!("the pattern has another number of values than `{text}`");
        self.error(span, Code::BadPattern, message);
    }

    fn test_variant(
        &mut self,
        (owner, variant): (Option<Name>, Name),
        (fields, has_fields): (List, bool),
        value: Typed,
        span: Span,
        fails: Target,
    ) {
        if self.is_template && self.unit.program.types.has_params(value.ty) {
            self.opaque();
            return;
        }
        let Some((index, info)) = self.variant_of(value.ty, variant) else {
            return self.no_variant((owner, variant), fields, value.ty, (span, true));
        };
        let Value::Place(place) = value.value else {
            // Without payloads the value is the discriminant.
            let number = Typed::new(value.ty, Value::Number(info.discriminant.into()));
            self.branch_unless(Condition::Equal, value, number, fails);
            if has_fields {
                self.field_count(variant, 0, fields, span);
            }
            return;
        };
        let tag = self.load(place, TypeId::I64);
        self.branch_unless(
            Condition::Equal,
            tag,
            Typed::new(TypeId::I64, Value::Number(index)),
            fails,
        );
        let index = usize::try_from(index).unwrap_or(usize::MAX);
        let payload = self.program().fields_of(value.ty, index);
        if has_fields && fields.len() != payload.len() {
            return self.field_count(variant, payload.len(), fields, span);
        }
        self.test_fields((variant, fields), (place, &payload), span, fails);
    }

    /// The patterns of a payload, one for each field.
    fn test_fields(
        &mut self,
        (variant, fields): (Name, List),
        (place, payload): (Place, &[Field]),
        span: Span,
        fails: Target,
    ) {
        let (tree, name) = (self.tree, self.name(variant));
        let filled = crate::alloc_util::try_filled(payload.len(), &false);
        let mut done = self.program().diagnostics.allocated(filled).unwrap_or_default();
        for (position, field) in tree.entries(&tree.pattern_fields, fields).enumerate() {
            let index = match field.name {
                Some(name) => payload.iter().position(|field| field.name == name),
                None => Some(position),
            };
            let found = index.and_then(|at| payload.get(at).zip(done.get_mut(at)));
            let Some((target, done)) = found else {
                let field = field.name.map_or("", |field| self.name(field));
                let message = format_args!("variant `{name}` has no field `{field}`");
                self.error(span, Code::UnknownField, message);
                continue;
            };
            if core::mem::replace(done, true) {
                let field = self.name(target.name);
                let message = format_args!("field `{field}` of `{name}` has two patterns");
                self.error(span, Code::BadPattern, message);
            }
            let loaded = self.load(Self::inside(place, target.offset), target.ty);
            self.test(field.pattern, loaded, fails);
        }
    }

    /// Whether `Name` or `module.Name` is the name of this enum, or of a type if the value has no enum type.
    fn is_path_of(&mut self, path: ExprId, ty: TypeId) -> bool {
        let Expr { kind, span } = self.tree.expr(path);
        let (file, name) = match kind {
            ExprKind::Name(Name::SELF_TYPE) => {
                let own = self.types.iter().rev().find(|entry| entry.0 == Name::SELF_TYPE);
                return own.is_some_and(|&(_, own)| self.head(own) == self.head(ty));
            }
            ExprKind::Name(name) => (self.source, name),
            ExprKind::Field(base, name) => match self.module_prefix(base) {
                Some(file) => (file, name),
                None => return false,
            },
            _ => return false,
        };
        let is_enum = matches!(self.head(ty), Head::Enum(_));
        match self.unit.program.item(file, name) {
            Some(Item::Enum(number)) => self.head(ty) == Head::Enum(number) || !is_enum,
            Some(Item::Struct(_)) => !is_enum,
            Some(Item::Alias(_)) => {
                let place = (self.source, span);
                let named = self.program().named(place, file, name, &[], &[]);
                named.is_error() || self.head(named) == self.head(ty) || !is_enum
            }
            _ => false,
        }
    }

    /// Reports what an expression with this path in front of a variant has as an error.
    fn wrong_path(
        &mut self,
        path: ExprId,
        names: (Option<Name>, Name),
        fields: List,
        ty: TypeId,
        span: Span,
    ) {
        let is_name = matches!(self.tree.expr(path).kind, ExprKind::Name(_));
        let is_type = self.type_prefix(path).is_some();
        let value = match is_type || is_name {
            false => self.expr(path, Want::NOTHING),
            true => Typed::UNIT,
        };
        if !value.ty.fits_all() {
            let is_known = match self.tree.expr(path).kind {
                ExprKind::Name(name) => {
                    name == Name::SELF_TYPE || self.unit.program.item(self.source, name).is_some()
                }
                _ => is_type,
            };
            return self.no_variant(names, fields, ty, (span, is_known));
        }
        self.bind_fields(fields);
    }

    /// Declares the names of the patterns of a payload that is wrong.
    fn bind_fields(&mut self, fields: List) {
        for field in self.tree.entries(&self.tree.pattern_fields, fields) {
            self.bind_names(field.pattern);
        }
    }

    /// Reports a pattern of a variant that the type does not have. A type that is not known has no declaration.
    fn no_variant(
        &mut self,
        (owner, variant): (Option<Name>, Name),
        fields: List,
        ty: TypeId,
        (span, is_known): (Span, bool),
    ) {
        self.bind_fields(fields);
        if matches!(self.head(ty), Head::Struct(_)) {
            let reason = "bind the value and read its fields";
            self.refuse(span, "a pattern for the fields of a struct", reason);
            return;
        }
        let (text, name) = (self.type_text(ty), self.name(variant));
        let similar = match self.head(ty) {
            Head::Enum(number) => self.unit.program.similar_variant(number, name),
            _ => None,
        };
        match owner {
            Some(owner) if !is_known => {
                let text = self.name(owner);
                let message = format_args!("type `{text}` not found");
                let program = &self.unit.program;
                let mut types = program.structs.iter().chain(&program.enums);
                let is_type = types.any(|info| info.name == owner);
                match self.owner_of(owner).filter(|_| is_type) {
                    Some((module, "")) => {
                        let note = format_args!("write `{module}.{text}`");
                        self.error_with_note(span, Code::UnknownType, message, note);
                    }
                    _ => {
                        self.error(span, Code::UnknownType, message);
                    }
                }
            }
            Some(owner) => {
                let owner = self.name(owner);
                let message = format_args!("`{owner}.{name}` is no variant of `{text}`");
                self.error_similar(span, Code::BadPattern, message, similar);
            }
            None => {
                let message = format_args!("`{name}` is no variant of `{text}`");
                self.error_similar(span, Code::BadPattern, message, similar);
            }
        }
    }

    fn field_count(&mut self, variant: Name, wanted: usize, fields: List, span: Span) {
        self.bind_fields(fields);
        let name = self.name(variant);
        let s = plural::s(wanted);
        let message = format_args!("variant `{name}` has {wanted} value{s}");
        self.error(span, Code::BadPattern, message);
    }

    /// `value is E.A`.
    pub(super) fn is_test(&mut self, value: ExprId, pattern: PatternId) -> Typed {
        let subject = self.expr(value, Want::NOTHING);
        let subject = self.settle(subject);
        let fails = self.target();
        let result = self.builder.local(Scalar::Bool);
        self.builder.constant(Scalar::Bool, result, 0);
        let variables = self.variables.len();
        self.test(pattern, subject, fails);
        if self.variables.len() > variables {
            let span = self.tree.pattern(pattern).span;
            self.refuse(span, "a name behind `is`", "write `match`");
            // Their uses are no errors.
            for index in variables..self.variables.len() {
                if let Some(variable) = self.variables.get(index) {
                    self.note_unknown(variable.name);
                }
            }
            self.drop_variables(variables);
        }
        self.builder.constant(Scalar::Bool, result, 1);
        self.bind(fails);
        Typed::local(TypeId::BOOL, result)
    }
}
