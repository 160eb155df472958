//! The function table of a bytecode section (FORMAT.md, section 8).
//!
//! The table is `BCOD`, a version, a count, and 16 bytes a function. The table and the code of every function must lie
//! inside the section. Names are NUL-terminated in the string table. A function is checked when it is read, in constant
//! time; the length of its name is computed on request.

use crate::format::error::{FormatError, Result, SymbolError, Table};
use crate::format::wire::{slice, u16_at, u32_at, until_nul};

/// The first bytes of a bytecode section.
pub(crate) const MAGIC: &[u8; 4] = b"BCOD";

/// The only version.
pub(crate) const VERSION: u16 = 1;

/// Magic, version, count.
pub(crate) const HEADER: usize = 10;

/// Bytes of a function's entry.
pub(crate) const ENTRY: usize = 16;

/// Whether a code section holds bytecode and not machine code.
pub fn is_bytecode(payload: &[u8]) -> bool {
    payload.starts_with(MAGIC)
}

/// One function of a bytecode section.
#[derive(Clone, Copy, Debug)]
pub struct Function<'d> {
    /// The number of the function, from 0; calls refer to it.
    pub index: u32,
    /// The offset of the code from the start of the section, in bytes.
    pub code_offset: u32,
    /// The length of the code in bytes.
    pub length: u32,
    /// The number of arguments.
    pub params: u16,
    /// The number of locals, including the arguments.
    pub locals: u16,
    /// The code.
    pub code: &'d [u8],
    /// The string table from the name on.
    name: &'d [u8],
}

impl<'d> Function<'d> {
    /// The name without the NUL; not necessarily UTF-8.
    pub fn name(&self) -> &'d [u8] {
        until_nul(self.name)
    }
}

/// The functions of a bytecode section.
#[derive(Clone, Copy, Debug)]
pub struct Functions<'d> {
    payload: &'d [u8],
    entries: &'d [[u8; ENTRY]],
    /// The string table up to and including the last NUL: every name that starts in it is terminated in it.
    strings: &'d [u8],
    at: u64,
}

impl<'d> Functions<'d> {
    /// Parses the function table of `payload`, a code section for which [`is_bytecode`] holds and which starts at
    /// offset `at` of the file. `strings` is the payload of the StrTab section.
    ///
    /// # Errors
    /// [`FormatError::BytecodeVersion`] for a version other than 1 (0 when the magic is missing);
    /// [`FormatError::TableOutside`] for a table that does not lie inside the payload.
    pub fn parse(payload: &'d [u8], strings: &'d [u8], at: u64) -> Result<Self> {
        let version = u16_at(payload, 4).filter(|_| is_bytecode(payload)).unwrap_or(0);
        if version != VERSION {
            return Err(FormatError::BytecodeVersion { version, at });
        }
        let count = u32_at(payload, 6).unwrap_or(0);
        let offset = at.saturating_add(HEADER as u64);
        let table = Table::Functions;
        let outside = FormatError::TableOutside { table, offset, count: count.into(), at };
        let len = u64::from(count).saturating_mul(ENTRY as u64);
        let entries = slice(payload, HEADER as u64, len).ok_or(outside)?;
        let ends = strings.iter().rposition(|&b| b == 0).map_or(0, |last| last.saturating_add(1));
        let strings = strings.get(..ends).unwrap_or(&[]);
        Ok(Self { payload, entries: entries.as_chunks().0, strings, at })
    }

    /// The number of functions.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether the table is empty.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The function with this index; `None` past the end of the table.
    ///
    /// # Errors
    /// [`FormatError::BytecodeFunction`] for code that leaves the section, or fewer locals than
    /// parameters; [`SymbolError::Name`] for a name that does not lie inside the strings.
    pub fn get(&self, index: u32) -> Option<Result<Function<'d>>> {
        let entry = self.entries.get(usize::try_from(index).ok()?)?;
        Some(self.read(index, entry))
    }

    /// The functions in the order of the table; each may fail as in [`Functions::get`].
    pub fn iter(&self) -> impl Iterator<Item = Result<Function<'d>>> + Clone + use<'d> {
        let functions = *self;
        self.entries.iter().zip(0..).map(move |(entry, index)| functions.read(index, entry))
    }

    /// Reads every function.
    ///
    /// # Errors
    /// The first error of [`Functions::get`].
    pub fn check(&self) -> Result<()> {
        self.iter().try_for_each(|function| function.map(drop))
    }

    fn read(&self, index: u32, entry: &[u8; ENTRY]) -> Result<Function<'d>> {
        let place = HEADER as u64 + u64::from(index) * ENTRY as u64;
        let at = self.at.saturating_add(place);
        let function =
            self.decode(index, entry).ok_or(FormatError::BytecodeFunction { index, at })?;
        let offset = u32_at(entry, 12).unwrap_or(u32::MAX);
        let name = usize::try_from(offset).ok().and_then(|offset| self.strings.get(offset..));
        let outside = SymbolError::Name { index, offset: offset.into(), at };
        let name = name.filter(|name| !name.is_empty()).ok_or(outside)?;
        Ok(Function { name, ..function })
    }

    /// The function without its name; `None` if the entry is inconsistent with the section.
    fn decode(&self, index: u32, entry: &[u8; ENTRY]) -> Option<Function<'d>> {
        let (code_offset, length) = (u32_at(entry, 0)?, u32_at(entry, 4)?);
        let (params, locals) = (u16_at(entry, 8)?, u16_at(entry, 10)?);
        let code = slice(self.payload, code_offset.into(), length.into())?;
        (locals >= params).then_some(Function {
            index,
            code_offset,
            length,
            params,
            locals,
            code,
            name: &[],
        })
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;
    use crate::testing::{cut, flipped};

    const SAMPLE: &[u8] = include_bytes!("../../../../tests/samples/bcod.smf");

    fn code() -> &'static [u8] {
        &SAMPLE[0xd0..0xd0 + 0x9a]
    }

    fn strings() -> &'static [u8] {
        &SAMPLE[0x16a..0x16a + 0xb]
    }

    /// The sample's section with `bytes` at `place`.
    fn patched(place: usize, bytes: &[u8]) -> Vec<u8> {
        let mut payload = code().to_vec();
        payload[place..place + bytes.len()].copy_from_slice(bytes);
        payload
    }

    fn fault(payload: &[u8], strings: &[u8]) -> Option<FormatError> {
        Functions::parse(payload, strings, 0xd0).and_then(|functions| functions.check()).err()
    }

    #[test]
    fn functions_of_the_sample_are_listed() {
        assert!(is_bytecode(code()) && !is_bytecode(strings()) && !is_bytecode(b"BCO"));
        let functions = Functions::parse(code(), strings(), 0xd0).unwrap();
        assert_eq!((functions.len(), functions.is_empty()), (2, false));
        let found: Vec<_> = functions.iter().map(|function| function.unwrap()).collect();
        assert_eq!([found[0].name(), found[1].name()], [&b"answer"[..], b"sum"]);
        let numbers = |f: &Function| (f.index, f.code_offset, f.length, f.params, f.locals);
        assert_eq!(numbers(&found[0]), (0, 42, 16, 0, 1));
        assert_eq!(numbers(&found[1]), (1, 58, 96, 1, 4));
        assert_eq!(found[0].code, &code()[42..58]);
        assert_eq!(found[1].code, &code()[58..]);
        assert_eq!(numbers(&functions.get(1).unwrap().unwrap()), numbers(&found[1]));
        assert!(functions.get(2).is_none() && functions.get(u32::MAX).is_none());
    }

    #[test]
    fn error_names_the_cause_and_the_offset() {
        assert_eq!(fault(code(), strings()), None);
        let version = |version| Some(FormatError::BytecodeVersion { version, at: 0xd0 });
        assert_eq!(fault(&patched(4, &[2, 0]), strings()), version(2));
        assert_eq!(fault(b"\x7fELF\x01\0", strings()), version(0));
        assert_eq!(fault(b"BCOD", strings()), version(0));
        let (table, offset, at) = (Table::Functions, 0xda, 0xd0);
        let outside = |count| Some(FormatError::TableOutside { table, offset, count, at });
        assert_eq!(fault(&patched(6, &[0xff; 4]), strings()), outside(u32::MAX.into()));
        assert_eq!(fault(&code()[..41], strings()), outside(2));
        let function = |index, at| Some(FormatError::BytecodeFunction { index, at });
        assert_eq!(fault(&code()[..153], strings()), function(1, 0xea));
        assert_eq!(fault(&patched(10, &[0xff; 4]), strings()), function(0, 0xda));
        assert_eq!(fault(&patched(10, &[0xff; 8]), strings()), function(0, 0xda));
        assert_eq!(fault(&patched(26 + 10, &[0]), strings()), function(1, 0xea));
        let name =
            |index, offset, at| Some(FormatError::Symbol(SymbolError::Name { index, offset, at }));
        assert_eq!(fault(&patched(22, &[11]), strings()), name(0, 11, 0xda));
        assert_eq!(fault(code(), &strings()[..10]), name(1, 7, 0xea));
        assert_eq!(fault(code(), b""), name(0, 0, 0xda));
    }

    #[test]
    fn damaged_input_never_panics() {
        let walk = |payload: &[u8], strings: &[u8]| {
            let Ok(functions) = Functions::parse(payload, strings, u64::MAX - 3) else { return };
            for function in functions.iter().flatten() {
                assert!(function.name().len() < strings.len() && !function.name().contains(&0));
                assert_eq!(function.code.len(), function.length as usize);
            }
        };
        cut(code()).for_each(|short| walk(short, strings()));
        cut(strings()).for_each(|short| walk(code(), short));
        flipped(code()).for_each(|(_, damaged)| walk(&damaged, strings()));
    }
}
