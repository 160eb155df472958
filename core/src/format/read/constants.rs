//! The constant pool of a bytecode module: its data section, in entries of 16 bytes.
//!
//! An entry is a type (u8), 7 bytes of padding and a value (u64). A string is an offset into the string table, where
//! it ends with a NUL. Source: the writer of bytecode modules of the Simple compiler
//! (`loader/smf_bytecode_writer.rs`), which declares this layout and does not emit a pool itself.

use crate::format::wire::{u64_at, until_nul};

/// Bytes of an entry.
pub(crate) const ENTRY: usize = 16;

/// A constant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Constant<'d> {
    /// An integer.
    I64(i64),
    /// The bits of a float.
    F64(u64),
    /// A truth value.
    Bool(bool),
    /// No information.
    Nil,
    /// A string without NUL; not necessarily UTF-8.
    Text(&'d [u8]),
}

#[cfg(feature = "alloc")]
impl Constant<'_> {
    /// The type of its entry, and its value, which for a string is the offset `text`.
    pub(crate) fn encode(self, text: u32) -> [u8; ENTRY] {
        let (kind, value) = match self {
            Constant::I64(value) => (0, value.cast_unsigned()),
            Constant::F64(bits) => (1, bits),
            Constant::Bool(value) => (2, value.into()),
            Constant::Nil => (3, 0),
            Constant::Text(_) => (4, text.into()),
        };
        let [a, b, c, d, e, f, g, h] = u64::to_le_bytes(value);
        [kind, 0, 0, 0, 0, 0, 0, 0, a, b, c, d, e, f, g, h]
    }
}

/// The constants of a bytecode module.
#[derive(Clone, Copy, Debug, Default)]
pub struct Constants<'d> {
    entries: &'d [[u8; ENTRY]],
    /// The string table up to and including the last NUL.
    strings: &'d [u8],
}

impl<'d> Constants<'d> {
    /// The constants in the payload of a data section. An incomplete entry at its end is ignored. `strings` is the payload
    /// of the StrTab section.
    pub fn parse(payload: &'d [u8], strings: &'d [u8]) -> Self {
        let ends = strings.iter().rposition(|&byte| byte == 0).map_or(0, |last| last + 1);
        Self { entries: payload.as_chunks().0, strings: strings.get(..ends).unwrap_or(&[]) }
    }

    /// The number of constants.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are no constants.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The constant with this index; `None` past the end and for an entry of an unknown type, a bool that is
    /// neither 0 nor 1, and a string outside of the string table.
    pub fn get(&self, index: u32) -> Option<Constant<'d>> {
        let entry = self.entries.get(usize::try_from(index).ok()?)?;
        let value = u64_at(entry, 8)?;
        match entry.first()? {
            0 => Some(Constant::I64(value.cast_signed())),
            1 => Some(Constant::F64(value)),
            2 if value <= 1 => Some(Constant::Bool(value == 1)),
            3 => Some(Constant::Nil),
            4 => {
                let text = self.strings.get(usize::try_from(value).ok()?..)?;
                (!text.is_empty()).then(|| Constant::Text(until_nul(text)))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_are_read_as_they_are_encoded() {
        let strings = b"name\0text\0";
        let constants = [
            Constant::I64(-5),
            Constant::F64(1.5f64.to_bits()),
            Constant::Bool(true),
            Constant::Nil,
            Constant::Text(b"text"),
        ];
        let bytes = constants.map(|constant| constant.encode(5)).concat();
        let pool = Constants::parse(&bytes, strings);
        assert_eq!((pool.len(), pool.is_empty()), (5, false));
        for (constant, index) in constants.into_iter().zip(0..) {
            assert_eq!(pool.get(index), Some(constant));
        }
        assert_eq!(pool.get(5), None);
        assert!(Constants::default().is_empty());
    }

    #[test]
    fn invalid_entry_is_no_constant() {
        let entry = |kind, value: u64| {
            let mut bytes = [kind, 1, 2, 3, 4, 5, 6, 7, 0, 0, 0, 0, 0, 0, 0, 0];
            bytes[8..].copy_from_slice(&value.to_le_bytes());
            bytes
        };
        fn get(bytes: &[u8]) -> Option<Constant<'_>> {
            Constants::parse(bytes, b"a\0b").get(0)
        }
        assert_eq!(get(&entry(0, 7)), Some(Constant::I64(7)));
        assert_eq!(get(&entry(0, 7)[..15]), None);
        assert_eq!(get(&entry(5, 0)), None);
        assert_eq!(get(&entry(2, 2)), None);
        assert_eq!(get(&entry(4, 1)), Some(Constant::Text(b"")));
        assert_eq!(get(&entry(4, 2)), None);
        assert_eq!(get(&entry(4, u64::MAX)), None);
    }
}
