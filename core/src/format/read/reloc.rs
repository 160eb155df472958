//! Relocation tables. The module `link` applies them.

use crate::format::model::{Reloc, RelocKind};
use crate::format::read::section::Section;
use crate::format::wire::reloc::RelocEntry;
use crate::format::wire::{Layout, RELOC, elf_reloc};

/// One relocation section: its entries and the section they apply to.
#[derive(Clone, Copy, Debug)]
pub struct RelocTable<'d> {
    /// The section that holds the relocations.
    pub section: Section<'d>,
    /// The section that they apply to.
    pub target: Section<'d>,
    pub(crate) layout: Layout,
}

impl<'d> RelocTable<'d> {
    /// The number of relocations.
    pub fn len(&self) -> usize {
        self.section.data.len() / RELOC
    }

    /// Whether the table is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The relocations in the order of the table.
    #[inline]
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Reloc> + use<'d> {
        // The layout is dispatched on once, not per entry.
        let (layout, kinds) = (self.layout, self.layout.reloc_kinds());
        self.entries().map(move |entry| {
            if layout.is_object() {
                elf_reloc::decode(entry.0, layout)
            } else {
                Reloc::decode(entry, kinds)
            }
        })
    }

    /// The undecoded relocations. Those of an ELF object have other fields, which only [`RelocTable::decode`] decodes.
    #[inline]
    pub fn entries(&self) -> impl ExactSizeIterator<Item = RelocEntry<'d>> + Clone + use<'d> {
        self.section.data.as_chunks::<RELOC>().0.iter().map(RelocEntry)
    }

    /// The index of the first relocation, from `from` on, whose kind has another [number](RelocEntry::number).
    pub fn first_other(&self, number: u8, from: usize) -> Option<usize> {
        let mut rest = self.entries().skip(from);
        rest.position(|entry| entry.number() != number).map(|at| from + at)
    }

    /// The relocation with this index; `None` past the end.
    pub fn get(&self, index: usize) -> Option<Reloc> {
        self.section.data.as_chunks().0.get(index).map(|bytes| self.decode(RelocEntry(bytes)))
    }

    /// Decodes an entry.
    #[inline]
    pub fn decode(&self, entry: RelocEntry<'_>) -> Reloc {
        if self.layout.is_object() {
            return elf_reloc::decode(entry.0, self.layout);
        }
        Reloc::decode(entry, self.layout.reloc_kinds())
    }

    /// The number that [entries](RelocEntry::number) of this kind have; `None` if the layout does not define it, and
    /// for an ELF object, whose numbers exceed a byte.
    pub fn number(&self, kind: RelocKind) -> Option<u8> {
        if self.layout.is_object() { None } else { self.layout.reloc_number(kind) }
    }

    /// The index of the first relocation that has an unknown kind, refers to none of `symbols` symbols, or writes
    /// outside the target section; and that relocation.
    pub(crate) fn first_broken(&self, symbols: u64) -> Option<(usize, Reloc)> {
        let size = self.target.memory_size();
        let is_broken = |reloc: &Reloc| {
            let end = reloc.offset.checked_add(reloc.kind.width());
            matches!(reloc.kind, RelocKind::Unknown(_))
                || u64::from(reloc.symbol) >= symbols
                || end.is_none_or(|end| end > size)
        };
        self.iter().enumerate().find(|(_, reloc)| is_broken(reloc))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_of_another_kind_agrees_with_a_linear_scan() {
        use crate::format::model::Header;
        use crate::format::model::SectionKind;
        use crate::format::read::smf::Smf;
        use crate::format::write::module::{Module, NewSection, NewSymbol, Payload, Place};
        let lengths = 0..if cfg!(miri) { 6 } else { 12 };
        for (len, other) in lengths.flat_map(|len| (0..=len).map(move |other| (len, other))) {
            let relocs: std::vec::Vec<_> = (0..len)
                .map(|number| {
                    let is_other = number == other || number == other + 3;
                    let kind = if is_other { RelocKind::Pc32 } else { RelocKind::Abs64 };
                    Reloc { offset: number, symbol: 0, kind, addend: 0 }
                })
                .collect();
            let table = NewSection::new(SectionKind::Reloc, b".rela", Payload::Relocs(&relocs));
            let sections = [NewSection::code(&[0; 24]), table];
            let (layout, header) = (Layout::Packed, Header::default());
            let place = Place::Section(0);
            let symbol = NewSymbol { name: b"code", place, ..NewSymbol::default() };
            let module =
                Module { layout, header, stub: &[], sections: &sections, symbols: &[symbol] };
            let file = module.to_vec().unwrap();
            let table = Smf::parse(&file).unwrap().reloc_tables().next().unwrap().unwrap();
            let number = table.number(RelocKind::Abs64).unwrap();
            for from in 0..=relocs.len() + 1 {
                let mut rest = relocs.iter().enumerate().skip(from);
                let walked = rest.find(|(_, reloc)| reloc.kind != RelocKind::Abs64);
                let found = table.first_other(number, from);
                assert_eq!(found, walked.map(|(at, _)| at), "{other} of {len} from {from}");
                assert_eq!(found.and_then(|at| table.get(at)), walked.map(|(_, reloc)| *reloc));
            }
        }
    }
}
