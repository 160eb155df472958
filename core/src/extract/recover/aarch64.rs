//! Recovery of relocations on aarch64, where an address takes two instructions and the first one holds its page.

use alloc::vec::Vec;

use crate::alloc_util::try_push;
use crate::extract::code_index::SectionOffset;
use crate::extract::decode::aarch64::{Reference, Target, references};
use crate::extract::recover::{DecodeError, Function};
use crate::format::bytes::{slice, u32_at};
use crate::format::ext::prelink::PAGE;
use crate::format::{Reloc, RelocKind};

/// `br x16`, the last instruction of a stub.
const JUMP: u32 = 0xd61f_0200;

impl Function<'_, '_> {
    pub(super) fn decode_aarch64(&self, relocs: &mut Vec<(u32, Reloc)>) -> Result<(), DecodeError> {
        references(self.bytes).try_for_each(|reference| {
            let offset = self.offset(reference.at);
            let found = self.relocs_of(&reference).ok_or(DecodeError::Unnamed(offset))?;
            let mut found = found.into_iter().flatten();
            Ok(found.try_for_each(|reloc| try_push(relocs, (self.section.index, reloc)))?)
        })
    }

    /// The relocations for a reference (two for an address), unless the existing ones suffice; `None` for an unnamed
    /// target.
    fn relocs_of(&self, reference: &Reference) -> Option<[Option<Reloc>; 2]> {
        let offset = self.offset(reference.at);
        if self.code.reloc_at((self.section.index, offset)).is_some() {
            return Some(self.relocs_of_slot(offset, reference));
        }
        match reference.target {
            Target::Branch(bytes) | Target::Near(bytes) if self.is_inside(reference.at, bytes) => {
                Some([None; 2])
            }
            Target::Branch(bytes) => {
                let (symbol, from) = self.symbol_near(offset.checked_add_signed(bytes)?)?;
                let (kind, addend) = (RelocKind::Arm64Branch26, i64::try_from(from).ok()?);
                Some([Some(Reloc { offset, symbol, kind, addend }), None])
            }
            Target::Page { bytes, is_read } => {
                self.relocs_of_page(offset, bytes, is_read).map(|both| both.map(Some))
            }
            Target::Near(_) | Target::Unknown => None,
        }
    }

    /// The relocations that replace those of an address at a section offset: a GOT slot with an import has a name.
    fn relocs_of_slot(&self, offset: u64, reference: &Reference) -> [Option<Reloc>; 2] {
        let Target::Page { bytes, is_read: true } = reference.target else { return [None; 2] };
        let found = self.relocs_of_page(offset, bytes, true);
        let found = found.filter(|[page, _]| page.kind == RelocKind::Arm64GotLoadPage21);
        found.map_or([None; 2], |both| both.map(Some))
    }

    /// Whether the place `bytes` from `at` lies in the function.
    fn is_inside(&self, at: usize, bytes: i64) -> bool {
        let target = (at as u64).checked_add_signed(bytes);
        target.is_some_and(|target| target < self.bytes.len() as u64)
    }

    /// The relocations of an ADRP at a section offset and of the instruction behind it, whose target is `bytes` from
    /// the start of the page.
    fn relocs_of_page(&self, offset: u64, bytes: i64, is_read: bool) -> Option<[Reloc; 2]> {
        use RelocKind::{Arm64GotLoadPage21, Arm64GotLoadPageOff12, Arm64Page21, Arm64PageOff12};
        let place = self.place_from_page(offset, bytes)?;
        let import = if is_read { self.import_in(place) } else { None };
        let (symbol, from, kinds) = match import {
            Some(import) => (import, 0, [Arm64GotLoadPage21, Arm64GotLoadPageOff12]),
            None => {
                let (symbol, from) = self.symbol_at(place)?;
                (symbol, from, [Arm64Page21, Arm64PageOff12])
            }
        };
        let addend = i64::try_from(from).ok()?;
        let [page, rest] = kinds.map(|kind| Reloc { offset, symbol, kind, addend });
        Some([page, Reloc { offset: offset.checked_add(4)?, ..rest }])
    }

    /// The place `bytes` from the start of the page that holds a section offset.
    fn place_from_page(&self, offset: u64, bytes: i64) -> Option<SectionOffset> {
        let target = |start: u64| {
            let page = start.checked_add(offset)? & !(PAGE - 1);
            page.checked_add_signed(bytes)
        };
        if self.code.image.is_empty() {
            // Without an image only a page-aligned section determines where its pages begin.
            let is_aligned = self.section.alignment >= PAGE;
            return Some((self.section.index, target(0).filter(|_| is_aligned)?));
        }
        self.place_in_image(target)
    }

    /// A symbol and the distance of a place from it: [`Function::symbol_near`] in this section, else the symbol that
    /// marks the start of the section.
    fn symbol_at(&self, place: SectionOffset) -> Option<(u32, u64)> {
        let (section, at) = place;
        if section == self.section.index {
            return self.symbol_near(at);
        }
        let symbols = &self.code.section_symbols;
        let found = symbols.binary_search_by_key(&section, |(section, _)| *section).ok()?;
        Some((symbols.get(found)?.1, at))
    }

    /// The import that a stub jumps to: an ADRP, a load of the GOT slot, and a jump.
    pub(super) fn import_of_aarch64_stub(&self, at: u64) -> Option<u32> {
        let stub = slice(self.section.data, at, 12)?;
        let mut found = references(stub);
        let (Some(Reference { at: 0, target: Target::Page { bytes, is_read: true } }), None) =
            (found.next(), found.next())
        else {
            return None;
        };
        let slot = self.place_from_page(at, bytes).filter(|_| u32_at(stub, 8) == Some(JUMP));
        self.import_in(slot?)
    }
}
