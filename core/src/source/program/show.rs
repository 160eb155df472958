//! Types as text: in messages, and as terms of [`types`](crate::types) for mangled names and notes.

use alloc::boxed::Box;
use alloc::string::String;
use core::fmt::Write;

use super::*;
use crate::alloc_util::{AllocError, try_box, try_copy_str, try_with_capacity};
use crate::ir::Scalar;
use crate::source::diagnostic::{UNKNOWN_TYPE, formatted};
use crate::types::Type;

/// A type as it is written.
pub(super) struct Shown<'a, 'p, 's> {
    pub(super) program: &'a Program<'p, 's>,
    pub(super) ty: TypeId,
    /// The names of type parameters.
    pub(super) scope: TypeScope<'a>,
}

impl fmt::Display for Shown<'_, '_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.program.write_type(f, self.ty, self.scope)
    }
}

impl Program<'_, '_> {
    /// The type as it is written.
    pub(in crate::source) fn type_text(&self, ty: TypeId) -> String {
        self.type_text_in(ty, &[])
    }

    /// The type as it is written where its type parameters have the names in `scope`.
    pub(in crate::source) fn type_text_in(&self, ty: TypeId, scope: TypeScope<'_>) -> String {
        let shown = Shown { program: self, ty, scope };
        formatted(format_args!("{shown}")).unwrap_or_default()
    }

    fn write_type(
        &self,
        f: &mut fmt::Formatter<'_>,
        ty: TypeId,
        scope: TypeScope<'_>,
    ) -> fmt::Result {
        let parts = self.types.parts(ty);
        match self.types.head(ty) {
            Head::Error => f.write_char(UNKNOWN_TYPE),
            Head::Never => f.write_str("never"),
            Head::Unit => f.write_str("()"),
            Head::Scalar(scalar) => f.write_str(scalar.name()),
            Head::Text => f.write_str("text"),
            Head::Struct(_) | Head::Enum(_) => {
                f.write_str(self.nominal_name(ty))?;
                if parts.is_empty() {
                    return Ok(());
                }
                f.write_str("<")?;
                self.write_list(f, parts, scope)?;
                f.write_str(">")
            }
            Head::Array(length) => {
                f.write_str("[")?;
                self.write_list(f, parts, scope)?;
                write!(f, "; {length}]")
            }
            Head::View => {
                f.write_str("[")?;
                self.write_list(f, parts, scope)?;
                f.write_str("]")
            }
            Head::Tuple => {
                f.write_str("(")?;
                self.write_list(f, parts, scope)?;
                f.write_str(")")
            }
            Head::Function => {
                let Some((&result, params)) = parts.split_last() else { return Ok(()) };
                f.write_str("fn(")?;
                self.write_list(f, params, scope)?;
                f.write_str(") -> ")?;
                self.write_type(f, result, scope)
            }
            Head::Pointer(mutable) => {
                f.write_str(if mutable { "*mut " } else { "*const " })?;
                self.write_list(f, parts, scope)
            }
            Head::Param(number) => {
                let is_named =
                    |entry: &&(Name, TypeId)| entry.1 == ty && entry.0 != Name::SELF_TYPE;
                match scope.iter().find(is_named) {
                    Some(&(name, _)) => f.write_str(self.name(name)),
                    None => write!(f, "T{number}"),
                }
            }
        }
    }

    fn write_list(
        &self,
        f: &mut fmt::Formatter<'_>,
        parts: &[TypeId],
        scope: TypeScope<'_>,
    ) -> fmt::Result {
        for (index, &part) in parts.iter().enumerate() {
            f.write_str(if index == 0 { "" } else { ", " })?;
            self.write_type(f, part, scope)?;
        }
        Ok(())
    }

    pub(in crate::source) fn nominal_name(&self, ty: TypeId) -> &str {
        let info = match self.types.head(ty) {
            Head::Struct(number) => at(&self.structs, number),
            Head::Enum(number) => at(&self.enums, number),
            _ => None,
        };
        info.map_or("?", |info| self.name(info.name))
    }

    /// The type of a value as a term.
    pub(in crate::source) fn term(&self, ty: TypeId) -> Result<Type, AllocError> {
        match self.types.head(ty) {
            Head::Pointer(_) => Ok(Type::Pointer),
            _ => self.term_with_targets(ty),
        }
    }

    /// The type as a term that no other type has. An array with a length is the named type `array_N`, a pointer is
    /// `ptr_const` or `ptr_mut` of its target.
    fn term_with_targets(&self, ty: TypeId) -> Result<Type, AllocError> {
        let named = |name: &str| {
            let args = self.terms(self.types.parts(ty))?;
            Ok(Type::Named { name: boxed(name)?, args })
        };
        Ok(match self.types.head(ty) {
            Head::Scalar(Scalar::Bool) => Type::Bool,
            Head::Scalar(Scalar::Pointer) => Type::Pointer,
            Head::Scalar(scalar) if scalar.is_float() => Type::Float { bits: 8 * scalar.size() },
            Head::Scalar(scalar) => Type::int(8 * scalar.size(), scalar.is_signed()),
            Head::Text => Type::Text,
            Head::Struct(_) | Head::Enum(_) => return named(self.nominal_name(ty)),
            Head::Array(length) => return named(&formatted(format_args!("array_{length}"))?),
            Head::Pointer(mutable) => return named(Type::pointer_name(mutable)),
            Head::View => Type::Array(try_box(self.term_with_targets(self.types.part(ty, 0))?)?),
            Head::Tuple => Type::Tuple(self.terms(self.types.parts(ty))?),
            Head::Function => {
                let (result, params) = match self.types.parts(ty) {
                    [params @ .., result] => (*result, params),
                    [] => (TypeId::UNIT, &[][..]),
                };
                let result = try_box(self.term_with_targets(result)?)?;
                Type::Function { args: self.terms(params)?, result }
            }
            Head::Param(number) => Type::Variable(boxed(&formatted(format_args!("T{number}"))?)?),
            Head::Unit | Head::Never | Head::Error => Type::Tuple(Vec::new()),
        })
    }

    /// Type arguments as terms.
    pub(in crate::source) fn terms(&self, parts: &[TypeId]) -> Result<Vec<Type>, AllocError> {
        let mut terms = try_with_capacity(parts.len())?;
        for &part in parts {
            terms.push(self.term_with_targets(part)?);
        }
        Ok(terms)
    }

    /// The file that has a type with this name: `source`, or the first one that declares it.
    fn file_of_type(&self, source: u32, name: Name) -> Option<u32> {
        let declares = |&file: &u32| self.item(file, name).is_some_and(Item::is_type);
        match self.item(source, name) {
            Some(_) => Some(source),
            None => (0..count(self.sources)).find(declares),
        }
    }

    /// The type that a term of another writer stands for, as seen from a file.
    pub(in crate::source) fn type_of_term(&mut self, source: u32, term: &Type) -> Option<TypeId> {
        let span = Span::default();
        let mut parts = Vec::new();
        for part in term.parts() {
            let part = self.type_of_term(source, part)?;
            self.diagnostics.push(&mut parts, part)?;
        }
        Some(match term {
            Type::Text => TypeId::TEXT,
            Type::Array(_) => self.intern(source, span, Head::View, &parts),
            Type::Tuple(_) if parts.is_empty() => TypeId::UNIT,
            Type::Tuple(_) => self.intern(source, span, Head::Tuple, &parts),
            Type::Function { .. } => self.intern(source, span, Head::Function, &parts),
            Type::Named { name, .. } => {
                if let Some(length) = name.strip_prefix("array_").and_then(|n| n.parse().ok()) {
                    return Some(self.intern(source, span, Head::Array(length), &parts));
                }
                if let Some((mutable, _)) = term.as_pointer() {
                    return Some(self.intern(source, span, Head::Pointer(mutable), &parts));
                }
                let primitive = match &**name {
                    "Int" => Some(TypeId::I64),
                    "Float" => Some(TypeId::F64),
                    "Bool" => Some(TypeId::BOOL),
                    name => self.names.find(name).and_then(TypeId::primitive),
                };
                let name = self.names.find(name);
                let owner = name.and_then(|name| Some((self.file_of_type(source, name)?, name)));
                match owner {
                    Some((file, name)) => self.named((source, span), file, name, &parts, &[]),
                    None => primitive?,
                }
            }
            Type::Simd { .. } | Type::Variable(_) => return None,
            scalar => {
                let text = formatted(format_args!("{scalar}"));
                let text = self.diagnostics.allocated(text)?;
                self.names.find(&text).and_then(TypeId::primitive)?
            }
        })
    }
}

fn boxed(text: &str) -> Result<Box<str>, AllocError> {
    Ok(try_copy_str(text)?.into_boxed_str())
}
