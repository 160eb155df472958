//! Access to the section table by number, name and kind.

use crate::format::model::SectionKind;
use crate::format::read::elf;
use crate::format::read::section::{Section, Sections, entry_at};
use crate::format::wire::Layout;

impl<'d> Sections<'d> {
    /// The number of sections.
    pub fn len(&self) -> usize {
        match self.layout {
            layout if layout.is_object() => elf::symbol::section_count(self),
            layout => self.table.len() / layout.section_stride(),
        }
    }

    /// Whether the table is empty.
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// The section with this index; `None` past the end.
    pub fn get(&self, index: u32) -> Option<Section<'d>> {
        self.at(index)
    }

    // Row `parse` of the benchmark: fields that the caller does not read are not computed.
    #[inline(always)]
    fn at(&self, index: u32) -> Option<Section<'d>> {
        match self.layout {
            Layout::Native => self.get_as(index, Layout::Native),
            Layout::Compact => self.get_as(index, Layout::Compact),
            layout if layout.is_object() => elf::symbol::section(self, index),
            _ => self.get_as(index, Layout::Packed),
        }
    }

    // Row `parse` of the benchmark: compiled once for each layout.
    #[inline(always)]
    fn get_as(&self, index: u32, layout: Layout) -> Option<Section<'d>> {
        let (at, entry) = entry_at(self.table, self.table_offset, index, layout)?;
        Some(entry.place(self.data, self.base, index, at))
    }

    /// The sections in the order of the table.
    #[inline]
    pub fn iter(&self) -> impl Iterator<Item = Section<'d>> + Clone + use<'d> {
        SectionIter { sections: *self, next: 0 }
    }

    /// The first section of this kind.
    pub fn of_kind(&self, kind: SectionKind) -> Option<Section<'d>> {
        self.iter().find(|section| section.kind == kind)
    }

    /// The first note with this name.
    pub(crate) fn note(&self, name: &[u8]) -> Option<Section<'d>> {
        self.iter().find(|section| section.kind == SectionKind::Note && section.name == name)
    }

    /// The first section with this name.
    pub fn named(&self, name: &[u8]) -> Option<Section<'d>> {
        self.iter().find(|section| section.name == name)
    }
}

#[derive(Clone)]
struct SectionIter<'d> {
    sections: Sections<'d>,
    next: u32,
}

impl<'d> Iterator for SectionIter<'d> {
    type Item = Section<'d>;

    #[inline]
    fn next(&mut self) -> Option<Section<'d>> {
        let section = self.sections.at(self.next)?;
        self.next += 1;
        Some(section)
    }

    // Row `parse` of the benchmark: as `Sections::at`.
    #[inline(always)]
    fn fold<B, F: FnMut(B, Section<'d>) -> B>(self, init: B, mut f: F) -> B {
        let mut result = init;
        for index in self.next.. {
            let Some(section) = self.sections.at(index) else { break };
            result = f(result, section);
        }
        result
    }
}
