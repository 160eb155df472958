//! Expressions: dispatch, names, fields and elements.

use super::*;

impl<'p, 's> Body<'_, 'p, 's> {
    /// Lowers an expression. The value may have another type than `want`: the caller coerces it.
    pub(super) fn expr(&mut self, id: ExprId, want: Want) -> Typed {
        if self.depth >= MAX_DEPTH {
            let message = format_args!("the expression nests deeper than {MAX_DEPTH} levels");
            return self.error(self.span(id), Code::TooDeep, message);
        }
        let source = self.source;
        if !self.program().has_stack(source, id) {
            return Typed::ERROR;
        }
        self.depth += 1;
        let is_branched =
            matches!(self.tree.expr(id).kind, ExprKind::If { .. } | ExprKind::Match { .. });
        let value = match want.changed_by {
            Some(by) if !is_branched => self.changed_value(id, by, want),
            _ => self.expr_kind(id, want),
        };
        self.depth -= 1;
        value
    }

    /// An expression as a value of `ty`.
    pub(super) fn expr_as(&mut self, id: ExprId, ty: TypeId) -> Typed {
        let value = self.expr(id, Want::of(ty));
        self.coerce(value, ty, self.span(id))
    }

    pub(super) fn expr_kind(&mut self, id: ExprId, want: Want) -> Typed {
        let Expr { kind, span } = self.tree.expr(id);
        if let Some((number, suffix)) = self.tree.integer(id) {
            return self.integer_literal(number, suffix, span);
        }
        match kind {
            ExprKind::Error | ExprKind::Integer(..) => Typed::ERROR,
            ExprKind::Float(number, suffix) => {
                let source = self.unit.program.source(self.source);
                let text = source.map_or("", |source| span.of(source.file.text));
                let wanted = want.ty.and_then(|ty| self.scalar(ty));
                self.evaluated(float_literal((text, self.tree.number(number)), suffix, wanted))
            }
            ExprKind::Bool(value) => Typed::new(TypeId::BOOL, Value::Number(value.into())),
            ExprKind::Nil => match want.ty {
                Some(TypeId::UNIT) => Typed::UNIT,
                // The type is refused.
                Some(TypeId::ERROR) => Typed::ERROR,
                _ => self.refuse(span, "`nil`", "there are no optional values"),
            },
            ExprKind::Text(number) => {
                let tree = self.tree;
                self.text_of(tree, number)
            }
            ExprKind::Interpolation(_) => {
                self.refuse(span, "interpolation outside of `print`", "it allocates a text")
            }
            ExprKind::Name(name) => self.name_value(name, want, span),
            ExprKind::Generic(name, types) => self.generic_value(name, types, span),
            ExprKind::Tuple(parts) => self.tuple(parts, want, span),
            ExprKind::Array(elements) => self.array(elements, want, span),
            ExprKind::Repeat(value, count) => self.repeat(value, count, want, span),
            ExprKind::Unary(op, operand) => self.unary(op, operand, want, span),
            ExprKind::Binary(..) => self.binary(id, want),
            ExprKind::Chain { operands, first } => self.chain_value(operands, first),
            ExprKind::Call { callee, arguments } => self.call(callee, arguments, want, id),
            ExprKind::Literal { name, arguments } => self.literal(name, arguments, want, span),
            ExprKind::Field(base, name) => self.field(base, name, want, id),
            ExprKind::Instance(field, types) => self.instance_value(field, types, span),
            ExprKind::TupleField(base, index) => self.tuple_field(base, index, span),
            ExprKind::Index(base, index) => self.index(base, index, span),
            ExprKind::Cast(value, ty) => self.cast(value, ty, span),
            ExprKind::Is(value, pattern) => self.is_test(value, pattern),
            ExprKind::Range { .. } => {
                self.refuse(span, "a range as a value", "ranges belong to `for` and patterns")
            }
            ExprKind::If { branches, otherwise } => self.if_value(branches, otherwise, want, span),
            ExprKind::Match { value, arms } => self.match_value(value, arms, want, span),
        }
    }

    pub(super) fn variable(&self, name: Name) -> Option<Variable> {
        let &(walk, index) = at(&self.unit.visible, name.0)?;
        let is_visible = walk == self.walk && !self.is_shadowed(name, index);
        at(&self.variables, index).copied().filter(|_| is_visible)
    }

    /// What a name that is no variable stands for: a function inside this one or one around it, or an item of the file.
    pub(super) fn item(&self, name: Name) -> Option<Item> {
        let inner = self.inner_function(name).map(Item::Function);
        inner.or_else(|| self.unit.program.item(self.source, name))
    }

    /// Whether a name that the language has is not declared otherwise.
    pub(super) fn is_builtin(&self, name: Name) -> bool {
        let program = &self.unit.program;
        self.variable(name).is_none()
            && self.item(name).is_none()
            && program.external(self.name(name)).is_none()
    }

    pub(super) fn add_variable(&mut self, name: Name, value: Typed, mutable: bool) {
        let entry = (self.walk, count(&self.variables));
        let shadowed = try_replace(&mut self.unit.visible, name.0, (0, 0), entry);
        let shadowed = self.program().diagnostics.allocated(shadowed).unwrap_or_default();
        let variable = Variable { name, value, mutable, is_part: false, shadowed };
        self.push(|body| &mut body.variables, variable);
    }

    /// Marks the variables from number `outer` on as those of a loop or an arm of a match.
    pub(super) fn mark_parts(&mut self, outer: usize) {
        self.variables.iter_mut().skip(outer).for_each(|variable| variable.is_part = true);
    }

    /// Ends the scope of the variables from number `len` on.
    pub(super) fn drop_variables(&mut self, len: usize) {
        while self.variables.len() > len {
            let Some(variable) = self.variables.pop() else { break };
            let index = usize::try_from(variable.name.0).unwrap_or(usize::MAX);
            if let Some(place) = self.unit.visible.get_mut(index) {
                *place = variable.shadowed;
            }
        }
    }

    fn name_value(&mut self, name: Name, want: Want, span: Span) -> Typed {
        if let Some(variable) = self.variable(name) {
            return match variable.mutable && variable.value.ty == TypeId::TEXT {
                // An assignment to the variable does not change what has its value.
                true => self.pair_copy(variable.value),
                false => variable.value,
            };
        }
        match self.item(name) {
            Some(Item::Const(number)) => self.constant(number, want, span),
            Some(Item::Function(number)) => self.function_value(number, &[], want, span),
            Some(Item::Struct(_) | Item::Enum(_) | Item::Alias(_)) => {
                let text = self.name(name);
                let message = format_args!("`{text}` is a type, not a value");
                self.error(span, Code::TypeMismatch, message)
            }
            Some(Item::Ambiguous) => self.ambiguous_name(name, span),
            Some(Item::Module(_)) => {
                let text = self.name(name);
                let message = format_args!("`{text}` is a module, not a value");
                self.error(span, Code::TypeMismatch, message)
            }
            None => self.unknown_name(name, span),
        }
    }

    pub(super) fn ambiguous_name(&mut self, name: Name, span: Span) -> Typed {
        let source = self.source;
        self.program().ambiguous(source, span, name);
        Typed::ERROR
    }

    /// Reports a name that is not known, once in a function.
    pub(super) fn unknown_name(&mut self, name: Name, span: Span) -> Typed {
        if self.unknown.contains(&name) {
            return Typed::ERROR;
        }
        self.note_unknown(name);
        let text = self.name(name);
        if self.is_captured(name) {
            let reason = "it needs an environment object; pass the value as an argument";
            let message = format_args!(
                "a function that captures `{text}` from its surroundings is not supported: {reason}"
            );
            return self.error(span, Code::Refused, message);
        }
        let is_of_script = self.is_of_script(name);
        if is_of_script && self.unit.program.drops_script(self.source) {
            // The declaration has the error.
            return Typed::ERROR;
        }
        let is_function = matches!(name, Name::PRINT | Name::EPRINT | Name::PRINT_RAW);
        let message = fmt::from_fn(|f| match is_function {
            true => write!(f, "`{text}` is a function, not a value"),
            false => write!(f, "name `{text}` not found"),
        });
        let message = format_args!("{message}");
        if let Some((owner, call)) = self.owner_of(name) {
            let note = format_args!("write `{owner}.{text}{call}`");
            return self.error_with_note(span, Code::UnknownName, message, note);
        }
        if self.unit.program.has_external(text) {
            let note = format_args!(
                "an earlier source has it: state its types, as in `extern fn {text}(numbers: [i64]) -> i64`"
            );
            return self.error_with_note(span, Code::UnknownName, message, note);
        }
        let note = match text {
            _ if is_function => Some(
                "a call has its arguments in parentheses, and has them also without arguments: `print()`",
            ),
            "self" | "Self" if !self.defaults.is_empty() => {
                Some("a default has no receiver, and names the type in the place of `Self`")
            }
            "self" => Some(
                "`self` is the receiver of a method in an `impl`; one whose name starts with `from_` or `with_` has none",
            ),
            _ if is_of_script => Some(
                "functions do not have the variables of the script; pass the value, or declare a `const`",
            ),
            _ => other_language(text),
        };
        if let Some(note) = note {
            return self.error_with_note(span, Code::UnknownName, message, format_args!("{note}"));
        }
        let items = || self.unit.program.similar_item(self.source, text, |_| true);
        let similar = self.similar_name(text).or_else(items).or_else(|| similar_function(text));
        self.error_similar(span, Code::UnknownName, message, similar)
    }

    /// Notes a name whose error is reported.
    pub(super) fn note_unknown(&mut self, name: Name) {
        if self.unit.program.diagnostics.muted == 0 {
            self.push(|body| &mut body.unknown, name);
        }
    }

    /// What stands in front of a name that is a field or method of `self`, a variant of an enum, or declared by an
    /// imported module, and what stands behind it.
    pub(super) fn owner_of(&mut self, name: Name) -> Option<(&'s str, &'static str)> {
        if let Some(own) = self.variable(Name::SELF) {
            if self.program().field(own.value.ty, name).is_some() {
                return Some(("self", ""));
            }
            let head = self.head(own.value.ty);
            if self.unit.program.method(head, name).is_some() {
                return Some(("self", "()"));
            }
        }
        let program = &self.unit.program;
        let mut enums = (0..).zip(&program.enums);
        let of_enum = enums.find(|&(number, info)| {
            program.item(self.source, info.name) == Some(Item::Enum(number))
                && program.variant_place(number, name).is_some()
        });
        if let Some((_, info)) = of_enum {
            return Some((program.name(info.name), ""));
        }
        let mut modules = program.modules_of(self.source);
        let module = modules.find(|&(_, file)| program.item(file, name).is_some());
        module.map(|(module, _)| (program.name(module), ""))
    }

    /// Whether the statements at the top level of the file declare a variable with this name.
    pub(super) fn is_of_script(&self, name: Name) -> bool {
        let is_inside = |span: Span| {
            let functions = self.tree.functions.iter().filter(|function| !function.is_script);
            functions.map(|f| f.span).any(|f| f.start <= span.start && span.end <= f.end)
        };
        let mut patterns = self.tree.patterns.iter();
        !self.is_script && patterns.any(|p| p.kind == PatternKind::Bind(name) && !is_inside(p.span))
    }

    /// A variable whose name differs by a letter.
    pub(super) fn similar_name(&self, text: &str) -> Option<&'s str> {
        similar(text, self.variables.iter().rev().map(|v| self.unit.program.name(v.name)))
    }

    /// Reports a name that a module in front of `.` does not declare.
    pub(super) fn unknown_member(&mut self, file: u32, name: Name, span: Span) -> Typed {
        let program = &self.unit.program;
        let (module, text) = (program.source(file).map_or("", |file| file.module), self.name(name));
        let similar = program.similar_item(file, text, |_| true);
        let message = format_args!("module `{module}` declares no `{text}`");
        self.error_similar(span, Code::UnknownName, message, similar)
    }

    /// `name<A, B>` that is not called: the address of an instance.
    fn generic_value(&mut self, name: Name, types: List, span: Span) -> Typed {
        let nodes = self.tree.list(types);
        let types = self.resolve_all(nodes);
        match self.unit.program.item(self.source, name) {
            Some(Item::Function(number)) => {
                self.function_value(number, &types, Want::NOTHING, span)
            }
            _ => self.unknown_name(name, span),
        }
    }

    /// `module.name<A, B>` that is not called.
    fn instance_value(&mut self, field: ExprId, types: List, span: Span) -> Typed {
        let nodes = self.tree.list(types);
        let types = self.resolve_all(nodes);
        let ExprKind::Field(base, name) = self.tree.expr(field).kind else { return Typed::ERROR };
        let Some(file) = self.module_prefix(base) else { return self.refuse_method_types(span) };
        match self.unit.program.item(file, name) {
            Some(Item::Function(number)) => {
                self.function_value(number, &types, Want::NOTHING, span)
            }
            _ => self.unknown_member(file, name, span),
        }
    }

    pub(super) fn resolve_all(&mut self, nodes: &'p [u32]) -> Vec<TypeId> {
        let source = self.source;
        let scope = core::mem::take(&mut self.types);
        let types = self.program().resolve_all(source, nodes, &scope);
        self.types = scope;
        types
    }

    /// The type that an expression in front of `.` names.
    pub(super) fn type_prefix(&mut self, id: ExprId) -> Option<(Head, Vec<TypeId>)> {
        let (source, name, types) = match self.tree.expr(id).kind {
            ExprKind::Name(name) => (self.source, name, List::default()),
            ExprKind::Generic(name, types) => (self.source, name, types),
            ExprKind::Field(base, name) => (self.module_prefix(base)?, name, List::default()),
            ExprKind::Instance(field, types) => match self.tree.expr(field).kind {
                ExprKind::Field(base, name) => (self.module_prefix(base)?, name, types),
                _ => return None,
            },
            _ => return None,
        };
        if source == self.source && self.variable(name).is_some() {
            return None;
        }
        let types = self.tree.list(types);
        let types = self.resolve_all(types);
        if name == Name::SELF_TYPE {
            let ty = self.types.iter().rev().find(|entry| entry.0 == name)?.1;
            return Some((self.head(ty), self.parts_of(ty)));
        }
        match self.unit.program.item(source, name)? {
            Item::Struct(number) => Some((Head::Struct(number), types)),
            Item::Enum(number) => Some((Head::Enum(number), types)),
            Item::Alias(_) => {
                let span = self.span(id);
                let place = (self.source, span);
                let ty = self.program().named(place, source, name, &types, &[]);
                Some((self.head(ty), self.parts_of(ty)))
            }
            _ => None,
        }
    }

    /// The file that an expression in front of `.` names as a module.
    pub(super) fn module_prefix(&self, id: ExprId) -> Option<u32> {
        let name = match self.tree.expr(id).kind {
            ExprKind::Name(name) => name,
            _ => return None,
        };
        if self.variable(name).is_some() {
            return None;
        }
        match self.unit.program.item(self.source, name) {
            Some(Item::Module(file)) => Some(file),
            None if self.unit.program.is_template_text() && !self.is_type_name(name) => {
                Some(self.source)
            }
            _ => None,
        }
    }

    /// Whether a name that the file does not declare is one of a type.
    fn is_type_name(&self, name: Name) -> bool {
        TypeId::primitive(name).is_some() || self.types.iter().any(|entry| entry.0 == name)
    }

    /// `base.name` that is not called.
    fn field(&mut self, base: ExprId, name: Name, want: Want, id: ExprId) -> Typed {
        let span = self.span(id);
        if let Some(file) = self.module_prefix(base) {
            return match self.unit.program.item(file, name) {
                Some(Item::Const(number)) => self.constant(number, want, span),
                Some(Item::Function(number)) => self.function_value(number, &[], want, span),
                _ => self.unknown_member(file, name, span),
            };
        }
        if let Some((head, types)) = self.type_prefix(base) {
            return self.variant(head, types, name, want, span);
        }
        let value = self.expr(base, Want::NOTHING);
        self.field_of(value, name, span)
    }

    /// Field `name` of a value, or a method without arguments and parentheses.
    pub(super) fn field_of(&mut self, value: Typed, name: Name, span: Span) -> Typed {
        if value.ty.fits_all() {
            return value;
        }
        if self.is_template && self.unit.program.types.has_params(value.ty) {
            return self.opaque();
        }
        if let Value::Place(place) = value.value
            && let Some(field) = self.program().field(value.ty, name)
        {
            let loaded = self.load(Self::inside(place, field.offset), field.ty);
            return Typed { temporary: value.temporary, ..loaded };
        }
        if let Some(result) = self.length(value, name) {
            return result;
        }
        self.no_field(value.ty, name, span)
    }

    pub(super) fn no_field(&mut self, ty: TypeId, name: Name, span: Span) -> Typed {
        let (owner, text, head) = (self.type_text(ty), self.name(name), self.head(ty));
        let message = format_args!("type `{owner}` has no field `{text}`");
        if self.unit.program.method(head, name).is_some() {
            let note = format_args!("`{text}` is a method: write `.{text}()`");
            return self.error_with_note(span, Code::UnknownField, message, note);
        }
        let similar = self.unit.program.similar_field(head, text);
        self.error_similar(span, Code::UnknownField, message, similar)
    }

    fn tuple_field(&mut self, base: ExprId, index: u32, span: Span) -> Typed {
        let value = self.expr(base, Want::NOTHING);
        if value.ty.fits_all() {
            return value;
        }
        if self.is_template && self.unit.program.types.has_params(value.ty) {
            return self.opaque();
        }
        if let Value::Place(place) = value.value
            && let Some(field) = self.program().tuple_field(value.ty, index)
        {
            let loaded = self.load(Self::inside(place, field.offset), field.ty);
            return Typed { temporary: value.temporary, ..loaded };
        }
        self.no_tuple_field(value.ty, index, span)
    }

    pub(super) fn no_tuple_field(&mut self, ty: TypeId, index: u32, span: Span) -> Typed {
        let owner = self.type_text(ty);
        let message = format_args!("type `{owner}` has no field `{index}`");
        self.error(span, Code::UnknownField, message)
    }

    fn index(&mut self, base: ExprId, index: ExprId, span: Span) -> Typed {
        let value = self.expr(base, Want::NOTHING);
        let value = self.stable(value, base, index);
        match self.element(value, index, span) {
            Some((place, ty)) => {
                let loaded = self.load(place, ty);
                Typed { temporary: value.temporary && !loaded.is_pointee(), ..loaded }
            }
            None => Typed::ERROR,
        }
    }

    /// The place of an element, behind a check of the index.
    pub(super) fn element(
        &mut self,
        array: Typed,
        index: ExprId,
        span: Span,
    ) -> Option<(Place, TypeId)> {
        if array.ty.fits_all() {
            self.expr(index, Want::NOTHING);
            return None;
        }
        if self.is_template && self.unit.program.types.has_params(array.ty) {
            self.opaque();
            return None;
        }
        let element = self.unit.program.types.part(array.ty, 0);
        let position = self.expr(index, Want::NOTHING);
        self.locate(span);
        match (self.head(array.ty), array.value) {
            (Head::Array(length), Value::Place(place)) => {
                let place = self.array_element(place, length, element, position, index)?;
                Some((place, element))
            }
            (Head::View, Value::Pair(pointer, length)) => {
                let is_unsigned = self.is_unsigned(position.ty);
                let position = self.index_value(position, index)?;
                let position = self.checked_index(position, Err(length), is_unsigned);
                Some((
                    self.element_place(Place::at(Base::Pointer(pointer)), element, position),
                    element,
                ))
            }
            (Head::Pointer(_), value) => {
                let pointer = self.local_of(Typed::new(array.ty, value));
                let position = self.index_value(position, index)?;
                let position = self.local_of(position);
                Some((self.element_place(Place::pointee_of(pointer), element, position), element))
            }
            _ => {
                let owner = self.type_text(array.ty);
                let message = format_args!("type `{owner}` has no elements");
                self.error(span, Code::NoOperation, message);
                None
            }
        }
    }

    /// An index as an i64.
    fn index_value(&mut self, index: Typed, id: ExprId) -> Option<Typed> {
        let scalar = self.scalar(index.ty);
        let span = self.span(id);
        if index.flexible {
            return Some(self.coerce(index, TypeId::I64, span));
        }
        match scalar {
            Some(scalar) if !scalar.is_float() && scalar != Scalar::Bool => {
                Some(self.convert(index, TypeId::I64))
            }
            _ => {
                if !index.ty.fits_all() {
                    self.mismatch(TypeId::I64, index.ty, span);
                }
                None
            }
        }
    }

    fn array_element(
        &mut self,
        place: Place,
        length: u32,
        element: TypeId,
        index: Typed,
        id: ExprId,
    ) -> Option<Place> {
        let (is_unsigned, is_literal) = (self.is_unsigned(index.ty), index.flexible);
        let index = self.index_value(index, id)?;
        let Value::Number(number) = index.value else {
            let index = self.checked_index(index, Ok(length), is_unsigned);
            return Some(self.element_place(place, element, index));
        };
        let is_from_end = number < 0 && !is_unsigned;
        let position = if is_from_end { number + i128::from(length) } else { number };
        match u32::try_from(position).ok().filter(|&index| index < length) {
            Some(index) => {
                let stride = self.program().stride(element);
                Some(Self::inside(place, index.saturating_mul(stride)))
            }
            None if is_literal => {
                let message =
                    format_args!("index {number} is out of range for an array of length {length}");
                self.error(self.span(id), Code::OutOfRange, message);
                None
            }
            // The code around it may compare the constant with the length first.
            None => {
                let index = self.checked_index(index, Ok(length), is_unsigned);
                Some(self.element_place(place, element, index))
            }
        }
    }

    /// Whether no value of the type is negative, so that it counts from the start of an array.
    fn is_unsigned(&self, ty: TypeId) -> bool {
        self.scalar(ty).is_some_and(|scalar| !scalar.is_float() && !scalar.is_signed())
    }

    /// Checks an index: a negative one counts from the end; outside of the array it traps. The order of the operands tells
    /// [`TrapCause`](crate::source::TrapCause) whether it was unsigned.
    fn checked_index(
        &mut self,
        index: Typed,
        length: Result<u32, Local>,
        is_unsigned: bool,
    ) -> Local {
        use crate::ir::{Binary, Condition};
        let signed = self.local_of(index);
        let result = self.builder.local(Scalar::U64);
        self.builder.convert(Scalar::U64, result, Scalar::I64, signed);
        let limit = match length {
            Ok(length) => self.local_of(Typed::new(TypeId::U64, Value::Number(length.into()))),
            Err(length) => {
                let limit = self.builder.local(Scalar::U64);
                self.builder.convert(Scalar::U64, limit, Scalar::I64, length);
                limit
            }
        };
        if is_unsigned {
            let outside = Condition::LessEqual;
            self.builder.trap_compare(outside, Scalar::U64, limit, result, TRAP_BOUNDS);
            return result;
        }
        let inside = self.builder.label();
        self.builder.branch(Condition::Less, Scalar::U64, result, limit, inside);
        self.builder.binary(Binary::Add, Scalar::U64, result, result, limit);
        self.builder.trap_compare(Condition::GreaterEqual, Scalar::U64, result, limit, TRAP_BOUNDS);
        self.builder.bind(inside);
        result
    }

    /// The place of element `index` of the elements at `place`.
    pub(super) fn element_place(&mut self, place: Place, element: TypeId, index: Local) -> Place {
        use crate::ir::Binary;
        if matches!(self.repr(element), Repr::Scalar(_)) && place.index.is_none() {
            return Place { index: Some(index), ..place };
        }
        let stride = self.program().stride(element);
        let stride = i32::try_from(stride).unwrap_or(i32::MAX);
        let base = self.address(place);
        let bytes = match self.builder.local_type(index) {
            Some(ValueType::Scalar(Scalar::U64)) => Scalar::U64,
            _ => Scalar::I64,
        };
        let distance = self.builder.local(bytes);
        self.builder.binary(Binary::Multiply, bytes, distance, index, stride);
        let pointer = self.builder.local(Scalar::Pointer);
        self.builder.element(Scalar::U8, pointer, base, Some(distance), 0);
        Place { is_pointee: place.is_pointee, ..Place::at(Base::Pointer(pointer)) }
    }

    /// `value as T`.
    fn cast(&mut self, value: ExprId, ty: TypeNodeId, span: Span) -> Typed {
        let wanted = self.resolve(ty);
        let typed = self.expr(value, Want::NOTHING);
        if wanted.is_error() {
            return Typed::ERROR;
        }
        if typed.ty.fits_all() {
            return typed;
        }
        let castable = |body: &Self, ty| {
            matches!(body.repr(ty), Repr::Scalar(_)) && body.head(ty) != Head::Function
        };
        let is_enum = matches!(self.head(wanted), Head::Enum(_));
        if !castable(self, typed.ty) || !castable(self, wanted) || is_enum {
            let (from, to) = (self.type_text(typed.ty), self.type_text(wanted));
            let message = format_args!("`{from}` cannot be converted to `{to}`");
            return self.error(span, Code::NoOperation, message);
        }
        let pointers = [typed.ty, wanted].map(|ty| matches!(self.head(ty), Head::Pointer(_)));
        let floats = [typed.ty, wanted].map(|ty| self.scalar(ty).is_some_and(Scalar::is_float));
        if pointers.contains(&true) && floats.contains(&true) {
            let message = format_args!("an address is no floating-point number");
            return self.error(span, Code::NoOperation, message);
        }
        self.convert(typed, wanted)
    }
}
