//! Values of arguments and results.

use core::fmt;

use crate::ir::Scalar;
use crate::trap::{CallArg, ReturnRegisters};

/// A value of a scalar type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Value {
    scalar: Scalar,
    /// Bits above the width of the type are 0.
    bits: u64,
}

impl Value {
    /// The value of type `scalar` with these bits; those above its width are ignored.
    #[inline]
    pub fn new(scalar: Scalar, bits: u64) -> Self {
        let bits = match scalar {
            Scalar::I64 => bits,
            Scalar::Bool => u64::from(bits & 0xff != 0),
            _ => bits & (u64::MAX >> (64 - scalar.bits())),
        };
        Self { scalar, bits }
    }

    /// The integer `number` as a value of type `scalar`; `None` if the type does not have it, and for floats. An i64
    /// that stands for a u64 or an address keeps its bits.
    #[inline]
    pub fn from_integer(scalar: Scalar, number: i64) -> Option<Self> {
        if scalar.is_float() {
            return None;
        }
        let value = Self::new(scalar, number.cast_unsigned());
        let is_wide = matches!(scalar, Scalar::U64 | Scalar::Pointer);
        let is_bool = scalar == Scalar::Bool && !matches!(number, 0 | 1);
        (!is_bool && (is_wide || value.as_integer() == Some(number))).then_some(value)
    }

    /// The type.
    #[inline]
    pub fn scalar(self) -> Scalar {
        self.scalar
    }

    /// The bits; those above the width of the type are 0.
    #[inline]
    pub fn bits(self) -> u64 {
        self.bits
    }

    /// The number of an integer, a bool or an address, of which a u64 keeps its bits; `None` for floats.
    #[inline]
    pub fn as_integer(self) -> Option<i64> {
        if self.scalar.is_float() {
            return None;
        }
        let shift = 64 - self.scalar.bits();
        let top = (self.bits << shift).cast_signed();
        Some(if self.scalar.is_signed() { top >> shift } else { self.bits.cast_signed() })
    }

    /// The number of a float.
    #[inline]
    pub fn as_float(self) -> Option<f64> {
        match self.scalar {
            Scalar::F32 => Some(f32::from_bits(u32::try_from(self.bits).ok()?).into()),
            Scalar::F64 => Some(f64::from_bits(self.bits)),
            _ => None,
        }
    }

    /// The register that it is passed in. A signed integer is sign-extended: compilers rely on the caller's extension to 32
    /// bits, although the calling convention does not ask for it.
    #[inline]
    pub fn argument(self) -> CallArg {
        match self.as_integer() {
            Some(number) => CallArg::Integer(number.cast_unsigned()),
            None => CallArg::Float(self.bits),
        }
    }

    /// The result of a function of this type.
    #[inline]
    pub fn returned(scalar: Scalar, registers: ReturnRegisters) -> Self {
        let bits = if scalar.is_float() { registers.float } else { registers.integer };
        Self::new(scalar, bits)
    }
}

macro_rules! from {
    ($($ty:ty, $scalar:ident, $value:ident => $bits:expr;)*) => {
        $(impl From<$ty> for Value {
            fn from($value: $ty) -> Self {
                Self::new(Scalar::$scalar, $bits)
            }
        })*
    };
}

from! {
    i8, I8, value => i64::from(value).cast_unsigned();
    i16, I16, value => i64::from(value).cast_unsigned();
    i32, I32, value => i64::from(value).cast_unsigned();
    i64, I64, value => value.cast_unsigned();
    u8, U8, value => value.into();
    u16, U16, value => value.into();
    u32, U32, value => value.into();
    u64, U64, value => value;
    f32, F32, value => value.to_bits().into();
    f64, F64, value => value.to_bits();
    bool, Bool, value => value.into();
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.scalar {
            Scalar::Bool => write!(f, "{}", self.bits != 0),
            Scalar::Pointer => write!(f, "{:#x}", self.bits),
            Scalar::U64 => write!(f, "{}", self.bits),
            Scalar::F32 => {
                write!(f, "{:?}", f32::from_bits(u32::try_from(self.bits).unwrap_or(0)))
            }
            Scalar::F64 => write!(f, "{:?}", f64::from_bits(self.bits)),
            _ => write!(f, "{}", self.as_integer().unwrap_or(0)),
        }
    }
}
