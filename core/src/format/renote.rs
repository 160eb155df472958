//! A module with another note.sdn: the same file, byte by byte, but for the note and its entry in the
//! section table.
//!
//! Nothing that another part of the file refers to moves. A note that ends where the file ends, or where
//! a trailer begins, is replaced there; any other one is put there, and what it was is filled with
//! zeroes, so that a note moves once and the file does not grow by more than its note does. A note whose
//! size is stated as 0 keeps saying so, as long as its end can be found that way.
//!
//! The new file is read again before it is handed out, and is refused if anything but the note differs.

use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;

use super::bytes::{offset_in, slice};
use super::error::FormatError;
use super::file::Smf;
use super::layout::{Layout, SYMBOL};
use super::sdn::{NOTE_CAP, find_end};
use super::section::{Section, SectionFlags};

/// Why a module cannot be given another note.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RenoteError {
    /// The module is not sound.
    Format(FormatError),
    /// There is no note to be replaced.
    NoNote,
    /// A file of 4 GiB and more, where the layout counts no further.
    TooLarge,
    /// The module that would come out does not read as the same one.
    Differs,
}

impl fmt::Display for RenoteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RenoteError::Format(error) => error.fmt(f),
            RenoteError::NoNote => f.write_str("the module has no note.sdn"),
            RenoteError::TooLarge => f.write_str("the file would be too large for its tables"),
            RenoteError::Differs => f.write_str(
                "the module cannot be given another note.sdn: its parts overlap, and others would change",
            ),
        }
    }
}

impl core::error::Error for RenoteError {}

impl From<FormatError> for RenoteError {
    fn from(error: FormatError) -> Self {
        RenoteError::Format(error)
    }
}

/// The file of `smf` with `note` for its note.
///
/// # Errors
/// [`RenoteError`].
pub fn with_note(smf: &Smf<'_>, note: &[u8]) -> Result<Vec<u8>, RenoteError> {
    let section = smf.note_section().ok_or(RenoteError::NoNote)?;
    let file = smf.file();
    let old = place_of(smf, &section)?;
    let tail = tail_of(smf);
    let body = file.get(..file.len() - tail.len()).ok_or(RenoteError::Differs)?;
    let stays = old.end == body.len() && !overlaps(smf, &section, &old);
    let mut new = Vec::new();
    let room = file.len().checked_add(note.len()).and_then(|len| len.checked_add(8));
    new.try_reserve_exact(room.ok_or(RenoteError::TooLarge)?).map_err(|_| RenoteError::TooLarge)?;
    new.extend_from_slice(body);
    if stays {
        new.truncate(old.start);
    } else {
        // What only fills in may not be what somebody else reads.
        if !overlaps(smf, &section, &old) {
            new.get_mut(old).unwrap_or(&mut []).fill(0);
        }
        let base = smf.base();
        while !(new.len() as u64).wrapping_sub(base).is_multiple_of(8) {
            new.push(0);
        }
    }
    let at = new.len() as u64;
    new.extend_from_slice(note);
    let openended = section.size == 0 && find_end(note, NOTE_CAP) == Some(note.len());
    new.extend_from_slice(tail);
    let size = if openended { 0 } else { note.len() as u64 };
    put_entry(smf, &section, &mut new, at, size)?;
    check_same(smf, &new, note)?;
    Ok(new)
}

/// The bytes of the file that are the note.
fn place_of(smf: &Smf<'_>, section: &Section<'_>) -> Result<Range<usize>, RenoteError> {
    let at = usize::try_from(section.offset).map_err(|_| RenoteError::TooLarge)?;
    let len = if section.is_compressed() || section.size != 0 {
        section.data.len()
    } else {
        smf.note_bytes()?.map_or(0, |(bytes, _)| bytes.len())
    };
    Ok(at..at.saturating_add(len))
}

/// What must stay at the end of the file: a header that is a trailer.
fn tail_of<'d>(smf: &Smf<'d>) -> &'d [u8] {
    let file = smf.file();
    let header = smf.layout().header_len() as u64;
    let from = file.len() as u64 - header.min(file.len() as u64);
    let is_trailer = smf.header_offset() == from && smf.header_offset() != 0;
    if is_trailer { slice(file, from, header).unwrap_or(&[]) } else { &[] }
}

/// Whether anything but the note lies where the note is.
fn overlaps(smf: &Smf<'_>, note: &Section<'_>, place: &Range<usize>) -> bool {
    let hits = |at: u64, len: u64| {
        let (start, end) = (place.start as u64, place.end as u64);
        len != 0 && at < end && start < at.saturating_add(len)
    };
    let layout = smf.layout();
    let mut sections = smf.sections().iter().filter(|section| section.index != note.index);
    let stride = layout.section_stride() as u64;
    let mut entries = smf.sections().iter();
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

/// Writes where the note is into its entry of the section table.
fn put_entry(
    smf: &Smf<'_>,
    section: &Section<'_>,
    file: &mut [u8],
    at: u64,
    size: u64,
) -> Result<(), RenoteError> {
    let offset = at.checked_sub(smf.base()).ok_or(RenoteError::Differs)?;
    let mut put = |field: u64, bytes: &[u8]| {
        let start = usize::try_from(section.entry_offset.saturating_add(field)).ok()?;
        let place = file.get_mut(start..start.checked_add(bytes.len())?)?;
        place.copy_from_slice(bytes);
        Some(())
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
    done.ok_or(RenoteError::Differs)
}

/// Reads the new file, and compares everything but the note.
fn check_same(old: &Smf<'_>, file: &[u8], note: &[u8]) -> Result<(), RenoteError> {
    let new = Smf::parse(file)?;
    let differs = RenoteError::Differs;
    let same_file = new.layout() == old.layout()
        && new.header() == old.header()
        && new.base() == old.base()
        && new.sections().len() == old.sections().len()
        && new.symbols().len() == old.symbols().len();
    if !same_file || new.note_bytes()?.map(|(bytes, _)| bytes) != Some(note) {
        return Err(differs);
    }
    let is_note = old.note_section().map(|section| section.index);
    for (a, b) in old.sections().iter().zip(new.sections().iter()) {
        let same = (a.name, a.kind) == (b.name, b.kind)
            && (Some(a.index) == is_note
                || (a.flags, a.offset, a.virtual_size, a.alignment, a.data)
                    == (b.flags, b.offset, b.virtual_size, b.alignment, b.data));
        if !same {
            return Err(differs);
        }
    }
    for (a, b) in old.symbols().iter().zip(new.symbols().iter()) {
        let (a, b) = (a?, b?);
        let same = (a.name(), a.kind, a.value, a.size, a.section)
            == (b.name(), b.kind, b.value, b.size, b.section);
        if !same {
            return Err(differs);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::format;
    use std::string::String;
    use std::vec;

    use super::*;
    use crate::format::write::{Module, NewSection, NewSymbol, Place};
    use crate::format::{Header, SectionKind, index};

    const SAMPLES: [&[u8]; 3] = [
        include_bytes!("../../../tests/samples/note-zero-size.smf"),
        include_bytes!("../../../tests/samples/driver.smf"),
        include_bytes!("../../../tests/samples/compact.smf"),
    ];

    fn note(rows: usize) -> Vec<u8> {
        let mut text = String::from("possible |template, type_args, mangled_name|\n");
        for row in 0..rows {
            text += &format!("    T{row}, i64, T{row}$i64\n");
        }
        (text + "# END_NOTE\n").into_bytes()
    }

    /// A module of each layout that is written, with its note first, in the middle or last.
    fn made() -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        for (layout, stub) in
            [(Layout::Native, &b""[..]), (Layout::Packed, b""), (Layout::Packed, b"#!/bin/sh\n")]
        {
            for place in 0..3 {
                let payload = note(3);
                let section =
                    |kind, name, payload| NewSection { kind, name, ..index::section(payload) };
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

    #[test]
    fn every_layout_takes_a_longer_and_a_shorter_note() {
        for file in SAMPLES.into_iter().map(<[u8]>::to_vec).chain(made()) {
            let smf = Smf::parse(&file).unwrap();
            let longer = with_note(&smf, &note(100)).unwrap();
            let once = Smf::parse(&longer).unwrap();
            once.verify().unwrap();
            assert_eq!(once.note().unwrap().unwrap().possible().count(), 100);
            // It moves once; from then on the file is as long as its note makes it.
            let shorter = with_note(&once, &note(1)).unwrap();
            assert_eq!(longer.len() - shorter.len(), note(100).len() - note(1).len());
            let again = with_note(&Smf::parse(&shorter).unwrap(), &note(100)).unwrap();
            assert_eq!(again, longer);
        }
    }

    #[test]
    fn a_size_of_0_stays_while_the_end_can_be_found() {
        let smf = Smf::parse(SAMPLES[0]).unwrap();
        assert_eq!(smf.note_section().unwrap().size, 0);
        let file = with_note(&smf, &note(5)).unwrap();
        let once = Smf::parse(&file).unwrap();
        assert_eq!(once.note_section().unwrap().size, 0);
        // The old text is gone, so that who searches the file finds the new one.
        let old = smf.note_bytes().unwrap().unwrap().0;
        assert!(!file.windows(40).any(|part| part == &old[..40]));
        for large in [note(60_000), note(5)[..20].to_vec()] {
            let file = with_note(&once, &large).unwrap();
            assert_eq!(Smf::parse(&file).unwrap().note_section().unwrap().size, large.len() as u64);
        }
    }

    #[test]
    fn what_has_no_note_is_refused() {
        let file = include_bytes!("../../../tests/samples/packed.smf");
        assert_eq!(with_note(&Smf::parse(file).unwrap(), b"x"), Err(RenoteError::NoNote));
    }

    #[test]
    fn no_damage_makes_anything_but_the_note_change() {
        for file in [SAMPLES[0], SAMPLES[2], &made()[4]] {
            for bit in 0..file.len() * 8 {
                let mut damaged = file.to_vec();
                damaged[bit / 8] ^= 1 << (bit % 8);
                let Ok(smf) = Smf::parse(&damaged) else { continue };
                let Ok(new) = with_note(&smf, &note(2)) else { continue };
                let new = Smf::parse(&new).unwrap();
                assert_eq!(new.note_bytes().unwrap().unwrap().0, note(2));
                assert_eq!(new.code().map(|code| code.data), smf.code().map(|code| code.data));
            }
        }
    }
}
