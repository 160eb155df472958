//! The pages of an image that may be pages of the module's file, which processes share.
//!
//! These are the pages of a large read-only section, if nothing is relocated in it and its file offset and its offset
//! in the image have the same distance from a page boundary. A page that the section shares with others in the image,
//! and every other section, is copied. Behind the section, its last page holds what follows in the file. Writers align
//! large read-only sections in the file accordingly.

use alloc::vec::Vec;
use core::ops::Range;

use super::error::{LinkError, Result};
use super::layout::{ImageLayout, to_usize};
use crate::alloc_util::sort::sort_by_key;
use crate::alloc_util::{try_filled, try_push, try_with_capacity};
use crate::format::bytes::offset_in;
use crate::format::ext::prelink::Prelink;
use crate::format::{Section, SectionKind, Smf};
use crate::memory::{FilePart, PageCount, Protection};

/// The smallest number of bytes for which a mapping of its own takes less time than a copy.
const MIN_PART: u64 = 16 << 10;

/// The read-only section that the linker reads in the image before that is published.
const READ_BY_LINKER: &[u8] = b".tdata";

/// Bytes of a section that are copied to the image.
pub(super) struct Piece<'d> {
    /// Offsets in the image.
    pub(super) place: Range<usize>,
    pub(super) section: Section<'d>,
    /// The offset in the section.
    pub(super) from: usize,
}

/// The parts of the image that may be pages of `file`, which `smf` lies in; in ascending order, disjoint.
pub(super) fn find(smf: &Smf<'_>, layout: &ImageLayout<'_>, file: &[u8]) -> Result<Vec<FilePart>> {
    let mut is_relocated = try_filled(layout.sections.len(), &false)?;
    for table in smf.reloc_tables() {
        let table = &table?;
        let target = is_relocated.get_mut(to_usize(table.target.index));
        if let Some(target) = target.filter(|_| !table.is_empty()) {
            let prelink = layout.prelink();
            *target |= !prelink.is_some_and(|plan| plan.is_prelinked(table.section.index));
        }
    }
    let mut parts = Vec::new();
    for (section, is_relocated) in smf.sections().iter().zip(is_relocated) {
        let found = if is_relocated { None } else { part_of(&section, layout, file)? };
        // The file may have no relocations for the words that the image lists.
        let has_words = |plan: &Prelink<'_>| plan.relative_places_in(&section).next().is_some();
        if let Some(part) = found.filter(|_| !layout.prelink().is_some_and(has_words)) {
            try_push(&mut parts, part)?;
        }
    }
    sort_by_key(&mut parts, |part| part.offset);
    Ok(parts)
}

/// The whole pages of a section that is not relocated.
fn part_of(
    section: &Section<'_>,
    layout: &ImageLayout<'_>,
    file: &[u8],
) -> Result<Option<FilePart>> {
    let protection = match section.kind {
        SectionKind::Code => Protection::ReadExecute,
        SectionKind::RoData => Protection::Read,
        _ => return Ok(None),
    };
    let Some(start) = layout.section(section.index) else { return Ok(None) };
    let len = section.data.len() as u64;
    if section.is_compressed() || section.name == READ_BY_LINKER || len < MIN_PART {
        return Ok(None);
    }
    let (page, in_file) = (PageCount::one().bytes() as u64, offset_in(file, section.data));
    let is_in_file = usize::try_from(in_file).ok().and_then(|at| file.get(at..));
    if is_in_file.is_none_or(|bytes| bytes.as_ptr() != section.data.as_ptr()) {
        return Ok(None);
    }
    let Some(first) = start.checked_next_multiple_of(page) else { return Ok(None) };
    let end = end_of_part(section, layout, start.saturating_add(len));
    // No file is so large that this overflows.
    let file_offset = in_file.saturating_add(first - start);
    if !file_offset.is_multiple_of(page) || end.saturating_sub(first) < MIN_PART {
        return Ok(None);
    }
    let (offset, size) = (PageCount::exact(first)?, PageCount::exact(end - first)?);
    Ok(Some(FilePart { offset, size, file_offset, protection }))
}

/// The end of the last page of a section that ends at `end`, if only that section uses the page; otherwise its start.
fn end_of_part(section: &Section<'_>, layout: &ImageLayout<'_>, end: u64) -> u64 {
    let page = PageCount::one().bytes() as u64;
    let next = end.checked_next_multiple_of(page).unwrap_or(end);
    let is_alone = section.memory_size() <= section.data.len() as u64;
    if is_alone && layout.is_free(&(end..next)) { next } else { end / page * page }
}

/// Every byte of the file that belongs to the image and lies in none of `parts`, in ascending order.
pub(super) fn pieces<'d>(
    smf: &Smf<'d>,
    layout: &ImageLayout<'_>,
    parts: &[FilePart],
) -> Result<Vec<Piece<'d>>> {
    let mut pieces = try_with_capacity(layout.sections.len().saturating_add(parts.len()))?;
    let to_usize = |number: u64| usize::try_from(number).map_err(|_| LinkError::TooLarge);
    for (at, section) in layout.sections.iter().zip(smf.sections().iter()) {
        let Some(start) = at.filter(|_| !section.data.is_empty()) else { continue };
        let (start, len) = (to_usize(start)?, to_usize(section.contents_size())?);
        let end = start.checked_add(len).ok_or(LinkError::TooLarge)?;
        let part = parts.iter().find(|part| (start..end).contains(&part.offset.bytes()));
        let skipped = part.map_or(end..end, |part| {
            let first = part.offset.bytes();
            first..first.saturating_add(part.size.bytes())
        });
        for place in [start..skipped.start, skipped.end..end] {
            if !place.is_empty() {
                let from = place.start - start;
                pieces.push(Piece { place, section, from });
            }
        }
    }
    sort_by_key(&mut pieces, |piece| piece.place.start);
    Ok(pieces)
}

/// Whether a part lies between two pieces.
pub(super) fn is_between(parts: &[FilePart], one: &Piece<'_>, next: &Piece<'_>) -> bool {
    let between = one.place.end..next.place.start;
    parts.iter().any(|part| between.contains(&part.offset.bytes()))
}

/// Whether a part lies in a section of `size` bytes at the offset `start` in the image.
pub(super) fn is_in(parts: &[FilePart], start: usize, size: usize) -> bool {
    let section = start..start.saturating_add(size);
    parts.iter().any(|part| section.contains(&part.offset.bytes()))
}
