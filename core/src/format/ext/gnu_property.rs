//! `.smf.property`: the properties of a module's code, such as the protections of control flow that all of it supports.
//!
//! The contents are those of the section `.note.gnu.property` that a linker writes: ELF notes of the owner `GNU` and the
//! type `NT_GNU_PROPERTY_TYPE_0`, in 64-bit form. The section name is too long for a module. Properties of a module have
//! four bytes each. A loader does not need them.
//!
//! This is an extension of this project, in a Note section called [`NAME`]. In the native layout, which has no notes,
//! the section has the number of Debug, and the name takes precedence. The section is never compressed.
//!
//! Source: Linux Extensions to gABI, section "Program Property"; ELF-64 notes, System V ABI, chapter 5.

use crate::format::error::{ExtensionError, PropertyErrorKind, Result};
use crate::format::read::Smf;
use crate::format::wire::{SECTION_NAME, note_name, u32_at};
#[cfg(feature = "alloc")]
use crate::{
    alloc_util::{AllocError, try_with_capacity},
    format::model::SectionKind,
    format::write::module::{NewSection, Payload},
};
#[cfg(feature = "alloc")]
use alloc::vec::Vec;

/// The name of the section.
pub const NAME: &[u8] = note_name::GNU_PROPERTY;

/// `NT_GNU_PROPERTY_TYPE_0`.
const NOTE_TYPE: u32 = 5;
const OWNER: &[u8] = b"GNU\0";
/// The bytes before the owner of a note: the sizes of its owner and of its contents, and its type.
const NOTE_HEADER: usize = 12;
/// The bytes before the value of a property: its type and the size of its value.
const PROPERTY_HEADER: usize = 8;
/// The alignment of notes and properties.
const ALIGNMENT: usize = 8;

/// A property.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Property<'d> {
    /// Its type, `GNU_PROPERTY_*`, which may depend on the machine.
    pub kind: u32,
    /// Its value.
    pub value: &'d [u8],
    /// The offset of the property in the section, in bytes.
    pub offset: u64,
}

impl Property<'_> {
    /// The value of a property of four bytes.
    ///
    /// # Errors
    /// [`PropertyErrorKind::Value`].
    pub fn number(&self) -> Result<u32, PropertyError> {
        let bytes: Result<[u8; 4], _> = self.value.try_into();
        let kind = PropertyErrorKind::Value;
        bytes.map(u32::from_le_bytes).map_err(|_| PropertyError { kind, offset: self.offset })
    }
}

/// The reason why notes with properties are malformed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PropertyError {
    /// The reason.
    pub kind: PropertyErrorKind,
    /// The offset of the note or property in the section, in bytes.
    pub offset: u64,
}

/// The properties in notes, in their order. The first error ends the iteration.
#[derive(Clone, Copy, Debug)]
pub struct Properties<'d> {
    notes: &'d [u8],
    /// The offset of the next property, or of the next note at the end of one.
    at: usize,
    /// The end of the current note.
    end: usize,
}

impl<'d> Properties<'d> {
    /// The properties in the contents of a section. Notes of other owners and types are skipped.
    pub const fn new(notes: &'d [u8]) -> Self {
        Self { notes, at: 0, end: 0 }
    }

    /// The properties of `smf`; `None` without the section. Each has a [`Property::number`].
    ///
    /// # Errors
    /// [`ExtensionError::Property`].
    pub fn of(smf: &Smf<'d>) -> Result<Option<Self>> {
        let Some(section) = smf.sections().note(NAME) else { return Ok(None) };
        let properties = Self::new(section.data);
        for property in properties {
            property.and_then(|property| property.number()).map_err(|error| {
                let (kind, at) = (error.kind, section.offset.saturating_add(error.offset));
                ExtensionError::Property { section: section.index, kind, at }
            })?;
        }
        Ok(Some(properties))
    }

    /// Enters the note at the current offset, or skips it.
    fn enter_note(&mut self) -> Option<Result<(), PropertyErrorKind>> {
        let header = self.notes.get(self.at..)?;
        let (owner_size, size) = (u32_at(header, 0)?, u32_at(header, 4)?);
        let owner = header.get(NOTE_HEADER..)?.get(..owner_size as usize)?;
        let start = self.at.checked_add(NOTE_HEADER)?.checked_add(owner.len())?;
        let start = start.checked_next_multiple_of(ALIGNMENT)?;
        let end = start.checked_add(size as usize).filter(|end| *end <= self.notes.len())?;
        if owner != OWNER || u32_at(header, 8)? != NOTE_TYPE {
            // The last note of a section may lack its padding.
            self.at = end.checked_next_multiple_of(ALIGNMENT)?.min(self.notes.len());
            self.end = self.at;
        } else if (size as usize).is_multiple_of(ALIGNMENT) {
            (self.at, self.end) = (start, end);
        } else {
            return Some(Err(PropertyErrorKind::Size));
        }
        Some(Ok(()))
    }

    /// The property at the current offset of a note.
    fn property(&mut self) -> Option<Property<'d>> {
        let at = self.at;
        let rest = self.notes.get(at..self.end)?;
        let (kind, size) = (u32_at(rest, 0)?, u32_at(rest, 4)? as usize);
        let value = rest.get(PROPERTY_HEADER..)?.get(..size)?;
        let end = at.checked_add(PROPERTY_HEADER)?.checked_add(size)?;
        self.at = end.checked_next_multiple_of(ALIGNMENT)?;
        Some(Property { kind, value, offset: at as u64 })
    }

    fn read(&mut self) -> Result<Option<Property<'d>>, PropertyErrorKind> {
        while self.at == self.end {
            if self.at == self.notes.len() {
                return Ok(None);
            }
            self.enter_note().ok_or(PropertyErrorKind::Note)??;
        }
        self.property().ok_or(PropertyErrorKind::Property).map(Some)
    }
}

impl<'d> Iterator for Properties<'d> {
    type Item = Result<Property<'d>, PropertyError>;

    fn next(&mut self) -> Option<Self::Item> {
        let result = self.read().map_err(|kind| PropertyError { kind, offset: self.at as u64 });
        if result.is_err() {
            (self.at, self.end) = (self.notes.len(), self.notes.len());
        }
        result.transpose()
    }
}

/// Encodes the payload of the section: one note with these types and values, which are in ascending order of the types;
/// `None` if there are too many of them.
///
/// # Errors
/// [`AllocError`].
#[cfg(feature = "alloc")]
pub fn encode(properties: &[(u32, u32)]) -> Result<Option<Vec<u8>>, AllocError> {
    const PROPERTY: usize = PROPERTY_HEADER + ALIGNMENT;
    let size = properties.len().saturating_mul(PROPERTY);
    let Ok(stated) = u32::try_from(size) else { return Ok(None) };
    let mut payload = try_with_capacity(size.saturating_add(NOTE_HEADER + OWNER.len()))?;
    for word in [OWNER.len() as u32, stated, NOTE_TYPE] {
        payload.extend_from_slice(&word.to_le_bytes());
    }
    payload.extend_from_slice(OWNER);
    for (kind, value) in properties {
        for word in [*kind, 4, *value, 0] {
            payload.extend_from_slice(&word.to_le_bytes());
        }
    }
    Ok(Some(payload))
}

/// The section with this payload.
#[cfg(feature = "alloc")]
pub fn section(payload: &[u8]) -> NewSection<'_> {
    NewSection::new(SectionKind::Note, NAME, Payload::Bytes(payload))
}

const _: () = assert!(NAME.len() <= SECTION_NAME);

#[cfg(test)]
mod tests {
    use std::vec;
    use std::vec::Vec;

    use super::*;
    use crate::format::wire::Layout;
    use crate::format::write::module::Module;

    const PAIRS: [(u32, u32); 2] = [(0xc000_0002, 3), (0xc000_8002, 5)];

    fn note(owner: &[u8], kind: u32, contents: &[u8]) -> Vec<u8> {
        let mut note = Vec::new();
        for word in [owner.len() as u32, contents.len() as u32, kind] {
            note.extend_from_slice(&word.to_le_bytes());
        }
        note.extend_from_slice(owner);
        note.resize(note.len().next_multiple_of(8), 0);
        note.extend_from_slice(contents);
        note
    }

    fn read(notes: &[u8]) -> Result<Vec<(u32, u32)>, (PropertyErrorKind, u64)> {
        let numbers = Properties::new(notes).map(|property| {
            let property = property?;
            Ok((property.kind, property.number()?))
        });
        numbers.collect::<Result<_, _>>().map_err(|error: PropertyError| (error.kind, error.offset))
    }

    #[test]
    fn properties_are_read_as_encoded_in_both_layouts() {
        let payload = encode(&PAIRS).unwrap().unwrap();
        assert_eq!(read(&payload), Ok(PAIRS.to_vec()));
        assert_eq!((read(&[]), read(&encode(&[]).unwrap().unwrap())), (Ok(vec![]), Ok(vec![])));
        for layout in [Layout::Packed, Layout::Native] {
            let sections = [NewSection::code(&[0xc3]), section(&payload)];
            let header = Default::default();
            let module = Module { layout, header, stub: &[], sections: &sections, symbols: &[] };
            let mut file = module.to_vec().unwrap();
            let smf = Smf::parse(&file).unwrap();
            smf.verify().unwrap();
            assert_eq!(Properties::of(&smf).unwrap().unwrap().count(), 2);
            let at = smf.sections().get(1).unwrap().offset;
            // The size of the second value.
            file[at as usize + 36] = 8;
            let kind = PropertyErrorKind::Value;
            let error = ExtensionError::Property { section: 1, kind, at: at + 32 }.into();
            assert_eq!(Smf::parse(&file).unwrap().verify(), Err(error));
        }
    }

    #[test]
    fn other_notes_are_skipped() {
        let own = encode(&PAIRS).unwrap().unwrap();
        let other = note(b"GNU\0", 3, &[1; 16]);
        let stranger = note(b"stranger\0", NOTE_TYPE, &[1; 3]);
        let mut both = [&other[..], &own, &stranger].concat();
        assert_eq!(read(&both), Ok(PAIRS.to_vec()));
        both.resize(both.len().next_multiple_of(8), 0);
        assert_eq!(read(&[both, own].concat()), Ok([PAIRS, PAIRS].concat()));
    }

    #[test]
    fn malformed_property_is_refused_with_its_offset() {
        let good = encode(&PAIRS).unwrap().unwrap();
        let with = |at: usize, byte: u8| {
            let mut notes = good.clone();
            notes[at] = byte;
            read(&notes)
        };
        assert_eq!(with(4, 0x28), Err((PropertyErrorKind::Note, 0)));
        assert_eq!(with(4, 0x1f), Err((PropertyErrorKind::Size, 0)));
        assert_eq!(with(4, 0x18), Err((PropertyErrorKind::Property, 32)));
        assert_eq!(with(0, 0xff), Err((PropertyErrorKind::Note, 0)));
        assert_eq!(with(20, 5), Err((PropertyErrorKind::Value, 16)));
        assert_eq!(with(39, 0x80), Err((PropertyErrorKind::Property, 32)));
    }

    #[test]
    fn every_prefix_and_changed_byte_is_refused_or_read() {
        let good = encode(&PAIRS).unwrap().unwrap();
        for len in 1..good.len() {
            assert!(read(&good[..len]).is_err(), "{len}");
        }
        for at in 0..good.len() {
            for bit in 0..8 {
                let mut notes = good.clone();
                notes[at] ^= 1 << bit;
                let count = read(&notes).map_or(0, |pairs| pairs.len());
                assert!(count <= 2, "{at} {bit}");
            }
        }
    }
}
