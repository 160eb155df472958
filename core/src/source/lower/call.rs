//! Calls of functions: arguments, type arguments and the calling convention.

use super::generator::Callee;
use super::*;
use crate::plural;

/// What a call of a function of an earlier compilation lacks.
const NO_DEFAULTS: &str = "names and defaults of parameters are not kept: give all arguments, or state them in an `extern fn`";

/// The most locals that a call passes.
const MAX_ARGUMENTS: usize = 255;

/// A call whose parts are known.
pub(super) struct Call<'c> {
    pub(super) number: u32,
    pub(super) info: FunctionInfo,
    /// Written type arguments, or those of the type in front of `.`.
    pub(super) types: &'c [TypeId],
    pub(super) receiver: Option<Typed>,
    pub(super) arguments: List,
    pub(super) want: Want,
    pub(super) span: Span,
}

impl Body<'_, '_, '_> {
    pub(super) fn call(
        &mut self,
        callee: ExprId,
        arguments: List,
        want: Want,
        id: ExprId,
    ) -> Typed {
        let span = self.span(id);
        match self.tree.expr(callee).kind {
            ExprKind::Name(name) => self.call_name(name, &[], callee, arguments, want, span),
            ExprKind::Generic(name, types) => {
                let nodes = self.tree.list(types);
                let types = self.resolve_all(nodes);
                self.call_name(name, &types, callee, arguments, want, span)
            }
            ExprKind::Field(base, name) => self.call_member(base, name, &[], arguments, want, span),
            ExprKind::Instance(field, types) => {
                let types = self.tree.list(types);
                let types = self.resolve_all(types);
                match self.tree.expr(field).kind {
                    ExprKind::Field(base, name) if self.module_prefix(base).is_some() => {
                        self.call_member(base, name, &types, arguments, want, span)
                    }
                    _ => {
                        self.refuse_method_types(span);
                        self.skip_arguments(arguments);
                        Typed::ERROR
                    }
                }
            }
            ExprKind::Error => {
                self.skip_arguments(arguments);
                Typed::ERROR
            }
            _ => {
                let value = self.expr(callee, Want::NOTHING);
                self.call_value(value, arguments, want, span)
            }
        }
    }

    pub(super) fn refuse_method_types(&mut self, span: Span) -> Typed {
        self.refuse(span, "a method with type arguments", "write a generic function")
    }

    /// Checks arguments of a call that is wrong.
    pub(super) fn skip_arguments(&mut self, arguments: List) {
        let tree = self.tree;
        for argument in tree.entries(&tree.arguments, arguments) {
            self.expr(argument.value, Want::NOTHING);
        }
    }

    fn call_name(
        &mut self,
        name: Name,
        types: &[TypeId],
        callee: ExprId,
        arguments: List,
        want: Want,
        span: Span,
    ) -> Typed {
        if let Some(variable) = self.variable(name) {
            return self.call_value(variable.value, arguments, want, span);
        }
        match self.item(name) {
            Some(Item::Function(number)) => {
                self.call_function(number, types, None, arguments, want, span)
            }
            Some(Item::Struct(number)) => self.construct(number, types, arguments, want, span),
            item if item.map_or(name == Name::SELF_TYPE, |item| matches!(item, Item::Alias(_))) => {
                match self.type_prefix(callee) {
                    Some((Head::Struct(number), types)) => {
                        self.construct(number, &types, arguments, want, span)
                    }
                    _ => self.not_callable(name, arguments, self.span(callee)),
                }
            }
            Some(Item::Const(number)) => {
                let value = self.constant(number, Want::NOTHING, self.span(callee));
                self.call_value(value, arguments, want, span)
            }
            Some(Item::Ambiguous) => {
                self.skip_arguments(arguments);
                self.ambiguous_name(name, self.span(callee))
            }
            Some(_) => self.not_callable(name, arguments, self.span(callee)),
            None => self.call_undeclared(name, callee, arguments, want, span),
        }
    }

    /// A call of a function of the host or of a built-in one.
    fn call_undeclared(
        &mut self,
        name: Name,
        callee: ExprId,
        arguments: List,
        want: Want,
        span: Span,
    ) -> Typed {
        let (source, word) = (self.source, Word { name, span: self.span(callee) });
        if let Some(number) = self.program().declare_external(source, word) {
            return self.call_function(number, &[], None, arguments, want, span);
        }
        if let Some(value) = self.builtin(name, arguments, want, span) {
            return value;
        }
        self.unknown_name(name, word.span);
        self.skip_arguments(arguments);
        Typed::ERROR
    }

    pub(super) fn not_callable(&mut self, name: Name, arguments: List, span: Span) -> Typed {
        let text = self.name(name);
        let message = format_args!("`{text}` is not called");
        self.error(span, Code::BadCall, message);
        self.skip_arguments(arguments);
        Typed::ERROR
    }

    /// A call through the address of a function.
    pub(super) fn call_value(
        &mut self,
        callee: Typed,
        arguments: List,
        want: Want,
        span: Span,
    ) -> Typed {
        if self.head(callee.ty) != Head::Function {
            if !callee.ty.fits_all() {
                let text = self.type_text(callee.ty);
                let message = format_args!("a value of `{text}` is not called");
                self.error(span, Code::BadCall, message);
            }
            self.skip_arguments(arguments);
            return Typed::ERROR;
        }
        let parts = self.parts_of(callee.ty);
        let Some((&result, params)) = parts.split_last() else { return Typed::ERROR };
        let tree = self.tree;
        let list = tree.entries(&tree.arguments, arguments);
        if self.has_names(format_args!("a function value"), arguments) {
            return Typed::new(result, Value::None);
        }
        if list.len() != params.len() {
            let (wanted, found) = (params.len(), arguments.len);
            let s = plural::s(wanted);
            let message = format_args!("the function has {wanted} parameter{s}, found {found}");
            self.error(span, Code::BadCall, message);
            return Typed::new(result, Value::None);
        }
        let address = self.local_of(callee);
        let mut values = Vec::new();
        for (argument, &ty) in list.zip(params) {
            let value = self.expr_as(argument.value, ty);
            let value = self.copied(value, span);
            self.push_value(&mut values, value);
        }
        self.locate(span);
        self.emit(Callee::Address(address), &values, result, want, span)
    }

    pub(super) fn push_value(&mut self, values: &mut Vec<Typed>, value: Typed) {
        self.program().diagnostics.push(values, value);
    }

    /// A call of a declared function.
    pub(super) fn call_function(
        &mut self,
        number: u32,
        types: &[TypeId],
        receiver: Option<Typed>,
        arguments: List,
        want: Want,
        span: Span,
    ) -> Typed {
        let Some(info) = self.unit.program.function(number) else { return Typed::ERROR };
        if self.is_unusable(&info, span) {
            self.skip_arguments(arguments);
            return Typed::ERROR;
        }
        let call = Call { number, info, types, receiver, arguments, want, span };
        let mut bindings = match self.start_bindings(&call) {
            Some(bindings) => bindings,
            None => {
                self.skip_arguments(arguments);
                return Typed::ERROR;
            }
        };
        let Some(order) = self.order(&call) else {
            self.skip_arguments(arguments);
            return Typed::ERROR;
        };
        let Some(values) = self.argument_values(&call, &order, &mut bindings) else {
            return Typed::ERROR;
        };
        let Some(types) = self.type_arguments(&call, &bindings) else { return Typed::ERROR };
        self.finish_call(&call, &order, values, &types)
    }

    /// Whether a function has errors, or is refused here.
    fn is_unusable(&mut self, info: &FunctionInfo, span: Span) -> bool {
        let source = self.source;
        info.decl.is_broken || self.program().refuse_private(source, span, info)
    }

    /// The parameter of each argument, by number.
    fn order(&mut self, call: &Call<'_>) -> Option<Vec<usize>> {
        if call.info.params.len() > MAX_ARGUMENTS {
            // Each parameter is looked for among the arguments.
            self.too_many_arguments(call.span);
            return None;
        }
        let tree = self.tree;
        let mut order = Vec::new();
        for (position, argument) in tree.entries(&tree.arguments, call.arguments).enumerate() {
            let params = self.unit.program.param_list(call.info.params);
            let index = match argument.name {
                Some(word) => params.iter().position(|param| param.name == word.name),
                None => (position < params.len()).then_some(position),
            };
            let name = index.and_then(|index| params.get(index)).map(|param| param.name);
            let value_span = self.span(argument.value);
            let span = argument.name.map_or(value_span, |word| word.span);
            let Some(index) = index else {
                match argument.name {
                    Some(word) => self.no_parameter(call, word),
                    None => self.wrong_count(call),
                }
                return None;
            };
            if order.contains(&index) {
                let function = self.name(call.info.decl.word.name);
                let name = name.map_or("", |name| self.name(name));
                let message = format_args!("parameter `{name}` of `{function}` has two arguments");
                self.error(span, Code::BadCall, message);
                return None;
            }
            self.program().diagnostics.push(&mut order, index)?;
        }
        let params = self.unit.program.param_list(call.info.params);
        let has_defaults = params.iter().any(|param| param.default.is_some());
        let mut params = params.iter().enumerate();
        let missing =
            params.find(|(index, param)| param.default.is_none() && !order.contains(index));
        if let Some((_, param)) = missing {
            let param = self.name(param.name);
            if has_defaults {
                let name = self.name(call.info.decl.word.name);
                let message = format_args!("`{name}` has no argument for its parameter `{param}`");
                self.error(call.span, Code::BadCall, message);
            } else {
                self.wrong_count(call);
            }
            return None;
        }
        Some(order)
    }

    fn no_parameter(&mut self, call: &Call<'_>, word: Word) {
        let (function, name) = (self.name(call.info.decl.word.name), self.name(word.name));
        if call.info.is_undeclared() {
            let message = format_args!(
                "`{name}` names no parameter of `{function}`, which was compiled before"
            );
            let note = format_args!("{NO_DEFAULTS}");
            self.error_with_note(word.span, Code::BadCall, message, note);
        } else {
            let params = self.unit.program.param_list(call.info.params).iter();
            let similar = similar(name, params.map(|param| self.name(param.name)));
            let message = format_args!("`{function}` has no parameter `{name}`");
            self.error_similar(word.span, Code::BadCall, message, similar);
        }
    }

    fn wrong_count(&mut self, call: &Call<'_>) {
        let params = self.unit.program.param_list(call.info.params);
        if params.iter().any(|param| param.ty.is_error()) {
            // The declaration has an error.
            return;
        }
        let (wanted, found) = (call.info.params.len, call.arguments.len);
        let has_defaults = !call.info.is_undeclared() || found >= wanted;
        let note = if has_defaults { None } else { Some(NO_DEFAULTS) };
        self.wrong_argument_count(call.info.decl.word.name, wanted, found, (call.span, note));
    }

    /// Reports a number of arguments that a function, or a method of the language, does not take.
    pub(super) fn wrong_argument_count(
        &mut self,
        name: Name,
        wanted: u32,
        found: u32,
        (span, note): (Span, Option<&str>),
    ) {
        let (name, first, second) = (self.name(name), plural::s(wanted), plural::s(found));
        let message =
            format_args!("`{name}` has {wanted} parameter{first}, found {found} argument{second}");
        match note {
            Some(note) => {
                self.error_with_note(span, Code::BadCall, message, format_args!("{note}"));
            }
            None => {
                self.error(span, Code::BadCall, message);
            }
        }
    }

    /// The values of the parameters, in their order.
    fn argument_values(
        &mut self,
        call: &Call<'_>,
        order: &[usize],
        bindings: &mut [Option<TypeId>],
    ) -> Option<Vec<Typed>> {
        let tree = self.tree;
        let count = call.info.params.len();
        // The receiver comes in front of them.
        let reserved = crate::alloc_util::try_with_capacity(count.saturating_add(1));
        let mut values = self.program().diagnostics.allocated(reserved)?;
        values.resize(count, Typed::ERROR);
        let list = tree.entries(&tree.arguments, call.arguments);
        let last = list.clone().next_back().map(|argument| argument.value);
        let mut is_wrong = false;
        for (argument, &index) in list.zip(order) {
            let param = *self.unit.program.param_list(call.info.params).get(index)?;
            let mut known = self.known_type(param.ty, bindings);
            if known.is_none() && self.is_untyped(argument.value) {
                // The other arguments decide on its type.
                continue;
            }
            if known.is_none() && self.is_of_literals(argument.value) {
                known = self.type_for_literals(call, order, param.ty, bindings);
            }
            let want = known.map_or(Want::NOTHING, Want::of);
            let mut value = self.argument(call, &param, argument.value, want);
            if let Some(ty) = known {
                value = self.coerce(value, ty, self.span(argument.value));
            } else if !value.flexible {
                let span = self.span(argument.value);
                if !self.unit.program.types.unify(param.ty, value.ty, bindings) {
                    self.no_match(call, (param.ty, value.ty), bindings, span);
                    value = Typed::ERROR;
                } else if let Some(ty) = self.known_type(param.ty, bindings) {
                    // Before calls in later arguments: a view is of the array itself.
                    value = self.coerce(value, ty, span);
                }
            }
            value = self.stable(value, argument.value, last.unwrap_or(argument.value));
            is_wrong |= value.ty.fits_all();
            *values.get_mut(index)? = value;
        }
        if is_wrong {
            return None;
        }
        self.bind_literals(call, &values, bindings);
        for (argument, &index) in tree.entries(&tree.arguments, call.arguments).zip(order) {
            let is_open = values.get(index).is_some_and(|value| value.ty.is_error());
            if is_open && self.is_untyped(argument.value) {
                let param = *self.unit.program.param_list(call.info.params).get(index)?;
                let known = self.known_type(param.ty, bindings);
                let value = self.expr(argument.value, known.map_or(Want::NOTHING, Want::of));
                let ty = known.filter(|_| !value.ty.fits_all())?;
                *values.get_mut(index)? = self.coerce(value, ty, self.span(argument.value));
            }
        }
        self.default_values(call, order, &mut values, bindings);
        Some(values)
    }

    /// The value of an argument.
    fn argument(
        &mut self,
        call: &Call<'_>,
        param: &ParamInfo,
        argument: ExprId,
        want: Want,
    ) -> Typed {
        let is_view = self.head(param.ty) == Head::View;
        let function = call.info.decl.word.name;
        let changed_by =
            param.mutable.then_some(ChangingParam { function, param: param.name, is_view });
        self.expr(argument, Want { is_view, changed_by, ..want })
    }

    /// The value of an argument, or of a branch of one, that the callee changes. Of an array it is the place: a value whose
    /// index has calls would be a copy, so that they cannot change it.
    pub(super) fn changed_value(&mut self, id: ExprId, by: ChangingParam, want: Want) -> Typed {
        let want = Want { changed_by: None, ..want };
        let value = match by.is_view && self.is_computed_part(id) {
            true => {
                let place = self.assigned_place(id);
                place.map_or(Typed::ERROR, |(place, ty)| Typed::new(ty, Value::Place(place)))
            }
            false => self.expr_kind(id, want),
        };
        let is_view = by.is_view || self.head(value.ty) == Head::View;
        if is_view && !value.is_pointee() {
            self.check_changed(by, id);
        }
        value
    }

    /// Refuses an array that does not change as a view that the callee changes.
    fn check_changed(&mut self, by: ChangingParam, array: ExprId) {
        let Some(name) = self.fixed_root(array) else { return };
        let (name, function, param) =
            (self.name(name), self.name(by.function), self.name(by.param));
        let message = format_args!("`{name}` is not mutable, and `{function}` changes `{param}`");
        let note = format_args!("pass a variable of `var`, or declare the parameter with `mut`");
        self.error_with_note(self.span(array), Code::NotAssignable, message, note);
    }

    fn default_values(
        &mut self,
        call: &Call<'_>,
        order: &[usize],
        values: &mut [Typed],
        bindings: &[Option<TypeId>],
    ) {
        for (index, place) in values.iter_mut().enumerate() {
            if order.contains(&index) {
                continue;
            }
            let param = self.unit.program.param_list(call.info.params).get(index).copied();
            let Some(ParamInfo { ty, default: Some(default), mutable, .. }) = param else {
                continue;
            };
            let ty = self.known_type(ty, bindings).unwrap_or(TypeId::ERROR);
            let mut value = Typed::ERROR;
            let declared = (call.info.source, self.unit.inner.scope_of(call.number));
            self.default(declared, default, |body| {
                let span = body.span(default);
                value = body.expr(default, Want::of(ty));
                if mutable {
                    // The function may change an array.
                    value = body.copied(value, span);
                }
                value = body.coerce(value, ty, span);
            });
            *place = value;
        }
    }

    fn finish_call(
        &mut self,
        call: &Call<'_>,
        order: &[usize],
        mut values: Vec<Typed>,
        types: &[TypeId],
    ) -> Typed {
        let tree = self.tree;
        let changes_caller = self.changes_caller(&call.info);
        let has_pointees = values.iter().chain(&call.receiver).any(Typed::is_pointee);
        let may_write = has_pointees && self.may_write(call.number, &call.info);
        for (index, value) in values.iter_mut().enumerate() {
            let param = self.unit.program.param_list(call.info.params).get(index).copied();
            let Some(param) = param else { continue };
            let ty = self.substituted(param.ty, types, call.span);
            let mut arguments = tree.entries(&tree.arguments, call.arguments).zip(order);
            let argument = arguments.find(|&(_, &param)| param == index);
            let span = argument.map_or(call.span, |(argument, _)| self.span(argument.value));
            *value = self.coerce(*value, ty, span);
            if changes_caller || param.mutable || may_write && value.is_pointee() {
                *value = self.copied(*value, call.span);
            }
            if value.ty.fits_all() {
                return Typed::ERROR;
            }
        }
        if let Some(mut receiver) = call.receiver {
            let is_changed = changes_caller || may_write && receiver.is_pointee();
            if is_changed && call.info.receiver() == Receiver::Value {
                receiver = self.copied(receiver, call.span);
            }
            self.push_value(&mut values, receiver);
            values.rotate_right(1);
        }
        let Some((callee, result)) = self.callee(call, types) else { return Typed::ERROR };
        self.locate(call.span);
        self.emit(callee, &values, result, call.want, call.span)
    }

    /// Whether a call may change memory of the caller, which its arguments must not share then.
    fn changes_caller(&self, info: &FunctionInfo) -> bool {
        let params = self.unit.program.param_list(info.params);
        info.receiver() == Receiver::Mutable
            || params
                .iter()
                .any(|param| param.mutable && self.unit.program.types.has_view(param.ty))
    }

    /// What is called, and the type of its result.
    fn callee(&mut self, call: &Call<'_>, types: &[TypeId]) -> Option<(Callee, TypeId)> {
        if self.is_template {
            return self.template_callee(call.number, &call.info, types, call.span);
        }
        if let (true, ResultType::Known(result)) = (call.info.is_external, call.info.result) {
            return Some((Callee::Host(call.info.decl.word.name), result));
        }
        let depth = self.instance_depth;
        let instance = self.unit.instance(call.number, types, depth, (self.source, call.span))?;
        let result = self.unit.result_of(instance, (self.source, call.span));
        if result.is_error() {
            return None;
        }
        Some((Callee::Instance(instance), result))
    }

    /// The callee of a template: another template, or a function by its symbol.
    fn template_callee(
        &mut self,
        number: u32,
        info: &FunctionInfo,
        types: &[TypeId],
        span: Span,
    ) -> Option<(Callee, TypeId)> {
        let result = match info.result {
            ResultType::Known(result) => result,
            _ if types.is_empty() => {
                let instance = self.unit.instance(number, &[], 0, (self.source, span))?;
                self.unit.result_of(instance, (self.source, span))
            }
            _ => {
                self.opaque();
                return None;
            }
        };
        let result = self.substituted(result, types, span);
        let program = &self.unit.program;
        let is_found = match types {
            [] => program.has_symbol(info),
            _ => !program.is_shared_name(info),
        };
        let is_inner = self.unit.outer_function(number).is_some();
        if info.owner.is_some() || is_inner || !is_found {
            self.opaque();
            return None;
        }
        let name = info.decl.word.name;
        if types.is_empty() {
            return Some((Callee::Host(name), result));
        }
        let terms = self.unit.program.terms(types);
        let terms = self.program().diagnostics.allocated(terms)?;
        let arguments = generator::type_arguments(&terms);
        let Some(arguments) = self.program().diagnostics.allocated(arguments)? else {
            self.opaque();
            return None;
        };
        Some((Callee::Template(name, arguments), result))
    }

    /// Emits a call with values of the types of the parameters.
    fn emit(
        &mut self,
        callee: Callee,
        values: &[Typed],
        result: TypeId,
        want: Want,
        span: Span,
    ) -> Typed {
        let mut locals = core::mem::take(&mut self.unit.locals);
        locals.clear();
        let repr = self.repr(result);
        let place = match repr {
            Repr::Memory => Some(self.destination(result, want, span)),
            Repr::Pair => Some(self.temporary(result, span)),
            Repr::Unknown => return self.opaque(),
            _ => None,
        };
        if let Some(place) = place {
            let address = self.address(place);
            self.program().diagnostics.push(&mut locals, address);
        }
        if !self.pass(values, &mut locals) {
            return self.opaque();
        }
        if locals.len() > MAX_ARGUMENTS {
            return self.too_many_arguments(span);
        }
        let to = match repr {
            Repr::Scalar(ty) => Some(self.builder.local(ty)),
            _ => None,
        };
        self.emit_call(&callee, to, &locals);
        self.unit.locals = locals;
        match (to, place) {
            (Some(to), _) => Typed::local(result, to),
            (None, Some(place)) => {
                let value = self.load(place, result);
                Typed { temporary: true, ..value }
            }
            _ => Typed::new(result, Value::None),
        }
    }

    fn too_many_arguments(&mut self, span: Span) -> Typed {
        let message = format_args!("a call has at most {MAX_ARGUMENTS} arguments");
        self.error(span, Code::TooLarge, message)
    }

    /// Appends the locals that values are passed in; whether their types are known.
    fn pass(&mut self, values: &[Typed], locals: &mut Vec<Local>) -> bool {
        for &value in values {
            let [first, second] = match (self.repr(value.ty), value.value) {
                (Repr::Unknown, _) => return false,
                (Repr::Scalar(_), _) => [Some(self.local_of(value)), None],
                (Repr::Pair, Value::Pair(first, second)) => [Some(first), Some(second)],
                (Repr::Memory, Value::Place(place)) => [Some(self.address(place)), None],
                _ => [None, None],
            };
            for local in first.into_iter().chain(second) {
                self.program().diagnostics.push(locals, local);
            }
        }
        true
    }

    fn emit_call(&mut self, callee: &Callee, to: Option<Local>, locals: &[Local]) {
        match callee {
            Callee::Instance(number) => self.builder.call_function(*number, to, locals, None),
            Callee::Host(name) => {
                let symbol = self.name(*name);
                self.builder.call_host(symbol, to, locals);
            }
            Callee::Template(name, types) => {
                let name = self.name(*name);
                self.builder.call(name, types, to, locals, None);
            }
            Callee::Address(address) => self.builder.call_indirect(*address, to, locals, None),
        }
    }

    /// The address of a function.
    pub(super) fn function_value(
        &mut self,
        number: u32,
        types: &[TypeId],
        want: Want,
        span: Span,
    ) -> Typed {
        let Some(info) = self.unit.program.function(number) else { return Typed::ERROR };
        if self.is_unusable(&info, span) {
            return Typed::ERROR;
        }
        if self.is_template {
            return self.opaque();
        }
        if info.is_external {
            return self.refuse(span, "the address of an `extern fn`", "call it in a function");
        }
        let inferred = if types.is_empty() { self.types_of_value(&info, want) } else { None };
        let types = inferred.as_deref().unwrap_or(types);
        if usize::try_from(info.type_params) != Ok(types.len()) {
            self.count_unresolved(span);
            let name = self.name(info.decl.word.name);
            let message = format_args!("the type arguments of `{name}` are not known");
            let note = format_args!("declare the type, as in `val f: fn(i64) -> i64 = {name}`");
            return self.error_with_note(span, Code::Unresolved, message, note);
        }
        let depth = self.instance_depth;
        let Some(instance) = self.unit.instance(number, types, depth, (self.source, span)) else {
            return Typed::ERROR;
        };
        let result = self.unit.result_of(instance, (self.source, span));
        let mut parts = Vec::new();
        for index in 0..info.params.len() {
            let param = self.unit.program.param_list(info.params).get(index).copied();
            let Some(param) = param else { break };
            let ty = self.substituted(param.ty, types, span);
            if param.mutable && self.head(ty) == Head::View {
                // The type of the value does not say that its callers need an array that changes.
                let construct = "a function that changes an array, as a value";
                return self.refuse(span, construct, "call it by its name");
            }
            self.program().diagnostics.push(&mut parts, ty);
        }
        let params = generator::abi(&self.unit.program, &parts, result);
        let params = self.program().diagnostics.allocated(params).unwrap_or_default();
        self.program().diagnostics.push(&mut parts, result);
        let ty = self.intern(Head::Function, &parts, span);
        let value_type = match self.repr(result) {
            Repr::Scalar(ty) => Some(ty),
            _ => None,
        };
        let pointer = self.builder.local(Scalar::Pointer);
        self.builder.function_address(pointer, instance, &params, value_type);
        Typed::local(ty, pointer)
    }
}
