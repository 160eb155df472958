//! `.smf.debugaddr` and `.smf.debugoffs`: where the debugging information of a module holds addresses, and offsets in other
//! sections.
//!
//! DWARF sections are sections of kind Debug under their ELF names, which are cut to the 16 bytes that the format has for
//! names: `.debug_str_offse` is `.debug_str_offsets`. Offsets between them are final. A field of 64 bits that refers to code
//! or data holds the offset from the start of a section of the module; debuggers get the address of that section added,
//! little-endian and modulo 2^64. No part of this is loaded into memory with the module.
//!
//! Debuggers need no more. A linker of modules, which places their debug sections behind those of others, also adjusts
//! offsets in debug sections and in the thread-local storage. Such a field has 32 bits, or more of which the upper ones are
//! zero.
//!
//! These are extensions of this project, in Note sections called [`NAME`] and [`OFFSETS_NAME`]. In the native layout, which
//! has no notes, the sections have the number of Debug, and the names take precedence. They are never compressed. All
//! numbers are little-endian:
//!
//! | offset | type | contents |
//! |---|---|---|
//! | 0 | 4 bytes | `DBGA` for addresses, `DBGO` for offsets |
//! | 4 | u32 | version: 1 |
//! | 8 | lists | each: the name of the debug section, 16 bytes padded with zeroes; the name of the section that the fields refer to, likewise; u32 count; and as many u32 offsets of fields in the debug section |
//!
//! Addresses refer to loaded sections; offsets to debug sections, or to `.tdata`.
//!
//! The last list ends the section. Offsets in a list ascend, and fields do not overlap. There are at most [`MAX_LISTS`]
//! lists.
//!
//! Source: DWARF Debugging Information Format 5, for the names and contents of the debug sections.

use super::tls;
use crate::format::error::{ExtensionError, Result};
use crate::format::model::SectionKind;
use crate::format::read::{Section, Smf};
use crate::format::wire::{SECTION_NAME, note_name, u32_at};
#[cfg(feature = "alloc")]
use crate::{
    alloc_util::{AllocError, try_with_capacity},
    format::write::module::{NewSection, Payload},
};
#[cfg(feature = "alloc")]
use alloc::vec::Vec;

/// The name of the section.
pub const NAME: &[u8] = note_name::DEBUG_ADDRESSES;
/// The name of the section that lists offsets.
pub const OFFSETS_NAME: &[u8] = note_name::DEBUG_OFFSETS;
/// Bytes of a field with an address.
pub const FIELD: u64 = 8;
/// Bytes of a field with an offset.
pub const OFFSET_FIELD: u64 = 4;

/// The most lists, many times the pairs of a debug section and a loaded one. Each list is found by two names, so that
/// without a limit a file could take time in proportion to the square of its size.
pub const MAX_LISTS: u32 = 1024;

/// The ELF names of the DWARF sections that modules have.
pub const SECTIONS: [&[u8]; 16] = [
    b".debug_info",
    b".debug_types",
    b".debug_abbrev",
    b".debug_line",
    b".debug_str",
    b".debug_line_str",
    b".debug_str_offsets",
    b".debug_addr",
    b".debug_ranges",
    b".debug_rnglists",
    b".debug_loc",
    b".debug_loclists",
    b".debug_aranges",
    b".debug_frame",
    b".debug_macro",
    b".debug_macinfo",
];

/// The name that a section has in the module, given its ELF name.
pub fn stored_name(elf: &[u8]) -> &[u8] {
    elf.get(..SECTION_NAME).unwrap_or(elf)
}

/// The ELF name of a DWARF section, given its name in the module; `None` for other sections.
pub fn elf_name(stored: &[u8]) -> Option<&'static [u8]> {
    SECTIONS.into_iter().find(|elf| stored_name(elf) == stored)
}

const VERSION: u32 = 1;
const HEADER: usize = 8;
/// Bytes of a list before its offsets: two names and a count.
const LIST: usize = 2 * SECTION_NAME + 4;

/// What fields hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Addresses,
    Offsets,
}

impl Kind {
    fn name(self) -> &'static [u8] {
        match self {
            Kind::Addresses => NAME,
            Kind::Offsets => OFFSETS_NAME,
        }
    }

    fn magic(self) -> &'static [u8; 4] {
        match self {
            Kind::Addresses => b"DBGA",
            Kind::Offsets => b"DBGO",
        }
    }

    /// Bytes of a field.
    fn field(self) -> u64 {
        match self {
            Kind::Addresses => FIELD,
            Kind::Offsets => OFFSET_FIELD,
        }
    }

    fn refers_to(self, target: &Section<'_>) -> bool {
        match self {
            Kind::Addresses => target.kind.is_loaded(),
            Kind::Offsets => target.kind == SectionKind::Debug || target.name == tls::SECTION,
        }
    }
}

/// Fields of a debug section that hold offsets from the start of one section.
#[derive(Clone, Copy, Debug)]
pub struct FieldList<'d> {
    /// The debug section.
    pub debug: Section<'d>,
    /// The section that the fields refer to. Debuggers get its address added to addresses.
    pub target: Section<'d>,
    offsets: &'d [u8],
}

impl<'d> FieldList<'d> {
    /// The offsets of the fields in the debug section, ascending.
    pub fn offsets(&self) -> impl Iterator<Item = u32> + use<'d> {
        self.offsets.as_chunks().0.iter().map(|offset| u32::from_le_bytes(*offset))
    }
}

/// Where the debugging information of a file holds addresses or offsets, as a view of its section.
#[derive(Clone, Copy, Debug)]
pub struct DebugFields<'d> {
    smf: Smf<'d>,
    section: Section<'d>,
    kind: Kind,
}

impl<'d> DebugFields<'d> {
    /// The lists of addresses in `smf`, each of which is checked; `None` without the section.
    ///
    /// # Errors
    /// [`ExtensionError::DebugAddressesHeader`], [`ExtensionError::DebugAddressesList`],
    /// [`ExtensionError::DebugAddressesField`].
    pub fn addresses(smf: &Smf<'d>) -> Result<Option<Self>> {
        Self::of(smf, Kind::Addresses)
    }

    /// The lists of offsets in debug sections and in `.tdata`, as above.
    ///
    /// # Errors
    /// As [`DebugFields::addresses`].
    pub fn offsets(smf: &Smf<'d>) -> Result<Option<Self>> {
        Self::of(smf, Kind::Offsets)
    }

    fn of(smf: &Smf<'d>, kind: Kind) -> Result<Option<Self>> {
        let Some(section) = smf.sections().note(kind.name()) else { return Ok(None) };
        let (data, at) = (section.data, section.offset);
        if !data.starts_with(kind.magic()) || u32_at(data, 4) != Some(VERSION) {
            return Err(ExtensionError::DebugAddressesHeader { section: section.index, at }.into());
        }
        let found = Self { smf: *smf, section, kind };
        let mut end = HEADER;
        for index in 0u32.. {
            if end == data.len() {
                break;
            }
            let at = at.saturating_add(end as u64);
            let malformed =
                ExtensionError::DebugAddressesList { section: section.index, index, at };
            let (list, next) = found.list(end).filter(|_| index < MAX_LISTS).ok_or(malformed)?;
            found.check_fields(&list, index, at)?;
            end = next;
        }
        Ok(Some(found))
    }

    /// The lists.
    pub fn lists(&self) -> impl Iterator<Item = FieldList<'d>> + use<'d> {
        let found = *self;
        let mut at = HEADER;
        core::iter::from_fn(move || {
            let (list, next) = found.list(at)?;
            at = next;
            Some(list)
        })
    }

    /// The list at an offset in the section, and the offset of the next one.
    fn list(&self, at: usize) -> Option<(FieldList<'d>, usize)> {
        let (head, behind) = self.section.data.get(at..)?.split_at_checked(LIST)?;
        let (names, count) = head.split_at_checked(2 * SECTION_NAME)?;
        let len = usize::try_from(u32_at(count, 0)?).ok()?.checked_mul(4)?;
        let offsets = behind.get(..len)?;
        let (debug, target) = names.split_at_checked(SECTION_NAME)?;
        let debug = self.named(debug, |section| section.kind == SectionKind::Debug)?;
        let target = self.named(target, |section| self.kind.refers_to(section))?;
        Some((FieldList { debug, target, offsets }, at.checked_add(LIST)?.checked_add(len)?))
    }

    fn named(&self, padded: &[u8], is_kind: impl Fn(&Section<'d>) -> bool) -> Option<Section<'d>> {
        let end = padded.iter().position(|byte| *byte == 0).unwrap_or(padded.len());
        let name = padded.get(..end)?;
        self.smf.sections().iter().find(|section| section.name == name && is_kind(section))
    }

    fn check_fields(&self, list: &FieldList<'_>, index: u32, at: u64) -> Result<()> {
        let size = list.debug.memory_size();
        let mut free = 0;
        for (number, offset) in (0u64..).zip(list.offsets()) {
            let end = u64::from(offset).saturating_add(self.kind.field());
            if u64::from(offset) < free || end > size {
                let at = at.saturating_add(LIST as u64).saturating_add(number.saturating_mul(4));
                let section = self.section.index;
                return Err(
                    ExtensionError::DebugAddressesField { section, index, offset, at }.into()
                );
            }
            free = end;
        }
        Ok(())
    }
}

/// The names of a debug section and of the section that its fields refer to, and the offsets of the fields.
#[cfg(feature = "alloc")]
pub type NewFieldList<'l> = (&'l [u8], &'l [u8], &'l [u32]);

/// Encodes the payload of the section that lists addresses. `None` for names or lists that are too long, or too many
/// lists.
///
/// # Errors
/// [`AllocError`].
#[cfg(feature = "alloc")]
pub fn encode(lists: &[NewFieldList<'_>]) -> Result<Option<Vec<u8>>, AllocError> {
    encode_lists(Kind::Addresses, lists)
}

/// As [`encode`], of the section that lists offsets.
///
/// # Errors
/// As [`encode`].
#[cfg(feature = "alloc")]
pub fn encode_offsets(lists: &[NewFieldList<'_>]) -> Result<Option<Vec<u8>>, AllocError> {
    encode_lists(Kind::Offsets, lists)
}

#[cfg(feature = "alloc")]
fn encode_lists(kind: Kind, lists: &[NewFieldList<'_>]) -> Result<Option<Vec<u8>>, AllocError> {
    let len = |offsets: &[u32]| LIST.saturating_add(offsets.len().saturating_mul(4));
    let bytes = lists.iter().map(|(.., offsets)| len(offsets)).sum::<usize>();
    if lists.len() > MAX_LISTS as usize {
        return Ok(None);
    }
    let mut payload = try_with_capacity(HEADER.saturating_add(bytes))?;
    payload.extend_from_slice(kind.magic());
    payload.extend_from_slice(&VERSION.to_le_bytes());
    for (debug, target, offsets) in lists {
        for name in [debug, target] {
            let mut padded = [0; SECTION_NAME];
            let Some(start) = padded.get_mut(..name.len()) else { return Ok(None) };
            start.copy_from_slice(name);
            payload.extend_from_slice(&padded);
        }
        let Ok(count) = u32::try_from(offsets.len()) else { return Ok(None) };
        payload.extend_from_slice(&count.to_le_bytes());
        offsets.iter().for_each(|offset| payload.extend_from_slice(&offset.to_le_bytes()));
    }
    Ok(Some(payload))
}

/// The section that lists addresses, with this payload.
#[cfg(feature = "alloc")]
pub fn section(payload: &[u8]) -> NewSection<'_> {
    NewSection::new(SectionKind::Note, NAME, Payload::Bytes(payload))
}

/// The section that lists offsets, with this payload.
#[cfg(feature = "alloc")]
pub fn offsets_section(payload: &[u8]) -> NewSection<'_> {
    NewSection::new(SectionKind::Note, OFFSETS_NAME, Payload::Bytes(payload))
}

const _: () = assert!(NAME.len() <= SECTION_NAME && OFFSETS_NAME.len() <= SECTION_NAME);

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;
    use crate::format::error::FormatError;
    use crate::format::wire::Layout;
    use crate::format::write::module::Module;

    const DEBUG: &[u8] = b".debug_info";

    /// A file with code, 24 bytes of debugging information and this payload.
    fn file(layout: Layout, payload: &[u8]) -> Vec<u8> {
        let debug = NewSection::new(SectionKind::Debug, DEBUG, Payload::Bytes(&[0; 24]));
        let code = NewSection { name: b".text", ..NewSection::code(&[0xc3]) };
        let sections = [code, debug, section(payload)];
        let header = Default::default();
        Module { layout, header, stub: &[], sections: &sections, symbols: &[] }.to_vec().unwrap()
    }

    fn encoded(lists: &[(&[u8], &[u8], &[u32])]) -> Vec<u8> {
        encode(lists).unwrap().unwrap()
    }

    /// The error of a file with this payload, with its offset relative to the payload; it verifies without one only.
    fn error(payload: &[u8]) -> Option<ExtensionError> {
        let file = file(Layout::Packed, payload);
        let smf = Smf::parse(&file).unwrap();
        let start = smf.sections().note(NAME).unwrap().offset;
        let error = DebugFields::addresses(&smf).err();
        assert_eq!(smf.verify().err(), error);
        let FormatError::Extension(mut error) = error? else { panic!() };
        if let ExtensionError::DebugAddressesHeader { at, .. }
        | ExtensionError::DebugAddressesList { at, .. }
        | ExtensionError::DebugAddressesField { at, .. } = &mut error
        {
            *at -= start;
        }
        Some(error)
    }

    #[test]
    fn lists_are_read_as_encoded_in_both_layouts() {
        for layout in [Layout::Packed, Layout::Native] {
            let payload = encoded(&[
                (DEBUG, b".text", &[0, 8, 16]),
                (DEBUG, b".text", &[]),
                (DEBUG, b".text", &[3]),
            ]);
            let file = file(layout, &payload);
            let smf = Smf::parse(&file).unwrap();
            smf.verify().unwrap();
            let lists: Vec<_> = DebugFields::addresses(&smf).unwrap().unwrap().lists().collect();
            let offsets = |list: &FieldList<'_>| list.offsets().collect::<Vec<_>>();
            assert!(lists.iter().map(offsets).eq([&[0, 8, 16][..], &[], &[3]]));
            assert!(lists.iter().all(|l| l.debug.name == DEBUG && l.target.name == b".text"));
        }
        assert_eq!(error(&encoded(&[])), None);
        assert_eq!(encode(&[(&[b'x'; 17], b".text", &[])]), Ok(None));
        let smf = include_bytes!("../../../../tests/samples/packed.smf");
        assert!(DebugFields::addresses(&Smf::parse(smf).unwrap()).unwrap().is_none());
    }

    #[test]
    fn offsets_refer_to_debug_sections_and_thread_local_storage() {
        let storage =
            NewSection { name: tls::SECTION, kind: SectionKind::RoData, ..NewSection::code(&[1]) };
        let debug = NewSection::new(SectionKind::Debug, DEBUG, Payload::Bytes(&[0; 24]));
        let code = NewSection { name: b".text", ..NewSection::code(&[0xc3]) };
        let check = |lists: &[NewFieldList<'_>], layout| {
            let payload = encode_offsets(lists).unwrap().unwrap();
            let sections = [code, storage, debug, offsets_section(&payload)];
            let header = Default::default();
            let module = Module { layout, header, stub: &[], sections: &sections, symbols: &[] };
            let file = module.to_vec().unwrap();
            let smf = Smf::parse(&file).unwrap();
            let found = DebugFields::offsets(&smf);
            assert_eq!(smf.verify().is_ok(), found.is_ok());
            let lists = found.ok()?.unwrap().lists();
            Some(lists.map(|list| (list.target.name.to_vec(), list.offsets().collect())).collect())
        };
        for layout in [Layout::Packed, Layout::Native] {
            let found: Option<Vec<(Vec<u8>, Vec<u32>)>> =
                check(&[(DEBUG, DEBUG, &[0, 4, 20]), (DEBUG, tls::SECTION, &[8])], layout);
            let own = (DEBUG.to_vec(), std::vec![0, 4, 20]);
            assert_eq!(found, Some(std::vec![own, (tls::SECTION.to_vec(), std::vec![8])]));
            for (target, offsets) in
                [(&b".text"[..], &[0][..]), (b"none", &[0]), (DEBUG, &[21]), (DEBUG, &[0, 3])]
            {
                assert_eq!(check(&[(DEBUG, target, offsets)], layout), None);
            }
        }
    }

    #[test]
    fn malformed_section_is_refused_with_the_offset() {
        let section = 2;
        let header = Some(ExtensionError::DebugAddressesHeader { section, at: 0 });
        let list = |index, at| Some(ExtensionError::DebugAddressesList { section, index, at });
        let field = |offset, at| {
            Some(ExtensionError::DebugAddressesField { section, index: 0, offset, at })
        };
        for payload in [&b""[..], b"DBGA", b"DBGA\x02\0\0\0", b"dbga\x01\0\0\0"] {
            assert_eq!(error(payload), header);
        }
        let good = encoded(&[(DEBUG, b".text", &[0, 8])]);
        for len in HEADER + 1..good.len() {
            assert_eq!(error(&good[..len]), list(0, 8));
        }
        for (debug, loaded) in [(&b".text"[..], &b".text"[..]), (DEBUG, DEBUG), (DEBUG, b"none")] {
            assert_eq!(error(&encoded(&[(debug, loaded, &[])])), list(0, 8));
        }
        let most = [(DEBUG, &b".text"[..], &[][..]); MAX_LISTS as usize];
        let mut payload = encoded(&most);
        assert_eq!(error(&payload), None);
        payload.extend_from_within(HEADER..HEADER + LIST);
        let at = (HEADER + LIST * most.len()) as u64;
        assert_eq!(error(&payload), list(MAX_LISTS, at));
        let more = encoded(&[(DEBUG, b".text", &[0]), (b"", b".text", &[])]);
        assert_eq!(error(&more), list(1, 48));
        for (offsets, offset, at) in
            [(&[17][..], 17, 44), (&[0, 7], 7, 48), (&[8, 0], 0, 48), (&[u32::MAX], u32::MAX, 44)]
        {
            assert_eq!(error(&encoded(&[(DEBUG, b".text", offsets)])), field(offset, at));
        }
    }
}
