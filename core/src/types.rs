//! The types that templates are made with.
//!
//! A [`Type`] is a term: a constructor, and the types it is made of. It is spelled in three ways: as text
//! in the column `type_args` of note.sdn (`Vec<i64>`, read by [`Type::parse`] and written by `Display`),
//! inside the mangled name of a symbol ([`mangle`]), and as JSON where a runtime asks for it.
//!
//! | spelled | is |
//! |---|---|
//! | `i8` `i16` `i32` `i64` `i128`, `u8` ... `u128` | an integer |
//! | `f16` `f32` `f64` `f128` | a float |
//! | `bool`, `text`, `ptr` | a truth value, a text, an address |
//! | `Name`, `Name<A, B>` (or `Name[A, B]`) | a named type and its arguments |
//! | `[A]` | an array |
//! | `f32x4`, `simd<A, 4>` | four lanes of one type |
//! | `(A, B)` | a tuple |
//! | `fn(A, B) -> C` | a function |
//! | `?T` | a variable |
//!
//! Whatever is read is bounded: [`MAX_DEPTH`] levels, [`MAX_NODES`] types in a type, [`MAX_ARGUMENTS`]
//! arguments. So walking a type that was read, which recurses, ends soon.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use crate::alloc_util::{AllocError, try_box, try_copy_str, try_with_capacity};

mod infer;
mod mangle;
mod parse;
mod unify;

pub use infer::{Hint, HintSource, InferError, Signature, infer};
pub use mangle::{Mangled, mangle, mangle_plain, unmangle};
pub(super) use mangle::{try_mangle, try_mangle_plain};
pub use parse::TypeError;
pub use unify::{Conflict, TypeId, Unifier, UnifyError, Variables};

/// The most levels of a type: `Vec<i64>` has two.
pub const MAX_DEPTH: usize = 32;

/// The most types in one type, itself among them.
pub const MAX_NODES: usize = 1024;

/// The most type arguments of one instance, and the most parameters of one template.
pub const MAX_ARGUMENTS: usize = 64;

/// The most lanes of a vector.
pub const MAX_LANES: u32 = 1 << 16;

/// A type.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Type {
    /// An integer of 8, 16, 32, 64 or 128 bits.
    Int {
        /// How wide it is.
        bits: u8,
        /// Whether it has a sign.
        signed: bool,
    },
    /// A float of 16, 32, 64 or 128 bits.
    Float {
        /// How wide it is.
        bits: u8,
    },
    /// A truth value.
    Bool,
    /// A text.
    Text,
    /// An address.
    Pointer,
    /// A type with a name of its own.
    Named {
        /// Its name, at least one character.
        name: Box<str>,
        /// What it is made with.
        args: Vec<Type>,
    },
    /// Any number of one type.
    Array(Box<Type>),
    /// A vector of the processor.
    Simd {
        /// How many, 1 to [`MAX_LANES`].
        lanes: u32,
        /// Of which type.
        elem: Box<Type>,
    },
    /// Some types side by side.
    Tuple(Vec<Type>),
    /// A function.
    Function {
        /// What it takes.
        args: Vec<Type>,
        /// What it returns.
        result: Box<Type>,
    },
    /// A type that is not known yet.
    Variable(Box<str>),
}

/// The widths that integers have.
pub(super) const INT_BITS: [u8; 5] = [8, 16, 32, 64, 128];

/// The widths that floats have.
pub(super) const FLOAT_BITS: [u8; 4] = [16, 32, 64, 128];

impl Type {
    /// A signed integer of 64 bits.
    pub const I64: Self = Self::int(64, true);
    /// A float of 64 bits.
    pub const F64: Self = Self::Float { bits: 64 };

    /// An integer; a width that none has makes a type that nothing else is equal to.
    pub const fn int(bits: u8, signed: bool) -> Self {
        Self::Int { bits, signed }
    }

    /// The type that a word alone spells: a number, `bool`, `text`, `ptr`, a vector of numbers, or a named
    /// type.
    pub fn of_word(word: &str) -> Self {
        match Self::known_word(word) {
            Word::Known(known) => known,
            Word::Vector(elem, lanes) => Self::Simd { lanes, elem: Box::new(elem) },
            Word::Name => Self::Named { name: word.into(), args: Vec::new() },
        }
    }

    /// The same, where memory may be refused.
    pub(super) fn try_of_word(word: &str) -> Result<Self, AllocError> {
        Ok(match Self::known_word(word) {
            Word::Known(known) => known,
            Word::Vector(elem, lanes) => Self::Simd { lanes, elem: try_box(elem)? },
            Word::Name => {
                Self::Named { name: try_copy_str(word)?.into_boxed_str(), args: Vec::new() }
            }
        })
    }

    fn known_word(word: &str) -> Word {
        let vector = || Self::vector(word).map(|(elem, lanes)| Word::Vector(elem, lanes));
        Self::primitive(word).map(Word::Known).or_else(vector).unwrap_or(Word::Name)
    }

    fn primitive(word: &str) -> Option<Self> {
        match word {
            "bool" => return Some(Self::Bool),
            "text" => return Some(Self::Text),
            "ptr" => return Some(Self::Pointer),
            _ => {}
        }
        let mut chars = word.chars();
        let kind = chars.next()?;
        let bits = number(chars.as_str()).and_then(|bits| u8::try_from(bits).ok())?;
        match kind {
            'i' | 'u' if INT_BITS.contains(&bits) => Some(Self::int(bits, kind == 'i')),
            'f' if FLOAT_BITS.contains(&bits) => Some(Self::Float { bits }),
            _ => None,
        }
    }

    /// `f32x4`: lanes of a number or a truth value.
    fn vector(word: &str) -> Option<(Self, u32)> {
        let (elem, lanes) = word.rsplit_once('x')?;
        let lanes = number(lanes).filter(|lanes| (1..=MAX_LANES).contains(lanes))?;
        Some((Self::primitive(elem).filter(Self::is_lane)?, lanes))
    }

    /// Whether a vector of it is spelled in a word.
    fn is_lane(&self) -> bool {
        matches!(self, Self::Int { .. } | Self::Float { .. } | Self::Bool)
    }

    /// A copy.
    pub(super) fn try_clone(&self) -> Result<Self, AllocError> {
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

    /// The types that it is made of, in order.
    pub fn parts(&self) -> impl Iterator<Item = &Type> {
        let (many, one): (&[Type], Option<&Type>) = match self {
            Self::Named { args, .. } | Self::Tuple(args) => (args, None),
            Self::Function { args, result } => (args, Some(result)),
            Self::Array(elem) | Self::Simd { elem, .. } => (&[], Some(elem)),
            _ => (&[], None),
        };
        many.iter().chain(one)
    }

    /// Whether it holds no variable.
    pub fn is_concrete(&self) -> bool {
        !matches!(self, Self::Variable(_)) && self.parts().all(Self::is_concrete)
    }

    /// How much of [`MAX_NODES`] and of [`MAX_DEPTH`] it takes: types in it, and levels.
    pub fn size(&self) -> (usize, usize) {
        let (nodes, depth) = self
            .parts()
            .map(Self::size)
            .fold((0, 0), |(nodes, depth), part| (part.0.saturating_add(nodes), part.1.max(depth)));
        (nodes.saturating_add(1), depth.saturating_add(1))
    }
}

/// A decimal number without a sign or a zero in front.
fn number(digits: &str) -> Option<u32> {
    let plain = digits.bytes().all(|b| b.is_ascii_digit()) && !digits.starts_with('0');
    digits.parse().ok().filter(|_| plain)
}

/// Types with commas between them, as the column `type_args` has them.
pub struct Spelled<'t>(pub &'t [Type]);

/// What a word means as a type.
enum Word {
    /// A type without parts.
    Known(Type),
    /// So many lanes of a type.
    Vector(Type, u32),
    /// Nothing of its own.
    Name,
}

impl Spelled<'_> {
    /// Whether this is how they are spelled.
    pub(super) fn is(&self, text: &[u8]) -> bool {
        /// What of the text has not been written yet.
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

impl fmt::Display for Spelled<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, ty) in self.0.iter().enumerate() {
            f.write_str(if index == 0 { "" } else { ", " })?;
            ty.fmt(f)?;
        }
        Ok(())
    }
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
            Self::Named { name, args } => write!(f, "{name}<{}>", Spelled(args)),
            Self::Array(elem) => write!(f, "[{elem}]"),
            Self::Simd { lanes, elem } if elem.is_lane() => write!(f, "{elem}x{lanes}"),
            Self::Simd { lanes, elem } => write!(f, "simd<{elem}, {lanes}>"),
            Self::Tuple(parts) => write!(f, "({})", Spelled(parts)),
            Self::Function { args, result } => write!(f, "fn({}) -> {result}", Spelled(args)),
            Self::Variable(name) => write!(f, "?{name}"),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::string::{String, ToString};
    use std::vec;

    use super::*;

    /// Numbers that look random and are the same each time.
    pub(crate) struct Numbers(pub(crate) u64);

    impl Numbers {
        pub(crate) fn below(&mut self, limit: u64) -> u64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            (self.0 >> 11) % limit
        }

        /// A type of at most `depth` levels.
        pub(crate) fn ty(&mut self, depth: u64, variables: bool) -> Type {
            let few = |n: &mut Self| (0..n.below(4)).map(|_| n.ty(depth - 1, variables)).collect();
            match self.below(if depth <= 1 { 6 } else { 12 }) {
                0 => Type::int(INT_BITS[self.below(5) as usize], self.below(2) == 0),
                1 => Type::Float { bits: FLOAT_BITS[self.below(4) as usize] },
                2 => [Type::Bool, Type::Text, Type::Pointer][self.below(3) as usize].clone(),
                3 => Type::of_word(["i8x16", "f32x4", "boolx8"][self.below(3) as usize]),
                4 if variables => Type::Variable(["T", "U", "V"][self.below(3) as usize].into()),
                4 | 5 => Type::Named { name: self.name(), args: vec![] },
                6 | 7 => Type::Named { name: self.name(), args: few(self) },
                8 => Type::Array(Box::new(self.ty(depth - 1, variables))),
                9 => Type::Tuple(few(self)),
                10 => {
                    let args = few(self);
                    Type::Function { args, result: Box::new(self.ty(depth - 1, variables)) }
                }
                _ => {
                    let elem = Box::new(Type::Named { name: self.name(), args: few(self) });
                    Type::Simd { lanes: 1 + self.below(64) as u32, elem }
                }
            }
        }

        /// Names that could be taken for something else.
        pub(crate) fn name(&mut self) -> Box<str> {
            const PARTS: [&str; 13] =
                ["Vec", "_", "a", "x4", "fn", "i6", "4", "$", ".", "g", "ü", "l", "Int"];
            let mut name = String::new();
            for _ in 0..=self.below(3) {
                name.push_str(PARTS[self.below(13) as usize]);
            }
            name.into()
        }
    }

    #[test]
    fn words_are_read_as_what_they_spell() {
        for word in ["i8", "u128", "f16", "f128", "bool", "text", "ptr", "f32x4", "boolx65536"] {
            let ty = Type::of_word(word);
            assert!(!matches!(ty, Type::Named { .. }), "{word}");
            assert_eq!(ty.to_string(), word);
        }
        for word in
            ["i7", "i064", "i", "f8", "textx4", "f32x0", "f32x65537", "f32x04", "Int", "i+8"]
        {
            assert_eq!(Type::of_word(word), Type::Named { name: word.into(), args: vec![] });
        }
    }

    #[test]
    fn sizes_and_variables_are_found_at_any_depth() {
        let deep = Type::Array(Box::new(Type::Tuple(vec![
            Type::Bool,
            Type::Function { args: vec![Type::I64], result: Box::new(Type::Variable("T".into())) },
        ])));
        assert_eq!(deep.size(), (6, 4));
        assert!(!deep.is_concrete() && Type::Array(Box::new(Type::F64)).is_concrete());
        assert_eq!(deep.to_string(), "[(bool, fn(i64) -> ?T)]");
    }
}
