//! The types of operations and locals: twelve scalars, and the type parameters of a template.
//!
//! A type is encoded in one byte. The permitted arguments of a type parameter are a set of scalars, which the verifier
//! narrows with every operation.

use core::fmt;

/// The maximum number of type parameters: there are no more codes.
pub const MAX_PARAMETERS: u8 = 64;

/// The code of parameter 0; those of the others follow.
pub(super) const PARAMETER: u8 = 0x40;

macro_rules! scalars {
    ($($code:literal $name:ident $text:literal $bytes:literal $what:literal,)*) => {
        /// A concrete type of a local, an operation or a place in memory.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Scalar {
            $(#[doc = $what] $name = $code,)*
        }

        impl Scalar {
            /// All scalars, by ascending code.
            pub const ALL: [Self; 12] = [$(Self::$name,)*];

            /// The scalar with this type code.
            #[inline]
            pub fn from_code(code: u8) -> Option<Self> {
                match code {
                    $($code => Some(Self::$name),)*
                    _ => None,
                }
            }

            /// Its name in the text form, and in mangled names.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }

            /// Bytes of a value in memory.
            #[inline]
            pub fn size(self) -> u8 {
                match self {
                    $(Self::$name => $bytes,)*
                }
            }
        }
    };
}

scalars! {
    0x01 I8 "i8" 1 "A signed integer of 8 bits.",
    0x02 I16 "i16" 2 "A signed integer of 16 bits.",
    0x03 I32 "i32" 4 "A signed integer of 32 bits.",
    0x04 I64 "i64" 8 "A signed integer of 64 bits.",
    0x05 U8 "u8" 1 "An unsigned integer of 8 bits.",
    0x06 U16 "u16" 2 "An unsigned integer of 16 bits.",
    0x07 U32 "u32" 4 "An unsigned integer of 32 bits.",
    0x08 U64 "u64" 8 "An unsigned integer of 64 bits.",
    0x09 F32 "f32" 4 "An IEEE 754 number of 32 bits.",
    0x0a F64 "f64" 8 "An IEEE 754 number of 64 bits.",
    0x0b Bool "bool" 1 "True or false: 1 or 0; any byte but 0 is read as 1.",
    0x0c Pointer "ptr" 8 "An address, without a type of what is there.",
}

impl Scalar {
    /// Its type code.
    #[inline]
    pub fn code(self) -> u8 {
        self as u8
    }

    /// The scalar with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scalar| scalar.name() == name)
    }

    /// Whether it is one of the two floating-point types.
    #[inline]
    pub fn is_float(self) -> bool {
        matches!(self, Self::F32 | Self::F64)
    }

    /// Whether it is a signed integer.
    #[inline]
    pub fn is_signed(self) -> bool {
        matches!(self, Self::I8 | Self::I16 | Self::I32 | Self::I64)
    }

    /// Bits of a value.
    #[inline]
    pub fn bits(self) -> u32 {
        u32::from(self.size()) * 8
    }
}

impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The type of an operation, a local or a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ValueType {
    /// The same in every instance.
    Scalar(Scalar),
    /// The argument for this type parameter, from 0.
    Parameter(u8),
}

impl ValueType {
    /// The type with this code. Whether the template has the parameter is not checked.
    #[inline]
    pub fn from_code(code: u8) -> Option<Self> {
        match code.checked_sub(PARAMETER) {
            None => Scalar::from_code(code).map(Self::Scalar),
            Some(index) => (index < MAX_PARAMETERS).then_some(Self::Parameter(index)),
        }
    }

    /// Its type code.
    #[inline]
    pub fn code(self) -> u8 {
        match self {
            Self::Scalar(scalar) => scalar.code(),
            Self::Parameter(index) => PARAMETER | (index & (MAX_PARAMETERS - 1)),
        }
    }
}

impl From<Scalar> for ValueType {
    fn from(scalar: Scalar) -> Self {
        Self::Scalar(scalar)
    }
}

impl fmt::Display for ValueType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scalar(scalar) => scalar.fmt(f),
            Self::Parameter(index) => write!(f, "T{index}"),
        }
    }
}

/// A set of arguments for a type parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TypeSet(u16);

impl TypeSet {
    /// All scalars, and other types, which a function can only pass on to instances that it calls.
    pub const ANY: Self = Self(0x1fff);
    /// The integers.
    pub const INTEGERS: Self = Self(0x01fe);
    /// The two floating-point types.
    pub const FLOATS: Self = Self(0x0600);
    /// Types with addition and division: integers and floating-point types.
    pub const NUMBERS: Self = Self(Self::INTEGERS.0 | Self::FLOATS.0);
    /// Types with bitwise operations: integers and bool.
    pub const BITS: Self = Self(Self::INTEGERS.0 | 0x0800);
    /// Types with an order: all scalars but bool.
    pub const ORDERED: Self = Self(Self::NUMBERS.0 | 0x1000);
    /// All scalars: the types of locals.
    pub const SCALARS: Self = Self(0x1ffe);

    /// The intersection of both sets.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether `argument` is in the set.
    #[inline]
    pub fn has(self, argument: Argument) -> bool {
        let bit = match argument {
            Argument::Scalar(scalar) => scalar.code(),
            Argument::Named => 0,
        };
        self.0 & (1 << bit) != 0
    }
}

/// An argument for a type parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Argument {
    /// A scalar, on which operations are defined.
    Scalar(Scalar),
    /// Any other type, which a function can only pass on to instances that it calls.
    Named,
}

impl From<Scalar> for Argument {
    fn from(scalar: Scalar) -> Self {
        Self::Scalar(scalar)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_names_lead_back() {
        for code in 0..=u8::MAX {
            let Some(found) = ValueType::from_code(code) else { continue };
            assert_eq!(found.code(), code);
            if let ValueType::Scalar(scalar) = found {
                assert_eq!(Scalar::from_name(scalar.name()), Some(scalar));
                assert_eq!(u32::from(scalar.size()) * 8, scalar.bits());
            }
        }
        let known = (0..=u8::MAX).filter(|&code| ValueType::from_code(code).is_some()).count();
        assert_eq!(known, Scalar::ALL.len() + usize::from(MAX_PARAMETERS));
    }

    #[test]
    fn sets_hold_what_their_names_say() {
        for scalar in Scalar::ALL {
            let integer = !scalar.is_float() && !matches!(scalar, Scalar::Bool | Scalar::Pointer);
            assert_eq!(TypeSet::INTEGERS.has(scalar.into()), integer, "{scalar}");
            assert_eq!(TypeSet::FLOATS.has(scalar.into()), scalar.is_float());
            assert_eq!(TypeSet::BITS.has(scalar.into()), integer || scalar == Scalar::Bool);
            assert_eq!(TypeSet::ORDERED.has(scalar.into()), scalar != Scalar::Bool);
            assert!(TypeSet::SCALARS.has(scalar.into()) && TypeSet::ANY.has(scalar.into()));
        }
        assert!(TypeSet::ANY.has(Argument::Named) && !TypeSet::SCALARS.has(Argument::Named));
    }
}
