//! Opening a module whose header was found. Every section entry is checked.

use crate::format::error::{
    CompressionError, FormatError, HeaderError, Result, SectionError, Table,
};
use crate::format::model::{Compression, Flags, Header, SectionFlags, SectionKind};
use crate::format::read::{Limits, Section, Sections, Smf, Symbols};
use crate::format::wire::{
    Layout, NATIVE_HEADER, PACKED_HEADER, SECTION_NAME, SYMBOL, offset_in, padded_name, slice,
};

/// A header in a file and the layout that it is decoded with.
#[derive(Clone, Copy)]
pub(crate) struct RawHeader<'d> {
    /// The whole file.
    pub(crate) data: &'d [u8],
    pub(crate) layout: Layout,
    pub(crate) bytes: &'d [u8; NATIVE_HEADER],
    /// The offset of the header in the file.
    pub(crate) at: u64,
}

/// The section table, which must lie inside the file and must not overlap a leading header.
#[inline]
pub(crate) fn section_table<'d>(
    data: &'d [u8],
    layout: Layout,
    header: &Header,
    at: u64,
    base: u64,
) -> Result<Sections<'d>> {
    let count = u64::from(header.section_count);
    let (offset, field) = match layout {
        Layout::Compact => (PACKED_HEADER as u64, layout.header_fields().section_count),
        _ => (header.section_table, layout.header_fields().section_table),
    };
    let outside =
        FormatError::TableOutside { table: Table::Sections, offset, count, at: at + field as u64 };
    let none = Sections {
        data,
        table: &[],
        layout,
        header_layout: layout,
        has_commons: false,
        symtab: 0,
        base,
    };
    if count == 0 {
        return Ok(none);
    }
    let table_offset = base.checked_add(offset).ok_or(outside)?;
    if at == 0 && table_offset < layout.header_len() as u64 {
        return Err(outside);
    }
    let len = count.checked_mul(layout.section_stride() as u64).ok_or(outside)?;
    let table = slice(data, table_offset, len).ok_or(outside)?;
    Ok(Sections { table, ..none })
}

impl<'d> Smf<'d> {
    /// Opens the module with this header, whose offsets count from `base`.
    pub(crate) fn open(head: RawHeader<'d>, base: u64, limits: Limits) -> Result<Self> {
        Self::open_as(head, base, limits)
    }

    /// As [`Smf::open`], inlined into the caller and so compiled for one layout where the layout is constant. Other
    /// functions take the sections by value: a reference would force this copy from registers to memory.
    // Row `parse` of the benchmark: compiled once for each layout.
    #[inline(always)]
    pub(crate) fn open_as(head: RawHeader<'d>, base: u64, limits: Limits) -> Result<Self> {
        let RawHeader { data, layout, bytes, at } = head;
        let header = Header::decode(bytes, layout);
        if base > data.len() as u64 {
            let at = at + layout.header_fields().data_offset as u64;
            return Err(HeaderError::StubOutside { size: base, at }.into());
        }
        let sections = section_table(data, layout, &header, at, base)?;
        if header.section_count > limits.sections {
            let at = at + layout.header_fields().section_count as u64;
            let (count, limit) = (header.section_count, limits.sections);
            return Err(SectionError::TooMany { count, limit, at }.into());
        }
        let (len, limit) = (data.len() as u64, limits.virtual_size);
        let (compression, flags) = (header.compression, header.flags);
        let bounds = |layout| Bounds { len, base, limit, layout, compression, flags };
        let found = match layout {
            Layout::Native => check_sections(&sections, bounds(Layout::Native))?,
            Layout::Compact => check_sections(&sections, bounds(Layout::Compact))?,
            _ => check_sections(&sections, bounds(Layout::Packed))?,
        };
        // Without decoders nothing is decompressed.
        if cfg!(feature = "compress") && compression != Compression::NONE {
            check_ratio(sections, limits)?;
        }
        let table = symbol_table(data, layout, &header, at, base)?;
        let strings = match found.strtab {
            Some(index) => contents(sections, index),
            None => implied_strings(data, table, at),
        };
        let symbols = Symbols::new(table, strings, sections, (found.code, found.data));
        Ok(Smf { header: bytes, header_offset: at, max_memory: limit, symbols })
    }
}

/// The bytes of a section that exists.
fn contents<'d>(sections: Sections<'d>, index: u32) -> &'d [u8] {
    sections.get(index).map_or(&[], |section| section.data)
}

/// The symbol table. Offset 0 means no table, whatever the count: bytecode files store their number of functions in the
/// count.
#[inline]
fn symbol_table<'d>(
    data: &'d [u8],
    layout: Layout,
    header: &Header,
    at: u64,
    base: u64,
) -> Result<&'d [u8]> {
    let count = u64::from(header.symbol_count);
    if header.symbol_table == 0 || matches!(layout, Layout::Compact | Layout::Dynlib) {
        return Ok(&[]);
    }
    let offset = header.symbol_table;
    let outside = FormatError::TableOutside {
        table: Table::Symbols,
        offset,
        count,
        at: at + layout.header_fields().symbol_table as u64,
    };
    let table_offset = base.checked_add(offset).ok_or(outside)?;
    slice(data, table_offset, count * SYMBOL as u64).ok_or(outside)
}

/// The string table of a file without a StrTab section: from the end of the symbol table to the trailer, or to the end
/// of the file.
fn implied_strings<'d>(data: &'d [u8], table: &[u8], header: u64) -> &'d [u8] {
    if table.is_empty() {
        return &[];
    }
    let start = offset_in(data, table) + table.len() as u64;
    let end = if header >= start { header } else { data.len() as u64 };
    end.checked_sub(start).and_then(|len| slice(data, start, len)).unwrap_or(&[])
}

/// The first sections of the kinds that other parts of the file refer to.
#[derive(Default)]
struct Found {
    code: Option<u32>,
    data: Option<u32>,
    strtab: Option<u32>,
}

/// The bounds and header fields that section entries are checked against.
#[derive(Clone, Copy)]
struct Bounds {
    /// The length of the file in bytes.
    len: u64,
    /// The base of the offsets in the file.
    base: u64,
    /// The maximum memory of all sections, in bytes.
    limit: u64,
    layout: Layout,
    compression: Compression,
    flags: Flags,
}

/// Checks every section entry. Compiled once for each layout. This loop takes nearly all of the time to open a file.
/// Values passed on by reference would stay in memory instead of registers, which would double the time.
// Row `parse` of the benchmark: compiled once for each layout.
#[inline(always)]
fn check_sections(sections: &Sections<'_>, bounds: Bounds) -> Result<Found> {
    let Bounds { len, base, limit, layout, .. } = bounds;
    let mut total = 0u64;
    let mut found = Found::default();
    for (index, entry) in sections.entries(layout) {
        // The check for plain entries is an optimisation; most entries are plain.
        total = match entry.plain_size(len, base) {
            Some(size) if size <= limit.saturating_sub(total) => total + size,
            _ => check_odd(*sections, index, bounds, total)?,
        };
        match entry.referred_kind() {
            Some(SectionKind::Code) => found.code = found.code.or(Some(index)),
            Some(SectionKind::Data) => found.data = found.data.or(Some(index)),
            Some(SectionKind::StrTab) => found.strtab = found.strtab.or(Some(index)),
            _ => {}
        }
    }
    Ok(found)
}

/// Checks the entry of a section that is not plain. `total` is the memory of the sections before it in bytes; returns
/// the total including this section.
fn check_odd(sections: Sections<'_>, index: u32, bounds: Bounds, total: u64) -> Result<u64> {
    let Bounds { len, base, limit, layout, compression, flags } = bounds;
    let Some((at, entry)) = sections.entry(index, layout) else { return Ok(total) };
    if !entry.fits(len, base) {
        return Err(entry.describe_error(len, base, index, at));
    }
    let total = total.saturating_add(entry.memory_size());
    if total > limit {
        return Err(SectionError::VirtualSize { total, limit, at }.into());
    }
    if entry.flags & SectionFlags::COMPRESSED != 0 {
        check_compression((compression, flags), (entry.kind(), entry.name()), index, at)?;
    }
    Ok(total)
}

/// A compressed section must use a known algorithm and must not be read in place. Code that is not executable may be
/// compressed.
fn check_compression(
    (compression, flags): (Compression, Flags),
    (kind, name): (SectionKind, &[u8; SECTION_NAME]),
    index: u32,
    at: u64,
) -> Result<()> {
    match compression {
        Compression::ZSTD | Compression::LZ4 => {}
        Compression::NONE => return Err(CompressionError::NoAlgorithm { index, at }.into()),
        _ => return Err(CompressionError::UnknownAlgorithm { index, compression, at }.into()),
    }
    let is_let_be = match kind {
        SectionKind::Code => !flags.has(Flags::EXECUTABLE),
        SectionKind::Bss => true,
        _ => kind.is_compressible(padded_name(name)),
    };
    if is_let_be { Ok(()) } else { Err(CompressionError::SectionKind { index, kind, at }.into()) }
}

/// Checks the decompressed sizes that compressed sections claim against their sizes in the file: for each section, and
/// for all of them together, with shared bytes counted once.
fn check_ratio(sections: Sections<'_>, limits: Limits) -> Result<()> {
    let len = sections.data.len() as u64;
    let (mut stored, mut claimed) = (0u64, 0u64);
    for section in sections.iter().filter(Section::is_compressed) {
        stored = stored.saturating_add(section.size).min(len);
        claimed = claimed.saturating_add(section.virtual_size);
        for (size, virtual_size) in [(section.size, section.virtual_size), (stored, claimed)] {
            let limit = limits.max_decompressed(size);
            if virtual_size > limit {
                let (index, at) = (section.index, section.entry_offset);
                return Err(CompressionError::Ratio { index, size, virtual_size, limit, at }.into());
            }
        }
    }
    Ok(())
}
