//! Line tables of a module: one compilation unit with the functions, and a sequence of lines for each.
//!
//! Addresses are offsets from the start of the code, and listed for debuggers (see [`debug_addresses`]).
//!
//! Source: DWARF Debugging Information Format 4, sections 6.2 and 7.5.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use smf_core::AllocError;
use smf_core::format::ext::debug_addresses;
use smf_core::source::{FunctionDefinition, TranslationUnit};

use super::object::{Code, CompiledCode};

const VERSION: u16 = 4;

/// A unit with producer, name, directory, lines and addresses; a function with a name, a line and addresses.
const ABBREVIATIONS: &[u8] = &[
    1, 0x11, 1, // unit
    0x25, 0x08, 0x03, 0x08, 0x1b, 0x08, 0x10, 0x17, 0x11, 0x01, 0x12, 0x07, 0, 0, //
    2, 0x2e, 0, // function
    0x03, 0x08, 0x3a, 0x0f, 0x3b, 0x0f, 0x11, 0x01, 0x12, 0x07, 0, 0, //
    0,
];

/// Instructions of 1 byte, one operation each, statements; no special opcodes; the numbers of operands of the standard
/// opcodes.
const LINE_PROGRAM: &[u8] = &[1, 1, 1, 0, 1, 13, 0, 1, 1, 1, 1, 0, 0, 0, 1, 0, 0, 1];

const ABBREVIATIONS_NAME: &[u8] = b".debug_abbrev";
const LINES_NAME: &[u8] = b".debug_line";

const DW_LNS_COPY: u8 = 1;
const DW_LNS_ADVANCE_PC: u8 = 2;
const DW_LNS_ADVANCE_LINE: u8 = 3;
const DW_LNS_SET_FILE: u8 = 4;
const END_SEQUENCE: [u8; 3] = [0, 1, 1];
const SET_ADDRESS: [u8; 3] = [0, 9, 2];

/// A debug section.
pub(super) struct DebugSection {
    /// The ELF name.
    pub(super) name: &'static [u8],
    pub(super) bytes: Vec<u8>,
    /// The offsets of fields that hold offsets from the start of the code.
    addresses: Vec<u32>,
    /// The offset of each field that holds an offset in another debug section, behind the name of that.
    offsets: Vec<(&'static [u8], [u32; 1])>,
}

impl DebugSection {
    fn new(name: &'static [u8]) -> Self {
        Self { name, bytes: Vec::new(), addresses: Vec::new(), offsets: Vec::new() }
    }

    fn put_text(&mut self, text: impl AsRef<OsStr>) {
        let bytes = text.as_ref().as_bytes();
        self.bytes.extend(bytes.iter().take_while(|&&byte| byte != 0));
        self.bytes.push(0);
    }

    fn put_address(&mut self, address: u64) {
        self.addresses.push(u32::try_from(self.bytes.len()).unwrap_or(u32::MAX));
        self.bytes.extend(address.to_le_bytes());
    }

    /// Appends the offset of the start of the debug section `target`.
    fn put_offset(&mut self, target: &'static [u8]) {
        self.offsets.push((target, [u32::try_from(self.bytes.len()).unwrap_or(u32::MAX)]));
        self.bytes.extend([0; 4]);
    }

    fn put_unsigned(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.bytes.push(low_bits(number) | 0x80);
            number >>= 7;
        }
        self.bytes.push(low_bits(number));
    }

    fn put_signed(&mut self, mut number: i64) {
        loop {
            let low = low_bits(number.cast_unsigned());
            number >>= 7;
            let is_last = matches!((number, low & 0x40), (0, 0) | (-1, 0x40));
            self.bytes.push(if is_last { low } else { low | 0x80 });
            if is_last {
                return;
            }
        }
    }

    /// Fills in a length in front of which there are `before` bytes.
    fn close(&mut self, before: usize) {
        let length = u32::try_from(self.bytes.len() - before - 4).unwrap_or(u32::MAX);
        if let Some(place) = self.bytes.get_mut(before..).and_then(<[u8]>::first_chunk_mut::<4>) {
            *place = length.to_le_bytes();
        }
    }
}

/// The lower seven bits.
fn low_bits(number: u64) -> u8 {
    number.to_le_bytes()[0] & 0x7f
}

/// The debug sections of the code; relative names of files are those of `directory`.
pub(super) fn sections(
    unit: &TranslationUnit,
    code: &Code,
    directory: &Path,
) -> Result<Vec<DebugSection>, AllocError> {
    let mut abbreviations = DebugSection::new(ABBREVIATIONS_NAME);
    abbreviations.bytes.extend_from_slice(ABBREVIATIONS);
    Ok(vec![abbreviations, info(unit, code, directory), lines(unit, code)])
}

/// The section that lists the addresses.
pub(super) fn addresses(sections: &[DebugSection]) -> Result<Option<Vec<u8>>, AllocError> {
    let lists = sections.iter().filter(|section| !section.addresses.is_empty());
    let lists = lists.map(|section| {
        (debug_addresses::stored_name(section.name), &b".text"[..], &*section.addresses)
    });
    debug_addresses::encode(&lists.collect::<Vec<_>>())
}

/// The section that lists the offsets in other debug sections.
pub(super) fn offsets(sections: &[DebugSection]) -> Result<Option<Vec<u8>>, AllocError> {
    let lists = sections.iter().flat_map(|section| {
        let debug = debug_addresses::stored_name(section.name);
        section.offsets.iter().map(move |(target, at)| (debug, *target, &at[..]))
    });
    debug_addresses::encode_offsets(&lists.collect::<Vec<_>>())
}

fn info(unit: &TranslationUnit, code: &Code, directory: &Path) -> DebugSection {
    let mut info = DebugSection::new(b".debug_info");
    info.bytes.extend([0; 4]);
    info.bytes.extend(VERSION.to_le_bytes());
    info.put_offset(ABBREVIATIONS_NAME);
    // The size of an address, and the number of the abbreviation.
    info.bytes.extend([8, 1]);
    info.put_text("smf");
    info.put_text(unit.files.first().map_or("", String::as_str));
    info.put_text(directory);
    info.put_offset(LINES_NAME);
    info.put_address(0);
    info.bytes.extend((code.bytes.len() as u64).to_le_bytes());
    for (function, compiled) in unit.functions.iter().zip(&code.functions) {
        info.bytes.push(2);
        info.put_text(&function.symbol);
        info.put_unsigned(file_number(function));
        info.put_unsigned(function.line.into());
        info.put_address(compiled.start.into());
        info.bytes.extend(u64::from(compiled.size).to_le_bytes());
    }
    info.bytes.push(0);
    info.close(0);
    info
}

/// The number of the file of a function in the line program, from 1.
fn file_number(function: &FunctionDefinition) -> u64 {
    u64::from(function.file) + 1
}

fn lines(unit: &TranslationUnit, code: &Code) -> DebugSection {
    let mut lines = DebugSection::new(LINES_NAME);
    lines.bytes.extend([0; 4]);
    lines.bytes.extend(VERSION.to_le_bytes());
    let header = lines.bytes.len();
    lines.bytes.extend([0; 4]);
    lines.bytes.extend_from_slice(LINE_PROGRAM);
    // No directories; files without directory, time and size.
    lines.bytes.push(0);
    for file in &unit.files {
        lines.put_text(file);
        lines.bytes.extend([0, 0, 0]);
    }
    lines.bytes.push(0);
    lines.close(header);
    for (function, compiled) in unit.functions.iter().zip(&code.functions) {
        put_sequence(&mut lines, file_number(function), function.line, compiled);
    }
    lines.close(0);
    lines
}

/// The lines of a function. Its first instructions belong to its declaration.
fn put_sequence(lines: &mut DebugSection, file: u64, declared: u32, compiled: &CompiledCode) {
    lines.bytes.extend(SET_ADDRESS);
    lines.put_address(compiled.start.into());
    lines.bytes.push(DW_LNS_SET_FILE);
    lines.put_unsigned(file);
    let (mut at, mut line) = (compiled.start, 1);
    let first = (compiled.start, declared);
    for (offset, number) in std::iter::once(first).chain(compiled.lines.iter().copied()) {
        lines.bytes.push(DW_LNS_ADVANCE_PC);
        lines.put_unsigned(offset.saturating_sub(at).into());
        lines.bytes.push(DW_LNS_ADVANCE_LINE);
        lines.put_signed(i64::from(number) - i64::from(line));
        lines.bytes.push(DW_LNS_COPY);
        (at, line) = (offset.max(at), number);
    }
    lines.bytes.push(DW_LNS_ADVANCE_PC);
    lines.put_unsigned((compiled.start + compiled.size).saturating_sub(at).into());
    lines.bytes.extend(END_SEQUENCE);
}
