//! From declarations to IR functions: type check and lowering in one walk.
//!
//! A function is lowered for concrete type arguments ([`Generator::lower_instance`]); a generic function is also lowered
//! once with its type parameters as those of the IR, where that is possible. A value is checked and computed in one
//! step, so that an expression is visited once. The walk is as deep as the tree, which the parser bounds.
//!
//! **Values.** Constants stay constants until a local is needed, so that a literal takes the type of its context. A
//! scalar is a local, a text or array view a pair of an address and a length, anything else memory.
//!
//! **Calls.** A parameter of memory is passed by its address, and the callee does not write to it. A result of memory
//! or of a pair is written to the address that comes first. The caller passes a copy where the callee could change the
//! original: to methods that change their receiver, where a later argument has a call, and of memory behind a pointer.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;

use super::advice::{other_language, similar, similar_function, similar_method};
use super::code::Code;
use super::diagnostic::Severity;
use super::names::{HashIndex, Name};
use super::program::layout::{Field, Repr};
use super::program::operation::{
    ConstValue, Evaluated, cast, float_literal, integer_literal, is_out_of_range, is_wider,
    settled, wrap,
};
use super::program::*;
use super::syntax::*;
use super::token::Span;
use super::trap::{TRAP_ASSERT, TRAP_BOUNDS, TRAP_EXPONENT};
use super::ty::{Head, TypeId};
use crate::alloc_util::{AllocError, try_collect, try_push, try_replace};
use crate::ir::{Data, FileName, FunctionBuilder, Label, Local, Scalar, Slot, ValueType};

mod aggregate;
mod builtin;
mod call;
mod condition;
mod control;
mod equality;
mod exhaustive;
mod expression;
pub(super) mod generator;
mod infer;
mod inner;
mod iterate;
mod literal;
mod method;
mod operator;
mod pattern;
mod place;
mod print;
mod statement;

/// The deepest nesting of the walk.
const MAX_DEPTH: u32 = 300;

/// Stands for the number of a text where there is none.
const NO_TEXT: u32 = u32::MAX;

/// Stands for the number of a function where there is none: in the value of a constant, parameter or field.
const NO_FUNCTION: u32 = u32::MAX;

/// The most bytes of stack slots of a function.
const MAX_FRAME: u32 = 1 << 20;

/// The start of memory.
#[derive(Clone, Copy, Debug)]
pub(super) enum Base {
    Slot(Slot),
    Pointer(Local),
}

/// Memory at `base + offset`, or element `index` of the scalars there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    base: Base,
    offset: u32,
    index: Option<Local>,
    /// Whether a pointer of the source refers to it, through which any function may write there.
    is_pointee: bool,
}

impl Place {
    fn at(base: Base) -> Self {
        Self { base, offset: 0, index: None, is_pointee: false }
    }

    /// What a pointer of the source refers to.
    fn pointee_of(pointer: Local) -> Self {
        Self { is_pointee: true, ..Self::at(Base::Pointer(pointer)) }
    }
}

#[derive(Clone, Copy, Debug)]
enum Value {
    None,
    /// An integer or bool.
    Number(i128),
    Float(f64),
    Local(Local),
    /// An address and a length.
    Pair(Local, Local),
    Place(Place),
}

/// A value with its type.
#[derive(Clone, Copy, Debug)]
struct Typed {
    ty: TypeId,
    value: Value,
    /// A literal that takes the type of its context.
    flexible: bool,
    /// Memory that nothing else refers to.
    temporary: bool,
}

impl Typed {
    const ERROR: Self = Self::new(TypeId::ERROR, Value::None);
    const NEVER: Self = Self::new(TypeId::NEVER, Value::None);
    const UNIT: Self = Self::new(TypeId::UNIT, Value::None);

    const fn new(ty: TypeId, value: Value) -> Self {
        Self { ty, value, flexible: false, temporary: false }
    }

    const fn local(ty: TypeId, local: Local) -> Self {
        Self::new(ty, Value::Local(local))
    }

    /// Whether it is memory behind a pointer.
    fn is_pointee(&self) -> bool {
        matches!(self.value, Value::Place(Place { is_pointee: true, .. }))
    }
}

/// What the context of an expression asks for.
#[derive(Clone, Copy, Debug, Default)]
struct Want {
    /// The type, where the context has one.
    ty: Option<TypeId>,
    /// Fresh memory for a value of that type.
    dest: Option<Place>,
    /// Whether literals alone take the type, as it is that of the other operand or of the result.
    is_hint: bool,
    /// Whether a view of an array is wanted, of elements of any type where `ty` does not state it.
    is_view: bool,
    /// The parameter that gets the value, if its function changes that.
    changed_by: Option<ChangingParam>,
}

/// A parameter that is declared with `mut`.
#[derive(Clone, Copy, Debug)]
struct ChangingParam {
    function: Name,
    param: Name,
    /// Whether it is a view of an array of the caller.
    is_view: bool,
}

impl Want {
    const NOTHING: Self =
        Self { ty: None, dest: None, is_hint: false, is_view: false, changed_by: None };

    fn of(ty: TypeId) -> Self {
        Self { ty: Some(ty), ..Self::NOTHING }
    }

    /// What is asked for of the other operand of an operation: values keep their types.
    fn beside(ty: TypeId) -> Self {
        Self { is_hint: true, ..Self::of(ty) }
    }

    /// What is asked for of an operand.
    fn operand(self) -> Self {
        Self { is_hint: true, ty: self.ty, ..Self::NOTHING }
    }
}

/// A name in scope.
#[derive(Clone, Copy, Debug)]
struct Variable {
    name: Name,
    value: Typed,
    mutable: bool,
    /// Whether a loop or an arm of a match names it, so that it cannot be declared otherwise.
    is_part: bool,
    /// What its name referred to before.
    shadowed: (u32, u32),
}

/// A loop that is open.
#[derive(Clone, Copy, Debug)]
struct Loop {
    label: Option<Name>,
    exit: Target,
    next: Target,
}

/// A label, and whether a jump goes there.
#[derive(Clone, Copy, Debug)]
struct Target {
    label: Label,
    number: usize,
}

/// A function that is lowered.
struct Body<'g, 'p, 's> {
    unit: &'g mut generator::Generator<'p, 's>,
    tree: &'p Tree,
    source: u32,
    builder: Box<FunctionBuilder>,
    /// The name of the source, in the builder; `None` in a value of another file, which has the place that needs it.
    file: Option<FileName>,
    /// The line of the declaration.
    line: u32,
    /// The type parameters, and `Self`.
    types: Vec<(Name, TypeId)>,
    variables: Vec<Variable>,
    /// The open blocks with functions, by their scopes, each with the number of the next variable at its start.
    scopes: Vec<(u32, u32)>,
    /// The number of open blocks.
    blocks: u32,
    loops: Vec<Loop>,
    /// Whether a jump goes to a target, by its number.
    used: Vec<bool>,
    /// Jumps to targets below this number never happen: they are in a branch that is ruled out.
    first_reached: usize,
    /// Operations whose left operands are walked over, the innermost last.
    spine: Vec<ExprId>,
    /// The type of the result, once it is known.
    result: Option<TypeId>,
    /// Where a result of memory is written.
    result_place: Option<Place>,
    /// Whether the next instruction can be reached.
    reachable: bool,
    /// Whether instructions were emitted that cannot be reached.
    has_dead: bool,
    depth: u32,
    frame: u32,
    slots: place::Slots,
    /// Whether type parameters are those of the IR.
    is_template: bool,
    /// Whether only the types of the function are asked for.
    is_probe: bool,
    /// Set where an operation needs to know a type argument.
    is_opaque: bool,
    /// The depth of instantiation.
    instance_depth: u32,
    messages: Vec<generator::AssertionMessage>,
    /// The offset of the place of the next instructions.
    located: u32,
    /// Constants that are read-only data of the function, by their numbers.
    data: Vec<(u32, Data)>,
    /// Types of expressions that were asked for in advance: file, expression, type, whether it is a literal's.
    probed: Vec<(u32, ExprId, TypeId, bool)>,
    probed_index: HashIndex,
    /// The number of the walk, by which names find its variables.
    walk: u32,
    /// The number of the function.
    number: u32,
    /// Whether it is the script of a file.
    is_script: bool,
    /// Names that are not known, which are reported.
    unknown: Vec<Name>,
    /// Defaults that are being computed, with their files.
    defaults: Vec<(u32, ExprId)>,
    /// Of an operand of `and` or `or`: whether it was reported that one is no bool.
    has_no_bool: Option<bool>,
}

impl<'p, 's> Body<'_, 'p, 's> {
    fn program(&mut self) -> &mut Program<'p, 's> {
        &mut self.unit.program
    }

    fn error(&mut self, span: Span, code: Code, message: fmt::Arguments<'_>) -> Typed {
        if let Some(types) = self.type_arguments_text() {
            return self.error_with_note(span, code, message, format_args!("here {types}"));
        }
        let source = self.source;
        self.program().error(source, span, code, message);
        Typed::ERROR
    }

    /// The type arguments of the function, for messages; `None` if it has none.
    fn type_arguments_text(&self) -> Option<alloc::string::String> {
        if !self.is_instance() {
            return None;
        }
        let arguments = || self.types.iter().filter(|(name, _)| *name != Name::SELF_TYPE);
        let shown = fmt::from_fn(|f| {
            for (index, &(name, ty)) in arguments().enumerate() {
                let comma = if index == 0 { "" } else { ", " };
                write!(f, "{comma}`{}` is `{}`", self.name(name), self.type_text(ty))?;
            }
            Ok(())
        });
        super::diagnostic::formatted(format_args!("{shown}")).ok()
    }

    fn error_with_note(
        &mut self,
        span: Span,
        code: Code,
        message: fmt::Arguments<'_>,
        note: fmt::Arguments<'_>,
    ) -> Typed {
        let source = self.source;
        let kind = (Severity::Error, code);
        if !self.is_repeated(span, code) {
            self.program().report(source, span, kind, message, Some(note));
        }
        Typed::ERROR
    }

    /// Whether another instance of the function has reported the error.
    fn is_repeated(&mut self, span: Span, code: Code) -> bool {
        if !self.is_instance() || self.unit.program.diagnostics.muted > 0 {
            return false;
        }
        let place = (self.source, span.start, code);
        let is_known = self.unit.instance_errors.contains(&place);
        if !is_known {
            self.push(|body| &mut body.unit.instance_errors, place);
        }
        is_known
    }

    /// Whether the function is generic, and lowered for concrete types.
    fn is_instance(&self) -> bool {
        !self.is_template && self.types.iter().any(|entry| entry.0 != Name::SELF_TYPE)
    }

    /// An error of a name that is not known, with the name that may be meant.
    fn error_similar(
        &mut self,
        span: Span,
        code: Code,
        message: fmt::Arguments<'_>,
        similar: Option<&str>,
    ) -> Typed {
        match similar {
            Some(similar) => {
                let note = format_args!("a similar name is `{similar}`");
                self.error_with_note(span, code, message, note)
            }
            None => self.error(span, code, message),
        }
    }

    fn warn(&mut self, span: Span, code: Code, message: fmt::Arguments<'_>) {
        let source = self.source;
        self.program().report(source, span, (Severity::Warning, code), message, None);
    }

    /// Refuses a construct by its name.
    fn refuse(&mut self, span: Span, construct: &str, reason: &str) -> Typed {
        let message = format_args!("{construct} is not supported: {reason}");
        self.error(span, Code::Refused, message)
    }

    /// An operation that a template cannot have: the instances are made from the source.
    fn opaque(&mut self) -> Typed {
        self.is_opaque = true;
        Typed::ERROR
    }

    fn push<T>(&mut self, list: impl FnOnce(&mut Self) -> &mut Vec<T>, value: T) {
        let result = try_push(list(self), value);
        self.program().diagnostics.allocated(result);
    }

    fn name(&self, name: Name) -> &'s str {
        self.unit.program.name(name)
    }

    fn span(&self, id: ExprId) -> Span {
        self.tree.expr(id).span
    }

    fn type_text(&self, ty: TypeId) -> alloc::string::String {
        self.unit.program.type_text_in(ty, &self.types)
    }

    fn head(&self, ty: TypeId) -> Head {
        self.unit.program.types.head(ty)
    }

    /// The parts of a type, copied.
    fn parts_of(&mut self, ty: TypeId) -> Vec<TypeId> {
        let parts = try_collect(self.unit.program.types.parts(ty).iter().copied());
        self.program().diagnostics.allocated(parts).unwrap_or_default()
    }

    fn scalar(&self, ty: TypeId) -> Option<Scalar> {
        self.unit.program.scalar(ty)
    }

    fn repr(&self, ty: TypeId) -> Repr {
        self.unit.program.repr(ty)
    }

    fn resolve(&mut self, node: TypeNodeId) -> TypeId {
        let source = self.source;
        let types = core::mem::take(&mut self.types);
        let ty = self.unit.program.resolve(source, node, &types);
        self.types = types;
        ty
    }

    /// States where the next instructions come from; the line.
    fn locate(&mut self, span: Span) -> u32 {
        let Some(source) = self.unit.program.source(self.source) else { return 0 };
        let (line, start) = source.file.line(span.start);
        let column = u16::try_from(span.start.saturating_sub(start) + 1).unwrap_or(0);
        if self.file.is_some() {
            self.builder.location(line, column, self.file);
            self.located = span.start;
        }
        self.has_dead |= !self.reachable;
        line
    }

    // Labels.

    fn target(&mut self) -> Target {
        let number = self.used.len();
        self.push(|body| &mut body.used, false);
        Target { label: self.builder.label(), number }
    }

    /// The label of a target, for a jump to it.
    fn jump_label(&mut self, target: Target) -> Label {
        if self.reachable
            && target.number >= self.first_reached
            && let Some(used) = self.used.get_mut(target.number)
        {
            *used = true;
        }
        target.label
    }

    fn jump(&mut self, target: Target) {
        if self.reachable {
            let label = self.jump_label(target);
            self.builder.jump(label);
            self.reachable = false;
        }
    }

    fn bind(&mut self, target: Target) {
        self.builder.bind(target.label);
        self.reachable |= self.used.get(target.number).copied().unwrap_or(false);
    }

    /// The next instruction cannot be reached.
    fn leave(&mut self) {
        self.reachable = false;
    }

    // Values.

    /// A fresh local for a scalar of this type.
    fn new_local(&mut self, ty: TypeId) -> Local {
        match self.repr(ty) {
            Repr::Scalar(ty) => self.builder.local(ty),
            _ => self.builder.local(Scalar::I64),
        }
    }

    fn value_type(&self, ty: TypeId) -> ValueType {
        match self.repr(ty) {
            Repr::Scalar(ty) => ty,
            _ => ValueType::Scalar(Scalar::I64),
        }
    }

    /// The value in a local, a constant in a fresh one.
    fn local_of(&mut self, typed: Typed) -> Local {
        let ty = self.value_type(typed.ty);
        match typed.value {
            Value::Local(local) => local,
            Value::Number(number) => {
                let to = self.builder.local(ty);
                self.set_number(ty, to, number);
                to
            }
            Value::Float(value) => {
                let to = self.builder.local(ty);
                self.set_float(ty, to, value);
                to
            }
            Value::Place(place) => {
                let loaded = self.load(place, typed.ty);
                match loaded.value {
                    Value::Local(local) => local,
                    _ => self.builder.local(ty),
                }
            }
            Value::Pair(local, _) => local,
            Value::None => self.builder.local(ty),
        }
    }

    fn set_number(&mut self, ty: ValueType, to: Local, number: i128) {
        if let Ok(small) = i32::try_from(number) {
            return self.builder.constant(ty, to, small);
        }
        match ty {
            ValueType::Scalar(scalar) => {
                let width = scalar.bits();
                let bits = wrap(number, Scalar::I64).cast_unsigned() & u128::from(u64::MAX);
                let mask = u64::MAX >> (64 - width.clamp(1, 64));
                self.builder.wide_constant(scalar, to, u64::try_from(bits).unwrap_or(0) & mask);
            }
            ValueType::Parameter(_) => {
                self.opaque();
            }
        }
    }

    fn set_float(&mut self, ty: ValueType, to: Local, value: f64) {
        match ty {
            ValueType::Scalar(Scalar::F32) => {
                self.builder.wide_constant(Scalar::F32, to, narrow(value).to_bits().into());
            }
            ValueType::Scalar(_) => {
                self.builder.wide_constant(Scalar::F64, to, value.to_bits());
            }
            ValueType::Parameter(_) => {
                self.opaque();
            }
        }
    }

    /// A value as an operand: small integers stay numbers.
    fn operand(&mut self, typed: Typed) -> crate::ir::Value {
        if let Value::Number(number) = typed.value
            && let Ok(small) = i32::try_from(number)
            && self.scalar(typed.ty).is_none_or(|scalar| !scalar.is_float())
        {
            return crate::ir::Value::Number(small);
        }
        self.local_of(typed).into()
    }

    /// A value that is known at compile time.
    fn known(&self, typed: Typed) -> Option<Evaluated> {
        let value = match typed.value {
            Value::Number(number) if typed.ty == TypeId::BOOL => ConstValue::Bool(number != 0),
            Value::Number(number) => ConstValue::Integer(number),
            Value::Float(number) => ConstValue::Float(number),
            _ => return None,
        };
        Some(Evaluated { value, ty: typed.ty, is_flexible: typed.flexible })
    }

    /// A literal with the type that it has without a context.
    fn settle(&mut self, typed: Typed) -> Typed {
        match self.known(typed).filter(|_| typed.flexible) {
            Some(literal) => self.evaluated(settled(literal)),
            None => typed,
        }
    }

    /// The value as one of `wanted`, where that is implied.
    fn coerce(&mut self, typed: Typed, wanted: TypeId, span: Span) -> Typed {
        if typed.ty == wanted && !typed.flexible || wanted.is_error() || typed.ty.fits_all() {
            return typed;
        }
        if typed.flexible {
            return self.coerce_literal(typed, wanted, span);
        }
        if let Some(widened) = self.widen(typed, wanted) {
            return widened;
        }
        match (self.head(wanted), self.head(typed.ty)) {
            (Head::View, Head::Array(length)) => {
                let element = self.unit.program.types.part(typed.ty, 0);
                if self.unit.program.types.part(wanted, 0) == element
                    && let Value::Place(place) = typed.value
                {
                    let pointer = self.address(place);
                    let len = self.builder.local(Scalar::I64);
                    self.set_number(Scalar::I64.into(), len, length.into());
                    return Typed::new(wanted, Value::Pair(pointer, len));
                }
            }
            (Head::Pointer(false), Head::Pointer(true)) => {
                let target = self.unit.program.types.part(typed.ty, 0);
                if self.unit.program.types.part(wanted, 0) == target {
                    return Typed { ty: wanted, ..typed };
                }
            }
            _ => {}
        }
        self.mismatch(wanted, typed.ty, span)
    }

    fn mismatch(&mut self, wanted: TypeId, found: TypeId, span: Span) -> Typed {
        if self.is_template
            && (self.unit.program.types.has_params(wanted)
                || self.unit.program.types.has_params(found))
        {
            return self.opaque();
        }
        let (wanted_text, found_text) = (self.type_text(wanted), self.type_text(found));
        let message = format_args!("expected `{wanted_text}`, found `{found_text}`");
        if wanted_text == found_text {
            let note = format_args!("two modules declare types of this name");
            return self.error_with_note(span, Code::TypeMismatch, message, note);
        }
        if found == TypeId::UNIT {
            let note = format_args!(
                "the last line of a body is its value, and this one has none: add a value or a `return`"
            );
            return self.error_with_note(span, Code::TypeMismatch, message, note);
        }
        let both = self.scalar(wanted).zip(self.scalar(found));
        if both.is_some_and(|(one, two)| one != Scalar::Bool && two != Scalar::Bool) {
            let note = format_args!("write `as {wanted_text}`");
            return self.error_with_note(span, Code::TypeMismatch, message, note);
        }
        self.error(span, Code::TypeMismatch, message)
    }

    /// An integer or float in a wider type of its kind.
    fn widen(&mut self, typed: Typed, wanted: TypeId) -> Option<Typed> {
        let (from, to) = (self.scalar(typed.ty)?, self.scalar(wanted)?);
        is_wider(to, from).then(|| self.convert(typed, wanted))
    }

    /// The value converted as `as` does.
    fn convert(&mut self, typed: Typed, wanted: TypeId) -> Typed {
        if typed.ty == wanted {
            return self.settle(typed);
        }
        let (Repr::Scalar(from), Repr::Scalar(to)) = (self.repr(typed.ty), self.repr(wanted))
        else {
            return Typed::ERROR;
        };
        if let (Some(known), Some(scalar)) = (self.known(typed), self.scalar(wanted))
            && let Some(converted) = cast(known, wanted, scalar)
        {
            return self.evaluated(converted);
        }
        if from == to {
            return Typed { ty: wanted, flexible: false, ..typed };
        }
        let source = self.local_of(typed);
        let result = self.builder.local(to);
        self.builder.convert(to, result, from, source);
        Typed::local(wanted, result)
    }

    fn coerce_literal(&mut self, typed: Typed, wanted: TypeId, span: Span) -> Typed {
        if let Head::Param(_) = self.head(wanted) {
            if let Value::Number(number) = typed.value
                && i32::try_from(number).is_ok()
            {
                return Typed::new(wanted, typed.value);
            }
            return self.opaque();
        }
        let Some(literal) = self.known(typed) else {
            return self.mismatch(wanted, typed.ty, span);
        };
        if let Some(converted) = self.unit.program.convert_literal(literal, wanted) {
            return self.evaluated(converted);
        }
        if is_out_of_range(literal, self.scalar(wanted)) {
            let text = self.type_text(wanted);
            let message = format_args!("the number does not fit `{text}`");
            return self.error(span, Code::OutOfRange, message);
        }
        self.mismatch(wanted, typed.ty, span)
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the nearest value is the result")]
fn narrow(value: f64) -> f32 {
    value as f32
}
