//! Constants as bytes: arrays, tuples and structs of numbers, bools and variants, which functions read in place.

use super::constant::State;
use super::layout::{Field, Repr};
use super::operation::ConstValue;
use super::*;
use crate::alloc_util::try_filled;
use crate::ir::{Scalar, ValueType};

/// The deepest nesting of values, and of constants that name each other.
const MAX_NESTING: u32 = 64;

/// A constant that lies in read-only data.
#[derive(Debug)]
pub(in crate::source) struct ConstantData {
    pub(in crate::source) ty: TypeId,
    pub(in crate::source) align: u32,
    pub(in crate::source) bytes: Vec<u8>,
}

impl Program<'_, '_> {
    /// The bytes of an array, tuple or struct; `None` where a part has an address or is no constant here.
    pub(in crate::source) fn constant_data(&mut self, number: u32) -> Option<ConstantData> {
        self.diagnostics.muted += 1;
        let before = core::mem::take(&mut self.diagnostics.muted_errors);
        let data = self.encode_constant(number);
        self.diagnostics.muted -= 1;
        let errors = core::mem::replace(&mut self.diagnostics.muted_errors, before);
        data.filter(|_| errors == 0)
    }

    fn encode_constant(&mut self, number: u32) -> Option<ConstantData> {
        let info = self.compound_constant(number)?;
        let declared = info.decl.ty.map(|ty| self.resolve(info.source, ty, &[]));
        let ty = match declared.map(|ty| (ty, self.types.head(ty))) {
            Some((view, Head::View)) => {
                let ty = self.data_type(info.source, info.decl.value, 0)?;
                let element = self.types.part(view, 0);
                self.types.intern(self.types.head(ty), &[element]).ok()?
            }
            Some((ty, _)) => ty,
            None => self.data_type(info.source, info.decl.value, 0)?,
        };
        let (size, align) = self.size(ty);
        let bytes = try_filled(usize::try_from(size).ok()?, &0);
        let mut bytes = self.diagnostics.allocated(bytes)?;
        self.encode((info.source, info.decl.value), ty, &mut bytes, 0)?;
        Some(ConstantData { ty, align, bytes })
    }

    /// A constant without errors that is no scalar.
    fn compound_constant(&self, number: u32) -> Option<ConstInfo> {
        let info = at(&self.consts, number).copied();
        info.filter(|info| matches!(info.state, State::Compound | State::Checked))
    }

    /// The constant that an expression names, if it is no scalar.
    fn named_constant(&self, source: u32, id: ExprId) -> Option<ConstInfo> {
        let ExprKind::Name(name) = self.source(source)?.tree.expr(id).kind else { return None };
        match self.item(source, name)? {
            Item::Const(number) => self.compound_constant(number),
            _ => None,
        }
    }

    /// The type of a value without a type of its own.
    fn data_type(&mut self, source: u32, id: ExprId, depth: u32) -> Option<TypeId> {
        if depth >= MAX_NESTING {
            return None;
        }
        if let Some(info) = self.named_constant(source, id) {
            return match info.decl.ty {
                Some(ty) => Some(self.resolve(info.source, ty, &[])),
                None => self.data_type(info.source, info.decl.value, depth + 1),
            };
        }
        let tree = &self.source(source)?.tree;
        let (length, element) = match tree.expr(id).kind {
            ExprKind::Array(parts) => (parts.len, ExprId(*tree.list(parts).first()?)),
            ExprKind::Repeat(value, length) => (self.array_length(source, length)?, value),
            ExprKind::Tuple(parts) => {
                let mut types = Vec::new();
                for &part in tree.list(parts) {
                    let ty = self.data_type(source, ExprId(part), depth + 1)?;
                    self.diagnostics.push(&mut types, ty)?;
                }
                return self.types.intern(Head::Tuple, &types).ok();
            }
            kind => match self.constructed(source, kind) {
                Some((number, _)) => return self.types.intern(Head::Struct(number), &[]).ok(),
                None => return self.evaluate(source, id, None).map(|value| value.ty),
            },
        };
        let element = self.data_type(source, element, depth + 1)?;
        self.types.intern(Head::Array(length), &[element]).ok()
    }

    /// The struct that an expression makes by its name, and the arguments. One of a generic struct has its type from the
    /// declaration.
    fn constructed(&self, source: u32, kind: ExprKind) -> Option<(u32, List)> {
        let (ExprKind::Call { callee: name, arguments } | ExprKind::Literal { name, arguments }) =
            kind
        else {
            return None;
        };
        let ExprKind::Name(name) = self.source(source)?.tree.expr(name).kind else { return None };
        match self.item(source, name)? {
            Item::Struct(number) => Some((number, arguments)),
            _ => None,
        }
    }

    /// Writes a value of type `ty`.
    fn encode(
        &mut self,
        (source, id): (u32, ExprId),
        ty: TypeId,
        out: &mut [u8],
        depth: u32,
    ) -> Option<()> {
        if out.is_empty() {
            return Some(());
        }
        match self.repr(ty) {
            Repr::Scalar(ValueType::Scalar(scalar)) if scalar != Scalar::Pointer => {
                let value = self.evaluate(source, id, Some(ty))?;
                let bits = match self.convert_literal(value, ty)?.value {
                    ConstValue::Integer(value) => value,
                    ConstValue::Bool(value) => value.into(),
                    ConstValue::Float(value) => float_bits(value, scalar).into(),
                    ConstValue::Text(..) => return None,
                };
                out.copy_from_slice(bits.to_le_bytes().get(..out.len())?);
                Some(())
            }
            Repr::Memory if depth < MAX_NESTING => self.encode_parts((source, id), ty, out, depth),
            _ => None,
        }
    }

    fn encode_parts(
        &mut self,
        (source, id): (u32, ExprId),
        ty: TypeId,
        out: &mut [u8],
        depth: u32,
    ) -> Option<()> {
        if let Some(info) = self.named_constant(source, id) {
            let declared = info.decl.ty.map(|ty| self.resolve(info.source, ty, &[]));
            let value = (info.source, info.decl.value);
            return match declared.is_none_or(|declared| declared == ty) {
                true => self.encode(value, ty, out, depth + 1),
                false => None,
            };
        }
        let tree = &self.source(source)?.tree;
        let element = self.types.part(ty, 0);
        match (self.types.head(ty), tree.expr(id).kind) {
            (Head::Array(length), ExprKind::Array(parts)) if parts.len == length => {
                let stride = usize::try_from(self.stride(element)).ok()?;
                for (&part, out) in tree.list(parts).iter().zip(out.chunks_mut(stride.max(1))) {
                    self.encode((source, ExprId(part)), element, out, depth + 1)?;
                }
            }
            (Head::Array(length), ExprKind::Repeat(value, count))
                if self.array_length(source, count) == Some(length) =>
            {
                let stride = usize::try_from(self.stride(element)).ok()?;
                let (first, rest) = out.split_at_mut_checked(stride)?;
                self.encode((source, value), element, first, depth + 1)?;
                rest.chunks_mut(stride.max(1)).for_each(|out| out.copy_from_slice(first));
            }
            (Head::Tuple, ExprKind::Tuple(parts)) => {
                let fields = self.fields_of(ty, 0);
                if fields.len() != parts.len() {
                    return None;
                }
                for (&part, field) in tree.list(parts).iter().zip(fields) {
                    self.encode_field((source, ExprId(part)), &field, out, depth)?;
                }
            }
            (Head::Struct(number), kind) => {
                let (_, arguments) =
                    self.constructed(source, kind).filter(|made| made.0 == number)?;
                self.encode_struct((source, arguments), ty, out, depth)?;
            }
            _ => return None,
        }
        Some(())
    }

    fn encode_field(
        &mut self,
        value: (u32, ExprId),
        field: &Field,
        out: &mut [u8],
        depth: u32,
    ) -> Option<()> {
        let start = usize::try_from(field.offset).ok()?;
        let len = usize::try_from(self.size(field.ty).0).ok()?;
        let out = out.get_mut(start..)?.get_mut(..len)?;
        self.encode(value, field.ty, out, depth + 1)
    }

    fn encode_struct(
        &mut self,
        (source, arguments): (u32, List),
        ty: TypeId,
        out: &mut [u8],
        depth: u32,
    ) -> Option<()> {
        let Head::Struct(number) = self.types.head(ty) else { return None };
        let owner = at(&self.structs, number)?.source;
        let tree = &self.source(source)?.tree;
        let fields = self.fields_of(ty, 0);
        let mut given = try_filled(fields.len(), &false).ok()?;
        for (position, argument) in tree.entries(&tree.arguments, arguments).enumerate() {
            let index = match argument.name {
                Some(word) => fields.iter().position(|field| field.name == word.name)?,
                None => position,
            };
            if core::mem::replace(given.get_mut(index)?, true) {
                return None;
            }
            self.encode_field((source, argument.value), fields.get(index)?, out, depth)?;
        }
        for (field, _) in fields.iter().zip(given).filter(|(_, is_given)| !is_given) {
            self.encode_field((owner, field.default?), field, out, depth)?;
        }
        Some(())
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the value is rounded to its type already")]
fn float_bits(value: f64, scalar: Scalar) -> u64 {
    if scalar == Scalar::F32 { (value as f32).to_bits().into() } else { value.to_bits() }
}
