//! Debugging information of generated code: its functions and lines, as debuggers read them.
//!
//! One compilation unit has the functions, and refers to a line program with a sequence for each of them. The unit has
//! no language, so that debuggers do not interpret names.
//!
//! Source: DWARF 4, 6.2 "Line Number Information", 7.5 "Format of Debugging Information".

use smf_core::alloc_util::{AllocError, try_push};

use super::elf::DebugSection;
use super::function::Function;
use super::lines::Lines;
use crate::fallible_buf::FallibleBuf;

const VERSION: u16 = 4;
const DW_TAG_COMPILE_UNIT: u8 = 0x11;
const DW_TAG_SUBPROGRAM: u8 = 0x2e;
const DW_AT_NAME: u8 = 0x03;
const DW_AT_STMT_LIST: u8 = 0x10;
const DW_AT_LOW_PC: u8 = 0x11;
const DW_AT_HIGH_PC: u8 = 0x12;
const DW_AT_EXTERNAL: u8 = 0x3f;
const DW_FORM_ADDR: u8 = 0x01;
const DW_FORM_DATA8: u8 = 0x07;
const DW_FORM_STRING: u8 = 0x08;
const DW_FORM_SEC_OFFSET: u8 = 0x17;
const DW_FORM_FLAG_PRESENT: u8 = 0x19;
/// A unit with a name, addresses and lines; a function with a name and addresses.
const ABBREVIATIONS: &[u8] = &[
    1,
    DW_TAG_COMPILE_UNIT,
    1,
    DW_AT_NAME,
    DW_FORM_STRING,
    DW_AT_LOW_PC,
    DW_FORM_ADDR,
    DW_AT_HIGH_PC,
    DW_FORM_DATA8,
    DW_AT_STMT_LIST,
    DW_FORM_SEC_OFFSET,
    0,
    0,
    2,
    DW_TAG_SUBPROGRAM,
    0,
    DW_AT_NAME,
    DW_FORM_STRING,
    DW_AT_LOW_PC,
    DW_FORM_ADDR,
    DW_AT_HIGH_PC,
    DW_FORM_DATA8,
    DW_AT_EXTERNAL,
    DW_FORM_FLAG_PRESENT,
    0,
    0,
    0,
];

const DW_LNS_COPY: u8 = 1;
const DW_LNS_ADVANCE_PC: u8 = 2;
const DW_LNS_ADVANCE_LINE: u8 = 3;
const DW_LNS_SET_FILE: u8 = 4;
const DW_LNE_END_SEQUENCE: u8 = 1;
const DW_LNE_SET_ADDRESS: u8 = 2;
/// Instructions of 1 byte, statements by default, no special opcodes beyond those that a header needs, and the numbers
/// of operands of the standard opcodes.
const LINE_PROGRAM: &[u8] = &[1, 1, 1, 0, 1, 13, 0, 1, 1, 1, 1, 0, 0, 0, 1, 0, 0, 1];

/// The sections `.debug_abbrev`, `.debug_info` and `.debug_line` of functions with the lines of each; none without lines.
///
/// # Errors
/// Allocation failure.
pub(super) fn sections(
    functions: &[Function<'_>],
    lines: &[Lines<'_>],
) -> Result<Vec<DebugSection>, AllocError> {
    let mut sections = Vec::new();
    let Some(first) = lines.iter().find(|lines| !lines.rows.is_empty()) else {
        return Ok(sections);
    };
    let mut abbreviations = FallibleBuf::default();
    abbreviations.put(ABBREVIATIONS);
    for (name, bytes) in [
        (&b".debug_abbrev"[..], abbreviations.finish()?),
        (b".debug_info", unit(functions, first.file)?),
        (b".debug_line", line_program(functions, lines)?),
    ] {
        try_push(&mut sections, DebugSection { name, address: 0, bytes })?;
    }
    Ok(sections)
}

/// The entries of the compilation unit.
fn unit(functions: &[Function<'_>], file: &[u8]) -> Result<Vec<u8>, AllocError> {
    let start = functions.iter().map(|function| function.address).min().unwrap_or(0);
    let end = functions.iter().map(|function| function.address.saturating_add(function.size));
    let end = end.max().unwrap_or(0);
    let mut unit = FallibleBuf::default();
    unit.put(&VERSION.to_le_bytes());
    // The offset of the abbreviations, and the size of an address.
    unit.put(&[0, 0, 0, 0, 8]);
    unit.put(&[1]);
    put_name(&mut unit, file);
    unit.put_u64(&[start, end.saturating_sub(start)]);
    // The offset of the line program.
    unit.put_u32(&[0]);
    for function in functions {
        unit.put(&[2]);
        put_name(&mut unit, function.name);
        unit.put_u64(&[function.address, function.size]);
    }
    unit.put(&[0]);
    with_length(unit)
}

/// The line program, with a sequence for each function that has lines.
fn line_program(functions: &[Function<'_>], lines: &[Lines<'_>]) -> Result<Vec<u8>, AllocError> {
    let mut header = FallibleBuf::default();
    header.put(LINE_PROGRAM);
    // No directories; a file for each function, without directory, time and size.
    header.put(&[0]);
    for Lines { file, .. } in lines {
        put_name(&mut header, if file.is_empty() { b"?" } else { file });
        header.put(&[0, 0, 0]);
    }
    header.put(&[0]);
    let header = header.finish()?;
    let mut program = FallibleBuf::default();
    program.put(&VERSION.to_le_bytes());
    program.put_u32(&[u32::try_from(header.len()).unwrap_or(0)]);
    program.put(&header);
    for ((function, lines), file) in functions.iter().zip(lines).zip(1..) {
        put_sequence(&mut program, function, file, lines);
    }
    with_length(program)
}

fn put_sequence(program: &mut FallibleBuf, function: &Function<'_>, file: u64, lines: &Lines<'_>) {
    let Some(first) = lines.rows.first() else { return };
    let (mut address, mut line) = (function.address, 1);
    program.put(&[0, 9, DW_LNE_SET_ADDRESS]);
    program.put_u64(&[address]);
    program.put(&[DW_LNS_SET_FILE]);
    put_uleb(program, file);
    // The prologue belongs to the first line.
    let rows = lines.rows.iter().skip(1).map(|row| (row.address, row.line));
    for (at, number) in std::iter::once((address, first.line)).chain(rows) {
        put_advance(program, at.saturating_sub(address));
        program.put(&[DW_LNS_ADVANCE_LINE]);
        put_sleb(program, i64::from(number) - i64::from(line));
        program.put(&[DW_LNS_COPY]);
        (address, line) = (at.max(address), number);
    }
    let end = function.address.saturating_add(function.size);
    put_advance(program, end.saturating_sub(address));
    program.put(&[0, 1, DW_LNE_END_SEQUENCE]);
}

fn put_advance(program: &mut FallibleBuf, bytes: u64) {
    program.put(&[DW_LNS_ADVANCE_PC]);
    put_uleb(program, bytes);
}

fn put_uleb(program: &mut FallibleBuf, mut number: u64) {
    while number >= 0x80 {
        program.put(&[low_bits(number) | 0x80]);
        number >>= 7;
    }
    program.put(&[low_bits(number)]);
}

fn put_sleb(program: &mut FallibleBuf, mut number: i64) {
    loop {
        let low = low_bits(number.cast_unsigned());
        number >>= 7;
        let is_last = matches!((number, low & 0x40), (0, 0) | (-1, 0x40));
        program.put(&[if is_last { low } else { low | 0x80 }]);
        if is_last {
            return;
        }
    }
}

/// The lower seven bits.
fn low_bits(number: u64) -> u8 {
    let [low, ..] = number.to_le_bytes();
    low & 0x7f
}

/// Appends a name up to its first NUL, and a NUL.
fn put_name(buffer: &mut FallibleBuf, name: &[u8]) {
    buffer.put(name.split(|&byte| byte == 0).next().unwrap_or_default());
    buffer.put(&[0]);
}

/// The bytes behind their length.
fn with_length(bytes: FallibleBuf) -> Result<Vec<u8>, AllocError> {
    let bytes = bytes.finish()?;
    let mut all = FallibleBuf::default();
    all.put_u32(&[u32::try_from(bytes.len()).map_err(|_| AllocError)?]);
    all.put(&bytes);
    all.finish()
}

#[cfg(test)]
#[cfg(feature = "inspect")]
mod tests {
    use addr2line::Context;
    use addr2line::gimli::{Dwarf, EndianSlice, Error, LittleEndian, SectionId};

    use super::*;
    use crate::tools::Line;

    #[test]
    fn lines_and_functions_are_found_by_an_independent_reader() {
        let functions = [("first", 0x1000, 0x300), ("second", 0x1400, 0x20)];
        let functions = functions.map(|(name, address, size)| Function {
            address,
            size,
            name: name.as_bytes(),
        });
        let row = |address, line| Line { address, line };
        let rows = [row(0x1004, 7), row(0x1010, 300), row(0x1200, 2)];
        let other = [row(0x1400, 9)];
        let lines = [Lines { file: b"a.spl", rows: &rows }, Lines { file: b"b.spl", rows: &other }];
        let sections = sections(&functions, &lines).unwrap();
        let load = |id: SectionId| {
            let section = sections.iter().find(|section| section.name == id.name().as_bytes());
            let bytes = section.map_or(&[][..], |section| &section.bytes);
            Ok::<_, Error>(EndianSlice::new(bytes, LittleEndian))
        };
        let context = Context::from_dwarf(Dwarf::load(load).unwrap()).unwrap();
        let line = |address| {
            let location = context.find_location(address).unwrap()?;
            Some((location.file?.to_owned(), location.line?))
        };
        for (address, expected) in
            [(0x1000, 7), (0x100f, 7), (0x1010, 300), (0x11ff, 300), (0x1200, 2), (0x12ff, 2)]
        {
            assert_eq!(line(address), Some(("a.spl".to_owned(), expected)), "{address:#x}");
        }
        assert_eq!(line(0x1404), Some(("b.spl".to_owned(), 9)));
        for address in [0xfff, 0x1300, 0x1420] {
            assert_eq!(line(address), None, "{address:#x}");
        }
        for (address, expected) in [(0x12ff, Some("first")), (0x1404, Some("second"))] {
            let mut frames = context.find_frames(address).skip_all_loads().unwrap();
            let found = frames.next().unwrap().and_then(|frame| frame.function);
            let name = found.map(|function| function.raw_name().unwrap().into_owned());
            assert_eq!(name.as_deref(), expected);
        }
    }

    #[test]
    fn code_without_lines_has_no_debugging_information() {
        let function = Function { address: 16, size: 5, name: b"f" };
        assert!(sections(&[function], &[Lines::NONE]).unwrap().is_empty());
        assert!(sections(&[function], &[]).unwrap().is_empty());
    }
}
