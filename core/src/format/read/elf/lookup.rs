//! Sections of an ELF object by number; those of common symbols follow the section headers.

use crate::format::model::SectionKind;
use crate::format::read::elf::section::{contents, header, header_count, to_usize};
use crate::format::read::elf::symbol;
use crate::format::read::section::{Section, Sections};
use crate::format::wire::ELF_SECTION;

/// The number of sections, those of common symbols included.
pub(crate) fn section_count(sections: &Sections<'_>) -> usize {
    header_count(sections) + symbol::common_table(sections).len()
}

/// The section with number `index`; `None` past the end.
pub(crate) fn section<'d>(sections: &Sections<'d>, index: usize) -> Option<Section<'d>> {
    let Some(header) = header(sections, index) else {
        return symbol::common_section(sections, index.checked_sub(header_count(sections))?, index);
    };
    let kind = header.section_kind(sections);
    let data = contents(sections, &header).unwrap_or(&[]);
    let size = if kind == SectionKind::Bss { header.size } else { data.len() as u64 };
    Some(Section {
        index: u32::try_from(index).ok()?,
        kind,
        flags: header.section_flags(),
        offset: sections.base.wrapping_add(header.offset),
        size,
        virtual_size: size,
        alignment: header.alignment,
        name: header.name(sections),
        data,
        entry_offset: sections.table_offset.saturating_add((index * ELF_SECTION) as u64),
    })
}

/// The name of a section, which the symbol of that section has as well.
pub(crate) fn section_name<'d>(sections: &Sections<'d>, index: u32) -> Option<&'d [u8]> {
    section(sections, to_usize(index)?).map(|section| section.name)
}

/// The section that the relocations in section `index` apply to.
pub(crate) fn reloc_target<'d>(sections: &Sections<'d>, index: u32) -> Option<Section<'d>> {
    let relocs = header(sections, usize::try_from(index).ok()?)?;
    section(sections, usize::try_from(relocs.info).ok()?)
}
