//! Access to the section table by number, name and kind.

use crate::format::model::SectionKind;
use crate::format::read::elf;
use crate::format::read::section::{Section, Sections, may_be_named};
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
            // A copy, so that no call has a reference to the table of the caller.
            layout if layout.is_object() => elf::symbol::section(&{ *self }, index),
            _ => self.get_as(index, Layout::Packed),
        }
    }

    // Row `parse` of the benchmark: compiled once for each layout.
    #[inline(always)]
    fn get_as(&self, index: u32, layout: Layout) -> Option<Section<'d>> {
        let (at, entry) = self.entry(index, layout)?;
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
        self.find(name, |kind| kind == SectionKind::Note)
    }

    /// The first section with this name.
    pub fn named(&self, name: &[u8]) -> Option<Section<'d>> {
        self.find(name, |_| true)
    }

    /// The first section with this name and such a kind. Entries with other names are not decoded.
    pub(crate) fn find(
        &self,
        name: &[u8],
        is_wanted: fn(SectionKind) -> bool,
    ) -> Option<Section<'d>> {
        let is_wanted = |section: &Section<'_>| section.name == name && is_wanted(section.kind);
        if self.layout.is_object() {
            return self.iter().find(is_wanted);
        }
        let entries = (0u32..).zip(self.table.chunks_exact(self.layout.section_stride()));
        let mut named = entries.filter(|(_, entry)| may_be_named(entry, self.layout, name));
        named.find_map(|(index, _)| self.get(index).filter(is_wanted))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::Smf;
    use crate::testing::some;

    const SAMPLES: [&[u8]; 4] = [
        include_bytes!("../../../../tests/samples/packed.smf"),
        include_bytes!("../../../../tests/samples/native.smf"),
        include_bytes!("../../../../tests/samples/lib.smf"),
        include_bytes!("../../../../tests/samples/elf-object.smf"),
    ];

    /// Compares lookups with searches of all decoded entries.
    fn compare(file: &[u8]) {
        let Ok(smf) = Smf::parse(file).and_then(|smf| smf.linked()) else { return };
        let sections = smf.sections();
        let names = sections.iter().map(|section| section.name);
        for name in names.chain([&b""[..], b".smf.hash", b"note.sdn", b"more than sixteen bytes"]) {
            let index = |found: Option<Section<'_>>| found.map(|section| section.index);
            let mut all = sections.iter().filter(|section| section.name == name);
            assert_eq!(index(sections.named(name)), index(all.clone().next()));
            let note = all.find(|section| section.kind == SectionKind::Note);
            assert_eq!(index(sections.note(name)), index(note));
        }
    }

    #[test]
    fn lookup_by_name_agrees_with_all_entries() {
        for sample in SAMPLES {
            compare(sample);
            for at in some(0..sample.len(), 2) {
                for value in [0, b'.', b'n', 0xff] {
                    let mut file = sample.to_vec();
                    file[at] = value;
                    compare(&file);
                }
            }
        }
    }
}
