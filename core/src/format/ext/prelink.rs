//! `.smf.image`: prelinking. A section placement for which distances between sections are already resolved.
//!
//! Code that accesses data by a 32-bit distance must be relocated for that distance, and SMF lets the loader place each
//! section. A linker that chooses the placement can resolve the distances in the file, so that no code page is written
//! at load time. This note states the placement and the relocation sections that are resolved for it. Relocations carry
//! their addends, so a loader that ignores the note applies those sections too, with the same result. A loader that supports
//! the note need not read them.
//!
//! Not every distance can be expressed as a relocation, and a linker may leave relocations out. Code with such a
//! resolved distance works in this placement only. Its file imports [`NAME`], the address of the image. A loader that
//! supports the note provides the import; any other loader refuses the file.
//!
//! This is an extension of this project, in a Note section called [`NAME`]. All numbers are little-endian:
//!
//! | offset | type | contents |
//! |---|---|---|
//! | 0 | 4 bytes | `IMG1` |
//! | 4 | u32 | page size in bytes: 4096 |
//! | 8 | u32 | n, the number of sections of the file |
//! | 12 | u64 each | offsets of sections 0 to n-1 from the start of the image, in bytes; all ones: not loaded |
//! | 12 + 8n | u32 | m, the number of prelinked relocation sections |
//! | 16 + 8n | u32 each | their numbers, ascending |
//!
//! An optional part follows at p = 16 + 8n + 4m, the relative relocations:
//!
//! | offset | type | contents |
//! |---|---|---|
//! | p | 4 bytes | `RELR` |
//! | p + 4 | u32 | k, the number of relocation sections that it replaces |
//! | p + 8 | u32 each | their numbers, ascending; none is prelinked |
//! | p + 8 + 4k | u32 | l, the number of entries |
//! | p + 12 + 4k | u64 each | the places, encoded as in ELF's `SHT_RELR` (see [`RelativeRelocs`]) |
//!
//! A place is a 64-bit word in the contents of constants or of data. It holds its value for an image at address 0, and
//! loading adds the address of the image. The places are those of the relocations in the k sections, in the same order,
//! all of which are [`RelocKind::Abs64`] against symbols of the file. A loader that ignores this part, as those that
//! read notes before it was defined do, applies the k sections and overwrites the words. A file that imports [`NAME`] may
//! have no relocation sections for its places: k is 0 then.
//!
//! The image starts at a page boundary. Loaded sections are in the same order in the section table and in the image.
//! Each is at a multiple of its alignment, and sections with different protections share no page.

use super::arm64_operand;
use super::relative_relocs::{PlaceGroup, RelativeRelocs};
#[cfg(feature = "alloc")]
use crate::alloc_util::{AllocError, try_concat};
use crate::format::error::{ExtensionError, Result, ensure};
use crate::format::model::{Reloc, RelocKind, SectionKind};
use crate::format::read::{RelocTable, Section, Sections, Smf, SymbolPlace};
use crate::format::wire::{ALL_FILES, SECTION_NAME, array, note_name, u32_at, u64_at};

/// The name of the section.
pub const NAME: &[u8] = note_name::IMAGE;
/// The page size of the image, in bytes: the granularity of protections.
pub const PAGE: u64 = 4096;

const MAGIC: &[u8; 4] = b"IMG1";
/// The magic of the relative relocations.
const RELATIVE: &[u8; 4] = b"RELR";
const HEADER: usize = 12;
const OFFSET: usize = 8;
const INDEX: usize = 4;
/// The offset of a section that is not loaded.
const NOT_LOADED: u64 = u64::MAX;
/// The bytes that gaps may take, besides one page per section.
const SLACK: u64 = 1 << 16;

/// The placement of a file's sections and its prelinked relocation sections, as a view of the note.
#[derive(Clone, Copy, Debug)]
pub struct Prelink<'d> {
    offsets: &'d [[u8; OFFSET]],
    prelinked: &'d [[u8; INDEX]],
    /// The relocation sections that `places` replaces.
    relative: &'d [[u8; INDEX]],
    places: RelativeRelocs<'d>,
    /// The offset of the payload in the file.
    at: u64,
}

impl<'d> Prelink<'d> {
    /// The prelink data of `smf`, checked against its sections. Returns `None` without the section or without the
    /// feature `all-files`; all relocations are applied then.
    ///
    /// # Errors
    /// As [`Prelink::parse`] and [`Prelink::check`].
    pub fn of(smf: &Smf<'d>) -> Result<Option<Self>> {
        if !ALL_FILES {
            return Ok(None);
        }
        let Some(section) = smf.sections().note(NAME) else { return Ok(None) };
        let plan = Self::parse(section.data, section.offset)?;
        plan.check(smf.sections())?;
        Ok(Some(plan))
    }

    /// Parses the payload of the section, which starts at offset `at` in its file. The placement is not checked against
    /// the sections; [`Prelink::check`] does that.
    ///
    /// # Errors
    /// [`ExtensionError::PrelinkHeader`].
    pub fn parse(payload: &'d [u8], at: u64) -> Result<Self> {
        Ok(Self::split(payload, at).ok_or(ExtensionError::PrelinkHeader { at })?)
    }

    fn split(payload: &'d [u8], at: u64) -> Option<Self> {
        let magic: &[u8; 4] = array(payload, 0)?;
        if magic != MAGIC || u64::from(u32_at(payload, 4)?) != PAGE {
            return None;
        }
        let sections = usize::try_from(u32_at(payload, 8)?).ok()?;
        let (offsets, rest) =
            payload.get(HEADER..)?.split_at_checked(sections.checked_mul(OFFSET)?)?;
        let (prelinked, rest) = split_counted(rest)?;
        let (mut relative, mut entries) = (&[][..], &[][..]);
        if !rest.is_empty() {
            let rest = rest.strip_prefix(RELATIVE)?;
            let (sections, rest) = split_counted(rest)?;
            let (list, rest) = split_counted(rest)?;
            (relative, entries) = (sections, list);
            if !rest.is_empty() {
                return None;
            }
        }
        let list_at = payload.len().checked_sub(entries.as_flattened().len())?;
        let places = RelativeRelocs { entries, at: at.saturating_add(list_at as u64) };
        Some(Prelink { offsets: offsets.as_chunks().0, prelinked, relative, places, at })
    }

    /// The offset of section `index` from the start of the image, in bytes; `None` if it is not loaded or does not
    /// exist.
    pub fn section_offset(&self, index: u32) -> Option<u64> {
        let offset = self.offsets.get(usize::try_from(index).ok()?)?;
        Some(u64::from_le_bytes(*offset)).filter(|offset| *offset != NOT_LOADED)
    }

    /// Whether relocation section `index` is resolved for this placement.
    pub fn is_prelinked(&self, index: u32) -> bool {
        contains(self.prelinked, index)
    }

    /// Whether the relocations of section `index` are among [`Prelink::relative_relocs`].
    pub fn is_relative(&self, index: u32) -> bool {
        contains(self.relative, index)
    }

    /// The words to which the address of the image is added.
    pub fn relative_relocs(&self) -> RelativeRelocs<'d> {
        self.places
    }

    /// The places of relative relocations in a section, in bytes from its start, ascending.
    pub fn relative_places_in(&self, section: &Section<'_>) -> impl Iterator<Item = u64> + use<'d> {
        let start = self.section_offset(section.index).unwrap_or(NOT_LOADED);
        let end = start.saturating_add(section.contents_size());
        let groups = self.places.groups().filter(move |group| group.overlaps(start, end));
        let places = groups.flat_map(PlaceGroup::places);
        places.filter(move |place| (start..end).contains(place)).map(move |place| place - start)
    }

    /// The section that contains a byte of the image, and the offset of the byte in it; `None` between the sections.
    /// `offset` is in bytes from the start of the image.
    pub fn section_at(&self, sections: Sections<'_>, offset: u64) -> Option<(u32, u64)> {
        sections.iter().find_map(|section| {
            let inside = offset.checked_sub(self.section_offset(section.index)?)?;
            (inside < section.memory_size()).then_some((section.index, inside))
        })
    }

    /// The prelinked relocation sections, ascending.
    pub fn prelinked(&self) -> impl ExactSizeIterator<Item = u32> + use<'d> {
        self.prelinked.iter().map(|bytes| u32::from_le_bytes(*bytes))
    }

    /// Checks the placement against the sections of the file: no two sections overlap, every section respects its
    /// alignment and its protection, none is farther away than the sizes explain, the prelinked sections and those of
    /// relative relocations are relocation sections, and the places of relative relocations are distinct words of
    /// constants or data. Time is linear in the note and the sections.
    ///
    /// # Errors
    /// [`ExtensionError::PrelinkSectionCount`], [`ExtensionError::PrelinkSectionOffset`], [`ExtensionError::PrelinkNotRelocs`],
    /// [`ExtensionError::PrelinkRelative`].
    pub fn check(&self, sections: Sections<'_>) -> Result<()> {
        let (stated, count) = (self.offsets.len() as u64, sections.len() as u64);
        ensure(
            stated == count,
            ExtensionError::PrelinkSectionCount { stated, count, at: self.at },
        )?;
        let mut walk = Walk::default();
        for section in sections.iter() {
            let place = self.section_offset(section.index);
            if !walk.accepts(&section, place) {
                let offset = place.unwrap_or(NOT_LOADED);
                let at = self.at + HEADER as u64 + u64::from(section.index) * OFFSET as u64;
                return Err(ExtensionError::PrelinkSectionOffset {
                    index: section.index,
                    offset,
                    at,
                }
                .into());
            }
        }
        let table = self.at + (HEADER + self.offsets.len() * OFFSET + INDEX) as u64;
        check_relocs(self.prelinked, table, sections, |_| true)?;
        let table = table + (self.prelinked.len() * INDEX + RELATIVE.len() + INDEX) as u64;
        check_relocs(self.relative, table, sections, |index| !self.is_prelinked(index))?;
        let regions = sections.iter().filter_map(|section| {
            let is_data = matches!(section.kind, SectionKind::RoData | SectionKind::Data);
            let start = self.section_offset(section.index).filter(|_| is_data)?;
            Some(start..start.checked_add(section.contents_size())?)
        });
        Ok(self.places.check(regions.filter(|region| !region.is_empty()))?)
    }

    /// Checks the prelinked sections: every relocation is a distance within the file, and the bytes that it relocates
    /// hold its value. Checks those of relative relocations: every relocation is the address of a symbol of the file,
    /// at the next place, which holds its value. Time is linear in the relocations. The bytes of compressed target
    /// sections are left to [`Smf::verify_compressed`].
    ///
    /// # Errors
    /// [`ExtensionError::PrelinkValue`], [`ExtensionError::PrelinkPlace`], [`ExtensionError::PrelinkRelative`], or the
    /// error of an invalid table or symbol.
    pub fn verify_prelinked(&self, smf: &Smf<'d>) -> Result<()> {
        let mut places = self.places.places();
        for table in smf.reloc_tables() {
            let table = table?;
            if self.is_relative(table.section.index) {
                self.verify_places(&table, &mut places)?;
            }
            if self.is_resolved(table.section.index) && !table.target.is_compressed() {
                self.verify_table(smf, &table, table.target.data)?;
            }
        }
        match places.next() {
            Some(_) if self.relative.is_empty() && is_required(smf) => Ok(()),
            Some(place) => {
                Err(ExtensionError::PrelinkRelative { place, at: self.places.at }.into())
            }
            None => Ok(()),
        }
    }

    /// Whether the relocations of section `index` need no symbol in this placement: it is prelinked or relative.
    pub(crate) fn is_resolved(&self, index: u32) -> bool {
        self.is_prelinked(index) || self.is_relative(index)
    }

    /// Checks that the relocations of a table are at the next places.
    fn verify_places(
        &self,
        table: &RelocTable<'d>,
        places: &mut impl Iterator<Item = u64>,
    ) -> Result<()> {
        let start = self.section_offset(table.target.index);
        for (index, reloc) in (0u32..).zip(table.iter()) {
            let place = start.and_then(|start| start.checked_add(reloc.offset));
            let is_next = place.is_some() && places.next() == place;
            let at = table.target.offset.saturating_add(reloc.offset);
            let section = table.section.index;
            ensure(is_next, ExtensionError::PrelinkPlace { section, index, at })?;
        }
        Ok(())
    }

    /// As [`Prelink::verify_prelinked`], for the values of one table. `data` is the contents of the section that the
    /// table applies to.
    pub(crate) fn verify_table(
        &self,
        smf: &Smf<'d>,
        table: &RelocTable<'d>,
        data: &[u8],
    ) -> Result<()> {
        let is_relative = self.is_relative(table.section.index);
        for (index, reloc) in (0u32..).zip(table.iter()) {
            let target = self.target(&reloc, smf.symbols().place(reloc.symbol)?);
            let offset = usize::try_from(reloc.offset).ok();
            let is_resolved = if is_relative {
                let found = offset.and_then(|at| u64_at(data, at)).map(u64::cast_signed);
                reloc.kind == RelocKind::Abs64 && target.is_some() && target == found
            } else {
                let found = offset.and_then(|at| u32_at(data, at));
                self.holds_distance(table.target.index, &reloc, target, found) == Some(true)
            };
            let at = table.target.offset.saturating_add(reloc.offset);
            let section = table.section.index;
            ensure(is_resolved, ExtensionError::PrelinkValue { section, index, at })?;
        }
        Ok(())
    }

    /// The address that a relocation refers to, in bytes from the start of the image; `None` for an import.
    fn target(&self, reloc: &Reloc, symbol: SymbolPlace) -> Option<i64> {
        let SymbolPlace::Section { section, value, .. } = symbol else { return None };
        let target = self.section_offset(section)?.checked_add(value)?;
        i64::try_from(target).ok()?.checked_add(reloc.addend)
    }

    /// Whether `word` holds the value of a relocation in section `section`, a distance within the image. `None` if one
    /// of both is missing.
    fn holds_distance(
        &self,
        section: u32,
        reloc: &Reloc,
        target: Option<i64>,
        word: Option<u32>,
    ) -> Option<bool> {
        let place = self.section_offset(section)?.checked_add(reloc.offset)?;
        let (place, target, word) = (i64::try_from(place).ok()?, target?, word?);
        Some(match reloc.kind {
            RelocKind::Pc32 | RelocKind::Plt32 => {
                target.checked_sub(place)? == i64::from(word.cast_signed())
            }
            kind => arm64_operand::holds(kind, word, place, target),
        })
    }
}

/// Whether a file is valid in its placement only.
pub(crate) fn is_required(smf: &Smf<'_>) -> bool {
    smf.symbols().has_import(&[NAME])
}

/// Splits off a count and as many items of `N` bytes.
fn split_counted<const N: usize>(bytes: &[u8]) -> Option<(&[[u8; N]], &[u8])> {
    let count = usize::try_from(u32_at(bytes, 0)?).ok()?;
    let (items, rest) = bytes.get(INDEX..)?.split_at_checked(count.checked_mul(N)?)?;
    Some((items.as_chunks().0, rest))
}

/// Whether ascending section numbers contain `index`.
fn contains(indices: &[[u8; INDEX]], index: u32) -> bool {
    indices.binary_search_by_key(&index, |bytes| u32::from_le_bytes(*bytes)).is_ok()
}

/// Checks that `indices`, which start at offset `at` in the file, are relocation sections in ascending order.
fn check_relocs(
    indices: &[[u8; INDEX]],
    at: u64,
    sections: Sections<'_>,
    is_allowed: impl Fn(u32) -> bool,
) -> Result<()> {
    let mut last = None;
    for (number, index) in (0u64..).zip(indices) {
        let index = u32::from_le_bytes(*index);
        let section = sections.get(index);
        let is_reloc = section.is_some_and(|section| section.kind == SectionKind::Reloc);
        if !is_reloc || !is_allowed(index) || last.is_some_and(|last| last >= index) {
            let at = at + number * INDEX as u64;
            return Err(ExtensionError::PrelinkNotRelocs { index, at }.into());
        }
        last = Some(index);
    }
    Ok(())
}

/// The state of the placement check.
#[derive(Default)]
struct Walk {
    /// The end of the last section, in bytes from the start of the image.
    end: u64,
    /// The upper bound for the end of the current section.
    bound: u64,
    /// The kind of the last section that is not empty, as far as it determines the protection.
    protection: Option<SectionKind>,
}

impl Walk {
    fn accepts(&mut self, section: &Section<'_>, place: Option<u64>) -> bool {
        let protection = match section.kind {
            SectionKind::Bss => SectionKind::Data,
            kind if kind.is_loaded() => kind,
            _ => return place.is_none(),
        };
        let (Some(start), size) = (place, section.memory_size()) else { return false };
        let gap = section.alignment.max(PAGE);
        self.bound = self.bound.saturating_add(size).saturating_add(gap);
        let Some(end) = start.checked_add(size) else { return false };
        let apart = self.protection.is_none_or(|last| last == protection)
            || self.end.checked_next_multiple_of(PAGE).is_some_and(|page| start >= page);
        let fits = start.is_multiple_of(section.alignment)
            && start >= self.end
            && end <= self.bound.saturating_add(SLACK)
            && (apart || size == 0);
        if size != 0 {
            (self.end, self.protection) = (end, Some(protection));
        }
        fits
    }
}

/// The payload for a file with one more section at the end, which is not loaded; `None` if `payload` is invalid.
#[cfg(feature = "alloc")]
pub(crate) fn with_section(payload: &[u8]) -> Option<Result<alloc::boxed::Box<[u8]>, AllocError>> {
    let plan = Prelink::split(payload, 0)?;
    let sections = u32::try_from(plan.offsets.len()).ok()?.checked_add(1)?.to_le_bytes();
    let (before, behind) = payload.split_at_checked(HEADER + plan.offsets.len() * OFFSET)?;
    let (head, offsets) = (before.get(..8)?, before.get(HEADER..)?);
    Some(try_concat(&[head, &sections, offsets, &NOT_LOADED.to_le_bytes(), behind]))
}

/// Encodes the payload of the section: the offset of each section of the file, `None` if it is not loaded, and the
/// prelinked relocation sections, ascending. Returns `None` if a count does not fit its field.
#[cfg(feature = "alloc")]
pub fn encode(offsets: &[Option<u64>], prelinked: &[u32]) -> Option<alloc::vec::Vec<u8>> {
    let mut payload = alloc::vec::Vec::new();
    payload.extend_from_slice(MAGIC);
    payload.extend_from_slice(&u32::try_from(PAGE).ok()?.to_le_bytes());
    payload.extend_from_slice(&u32::try_from(offsets.len()).ok()?.to_le_bytes());
    for offset in offsets {
        payload.extend_from_slice(&offset.unwrap_or(NOT_LOADED).to_le_bytes());
    }
    payload.extend_from_slice(&u32::try_from(prelinked.len()).ok()?.to_le_bytes());
    for index in prelinked {
        payload.extend_from_slice(&index.to_le_bytes());
    }
    Some(payload)
}

/// Appends relative relocations to an encoded payload: the relocation sections that they replace, ascending, and their
/// places, ascending. Returns `None` if a count does not fit its field.
#[cfg(feature = "alloc")]
pub fn append_relative(
    payload: &mut alloc::vec::Vec<u8>,
    sections: &[u32],
    places: &[u64],
) -> Option<()> {
    let entries = super::relative_relocs::entries(places);
    payload.extend_from_slice(RELATIVE);
    payload.extend_from_slice(&u32::try_from(sections.len()).ok()?.to_le_bytes());
    payload.extend(sections.iter().flat_map(|index| index.to_le_bytes()));
    payload.extend_from_slice(&u32::try_from(entries.len()).ok()?.to_le_bytes());
    payload.extend(entries.iter().flat_map(|entry| entry.to_le_bytes()));
    Some(())
}

const _: () = assert!(NAME.len() <= SECTION_NAME);

#[cfg(test)]
mod tests {
    use std::vec::Vec;
    use std::{format, vec};

    use super::*;
    use crate::format::error::FormatError;
    use crate::format::model::{Binding, SymbolKind};
    use crate::format::wire::Layout;
    use crate::format::write::module::{Module, NewSection, NewSymbol, Payload, Place};
    use crate::testing::cut;

    fn section<'a>(kind: SectionKind, name: &'a [u8], payload: Payload<'a>) -> NewSection<'a> {
        NewSection::new(kind, name, payload)
    }

    fn file(sections: &[NewSection<'_>], symbols: &[NewSymbol<'_>]) -> Vec<u8> {
        let header = Default::default();
        let module = Module { layout: Layout::Packed, header, stub: &[], sections, symbols };
        let mut file = vec![0; module.file_len().unwrap()];
        module.write(&mut file).unwrap();
        file
    }

    /// Code, constants, data, zeroes and two relocation sections, followed by this note.
    fn with_note(note: &[u8]) -> Vec<u8> {
        let bytes = Payload::Bytes(&[0; 32]);
        let mut bss = section(SectionKind::Bss, b".bss", Payload::Bytes(&[]));
        bss.virtual_size = Some(64);
        let sections = [
            section(SectionKind::Code, b".text", bytes),
            section(SectionKind::RoData, b".rodata", bytes),
            section(SectionKind::Data, b".data", bytes),
            bss,
            section(SectionKind::Reloc, b".rela", Payload::Relocs(&[])),
            section(SectionKind::Reloc, b".rela.data", Payload::Relocs(&[])),
            section(SectionKind::Note, NAME, Payload::Bytes(note)),
        ];
        file(&sections, &[])
    }

    const GOOD: [Option<u64>; 7] = [Some(0), Some(4096), Some(8192), Some(8224), None, None, None];

    fn check(offsets: &[Option<u64>], prelinked: &[u32]) -> Result<(), FormatError> {
        let file = with_note(&encode(offsets, prelinked).unwrap());
        let smf = Smf::parse(&file).unwrap();
        Prelink::of(&smf).map(|plan| assert!(plan.is_some()))
    }

    #[test]
    fn encoded_record_is_read() {
        let file = with_note(&encode(&GOOD, &[4, 5]).unwrap());
        let smf = Smf::parse(&file).unwrap();
        let plan = Prelink::of(&smf).unwrap().unwrap();
        for (index, offset) in (0u32..).zip(GOOD) {
            assert_eq!(plan.section_offset(index), offset);
        }
        assert_eq!(plan.section_offset(7), None);
        assert_eq!(plan.prelinked().collect::<Vec<_>>(), [4, 5]);
        assert!(plan.is_prelinked(4) && plan.is_prelinked(5) && !plan.is_prelinked(3));
    }

    #[test]
    fn file_without_the_note_has_no_prelink() {
        let code = [section(SectionKind::Code, b".text", Payload::Bytes(&[0xc3]))];
        let data = [section(SectionKind::Data, NAME, Payload::Bytes(b"IMG1"))];
        for sections in [&code, &data] {
            let file = file(sections, &[]);
            assert!(Prelink::of(&Smf::parse(&file).unwrap()).unwrap().is_none());
        }
    }

    #[test]
    fn unusable_placements_are_refused() {
        for (index, wrong) in [
            (0, None),                // loaded, without an offset
            (4, Some(12288)),         // not loaded, with an offset
            (1, Some(4097)),          // misaligned
            (1, Some(16)),            // overlaps the code
            (1, Some(32)),            // on the page of the code
            (2, Some(4096 + 64)),     // on the page of the constants
            (3, Some(8192)),          // overlaps the data
            (2, Some(0)),             // before the previous section
            (3, Some(1 << 20)),       // too far away
            (3, Some(u64::MAX - 15)), // wraps around
            (3, Some(u64::MAX - 63)), // ends at the maximum address
        ] {
            let mut offsets = GOOD;
            offsets[index] = wrong;
            let index = u32::try_from(index).unwrap();
            let error = check(&offsets, &[4]).unwrap_err();
            let names = |found| matches!(error, FormatError::Extension(ExtensionError::PrelinkSectionOffset { index, .. }) if index == found);
            // An offset that is too low is reported at the following section if the order breaks there.
            assert!(names(index) || names(index + 1), "{error}");
            assert!(format!("{error}").contains("at offset 0x"));
        }
        // Data and zeroes share a page, and gaps of a page are fine.
        let mut offsets = GOOD;
        (offsets[2], offsets[3]) = (Some(8192 + 4096), Some(8192 + 4096 + 32));
        assert_eq!(check(&offsets, &[]), Ok(()));
    }

    #[test]
    fn prelinked_sections_are_relocation_sections_in_order() {
        assert_eq!(check(&GOOD, &[]), Ok(()));
        for prelinked in [&[3][..], &[7], &[u32::MAX], &[5, 4], &[4, 4], &[4, 6]] {
            let error = check(&GOOD, prelinked).unwrap_err();
            assert!(
                matches!(error, FormatError::Extension(ExtensionError::PrelinkNotRelocs { .. })),
                "{error}"
            );
        }
    }

    #[test]
    fn every_shorter_payload_is_refused() {
        let whole = encode(&GOOD, &[4, 5]).unwrap();
        assert!(Prelink::parse(&whole, 0).is_ok());
        for short in cut(&whole) {
            let error = Prelink::parse(short, 77).err();
            assert_eq!(
                error,
                Some(FormatError::Extension(ExtensionError::PrelinkHeader { at: 77 }))
            );
        }
        for (at, byte) in [(0, b'J'), (5, 0x20), (11, 0xff), (12 + 7 * 8 + 3, 0xff)] {
            let mut wrong = whole.clone();
            wrong[at] = byte;
            assert!(Prelink::parse(&wrong, 0).is_err(), "byte {at}");
        }
        let error = check(&GOOD[..6], &[]).unwrap_err();
        assert!(matches!(
            error,
            FormatError::Extension(ExtensionError::PrelinkSectionCount { stated: 6, count: 7, .. })
        ));
    }

    #[test]
    fn relative_relocations_are_read_as_encoded() {
        let base = encode(&GOOD, &[4]).unwrap();
        let mut note = base.clone();
        append_relative(&mut note, &[5], &[4096, 4120, 8192, 8192 + 24]).unwrap();
        let file = with_note(&note);
        let smf = Smf::parse(&file).unwrap();
        let plan = Prelink::of(&smf).unwrap().unwrap();
        assert!(plan.is_prelinked(4) && !plan.is_relative(4));
        assert!(plan.is_relative(5) && !plan.is_prelinked(5) && plan.is_resolved(5));
        let places: Vec<_> = plan.relative_relocs().places().collect();
        assert_eq!(places, [4096, 4120, 8192, 8216]);
        // No byte can be missing, except all of them, and none can be added.
        for short in cut(&note).filter(|short| short.len() > base.len()) {
            assert!(Prelink::parse(short, 0).is_err(), "{}", short.len());
        }
        assert!(Prelink::parse(&base, 0).is_ok_and(|plan| plan.relative_relocs().is_empty()));
        note.push(0);
        assert!(Prelink::parse(&note, 0).is_err());
    }

    #[test]
    fn relative_relocations_outside_of_data_are_refused() {
        let check = |sections: &[u32], places: &[u64]| {
            let mut note = encode(&GOOD, &[4]).unwrap();
            let list = note.len() as u64 + 12 + 4 * sections.len() as u64;
            append_relative(&mut note, sections, places).unwrap();
            let file = with_note(&note);
            let smf = Smf::parse(&file).unwrap();
            let start = smf.sections().note(NAME).unwrap().offset;
            (Prelink::of(&smf).map(drop), start + list)
        };
        // The last words of constants and of data; the words of code, behind both, and of zeroes.
        assert_eq!(check(&[5], &[4096 + 24, 8192 + 24]).0, Ok(()));
        for place in [0, 4096 + 32, 8192 + 32, 8192 + 88, 1 << 40] {
            let (checked, at) = check(&[5], &[place]);
            let error = ExtensionError::PrelinkRelative { place, at };
            assert_eq!(checked, Err(FormatError::Extension(error)));
        }
        // A section that is prelinked, is no relocation section, or does not exist.
        for index in [4, 3, 7] {
            let (checked, list) = check(&[index], &[4096]);
            let error = ExtensionError::PrelinkNotRelocs { index, at: list - 8 };
            assert_eq!(checked, Err(FormatError::Extension(error)));
        }
    }

    #[test]
    fn prelinked_bytes_are_compared_with_their_relocations() {
        let code = [0x8b, 0x05, 0xfe, 0x0f, 0, 0, 0xc3];
        let reloc = |symbol, kind| Reloc { offset: 2, symbol, kind, addend: -4 };
        let verify = |reloc: Reloc, at: u64| {
            let note = encode(&[Some(0), Some(at), None, None], &[2]).unwrap();
            let relocs = [reloc];
            let sections = [
                section(SectionKind::Code, b".text", Payload::Bytes(&code)),
                section(SectionKind::RoData, b".rodata", Payload::Bytes(&[0; 64])),
                section(SectionKind::Reloc, b".rela", Payload::Relocs(&relocs)),
                section(SectionKind::Note, NAME, Payload::Bytes(&note)),
            ];
            let local = NewSymbol {
                name: b".rodata",
                kind: SymbolKind::Constant,
                binding: Binding::Local,
                place: Place::Section(1),
                value: 4,
                ..NewSymbol::default()
            };
            let import = NewSymbol { name: b"other", place: Place::Import, ..NewSymbol::default() };
            let file = file(&sections, &[local, import]);
            let smf = Smf::parse(&file).unwrap();
            Prelink::of(&smf).unwrap().unwrap().verify_prelinked(&smf)
        };
        // 0x1000 + 4 - 4 - 2 is the value in the code.
        assert_eq!(verify(reloc(0, RelocKind::Pc32), 4096), Ok(()));
        for (reloc, at) in [
            (reloc(0, RelocKind::Pc32), 8192),
            (reloc(0, RelocKind::Abs32), 4096),
            (reloc(0, RelocKind::Arm64Page21), 4096),
            (reloc(1, RelocKind::Pc32), 4096),
        ] {
            assert!(matches!(
                verify(reloc, at),
                Err(FormatError::Extension(ExtensionError::PrelinkValue { index: 0, .. }))
            ));
        }
    }
}
