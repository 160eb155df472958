//! Writes an ELF object for debuggers: the names of functions, and sections with call frame information and debugging
//! information.
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

const HEADER: u64 = 64;
const SECTION: u64 = 64;
const SYMBOL: u64 = 24;
const ET_EXEC: u64 = 2;
const EV_CURRENT: u64 = 1;
const SHT_PROGBITS: u32 = 1;
const SHT_SYMTAB: u32 = 2;
const SHT_STRTAB: u32 = 3;
const SHT_NOBITS: u32 = 8;
/// `SHF_ALLOC` and `SHF_EXECINSTR`.
const CODE_FLAGS: u64 = 6;
const SHF_ALLOC: u64 = 2;
/// `STB_GLOBAL` and `STT_FUNC`.
const GLOBAL_FUNCTION: u32 = 0x12;
/// The section index of absolute symbols.
const SHN_ABS: u16 = 0xfff1;

/// The names of the sections that every object has, with their offsets.
const NAMES: &[u8] = b"\0.text\0.symtab\0.strtab\0.shstrtab\0";
const TEXT: u32 = 1;
const SYMTAB: u32 = 7;
const STRTAB: u32 = 15;
const SHSTRTAB: u32 = 23;

/// Sections besides code that every object has: null, symbols, two string tables.
const OTHERS: usize = 4;

/// The maximum number of code sections. Further ranges are omitted, and their symbols are absolute.
const MAX_RANGES: usize = 0x8000;

/// A section for debuggers.
#[derive(Clone, Debug)]
pub struct DebugSection {
    /// Its ELF name, without a NUL.
    pub name: &'static [u8],
    /// Its address, if it lies in memory; 0 otherwise.
    pub address: u64,
    /// Its contents.
    pub bytes: Vec<u8>,
}

/// Encodes an object with a `.text` for each range of `code`, a symbol for each function, and `extra` sections.
///
/// Headers and symbols are sequences of 64-bit words, some of which consist of two or more fields.
///
/// # Errors
/// Allocation failure.
pub(super) fn object(
    functions: &[Function<'_>],
    code: &[Range<u64>],
    extra: &[DebugSection],
) -> Result<Vec<u8>, AllocError> {
    let code = code.get(..MAX_RANGES).unwrap_or(code);
    let (symbols, strings) = symbol_table(functions, code)?;
    let mut sections = FallibleBuf::default();
    sections.put_u64(&[0; 8]);
    for range in code {
        let size = range.end.saturating_sub(range.start);
        let kind = pair(TEXT, SHT_NOBITS);
        sections.put_u64(&[kind, CODE_FLAGS, range.start, 0, size, 0, 16, 0]);
    }
    let count = (code.len() + OTHERS + extra.len()) as u64;
    // The index of the string table, and of the first global symbol.
    let links = pair(code.len() as u32 + 2, 1);
    let mut names = FallibleBuf::default();
    names.put(NAMES);
    let mut offset = HEADER;
    for (name, bytes, [links, alignment, entry]) in [
        (pair(SYMTAB, SHT_SYMTAB), &*symbols, [links, 8, SYMBOL]),
        (pair(STRTAB, SHT_STRTAB), &*strings, [0; 3]),
    ] {
        let size = bytes.len() as u64;
        sections.put_u64(&[name, 0, 0, offset, size, links, alignment, entry]);
        offset += size;
    }
    for DebugSection { name, address, bytes } in extra {
        let (size, flags) = (bytes.len() as u64, if *address == 0 { 0 } else { SHF_ALLOC });
        let kind = pair(u32::try_from(names.len()).unwrap_or(0), SHT_PROGBITS);
        sections.put_u64(&[kind, flags, *address, offset, size, 0, 1, 0]);
        names.put(name);
        names.put(b"\0");
        offset += size;
    }
    let names = names.finish()?;
    let size = names.len() as u64;
    sections.put_u64(&[pair(SHSTRTAB, SHT_STRTAB), 0, 0, offset, size, 0, 0, 0]);
    offset += size;

    let mut object = FallibleBuf::default();
    // 64-bit, little-endian, version 1.
    object.put(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
    // No entry point and no program headers.
    let kind = ET_EXEC | u64::from(MACHINE) << 16 | EV_CURRENT << 32;
    let counts = SECTION << 16 | count << 32 | (count - 1) << 48;
    object.put_u64(&[kind, 0, 0, offset, HEADER << 32, counts]);
    object.put(&symbols);
    object.put(&strings);
    extra.iter().for_each(|section| object.put(&section.bytes));
    object.put(&names);
    object.put(&sections.finish()?);
    object.finish()
}

/// The symbol of each function, and their names.
fn symbol_table(
    functions: &[Function<'_>],
    code: &[Range<u64>],
) -> Result<(Vec<u8>, Vec<u8>), AllocError> {
    let (mut symbols, mut strings) = (FallibleBuf::default(), FallibleBuf::default());
    symbols.put_u64(&[0; 3]);
    strings.put(b"\0");
    for function in functions {
        // When the string table is full, the empty string at its start.
        let name = u32::try_from(strings.len()).unwrap_or(0);
        let range = code.iter().position(|range| range.contains(&function.address));
        let section = range.and_then(|at| u16::try_from(at + 1).ok()).unwrap_or(SHN_ABS);
        let kind = GLOBAL_FUNCTION | u32::from(section) << 16;
        symbols.put_u64(&[pair(name, kind), function.address, function.size]);
        if name != 0 {
            strings.put(function.name.split(|&byte| byte == 0).next().unwrap_or_default());
            strings.put(b"\0");
        }
    }
    Ok((symbols.finish()?, strings.finish()?))
}

/// The word of two fields of 32 bits.
fn pair(first: u32, second: u32) -> u64 {
    u64::from(first) | u64::from(second) << 32
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
        let extra = [(&b".debug_frame"[..], 0, b"frames"), (b".eh_frame", 0x7000, b"tables")];
        let extra = extra.map(|(name, address, bytes)| DebugSection {
            name,
            address,
            bytes: bytes.to_vec(),
        });
        let bytes = object(&functions, &[0x1000..0x2000, 0x5000..0x5800], &extra).unwrap();
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
        assert_eq!((frames.data().unwrap(), frames.address()), (&b"frames"[..], 0));
        let tables = file.section_by_name(".eh_frame").unwrap();
        assert_eq!((tables.data().unwrap(), tables.address()), (&b"tables"[..], 0x7000));
        assert!(symbols.len() == 3 && file.architecture() != ::object::Architecture::Unknown);
    }

    #[test]
    fn object_without_functions_is_valid() {
        let bytes = object(&[], &[], &[]).unwrap();
        assert_eq!(::object::File::parse(&*bytes).unwrap().symbols().count(), 0);
    }
}
