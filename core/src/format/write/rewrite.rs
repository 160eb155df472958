//! Replacement of note.sdn or of the [cached code](crate::format::ext::cached_code) in a module. All other bytes are
//! preserved, except the entry in the section table.
//!
//! No part that another part of the file refers to moves. A section at the end of the file, or directly before a
//! trailer, is replaced in place. Any other section moves there, and its old bytes are zeroed. A section therefore
//! moves only once, and the file grows by no more than the section. The stated size 0 of a note is preserved if its
//! terminator can still be found.
//!
//! If there is no section for cached code, its entry is added to the section table, which moves to the end of the file.
//! In the compact layout the table is fixed after the header, and sections that are in the way of the new entry move
//! instead. In a `.smf.image`, the new section is marked as not loaded.
//!
//! The new file is parsed and compared with the old one. It is refused if anything else differs.

use alloc::vec::Vec;
use core::ops::Range;

use thiserror::Error;

use crate::alloc_util::{AllocError, try_push, try_reserve, try_with_capacity};
use crate::format::error::{FormatError, ensure};
use crate::format::ext::{cached_code, prelink};
use crate::format::model::{Header, SectionFlags, SectionKind};
use crate::format::read::sdn::document::{NOTE_CAP, find_end};
use crate::format::read::{Section, Smf};
use crate::format::wire::{
    COMPACT_SECTION, Layout, PACKED_SECTION, SECTION_NAME, SYMBOL, bytes, offset_in, put, slice,
};
use crate::format::write::module::section_number;

/// The reason why a section of a module cannot be replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RewriteError {
    /// The module is invalid.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// The module has no note.
    #[error("the module has no note.sdn")]
    NoNote,
    /// A file of 4 GiB or more, which exceeds the offsets of the layout.
    #[error("the file would be too large for its tables")]
    TooLarge,
    /// A section entry cannot be added.
    #[error("no section entry can be added to the file")]
    NoRoom,
    /// The cached code is of an unsupported version.
    #[error("the file holds compiled code of an unsupported version, which cannot be replaced")]
    Foreign,
    /// The new file does not parse as the same module.
    #[error(
        "the section cannot be replaced: parts of the module overlap, and other parts would change"
    )]
    Differs,
}

impl From<AllocError> for RewriteError {
    fn from(_: AllocError) -> Self {
        RewriteError::Format(FormatError::OutOfMemory)
    }
}

/// Returns the file of `smf` with `note` as its note.
///
/// # Errors
/// [`RewriteError`].
pub fn with_note(smf: &Smf<'_>, note: &[u8]) -> Result<Vec<u8>, RewriteError> {
    let section = smf.note_section().ok_or(RewriteError::NoNote)?;
    let openended = section.size == 0 && find_end(note, NOTE_CAP) == Some(note.len());
    let new = with_payload(smf, &section, note, openended)?;
    let read = Smf::parse(&new)?;
    let read_note = read.note_bytes()?.map(|(bytes, _)| bytes);
    ensure(read_note == Some(note), RewriteError::Differs)?;
    check_same(smf, &read, &Change::of(&section)?)?;
    Ok(new)
}

/// Returns the file of `smf` with `payload` as its cached code.
///
/// # Errors
/// [`RewriteError`].
pub fn with_cached_code(smf: &Smf<'_>, payload: &[u8]) -> Result<Vec<u8>, RewriteError> {
    let is_foreign = cached_code::payload_of(smf).is_some_and(cached_code::is_foreign);
    ensure(!is_foreign, RewriteError::Foreign)?;
    let prepared;
    let (roomy, mut change) = match smf.sections().named(cached_code::NAME) {
        Some(section) => (*smf, Change::of(&section)?),
        None => {
            let (file, change) = with_entry(smf)?;
            prepared = file;
            (Smf::parse(&prepared)?, change)
        }
    };
    let section = roomy.sections().named(cached_code::NAME).ok_or(RewriteError::Differs)?;
    try_push(&mut change.rewritten, section.index)?;
    let new = with_payload(&roomy, &section, payload, false)?;
    let read = Smf::parse(&new)?;
    ensure(cached_code::payload_of(&read) == Some(payload), RewriteError::Differs)?;
    check_same(smf, &read, &change)?;
    Ok(new)
}

/// The permitted differences between an old file and the new one.
#[derive(Debug, Default)]
struct Change {
    /// Sections with new contents.
    rewritten: Vec<u32>,
    /// Sections that moved.
    moved: Vec<u32>,
    /// Whether the new file has one more section.
    added: bool,
}

impl Change {
    fn of(section: &Section<'_>) -> Result<Self, RewriteError> {
        // A second section may be added later.
        let mut rewritten = try_with_capacity(2)?;
        rewritten.push(section.index);
        Ok(Self { rewritten, ..Self::default() })
    }
}

/// Returns the file with new bytes for a section. `openended`: the size is stated as 0.
fn with_payload(
    smf: &Smf<'_>,
    section: &Section<'_>,
    payload: &[u8],
    openended: bool,
) -> Result<Vec<u8>, RewriteError> {
    let file = smf.file();
    let old = place_of(smf, section)?;
    let tail = tail_of(smf);
    let body = file.get(..file.len() - tail.len()).ok_or(RewriteError::Differs)?;
    let shared = overlaps(smf, Some(section.index), &old);
    let stays = old.end == body.len() && !shared;
    let len = file.len().checked_add(payload.len()).and_then(|len| len.checked_add(8));
    let mut new = try_with_capacity(len.ok_or(RewriteError::TooLarge)?)?;
    new.extend_from_slice(body);
    if stays {
        new.truncate(old.start);
    } else {
        // Padding must not overlap bytes that another table refers to.
        if !shared {
            new.get_mut(old).unwrap_or(&mut []).fill(0);
        }
        pad(&mut new, smf.base());
    }
    let at = new.len() as u64;
    new.extend_from_slice(payload);
    new.extend_from_slice(tail);
    let size = if openended { 0 } else { payload.len() as u64 };
    put_entry(smf, section, &mut new, at, size)?;
    Ok(new)
}

/// Pads a file to the alignment of a payload.
fn pad(file: &mut Vec<u8>, base: u64) {
    let missing = base.wrapping_sub(file.len() as u64) % 8;
    file.extend((0..missing).map(|_| 0));
}

/// The span of a section in the file.
fn place_of(smf: &Smf<'_>, section: &Section<'_>) -> Result<Range<usize>, RewriteError> {
    let at = usize::try_from(section.offset).map_err(|_| RewriteError::TooLarge)?;
    let is_note = smf.note_section().is_some_and(|note| note.index == section.index);
    let len = if section.is_compressed() || section.size != 0 || !is_note {
        section.data.len()
    } else {
        smf.note_bytes()?.map_or(0, |(bytes, _)| bytes.len())
    };
    Ok(at..at.saturating_add(len))
}

/// The bytes that must stay at the end of the file: a header that is a trailer.
fn tail_of<'d>(smf: &Smf<'d>) -> &'d [u8] {
    let file = smf.file();
    let header = smf.layout().header_len() as u64;
    let from = file.len() as u64 - header.min(file.len() as u64);
    let is_trailer = smf.header_offset() == from && smf.header_offset() != 0;
    if is_trailer { slice(file, from, header).unwrap_or(&[]) } else { &[] }
}

/// Whether a part other than the owner shares bytes with this span. The owner is a section, or the section table
/// (`None`).
fn overlaps(smf: &Smf<'_>, owner: Option<u32>, place: &Range<usize>) -> bool {
    let hits = |at: u64, len: u64| {
        let (start, end) = (place.start as u64, place.end as u64);
        len != 0 && at < end && start < at.saturating_add(len)
    };
    let layout = smf.layout();
    let mut sections = smf.sections().iter().filter(|section| Some(section.index) != owner);
    let stride = layout.section_stride() as u64;
    let mut entries = smf.sections().iter().filter(|_| owner.is_some());
    let symbols = smf.symbols();
    hits(smf.header_offset(), layout.header_len() as u64)
        || sections.any(|section| hits(section.offset, section.data.len() as u64))
        || entries.any(|section| hits(section.entry_offset, stride))
        || symbols.iter().flatten().any(|symbol| {
            let name = symbol.name();
            hits(symbol.entry_offset, SYMBOL as u64)
                || hits(offset_in(smf.file(), name), name.len() as u64)
        })
}

/// Updates the offset and the size in the entry of a section.
fn put_entry(
    smf: &Smf<'_>,
    section: &Section<'_>,
    file: &mut [u8],
    at: u64,
    size: u64,
) -> Result<(), RewriteError> {
    let offset = at.checked_sub(smf.base()).ok_or(RewriteError::Differs)?;
    let mut put = |field: u64, bytes: &[u8]| {
        bytes::put(file, usize::try_from(section.entry_offset.saturating_add(field)).ok()?, bytes)
    };
    let done = match smf.layout() {
        // The fields of FORMAT.md, section 2.
        Layout::Compact => {
            put(16, &offset.to_le_bytes()).and_then(|()| put(24, &size.to_le_bytes()))
        }
        _ => {
            let flags = section.flags.0 & !SectionFlags::COMPRESSED;
            let fields = [offset, size, size].map(u64::to_le_bytes);
            put(4, &flags.to_le_bytes()).and_then(|()| put(8, fields.as_flattened()))
        }
    };
    done.ok_or(RewriteError::Differs)
}

/// Checks that everything except the permitted differences is equal.
fn check_same(old: &Smf<'_>, new: &Smf<'_>, change: &Change) -> Result<(), RewriteError> {
    let added = u32::from(change.added);
    let mut header = old.header();
    header.section_count = header.section_count.saturating_add(added);
    if change.added {
        header.section_table = new.header().section_table;
    }
    let same_file = new.layout() == old.layout()
        && new.header() == header
        && new.base() == old.base()
        && new.sections().len() as u64 == old.sections().len() as u64 + u64::from(added)
        && new.symbols().len() == old.symbols().len();
    ensure(same_file, RewriteError::Differs)?;
    for (a, b) in old.sections().iter().zip(new.sections().iter()) {
        let same = (a.name, a.kind) == (b.name, b.kind)
            && (change.rewritten.contains(&a.index)
                || (a.flags, a.virtual_size, a.alignment, a.data)
                    == (b.flags, b.virtual_size, b.alignment, b.data)
                    && (a.offset == b.offset || change.moved.contains(&a.index)));
        ensure(same, RewriteError::Differs)?;
    }
    for (a, b) in old.symbols().iter().zip(new.symbols().iter()) {
        let (a, b) = (a?, b?);
        let same = (a.name(), a.kind, a.value, a.size, a.section)
            == (b.name(), b.kind, b.value, b.size, b.section);
        ensure(same, RewriteError::Differs)?;
    }
    Ok(())
}

/// Returns the file with an entry for an empty section of cached code.
fn with_entry(smf: &Smf<'_>) -> Result<(Vec<u8>, Change), RewriteError> {
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
    let len = [file.len(), table.len(), 8, stride].into_iter().try_fold(0, usize::checked_add);
    let mut new = try_with_capacity(len.ok_or(RewriteError::TooLarge)?)?;
    new.extend_from_slice(file.get(..file.len() - tail.len()).ok_or(RewriteError::Differs)?);
    if !overlaps(smf, None, &old) {
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
        if overlaps(smf, Some(section.index), &own) {
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

#[cfg(test)]
mod tests {
    use std::format;
    use std::string::String;
    use std::vec;

    use super::*;
    use crate::format::ext::hash_index;
    use crate::format::model::Header;
    use crate::format::model::SectionKind;
    use crate::format::read::note::Possible;
    use crate::format::write::module::{Module, NewSection, NewSymbol, Place};
    use crate::testing::{flipped, some};

    const SAMPLES: [&[u8]; 3] = [
        include_bytes!("../../../../tests/samples/note-zero-size.smf"),
        include_bytes!("../../../../tests/samples/driver.smf"),
        include_bytes!("../../../../tests/samples/compact.smf"),
    ];

    fn note(rows: usize) -> Vec<u8> {
        let mut text = String::from("possible |template, type_args, mangled_name|\n");
        for row in 0..rows {
            text += &format!("    T{row}, i64, T{row}$i64\n");
        }
        (text + "# END_NOTE\n").into_bytes()
    }

    /// A module of each writable layout, with its note first, in the middle or last.
    fn made() -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        for (layout, stub) in
            [(Layout::Native, &b""[..]), (Layout::Packed, b""), (Layout::Packed, b"#!/bin/sh\n")]
        {
            for place in 0..3 {
                let payload = note(3);
                let section =
                    |kind, name, payload| NewSection { kind, name, ..hash_index::section(payload) };
                let mut sections = vec![
                    section(SectionKind::Code, b".text", &[0xc3; 24][..]),
                    section(SectionKind::Data, b".data", &[1; 8]),
                ];
                sections.insert(place, section(SectionKind::Note, b"note.sdn", &payload));
                let symbol =
                    |name, place| NewSymbol { name, place, size: 4, ..NewSymbol::default() };
                let code = Place::Section(if place == 0 { 1 } else { 0 });
                let symbols = [symbol(&b"run"[..], code), symbol(b"other", code)];
                let (sections, symbols) = (&sections, &symbols);
                let module = Module { layout, header: Header::default(), stub, sections, symbols };
                all.push(module.to_vec().unwrap());
            }
        }
        all
    }

    /// Samples and generated files, three of them under Miri.
    fn files() -> impl Iterator<Item = Vec<u8>> {
        let all: Vec<_> = SAMPLES.into_iter().map(<[u8]>::to_vec).chain(made()).collect();
        some(0..all.len(), 3).map(move |file| all[file].clone())
    }

    #[test]
    fn note_of_another_length_is_written_in_every_layout() {
        const MANY: usize = if cfg!(miri) { 20 } else { 100 };
        for file in files() {
            let smf = Smf::parse(&file).unwrap();
            let longer = with_note(&smf, &note(MANY)).unwrap();
            let once = Smf::parse(&longer).unwrap();
            once.verify().unwrap();
            assert_eq!(once.note().unwrap().unwrap().entries::<Possible>().count(), MANY);
            // The note moves once; afterwards the length of the file depends only on the note's length.
            let shorter = with_note(&once, &note(1)).unwrap();
            assert_eq!(longer.len() - shorter.len(), note(MANY).len() - note(1).len());
            let again = with_note(&Smf::parse(&shorter).unwrap(), &note(MANY)).unwrap();
            assert_eq!(again, longer);
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "searches a mebibyte byte for byte")]
    fn zero_size_is_preserved_if_the_end_is_computable() {
        let smf = Smf::parse(SAMPLES[0]).unwrap();
        assert_eq!(smf.note_section().unwrap().size, 0);
        let file = with_note(&smf, &note(5)).unwrap();
        let once = Smf::parse(&file).unwrap();
        assert_eq!(once.note_section().unwrap().size, 0);
        // The old text is erased, so that a search of the file finds only the new one.
        let old = smf.note_bytes().unwrap().unwrap().0;
        assert!(!file.windows(40).any(|part| part == &old[..40]));
        for large in [note(60_000), note(5)[..20].to_vec()] {
            let file = with_note(&once, &large).unwrap();
            assert_eq!(Smf::parse(&file).unwrap().note_section().unwrap().size, large.len() as u64);
        }
    }

    /// Cached code is added and removed in every layout without other changes.
    #[test]
    fn code_is_written_in_every_layout() {
        let record = |len| {
            let code = vec![0xc3; len];
            let code = cached_code::CachedCode::new(crate::format::Arch::X86_64, b"f", 1, &code);
            cached_code::encode([&code.encode(&[], &[]).unwrap()[..]].into_iter()).unwrap()
        };
        let packed = include_bytes!("../../../../tests/samples/packed.smf");
        let stubbed = include_bytes!("../../../../tests/samples/stub-declared.smf");
        for file in files().chain([&packed[..], &stubbed[..]].map(<[u8]>::to_vec)) {
            let smf = Smf::parse(&file).unwrap();
            let once = with_cached_code(&smf, &record(40)).unwrap();
            let read = Smf::parse(&once).unwrap();
            read.verify().unwrap();
            assert_eq!(cached_code::payload_of(&read), Some(&record(40)[..]));
            for (a, b) in smf.sections().iter().zip(read.sections().iter()) {
                assert_eq!((a.name, a.data), (b.name, b.data));
            }
            // The section exists now and takes as many bytes as its payload.
            let longer = with_cached_code(&read, &record(400)).unwrap();
            assert_eq!(longer.len(), once.len() + 360);
            let again = with_cached_code(&Smf::parse(&longer).unwrap(), &record(40)).unwrap();
            assert_eq!(again, once);
            // Both replacements in sequence, as a loader performs them.
            if let Ok(noted) = with_note(&read, &note(7)) {
                let noted = Smf::parse(&noted).unwrap();
                assert_eq!(cached_code::payload_of(&noted), Some(&record(40)[..]));
                assert_eq!(noted.note().unwrap().unwrap().entries::<Possible>().count(), 7);
            }
        }
    }

    /// The prelink data counts the sections and remains valid.
    #[test]
    fn added_section_extends_the_image() {
        use crate::format::ext::prelink;
        use crate::format::ext::prelink::Prelink;
        let offsets = [Some(0), Some(4096), None, None, None];
        let mut plan = prelink::encode(&offsets, &[]).unwrap();
        prelink::append_relative(&mut plan, &[2], &[4096, 4104]).unwrap();
        let section =
            |kind, name, payload| NewSection { kind, name, ..hash_index::section(payload) };
        let sections = [
            section(SectionKind::Code, &b".text"[..], &[0xc3; 16][..]),
            section(SectionKind::Data, b".data", &[0; 16]),
            section(SectionKind::Reloc, b".rela.data", &[]),
            section(SectionKind::Note, prelink::NAME, &plan),
            section(SectionKind::Note, b"note.sdn", b"possible |template|\n"),
        ];
        let (layout, header) = (Layout::Packed, Header::default());
        let module = Module { layout, header, stub: &[], sections: &sections, symbols: &[] };
        let file = module.to_vec().unwrap();
        let smf = Smf::parse(&file).unwrap();
        assert!(Prelink::of(&smf).unwrap().is_some());
        let new = with_cached_code(&smf, b"CODE\x01\0\0\0").unwrap();
        let new = Smf::parse(&new).unwrap();
        let plan = Prelink::of(&new).unwrap().unwrap();
        let places: Vec<_> = (0..6).map(|index| plan.section_offset(index)).collect();
        assert_eq!(places, [Some(0), Some(4096), None, None, None, None]);
        assert!(plan.is_relative(2) && plan.relative_relocs().places().eq([4096, 4104]));
    }

    #[test]
    fn code_of_another_version_is_not_rewritten() {
        let smf = Smf::parse(SAMPLES[1]).unwrap();
        let newer = with_cached_code(&smf, b"CODE\x02\0\0\0whatever").unwrap();
        let newer = Smf::parse(&newer).unwrap();
        assert_eq!(with_cached_code(&newer, b""), Err(RewriteError::Foreign));
    }

    #[test]
    fn module_without_note_is_refused() {
        let file = include_bytes!("../../../../tests/samples/packed.smf");
        assert_eq!(with_note(&Smf::parse(file).unwrap(), b"x"), Err(RewriteError::NoNote));
    }

    #[test]
    fn rewrite_of_a_damaged_file_leaves_the_code_unchanged() {
        for file in [SAMPLES[0], SAMPLES[2], &made()[4]] {
            for (_, damaged) in flipped(file) {
                let Ok(smf) = Smf::parse(&damaged) else { continue };
                if let Ok(new) = with_cached_code(&smf, b"CODE\x01\0\0\0") {
                    let new = Smf::parse(&new).unwrap();
                    assert_eq!(new.code().map(|code| code.data), smf.code().map(|code| code.data));
                }
                let Ok(new) = with_note(&smf, &note(2)) else { continue };
                let new = Smf::parse(&new).unwrap();
                assert_eq!(new.note_bytes().unwrap().unwrap().0, note(2));
                assert_eq!(new.code().map(|code| code.data), smf.code().map(|code| code.data));
            }
        }
    }
}
