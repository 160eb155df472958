//! Arguments and results of `smf jit`: the text forms of numbers and arrays.

use std::fmt;

use smf_core::ir::Scalar;
use smf_core::trap::CallArg;

use crate::integer::integer;

/// An array that is passed by address: `i64:3,1,2`.
pub(crate) struct Array {
    scalar: Scalar,
    bytes: Vec<u8>,
    /// The bytes before the call.
    before: Vec<u8>,
}

impl Array {
    /// Whether the code has changed it.
    pub(crate) fn is_changed(&self) -> bool {
        self.bytes != self.before
    }
}

impl fmt::Display for Array {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.scalar)?;
        let size = usize::from(self.scalar.size());
        for (index, element) in self.bytes.chunks_exact(size).enumerate() {
            let bits = element.iter().rev().fold(0, |bits, &byte| bits << 8 | u64::from(byte));
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{}", Shown(self.scalar, bits))?;
        }
        Ok(())
    }
}

/// Formats a value according to its type.
pub(crate) struct Shown(pub(crate) Scalar, pub(crate) u64);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(scalar, bits) = *self;
        let shift = 64 - scalar.bits();
        match scalar {
            Scalar::F32 => {
                write!(f, "{:?}", f32::from_bits(u32::try_from(bits << 32 >> 32).unwrap_or(0)))
            }
            Scalar::F64 => write!(f, "{:?}", f64::from_bits(bits)),
            Scalar::Bool => write!(f, "{}", bits << shift != 0),
            Scalar::Pointer => write!(f, "0x{bits:x}"),
            _ if scalar.is_signed() => write!(f, "{}", (bits << shift).cast_signed() >> shift),
            _ => write!(f, "{}", bits << shift >> shift),
        }
    }
}

/// Parses an argument for a parameter of this type; an array is added to `arrays`.
pub(crate) fn word(text: &str, scalar: Scalar, arrays: &mut Vec<Array>) -> Result<CallArg, String> {
    if let (Scalar::Pointer, Some((ty, elements))) = (scalar, text.split_once(':')) {
        let mut array = array(ty, elements)?;
        let address = array.bytes.as_mut_ptr().expose_provenance();
        arrays.push(array);
        return Ok(CallArg::Integer(address as u64));
    }
    let bits = number(text, scalar)?;
    Ok(if scalar.is_float() { CallArg::Float(bits) } else { CallArg::Integer(bits) })
}

fn array(ty: &str, elements: &str) -> Result<Array, String> {
    let scalar = Scalar::from_name(ty).ok_or_else(|| format!("`{ty}` is not an element type"))?;
    let mut bytes = Vec::new();
    for element in elements.split(',').filter(|_| !elements.is_empty()) {
        let bits = number(element.trim(), scalar)?.to_le_bytes();
        bytes.extend(bits.iter().take(scalar.size().into()));
    }
    Ok(Array { scalar, before: bytes.clone(), bytes })
}

/// Parses a number; bits above its width are 0.
fn number(text: &str, scalar: Scalar) -> Result<u64, String> {
    let wrong = || format!("`{text}` is not a valid {scalar}");
    match scalar {
        Scalar::F32 => text.parse().map(|value: f32| value.to_bits().into()).map_err(|_| wrong()),
        Scalar::F64 => text.parse().map(f64::to_bits).map_err(|_| wrong()),
        Scalar::Bool if text == "true" => Ok(1),
        Scalar::Bool if text == "false" => Ok(0),
        Scalar::Bool => Err(wrong()),
        _ => {
            let value = integer(text).map_err(|_| wrong())?;
            let shift = 64 - scalar.bits();
            let bits = value.cast_unsigned() << shift >> shift;
            // Accepts the signed and the unsigned range of the width.
            let extended = (bits << shift).cast_signed() >> shift;
            let fits = extended == value || bits.cast_signed() == value;
            fits.then_some(bits).ok_or_else(wrong)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn number_is_parsed_and_formatted_by_its_type() {
        for (scalar, text) in [
            (Scalar::I8, "-128"),
            (Scalar::U8, "255"),
            (Scalar::I64, "-9223372036854775808"),
            (Scalar::U64, "18446744073709551615"),
            (Scalar::F32, "0.1"),
            (Scalar::F64, "-1e300"),
            (Scalar::Bool, "true"),
            (Scalar::Pointer, "0x7fff"),
        ] {
            assert_eq!(Shown(scalar, number(text, scalar).unwrap()).to_string(), text);
        }
        assert_eq!(number("0xff", Scalar::I8), Ok(0xff));
        assert_eq!(number("-1", Scalar::U16), Ok(0xffff));
        for (scalar, text) in [
            (Scalar::U8, "256"),
            (Scalar::I8, "-129"),
            (Scalar::Bool, "1"),
            (Scalar::F64, "x"),
            (Scalar::I64, "1.5"),
        ] {
            assert_eq!(number(text, scalar), Err(format!("`{text}` is not a valid {scalar}")));
        }
    }

    #[test]
    fn array_is_formatted_as_it_is_given() {
        for text in ["i16:-1,2,300", "f64:1.5", "u8:", "bool:true,false"] {
            let mut arrays = Vec::new();
            word(text, Scalar::Pointer, &mut arrays).unwrap();
            assert_eq!(arrays[0].to_string(), text);
            assert!(!arrays[0].is_changed());
        }
        assert!(word("i9:1", Scalar::Pointer, &mut Vec::new()).is_err());
        assert!(word("u8:1,,2", Scalar::Pointer, &mut Vec::new()).is_err());
        assert!(word("u8:1", Scalar::I64, &mut Vec::new()).is_err());
    }
}
