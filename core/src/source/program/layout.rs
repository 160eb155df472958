//! How values lie in memory and in locals.
//!
//! Fields lie in the order of declaration, each at a multiple of its alignment, as in C. An enum whose variants have
//! no payload is an i64, its discriminant. Any other enum has the number of its variant, an i64, at offset 0 and the
//! payload behind it.

use super::*;
use crate::ir::{Scalar, ValueType};

/// The largest type, in bytes.
pub(in crate::source) const MAX_SIZE: u32 = 1 << 20;

/// Where a value is while it is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::source) enum Repr {
    /// There is no value.
    Nothing,
    Scalar(ValueType),
    /// An address and a length.
    Pair,
    /// Memory of its own.
    Memory,
    /// It depends on a type parameter.
    Unknown,
}

/// A field of a struct, tuple or payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::source) struct Field {
    pub(in crate::source) name: Name,
    pub(in crate::source) ty: TypeId,
    pub(in crate::source) offset: u32,
    pub(in crate::source) default: Option<ExprId>,
}

#[derive(Clone, Copy, Debug)]
enum Layout {
    /// It is being computed.
    Open,
    Done {
        size: u32,
        align: u32,
        /// A range of [`Layouts::fields`]; of an enum, those of all variants in order.
        fields: List,
    },
}

#[derive(Default)]
pub(super) struct Layouts {
    /// By type.
    list: Vec<Option<Layout>>,
    fields: Vec<Field>,
}

/// What is added up while fields are laid out.
struct Extent {
    size: u32,
    align: u32,
}

impl Extent {
    /// The offset of the next value.
    fn add(&mut self, (size, align): (u32, u32)) -> u32 {
        let offset = self.size.checked_next_multiple_of(align.max(1)).unwrap_or(u32::MAX);
        self.size = offset.saturating_add(size);
        self.align = self.align.max(align);
        offset
    }

    fn finish(&self) -> u32 {
        self.size.checked_next_multiple_of(self.align).unwrap_or(u32::MAX)
    }
}

impl Program<'_, '_> {
    pub(in crate::source) fn repr(&self, ty: TypeId) -> Repr {
        match self.types.head(ty) {
            Head::Error | Head::Never | Head::Unit => Repr::Nothing,
            Head::Scalar(scalar) => Repr::Scalar(ValueType::Scalar(scalar)),
            Head::Text | Head::View => Repr::Pair,
            Head::Enum(number) if self.is_unit_enum(number) => {
                Repr::Scalar(ValueType::Scalar(Scalar::I64))
            }
            Head::Function | Head::Pointer(_) => Repr::Scalar(ValueType::Scalar(Scalar::Pointer)),
            Head::Param(number) => match u8::try_from(number) {
                Ok(number) if number < crate::ir::MAX_PARAMETERS => {
                    Repr::Scalar(ValueType::Parameter(number))
                }
                _ => Repr::Unknown,
            },
            Head::Struct(_) | Head::Enum(_) | Head::Array(_) | Head::Tuple => {
                if self.types.has_params(ty) { Repr::Unknown } else { Repr::Memory }
            }
        }
    }

    /// Whether no variant has a payload.
    pub(in crate::source) fn is_unit_enum(&self, number: u32) -> bool {
        at(&self.unit_enums, number).copied().unwrap_or(true)
    }

    pub(in crate::source) fn enum_variants(&self, number: u32) -> &[VariantInfo] {
        at(&self.variants, number).map_or(&[], Vec::as_slice)
    }

    /// The size and alignment of a type in bytes.
    pub(in crate::source) fn size(&mut self, ty: TypeId) -> (u32, u32) {
        match self.repr(ty) {
            Repr::Nothing | Repr::Unknown => (0, 1),
            Repr::Scalar(ValueType::Scalar(scalar)) => (scalar.size().into(), scalar.size().into()),
            Repr::Scalar(ValueType::Parameter(_)) => (8, 8),
            Repr::Pair => (16, 8),
            Repr::Memory => match self.layout(ty) {
                Layout::Done { size, align, .. } => (size, align),
                Layout::Open => (0, 1),
            },
        }
    }

    fn stored_layout(&self, ty: TypeId) -> Option<Layout> {
        at(&self.layouts.list, ty.0).copied().flatten()
    }

    fn store_layout(&mut self, ty: TypeId, layout: Layout) {
        let stored = try_replace(&mut self.layouts.list, ty.0, None, Some(layout));
        self.diagnostics.allocated(stored);
    }

    fn layout(&mut self, ty: TypeId) -> Layout {
        let empty = Layout::Done { size: 0, align: 1, fields: List::default() };
        match self.stored_layout(ty) {
            Some(Layout::Open) => {
                self.recursive(ty);
                return empty;
            }
            Some(layout) => return layout,
            None => {}
        }
        if self.type_levels >= types::MAX_TYPE_LEVELS {
            let (source, span) = self.declaration_of(ty);
            self.refuse_levels(source, span);
            return empty;
        }
        self.type_levels += 1;
        self.store_layout(ty, Layout::Open);
        let layout = self.compute_layout(ty);
        self.store_layout(ty, layout);
        self.type_levels -= 1;
        layout
    }

    fn recursive(&mut self, ty: TypeId) {
        let (source, span) = self.declaration_of(ty);
        let names = super::show::Shown { program: self, ty, scope: &[] };
        let text = super::super::diagnostic::formatted(format_args!("{names}"));
        let Some(text) = self.diagnostics.allocated(text) else { return };
        let message = format_args!("type `{text}` contains itself");
        let note = format_args!("a value in an array is named by its index, an `i64`");
        self.report(source, span, (Severity::Error, Code::RecursiveType), message, Some(note));
    }

    fn declaration_of(&self, ty: TypeId) -> (u32, Span) {
        let info = match self.types.head(ty) {
            Head::Struct(number) => at(&self.structs, number),
            Head::Enum(number) => at(&self.enums, number),
            Head::Array(_) | Head::Tuple => {
                // That of the first part that is declared.
                let parts = self.types.parts(ty).iter();
                let mut places = parts.map(|&part| self.declaration_of(part));
                return places.find(|place| place.1 != Span::default()).unwrap_or_default();
            }
            _ => None,
        };
        let Some(info) = info else { return (0, Span::default()) };
        let tree = self.source(info.source).map(|source| &source.tree);
        let span = tree.and_then(|tree| match self.types.head(ty) {
            Head::Struct(_) => entry(&tree.structs, info.decl).map(|decl| decl.word.span),
            _ => entry(&tree.enums, info.decl).map(|decl| decl.word.span),
        });
        (info.source, span.unwrap_or_default())
    }

    fn compute_layout(&mut self, ty: TypeId) -> Layout {
        let mut extent = Extent { size: 0, align: 1 };
        let mut fields = Vec::new();
        match self.types.head(ty) {
            Head::Array(length) => {
                let element = self.types.part(ty, 0);
                let (size, align) = self.size(element);
                let stride = size.checked_next_multiple_of(align).unwrap_or(u32::MAX);
                extent.add((stride.saturating_mul(length), align));
            }
            Head::Tuple => {
                for index in 0..self.types.parts(ty).len() {
                    let part = self.types.part(ty, index);
                    let offset = extent.add(self.size(part));
                    let name = Name::UNDERSCORE;
                    let field = Field { name, ty: part, offset, default: None };
                    self.diagnostics.push(&mut fields, field);
                }
            }
            Head::Struct(number) => {
                let list = at(&self.structs, number).map_or(List::default(), |i| i.fields);
                self.lay_out(ty, list, &mut extent, &mut fields);
            }
            Head::Enum(number) => {
                let mut whole = Extent { size: 8, align: 8 };
                for index in 0..self.enum_variants(number).len() {
                    let variant = self.enum_variants(number).get(index).copied();
                    let Some(variant) = variant else { break };
                    let mut extent = Extent { size: 8, align: 8 };
                    self.lay_out(ty, variant.fields, &mut extent, &mut fields);
                    whole.size = whole.size.max(extent.size);
                    whole.align = whole.align.max(extent.align);
                }
                extent = whole;
            }
            _ => {}
        }
        let size = extent.finish();
        if size > MAX_SIZE {
            let (source, span) = self.declaration_of(ty);
            let message = format_args!("a value of {size} bytes is larger than {MAX_SIZE}");
            self.error(source, span, Code::TooLarge, message);
        }
        let start = count(&self.layouts.fields);
        let len = count(&fields);
        for field in fields {
            self.push(|program| &mut program.layouts.fields, field);
        }
        let fields = List { start, len };
        Layout::Done { size: size.min(MAX_SIZE), align: extent.align, fields }
    }

    fn lay_out(&mut self, ty: TypeId, list: List, extent: &mut Extent, out: &mut Vec<Field>) {
        let copied = crate::alloc_util::try_collect(self.types.parts(ty).iter().copied());
        let Some(arguments) = self.diagnostics.allocated(copied) else { return };
        for index in 0..list.len() {
            let Some(&info) = range(&self.fields, list).get(index) else { break };
            let field_type = self.substituted(self.declaration_of(ty), info.ty, &arguments);
            let offset = extent.add(self.size(field_type));
            let field = Field { name: info.name, ty: field_type, offset, default: info.default };
            self.diagnostics.push(out, field);
        }
    }

    /// The fields of a struct or tuple, or of variant `variant` of an enum, in [`Layouts::fields`].
    fn field_list(&mut self, ty: TypeId, variant: usize) -> List {
        let Layout::Done { fields, .. } = self.layout(ty) else { return List::default() };
        let Head::Enum(number) = self.types.head(ty) else { return fields };
        let variants = self.enum_variants(number);
        let Some((first, own)) = variants.first().zip(variants.get(variant)) else {
            return List::default();
        };
        // Those of all variants are adjacent, as the declared ones are.
        let before = own.fields.start.saturating_sub(first.fields.start);
        List { start: fields.start.saturating_add(before), len: own.fields.len }
    }

    /// The fields of a struct or tuple, or of variant `variant` of an enum.
    pub(in crate::source) fn fields_of(&mut self, ty: TypeId, variant: usize) -> Vec<Field> {
        let list = self.field_list(ty, variant);
        let copied = range(&self.layouts.fields, list).iter().copied();
        let copied = crate::alloc_util::try_collect(copied);
        self.diagnostics.allocated(copied).unwrap_or_default()
    }

    /// A field of a struct, by its name; `None` for other types.
    pub(in crate::source) fn field(&mut self, ty: TypeId, name: Name) -> Option<Field> {
        let Head::Struct(_) = self.types.head(ty) else { return None };
        let list = self.field_list(ty, 0);
        range(&self.layouts.fields, list).iter().find(|field| field.name == name).copied()
    }

    /// A field of a tuple, by its number; `None` for other types.
    pub(in crate::source) fn tuple_field(&mut self, ty: TypeId, index: u32) -> Option<Field> {
        let Head::Tuple = self.types.head(ty) else { return None };
        let list = self.field_list(ty, 0);
        at(range(&self.layouts.fields, list), index).copied()
    }

    /// Bytes from one element of an array to the next.
    pub(in crate::source) fn stride(&mut self, element: TypeId) -> u32 {
        let (size, align) = self.size(element);
        size.checked_next_multiple_of(align).unwrap_or(u32::MAX)
    }
}
