//! The same for aarch64, where an address takes two instructions, and the first one holds that of a page.

use alloc::vec::Vec;

use crate::alloc_util::try_push;
use crate::extract::aarch64::{Distance, To, distances};
use crate::extract::concrete::Spot;
use crate::extract::settled::{Function, Stop};
use crate::format::bytes::{slice, u32_at};
use crate::format::ext::prelink::PAGE;
use crate::format::{Reloc, RelocKind};

/// `br x16`, the last instruction of a stub.
const JUMP: u32 = 0xd61f_0200;

impl Function<'_, '_> {
    /// Adds what the code says.
    pub(super) fn read_words(&self, relocs: &mut Vec<(u32, Reloc)>) -> Result<(), Stop> {
        distances(self.bytes).try_for_each(|distance| {
            let found = self.relocs_of(&distance).ok_or(Stop::Nowhere(self.offset(distance.at)))?;
            let mut found = found.into_iter().flatten();
            Ok(found.try_for_each(|reloc| try_push(relocs, (self.section.index, reloc)))?)
        })
    }

    /// The relocations for a distance, two for an address, unless what there is will do; `None` when it leads
    /// nobody knows where.
    fn relocs_of(&self, distance: &Distance) -> Option<[Option<Reloc>; 2]> {
        let offset = self.offset(distance.at);
        if self.all.reloc_at((self.section.index, offset)).is_some() {
            return Some([None; 2]);
        }
        match distance.to {
            To::Code(bytes) | To::Near(bytes) if self.is_inside(distance.at, bytes) => {
                Some([None; 2])
            }
            To::Code(bytes) => {
                let (symbol, from) = self.referent(offset.checked_add_signed(bytes)?)?;
                let (kind, addend) = (RelocKind::Arm64Branch26, i64::try_from(from).ok()?);
                Some([Some(Reloc { offset, symbol, kind, addend }), None])
            }
            To::Page { bytes, is_read } => {
                self.relocs_of_page(offset, bytes, is_read).map(|both| both.map(Some))
            }
            To::Near(_) | To::Unknown => None,
        }
    }

    /// Whether so many bytes from a place in the function is another one.
    fn is_inside(&self, at: usize, bytes: i64) -> bool {
        let target = (at as u64).checked_add_signed(bytes);
        target.is_some_and(|target| target < self.bytes.len() as u64)
    }

    /// The relocations of an ADRP at an offset of the section and of the instruction behind it, which lead so
    /// many bytes from the begin of the page.
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

    /// What is so many bytes from the begin of the page that an offset of the section is in.
    fn place_from_page(&self, offset: u64, bytes: i64) -> Option<Spot> {
        let own = self.section.index;
        let target = |begin: u64| {
            let page = begin.checked_add(offset)? & !(PAGE - 1);
            page.checked_add_signed(bytes)
        };
        if self.all.image.is_empty() {
            // Without a placement only sections that begin at a page know how far their own pages are.
            let knows = self.section.alignment >= PAGE;
            return Some((own, target(0).filter(|_| knows)?));
        }
        // Sections stand in the order of the image.
        let image = &self.all.image;
        let (begin, _) =
            image.get(image.binary_search_by_key(&own, |(_, section)| *section).ok()?)?;
        let target = target(*begin)?;
        let behind = image.partition_point(|(begin, _)| *begin <= target);
        let (begin, section) = image.get(behind.checked_sub(1)?)?;
        Some((*section, target.checked_sub(*begin)?))
    }

    /// A symbol and how far behind its begin a place is: as [`Function::referent`] in this section, and
    /// from the mark at the begin of any other.
    fn symbol_at(&self, place: Spot) -> Option<(u32, u64)> {
        let (section, at) = place;
        if section == self.section.index {
            return self.referent(at);
        }
        let marks = &self.all.marks;
        let found = marks.binary_search_by_key(&section, |(section, _)| *section).ok()?;
        Some((marks.get(found)?.1, at))
    }

    /// The import behind a stub: an ADRP and a load of the slot, and a jump.
    pub(super) fn behind_stub_of_words(&self, at: u64) -> Option<u32> {
        let stub = slice(self.section.data, at, 12)?;
        let mut found = distances(stub);
        let (Some(Distance { at: 0, to: To::Page { bytes, is_read: true } }), None) =
            (found.next(), found.next())
        else {
            return None;
        };
        let slot = self.place_from_page(at, bytes).filter(|_| u32_at(stub, 8) == Some(JUMP));
        self.import_in(slot?)
    }
}
