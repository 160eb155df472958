//! Types after resolution: interned, so that equal types have equal numbers.
//!
//! A type is a [`Head`] applied to parts. Its nesting is bounded by [`MAX_TYPE_NESTING`], so that walks over a type may
//! recurse, and its size by [`MAX_TYPE_SIZE`], so that they end: types share their parts, and a walk visits a part wherever
//! it stands.

use alloc::vec::Vec;

use super::names::{HashIndex, Name};
use crate::alloc_util::{AllocError, hash, try_push, try_with_capacity};
use crate::ir::Scalar;

/// The deepest nesting of a type: a polymorphic recursion ends there.
pub(super) const MAX_TYPE_NESTING: u8 = 16;

/// The most parts of a type, with those of its parts.
pub(super) const MAX_TYPE_SIZE: u32 = 1 << 16;

/// The most types of a run.
const MAX_TYPES: usize = 1 << 20;

/// The number of a type in its table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct TypeId(pub(super) u32);

/// The constructor of a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Head {
    /// The type of what is already reported.
    Error,
    /// The type of an expression that does not return.
    Never,
    Unit,
    /// A number or bool.
    Scalar(Scalar),
    Text,
    /// The number of a declaration; the parts are the type arguments.
    Struct(u32),
    Enum(u32),
    /// The length; the part is the element.
    Array(u32),
    /// An array of any length, as a parameter.
    View,
    Tuple,
    /// The parts are the parameters and the result.
    Function,
    /// Whether the memory may be written.
    Pointer(bool),
    /// A type parameter of the declaration.
    Param(u32),
}

/// A type of the table.
#[derive(Clone, Copy, Debug)]
struct Entry {
    head: Head,
    start: u32,
    len: u32,
    depth: u8,
    /// The number of its parts and theirs, and 1.
    size: u32,
    has_params: bool,
    has_view: bool,
}

/// Why a type is not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TypeError {
    /// It nests deeper than [`MAX_TYPE_NESTING`].
    Nesting,
    /// It has more than [`MAX_TYPE_SIZE`] parts.
    Size,
    /// There are too many types.
    Count,
    Memory,
}

impl From<AllocError> for TypeError {
    fn from(_: AllocError) -> Self {
        Self::Memory
    }
}

/// The types of a run.
#[derive(Clone, Debug, Default)]
pub(super) struct Types {
    entries: Vec<Entry>,
    parts: Vec<TypeId>,
    index: HashIndex,
}

macro_rules! fixed {
    ($($name:ident $head:expr,)*) => {
        impl TypeId {
            fixed!(@ 0u32; $($name,)*);
        }
        const FIXED: &[Head] = &[$($head,)*];
    };
    (@ $number:expr; $name:ident, $($rest:ident,)*) => {
        pub(super) const $name: Self = Self($number);
        fixed!(@ $number + 1; $($rest,)*);
    };
    (@ $number:expr;) => {};
}

fixed! {
    ERROR Head::Error,
    NEVER Head::Never,
    UNIT Head::Unit,
    TEXT Head::Text,
    I8 Head::Scalar(Scalar::I8),
    I16 Head::Scalar(Scalar::I16),
    I32 Head::Scalar(Scalar::I32),
    I64 Head::Scalar(Scalar::I64),
    U8 Head::Scalar(Scalar::U8),
    U16 Head::Scalar(Scalar::U16),
    U32 Head::Scalar(Scalar::U32),
    U64 Head::Scalar(Scalar::U64),
    F32 Head::Scalar(Scalar::F32),
    F64 Head::Scalar(Scalar::F64),
    BOOL Head::Scalar(Scalar::Bool),
}

impl TypeId {
    pub(super) fn scalar(scalar: Scalar) -> Self {
        match scalar {
            Scalar::I8 => Self::I8,
            Scalar::I16 => Self::I16,
            Scalar::I32 => Self::I32,
            Scalar::I64 => Self::I64,
            Scalar::U8 => Self::U8,
            Scalar::U16 => Self::U16,
            Scalar::U32 => Self::U32,
            Scalar::U64 | Scalar::Pointer => Self::U64,
            Scalar::F32 => Self::F32,
            Scalar::F64 => Self::F64,
            Scalar::Bool => Self::BOOL,
        }
    }

    /// The type of a constructor that has one number in every table.
    fn fixed(head: Head) -> Option<Self> {
        match head {
            Head::Error => Some(Self::ERROR),
            Head::Never => Some(Self::NEVER),
            Head::Unit => Some(Self::UNIT),
            Head::Text => Some(Self::TEXT),
            Head::Scalar(Scalar::Pointer) => None,
            Head::Scalar(scalar) => Some(Self::scalar(scalar)),
            _ => None,
        }
    }

    /// The primitive type with this name.
    pub(super) fn primitive(name: Name) -> Option<Self> {
        Some(match name {
            Name::I64 | Name::INT | Name::ISIZE => Self::I64,
            Name::F64 | Name::FLOAT => Self::F64,
            Name::U64 | Name::USIZE => Self::U64,
            Name::TEXT | Name::STR | Name::STRING => Self::TEXT,
            Name::UNIT | Name::VOID => Self::UNIT,
            Name::I8 => Self::I8,
            Name::I16 => Self::I16,
            Name::I32 => Self::I32,
            Name::U8 => Self::U8,
            Name::U16 => Self::U16,
            Name::U32 => Self::U32,
            Name::F32 => Self::F32,
            Name::BOOL => Self::BOOL,
            _ => return None,
        })
    }

    pub(super) fn is_error(self) -> bool {
        self == Self::ERROR
    }

    /// Whether it fits every position: an error or the type of what does not return.
    pub(super) fn fits_all(self) -> bool {
        self == Self::ERROR || self == Self::NEVER
    }
}

impl Types {
    pub(super) fn new() -> Result<Self, TypeError> {
        let mut entries = try_with_capacity(2 * FIXED.len())?;
        let (start, len, depth, size, has_params, has_view) = (0, 0, 1, 1, false, false);
        let entry = |&head| Entry { head, start, len, depth, size, has_params, has_view };
        entries.extend(FIXED.iter().map(entry));
        Ok(Self { entries, ..Self::default() })
    }

    fn entry(&self, id: TypeId) -> Option<&Entry> {
        self.entries.get(usize::try_from(id.0).ok()?)
    }

    pub(super) fn head(&self, id: TypeId) -> Head {
        self.entry(id).map_or(Head::Error, |entry| entry.head)
    }

    pub(super) fn parts(&self, id: TypeId) -> &[TypeId] {
        let Some(entry) = self.entry(id) else { return &[] };
        let start = usize::try_from(entry.start).unwrap_or(usize::MAX);
        let len = usize::try_from(entry.len).unwrap_or(0);
        self.parts.get(start..start.saturating_add(len)).unwrap_or(&[])
    }

    pub(super) fn part(&self, id: TypeId, index: usize) -> TypeId {
        self.parts(id).get(index).copied().unwrap_or(TypeId::ERROR)
    }

    pub(super) fn has_params(&self, id: TypeId) -> bool {
        self.entry(id).is_some_and(|entry| entry.has_params)
    }

    /// Whether a value of the type has the address of an array that belongs to a caller.
    pub(super) fn has_view(&self, id: TypeId) -> bool {
        self.entry(id).is_some_and(|entry| entry.has_view)
    }

    pub(super) fn intern(&mut self, head: Head, parts: &[TypeId]) -> Result<TypeId, TypeError> {
        if let Some(fixed) = TypeId::fixed(head) {
            return Ok(fixed);
        }
        let hash = hash_of(head, parts);
        let same = |number: u32| {
            let id = TypeId(number);
            self.head(id) == head && self.parts(id) == parts
        };
        if let Some(known) = self.index.find(hash, same) {
            return Ok(TypeId(known));
        }
        let inner = parts.iter().filter_map(|&part| self.entry(part));
        let depth = inner.clone().map(|entry| entry.depth).max().unwrap_or(0).saturating_add(1);
        if depth > MAX_TYPE_NESTING {
            return Err(TypeError::Nesting);
        }
        let size = inner.clone().fold(1_u32, |size, entry| size.saturating_add(entry.size));
        if size.saturating_sub(1) > MAX_TYPE_SIZE {
            return Err(TypeError::Size);
        }
        if self.entries.len() >= MAX_TYPES {
            return Err(TypeError::Count);
        }
        let has_params =
            matches!(head, Head::Param(_)) || inner.clone().any(|entry| entry.has_params);
        // A function value has no address of an array.
        let has_view = head == Head::View
            || head != Head::Function && inner.clone().any(|entry| entry.has_view);
        let start = u32::try_from(self.parts.len()).map_err(|_| TypeError::Count)?;
        let len = u32::try_from(parts.len()).map_err(|_| TypeError::Count)?;
        for &part in parts {
            try_push(&mut self.parts, part)?;
        }
        let number = u32::try_from(self.entries.len()).map_err(|_| TypeError::Count)?;
        let entry = Entry { head, start, len, depth, size, has_params, has_view };
        try_push(&mut self.entries, entry)?;
        self.index.insert(hash, number)?;
        Ok(TypeId(number))
    }

    /// The type with `arguments` in the places of the type parameters.
    pub(super) fn substitute(
        &mut self,
        id: TypeId,
        arguments: &[TypeId],
    ) -> Result<TypeId, TypeError> {
        if !self.has_params(id) {
            return Ok(id);
        }
        let head = self.head(id);
        if let Head::Param(index) = head {
            let index = usize::try_from(index).unwrap_or(usize::MAX);
            return Ok(arguments.get(index).copied().unwrap_or(id));
        }
        let mut parts = Vec::new();
        for index in 0..self.parts(id).len() {
            let part = self.part(id, index);
            let part = self.substitute(part, arguments)?;
            try_push(&mut parts, part)?;
        }
        self.intern(head, &parts)
    }

    /// Binds the type parameters of `pattern` so that it becomes `ty`; whether that is possible.
    pub(super) fn unify(
        &self,
        pattern: TypeId,
        ty: TypeId,
        bindings: &mut [Option<TypeId>],
    ) -> bool {
        if ty.fits_all() {
            return true;
        }
        if let Head::Param(index) = self.head(pattern) {
            let index = usize::try_from(index).unwrap_or(usize::MAX);
            let Some(binding) = bindings.get_mut(index) else { return pattern == ty };
            return *binding.get_or_insert(ty) == ty;
        }
        if !self.has_params(pattern) {
            return true;
        }
        let (head, other) = (self.head(pattern), self.head(ty));
        // An array is passed as a view.
        let same = head == other || matches!((head, other), (Head::View, Head::Array(_)));
        let (left, right) = (self.parts(pattern), self.parts(ty));
        same && left.len() == right.len()
            && left.iter().zip(right).all(|(&one, &two)| self.unify(one, two, bindings))
    }

    /// Whether two types may be equal, with any types in the places of type parameters.
    pub(super) fn may_agree(&self, one: TypeId, two: TypeId) -> bool {
        let (head, other) = (self.head(one), self.head(two));
        if matches!(head, Head::Param(_)) || matches!(other, Head::Param(_)) {
            return true;
        }
        let (left, right) = (self.parts(one), self.parts(two));
        head == other
            && left.len() == right.len()
            && left.iter().zip(right).all(|(&one, &two)| self.may_agree(one, two))
    }
}

fn hash_of(head: Head, parts: &[TypeId]) -> u32 {
    let (kind, number) = match head {
        Head::Error => (0, 0),
        Head::Never => (1, 0),
        Head::Unit => (2, 0),
        Head::Scalar(scalar) => (3, u32::from(scalar.code())),
        Head::Text => (4, 0),
        Head::Struct(number) => (5, number),
        Head::Enum(number) => (6, number),
        Head::Array(length) => (7, length),
        Head::View => (8, 0),
        Head::Tuple => (9, 0),
        Head::Function => (10, 0),
        Head::Pointer(mutable) => (11, u32::from(mutable)),
        Head::Param(number) => (12, number),
    };
    let mut hash = hash::fnv1a_64(&[kind]);
    hash = hash::fnv1a_64_more(hash, &number.to_le_bytes());
    for part in parts {
        hash = hash::fnv1a_64_more(hash, &part.0.to_le_bytes());
    }
    u32::try_from((hash ^ (hash >> 32)) & 0xffff_ffff).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_types_have_one_number_and_nesting_is_bounded() {
        let mut types = Types::new().unwrap();
        let pair = types.intern(Head::Tuple, &[TypeId::I64, TypeId::F64]).unwrap();
        assert_eq!(types.intern(Head::Tuple, &[TypeId::I64, TypeId::F64]), Ok(pair));
        assert_ne!(types.intern(Head::Tuple, &[TypeId::F64, TypeId::I64]), Ok(pair));
        assert_eq!(TypeId::primitive(Name::I64), Some(TypeId::I64));
        assert_eq!(types.head(TypeId::BOOL), Head::Scalar(Scalar::Bool));
        let mut nested = TypeId::I64;
        for _ in 1..MAX_TYPE_NESTING {
            nested = types.intern(Head::View, &[nested]).unwrap();
        }
        assert_eq!(types.intern(Head::View, &[nested]), Err(TypeError::Nesting));
    }

    #[test]
    fn unification_binds_parameters_and_substitution_replaces_them() {
        let mut types = Types::new().unwrap();
        let t = types.intern(Head::Param(0), &[]).unwrap();
        let view = types.intern(Head::View, &[t]).unwrap();
        let array = types.intern(Head::Array(3), &[TypeId::U8]).unwrap();
        let mut bindings = [None];
        assert!(types.unify(view, array, &mut bindings));
        assert_eq!(bindings, [Some(TypeId::U8)]);
        assert!(!types.unify(t, TypeId::I64, &mut bindings));
        let concrete = types.substitute(view, &[TypeId::U8]).unwrap();
        assert_eq!(types.intern(Head::View, &[TypeId::U8]), Ok(concrete));
    }
}
