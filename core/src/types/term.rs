//! The type term, its limits, and its spelling as text.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use crate::alloc_util::{AllocError, try_box, try_copy_str, try_with_capacity};
use crate::plural;

/// The maximum nesting depth of a type. `Vec<i64>` has depth 2.
pub const MAX_DEPTH: usize = 32;

/// The maximum number of nodes in a type, the root included.
pub const MAX_NODES: usize = 1024;

/// The maximum number of type arguments of an instance and of type parameters of a template.
pub const MAX_ARGUMENTS: usize = 64;

/// The maximum number of lanes of a vector.
pub const MAX_LANES: u32 = 1 << 16;

/// The names of the types of pointers with a target, which is their only argument.
const PTR_CONST: &str = "ptr_const";
const PTR_MUT: &str = "ptr_mut";

/// A type term.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Type {
    /// An integer.
    Int {
        /// Width in bits: 8, 16, 32, 64 or 128.
        bits: u8,
        /// Whether the integer is signed.
        signed: bool,
    },
    /// A float.
    Float {
        /// Width in bits: 16, 32, 64 or 128.
        bits: u8,
    },
    /// A boolean.
    Bool,
    /// A text.
    Text,
    /// An address.
    Pointer,
    /// A named type.
    Named {
        /// The name, not empty.
        name: Box<str>,
        /// The type arguments.
        args: Vec<Type>,
    },
    /// An array of any length.
    Array(Box<Type>),
    /// A SIMD vector.
    Simd {
        /// Number of lanes, 1 to [`MAX_LANES`].
        lanes: u32,
        /// The type of a lane.
        elem: Box<Type>,
    },
    /// A tuple.
    Tuple(Vec<Type>),
    /// A function.
    Function {
        /// The parameter types.
        args: Vec<Type>,
        /// The result type.
        result: Box<Type>,
    },
    /// A type variable.
    Variable(Box<str>),
}

impl Type {
    /// A signed integer of 64 bits.
    pub const I64: Self = Self::int(64, true);
    /// A float of 64 bits.
    pub const F64: Self = Self::Float { bits: 64 };

    /// Whether `*const T` or `*mut T` is mutable, and the target `T`; `None` for other types.
    pub fn as_pointer(&self) -> Option<(bool, &Self)> {
        let Self::Named { name, args } = self else { return None };
        match (&**name, &**args) {
            (PTR_CONST, [target]) => Some((false, target)),
            (PTR_MUT, [target]) => Some((true, target)),
            _ => None,
        }
    }

    /// The name of the type `*const T`, or of `*mut T`, whose only argument is the target.
    pub(crate) const fn pointer_name(mutable: bool) -> &'static str {
        if mutable { PTR_MUT } else { PTR_CONST }
    }

    /// An integer of `bits` bits.
    pub const fn int(bits: u8, signed: bool) -> Self {
        Self::Int { bits, signed }
    }

    /// The type that a single word spells: a primitive type, a vector of primitives, or a named type.
    ///
    /// # Errors
    /// No memory.
    pub fn from_word(word: &str) -> Result<Self, AllocError> {
        if let Some(primitive) = primitive(word) {
            return Ok(primitive);
        }
        Ok(match vector(word) {
            Some((elem, lanes)) => Self::Simd { lanes, elem: try_box(elem)? },
            None => Self::Named { name: try_copy_str(word)?.into_boxed_str(), args: Vec::new() },
        })
    }

    /// Whether `word` alone is a named type rather than a primitive or a vector.
    pub(super) fn is_name(word: &str) -> bool {
        primitive(word).is_none() && vector(word).is_none()
    }

    /// Whether a vector of this type is spelled as one word (`f32x4`).
    pub(super) fn is_lane(&self) -> bool {
        matches!(self, Self::Int { .. } | Self::Float { .. } | Self::Bool)
    }

    /// A deep copy.
    ///
    /// # Errors
    /// No memory.
    pub fn try_clone(&self) -> Result<Self, AllocError> {
        let all = |types: &[Self]| -> Result<Vec<Self>, AllocError> {
            let mut copies = try_with_capacity(types.len())?;
            for ty in types {
                copies.push(ty.try_clone()?);
            }
            Ok(copies)
        };
        let name_of = |name: &str| try_copy_str(name).map(String::into_boxed_str);
        Ok(match self {
            &Self::Int { bits, signed } => Self::Int { bits, signed },
            &Self::Float { bits } => Self::Float { bits },
            Self::Bool => Self::Bool,
            Self::Text => Self::Text,
            Self::Pointer => Self::Pointer,
            Self::Named { name, args } => Self::Named { name: name_of(name)?, args: all(args)? },
            Self::Array(elem) => Self::Array(try_box(elem.try_clone()?)?),
            Self::Simd { lanes, elem } => {
                Self::Simd { lanes: *lanes, elem: try_box(elem.try_clone()?)? }
            }
            Self::Tuple(parts) => Self::Tuple(all(parts)?),
            Self::Function { args, result } => {
                Self::Function { args: all(args)?, result: try_box(result.try_clone()?)? }
            }
            Self::Variable(name) => Self::Variable(name_of(name)?),
        })
    }

    /// The direct operands of the constructor, in order; the result of a function comes last.
    pub fn parts(&self) -> impl Iterator<Item = &Type> {
        let (many, one): (&[Type], Option<&Type>) = match self {
            Self::Named { args, .. } | Self::Tuple(args) => (args, None),
            Self::Function { args, result } => (args, Some(result)),
            Self::Array(elem) | Self::Simd { elem, .. } => (&[], Some(elem)),
            _ => (&[], None),
        };
        many.iter().chain(one)
    }

    /// Whether the type contains no variable.
    pub fn is_concrete(&self) -> bool {
        !matches!(self, Self::Variable(_)) && self.parts().all(Self::is_concrete)
    }

    /// The number of nodes and the nesting depth, as [`MAX_NODES`] and [`MAX_DEPTH`] count them.
    pub fn size(&self) -> (usize, usize) {
        let (nodes, depth) = self
            .parts()
            .map(Self::size)
            .fold((0, 0), |(nodes, depth), part| (part.0.saturating_add(nodes), part.1.max(depth)));
        (nodes.saturating_add(1), depth.saturating_add(1))
    }
}

/// The integer, float, `bool`, `text` or `ptr` that `word` spells, also by an alias that Simple has for it.
fn primitive(word: &str) -> Option<Type> {
    match word {
        "bool" => return Some(Type::Bool),
        "text" => return Some(Type::Text),
        "ptr" => return Some(Type::Pointer),
        "int" => return Some(Type::I64),
        "usize" => return Some(Type::int(64, false)),
        "float" => return Some(Type::F64),
        _ => {}
    }
    let (kind, digits) = word.split_at_checked(1)?;
    let bits = parse_number(digits).and_then(|bits| u8::try_from(bits).ok())?;
    match (kind, bits) {
        ("i" | "u", 8 | 16 | 32 | 64 | 128) => Some(Type::int(bits, kind == "i")),
        ("f", 16 | 32 | 64 | 128) => Some(Type::Float { bits }),
        _ => None,
    }
}

/// The vector that `word` spells as the type of a lane, `x` and the number of lanes.
fn vector(word: &str) -> Option<(Type, u32)> {
    let (elem, lanes) = word.rsplit_once('x')?;
    Some((primitive(elem).filter(Type::is_lane)?, parse_lanes(lanes)?))
}

/// A decimal number without a sign or leading zeros.
fn parse_number(digits: &str) -> Option<u32> {
    let plain = digits.bytes().all(|b| b.is_ascii_digit()) && !digits.starts_with('0');
    digits.parse().ok().filter(|_| plain)
}

/// A number of lanes, 1 to [`MAX_LANES`].
pub(super) fn parse_lanes(digits: &str) -> Option<u32> {
    parse_number(digits).filter(|lanes| (1..=MAX_LANES).contains(lanes))
}

/// Types as the column `type_args` spells them, separated by `, `.
pub struct TypeList<'t>(pub &'t [Type]);

impl TypeList<'_> {
    /// Whether `text` is the spelling of these types.
    pub(crate) fn is_spelled(&self, text: &[u8]) -> bool {
        /// The part of the text that has not been matched yet.
        struct Rest<'t>(&'t [u8]);
        impl fmt::Write for Rest<'_> {
            fn write_str(&mut self, part: &str) -> fmt::Result {
                self.0 = self.0.strip_prefix(part.as_bytes()).ok_or(fmt::Error)?;
                Ok(())
            }
        }
        let mut rest = Rest(text);
        fmt::Write::write_fmt(&mut rest, format_args!("{self}")).is_ok() && rest.0.is_empty()
    }
}

impl fmt::Display for TypeList<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, ty) in self.0.iter().enumerate() {
            f.write_str(if index == 0 { "" } else { ", " })?;
            ty.fmt(f)?;
        }
        Ok(())
    }
}

/// The message of an instance that has another number of type arguments than the template has parameters.
///
/// ```
/// # use smf_core::types::wrong_count;
/// let message = wrong_count("max", 1, 2).to_string();
/// assert_eq!(message, "`max` has 1 type parameter, and 2 types are given");
/// ```
pub fn wrong_count(
    template: impl fmt::Display,
    parameters: usize,
    given: usize,
) -> impl fmt::Display {
    fmt::from_fn(move |f| {
        let (s, types, is) = (plural::s(parameters), plural::s(given), plural::is(given));
        let given = format_args!("{given} type{types} {is} given");
        write!(f, "`{template}` has {parameters} type parameter{s}, and {given}")
    })
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Int { bits, signed: true } => write!(f, "i{bits}"),
            Self::Int { bits, signed: false } => write!(f, "u{bits}"),
            Self::Float { bits } => write!(f, "f{bits}"),
            Self::Bool => f.write_str("bool"),
            Self::Text => f.write_str("text"),
            Self::Pointer => f.write_str("ptr"),
            Self::Named { name, args } if args.is_empty() => f.write_str(name),
            Self::Named { name, args } => write!(f, "{name}<{}>", TypeList(args)),
            Self::Array(elem) => write!(f, "[{elem}]"),
            Self::Simd { lanes, elem } if elem.is_lane() => write!(f, "{elem}x{lanes}"),
            Self::Simd { lanes, elem } => write!(f, "simd<{elem}, {lanes}>"),
            Self::Tuple(parts) => write!(f, "({})", TypeList(parts)),
            Self::Function { args, result } => write!(f, "fn({}) -> {result}", TypeList(args)),
            Self::Variable(name) => write!(f, "?{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::string::ToString;
    use std::vec;

    use super::*;

    #[test]
    fn word_parses_to_the_type_it_spells() {
        for word in ["i8", "u128", "f16", "f128", "bool", "text", "ptr", "f32x4", "boolx65536"] {
            let ty = Type::from_word(word).unwrap();
            assert!(!matches!(ty, Type::Named { .. }), "{word}");
            assert_eq!(ty.to_string(), word);
        }
        for word in
            ["i7", "i064", "i", "f8", "textx4", "f32x0", "f32x65537", "f32x04", "Int", "i+8"]
        {
            let named = Type::Named { name: word.into(), args: vec![] };
            assert_eq!(Type::from_word(word), Ok(named));
        }
    }

    #[test]
    fn alias_is_the_type_that_it_stands_for() {
        for (alias, word) in [("int", "i64"), ("usize", "u64"), ("float", "f64")] {
            let ty = Type::from_word(alias).unwrap();
            assert_eq!((ty.to_string(), Type::from_word(word)), (word.into(), Ok(ty)));
        }
    }

    #[test]
    fn size_and_variables_count_nested_parts() {
        let deep = Type::Array(Box::new(Type::Tuple(vec![
            Type::Bool,
            Type::Function { args: vec![Type::I64], result: Box::new(Type::Variable("T".into())) },
        ])));
        assert_eq!(deep.size(), (6, 4));
        assert!(!deep.is_concrete() && Type::Array(Box::new(Type::F64)).is_concrete());
        assert_eq!(deep.to_string(), "[(bool, fn(i64) -> ?T)]");
    }
}
