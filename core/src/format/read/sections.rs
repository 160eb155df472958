//! Access to the section table by number, name and kind.

use crate::format::model::SectionKind;
use crate::format::read::elf;
use crate::format::read::section::{Entries, Section, Sections, entry_at};
use crate::format::wire::Layout;

impl<'d> Sections<'d> {
    /// The number of sections.
    pub fn len(&self) -> usize {
        match self.layout {
            layout if layout.is_object() => elf::lookup::section_count(self),
            layout => self.table.len() / layout.section_stride(),
        }
    }

    /// Whether the table is empty.
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// The section with this index; `None` past the end.
    #[inline]
    pub fn get(&self, index: u32) -> Option<Section<'d>> {
        match self.layout {
            Layout::Native => self.get_as(index, Layout::Native),
            Layout::Compact => self.get_as(index, Layout::Compact),
            layout if layout.is_object() => elf::lookup::section(self, index),
            _ => self.get_as(index, Layout::Packed),
        }
    }

    #[inline]
    fn get_as(&self, index: u32, layout: Layout) -> Option<Section<'d>> {
        let (at, entry) = entry_at(self.table, self.table_offset, index, layout)?;
        Some(entry.place(self.data, self.base, index, at))
    }

    /// The sections in the order of the table.
    #[inline]
    pub fn iter(&self) -> SectionIter<'d> {
        SectionIter { entries: self.entries(self.layout), sections: *self }
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

/// An iterator over the sections of a table.
#[derive(Clone, Debug)]
pub struct SectionIter<'d> {
    entries: Entries<'d>,
    sections: Sections<'d>,
}

impl<'d> SectionIter<'d> {
    fn next_of_object(&mut self) -> Option<Section<'d>> {
        let section = elf::lookup::section(&self.sections, self.entries.index)?;
        self.entries.index += 1;
        Some(section)
    }
}

impl<'d> Iterator for SectionIter<'d> {
    type Item = Section<'d>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.entries.layout.is_object() {
            return self.next_of_object();
        }
        let (index, at, entry) = self.entries.next()?;
        Some(entry.place(self.sections.data, self.sections.base, index, at))
    }
}
