//! Addition of an entry to a section table.

use alloc::vec::Vec;
use core::ops::Range;

use crate::alloc_util::{try_push, try_reserve, try_with_capacity};
use crate::format::ext::{cached_code, prelink};
use crate::format::model::{Header, SectionFlags, SectionKind};
use crate::format::read::smf::Smf;
use crate::format::wire::{COMPACT_SECTION, Layout, PACKED_SECTION, SECTION_NAME, put};
use crate::format::write::module::section_number;
use crate::format::write::rewrite::{
    Change, Owner, RewriteError, overlaps, pad, place_of, put_entry, tail_of, with_payload,
};

/// Returns the file with an entry for an empty section of cached code.
pub(crate) fn with_entry(smf: &Smf<'_>) -> Result<(Vec<u8>, Change), RewriteError> {
    let mut change = Change { added: true, ..Change::default() };
    let file = match smf.layout() {
        Layout::Compact => behind_header(smf, &mut change)?,
        Layout::Native | Layout::Packed => at_end(smf)?,
        _ => return Err(RewriteError::NoRoom),
    };
    let with_image = image_of(&file, &mut change)?;
    Ok((with_image.unwrap_or(file), change))
}

/// Moves the table of the packed or the native layout to the end of the file, with one more entry.
fn at_end(smf: &Smf<'_>) -> Result<Vec<u8>, RewriteError> {
    let (file, base, stride) = (smf.file(), smf.base(), smf.layout().section_stride());
    let tail = tail_of(smf);
    let count = smf.sections().len();
    let old = place_of_table(smf)?;
    let table = file.get(old.clone()).ok_or(RewriteError::Differs)?;
    // Includes padding and the new entry.
    let room = [file.len(), table.len(), 8, stride].into_iter().try_fold(0, usize::checked_add);
    let mut new = try_with_capacity(room.ok_or(RewriteError::TooLarge)?)?;
    new.extend_from_slice(file.get(..file.len() - tail.len()).ok_or(RewriteError::Differs)?);
    if !overlaps(smf, Owner::Table, &old) {
        new.get_mut(old).unwrap_or(&mut []).fill(0);
    }
    pad(&mut new, base);
    let at = (new.len() as u64).checked_sub(base).ok_or(RewriteError::Differs)?;
    new.extend_from_slice(table);
    let end = at.checked_add(count as u64 * stride as u64 + stride as u64);
    let entry = wide_entry(smf.layout(), end.ok_or(RewriteError::TooLarge)?);
    new.extend_from_slice(entry.get(..stride).ok_or(RewriteError::NoRoom)?);
    let place = if tail.is_empty() { smf.header_offset() } else { new.len() as u64 };
    new.extend_from_slice(tail);
    put_header(smf, &mut new, place, at)?;
    Ok(new)
}

/// The span of the section table in the file.
fn place_of_table(smf: &Smf<'_>) -> Result<Range<usize>, RewriteError> {
    let at = smf.base().checked_add(smf.header().section_table).ok_or(RewriteError::Differs)?;
    let at = usize::try_from(at).map_err(|_| RewriteError::TooLarge)?;
    let len = smf.sections().len().checked_mul(smf.layout().section_stride());
    let end = len.and_then(|len| at.checked_add(len)).ok_or(RewriteError::TooLarge)?;
    Ok(at..end)
}

/// An entry of the packed or the native layout (FORMAT.md, section 2).
fn wide_entry(layout: Layout, offset: u64) -> [u8; PACKED_SECTION] {
    let mut entry = [0; PACKED_SECTION];
    let kind = section_number(layout, SectionKind::Note, cached_code::NAME).unwrap_or(0);
    put(&mut entry, 0, &[kind]);
    put(&mut entry, 4, &SectionFlags::READ.to_le_bytes());
    put(&mut entry, 8, &offset.to_le_bytes());
    put(&mut entry, 32, &8u64.to_le_bytes());
    put(&mut entry, 40, cached_code::NAME);
    entry
}

/// Increments the section count in the header and updates the offset of the table.
fn put_header(smf: &Smf<'_>, file: &mut [u8], at: u64, table: u64) -> Result<(), RewriteError> {
    let old = smf.header();
    let section_count = old.section_count.checked_add(1).ok_or(RewriteError::TooLarge)?;
    let header = Header { section_count, section_table: table, ..old };
    let place = usize::try_from(at).ok().and_then(|at| file.get_mut(at..)?.first_chunk_mut());
    header.encode(place.ok_or(RewriteError::Differs)?, smf.layout());
    Ok(())
}

/// Extends the compact table by one entry. Sections in its way move to the end of the file.
fn behind_header(smf: &Smf<'_>, change: &mut Change) -> Result<Vec<u8>, RewriteError> {
    let place = place_of_compact_entry(smf)?;
    let mut file = try_with_capacity(smf.file().len().max(place.end))?;
    file.extend_from_slice(smf.file());
    file.resize(file.len().max(place.end), 0);
    for section in smf.sections().iter() {
        let own = place_of(smf, &section)?;
        if own.is_empty() || own.start >= place.end || own.end <= place.start {
            continue;
        }
        if overlaps(smf, Owner::Section(section.index), &own) {
            return Err(RewriteError::NoRoom);
        }
        try_push(&mut change.moved, section.index)?;
        // Includes padding.
        try_reserve(&mut file, own.len().saturating_add(8))?;
        pad(&mut file, smf.base());
        let at = file.len() as u64;
        file.extend_from_slice(smf.file().get(own.clone()).unwrap_or(&[]));
        file.get_mut(own).unwrap_or(&mut []).fill(0);
        put_entry(smf, &section, &mut file, at, section.size)?;
    }
    let end = file.len() as u64;
    let mut entry = [0; COMPACT_SECTION];
    put(&mut entry, 0, cached_code::NAME);
    put(&mut entry, SECTION_NAME, &end.to_le_bytes());
    file.get_mut(place).ok_or(RewriteError::Differs)?.copy_from_slice(&entry);
    put_header(smf, &mut file, smf.header_offset(), smf.header().section_table)?;
    Ok(file)
}

fn place_of_compact_entry(smf: &Smf<'_>) -> Result<Range<usize>, RewriteError> {
    let first = smf.sections().iter().next().ok_or(RewriteError::NoRoom)?.entry_offset;
    let stride = smf.layout().section_stride();
    let table = smf.sections().len().checked_mul(stride);
    let start = usize::try_from(first).ok().zip(table).and_then(|(at, len)| at.checked_add(len));
    let start = start.ok_or(RewriteError::TooLarge)?;
    Ok(start..start.checked_add(stride).ok_or(RewriteError::TooLarge)?)
}

/// Returns the file with prelink data for one more section, which is not loaded; `None` without prelink data.
fn image_of(file: &[u8], change: &mut Change) -> Result<Option<Vec<u8>>, RewriteError> {
    let smf = Smf::parse(file)?;
    let Some(section) = smf.sections().note(prelink::NAME) else { return Ok(None) };
    let payload = prelink::with_section(section.data).ok_or(RewriteError::Differs)??;
    try_push(&mut change.rewritten, section.index)?;
    with_payload(&smf, &section, &payload, false).map(Some)
}
