//! Functions and methods of the language itself, and bounds of type parameters.

use super::operator::Spans;
use super::*;
use crate::ir::{Binary, Condition, Unary};

/// Methods that are refused, and why.
const REFUSED: &[(&str, &str)] = &[
    ("push", "an array does not grow"),
    ("pop", "an array does not shrink"),
    ("append", "an array does not grow"),
    ("insert", "an array does not grow"),
    ("remove", "an array does not shrink"),
    ("map", "it makes an array that grows"),
    ("filter", "it makes an array that grows"),
    ("to_text", "it allocates a text"),
    ("to_string", "it allocates a text"),
    ("ord", "texts are literals for printing"),
    ("split", "texts are literals for printing"),
    ("concat", "texts are literals for printing"),
];

impl Body<'_, '_, '_> {
    /// A function of the language; `None` when there is none with this name.
    pub(super) fn builtin(
        &mut self,
        name: Name,
        arguments: List,
        want: Want,
        span: Span,
    ) -> Option<Typed> {
        let tree = self.tree;
        match name {
            Name::PRINT | Name::EPRINT | Name::PRINT_RAW => {
                self.print(name, arguments);
                return Some(Typed::UNIT);
            }
            Name::RANGE => {
                return Some(self.refuse(
                    span,
                    "a range as a value",
                    "ranges belong to `for` and patterns",
                ));
            }
            _ => {}
        }
        let ty = TypeId::primitive(name).filter(|&ty| self.scalar(ty).is_some());
        let count = match name {
            Name::MIN | Name::MAX => 2,
            Name::LEN | Name::ABS | Name::SQRT | Name::FLOOR => 1,
            _ => ty.map(|_| 1)?,
        };
        if !self.has_arguments(name, count, arguments, span) {
            return Some(Typed::ERROR);
        }
        let mut list = tree.entries(&tree.arguments, arguments).map(|argument| argument.value);
        let (first, second) = (list.next()?, list.next());
        Some(match (ty, second) {
            (Some(ty), _) => self.builtin_cast(first, ty, span),
            (None, None) => self.of_value(name, first, want, span),
            (None, Some(right)) => {
                let left = first;
                let one = self.expr(left, want.operand());
                let one = self.stable(one, left, right);
                let two = self.expr(right, Self::beside(BinaryOp::Less, one, want));
                let (one_span, two_span) = (self.span(left), self.span(right));
                let spans = Spans { whole: span, left: one_span, right: two_span };
                self.extreme(name, one, two, spans)
            }
        })
    }

    /// Whether a call of a function or method of the language has this number of arguments, without names; an error
    /// otherwise.
    fn has_arguments(&mut self, name: Name, wanted: u32, arguments: List, span: Span) -> bool {
        let text = self.name(name);
        if self.has_names(format_args!("`{text}`"), arguments) {
            return false;
        }
        if arguments.len != wanted {
            self.wrong_argument_count(name, wanted, arguments.len, (span, None));
            self.skip_arguments(arguments);
        }
        arguments.len == wanted
    }

    /// Whether arguments have names, which is an error where the parameters of what is called have none.
    pub(super) fn has_names(&mut self, callee: fmt::Arguments<'_>, arguments: List) -> bool {
        let tree = self.tree;
        let mut list = tree.entries(&tree.arguments, arguments);
        let Some(word) = list.find_map(|argument| argument.name) else { return false };
        let param = self.name(word.name);
        let message = format_args!("{callee} has no parameter `{param}`");
        self.error(word.span, Code::BadCall, message);
        self.skip_arguments(arguments);
        true
    }

    /// `len(x)`, `abs(x)`, `sqrt(x)` and `floor(x)`.
    fn of_value(&mut self, name: Name, value: ExprId, want: Want, span: Span) -> Typed {
        let want = if name == Name::LEN { Want::NOTHING } else { want.operand() };
        let value = self.expr(value, want);
        let value = self.settle(value);
        if self.is_template && self.unit.program.types.has_params(value.ty) {
            return self.opaque();
        }
        let result = match name {
            Name::LEN => self.length(value, name),
            _ => self.number_method(value, name),
        };
        result.unwrap_or_else(|| {
            let (text, name) = (self.type_text(value.ty), self.name(name));
            let message = format_args!("`{name}` has no meaning for `{text}`");
            self.error(span, Code::NoOperation, message)
        })
    }

    /// `int(x)`.
    fn builtin_cast(&mut self, value: ExprId, ty: TypeId, span: Span) -> Typed {
        let value = self.expr(value, Want::NOTHING);
        if value.ty.fits_all() {
            return value;
        }
        if value.ty == TypeId::TEXT {
            return self.refuse(span, "the number of a text", "texts are for printing");
        }
        if !matches!(self.repr(value.ty), Repr::Scalar(_)) {
            let (from, to) = (self.type_text(value.ty), self.type_text(ty));
            let message = format_args!("`{from}` cannot be converted to `{to}`");
            return self.error(span, Code::NoOperation, message);
        }
        self.convert(value, ty)
    }

    /// The length of an array or text, by the name of the method or field.
    pub(super) fn length(&mut self, value: Typed, name: Name) -> Option<Typed> {
        if name != Name::LEN && name != Name::LENGTH {
            return None;
        }
        match (self.head(value.ty), value.value) {
            (Head::Array(length), _) => Some(Typed::new(TypeId::I64, Value::Number(length.into()))),
            (Head::View | Head::Text, Value::Pair(_, length)) => {
                Some(Typed::local(TypeId::I64, length))
            }
            (Head::Error | Head::Never, _) => Some(value),
            _ => None,
        }
    }

    /// A method of numbers, arrays and texts.
    pub(super) fn builtin_method(
        &mut self,
        value: Typed,
        name: Name,
        arguments: List,
        span: Span,
    ) -> Option<Typed> {
        let tree = self.tree;
        let value = self.settle(value);
        let text = self.name(name);
        let is_declared = matches!(self.head(value.ty), Head::Struct(_) | Head::Enum(_));
        if let Name::FDIV | Name::MIN | Name::MAX = name
            && !is_declared
        {
            if !self.has_arguments(name, 1, arguments, span) {
                return Some(Typed::ERROR);
            }
            let right = tree.entries(&tree.arguments, arguments).next()?.value;
            let two = self.expr(right, Self::beside(BinaryOp::Less, value, Want::NOTHING));
            let spans = Spans { right: self.span(right), ..span.into() };
            return Some(match name {
                Name::FDIV => self.floor_division(value, two, spans),
                _ => self.extreme(name, value, two, spans),
            });
        }
        let result = self.length(value, name).or_else(|| self.number_method(value, name));
        if let Some(result) = result {
            let is_right = self.has_arguments(name, 0, arguments, span);
            return Some(if is_right { result } else { Typed::ERROR });
        }
        let refused = REFUSED.iter().find(|refused| refused.0 == text && !is_declared);
        if let Some((_, reason)) = refused {
            self.skip_arguments(arguments);
            let message = format_args!("`.{text}()` is not supported: {reason}");
            return Some(self.error(span, Code::Refused, message));
        }
        if value.ty == TypeId::TEXT {
            return Some(self.refuse(span, "an operation on texts", "it allocates"));
        }
        None
    }

    /// A method of numbers without arguments.
    fn number_method(&mut self, value: Typed, name: Name) -> Option<Typed> {
        if value.ty.fits_all() {
            return Some(value);
        }
        let scalar = self.scalar(value.ty)?;
        let wanted = match name {
            Name::TO_I64 => Some(TypeId::I64),
            Name::TO_I32 => Some(TypeId::I32),
            Name::TO_U64 => Some(TypeId::U64),
            Name::TO_F64 => Some(TypeId::F64),
            Name::TO_F32 => Some(TypeId::F32),
            _ => None,
        };
        if let Some(wanted) = wanted {
            return Some(self.convert(value, wanted));
        }
        let result = match name {
            Name::ABS if scalar == Scalar::Bool => return None,
            Name::ABS if scalar.is_float() => self.float_unary(Unary::Absolute, value),
            Name::ABS => self.absolute(value, scalar),
            Name::SQRT if scalar.is_float() => self.float_unary(Unary::SquareRoot, value),
            Name::SQRT if scalar != Scalar::Bool => {
                let value = self.convert(value, TypeId::F64);
                self.float_unary(Unary::SquareRoot, value)
            }
            Name::FLOOR if scalar.is_float() => {
                let symbol = if scalar == Scalar::F32 { "floorf" } else { "floor" };
                let argument = self.local_of(value);
                let result = self.new_local(value.ty);
                self.builder.call_host(symbol, Some(result), &[argument]);
                Typed::local(value.ty, result)
            }
            _ => return None,
        };
        Some(result)
    }

    fn float_unary(&mut self, unary: Unary, value: Typed) -> Typed {
        let from = self.local_of(value);
        let result = self.new_local(value.ty);
        let ty = self.value_type(value.ty);
        self.builder.unary(unary, ty, result, from);
        Typed::local(value.ty, result)
    }

    fn absolute(&mut self, value: Typed, scalar: Scalar) -> Typed {
        if !scalar.is_signed() {
            return value;
        }
        let from = self.local_of(value);
        let negative = self.new_local(value.ty);
        let result = self.new_local(value.ty);
        let is_negative = self.builder.local(Scalar::Bool);
        self.builder.unary(Unary::Negate, scalar, negative, from);
        self.builder.compare(Condition::Less, scalar, is_negative, from, 0);
        self.builder.select(scalar, result, is_negative, negative, from);
        Typed::local(value.ty, result)
    }

    /// The smaller or greater of two numbers.
    fn extreme(&mut self, name: Name, left: Typed, right: Typed, spans: Spans) -> Typed {
        if left.ty.fits_all() || right.ty.fits_all() {
            return Typed::ERROR;
        }
        if let (Value::Number(one), Value::Number(two)) = (left.value, right.value)
            && left.flexible
            && right.flexible
        {
            let number = if name == Name::MIN { one.min(two) } else { one.max(two) };
            return Typed { value: Value::Number(number), ..left };
        }
        let Some((left, right)) = self.same_type(left, right, BinaryOp::Less, spans) else {
            return Typed::ERROR;
        };
        let is_number = self.scalar(left.ty).is_some_and(|scalar| scalar != Scalar::Bool);
        if !is_number && !matches!(self.head(left.ty), Head::Param(_)) {
            return self.no_operation(BinaryOp::Less, left.ty, right.ty, spans.whole);
        }
        let ty = self.value_type(left.ty);
        let condition = if name == Name::MIN { Condition::Less } else { Condition::Greater };
        let (one, two) = (self.local_of(left), self.local_of(right));
        let holds = self.builder.local(Scalar::Bool);
        self.builder.compare(condition, ty, holds, one, two);
        let result = self.builder.local(ty);
        self.builder.select(ty, result, holds, one, two);
        Typed::local(left.ty, result)
    }

    /// `a.fdiv(b)`: the quotient rounded down.
    fn floor_division(&mut self, left: Typed, right: Typed, spans: Spans) -> Typed {
        let span = spans.whole;
        if right.ty.fits_all() {
            return right;
        }
        let Some((left, right)) = self.same_type(left, right, BinaryOp::Divide, spans) else {
            return Typed::ERROR;
        };
        let Some(scalar) = self.scalar(left.ty).filter(|&scalar| scalar != Scalar::Bool) else {
            return self.no_operation(BinaryOp::Divide, left.ty, right.ty, span);
        };
        let (one, two) = (self.local_of(left), self.local_of(right));
        let quotient = self.new_local(left.ty);
        self.locate(span);
        self.builder.binary(Binary::Divide, scalar, quotient, one, two);
        if scalar.is_float() {
            let value = Typed::local(left.ty, quotient);
            return self.number_method(value, Name::FLOOR).unwrap_or(Typed::ERROR);
        }
        if scalar.is_signed() {
            let (rest, signs) = (self.new_local(left.ty), self.new_local(left.ty));
            let end = self.builder.label();
            self.builder.binary(Binary::Remainder, scalar, rest, one, two);
            self.builder.branch(Condition::Equal, scalar, rest, 0, end);
            self.builder.binary(Binary::Xor, scalar, signs, rest, two);
            self.builder.branch(Condition::GreaterEqual, scalar, signs, 0, end);
            self.builder.binary(Binary::Subtract, scalar, quotient, quotient, 1);
            self.builder.bind(end);
        }
        Typed::local(left.ty, quotient)
    }

    /// Whether the type arguments have what the bounds ask for.
    pub(super) fn check_bounds(
        &mut self,
        info: &FunctionInfo,
        types: &[TypeId],
        span: Span,
    ) -> bool {
        let Some(source) = self.unit.program.source(info.source) else { return true };
        let tree = &source.tree;
        let owner = info.owner.and_then(|owner| entry(&tree.impls, owner));
        let outer = owner.map_or(List::default(), |owner| owner.type_params);
        let lists = [outer, info.decl.type_params];
        let params = lists.into_iter().flat_map(|list| tree.entries(&tree.type_params, list));
        for (param, &ty) in params.zip(types) {
            for &name in tree.list(param.bounds) {
                let bound = self.name(Name(name));
                match self.has_bound(ty, bound) {
                    Some(true) => {}
                    Some(false) => {
                        let text = self.type_text(ty);
                        let function = self.name(info.decl.word.name);
                        let message = format_args!(
                            "`{text}` does not have the operations of `{bound}`, which \
                             `{function}` asks for"
                        );
                        self.error(span, Code::Bound, message);
                        return false;
                    }
                    None if self.unit.program.is_missing(info.source, Name(name)) => return false,
                    None => {
                        let message = format_args!("bound `{bound}` not found");
                        let source = info.source;
                        let word = param.word.span;
                        self.program().error(source, word, Code::UnknownType, message);
                        return false;
                    }
                }
            }
        }
        true
    }

    /// Whether a type has the operations of a bound; `None` for an unknown bound.
    fn has_bound(&mut self, ty: TypeId, bound: &str) -> Option<bool> {
        if matches!(self.head(ty), Head::Param(_)) {
            return Some(true);
        }
        let scalar = self.scalar(ty);
        let is_number = scalar.is_some_and(|scalar| scalar != Scalar::Bool);
        let is_float = scalar.is_some_and(Scalar::is_float);
        Some(match bound {
            "Ord" | "PartialOrd" | "Comparable" | "Compare" => is_number,
            "Eq" | "PartialEq" | "Equatable" | "Hash" => self.has_equality(ty).is_ok(),
            "Add" | "Sub" | "Mul" | "Div" | "Neg" | "Num" | "Number" | "Numeric" => is_number,
            "Rem" | "Int" | "Integer" | "Integral" | "BitAnd" | "BitOr" | "BitXor" | "Shl"
            | "Shr" => is_number && !is_float,
            "Float" | "Floating" | "Real" => is_float,
            "Signed" => scalar.is_some_and(|scalar| scalar.is_signed() || scalar.is_float()),
            "Unsigned" => is_number && !is_float && !scalar.is_some_and(Scalar::is_signed),
            "Print" | "Display" | "Show" => scalar.is_some() || ty == TypeId::TEXT,
            "Copy" | "Clone" | "Sized" | "Default" => true,
            _ => return None,
        })
    }
}
