//! Debugging information of generated code: its functions and lines, as debuggers read them.
//!
//! One compilation unit has the functions, and refers to a line program with a sequence for each of them. The unit has
//! no language, so that debuggers do not interpret names.
//!
//! Source: DWARF 4, 6.2 "Line Number Information", 7.5 "Format of Debugging Information".

use smf_core::alloc_util::{AllocError, try_push};

use super::function::Function;
use super::lines::Line;
use crate::fallible_buf::FallibleBuf;

const VERSION: u16 = 4;
const DW_TAG_COMPILE_UNIT: u8 = 0x11;
const DW_TAG_SUBPROGRAM: u8 = 0x2e;
const DW_AT_NAME: u8 = 0x03;
const DW_AT_STMT_LIST: u8 = 0x10;
const DW_AT_LOW_PC: u8 = 0x11;
const DW_AT_HIGH_PC: u8 = 0x12;
const DW_AT_COMP_DIR: u8 = 0x1b;
const DW_AT_PRODUCER: u8 = 0x25;
const DW_AT_DECL_FILE: u8 = 0x3a;
const DW_AT_DECL_LINE: u8 = 0x3b;
const DW_AT_EXTERNAL: u8 = 0x3f;
const DW_FORM_ADDR: u8 = 0x01;
const DW_FORM_DATA8: u8 = 0x07;
const DW_FORM_STRING: u8 = 0x08;
const DW_FORM_UDATA: u8 = 0x0f;
const DW_FORM_SEC_OFFSET: u8 = 0x17;
const DW_FORM_FLAG_PRESENT: u8 = 0x19;
/// The attributes of a unit and of a function, with their forms, in the order in which [`info`] writes them.
const UNIT: &[[u8; 2]] = &[
    [DW_AT_PRODUCER, DW_FORM_STRING],
    [DW_AT_NAME, DW_FORM_STRING],
    [DW_AT_COMP_DIR, DW_FORM_STRING],
    [DW_AT_LOW_PC, DW_FORM_ADDR],
    [DW_AT_HIGH_PC, DW_FORM_DATA8],
    [DW_AT_STMT_LIST, DW_FORM_SEC_OFFSET],
    [0, 0],
];
const FUNCTION: &[[u8; 2]] = &[
    [DW_AT_NAME, DW_FORM_STRING],
    [DW_AT_DECL_FILE, DW_FORM_UDATA],
    [DW_AT_DECL_LINE, DW_FORM_UDATA],
    [DW_AT_LOW_PC, DW_FORM_ADDR],
    [DW_AT_HIGH_PC, DW_FORM_DATA8],
    [DW_AT_EXTERNAL, DW_FORM_FLAG_PRESENT],
    [0, 0],
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

const ABBREVIATIONS: &[u8] = b".debug_abbrev";
const INFO: &[u8] = b".debug_info";
const LINES: &[u8] = b".debug_line";

/// A function with its lines.
pub(crate) struct FunctionLines<'l> {
    pub(crate) function: Function<'l>,
    /// The number of the file, from 1; 0 without a file.
    pub(crate) file: u64,
    /// The line of its declaration, to which its first instructions belong.
    pub(crate) line: u32,
    /// By ascending address.
    pub(crate) rows: &'l [Line],
}

/// A section of debugging information, and the fields in it that depend on where the code and other sections are.
#[cfg_attr(
    not(all(feature = "source", feature = "pack")),
    allow(dead_code, reason = "generated code is in place, and modules have these fields")
)]
#[derive(Debug)]
pub(crate) struct Section {
    /// The ELF name.
    pub(crate) name: &'static [u8],
    pub(crate) bytes: Vec<u8>,
    /// The offsets of fields that hold addresses.
    pub(crate) addresses: Vec<u32>,
    /// The offsets of fields that hold the offset of the start of another section, behind the name of that.
    pub(crate) offsets: Vec<(&'static [u8], [u32; 1])>,
}

/// The sections for a unit of functions in these files, whose names may be relative to `directory`.
///
/// # Errors
/// Allocation failure.
pub(crate) fn sections<'f>(
    directory: &[u8],
    files: impl Iterator<Item = &'f [u8]> + Clone,
    functions: &[FunctionLines<'_>],
) -> Result<[Section; 3], AllocError> {
    let mut abbreviations = Writer::default();
    for (number, tag, children, attributes) in
        [(1, DW_TAG_COMPILE_UNIT, 1, UNIT), (2, DW_TAG_SUBPROGRAM, 0, FUNCTION)]
    {
        abbreviations.bytes.put(&[number, tag, children]);
        abbreviations.bytes.put(attributes.as_flattened());
    }
    abbreviations.bytes.put(&[0]);
    let file = files.clone().find(|file| !file.is_empty()).unwrap_or_default();
    let info = info(directory, file, functions)?;
    Ok([abbreviations.finish(ABBREVIATIONS)?, info, lines(files, functions)?])
}

#[derive(Default)]
struct Writer {
    bytes: FallibleBuf,
    addresses: Vec<u32>,
    offsets: Vec<(&'static [u8], [u32; 1])>,
}

impl Writer {
    /// The start of a unit, whose length [`finish_unit`](Self::finish_unit) fills in.
    fn new() -> Self {
        let mut unit = Self::default();
        unit.bytes.put(&[0; 4]);
        unit.bytes.put(&VERSION.to_le_bytes());
        unit
    }

    fn here(&self) -> Result<u32, AllocError> {
        u32::try_from(self.bytes.len()).map_err(|_| AllocError)
    }

    fn put_address(&mut self, address: u64) -> Result<(), AllocError> {
        let here = self.here()?;
        self.bytes.put(&address.to_le_bytes());
        try_push(&mut self.addresses, here)
    }

    fn put_range(&mut self, address: u64, size: u64) -> Result<(), AllocError> {
        self.put_address(address)?;
        self.bytes.put(&size.to_le_bytes());
        Ok(())
    }

    /// Appends the offset of the start of the section `target`.
    fn put_offset(&mut self, target: &'static [u8]) -> Result<(), AllocError> {
        let here = self.here()?;
        self.bytes.put(&[0; 4]);
        try_push(&mut self.offsets, (target, [here]))
    }

    fn put_advance(&mut self, bytes: u64) {
        self.bytes.put(&[DW_LNS_ADVANCE_PC]);
        self.bytes.put_uleb128(bytes);
    }

    fn finish(self, name: &'static [u8]) -> Result<Section, AllocError> {
        let Self { bytes, addresses, offsets } = self;
        Ok(Section { name, bytes: bytes.finish()?, addresses, offsets })
    }

    /// As [`finish`](Self::finish), for a [unit](Self::new).
    fn finish_unit(self, name: &'static [u8]) -> Result<Section, AllocError> {
        let length = self.here()?.saturating_sub(4);
        let mut section = self.finish(name)?;
        if let Some(place) = section.bytes.first_chunk_mut() {
            *place = length.to_le_bytes();
        }
        Ok(section)
    }
}

/// The entries of the unit.
fn info(
    directory: &[u8],
    file: &[u8],
    functions: &[FunctionLines<'_>],
) -> Result<Section, AllocError> {
    let all = functions.iter().map(|lines| &lines.function);
    let start = all.clone().map(|function| function.address).min().unwrap_or(0);
    let end = all.map(|function| function.address.saturating_add(function.size)).max();
    let mut unit = Writer::new();
    unit.put_offset(ABBREVIATIONS)?;
    // The size of an address, and the number of the abbreviation.
    unit.bytes.put(&[8, 1]);
    for text in [b"smf", file, directory] {
        put_name(&mut unit.bytes, text);
    }
    unit.put_range(start, end.unwrap_or(0).saturating_sub(start))?;
    unit.put_offset(LINES)?;
    for &FunctionLines { function, file, line, .. } in functions {
        unit.bytes.put(&[2]);
        put_name(&mut unit.bytes, function.name);
        unit.bytes.put_uleb128(file);
        unit.bytes.put_uleb128(line.into());
        unit.put_range(function.address, function.size)?;
    }
    unit.bytes.put(&[0]);
    unit.finish_unit(INFO)
}

/// The line program, with a sequence for each function that has lines.
fn lines<'f>(
    files: impl Iterator<Item = &'f [u8]>,
    functions: &[FunctionLines<'_>],
) -> Result<Section, AllocError> {
    let mut header = FallibleBuf::default();
    header.put(LINE_PROGRAM);
    // No directories; files without directory, time and size.
    header.put(&[0]);
    for file in files {
        put_name(&mut header, if file.is_empty() { b"?" } else { file });
        header.put(&[0, 0, 0]);
    }
    header.put(&[0]);
    let header = header.finish()?;
    let mut program = Writer::new();
    program.bytes.put(&u32::try_from(header.len()).map_err(|_| AllocError)?.to_le_bytes());
    program.bytes.put(&header);
    functions.iter().try_for_each(|function| put_sequence(&mut program, function))?;
    program.finish_unit(LINES)
}

fn put_sequence(program: &mut Writer, lines: &FunctionLines<'_>) -> Result<(), AllocError> {
    let &FunctionLines { function, file, line: declared, rows } = lines;
    if declared == 0 && rows.is_empty() {
        return Ok(());
    }
    let (mut address, mut line) = (function.address, 1);
    program.bytes.put(&[0, 9, DW_LNE_SET_ADDRESS]);
    program.put_address(address)?;
    program.bytes.put(&[DW_LNS_SET_FILE]);
    program.bytes.put_uleb128(file);
    let rows = rows.iter().map(|row| (row.address, row.line));
    for (at, number) in std::iter::once((address, declared)).chain(rows) {
        program.put_advance(at.saturating_sub(address));
        program.bytes.put(&[DW_LNS_ADVANCE_LINE]);
        program.bytes.put_sleb128(i64::from(number) - i64::from(line));
        program.bytes.put(&[DW_LNS_COPY]);
        (address, line) = (at.max(address), number);
    }
    let end = function.address.saturating_add(function.size);
    program.put_advance(end.saturating_sub(address));
    program.bytes.put(&[0, 1, DW_LNE_END_SEQUENCE]);
    Ok(())
}

/// Appends a name up to its first NUL, and a NUL.
fn put_name(buffer: &mut FallibleBuf, name: &[u8]) {
    buffer.put(name.split(|&byte| byte == 0).next().unwrap_or_default());
    buffer.put(&[0]);
}

#[cfg(test)]
#[cfg(feature = "inspect")]
mod tests {
    use addr2line::Context;
    use addr2line::gimli::{Dwarf, EndianSlice, Error, LittleEndian, SectionId};

    use super::*;

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
        let lines = |function, file, line, rows| FunctionLines { function, file, line, rows };
        let [first, second] = functions;
        let functions = [lines(first, 1, 7, &rows[..]), lines(second, 2, 8, &other[..])];
        let files = [&b"a.spl"[..], b"/b.spl"].into_iter();
        let sections = sections(b"/source", files, &functions).unwrap();
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
            assert_eq!(line(address), Some(("/source/a.spl".to_owned(), expected)), "{address:#x}");
        }
        assert_eq!(line(0x1404), Some(("/b.spl".to_owned(), 9)));
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
}
