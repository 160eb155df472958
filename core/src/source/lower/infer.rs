//! Type inference of calls: type arguments by the receiver, the arguments, the context and literals.

use super::call::Call;
use super::*;
use crate::alloc_util::hash;
use crate::plural;

/// How deep an expression is searched for literals.
const MAX_LITERAL_NESTING: u32 = 16;

impl Body<'_, '_, '_> {
    /// The type parameters that are known before the arguments.
    pub(super) fn start_bindings(&mut self, call: &Call<'_>) -> Option<Vec<Option<TypeId>>> {
        let count = usize::try_from(call.info.type_params).unwrap_or(0);
        let filled = crate::alloc_util::try_filled(count, &None);
        let mut bindings = self.program().diagnostics.allocated(filled)?;
        if let Some(own) = call.info.self_type {
            return self.bind_self(call, own, &mut bindings).then_some(bindings);
        }
        if call.types.len() > count {
            let (name, found) = (self.name(call.info.decl.word.name), call.types.len());
            let s = plural::s(count);
            let message = format_args!("`{name}` has {count} type parameter{s}, found {found}");
            self.error(call.span, Code::BadCall, message);
            return None;
        }
        for (binding, &ty) in bindings.iter_mut().zip(call.types) {
            if ty.is_error() {
                return None;
            }
            *binding = Some(ty);
        }
        Some(bindings)
    }

    /// Binds the type parameters of a method by the type that it is called on; whether that is the type of the
    /// implementation. Without a value and type arguments, the arguments decide.
    pub(super) fn bind_self(
        &mut self,
        call: &Call<'_>,
        own: TypeId,
        bindings: &mut [Option<TypeId>],
    ) -> bool {
        let ty = match (call.receiver, call.types) {
            (Some(receiver), _) => receiver.ty,
            (None, []) => return true,
            (None, types) => self.intern(self.head(own), types, call.span),
        };
        if ty.is_error() {
            return false;
        }
        let types = &mut self.unit.program.types;
        let is_bound =
            types.parts(own).len() == types.parts(ty).len() && types.unify(own, ty, bindings);
        let arguments = bindings.iter().map(|binding| binding.unwrap_or(TypeId::NEVER));
        let arguments = crate::alloc_util::try_collect(arguments);
        let Some(arguments) = self.program().diagnostics.allocated(arguments) else { return false };
        if is_bound && self.program().types.substitute(own, &arguments) == Ok(ty) {
            return true;
        }
        if self.is_template && self.unit.program.types.has_params(ty) {
            self.opaque();
            return false;
        }
        let (owner, own) = (self.type_text(ty), self.type_text(own));
        let name = self.name(call.info.decl.word.name);
        let message = format_args!("type `{owner}` has no method `{name}`");
        let note = format_args!("`{own}` has it");
        self.error_with_note(call.span, Code::UnknownField, message, note);
        false
    }

    /// Whether an expression says nothing of its type, and has no effect: an empty array, a generic function, or a variant of a
    /// generic enum without payload.
    pub(super) fn is_untyped(&self, id: ExprId) -> bool {
        match self.tree.expr(id).kind {
            ExprKind::Array(elements) => elements.is_empty(),
            ExprKind::Name(_) => matches!(self.generic_item(id), Some(Item::Function(_))),
            ExprKind::Field(owner, _) => matches!(self.generic_item(owner), Some(Item::Enum(_))),
            _ => false,
        }
    }

    /// The generic function, struct or enum that an expression names.
    fn generic_item(&self, id: ExprId) -> Option<Item> {
        let program = &self.unit.program;
        let ExprKind::Name(name) = self.tree.expr(id).kind else { return None };
        let item = self.item(name).filter(|_| self.variable(name).is_none())?;
        let type_params = match item {
            Item::Function(number) => program.function(number)?.type_params,
            Item::Struct(number) => at(&program.structs, number)?.type_params,
            Item::Enum(number) => at(&program.enums, number)?.type_params,
            _ => 0,
        };
        (type_params > 0).then_some(item)
    }

    /// Whether an expression is more than a number, and has its type from literals that would take another one.
    pub(super) fn is_of_literals(&self, id: ExprId) -> bool {
        let is_number = matches!(
            self.tree.expr(id).kind,
            ExprKind::Integer(..)
                | ExprKind::Float(..)
                | ExprKind::Unary(..)
                | ExprKind::Binary(..)
        );
        !is_number && self.has_literal_type(id, MAX_LITERAL_NESTING)
    }

    fn has_literal_type(&self, id: ExprId, depth: u32) -> bool {
        let Some(depth) = depth.checked_sub(1) else { return false };
        let has = |&id: &u32| self.has_literal_type(ExprId(id), depth);
        let tree = self.tree;
        match tree.expr(id).kind {
            ExprKind::Integer(_, suffix) | ExprKind::Float(_, suffix) => suffix.is_none(),
            ExprKind::Unary(UnaryOp::Negate | UnaryOp::Complement, value)
            | ExprKind::Repeat(value, _) => has(&value.0),
            ExprKind::Binary(op, left, right) => {
                let is_logic = matches!(op, BinaryOp::And | BinaryOp::Or) || op.is_comparison();
                !is_logic && has(&left.0) && has(&right.0)
            }
            // Other parts have types of their own.
            ExprKind::Tuple(parts) | ExprKind::Array(parts) => tree.list(parts).iter().any(has),
            ExprKind::If { branches, otherwise: Some(otherwise) } => {
                let (branches, _) = tree.list(branches).as_chunks();
                let mut bodies = branches.iter().map(|&[_, body]| BlockId(body));
                bodies.all(|body| self.ends_in_literals(body, depth))
                    && self.ends_in_literals(otherwise, depth)
            }
            ExprKind::Call { callee: name, arguments } | ExprKind::Literal { name, arguments } => {
                let owner = match tree.expr(name).kind {
                    ExprKind::Field(owner, _) => owner,
                    _ => name,
                };
                let mut arguments = tree.entries(&tree.arguments, arguments);
                self.generic_item(owner).is_some() && arguments.all(|a| has(&a.value.0))
            }
            _ => false,
        }
    }

    /// As [`has_literal_type`](Self::has_literal_type), of the value of a block.
    fn ends_in_literals(&self, body: BlockId, depth: u32) -> bool {
        let last = self.tree.list(self.tree.block(body).statements).last();
        last.is_some_and(|&last| match self.tree.stmt(StmtId(last)).kind {
            StmtKind::Expr(value) => self.has_literal_type(value, depth),
            StmtKind::Return(_) => true,
            _ => false,
        })
    }

    /// The type of a parameter whose argument is of literals: by the arguments that are not, then by the context. If that is
    /// not enough, nothing is bound, and the literals decide.
    pub(super) fn type_for_literals(
        &mut self,
        call: &Call<'_>,
        order: &[usize],
        wanted: TypeId,
        bindings: &mut [Option<TypeId>],
    ) -> Option<TypeId> {
        let tree = self.tree;
        let ahead = try_collect(bindings.iter().copied());
        let mut ahead = self.program().diagnostics.allocated(ahead)?;
        for (argument, &index) in tree.entries(&tree.arguments, call.arguments).zip(order) {
            let param = *self.unit.program.param_list(call.info.params).get(index)?;
            let id = argument.value;
            let is_bound = self.known_type(param.ty, &ahead).is_some();
            if !is_bound && !self.is_untyped(id) && !self.is_of_literals(id) {
                let (ty, is_flexible) = self.type_of(id);
                if !is_flexible {
                    self.unit.program.types.unify(param.ty, ty, &mut ahead);
                }
            }
        }
        self.bind_context(call, &mut ahead);
        let known = self.known_type(wanted, &ahead)?;
        bindings.copy_from_slice(&ahead);
        Some(known)
    }

    /// Binds what the context of the call decides on.
    fn bind_context(&mut self, call: &Call<'_>, bindings: &mut [Option<TypeId>]) {
        if let (Some(want), ResultType::Known(result)) = (call.want.ty, call.info.result)
            && bindings.contains(&None)
        {
            self.unit.program.types.unify(result, want, bindings);
        }
    }

    /// The type of a parameter when its type parameters are bound.
    pub(super) fn known_type(&mut self, ty: TypeId, bindings: &[Option<TypeId>]) -> Option<TypeId> {
        if !self.unit.program.types.has_params(ty) {
            return Some(ty);
        }
        let mut arguments = Vec::new();
        for (number, &binding) in bindings.iter().enumerate() {
            if binding.is_none() && self.mentions(ty, number) {
                return None;
            }
            // A parameter that is not bound stands for nothing here.
            self.program().diagnostics.push(&mut arguments, binding.unwrap_or(TypeId::NEVER))?;
        }
        Some(self.substituted(ty, &arguments, Span::default()))
    }

    /// Whether a type has the type parameter with this number.
    fn mentions(&self, ty: TypeId, index: usize) -> bool {
        let types = &self.unit.program.types;
        match types.head(ty) {
            Head::Param(number) => usize::try_from(number) == Ok(index),
            _ => types.parts(ty).iter().any(|&part| self.mentions(part, index)),
        }
    }

    pub(super) fn no_match(
        &mut self,
        call: &Call<'_>,
        (wanted, found): (TypeId, TypeId),
        bindings: &[Option<TypeId>],
        span: Span,
    ) {
        // A type parameter that is not bound stays, under its own name.
        let scope = self.program().type_scope(&call.info);
        let arguments = bindings.iter().zip(&scope).map(|(bound, param)| bound.unwrap_or(param.1));
        let arguments = crate::alloc_util::try_collect(arguments);
        let arguments = self.program().diagnostics.allocated(arguments).unwrap_or_default();
        let made = self.program().types.substitute(wanted, &arguments);
        let wanted = made.unwrap_or(wanted);
        let wanted = self.unit.program.type_text_in(wanted, &scope);
        let found = self.type_text(found);
        let message = format_args!("expected `{wanted}`, found `{found}`");
        let note = format_args!("the types of the other arguments decide on the type parameter");
        self.error_with_note(span, Code::TypeMismatch, message, note);
    }

    /// Binds what the context of the call and then literals decide on.
    pub(super) fn bind_literals(
        &mut self,
        call: &Call<'_>,
        values: &[Typed],
        bindings: &mut [Option<TypeId>],
    ) {
        self.bind_context(call, bindings);
        for (index, value) in values.iter().enumerate() {
            let param = self.unit.program.param_list(call.info.params).get(index).copied();
            if let (true, Some(param)) = (value.flexible, param) {
                self.unit.program.types.unify(param.ty, value.ty, bindings);
            }
        }
    }

    /// The type arguments, all of them known.
    pub(super) fn type_arguments(
        &mut self,
        call: &Call<'_>,
        bindings: &[Option<TypeId>],
    ) -> Option<Vec<TypeId>> {
        let mut types = Vec::new();
        for &binding in bindings {
            // An argument is an error already.
            if binding.is_some_and(|ty| ty.is_error()) {
                return None;
            }
            let Some(ty) = binding.filter(|ty| !ty.fits_all()) else {
                let name = self.name(call.info.decl.word.name);
                self.unresolved((name, None), bindings.len(), call.span);
                return None;
            };
            self.program().diagnostics.push(&mut types, ty);
        }
        self.check_bounds(&call.info, &types, call.span).then_some(types)
    }

    pub(super) fn count_unresolved(&mut self, span: Span) {
        if self.unit.program.diagnostics.muted == 0 {
            let (count, first) = &mut self.unit.unresolved;
            *count += 1;
            first.get_or_insert((self.source, span));
        }
    }

    /// A generic call, literal or variant whose `count` type arguments are not known.
    pub(super) fn unresolved(
        &mut self,
        (name, variant): (&str, Option<&str>),
        count: usize,
        span: Span,
    ) {
        self.count_unresolved(span);
        let subject = variant.unwrap_or(name);
        let message = format_args!("the type arguments of `{subject}` are not known");
        let types = fmt::from_fn(|f| {
            f.write_str(name)?;
            (0..count).try_for_each(|at| f.write_str(if at == 0 { "<i64" } else { ", i64" }))?;
            f.write_str(">")
        });
        let note = fmt::from_fn(|f| match variant {
            Some(variant) => {
                write!(f, "write `{types}.{variant}`, or declare the type, as in `val x: {types}`")
            }
            None => write!(f, "write them, as in `{types}(...)`"),
        });
        self.error_with_note(span, Code::Unresolved, message, format_args!("{note}"));
    }

    /// The type arguments of a generic function as a value of the function type that is wanted.
    pub(super) fn types_of_value(
        &mut self,
        info: &FunctionInfo,
        want: Want,
    ) -> Option<Vec<TypeId>> {
        let wanted = want.ty.filter(|&ty| self.head(ty) == Head::Function)?;
        let count = usize::try_from(info.type_params).ok()?;
        let filled = crate::alloc_util::try_filled(count, &None);
        let mut bindings = self.program().diagnostics.allocated(filled)?;
        let types = &self.unit.program.types;
        let (&result, params) = types.parts(wanted).split_last()?;
        let own = self.unit.program.param_list(info.params).iter().map(|param| param.ty);
        let is_same = own.len() == params.len()
            && own.zip(params).all(|(own, &ty)| types.unify(own, ty, &mut bindings));
        if let ResultType::Known(own) = info.result {
            types.unify(own, result, &mut bindings);
        }
        if !is_same || bindings.contains(&None) {
            return None;
        }
        let types = crate::alloc_util::try_collect(bindings.into_iter().flatten());
        self.program().diagnostics.allocated(types)
    }

    /// The type of an expression, without its instructions.
    pub(super) fn type_of(&mut self, id: ExprId) -> (TypeId, bool) {
        let source = self.source;
        let key = u64::from(source) << 32 | u64::from(id.0);
        let hash = hash::fnv1a_32(&key.to_le_bytes());
        let is_same = |number| {
            at(&self.probed, number).is_some_and(|known| (known.0, known.1) == (source, id))
        };
        let known = self.probed_index.find(hash, is_same);
        if let Some(known) = known.and_then(|number| at(&self.probed, number)) {
            return (known.2, known.3);
        }
        let builder = core::mem::take(&mut *self.builder);
        let (reachable, frame, dead) = (self.reachable, self.frame, self.has_dead);
        let slots = core::mem::take(&mut self.slots);
        let (messages, located) = (self.messages.len(), self.located);
        let data = core::mem::take(&mut self.data);
        self.program().diagnostics.muted += 1;
        let typed = self.expr(id, Want::NOTHING);
        self.program().diagnostics.muted -= 1;
        self.messages.truncate(messages);
        self.located = located;
        (*self.builder, self.data, self.slots) = (builder, data, slots);
        (self.reachable, self.frame, self.has_dead) = (reachable, frame, dead);
        let inserted = self.probed_index.insert(hash, count(&self.probed));
        self.program().diagnostics.allocated(inserted);
        self.push(|body| &mut body.probed, (source, id, typed.ty, typed.flexible));
        (typed.ty, typed.flexible)
    }
}
