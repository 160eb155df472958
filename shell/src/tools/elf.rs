//! Writes an ELF object for debuggers: the names of functions, and their call frame information where known.
//!
//! The code stays where it runs: each range becomes a section without contents (SHT_NOBITS) at its address.
//! For functions without CFI, debuggers find the start by the symbol and analyse the prologue, which works
//! for functions with a frame pointer.
//!
//! Source: System V ABI, chapter 4 (object files), for 64-bit little-endian machines.

use std::ops::Range;

use smf_core::alloc_util::AllocError;

use super::function::Function;
use crate::fallible_buf::FallibleBuf;

/// `e_machine` of this machine.
#[cfg(target_arch = "x86_64")]
pub(super) const MACHINE: u16 = 62;
#[cfg(target_arch = "aarch64")]
pub(super) const MACHINE: u16 = 183;
#[cfg(target_arch = "riscv64")]
pub(super) const MACHINE: u16 = 243;

const HEADER: usize = 64;
const SECTION: usize = 64;
const SYMBOL: usize = 24;
const ET_EXEC: u16 = 2;
const SHT_PROGBITS: u32 = 1;
const SHT_SYMTAB: u32 = 2;
const SHT_STRTAB: u32 = 3;
const SHT_NOBITS: u32 = 8;
/// `SHF_ALLOC` and `SHF_EXECINSTR`.
const CODE_FLAGS: u64 = 6;
/// `STB_GLOBAL` and `STT_FUNC`.
const GLOBAL_FUNCTION: u8 = 0x12;
/// The section index of absolute symbols.
const SHN_ABS: u16 = 0xfff1;

/// Sections besides code: null, symbols, two string tables, `.debug_frame`.
const OTHERS: usize = 5;

/// The maximum number of code sections. Further ranges are omitted, and their symbols are absolute.
const MAX_RANGES: usize = 0xff00 - OTHERS;

/// Encodes an object with a `.text` for each range of `code`, a symbol for each function, and `.debug_frame`.
///
/// # Errors
/// Allocation failure.
pub(super) fn object(
    functions: &[Function<'_>],
    code: &[Range<u64>],
    frames: &[u8],
) -> Result<Vec<u8>, AllocError> {
    let code = code.get(..MAX_RANGES).unwrap_or(code);
    let (mut strings, mut symbols) = (Strings::new(), FallibleBuf::default());
    symbols.put(&[0; SYMBOL]);
    for function in functions {
        put_symbol(&mut symbols, strings.add(function.name), function, code);
    }
    let (symbols, strings) = (symbols.finish()?, strings.0.finish()?);
    let mut names = Strings::new();
    let text = names.add(b".text");
    let [symtab, strtab, shstrtab, debug_frame] =
        [&b".symtab"[..], b".strtab", b".shstrtab", b".debug_frame"].map(|name| names.add(name));

    let (names, mut sections) = (names.0.finish()?, FallibleBuf::default());
    sections.put(&[0; SECTION]);
    for range in code {
        let size = range.end.saturating_sub(range.start);
        let (address, alignment) = (range.start, 16);
        let section =
            Section { name: text, kind: SHT_NOBITS, size, alignment, ..Section::default() };
        Section { flags: CODE_FLAGS, address, ..section }.put(&mut sections);
    }
    let mut offset = HEADER as u64;
    let string_section = u32::try_from(code.len() + 2).unwrap_or(0);
    for (name, kind, bytes) in [
        (symtab, SHT_SYMTAB, &*symbols),
        (strtab, SHT_STRTAB, &strings),
        (debug_frame, SHT_PROGBITS, frames),
        (shstrtab, SHT_STRTAB, &names),
    ] {
        let mut section =
            Section { name, kind, offset, size: bytes.len() as u64, ..Section::default() };
        if kind == SHT_SYMTAB {
            // Its string table, and the index of the first global symbol.
            (section.link, section.info) = (string_section, 1);
            (section.alignment, section.entry) = (8, SYMBOL as u64);
        }
        section.put(&mut sections);
        offset += section.size;
    }

    let mut object = header(offset, code.len() + OTHERS);
    for part in [&*symbols, &strings, frames, &names, &sections.finish()?] {
        object.put(part);
    }
    object.finish()
}

fn header(section_table: u64, sections: usize) -> FallibleBuf {
    let sections = u16::try_from(sections).unwrap_or(0);
    // 64-bit, little-endian, version 1.
    let mut header = FallibleBuf::default();
    header.put(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
    put16(&mut header, &[ET_EXEC, MACHINE]);
    put32(&mut header, &[1]);
    // No entry point and no program headers.
    put64(&mut header, &[0, 0, section_table]);
    put32(&mut header, &[0]);
    let (size, section) = (HEADER as u16, SECTION as u16);
    put16(&mut header, &[size, 0, 0, section, sections, sections.saturating_sub(1)]);
    header
}

fn put_symbol(out: &mut FallibleBuf, name: u32, function: &Function<'_>, code: &[Range<u64>]) {
    let within = code.iter().position(|range| range.contains(&function.address));
    let section = within.and_then(|at| u16::try_from(at + 1).ok()).unwrap_or(SHN_ABS);
    put32(out, &[name]);
    out.put(&[GLOBAL_FUNCTION, 0]);
    put16(out, &[section]);
    put64(out, &[function.address, function.size]);
}

/// A section header.
#[derive(Default)]
struct Section {
    name: u32,
    kind: u32,
    flags: u64,
    address: u64,
    offset: u64,
    size: u64,
    link: u32,
    info: u32,
    alignment: u64,
    entry: u64,
}

impl Section {
    fn put(&self, out: &mut FallibleBuf) {
        put32(out, &[self.name, self.kind]);
        put64(out, &[self.flags, self.address, self.offset, self.size]);
        put32(out, &[self.link, self.info]);
        put64(out, &[self.alignment, self.entry]);
    }
}

/// A string table.
struct Strings(FallibleBuf);

impl Strings {
    fn new() -> Self {
        let mut strings = FallibleBuf::default();
        strings.put(&[0]);
        Self(strings)
    }

    /// Adds a string, truncated at its first NUL, and returns its offset; 0, the empty string, when full.
    fn add(&mut self, string: &[u8]) -> u32 {
        let at = u32::try_from(self.0.len()).unwrap_or(0);
        if at != 0 {
            self.0.put(string.split(|&byte| byte == 0).next().unwrap_or_default());
            self.0.put(&[0]);
        }
        at
    }
}

fn put16(out: &mut FallibleBuf, values: &[u16]) {
    values.iter().for_each(|value| out.put(&value.to_le_bytes()));
}

fn put32(out: &mut FallibleBuf, values: &[u32]) {
    values.iter().for_each(|value| out.put(&value.to_le_bytes()));
}

fn put64(out: &mut FallibleBuf, values: &[u64]) {
    values.iter().for_each(|value| out.put(&value.to_le_bytes()));
}

#[cfg(feature = "pack")]
#[cfg(test)]
mod tests {
    use super::*;
    use ::object::{Object, ObjectSection, ObjectSymbol, SymbolSection};

    #[test]
    fn object_is_readable_by_the_object_crate() {
        let named = |name, address| Function { address, size: 5, name };
        let functions =
            [named(&b"first"[..], 0x1000), named(b"second\0cut", 0x5010), named(b"", 9)];
        let bytes = object(&functions, &[0x1000..0x2000, 0x5000..0x5800], b"frames").unwrap();
        let file = ::object::File::parse(&*bytes).unwrap();
        let sections: Vec<_> = file.sections().filter(|s| s.name() == Ok(".text")).collect();
        let places =
            |s: &::object::Section<'_, '_>| (s.address(), s.size(), s.data().unwrap().len());
        assert!(sections.iter().map(places).eq([(0x1000, 0x1000, 0), (0x5000, 0x800, 0)]));
        let symbols: Vec<_> = file
            .symbols()
            .map(|s| (s.name().unwrap().to_owned(), s.address(), s.size(), s.section()))
            .collect();
        let within = |number: usize| SymbolSection::Section(sections[number].index());
        assert_eq!(
            symbols,
            [
                ("first".to_owned(), 0x1000, 5, within(0)),
                ("second".to_owned(), 0x5010, 5, within(1)),
                (String::new(), 9, 5, SymbolSection::Absolute),
            ]
        );
        let frames = file.section_by_name(".debug_frame").unwrap();
        assert_eq!(frames.data().unwrap(), b"frames");
        assert!(symbols.len() == 3 && file.architecture() != ::object::Architecture::Unknown);
    }

    #[test]
    fn object_without_functions_is_valid() {
        let bytes = object(&[], &[], &[]).unwrap();
        assert_eq!(::object::File::parse(&*bytes).unwrap().symbols().count(), 0);
    }
}
