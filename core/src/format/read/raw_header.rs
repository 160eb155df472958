//! A header found in a file, and its section table.

use crate::format::error::{FormatError, Result, Table};
use crate::format::model::Header;
use crate::format::read::section::Sections;
use crate::format::wire::{Layout, NATIVE_HEADER, PACKED_HEADER, slice};

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
        table_offset: 0,
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
    Ok(Sections { table, table_offset, ..none })
}
