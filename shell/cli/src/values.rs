//! Arguments and results of `smf run` and `smf jit`: the text forms of numbers, arrays, texts and buffers.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString, OsStr};
use std::fmt;

use smf_core::exec::Value;
use smf_core::ir::Scalar;
use smf_core::trap::{CallArg, ReturnRegisters};

use crate::integer::integer;

/// An array that is passed by address: `i64:3,1,2`.
pub(crate) struct Array {
    scalar: Scalar,
    bytes: Vec<u8>,
    /// The bytes before the call.
    before: Vec<u8>,
}

impl Array {
    /// The type of the elements.
    pub(crate) fn scalar(&self) -> Scalar {
        self.scalar
    }

    /// Bytes.
    pub(crate) fn size(&self) -> usize {
        self.bytes.len()
    }

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
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{}", Value::new(self.scalar, little_endian(element)))?;
        }
        Ok(())
    }
}

/// The type of the result of machine code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Returns {
    Scalar(Scalar),
    /// The address of a string that ends with a NUL; or null.
    Text,
    Nothing,
}

impl Returns {
    pub(crate) fn from_name(name: &str) -> Result<Self, String> {
        match name {
            "str" => Ok(Self::Text),
            "void" => Ok(Self::Nothing),
            _ => Scalar::from_name(name).map(Self::Scalar).ok_or_else(|| {
                "not a scalar type (i8 to u64, f32, f64, bool, ptr), str or void".to_owned()
            }),
        }
    }

    /// The text of a result; `None` for nothing.
    ///
    /// # Safety
    /// A result of type [`Returns::Text`] must be null or the address of a string that ends with a NUL.
    pub(crate) unsafe fn show(self, returned: ReturnRegisters) -> Option<String> {
        match self {
            Self::Nothing => None,
            Self::Scalar(scalar) => Some(Value::returned(scalar, returned).to_string()),
            Self::Text => {
                let address = usize::try_from(returned.integer).unwrap_or(0);
                let text = std::ptr::with_exposed_provenance::<std::ffi::c_char>(address);
                if text.is_null() {
                    return Some("null".to_owned());
                }
                // SAFETY: the caller states that the address is that of such a string.
                let text = unsafe { CStr::from_ptr(text) };
                Some(text.to_string_lossy().into_owned())
            }
        }
    }
}

/// The memory of arguments that are passed by address.
#[derive(Default)]
pub(crate) struct ArgumentMemory {
    pub(crate) arrays: Vec<Array>,
    texts: Vec<Vec<u8>>,
}

/// A value whose text states its type: `7` and `0x10` are i64, `1.5` is f64, `true` is bool, `u8:255` has the type named,
/// `i64:1,2,3` is an array, `buf:64` a zeroed buffer of so many bytes, `str:abc` a text.
pub(crate) enum Typed<'t> {
    Number(Scalar, u64),
    Text(&'t str),
    Array(Array),
}

impl<'t> Typed<'t> {
    pub(crate) fn parse(text: &'t str) -> Result<Self, String> {
        if let Some(text) = text.strip_prefix("str:") {
            return Ok(Self::Text(text));
        }
        if let Some(size) = text.strip_prefix("buf:") {
            let size = size.parse().ok().filter(|&size: &usize| size <= MAX_BUFFER);
            let size =
                size.ok_or_else(|| format!("`{text}` is not a size up to {MAX_BUFFER} bytes"))?;
            let (bytes, before) = (vec![0; size], vec![0; size]);
            return Ok(Self::Array(Array { scalar: Scalar::U8, bytes, before }));
        }
        if let Some((ty, value)) = text.split_once(':') {
            if value.contains(',') || value.is_empty() {
                return Ok(Self::Array(array(ty, value)?));
            }
            let scalar = Scalar::from_name(ty).ok_or_else(|| format!("`{ty}` is not a type"))?;
            return Ok(Self::Number(scalar, number(value, scalar)?));
        }
        // Without a type, the upper half of the unsigned range wraps, as in a register.
        if let Ok(value) = integer(text) {
            return Ok(Self::Number(Scalar::I64, value.cast_unsigned()));
        }
        let scalar = match text {
            "true" | "false" => Scalar::Bool,
            _ if text.contains(['.', 'e', 'E']) && text.parse::<f64>().is_ok() => Scalar::F64,
            _ => {
                return Err(format!(
                    "`{text}` is not a number, true or false; a type may precede it, such as f32:1.5, str:abc, i64:1,2,3 or buf:64"
                ));
            }
        };
        Ok(Self::Number(scalar, number(text, scalar)?))
    }
}

/// The bits of a number of a known type, which may precede it: `1.5` or `f32:1.5`.
pub(crate) fn typed_number(text: &str, scalar: Scalar) -> Result<u64, String> {
    let is_same = |ty: &str| ty == scalar.name();
    match text.split_once(':') {
        Some((ty, value)) if is_same(ty) => number(value, scalar),
        Some(_) => Err(format!("`{text}` is not a value of type {scalar}")),
        None => number(text, scalar),
    }
}

/// An array of a known element type, which may precede it: `1,2,3`, `i64:1,2,3`, or `buf:64` for bytes.
pub(crate) fn typed_array(text: &str, scalar: Scalar) -> Result<Array, String> {
    match text.split_once(':') {
        None => array(scalar.name(), text),
        Some((ty, value)) if ty == scalar.name() => array(ty, value),
        Some(("buf", _)) if scalar == Scalar::U8 => match Typed::parse(text)? {
            Typed::Array(array) => Ok(array),
            _ => Err(format!("`{text}` is not an array")),
        },
        _ => Err(format!("`{text}` is not an array of {scalar}")),
    }
}

/// Parses an argument whose text states its type, as [`Typed`]; texts, arrays and buffers are passed by address.
pub(crate) fn typed_word(text: &OsStr, memory: &mut ArgumentMemory) -> Result<CallArg, String> {
    let text = text.to_str().ok_or("an argument is not UTF-8")?;
    Ok(match Typed::parse(text)? {
        Typed::Number(scalar, bits) => Value::new(scalar, bits).argument(),
        Typed::Text(text) => CallArg::Integer(memory.add_c_text(text)?),
        Typed::Array(array) => CallArg::Integer(memory.add_array(array).0),
    })
}

/// The largest buffer that an argument asks for, in bytes.
const MAX_BUFFER: usize = 1 << 30;

impl ArgumentMemory {
    /// Keeps an array; its address and the number of its elements.
    pub(crate) fn add_array(&mut self, mut array: Array) -> (u64, usize) {
        let address = array.bytes.as_mut_ptr().expose_provenance() as u64;
        let count = array.bytes.len() / usize::from(array.scalar.size());
        self.arrays.push(array);
        (address, count)
    }

    /// Keeps a text; its address.
    pub(crate) fn add_text(&mut self, text: &str) -> u64 {
        self.add_bytes(text.as_bytes().to_vec())
    }

    /// Keeps bytes; their address.
    pub(crate) fn add_bytes(&mut self, mut bytes: Vec<u8>) -> u64 {
        let address = bytes.as_mut_ptr().expose_provenance() as u64;
        self.texts.push(bytes);
        address
    }

    /// Keeps a text and a NUL behind it; its address.
    pub(crate) fn add_c_text(&mut self, text: &str) -> Result<u64, String> {
        let text = CString::new(text).map_err(|_| "a string cannot contain a NUL".to_owned())?;
        Ok(self.add_bytes(text.into_bytes_with_nul()))
    }

    /// The `size` bytes at an address, if they are an argument's.
    pub(crate) fn bytes_at(&mut self, address: u64, size: usize) -> Option<&mut [u8]> {
        let arrays = self.arrays.iter_mut().map(|array| &mut array.bytes);
        arrays.chain(&mut self.texts).find_map(|bytes| {
            let start = address.checked_sub(bytes.as_ptr().addr() as u64)?;
            bytes.get_mut(usize::try_from(start).ok()?..)?.get_mut(..size)
        })
    }
}

/// The integer in up to 8 bytes, the lowest byte first.
pub(crate) fn little_endian(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |bits, &byte| bits << 8 | u64::from(byte))
}

/// A comma may follow the last element.
fn array(ty: &str, elements: &str) -> Result<Array, String> {
    let scalar = Scalar::from_name(ty).ok_or_else(|| format!("`{ty}` is not an element type"))?;
    let elements = elements.strip_suffix(',').unwrap_or(elements);
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
            let is_negative = text.starts_with('-');
            let is_bits = text.contains(['x', 'X']) && !is_negative;
            // A number has the value that is written; hexadecimal digits may be those of a negative one.
            let extended = (bits << shift).cast_signed() >> shift;
            let fits = match scalar.is_signed() {
                true if is_bits => extended == value || bits.cast_signed() == value,
                true => extended == value && (value < 0) == (is_negative && value != 0),
                false => bits.cast_signed() == value && (!is_negative || value == 0),
            };
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
            assert_eq!(Value::new(scalar, number(text, scalar).unwrap()).to_string(), text);
        }
        assert_eq!(number("0xff", Scalar::I8), Ok(0xff));
        assert_eq!(number("-0x80", Scalar::I8), Ok(0x80));
        assert_eq!(number("-0", Scalar::U16), Ok(0));
        for (scalar, text) in [
            (Scalar::U8, "256"),
            (Scalar::U8, "-1"),
            (Scalar::U64, "-1"),
            (Scalar::I8, "128"),
            (Scalar::I64, "9223372036854775808"),
            (Scalar::I8, "-129"),
            (Scalar::Bool, "1"),
            (Scalar::F64, "x"),
            (Scalar::I64, "1.5"),
        ] {
            assert_eq!(number(text, scalar), Err(format!("`{text}` is not a valid {scalar}")));
        }
    }

    #[test]
    fn argument_has_the_type_that_its_text_states() {
        let mut memory = ArgumentMemory::default();
        for (text, expected) in [
            ("7", CallArg::Integer(7)),
            ("-0x10", CallArg::Integer(0xffff_ffff_ffff_fff0)),
            ("1.5", CallArg::Float(1.5f64.to_bits())),
            ("-2e3", CallArg::Float((-2e3f64).to_bits())),
            ("f32:1.5", CallArg::Float(1.5f32.to_bits().into())),
            ("f64:2", CallArg::Float(2f64.to_bits())),
            ("u8:255", CallArg::Integer(255)),
            ("i8:-1", CallArg::Integer(u64::MAX)),
            ("i16:-300", CallArg::Integer((-300i64).cast_unsigned())),
            ("true", CallArg::Integer(1)),
        ] {
            assert_eq!(typed_word(text.as_ref(), &mut memory), Ok(expected), "{text}");
        }
        assert!(memory.arrays.is_empty());
        for text in ["i64:1,2,3", "buf:3", "u8:9,", "f32:"] {
            typed_word(text.as_ref(), &mut memory).unwrap();
        }
        let shown: Vec<String> = memory.arrays.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["i64:1,2,3", "u8:0,0,0", "u8:9", "f32:"]);
        for text in [
            "u8:256",
            "i9:1",
            "abc",
            "18446744073709551616",
            "1.5.5",
            "buf:x",
            "buf:-1",
            "str:a\0b",
            "bool:1",
            "i64:1,x",
        ] {
            assert!(typed_word(text.as_ref(), &mut memory).is_err(), "{text}");
        }
    }

    #[test]
    fn array_is_formatted_as_it_is_given() {
        for text in ["i16:-1,2,300", "f64:1.5,", "u8:", "bool:true,false"] {
            let mut memory = ArgumentMemory::default();
            typed_word(text.as_ref(), &mut memory).unwrap();
            assert_eq!(memory.arrays[0].to_string(), text.trim_end_matches(','));
            assert!(!memory.arrays[0].is_changed());
        }
        assert!(typed_word("i9:1,".as_ref(), &mut ArgumentMemory::default()).is_err());
        for text in ["u8:1,,2", "u8:1,,", "u8:,,"] {
            assert!(typed_word(text.as_ref(), &mut ArgumentMemory::default()).is_err(), "{text}");
        }
    }

    #[test]
    fn value_of_a_known_type_may_state_it() {
        assert_eq!(typed_number("2", Scalar::F64), Ok(2f64.to_bits()));
        assert_eq!(typed_number("f64:2", Scalar::F64), Ok(2f64.to_bits()));
        assert!(typed_number("i64:2", Scalar::F64).is_err());
        for (text, expected) in
            [("1,2", "i64:1,2"), ("i64:1,2,", "i64:1,2"), ("", "i64:"), ("7", "i64:7")]
        {
            assert_eq!(typed_array(text, Scalar::I64).unwrap().to_string(), expected);
        }
        assert!(
            typed_array("u8:1", Scalar::I64).is_err() && typed_array("buf:2", Scalar::I64).is_err()
        );
        assert_eq!(typed_array("buf:2", Scalar::U8).unwrap().to_string(), "u8:0,0");
        let mut memory = ArgumentMemory::default();
        let (address, count) = memory.add_array(typed_array("1,2,3", Scalar::U8).unwrap());
        assert_eq!(count, 3);
        assert_eq!(memory.bytes_at(address + 1, 2).unwrap(), [2, 3]);
        assert!(
            memory.bytes_at(address + 1, 3).is_none() && memory.bytes_at(address - 1, 1).is_none()
        );
    }
}
