//! Sections of a cached module: its note, its templates, and the content of compressed sections.

use core::ops::Range;

use spin::Once;

use super::cache_ref::CacheRef;
use super::entry::Part;
use super::error::CacheError;
use crate::format::bytes::offset_in;
use crate::format::{FormatError, Section, SectionKind, Smf};

/// A part of a module.
enum Found<'d> {
    /// Bytes of the file.
    Bytes(&'d [u8]),
    /// The content of a compressed section.
    Compressed(Section<'d>),
}

type Find = for<'d> fn(&Smf<'d>) -> Result<Option<Found<'d>>, FormatError>;

fn find_note<'d>(smf: &Smf<'d>) -> Result<Option<Found<'d>>, FormatError> {
    match smf.sections().named(b"note.sdn").filter(Section::is_compressed) {
        Some(section) => Ok(Some(Found::Compressed(section))),
        None => Ok(smf.note_bytes()?.map(|(note, _)| Found::Bytes(note))),
    }
}

fn find_templates<'d>(smf: &Smf<'d>) -> Result<Option<Found<'d>>, FormatError> {
    let section = smf.sections().of_kind(SectionKind::TemplateCode);
    Ok(section.map(|section| match section.is_compressed() {
        true => Found::Compressed(section),
        false => Found::Bytes(section.data),
    }))
}

impl CacheRef<'_> {
    /// The content of a section of [`smf`](Self::smf): its bytes in the file or, if it is compressed, the
    /// decompressed bytes.
    ///
    /// A section is decompressed once as long as the file is in the cache or in use. The decompressed bytes
    /// are shared, count as bytes of the file, and live as long as the file.
    ///
    /// # Errors
    /// [`CacheError::ForeignSection`] for a compressed section of another module; [`CacheError::Format`] as
    /// [`Smf::contents`], before anything is evicted if the error shows without decompression;
    /// [`CacheError::TooLarge`] if the file would no longer fit into the cache; [`CacheError::AllInUse`] if
    /// nothing else can be evicted; [`CacheError::OutOfMemory`].
    pub fn section_bytes<'v>(&'v self, section: &Section<'v>) -> Result<&'v [u8], CacheError> {
        if !section.is_compressed() {
            return Ok(section.data);
        }
        let bytes: &[u8] = self;
        let foreign = CacheError::ForeignSection { index: section.index };
        if !contains(bytes, section.data) {
            return Err(foreign);
        }
        let range = range_in(bytes, section.data);
        let len = usize::try_from(section.virtual_size).ok();
        if let Some(known) = self.decompressed(&range).filter(|found| Some(found.len()) == len) {
            return Ok(known);
        }
        let smf = Smf::parse(bytes)?;
        // The caller may have made up the section.
        let is_own = |own: &Section<'_>| {
            own.is_compressed()
                && range_in(bytes, own.data) == range
                && own.virtual_size == section.virtual_size
        };
        let own = smf.section(section.index).ok().filter(is_own).ok_or(foreign)?;
        smf.check_compressed(&own)?;
        let size = own.virtual_size;
        let len = len.ok_or(CacheError::TooLarge { size, capacity: usize::MAX as u64 })?;
        let range = self.range_in_file(&range);
        let fill = |out: &mut [u8]| smf.decompress_into(&own, out);
        self.cache.decompress(&self.file, range, len, &fill)
    }

    /// The bytes of note.sdn, decompressed if it is compressed; `None` if the module has no note. Looked up
    /// once as long as the module is in the cache.
    ///
    /// # Errors
    /// As [`Smf::parse`], [`Smf::note_bytes`] and [`section_bytes`](Self::section_bytes).
    pub fn read_note_sdn(&self) -> Result<Option<&[u8]>, CacheError> {
        self.part(&self.found().note, find_note)
    }

    /// The bytes of the first template section, decompressed if it is compressed; `None` if the module has no
    /// templates. Looked up once as long as the module is in the cache.
    ///
    /// # Errors
    /// As [`Smf::parse`] and [`section_bytes`](Self::section_bytes).
    pub fn read_template_bytes(&self) -> Result<Option<&[u8]>, CacheError> {
        self.part(&self.found().templates, find_templates)
    }

    fn part(&self, known: &Once<Option<Part>>, find: Find) -> Result<Option<&[u8]>, CacheError> {
        let bytes: &[u8] = self;
        match known.get() {
            Some(None) => return Ok(None),
            Some(Some(part)) if !part.is_compressed => return Ok(bytes.get(part.range())),
            Some(Some(part)) => {
                if let Some(decompressed) = self.decompressed(&part.range()) {
                    return Ok(Some(decompressed));
                }
            }
            None => {}
        }
        let found = find(&Smf::parse(bytes)?)?;
        let part = found.as_ref().map(|found| match found {
            Found::Bytes(part) => Part::new(&range_in(bytes, part), false),
            Found::Compressed(section) => Part::new(&range_in(bytes, section.data), true),
        });
        // A part beyond 4 GiB is looked up each time.
        if let Some(part) = part.map_or(Some(None), |part| part.map(Some)) {
            known.call_once(|| part);
        }
        match found {
            Some(Found::Compressed(section)) => self.section_bytes(&section).map(Some),
            Some(Found::Bytes(part)) => Ok(Some(part)),
            None => Ok(None),
        }
    }

    /// The decompressed bytes of the section at this range, if it was decompressed before.
    fn decompressed(&self, section: &Range<usize>) -> Option<&[u8]> {
        self.file.decompressed.get(&self.range_in_file(section))
    }

    /// A range of these bytes as a range of the file.
    fn range_in_file(&self, range: &Range<usize>) -> Range<usize> {
        let start = self.range().map_or(0, |range| range.start);
        range.start.saturating_add(start)..range.end.saturating_add(start)
    }
}

/// Where `part` lies in `bytes`.
fn range_in(bytes: &[u8], part: &[u8]) -> Range<usize> {
    // An offset in a slice fits.
    let start = usize::try_from(offset_in(bytes, part)).unwrap_or(0);
    start..start + part.len()
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    let (whole, part) = (bytes.as_ptr_range(), part.as_ptr_range());
    whole.start <= part.start && part.end <= whole.end
}
