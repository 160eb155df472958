//! Parts of a module that is held: its sections, its note, its templates.

use core::ops::{Deref, Range};

use super::CacheError;
use super::entry::{Entry, Part, Parts, Place};
use super::pinned::Held;
use super::unpack::{Keeper, Unpacked};
use crate::format::bytes::offset_in;
use crate::format::{FormatError, Section, SectionKind, Smf};

/// A part that has been found in a module.
enum Found<'d> {
    /// Bytes of the file.
    Bytes(&'d [u8]),
    /// What a compressed section holds.
    Packed(Section<'d>),
}

/// How a part is looked for.
type Find = for<'d> fn(&Smf<'d>) -> Result<Option<Found<'d>>, FormatError>;

fn find_note<'d>(smf: &Smf<'d>) -> Result<Option<Found<'d>>, FormatError> {
    match smf.sections().named(b"note.sdn").filter(Section::is_compressed) {
        Some(section) => Ok(Some(Found::Packed(section))),
        None => Ok(smf.note_bytes()?.map(|(note, _)| Found::Bytes(note))),
    }
}

fn find_templates<'d>(smf: &Smf<'d>) -> Result<Option<Found<'d>>, FormatError> {
    let section = smf.sections().of_kind(SectionKind::TemplateCode);
    Ok(section.map(|section| match section.is_compressed() {
        true => Found::Packed(section),
        false => Found::Bytes(section.data),
    }))
}

impl<P: Deref<Target = Entry>> Held<P> {
    /// The note in the bytes that are held.
    pub(super) fn note(&self, keeper: &dyn Keeper) -> Result<Option<&[u8]>, CacheError> {
        self.part(keeper, |parts| &parts.note, find_note)
    }

    /// The first template section in the bytes that are held.
    pub(super) fn templates(&self, keeper: &dyn Keeper) -> Result<Option<&[u8]>, CacheError> {
        self.part(keeper, |parts| &parts.templates, find_templates)
    }

    fn part(
        &self,
        keeper: &dyn Keeper,
        known: impl Fn(&Parts) -> &Part,
        find: Find,
    ) -> Result<Option<&[u8]>, CacheError> {
        let bytes = self.bytes();
        let look = || -> Result<_, FormatError> {
            Ok(find(&Smf::parse(bytes)?)?.map(|found| match found {
                Found::Bytes(part) => Place { range: range_in(bytes, part), packed: false },
                Found::Packed(section) => {
                    Place { range: range_in(bytes, section.data), packed: true }
                }
            }))
        };
        let place = match self.entry().parts() {
            Some(parts) => known(parts).get(look),
            None => look(),
        };
        let Some(place) = place? else { return Ok(None) };
        if !place.packed {
            return Ok(bytes.get(place.range));
        }
        if let Some(unpacked) = self.unpacked(&place.range) {
            return Ok(Some(unpacked));
        }
        match find(&Smf::parse(bytes)?)? {
            Some(Found::Packed(section)) => self.section(keeper, &section).map(Some),
            _ => Ok(None),
        }
    }

    /// What a compressed section holds that stands there in the bytes that are held, if anybody has
    /// asked before.
    fn unpacked(&self, section: &Range<usize>) -> Option<&[u8]> {
        self.file.file()?.sections.get(&self.in_file(section))
    }

    /// A range of the bytes that are held as one of the file.
    fn in_file(&self, range: &Range<usize>) -> Range<usize> {
        let start = self.range.start;
        range.start.saturating_add(start)..range.end.saturating_add(start)
    }

    /// What a section holds.
    pub(super) fn section<'v>(
        &'v self,
        keeper: &dyn Keeper,
        section: &Section<'v>,
    ) -> Result<&'v [u8], CacheError> {
        if !section.is_compressed() {
            return Ok(section.data);
        }
        let bytes = self.bytes();
        let foreign = CacheError::ForeignSection { index: section.index };
        let file = self.file.file().filter(|_| is_in(bytes, section.data)).ok_or(foreign)?;
        let range = range_in(bytes, section.data);
        let len = usize::try_from(section.virtual_size).ok();
        if let Some(unpacked) = self.unpacked(&range).filter(|found| Some(found.len()) == len) {
            return Ok(unpacked);
        }
        let smf = Smf::parse(bytes)?;
        // The caller could have made it up.
        let is_known = |own: &Section<'_>| {
            own.is_compressed()
                && range_in(bytes, own.data) == range
                && own.virtual_size == section.virtual_size
        };
        let own = smf.section(section.index).ok().filter(is_known).ok_or(foreign)?;
        smf.check_compressed(&own)?;
        let size = own.virtual_size;
        let len = len.ok_or(CacheError::TooLarge { size, capacity: usize::MAX as u64 })?;
        let (slot, section) = (self.file_handle.slot, self.in_file(&range));
        keeper.keep(Unpacked { file, slot, section, len }, &|out| smf.decompress_into(&own, out))
    }
}

/// Where `part` is in the bytes.
fn range_in(bytes: &[u8], part: &[u8]) -> Range<usize> {
    // An offset in a slice fits.
    let start = usize::try_from(offset_in(bytes, part)).unwrap_or(0);
    start..start + part.len()
}

fn is_in(bytes: &[u8], part: &[u8]) -> bool {
    let (whole, part) = (bytes.as_ptr_range(), part.as_ptr_range());
    whole.start <= part.start && part.end <= whole.end
}
